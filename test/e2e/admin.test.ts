/** What administrators do with kubectl alone, over several gateways: a server is drained, and all sessions of a user are ended. */
import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { get, kubectl } from '../support/cluster';
import { Gateways } from '../support/gateways';
import type { Installed } from '../support/installed';
import { McpClient } from '../support/mcp';
import { until } from '../support/until';

const SERVER = 'emptied';

describe('administration with kubectl', function () {
  this.timeout(180_000);
  const gateways = Gateways.use(2);
  const { clients } = gateways;
  let app: Installed;

  before(async () => {
    app = gateways.app;
    await app.applyServer(SERVER, { idleTimeout: '5s' });
    await app.served(SERVER);
  });

  after(() => app.removeServer(SERVER));

  const open = (user: string, server = SERVER): Promise<McpClient> => gateways.open(user, server);
  const statusOf = async (client: McpClient): Promise<any> =>
    (await get<any>('mcpsession', nameOf(client), app.sessionsNamespace)).status;
  const drain = (is: boolean): Promise<string> =>
    kubectl([
      '-n',
      app.namespace,
      'patch',
      'mcps',
      SERVER,
      '--type=merge',
      '-p',
      JSON.stringify({ spec: { drain: is } }),
    ]);
  const asleep = (client: McpClient) =>
    until('it sleeps', async () => (await statusOf(client)).state === 'Hibernated', 90_000);
  const echo = async (client: McpClient): Promise<number> => (await client.call('echo', { text: 'x' })).status;

  it('drains a server: calls in flight are answered, all sessions end, and it opens some again when that is taken back', async () => {
    const sleeper = await open('bob');
    await asleep(sleeper);
    const [busy, idle] = [await open('alice'), await open('alice')];
    const call = busy.call('slow', { ms: 6000, steps: 2 });
    await until('the call is under way', async () => (await statusOf(busy)).state === 'Active');
    await drain(true);
    expect((await call).answer?.result, 'the call that was in flight').to.not.equal(undefined);
    await kubectl(['-n', app.namespace, 'wait', 'mcps', SERVER, '--for=condition=Drained', '--timeout=60s']);
    const shown = await get<any>('mcpserver', SERVER, app.namespace);
    expect(shown.status.sessions).to.deep.equal({ active: 0, hibernated: 0, starting: 0 });
    for (const client of [sleeper, busy, idle]) {
      expect(await statusOf(client)).to.include({ state: 'Ended', reason: 'drained' });
      expect(await echo(client)).to.equal(404);
    }
    const late = await app.client('alice', SERVER);
    clients.push(late);
    const clientInfo = { name: 'test', version: '1' };
    const refused = await late.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo });
    expect([refused.status, refused.headers['retry-after']]).to.deep.equal([503, '60']);
    expect(refused.text).to.include('SERVER_DRAINING');
    await drain(false);
    const again = await until('it opens sessions', () => open('alice').catch(() => undefined));
    expect(await echo(again)).to.equal(200);
  });

  it('ends all sessions of one user, on every gateway, asleep or awake, and leaves the login alone', async () => {
    const sleeper = await open('alice');
    await asleep(sleeper);
    const own = await Promise.all([...Array(4).keys()].map(() => open('alice', 'fixture')));
    const other = await open('bob', 'fixture');
    const id = (await get<any>('mcpsession', nameOf(own[0]), app.sessionsNamespace)).spec.user.id as string;
    await kubectl([
      ...['-n', app.sessionsNamespace, 'delete', 'mcpsessions', '--wait=false'],
      ...['-l', `forgejo-mcp-operator/user-id=${id}`],
    ]);
    for (const client of [sleeper, ...own]) {
      const status = await until('it is told', async () => {
        const told = await echo(client);
        return told !== 200 && told;
      });
      expect(status).to.equal(404);
    }
    expect(await echo(other), 'somebody else’s').to.equal(200);
    const [first] = own;
    const next = new McpClient(app.url('fixture'), first?.token ?? '');
    clients.push(next);
    await next.initialize();
    expect(await echo(next), 'the same login opens another one').to.equal(200);
    await until('the pods are gone', async () => (await app.sessionPods()).length === 2, 90_000);
  });

  function nameOf(client: McpClient | undefined): string {
    return createHash('sha256')
      .update(client?.sessionId ?? '')
      .digest('hex')
      .slice(0, 40);
  }
});
