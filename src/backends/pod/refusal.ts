/** From a failed Kubernetes call to what a client may know of it, and what to do. The Status stays in the private detail. */
import { AppError } from '../../errors';
import type { KubeError } from '../../kube/error';
import { OutageError } from './transport';

/** Seconds after which an API server that could not be reached is worth another try. */
const RETRY_SECONDS = 5;

/** A call that has no more to say than that the API cannot be used now. */
export function unavailable(error: KubeError): AppError {
  return new AppError(
    'BACKEND_UNAVAILABLE',
    'The Kubernetes API cannot be used just now. Try again in a moment; if it stays, ask your administrator to look at the gateway’s log.',
    { detail: error.summary, cause: error, retryAfter: Math.ceil(error.retryAfter ?? RETRY_SECONDS) },
  );
}

/** Why a pod could not be created. */
export function createError(error: KubeError): AppError {
  switch (error.status) {
    case 400:
    case 403:
    case 404:
    case 405:
    case 409:
    case 413:
    case 415:
    case 422:
      return new AppError('BACKEND_REFUSED', refusedMessage(error), {
        detail: error.summary,
        ...(isQuota(error) ? { retryAfter: RETRY_SECONDS } : {}),
      });
    default:
      return unavailable(error);
  }
}

function isQuota(error: KubeError): boolean {
  return error.status === 403 && /exceeded quota/i.test(error.message);
}

function refusedMessage(error: KubeError): string {
  if (isQuota(error)) {
    return 'The cluster’s quota for sessions is used up. Close sessions that you no longer need and try again, or ask your administrator for more.';
  }
  return 'The cluster refuses to start this session. Ask your administrator to look at the gateway’s log: a quota, an admission policy or a missing right stands in the way.';
}

/** Why an attach stream could not be opened. */
export function attachError(error: KubeError): AppError {
  // The API server's own 404 is a Status; a kubelet that does not know its pods yet answers 404 in plain text.
  if (
    (error.status === 404 && error.reason === 'NotFound') ||
    (error.status >= 400 && CONTAINER_OVER.test(error.message))
  ) {
    return new AppError('BACKEND_ENDED', 'The session’s child has ended. Start a new session.', {
      detail: error.summary,
    });
  }
  if (error.status === 403) {
    return new AppError(
      'BACKEND_REFUSED',
      'The gateway may not attach to the session’s pod. Ask your administrator to grant it `get` and `create` on `pods/attach`.',
      { detail: error.summary },
    );
  }
  // A 500 is what the API server says of a kubelet that it cannot reach: that may be this pod's node alone.
  return error.isAway && error.status !== 500 ? new OutageError(unavailable(error)) : unavailable(error);
}

/** What kubelets and runtimes say of a container that is over. */
const CONTAINER_OVER =
  /container(?: \S+)? (?:is )?(?:not running|not found|in CONTAINER_EXITED state)|CONTAINER_EXITED|current phase is (?:Succeeded|Failed)|container not found/i;
