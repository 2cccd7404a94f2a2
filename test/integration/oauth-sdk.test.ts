/** The official TypeScript SDK's own OAuth client against the authorization server: it knows the URL of /mcp and nothing else. */
import { expect } from 'chai';
import { auth } from '@modelcontextprotocol/sdk/client/auth.js';
import { decodeJwt } from 'jose';
import { cites } from '../requirements';
import { loopback, PlainClient, REDIRECT, type Loopback } from '../support/oauth';
import { OAuthApplication } from '../support/oauth-application';

const DOCUMENT = 'https://client.example/oauth/metadata.json';

/** An application whose user's browser knows the stand-in for the login pages. */
function application(base: string, clientMetadataUrl?: string): OAuthApplication {
  const browser = new PlainClient(base);
  const browse = async (url: URL): Promise<URL> => (await browser.browse(`${url.pathname}${url.search}`)).url;
  return new OAuthApplication(browse, clientMetadataUrl === undefined ? {} : { clientMetadataUrl });
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
    cites(
      '2025-03-26/authorization/1',
      '2025-03-26/authorization/7',
      '2025-03-26/authorization/12',
      '2025-03-26/authorization/5',
      '2025-06-18/authorization/5',
    );
    const client = application(at.base);
    const { access_token: token } = await client.login(`${at.base}/mcp`);
    expect((await new PlainClient(at.base).whoAmI(token)).status).to.equal(200);
    expect(decodeJwt(token).aud).to.equal(`${at.base}/mcp`);
  });

  it('by a client ID metadata document, without a registration', async () => {
    const client = application(at.base, DOCUMENT);
    const { access_token: token } = await client.login(`${at.base}/mcp`);
    expect(decodeJwt(token).client_id).to.equal(DOCUMENT);
  });

  it('at the path of another server, and of the default one', async () => {
    for (const path of ['/servers/other/mcp', '/servers/main/mcp']) {
      const { access_token: token } = await application(at.base).login(`${at.base}${path}`);
      expect((await new PlainClient(at.base).whoAmI(token, path)).status, path).to.equal(200);
    }
  });

  it('refreshes 30 times without a browser, and keeps its tokens over a fault of the store', async () => {
    const client = application(at.base);
    const serverUrl = `${at.base}/mcp`;
    await client.login(serverUrl);
    const grant = decodeJwt(client.tokens()?.access_token ?? '').gid;
    for (let count = 0; count < 30; count += 1) {
      if (count === 15) {
        at.store.failing = (method) => method === 'replace';
        const kept = client.tokens();
        await auth(client, { serverUrl }).then(
          () => expect.fail('it cannot have refreshed'),
          () => undefined,
        );
        expect(client.tokens()).to.equal(kept);
        at.store.failing = () => false;
      }
      expect(await auth(client, { serverUrl })).to.equal('AUTHORIZED');
    }
    expect(client.logins).to.equal(1);
    expect(decodeJwt(client.tokens()?.access_token ?? '').gid).to.equal(grant);
  });
});
