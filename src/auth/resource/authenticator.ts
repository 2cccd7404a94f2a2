/** OAuth mode: an access token of our own authorization server in `Authorization: Bearer ...` (RFC 6750, 2.1), and the challenges around it. */
import type { ServerSpec } from '../../config/server';
import { AppError } from '../../errors';
import type { Authenticator, Credentials, Place } from '../authenticator';
import type { AuthContext } from '../context';
import { accountOf } from '../provider/grants';
import type { LiveGrant } from './live-grants';
import { resourceMetadataUrl, SCOPES } from './metadata';
import type { ResourceUrls } from './urls';
import type { AccessClaims, AccessTokenVerifier } from './verifier';

export interface ResourceServerOptions {
  readonly urls: ResourceUrls;
  readonly verifier: Pick<AccessTokenVerifier, 'verify'>;
  /** The grant as it was at most two seconds ago, with `fresh` as it is now; undefined where it has ended. Rejects with `STORE_UNAVAILABLE`. */
  readonly liveGrant: (id: string, how: { readonly fresh: boolean }) => Promise<LiveGrant | undefined>;
}

/** RFC 6750, 2.1: `b64token`, which a JWT is. */
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i;
const MAX_TOKEN = 4096;

export class OAuthAuthenticator implements Authenticator {
  readonly #options: ResourceServerOptions;

  constructor(options: ResourceServerOptions) {
    this.#options = options;
  }

  /**
   * See {@link Authenticator.authenticate}. The scopes are those that the token has and the grant still has; the choice is the grant's.
   * Errors: `AUTH_MISSING`, `AUTH_INVALID` (of another issuer, audience or key, expired, or its grant has ended), `AUTH_SCOPE` (nothing is
   * left of what the token was for), `STORE_UNAVAILABLE`.
   */
  async authenticate({ authorization }: Credentials, server: ServerSpec): Promise<AuthContext> {
    const { urls, verifier } = this.#options;
    const claims = await verifier.verify(tokenOf(authorization), urls.audiences(server.name));
    const grant = await this.#grant(claims, server, false);
    const scopes = SCOPES.filter((scope) => claims.scopes.has(scope) && grant.scopes.includes(scope));
    if (scopes.length === 0) {
      throw new AppError(
        'AUTH_SCOPE',
        'Nothing is left of what this login was allowed. Allow it when your client asks, or on the page with your connections.',
      );
    }
    return {
      mode: 'oauth',
      user: grant.user,
      grant: grant.id,
      client: claims.client,
      scopes: new Set(scopes),
      granted: new Set(grant.scopes),
      choice: grant.policy,
    };
  }

  /** See {@link Authenticator.confirm}: the grant as the store has it now. Errors: `AUTH_INVALID`, `STORE_UNAVAILABLE`. */
  async confirm({ user, grant, client }: AuthContext, server: ServerSpec): Promise<void> {
    await this.#grant({ account: accountOf(user), grant, client }, server, true);
  }

  /**
   * See {@link Authenticator.challenge}. RFC 6750, 3: `error` only where a token came. RFC 9728, 5.1: where the metadata is. Both scopes at once, or a client
   * that steps up would lose the one that it has.
   */
  challenge(error: AppError, place: Place): string | undefined {
    const parts = [
      `resource_metadata="${resourceMetadataUrl(this.#options.urls, this.#pathOf(place))}"`,
      `scope="${SCOPES.join(' ')}"`,
    ];
    if (error.code === 'AUTH_MISSING') return `Bearer ${parts.join(', ')}`;
    if (error.code === 'AUTH_INVALID') return `Bearer error="invalid_token", ${parts.join(', ')}`;
    if (error.code === 'AUTH_SCOPE') return `Bearer error="insufficient_scope", ${parts.join(', ')}`;
    return undefined;
  }

  /** The live grant that a token is of, where both say the same. Throws `AUTH_INVALID`, `STORE_UNAVAILABLE`. */
  async #grant(token: Named, server: ServerSpec, fresh: boolean): Promise<LiveGrant> {
    const { urls, liveGrant } = this.#options;
    const grant = await liveGrant(token.grant, { fresh });
    // A record that says another user or client than the token does is no reason to believe either.
    if (grant === undefined || accountOf(grant.user) !== token.account || grant.client.id !== token.client) {
      throw new AppError('AUTH_INVALID', 'This login has ended. Log in again.');
    }
    if (!urls.audiences(server.name).includes(grant.resource)) {
      throw new AppError('AUTH_INVALID', 'This login is for another server. Log in again.');
    }
    return grant;
  }

  /** The path that the request came to, as long as it is one of its server's; else the server's first one. */
  #pathOf({ server, path }: Place): string {
    const { urls } = this.#options;
    if (server === undefined) return urls.default.slice(urls.base.length);
    return urls.serverAt(path) === server ? path : urls.of(server).slice(urls.base.length);
  }
}

/** What a token says of the grant that it is of. */
type Named = Pick<AccessClaims, 'account' | 'grant' | 'client'>;

/** The token of an `Authorization` header, the only place where one is looked for. Throws `AUTH_MISSING`, `AUTH_INVALID`. */
function tokenOf(header: string | undefined): string {
  if (header === undefined || header === '') {
    throw new AppError('AUTH_MISSING', 'Log in first: connect with an MCP client that can log in (OAuth).');
  }
  const token = BEARER.exec(header)?.[1];
  if (token === undefined || token.length > MAX_TOKEN) {
    throw new AppError('AUTH_INVALID', 'The access token is not valid, or not any more. Log in again.');
  }
  return token;
}
