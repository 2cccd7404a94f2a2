/**
 * What a failed exchange means. openid-client's errors carry the answer and with it tokens, so nothing of them goes on but names of errors.
 */
import { AuthorizationResponseError, ClientError, ResponseBodyError } from 'openid-client';
import { AppError } from '../../errors';
import { invalid } from './back-channel';

/** Why the token endpoint gave no tokens. */
export type Failure =
  | { readonly kind: 'used' }
  | { readonly kind: 'dead' }
  | { readonly kind: 'misconfigured'; readonly error: AppError }
  | { readonly kind: 'unreachable'; readonly error: AppError };

/** How deep an error of ours may sit below one of the library. */
const MAX_DEPTH = 4;

/**
 * Sorts what a token request threw (RFC 6749, 5.2, as Forgejo and Gitea use it). `unauthorized_client` is a token or code that was used before or
 * cannot be read, but also a wrong client secret when a code is exchanged; `invalid_grant` is a grant that is gone, but also a database that
 * would not take the counter. Whatever is not understood is no verdict.
 */
export function failureOf(thrown: unknown): Failure {
  const own = ownError(thrown);
  if (own !== undefined) return { kind: 'unreachable', error: own };
  if (thrown instanceof ResponseBodyError) {
    const description = String(thrown.error_description ?? '');
    switch (thrown.error) {
      case 'unauthorized_client':
        return /client secret/i.test(description) ? misconfigured('unauthorized_client') : { kind: 'used' };
      case 'invalid_grant':
        return /counter/i.test(description) ? unclear('invalid_grant: counter') : { kind: 'dead' };
      case 'invalid_client':
      case 'unsupported_grant_type':
      case 'invalid_scope':
        return misconfigured(thrown.error);
      default:
        return unclear(name(thrown.error));
    }
  }
  return unclear(thrown instanceof ClientError ? name(thrown.code) : 'unexpected');
}

/** What a callback, or the exchange of its code, means for the person in front of the browser. */
export function loginError(thrown: unknown): AppError {
  const own = ownError(thrown);
  if (own !== undefined) return own;
  if (thrown instanceof AuthorizationResponseError)
    return thrown.error === 'access_denied'
      ? new AppError(
          'FORGE_LOGIN_DENIED',
          'You did not let the gateway use your Forgejo account. Start again if you want to.',
        )
      : again(name(thrown.error));
  if (thrown instanceof ResponseBodyError) {
    const failure = failureOf(thrown);
    if (failure.kind === 'used' || failure.kind === 'dead') return again(name(thrown.error));
    return failure.error;
  }
  // The library's own checks: state, nonce, issuer, and the shape of what came back.
  return again(thrown instanceof ClientError ? name(thrown.code) : 'unexpected');
}

function ownError(thrown: unknown): AppError | undefined {
  let error = thrown;
  for (let depth = 0; depth < MAX_DEPTH && error instanceof Error; depth++) {
    if (error instanceof AppError) return error;
    error = error.cause;
  }
  return undefined;
}

/** Our own identification is wrong: nothing that a user could mend, and nothing that may end one. */
export function misconfigured(reason: string): Failure & { kind: 'misconfigured' } {
  return {
    kind: 'misconfigured',
    error: new AppError(
      'FORGE_LOGIN_CONFIG',
      'Forgejo does not accept the gateway itself: its OAuth application there is gone, or has another id or secret. Tell your administrator.',
      { detail: reason },
    ),
  };
}

function again(reason: string): AppError {
  return new AppError('FORGE_LOGIN_INVALID', 'This login at Forgejo did not work or is too old. Start it again.', {
    detail: reason,
  });
}

function unclear(reason: string): Failure {
  return { kind: 'unreachable', error: invalid(reason) };
}

/** An error's name where it is one; free text of a forge reaches no log. */
function name(value: unknown): string {
  return typeof value === 'string' && /^[A-Za-z_]{1,60}$/.test(value) ? value : 'unknown error';
}
