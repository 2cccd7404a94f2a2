/** Logins and requests of MCP 2026-07-28: who is let in, whose child serves whom, what ends a subscription, and that nothing secret is written. */
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import { type Forge, startForge } from '../support/forge';
import { askedBy, childrenWith, EVERYTHING, jsonIn, SUBSCRIPTION_ID, textIn } from '../support/modern-gateway';
import { type BrowserPage, formsOf, type OAuthBrowser } from '../support/oauth-browser';
import { type OAuthGateway, startOAuthGateway } from '../support/oauth-gateway';
import type { LoggedIn } from '../support/oauth-login';
import { childCommand } from '../support/peers';
import { StatelessClient, type StatelessStream } from '../support/stateless-client';
import { until } from '../support/until';

const WORD = 'modern-oauth';
const FORM = { message: 'Who?', requestedSchema: { type: 'object', properties: {} } };

describe('logins and requests of MCP 2026-07-28', function () {
  this.timeout(180_000);
  let forge: Forge;
  let gateway: OAuthGateway;
  const clients: StatelessClient[] = [];
  const streams: StatelessStream[] = [];
  /** Request states and what was answered, over the whole run. */
  const secrets: string[] = [];

  before(async () => {
    forge = await startForge({ users: ['alice', 'bob', 'carol'] });
    gateway = await startOAuthGateway({
      forge,
      settings: {
        auth: { oauth: { probeInterval: '2s' } },
        sessions: { maxPerUser: 100, sweepInterval: '0.1s' },
        servers: [
          {
            name: 'fixture',
            command: [await childCommand('fixture-child'), WORD],
            env: { FIXTURE_START: 'annotate' },
            stopGrace: '1s',
          },
        ],
      },
    });
  });

  after(async () => {
    await gateway?.stop();
    await forge?.stop();
  });

  afterEach(async () => {
    for (const stream of streams.splice(0)) stream.close();
    for (const client of clients.splice(0)) await client.close();
  });

  const clientOf = (token: string): StatelessClient => {
    const client = new StatelessClient(gateway.url, token, EVERYTHING);
    clients.push(client);
    return client;
  };
  const pidOf = async (client: StatelessClient): Promise<number> => jsonIn(await client.tool('pid')).pid;

  const listen = async (client: StatelessClient): Promise<{ id: string; stream: StatelessStream }> => {
    const request = client.message('subscriptions/listen', { notifications: { toolsListChanged: true } });
    const stream = await client.open(request);
    streams.push(stream);
    expect((await stream.next()).method).to.equal('notifications/subscriptions/acknowledged');
    return { id: request.id, stream };
  };

  /** A stream that ends as it should: with the result of its request. */
  const completes = async ({ id, stream }: { id: string; stream: StatelessStream }): Promise<void> => {
    const last = await stream.next();
    expect(last).to.deep.include({ jsonrpc: '2.0', id });
    expect(last.result.resultType).to.equal('complete');
    expect(last.result._meta[SUBSCRIPTION_ID]).to.equal(id);
    expect(await stream.next()).to.equal(undefined);
  };

  const connections = (browser: OAuthBrowser): Promise<BrowserPage> =>
    browser.open(new URL('/connections', gateway.url));

  it('401 with the way to log in for a request without a login, and for a token that is none', async () => {
    const before = await childrenWith(WORD);
    for (const authorization of [undefined, 'Bearer x.y.z', `Bearer ${forge.user('alice').tokens.full}`]) {
      for (const method of ['server/discover', 'tools/list', 'subscriptions/listen']) {
        const answer = await clientOf('').call(method, {}, {}, { authorization });
        expect(answer.status, method).to.equal(401);
        expect(answer.headers['www-authenticate']).to.contain('resource_metadata=');
        expect(answer.headers['mcp-session-id']).to.equal(undefined);
      }
    }
    expect(await childrenWith(WORD)).to.deep.equal(before);
  });

  it('403 insufficient_scope with the scopes that are needed for a tool that writes and a login that reads, and nothing runs', async () => {
    const reader = clientOf(
      (await gateway.login('alice', { client: 'reads', choice: { access: 'read' } })).accessToken,
    );
    const write = { path: '/tmp/never-written', text: 'x' };
    const answer = await reader.tool('writefile', write);
    expect(answer.status).to.equal(403);
    expect(answer.headers['www-authenticate']).to.contain('insufficient_scope').and.contain('forgejo:write');
    expect(answer.answer).to.include({ id: 'r1' });
    const { called } = jsonIn(await reader.tool('state'));
    expect(called).to.deep.equal({ state: 1 });
    const writer = clientOf((await gateway.login('alice', { client: 'writes' })).accessToken);
    expect((await writer.tool('writefile', { ...write, path: '/proc/never-written' })).status).to.equal(200);
  });

  it('each grant has a child of its own, which its refreshed tokens find again', async () => {
    const logins: LoggedIn[] = [
      await gateway.login('alice', { client: 'one' }),
      await gateway.login('alice', { client: 'two' }),
      await gateway.login('alice', { client: 'three', choice: { access: 'read' } }),
      await gateway.login('bob', { client: 'one' }),
    ];
    const pids = await Promise.all(logins.map(({ accessToken }) => pidOf(clientOf(accessToken))));
    expect(new Set(pids).size).to.equal(logins.length);
    for (const [at, login] of logins.entries()) {
      await login.refresh();
      expect(await pidOf(clientOf(login.accessToken))).to.equal(pids[at]);
    }
  });

  it('a grant that its user revokes ends its subscriptions with their results, and its child, and nobody else’s', async () => {
    const [login, other] = [
      await gateway.login('alice', { client: 'goes' }),
      await gateway.login('alice', { client: 'stays' }),
    ];
    const [client, kept] = [clientOf(login.accessToken), clientOf(other.accessToken)];
    const [pid, keptPid] = [await pidOf(client), await pidOf(kept)];
    const [first, second] = [await listen(client), await listen(client)];
    const stays = await listen(kept);
    const browser = gateway.browser('alice');
    const { gid: grant } = decodeJwt(login.accessToken);
    const end = formsOf(await connections(browser)).find(
      ({ hidden }) => hidden['do'] === 'revoke' && hidden['grant'] === grant,
    );
    await browser.submit(end!);
    await Promise.all([completes(first), completes(second)]);
    await until('the child is gone', async () => !(await childrenWith(WORD)).includes(pid));
    await until('401', async () => (await client.call('tools/list')).status === 401);
    expect(await pidOf(kept)).to.equal(keptPid);
    await kept.tool('notify', { method: 'notifications/tools/list_changed' });
    expect((await stays.stream.next()).method).to.equal('notifications/tools/list_changed');
  });

  it('a session that its user ends on the page ends its subscription with a result, and the next request starts another', async () => {
    const login = await gateway.login('bob', { client: 'ended' });
    const client = clientOf(login.accessToken);
    const pid = await pidOf(client);
    const listening = await listen(client);
    const browser = gateway.browser('bob');
    const { gid: grant } = decodeJwt(login.accessToken);
    const end = formsOf(await connections(browser)).find(
      ({ hidden }) => hidden['do'] === 'end' && hidden['grant'] === grant,
    );
    await browser.submit(end!);
    await completes(listening);
    const next = await pidOf(client);
    expect(next).to.not.equal(pid);
    expect(await childrenWith(WORD))
      .to.include(next)
      .and.not.include(pid);
  });

  it('a user who is blocked at the forge is out: 401, the subscription ends, the child is gone', async () => {
    const login = await gateway.login('carol', { client: 'blocked' });
    const client = clientOf(login.accessToken);
    const pid = await pidOf(client);
    const listening = await listen(client);
    const body = { login_name: 'carol', source_id: 0, prohibit_login: true };
    expect((await forge.api('/admin/users/carol', { method: 'PATCH', body })).status).to.equal(200);
    await until('401', async () => (await client.call('tools/list')).status === 401, 60_000);
    await completes(listening);
    await until('the child is gone', async () => !(await childrenWith(WORD)).includes(pid));
  });

  it('no token, code, cookie, request state or answer of a user is written to the log or the metrics', async () => {
    const client = clientOf((await gateway.login('alice', { client: 'asked' })).accessToken);
    const request = { name: 'ask', arguments: { method: 'elicitation/create', params: FORM } };
    for (const given of [{ word: 'a-private-answer-of-alice' }, undefined]) {
      const { state = '', keys } = askedBy(await client.call('tools/call', request));
      secrets.push(state, ...(given === undefined ? [] : [given.word]));
      const inputResponses = { [keys[0] ?? '']: { action: 'accept', content: given } };
      const good = { ...request, inputResponses, requestState: state };
      if (given !== undefined) expect(textIn(await client.call('tools/call', good))).to.contain(given.word);
      for (const requestState of [`${state}x`, state.slice(1)]) {
        expect((await client.call('tools/call', { ...good, requestState })).answer.error.code).to.equal(-32602);
      }
    }
    // Where secrets do not belong: names that a client gives, and what a child prints of what it knows. It is never given a state.
    const { token } = client;
    const environment = jsonIn(await client.tool('env'));
    secrets.push(environment.FORGEJO_ACCESS_TOKEN as string);
    for (const text of [`Authorization: Bearer ${token}`, `token=${environment.FORGEJO_ACCESS_TOKEN as string}`]) {
      await client.tool('stderr', { text: `${text}\n`, times: 1 });
      await client.tool('noise', { text: `${text}\n` });
    }
    await client.call('tools/call', { name: token });
    await client.call(`x/${secrets[0] ?? ''}`);
    await client.call('tools/list', {}, {}, { 'Mcp-Method': secrets[0], 'Mcp-Session-Id': token });
    const end = client.open(client.message('tools/call', { name: 'crash' }));
    await (await end).next();

    const all = [...secrets, ...gateway.secrets(), ...(await gateway.keys())].filter(({ length }) => length >= 16);
    expect(all.length).to.be.greaterThan(15);
    const log = gateway.lines.join('');
    expect(log).to.contain('"level":"debug"').and.contain('child.stderr');
    const metrics = await gateway.metrics();
    for (const [what, text] of [
      ['the log', log],
      ['the metrics', metrics],
    ] as const) {
      for (const value of all) {
        for (const form of [
          value,
          encodeURIComponent(value),
          Buffer.from(value).toString('base64').replace(/=+$/, ''),
        ]) {
          expect(text.includes(form), `${what} holds ${value.slice(0, 12)}...`).to.equal(false);
        }
      }
    }
  });
});
