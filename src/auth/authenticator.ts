/** The contract between the HTTP layer and whatever checks credentials. Tests hand in an authenticator of one line. */
import type { AppError } from '../errors';
import type { ServerSpec } from '../config/server';
import type { AuthContext } from './context';

/** What a request shows of itself. */
export interface Credentials {
  /** The `Authorization` header as it came. Secret. */
  readonly authorization: string | undefined;
  /** The client's address, for rate limits. */
  readonly address: string;
  /** The connection that the request came on: what was found for its credentials may be remembered as long as it is open. */
  readonly connection?: object;
}

/** Where a request came to: what a challenge says depends on it (RFC 9728, 3.3). */
export interface Place {
  /** The server's name; absent where the request was refused before it was known. */
  readonly server?: string;
  /** The request's path, without its query. */
  readonly path: string;
}

export interface Authenticator {
  /**
   * Resolves with who is asking.
   * Errors: `AUTH_MISSING` (no token), `AUTH_INVALID` (not valid any more or never), `AUTH_REFUSED` (known, but not allowed here),
   * `AUTH_SCOPE` (the token cannot say who it is), `AUTH_RATE` (too many failures from this address), `AUTH_UNAVAILABLE` (cannot tell now;
   * never said as 401, because a client would throw a good token away).
   */
  authenticate(credentials: Credentials, server: ServerSpec): Promise<AuthContext>;

  /**
   * Looks again, with nothing remembered: for what outlasts the request, a new session.
   * Errors: `AUTH_INVALID` where the login has ended meanwhile, `STORE_UNAVAILABLE`.
   */
  confirm(context: AuthContext, server: ServerSpec): Promise<void>;

  /** The `WWW-Authenticate` value for an error at a place, whoever threw it, where one is due (RFC 6750, 3). */
  challenge(error: AppError, place: Place): string | undefined;
}
