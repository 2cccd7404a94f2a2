/** Stock clients that know only the URL: each official SDK's own OAuth implementation registers, logs in through a browser and reads a private file. */
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import { join } from 'node:path';
import { type Forge, startForge } from '../support/forge';
import { OAuthApplication } from '../support/oauth-application';
import { type OAuthGateway, startOAuthGateway } from '../support/oauth-gateway';
import { CLIENT_REDIRECT } from '../support/oauth-login';
import { peerFolder, ScriptedClient } from '../support/peers';

const SECRET = { owner: 'alice', repo: 'private-notes', path: 'secret.md' };

describe('a stock client gets from the bare URL to the private file of its user, by dynamic registration', function () {
  this.timeout(120_000);
  let forge: Forge;
  let gateway: OAuthGateway;

  before(async () => {
    forge = await startForge({ users: ['alice'] });
    const command = [join(await peerFolder('forgejo-mcp-rs'), 'forgejo-mcp-rs')];
    const server = { name: 'forgejo', command, forgejo: { tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] } };
    gateway = await startOAuthGateway({ forge, settings: { servers: [server] } });
  });

  after(async () => {
    await gateway?.stop();
    await forge?.stop();
  });

  it('the Python SDK', async () => {
    const browser = gateway.browser('alice');
    const settings = { name: 'the Python SDK', redirectUri: CLIENT_REDIRECT };
    const client = await ScriptedClient.start('python', gateway.url, undefined, undefined, settings);
    await client.logIn((url) => browser.authorize(url));
    const file = await client.must('call', { name: 'get_file_contents', arguments: SECRET });
    expect(JSON.stringify(file)).to.contain(forge.user('alice').secret.trim());
    const { html } = await browser.open(new URL('/connections', gateway.url));
    expect(html).to.contain('the Python SDK').and.contain('Sessions that run now');
    await client.must('close');
    expect(await client.exit()).to.equal(0);
  });

  it('the second version of the TypeScript SDK', async () => {
    const browser = gateway.browser('alice');
    const application = new OAuthApplication((url) => browser.authorize(url), { name: 'the TypeScript SDK' });
    const client = new ClientV2({ name: 'the TypeScript SDK', version: '2' });
    await application.connectV2(client, gateway.url);
    const file = await client.callTool({ name: 'get_file_contents', arguments: SECRET });
    expect(JSON.stringify(file)).to.contain(forge.user('alice').secret.trim());
    expect(decodeJwt(application.tokens()?.access_token ?? '').aud).to.equal(gateway.url);
    expect(application.logins).to.equal(1);
    await client.close();
  });
});
