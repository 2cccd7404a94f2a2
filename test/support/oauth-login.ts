/** A client's whole login in one call, by the official SDK's functions: the challenge of a 401, discovery, registration, PKCE, browser and tokens. */
import {
  discoverAuthorizationServerMetadata,
  discoverOAuthProtectedResourceMetadata,
  exchangeAuthorization,
  extractWWWAuthenticateParams,
  refreshAuthorization,
  registerClient,
  startAuthorization,
} from '@modelcontextprotocol/sdk/client/auth.js';
import type { OAuthTokens } from '@modelcontextprotocol/sdk/shared/auth.js';
import { randomBytes } from 'node:crypto';
import type { ConsentChoice, OAuthBrowser } from './oauth-browser';

/** Nothing listens there: the browser stops when it is sent to it. */
export const CLIENT_REDIRECT = 'http://127.0.0.1:7777/callback';

export interface LoginOptions {
  /** Of `/mcp` or of a server's path. */
  readonly url: string;
  readonly browser: OAuthBrowser;
  /** The client's name; each name is a client of its own. */
  readonly client?: string;
  /** Both scopes if absent. */
  readonly scope?: string;
  readonly choice?: ConsentChoice;
}

/** A client that is logged in. */
export interface LoggedIn {
  /** Changes with each refresh. */
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly clientId: string;
  /** Every token that it was given, in their order. */
  readonly tokens: readonly string[];
  /** One refresh; both tokens are new after it. */
  refresh(): Promise<void>;
}

/** Logs in from a bare URL. Throws with what failed, and with the client's `error` where the login was refused. */
export async function login(options: LoginOptions): Promise<LoggedIn> {
  const { url, browser } = options;
  const challenge = await fetch(url, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } });
  await challenge.arrayBuffer();
  const { resourceMetadataUrl } = extractWWWAuthenticateParams(challenge);
  if (challenge.status !== 401 || resourceMetadataUrl === undefined)
    throw new Error(`${url} answered ${challenge.status} without a challenge that names its metadata`);
  const metadataOfResource = await discoverOAuthProtectedResourceMetadata(url, { resourceMetadataUrl });
  const issuer = metadataOfResource.authorization_servers?.[0] ?? '';
  const metadata = await discoverAuthorizationServerMetadata(issuer);
  if (metadata === undefined) throw new Error(`${issuer} has no metadata`);
  const resource = new URL(metadataOfResource.resource);

  const clientInformation = await registerClient(issuer, {
    metadata,
    clientMetadata: {
      client_name: options.client ?? 'test',
      redirect_uris: [CLIENT_REDIRECT],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
  });
  const state = randomBytes(16).toString('base64url');
  const { authorizationUrl, codeVerifier } = await startAuthorization(issuer, {
    metadata,
    clientInformation,
    redirectUrl: CLIENT_REDIRECT,
    scope: options.scope ?? 'forgejo:read forgejo:write',
    state,
    resource,
  });
  const back = await browser.authorize(authorizationUrl, options.choice);
  const answer = Object.fromEntries(back.searchParams);
  if (answer['error'] !== undefined) throw new Error(`${answer['error']}: ${answer['error_description'] ?? ''}`);
  // RFC 9207: an answer of another server is not ours.
  if (answer['state'] !== state || answer['iss'] !== metadata.issuer)
    throw new Error('the answer is not to our request');

  const exchanged = { metadata, clientInformation, resource };
  let current: OAuthTokens = await exchangeAuthorization(issuer, {
    ...exchanged,
    authorizationCode: answer['code'] ?? '',
    codeVerifier,
    redirectUri: CLIENT_REDIRECT,
  });
  const tokens: string[] = [];
  const keep = (): void => void tokens.push(current.access_token, current.refresh_token ?? '');
  keep();
  return {
    clientId: clientInformation.client_id,
    tokens,
    get accessToken() {
      return current.access_token;
    },
    get refreshToken() {
      return current.refresh_token ?? '';
    },
    async refresh() {
      current = await refreshAuthorization(issuer, { ...exchanged, refreshToken: current.refresh_token ?? '' });
      keep();
    },
  };
}
