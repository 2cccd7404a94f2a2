/** What logging in is handed, and what it hands to the pages: it knows neither HTTP routes nor Forgejo's protocol. */
import type { ServerSpec } from '../../config/server';
import type { ApplicationName, Choice, Scope, UserRef } from '../context';

/** A login at a forge that has begun. The caller keeps it out of the browser's reach, and hands it back with the callback. */
export interface BegunLogin {
  readonly application: ApplicationName;
  /** As it is registered at the forge, without query and fragment. */
  readonly redirectUri: string;
  readonly state: string;
  /** Secret. */
  readonly verifier: string;
  /** Where the `openid` scope is asked for. */
  readonly nonce?: string;
}

/** Logging in at a server's forge. */
export interface ForgeLogins {
  /** Where to send the browser. @throws AppError `UPSTREAM_*`, `FORGE_LOGIN_CONFIG`. */
  begin(
    server: ServerSpec,
    application: ApplicationName,
    redirectUri: string,
  ): Promise<{ readonly url: URL; readonly begun: BegunLogin }>;
  /**
   * Ends a login with the query that the browser came back with, and keeps the user's tokens.
   * @throws AppError `FORGE_LOGIN_*`, `AUTH_REFUSED` (the account may not log in, or is a site administrator's where these may not), `AUTH_SCOPE`,
   * `UPSTREAM_*`, `STORE_UNAVAILABLE`.
   */
  finish(server: ServerSpec, begun: BegunLogin, query: URLSearchParams): Promise<UserRef>;
  /** Whether the user's tokens for an application are good, so that no login is needed. @throws AppError `STORE_UNAVAILABLE`. */
  has(user: UserRef, application: ApplicationName): Promise<boolean>;
  /** Deletes the user's tokens. */
  forget(user: UserRef): Promise<void>;
}

/** A login under way, as the consent page shows it. */
export interface LoginOffer {
  /** Names the login in URLs; the cookie, not this, proves whose it is. */
  readonly uid: string;
  readonly client: {
    readonly id: string;
    readonly name: string;
    /** Who vouches for the name: the administrator, the host of the client's document, or nobody. */
    readonly trust: 'configured' | 'document' | 'registered';
    readonly homePage?: string;
  };
  /** In full: the user decides by it. */
  readonly redirectUri: string;
  readonly server: ServerSpec;
  readonly resource: string;
  /** What was asked for. */
  readonly scopes: readonly Scope[];
  /** Whether the answer may be remembered for this browser (RFC 8252, 8.6). */
  readonly mayRemember: boolean;
}

/** What the user decided. */
export interface ConsentDecision {
  readonly scopes: readonly Scope[];
  readonly choice: Choice;
  readonly remember: boolean;
}

/** A decision that a browser remembers, and whose it was. */
export interface RememberedConsent {
  readonly decision: ConsentDecision;
  readonly account: string;
}

/** What a user goes to the forge for. */
export type Errand =
  /** A client wants access; `account`: only this user's consent counts (it was remembered). */
  | { readonly kind: 'consent'; readonly uid: string; readonly decision: ConsentDecision; readonly account?: string }
  /** To see the own connections; `late`: the visit before was over when a form of it came, so nothing was done. */
  | { readonly kind: 'connections'; readonly late?: boolean }
  /** To let a grant do more than the tokens that are there can. */
  | {
      readonly kind: 'widen';
      readonly grant: string;
      readonly account: string;
      readonly scopes: readonly Scope[];
      readonly choice: Choice;
    };

/** A browser that is about to leave for the forge. */
export interface Departure {
  readonly url: string;
  /** For a cookie until it is back; binds the way back to this browser. */
  readonly ticket: Ticket;
}

export interface Ticket {
  /** Tells the tickets of one browser apart: it may be on several ways at once. */
  readonly name: string;
  /** Secret. */
  readonly secret: string;
}

/** What is told of logins; for audit and metrics. Names and ids, never a token, code or cookie. */
export interface LoginObserver {
  consented(login: LoginEvent & { readonly remembered: boolean }): void;
  denied(login: LoginEvent): void;
  /** A user came back from the forge. */
  loggedIn(user: UserRef, application: ApplicationName, errand: Errand['kind']): void;
  /** A way to the forge or back failed; `code` is the error's. */
  failed(errand: Errand['kind'] | 'unknown', code: string): void;
}

export interface LoginEvent {
  readonly client: string;
  readonly server: string;
  readonly scopes: readonly Scope[];
  readonly user?: UserRef;
  readonly grant?: string;
}
