/** What an application gives the official SDK, of both versions, so that it logs in by itself: somewhere to keep things, and a person with a browser. */
import {
  type Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
  UnauthorizedError as UnauthorizedErrorV2,
} from '@modelcontextprotocol/client';
import {
  auth,
  type OAuthClientProvider,
  type OAuthDiscoveryState,
  UnauthorizedError,
} from '@modelcontextprotocol/sdk/client/auth.js';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { OAuthClientInformationMixed, OAuthTokens } from '@modelcontextprotocol/sdk/shared/auth.js';
import { CLIENT_REDIRECT } from './oauth-login';

/** Follows an authorization URL as far as the client's redirect URI. */
export type Browse = (url: URL) => Promise<URL>;

export class OAuthApplication implements OAuthClientProvider {
  readonly redirectUrl = CLIENT_REDIRECT;
  readonly clientMetadata;
  readonly clientMetadataUrl?: string;
  readonly #browse: Browse;
  #client: OAuthClientInformationMixed | undefined;
  #tokens: OAuthTokens | undefined;
  #discovered: OAuthDiscoveryState | undefined;
  #verifier = '';
  #answer: URLSearchParams | undefined;
  /** How often the person was sent to the browser. */
  logins = 0;

  /** @param clientMetadataUrl of a client ID metadata document; else the SDK registers the client. */
  constructor(browse: Browse, options: { readonly name?: string; readonly clientMetadataUrl?: string } = {}) {
    this.#browse = browse;
    this.clientMetadata = {
      client_name: options.name ?? 'sdk',
      redirect_uris: [CLIENT_REDIRECT],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
    if (options.clientMetadataUrl !== undefined) this.clientMetadataUrl = options.clientMetadataUrl;
  }

  clientInformation = (): OAuthClientInformationMixed | undefined => this.#client;
  saveClientInformation = (client: OAuthClientInformationMixed): void => void (this.#client = client);
  tokens = (): OAuthTokens | undefined => this.#tokens;
  saveTokens = (tokens: OAuthTokens): void => void (this.#tokens = tokens);
  saveDiscoveryState = (state: OAuthDiscoveryState): void => void (this.#discovered = state);
  discoveryState = (): OAuthDiscoveryState | undefined => this.#discovered;
  saveCodeVerifier = (verifier: string): void => void (this.#verifier = verifier);
  codeVerifier = (): string => this.#verifier;

  async redirectToAuthorization(url: URL): Promise<void> {
    this.logins += 1;
    const back = await this.#browse(url);
    const error = back.searchParams.get('error');
    if (error !== null) throw new Error(`the login was refused: ${error}`);
    this.#answer = back.searchParams;
  }

  /** From a bare URL to tokens. */
  async login(serverUrl: string): Promise<OAuthTokens> {
    const asked = await auth(this, { serverUrl });
    if (asked !== 'REDIRECT') throw new Error('it asked nobody');
    const got = await auth(this, { serverUrl, authorizationCode: this.#takeAnswer().get('code') ?? '' });
    if (got !== 'AUTHORIZED' || this.#tokens === undefined) throw new Error('no tokens were kept');
    return this.#tokens;
  }

  /**
   * Connects an SDK client that has no token yet, as the SDK's documentation has it: the first transport meets the 401 and sends the person to the
   * browser, the second one goes with the tokens.
   */
  async connect(client: Client, url: string): Promise<StreamableHTTPClientTransport> {
    const open = (): StreamableHTTPClientTransport =>
      new StreamableHTTPClientTransport(new URL(url), { authProvider: this });
    const stranger = open();
    await refusal(client.connect(stranger), UnauthorizedError);
    await stranger.finishAuth(this.#takeAnswer().get('code') ?? '');
    const transport = open();
    await client.connect(transport);
    return transport;
  }

  /** The same with the SDK's second version, which is given the whole answer and holds its issuer against the metadata (RFC 9207). */
  async connectV2(client: ClientV2, url: string): Promise<TransportV2> {
    const open = (): TransportV2 => new TransportV2(new URL(url), { authProvider: this });
    const stranger = open();
    await refusal(client.connect(stranger), UnauthorizedErrorV2);
    await stranger.finishAuth(this.#takeAnswer());
    const transport = open();
    await client.connect(transport);
    return transport;
  }

  #takeAnswer(): URLSearchParams {
    const answer = this.#answer;
    this.#answer = undefined;
    if (answer?.has('code') !== true) throw new Error('the browser came back without a code');
    return answer;
  }
}

/** Waits for a connection to be refused with the SDK's own error. */
async function refusal(
  connecting: Promise<void>,
  kind: typeof UnauthorizedError | typeof UnauthorizedErrorV2,
): Promise<void> {
  const refused = await connecting.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(refused instanceof kind)) throw new Error('the client was not asked to log in', { cause: refused });
}
