/** The official TypeScript SDK's own OAuth client against the authorization server: it knows the URL of /mcp and nothing else. */
import { expect } from 'chai';
import { auth, type OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js';
import type { OAuthClientInformationMixed, OAuthTokens } from '@modelcontextprotocol/sdk/shared/auth.js';
import { decodeJwt } from 'jose';
import { loopback, PlainClient, REDIRECT, type Loopback } from '../support/oauth';

const DOCUMENT = 'https://client.example/oauth/metadata.json';

/** What an application gives the SDK: somewhere to keep things, and a browser. */
class Application implements OAuthClientProvider {
  readonly redirectUrl = REDIRECT;
  readonly clientMetadata = {
    client_name: 'sdk',
    redirect_uris: [REDIRECT],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  readonly clientMetadataUrl?: string;
  readonly #browser: PlainClient;
  #client: OAuthClientInformationMixed | undefined;
  #tokens: OAuthTokens | undefined;
  #verifier = '';
  code: string | undefined;
  logins = 0;

  constructor(base: string, clientMetadataUrl?: string) {
    this.#browser = new PlainClient(base);
    if (clientMetadataUrl !== undefined) this.clientMetadataUrl = clientMetadataUrl;
  }

  clientInformation = (): OAuthClientInformationMixed | undefined => this.#client;
  saveClientInformation = (client: OAuthClientInformationMixed): void => void (this.#client = client);
  tokens = (): OAuthTokens | undefined => this.#tokens;
  saveTokens = (tokens: OAuthTokens): void => void (this.#tokens = tokens);
  saveCodeVerifier = (verifier: string): void => void (this.#verifier = verifier);
  codeVerifier = (): string => this.#verifier;

  async redirectToAuthorization(url: URL): Promise<void> {
    this.logins += 1;
    const { url: back } = await this.#browser.browse(`${url.pathname}${url.search}`);
    this.code = back.searchParams.get('code') ?? undefined;
  }

  /** From a bare URL to tokens. */
  async login(serverUrl: string): Promise<OAuthTokens> {
    expect(await auth(this, { serverUrl })).to.equal('REDIRECT');
    if (this.code === undefined) throw new Error('the browser came back without a code');
    expect(await auth(this, { serverUrl, authorizationCode: this.code })).to.equal('AUTHORIZED');
    if (this.#tokens === undefined) throw new Error('no tokens were kept');
    return this.#tokens;
  }
}

describe('the official SDK logs in', () => {
  let at: Loopback;

  beforeEach(async () => {
    at = await loopback({
      documents: {
        [DOCUMENT]: {
          client_id: DOCUMENT,
          redirect_uris: [REDIRECT],
          application_type: 'native',
          grant_types: ['authorization_code', 'refresh_token'],
          token_endpoint_auth_method: 'none',
        },
      },
    });
  });

  afterEach(() => at.close());

  it('by dynamic registration, and its tokens are good at /mcp', async () => {
    const application = new Application(at.base);
    const { access_token: token } = await application.login(`${at.base}/mcp`);
    expect((await new PlainClient(at.base).whoAmI(token)).status).to.equal(200);
    expect(decodeJwt(token).aud).to.equal(`${at.base}/mcp`);
  });

  it('by a client ID metadata document, without a registration', async () => {
    const application = new Application(at.base, DOCUMENT);
    const { access_token: token } = await application.login(`${at.base}/mcp`);
    expect(decodeJwt(token).client_id).to.equal(DOCUMENT);
  });

  it('at the path of another server, and of the default one', async () => {
    for (const path of ['/servers/other/mcp', '/servers/main/mcp']) {
      const { access_token: token } = await new Application(at.base).login(`${at.base}${path}`);
      expect((await new PlainClient(at.base).whoAmI(token, path)).status, path).to.equal(200);
    }
  });

  it('refreshes 30 times without a browser, and keeps its tokens over a fault of the store', async () => {
    const application = new Application(at.base);
    const serverUrl = `${at.base}/mcp`;
    await application.login(serverUrl);
    const grant = decodeJwt(application.tokens()?.access_token ?? '').gid;
    for (let count = 0; count < 30; count += 1) {
      if (count === 15) {
        at.store.failing = (method) => method === 'replace';
        const kept = application.tokens();
        await auth(application, { serverUrl }).then(
          () => expect.fail('it cannot have refreshed'),
          () => undefined,
        );
        expect(application.tokens()).to.equal(kept);
        at.store.failing = () => false;
      }
      expect(await auth(application, { serverUrl })).to.equal('AUTHORIZED');
    }
    expect(application.logins).to.equal(1);
    expect(decodeJwt(application.tokens()?.access_token ?? '').gid).to.equal(grant);
  });
});
