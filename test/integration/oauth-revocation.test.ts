/** What ends a login, and what does not, at two gateways that share a store: a revoked grant, a blocked user, a forge that is away, an application that is gone. */
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { request } from 'undici';
import { APPLICATION_NAMES } from '../../scripts/forge-applications';
import { cites } from '../requirements';
import { type Forge, startForge } from '../support/forge';
import { type GatewayPair, type Side, startGatewayPair } from '../support/gateway-pair';
import { McpClient } from '../support/mcp';
import { OAuthApplication } from '../support/oauth-application';
import { formsOf } from '../support/oauth-browser';
import type { LoggedIn } from '../support/oauth-login';
import { peerFolder } from '../support/peers';
import { until } from '../support/until';

/** What a revoked grant may take at most on another gateway, and what a blocked user may. */
const SECONDS_MS = 15_000;
const MINUTE_MS = 60_000;
const AWAY_MS = 20_000;
/** Owns the gateway's applications at the forge. */
const OWNER = 'mcp-gateway';

/** An application that drops its tokens when the SDK says that they are worth nothing any more, as most do. */
class Application extends OAuthApplication {
  invalidateCredentials: (scope: string) => void;

  constructor(...options: ConstructorParameters<typeof OAuthApplication>) {
    super(...options);
    const { tokens, saveTokens } = this;
    let dropped = false;
    this.tokens = () => (dropped ? undefined : tokens());
    this.saveTokens = (saved) => {
      dropped = false;
      saveTokens(saved);
    };
    this.invalidateCredentials = (scope) => {
      if (scope === 'all' || scope === 'tokens') dropped = true;
    };
  }
}

