/** What a starting pod's state means: go on waiting, go on to attach, or give up with a reason that helps. Pure. */
import { AppError } from '../../errors';
import type { ContainerState, PodState } from './pod-state';

/** `waiting`: more may come. `running`: attach now; Ready is not needed. `failed`: it will not come up. */
export type Verdict =
  { readonly kind: 'waiting' } | { readonly kind: 'running' } | { readonly kind: 'failed'; readonly error: AppError };

/** Reasons of kubelet and runtimes about an image (k8s.io/kubernetes/pkg/kubelet/images). */
const IMAGE: ReadonlySet<string> = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'InvalidImageName',
  'ImageInspectError',
  'RegistryUnavailable',
  'SignatureValidationFailed',
]);
/** Reasons about making or starting a container (k8s.io/kubernetes/pkg/kubelet/kuberuntime). */
const START: ReadonlySet<string> = new Set([
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
  'PreCreateHookError',
  'PreStartHookError',
  'PostStartHookError',
  'CrashLoopBackOff',
]);
/** A busy node says these and tries again by itself. */
const PASSING = /QPS exceeded|context deadline exceeded|is reserved for/i;
/** Reasons with which a kubelet turns a pod away that the scheduler gave it. */
const TURNED_AWAY =
  /^(?:OutOf\w+|UnexpectedAdmissionError|NodeAffinity|NodePorts|Evicted|Preempting|NodeShutdown|Terminated)$/;

/** Seconds to wait before a client tries again what the cluster had no room for. */
const NO_ROOM_RETRY_SECONDS = 15;
const WAITING: Verdict = { kind: 'waiting' };

/** Judges a starting pod. */
export function judge(state: PodState): Verdict {
  if (state.deleting || state.disrupted !== undefined) return failed(removed(state));
  if (state.phase === 'Failed' || state.phase === 'Succeeded' || state.child?.terminated !== undefined) {
    return failed(ended(state));
  }
  if (state.child?.running === true) return { kind: 'running' };
  if (state.init?.terminated !== undefined && state.init.terminated.code !== 0) return failed(ended(state));
  const waiting = state.init?.waiting ?? state.child?.waiting;
  if (waiting !== undefined && !PASSING.test(waiting.message)) {
    if (IMAGE.has(waiting.reason)) return failed(imageError(state));
    if (START.has(waiting.reason)) return failed(crashed(state, `${waiting.reason}: ${waiting.message}`));
  }
  return WAITING;
}

/** Why a pod that is still waiting at its deadline did not come up. Undefined: it was never seen at all. */
export function explainDeadline(state: PodState | undefined, seconds: number): AppError {
  const waiting = state?.init?.waiting ?? state?.child?.waiting;
  if (state?.unschedulable !== undefined && !state.scheduled) {
    return new AppError(
      'BACKEND_UNSCHEDULABLE',
      'The cluster has no room for another session at the moment. Try again later; if it stays, ask your administrator for more nodes or smaller resource requests.',
      { detail: `${where(state)} unschedulable: ${state.unschedulable}`, retryAfter: NO_ROOM_RETRY_SECONDS },
    );
  }
  if (waiting !== undefined && IMAGE.has(waiting.reason) && state !== undefined) return imageError(state);
  return new AppError(
    'BACKEND_START_DEADLINE',
    `The session’s child did not come up within ${seconds} seconds. Try again; if it stays, ask your administrator to look at the session’s pod (slow image pull, sandbox or node).`,
    {
      detail:
        state === undefined
          ? 'the pod was never seen by the watch'
          : `${where(state)} phase ${state.phase}, ${waiting === undefined ? 'nothing reported' : `${waiting.reason}: ${waiting.message}`}`,
      retryAfter: NO_ROOM_RETRY_SECONDS,
    },
  );
}

function failed(error: AppError): Verdict {
  return { kind: 'failed', error };
}

function removed(state: PodState): AppError {
  return new AppError(
    'BACKEND_UNAVAILABLE',
    'The session’s pod was removed by the cluster while it started. Try again.',
    { detail: `${where(state)} deleted or disrupted: ${state.disrupted ?? 'deleted'}`, retryAfter: 1 },
  );
}

/** The container, or the pod as a whole, ended before it could be attached to. */
function ended(state: PodState): AppError {
  if (state.reason !== undefined && TURNED_AWAY.test(state.reason)) {
    return new AppError(
      'BACKEND_UNSCHEDULABLE',
      'The node had no room for the session. Try again in a moment; if it stays, ask your administrator for more nodes or smaller resource requests.',
      { detail: `${where(state)} ${state.reason}: ${state.message ?? ''}`, retryAfter: 1 },
    );
  }
  const end = state.child?.terminated ?? state.init?.terminated;
  return crashed(
    state,
    end === undefined
      ? `phase ${state.phase} ${state.reason ?? ''}: ${state.message ?? ''}`
      : `${end.reason || 'ended'}, exit code ${end.code ?? 'unknown'}: ${end.message}`,
    end,
  );
}

function crashed(state: PodState, why: string, end?: ContainerState['terminated']): AppError {
  const message =
    end?.reason === 'OOMKilled'
      ? 'The session’s child ran out of memory while it started. Ask your administrator to raise the server’s memory limit.'
      : 'The session’s child could not be started. Ask your administrator to check the server’s image, command and launcher setting.';
  return new AppError('BACKEND_CRASHED', message, { detail: `${where(state)} ${why}` });
}

function imageError(state: PodState): AppError {
  const waiting = state.init?.waiting ?? state.child?.waiting;
  return new AppError(
    'BACKEND_IMAGE',
    'The image of this server cannot be pulled. Ask your administrator to check the image’s name, the registry and the pull secret.',
    { detail: `${where(state)} ${waiting?.reason ?? ''}: ${waiting?.message ?? ''}` },
  );
}

function where(state: PodState): string {
  return `pod ${state.name}:`;
}
