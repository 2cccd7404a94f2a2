/** The whole gateway with OAuth before a real forge: from the bare URL to a private file, and to the end of it on the page of connections. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import { join } from 'node:path';
import { cites } from '../requirements';
import { type Forge, startForge } from '../support/forge';
import { McpClient } from '../support/mcp';
import { OAuthApplication } from '../support/oauth-application';
import { type BrowserPage, formsOf, type OAuthBrowser } from '../support/oauth-browser';
import { type OAuthGateway, startOAuthGateway } from '../support/oauth-gateway';
import { peerFolder } from '../support/peers';
import { until } from '../support/until';

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};

describe('logging in at the whole gateway', function () {
  this.timeout(120_000);
  let forge: Forge;
  let gateway: OAuthGateway;

  before(async () => {
    forge = await startForge({ users: ['alice', 'bob'] });
    const child = { command: [join(await peerFolder('forgejo-mcp-rs'), 'forgejo-mcp-rs')] };
    const forgejo = { tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] };
    gateway = await startOAuthGateway({
      forge,
      settings: {
        sessions: { maxPerUser: 100 },
        servers: [
          { name: 'forgejo', ...child, forgejo },
          { name: 'reader', ...child, forgejo, policy: { access: 'read' } },
        ],
      },
    });
  });

  after(async () => {
    await gateway?.stop();
    await forge?.stop();
  });

  const secretOf = (user: string) => ({ owner: user, repo: 'private-notes', path: 'secret.md' });
  const secret = (user: string): string => forge.user(user).secret.trim();
  const connections = (browser: OAuthBrowser): Promise<BrowserPage> =>
    browser.open(new URL('/connections', gateway.url));

  it('the official SDK gets from the bare URL to the private file of its user, with no step by hand, and its user ends it', async () => {
    const browser = gateway.browser('alice');
    const application = new OAuthApplication((url) => browser.authorize(url, { access: 'read' }), { name: 'an SDK' });
    const client = new Client({ name: 'an SDK', version: '1' });
    await application.connect(client, gateway.url);
    expect(decodeJwt(application.tokens()?.access_token ?? '')).to.include({ scope: 'forgejo:read', aud: gateway.url });
    const file = await client.callTool({ name: 'get_file_contents', arguments: secretOf('alice') });
    expect(JSON.stringify(file)).to.contain(secret('alice'));

    const page = await connections(browser);
    expect(page.status).to.equal(200);
    expect(page.html).to.contain('an SDK').and.contain('Sessions that run now');
    const end = formsOf(page).find(({ hidden }) => hidden['do'] === 'revoke');
    expect((await browser.submit(end!)).html).to.contain('Nothing is connected');
    const bearer = new McpClient(gateway.url, application.tokens()?.access_token);
    await until('the token is refused', async () => (await bearer.post(INITIALIZE)).status === 401);
    await until('the session has ended', async () => (await gateway.metric('forgejo_mcp_sessions')) === 0);
    await bearer.close();
    await client.close();
  });

  it('a client that is refused on the consent page, or at the forge, is told so, and gets no token', async () => {
    cites('2025-03-26/authorization/39');
    for (const choice of [{ decision: 'deny' }, { granted: false }] as const) {
      const refused = await gateway.login('bob', { choice, client: 'refused' }).then(
        () => undefined,
        (error: Error) => error.message,
      );
      expect(refused, JSON.stringify(choice)).to.match(/access_denied/);
    }
  });

  it('what was allowed is all that a session reaches: with one repository named, no other, which a wider login reads', async () => {
    const handbook = { owner: 'shared', repo: 'handbook', path: 'README.md' };
    for (const [names, reached] of [
      [undefined, true],
      [['bob/private-notes'], false],
    ] as const) {
      const choice = { access: 'read', ...(names && { names }) } as const;
      const { accessToken } = await gateway.login('bob', { choice, client: `reaches ${String(reached)}` });
      expect(decodeJwt(accessToken).scope).to.equal('forgejo:read');
      const client = new McpClient(gateway.url, accessToken);
      await client.initialize();
      expect(await client.text('get_file_contents', secretOf('bob'))).to.contain(secret('bob'));
      const { answer } = await client.call('get_file_contents', handbook);
      expect(answer?.error === undefined && answer?.result?.isError !== true, String(names)).to.equal(reached);
      await client.end();
      await client.close();
    }
  });

  it('a token is good at its own server only, and a server that reads gives no scope to write', async () => {
    const { accessToken } = await gateway.login('alice', { url: gateway.urlOf('reader'), choice: { access: 'read' } });
    expect(decodeJwt(accessToken)).to.include({ aud: gateway.urlOf('reader'), scope: 'forgejo:read' });
    for (const [server, status] of [
      [undefined, 401],
      ['reader', 200],
    ] as const) {
      const client = new McpClient(gateway.urlOf(server), accessToken);
      const answer = await client.post(INITIALIZE);
      expect(answer.status, String(server)).to.equal(status);
      client.sessionId = answer.headers['mcp-session-id'] as string | undefined;
      if (status === 200) await client.end();
      await client.close();
    }
  });

  it("twenty clients of two users log in at once, and each reads its own user's file", async () => {
    cites('2025-06-18/authorization/52', '2025-11-25/elicitation/23');
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const user = i % 2 ? 'alice' : 'bob';
        const { accessToken } = await gateway.login(user, { client: `client ${i}`, choice: { access: 'read' } });
        const client = new McpClient(gateway.url, accessToken);
        await client.initialize();
        expect(await client.text('get_file_contents', secretOf(user))).to.contain(secret(user));
        await client.end();
        await client.close();
      }),
    );
  });

  it('a session goes on under the refreshed tokens of its login', async () => {
    const login = await gateway.login('alice', { choice: { access: 'read' } });
    const first = new McpClient(gateway.url, login.accessToken);
    await first.initialize();
    for (let count = 0; count < 3; count++) {
      await login.refresh();
      const next = new McpClient(gateway.url, login.accessToken);
      next.sessionId = first.sessionId;
      expect(await next.text('get_file_contents', secretOf('alice'))).to.contain(secret('alice'));
      await next.close();
    }
    await first.end();
    await first.close();
  });

  it('says none of all that to its log: no token, code, state, cookie, password or client secret', () => {
    const log = gateway.lines.join('');
    expect(log).to.contain('"level":"info"');
    const secrets = [...gateway.secrets(), forge.user('alice').password, forge.user('bob').password];
    expect(secrets.length).to.be.greaterThan(100);
    for (const value of secrets) if (value.length >= 16) expect(log.includes(value)).to.equal(false);
  });
});