describe('oauth: the end of a login, at two gateways', function () {
  this.timeout(180_000);
  let forge: Forge;
  let pair: GatewayPair;
  const clients: McpClient[] = [];

  before(async () => {
    forge = await startForge({ users: ['alice', 'bob', 'carol'] });
    pair = await startGatewayPair({
      forge,
      command: [join(await peerFolder('forgejo-mcp-rs'), 'forgejo-mcp-rs')],
      settings: { auth: { oauth: { probeInterval: '2s' } } },
    });
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.close();
  });
  after(async () => {
    await pair?.stop();
    await forge?.stop();
  });

  const session = async (login: LoggedIn, side: Side, id?: string): Promise<McpClient> => {
    const client = new McpClient(pair.url, login.accessToken, pair.agentOf(side));
    clients.push(client);
    client.sessionId = id;
    if (id === undefined) await client.initialize();
    return client;
  };
  const fileOf = (user: string) => ({ owner: user, repo: 'private-notes', path: 'secret.md' });
  const reads = async (client: McpClient, user: string): Promise<void> => {
    expect(await client.text('get_file_contents', fileOf(user))).to.contain(forge.user(user).secret.trim());
  };
  const statusOf = async (client: McpClient): Promise<number> => (await client.request('ping')).status;
  /** Resolves when the session's own stream has ended. */
  const stream = async (client: McpClient, login: LoggedIn, side: Side): Promise<{ readonly ended: Promise<void> }> => {
    const { statusCode, body } = await request(pair.url, {
      dispatcher: pair.agentOf(side),
      headers: {
        accept: 'text/event-stream',
        authorization: `Bearer ${login.accessToken}`,
        'mcp-session-id': client.sessionId ?? '',
      },
    });
    expect(statusCode).to.equal(200);
    return { ended: body.dump({ limit: 1 << 20 }) };
  };
  const block = async (user: string, prohibit: boolean): Promise<void> => {
    const body = { login_name: user, source_id: 0, prohibit_login: prohibit };
    expect((await forge.api(`/admin/users/${user}`, { method: 'PATCH', body })).status).to.equal(200);
  };
  const refusal = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => 'nothing was refused',
      (error: unknown) => error,
    );

  it("a grant that is revoked on the page ends its sessions and their open streams at both gateways within seconds, and nobody else's", async () => {
    const [login, other] = [
      await pair.login('alice', { client: 'goes' }),
      await pair.login('alice', { client: 'stays' }),
    ];
    const [here, there, kept] = [await session(login, 0), await session(login, 1), await session(other, 1)];
    const streams = [(await stream(here, login, 0)).ended, (await stream(there, login, 1)).ended];
    const browser = pair.browser('alice');
    const page = await browser.open(new URL('/connections', pair.url));
    const { gid: grant } = decodeJwt(login.accessToken);
    const end = formsOf(page).find(({ hidden }) => hidden['do'] === 'revoke' && hidden['grant'] === grant);
    await browser.submit(end!);
    const late = pause(SECONDS_MS, 'late');
    expect(await Promise.race([Promise.all(streams), late])).to.not.equal('late');
    for (const client of [here, there])
      await until('the token is refused', async () => (await statusOf(client)) === 401, SECONDS_MS);
    expect(String(await refusal(login.refresh()))).to.match(/InvalidGrant/);
    await until('one session is left', async () => (await pair.metric('forgejo_mcp_sessions')) === 1, SECONDS_MS);
    await reads(kept, 'alice');
    await kept.end();
  });

  it('a new login of the same user and client takes over the session that lives, which survives the end of the old grant', async () => {
    const first = await pair.login('alice', { client: 'again' });
    const old = await session(first, 1);
    const second = await pair.login('alice', { client: 'again' });
    expect(second.clientId).to.equal(first.clientId);
    const adopted = await session(second, 1, old.sessionId);
    await reads(adopted, 'alice');
    const revoked = await fetch(new URL('/revoke', pair.url), {
      method: 'POST',
      body: new URLSearchParams({ token: first.refreshToken, client_id: first.clientId }),
    });
    expect(revoked.status).to.equal(200);
    await until('the old token is refused', async () => (await statusOf(old)) === 401, SECONDS_MS);
    await reads(adopted, 'alice');
    expect(await adopted.end()).to.be.oneOf([200, 204]);
  });

  it('a user who is blocked at the forge is out within a minute at both gateways: 401, invalid_grant, and the SDK begins a login; unblocked and logged in again all works', async () => {
    cites('2025-03-26/authorization/38');
    const browser = pair.browser('bob');
    const application = new Application((url) => browser.authorize(url), { name: 'an SDK' });
    await application.login(pair.url);
    const open = (): StreamableHTTPClientTransport =>
      new StreamableHTTPClientTransport(new URL(pair.url), {
        authProvider: application,
        fetch: pair.fetchOf(0),
        // The stream that ends with the session would begin a login of its own, beside the one of the next call.
        reconnectionOptions: {
          maxRetries: 0,
          initialReconnectionDelay: 0,
          maxReconnectionDelay: 0,
          reconnectionDelayGrowFactor: 1,
        },
      });
    const client = new Client({ name: 'an SDK', version: '1' });
    await client.connect(open());
    const login = await pair.login('bob', { client: 'plain' });
    const plain = await session(login, 1);
    const untouched = await session(await pair.login('carol', { client: 'plain' }), 1);

    await block('bob', true);
    await until(
      "one session is left, another user's",
      async () => (await pair.metric('forgejo_mcp_sessions')) === 1,
      MINUTE_MS,
    );
    await until('the token is refused', async () => (await statusOf(plain)) === 401, SECONDS_MS);
    expect(String(await refusal(login.refresh()))).to.match(/InvalidGrant/);
    expect(String(await refusal(application.login(pair.url)))).to.contain('the login ended at a page');

    await block('bob', false);
    application.logins = 0;
    expect(await refusal(client.callTool({ name: 'get_file_contents', arguments: fileOf('bob') }))).to.be.instanceOf(
      UnauthorizedError,
    );
    expect(application.logins, 'the SDK sent its user to the browser').to.equal(1);
    await application.login(pair.url);
    const again = new Client({ name: 'an SDK', version: '1' });
    await again.connect(open());
    const file = await again.callTool({ name: 'get_file_contents', arguments: fileOf('bob') });
    expect(JSON.stringify(file)).to.contain(forge.user('bob').secret.trim());
    await again.close();
    await client.close();
    await reads(untouched, 'carol');
    await untouched.end();
  });

  it('a forge that is away for twenty seconds makes calls fail in so many words; nobody is logged out, and a gateway starts without it', async () => {
    const login = await pair.login('carol', { client: 'patient' });
    const client = await session(login, 0);
    await forge.kill();
    expect(await pair.stopOne(1)).to.equal(0);
    const back = performance.now() + AWAY_MS;
    await pair.start(1);
    let calls = 0;
    while (performance.now() < back || calls === 0) {
      const { status, answer } = await client.call('get_file_contents', fileOf('carol'));
      expect(status).to.equal(200);
      expect(answer?.error ?? answer?.result?.isError, 'the call fails').to.be.ok;
      calls += 1;
      await pause(500);
    }
    await login.refresh();
    await forge.restart();
    const after = await session(login, 0, client.sessionId);
    await until('the forge is asked again', async () => {
      const { answer } = await after.call('get_file_contents', fileOf('carol'));
      return answer?.result !== undefined && answer.result.isError !== true;
    });
    await reads(after, 'carol');
    await reads(await session(login, 1), 'carol');
    expect(pair.log(0) + pair.log(1)).to.not.contain('unhandled-rejection');
  });

  describe('when the administrator breaks the applications at the forge', () => {
    let login: LoggedIn;
    let client: McpClient;
    const path = '/user/applications/oauth2';
    const applications = async () => {
      const { body } = await forge.api(`${path}?limit=50`, { sudo: OWNER });
      return body as { readonly id: number; readonly name: string; readonly redirect_uris: string[] }[];
    };

    before(async () => {
      login = await pair.login('carol', { client: 'unlucky' });
    });
    beforeEach(async () => {
      client = await session(login, 0, client?.sessionId);
    });

    it('a client secret that is wrong ends no session, and a login ends at a page that names whose fault it is', async () => {
      for (const { id, name, redirect_uris } of await applications()) {
        const body = { name, redirect_uris, confidential_client: true };
        expect((await forge.api(`${path}/${id}`, { method: 'PATCH', sudo: OWNER, body })).status).to.equal(200);
      }
      const ended = String(await refusal(pair.login('alice', { client: 'late' })));
      expect(ended)
        .to.match(/the login ended at a page, “50\d /)
        .and.to.contain('/oauth/callback');
      await reads(client, 'carol');
      await login.refresh();
    });

    it('an application that is gone ends its sessions within a minute, and a login ends at a page, not in a loop', async () => {
      expect((await applications()).map(({ name }) => name).sort()).to.deep.equal(
        Object.values(APPLICATION_NAMES).sort(),
      );
      for (const { id } of await applications())
        expect((await forge.api(`${path}/${id}`, { method: 'DELETE', sudo: OWNER })).status).to.equal(204);
      await until('no session is left', async () => (await pair.metric('forgejo_mcp_sessions')) === 0, MINUTE_MS);
      expect(await statusOf(client)).to.equal(401);
      expect(String(await refusal(login.refresh()))).to.match(/InvalidGrant/);
      const ended = String(await refusal(pair.login('carol', { client: 'unlucky' })));
      expect(ended).to.contain('the login ended at a page').and.to.contain(`${forge.url}/login/oauth/authorize: 4`);
    });
  });
});
