/** The conformance suite's authorization command against the issuer of a whole gateway, with a real forge behind it. */
import { expect } from 'chai';
import { conformanceAuthorization } from '../support/conformance';
import { type Forge, startForge } from '../support/forge';
import { type OAuthGateway, startOAuthGateway } from '../support/oauth-gateway';
import { childCommand } from '../support/peers';
import { freePort } from '../support/ports';

/** All that the suite's pinned version has: a check that it leaves out would not be missed otherwise. */
const CHECKS = ['authorization-code-grant', 'authorization-server-metadata', 'authorization-server-metadata-cimd'];

describe('conformance authorization --url ISSUER', function () {
  this.timeout(120_000);
  let forge: Forge;
  let gateway: OAuthGateway;

  before(async () => {
    forge = await startForge({ users: ['alice'] });
    const server = { name: 'forgejo', command: [await childCommand('forgejo-mcp-rs')] };
    gateway = await startOAuthGateway({ forge, settings: { servers: [server] } });
  });

  after(async () => {
    await gateway?.stop();
    await forge?.stop();
  });

  /** A client ID by dynamic registration, as the suite has none of its own. */
  const register = async (redirectUri: string): Promise<string> => {
    const answer = await fetch(`${gateway.gateway.url}/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ client_name: 'the conformance suite', redirect_uris: [redirectUri] }),
    });
    expect(answer.status).to.equal(201);
    return ((await answer.json()) as { client_id: string }).client_id;
  };

  for (const named of [true, false]) {
    it(`all its checks pass with ${named ? 'the MCP endpoint as the resource' : 'no resource named'}`, async () => {
      const port = await freePort();
      const browser = gateway.browser('alice');
      const { status, checks } = await conformanceAuthorization({
        issuer: gateway.gateway.url,
        clientId: await register(`http://127.0.0.1:${port}/callback`),
        port,
        ...(named ? { resource: gateway.url } : {}),
        browse: (url) => browser.authorize(url),
      });
      const passed = checks.filter((check) => check.status === 'SUCCESS');
      console.log(`      conformance authorization: ${passed.length} of ${checks.length} checks passed`);
      expect(checks.filter((check) => !passed.includes(check))).to.deep.equal([]);
      expect(passed.map(({ id }) => id)).to.have.members(CHECKS);
      expect(status).to.equal(0);
    });
  }
});
