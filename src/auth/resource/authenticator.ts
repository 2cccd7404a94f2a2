/** OAuth mode: an access token of our own authorization server in `Authorization: Bearer ...` (RFC 6750, 2.1), and the challenges around it. */
import type { ServerSpec } from '../../config/server';
import { AppError } from '../../errors';
import type { Authenticator, Credentials } from '../authenticator';
import type { AuthContext, Scope } from '../context';
import { accountOf } from '../provider/grants';
import type { LiveGrant } from './live-grants';
import { resourceMetadataUrl, SCOPES } from './metadata';
import type { ResourceUrls } from './urls';
import type { AccessTokenVerifier } from './verifier';

export interface ResourceServerOptions {
  readonly urls: ResourceUrls;
  readonly verifier: Pick<AccessTokenVerifier, 'verify'>;
  /** The grant as it was at most two seconds ago; undefined where it has ended. Rejects with `STORE_UNAVAILABLE`. */
  readonly liveGrant: (id: string) => Promise<LiveGrant | undefined>;
}

/** RFC 6750, 2.1: `b64token`, which a JWT is. */
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i;
const MAX_TOKEN = 4096;

export class OAuthAuthenticator implements Authenticator {
  readonly #options: ResourceServerOptions;
  /** The path that an error's challenge is about. */
  readonly #places = new WeakMap<AppError, string>();

  constructor(options: ResourceServerOptions) {
    this.#options = options;
  }

  /**
   * See {@link Authenticator.authenticate}. The scopes are those that the token has and the grant still has.
   * Errors: `AUTH_MISSING`, `AUTH_INVALID` (of another issuer, audience or key, expired, or its grant has ended), `AUTH_SCOPE` (nothing is
   * left of what the token was for), `STORE_UNAVAILABLE`.
   */
  async authenticate(credentials: Credentials, server: ServerSpec): Promise<AuthContext> {
    const place = this.#placeOf(server.name, credentials.path);
    try {
      return await this.#authenticate(credentials, server.name, place);
    } catch (thrown) {
      if (thrown instanceof AppError) this.#places.set(thrown, place);
      throw thrown;
    }
  }

  /**
   * See {@link Authenticator.challenge}. RFC 6750, 3: `error` only where a token came. RFC 9728, 5.1: where the metadata is. Both scopes at once, or a client
   * that steps up would lose the one that it has.
   */
  challenge(error: AppError): string | undefined {
    const place = this.#places.get(error) ?? '/mcp';
    const parts = [
      `resource_metadata="${resourceMetadataUrl(this.#options.urls, place)}"`,
      `scope="${SCOPES.join(' ')}"`,
    ];
    if (error.code === 'AUTH_MISSING') return `Bearer ${parts.join(', ')}`;
    if (error.code === 'AUTH_INVALID') return `Bearer error="invalid_token", ${parts.join(', ')}`;
    if (error.code === 'AUTH_SCOPE') return `Bearer error="insufficient_scope", ${parts.join(', ')}`;
    return undefined;
  }

  /** The 403 for an operation that needs a scope which the token lacks (RFC 6750, 3.1); its challenge names the server's path. */
  insufficientScope(needed: Scope, server: string, path?: string): AppError {
    const error = new AppError(
      'AUTH_SCOPE',
      `This needs the permission ${needed}, which this login does not have. Allow it when your client asks, or on the page with your connections.`,
    );
    this.#places.set(error, this.#placeOf(server, path));
    return error;
  }

  async #authenticate({ authorization }: Credentials, server: string, place: string): Promise<AuthContext> {
    const { urls, verifier, liveGrant } = this.#options;
    const claims = await verifier.verify(tokenOf(authorization), urls.audiences(server));
    const grant = await liveGrant(claims.grant);
    // A record that says another user or client than the token does is no reason to believe either.
    if (grant === undefined || accountOf(grant.user) !== claims.account || grant.client.id !== claims.client) {
      throw new AppError('AUTH_INVALID', 'This login has ended. Log in again.');
    }
    if (!urls.audiences(server).includes(grant.resource)) {
      throw new AppError('AUTH_INVALID', 'This login is for another server. Log in again.');
    }
    const scopes = SCOPES.filter((scope) => claims.scopes.has(scope) && grant.scopes.includes(scope));
    if (scopes.length === 0) throw this.insufficientScope('forgejo:read', server, place);
    return { mode: 'oauth', user: grant.user, grant: grant.id, client: claims.client, scopes: new Set(scopes) };
  }

  /** The path that the request came to, as long as it is one of this server's; else the server's first one. */
  #placeOf(server: string, path: string | undefined): string {
    const { urls } = this.#options;
    if (path !== undefined && urls.serverAt(path) === server) return path;
    return urls.of(server).slice(urls.base.length);
  }
}

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
