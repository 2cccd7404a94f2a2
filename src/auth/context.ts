/** Who is asking: the result of authentication, the only thing that the registry and the proxy know of a bearer. */

/** A user of a forge. Never the login name alone: logins can be renamed and reused. */
export interface UserRef {
  /** The forge's public base URL. */
  readonly issuer: string;
  /** The forge's numeric user id, as a string. */
  readonly id: string;
  /** For people to read; never compared. */
  readonly login: string;
}

/** A scope of ours (RFC 6749, 3.3). */
export type Scope = 'forgejo:read' | 'forgejo:write';

/**
 * One of the gateway's two OAuth applications at the forge, by what it may do there. A grant's scope is sticky at the forge, so reading and writing
 * need one each.
 */
export type ApplicationName = 'read' | 'write';

/** What a user lets one client touch, within the server's policy and as its fields say; reading or writing is a matter of scopes. */
export interface Choice {
  /** Owner names, `*` for any. */
  readonly owners: readonly string[];
  /** `owner/name`, `owner/*` or `*`. */
  readonly repositories: readonly string[];
}

/** An authenticated request's identity. Made by the authentication middleware; tests make their own. */
export interface AuthContext {
  readonly mode: 'bearer' | 'oauth';
  readonly user: UserRef;
  /**
   * What a session is bound to. OAuth: the grant's id, the same for every token refreshed from it. Bearer mode: a keyed fingerprint of the
   * token itself, so every other token is another grant.
   */
  readonly grant: string;
  /** The OAuth client's id; `bearer` in bearer mode. */
  readonly client: string;
  /** What this very token may do now: no more than the grant allows now. */
  readonly scopes: ReadonlySet<Scope>;
  /** What the grant allows now, of which a client may have asked for less; absent where `scopes` says it all. */
  readonly granted?: ReadonlySet<Scope>;
  /** What the user chose at consent; absent where the server's policy alone holds. */
  readonly choice?: Choice;
}

/**
 * Where the credential proxy gets the user's current Forgejo token from. The bearer mode keeps the presented token in memory while a session of
 * that grant lives; OAuth's vault comes behind the same interface.
 */
export interface ForgejoTokens {
  /**
   * The token to use now for a call of this grant.
   * @throws AppError `FORGE_TOKEN_UNAVAILABLE` when it must be asked for again, `AUTH_INVALID` when the user must log in again.
   */
  token(grant: string, access: 'read' | 'write', signal: AbortSignal): Promise<string>;
  /** The forge refused the token with 401: forget what is cached, so that the next request checks again. */
  refused(grant: string): void;
  /** Keeps the token of this identity's grant for a live session; call the returned function once when the session has ended. */
  retain(auth: AuthContext): () => void;
}
