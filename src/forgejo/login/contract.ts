/** Logging in at a forge: what goes in and out of it. The vault knows these types only, so its tests need no forge. */
import type { ApplicationName, UserRef } from '../../auth/context';
import type { AppError } from '../../errors';

export type { ApplicationName };

/** One OAuth application at the forge, registered as confidential. */
export interface Application {
  readonly clientId: string;
  /** Secret. */
  readonly clientSecret: string;
  /** API scopes, such as `read:user` and `read:repository`; see `checkScopes`. */
  readonly scopes: readonly string[];
}

/**
 * Where a refresh token stands among those of its grant, as its JWT says without a signature check: only tokens that came straight from the
 * forge are compared.
 */
export interface Position {
  /** The forge's id of the grant. A user who revokes and grants again gets a higher one. */
  readonly grant: number;
  /** The grant's counter. The forge raises it with every code exchange and refresh, and takes the latest only. */
  readonly counter: number;
  /** Seconds since the epoch by the forge's clock. */
  readonly issuedAt: number;
  /** Seconds since the epoch at which the refresh token expires. */
  readonly expiresAt?: number;
}

/** What a code or a refresh was exchanged for. */
export interface ForgeTokens {
  /** Secret. */
  readonly accessToken: string;
  /** Wall-clock milliseconds, counted from before the request, so it is never too late. */
  readonly accessExpiresAt: number;
  /** Milliseconds that the access token lives in all. */
  readonly lifetime: number;
  /** Secret. */
  readonly refreshToken: string;
  /** Absent where the refresh token cannot be read. */
  readonly position?: Position;
}

/** What the forge says of a token's owner. */
export interface Account {
  readonly user: UserRef;
  readonly isAdmin: boolean;
}

/** A login that went through. */
export interface Login extends Account {
  readonly application: ApplicationName;
  /** The application's client id: its tokens are worth nothing at another application. */
  readonly clientId: string;
  readonly tokens: ForgeTokens;
}

/** How a refresh went. Holds no token but the new ones. */
export type RefreshAnswer =
  | { readonly kind: 'refreshed'; readonly tokens: ForgeTokens }
  /** `unauthorized_client`: used before, or unreadable for the forge. */
  | { readonly kind: 'used' }
  /** `invalid_grant`: the grant is gone. */
  | { readonly kind: 'dead' }
  /** `invalid_client` and the like: our own application's id or secret is wrong, or the application is gone. Says nothing of the user. */
  | { readonly kind: 'misconfigured'; readonly error: AppError }
  /** No verdict. `reached`: the forge may have used the token up all the same. */
  | { readonly kind: 'unreachable'; readonly error: AppError; readonly reached: boolean };

/** The forge as the vault needs it. Every call ends within a deadline of its own. */
export interface ForgeUpstream {
  /** The configured client id. */
  clientId(application: ApplicationName): string;
  /** RFC 6749, 6. Never rejects. */
  refresh(application: ApplicationName, refreshToken: string): Promise<RefreshAnswer>;
  /**
   * Whose token this is. Rejects with `AUTH_INVALID` (401: expired or revoked), `AUTH_REFUSED` (403: the account may not log in), `AUTH_SCOPE`
   * (the application lacks `read:user`), or `UPSTREAM_*` (no verdict).
   */
  account(accessToken: string): Promise<Account>;
}
