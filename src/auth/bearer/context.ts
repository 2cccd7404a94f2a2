/** The identity of one request in bearer mode. */
import type { AuthContext, Scope, UserRef } from '../context';

/** What the token may do is decided by its own scopes at the forge and by the server's policy. */
const ALL_SCOPES: ReadonlySet<Scope> = new Set<Scope>(['forgejo:read', 'forgejo:write']);

/**
 * Carries the presented token in a private field: neither a log, JSON nor an inspection shows it, and it lives no longer than the
 * request, unless a session of this grant holds on to it (see `held-tokens.ts`).
 */
export class BearerContext implements AuthContext {
  readonly mode = 'bearer';
  readonly client = 'bearer';
  readonly scopes = ALL_SCOPES;
  readonly user: UserRef;
  readonly grant: string;
  readonly #token: string;

  constructor(user: UserRef, grant: string, token: string) {
    this.user = user;
    this.grant = grant;
    this.#token = token;
  }

  /** The token behind a context of the bearer mode; undefined for any other context. */
  static tokenOf(auth: AuthContext): string | undefined {
    return #token in auth ? auth.#token : undefined;
  }
}
