/** Pods that wait for sessions, on a cluster: the chart's operator keeps them, the chart's gateway takes them, under the chart's rights and policies. */
import { expect } from 'chai';
import type { MCPServer } from '../../src/resources/server';
import { get, kubectl } from '../support/cluster';
import { installed, type Installed } from '../support/installed';
import { type McpClient, textOf } from '../support/mcp';
import { until } from '../support/until';

const SIZE = 20;

interface Pod {
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly owners: readonly { readonly kind: string; readonly name: string }[];
}

describe('a pool of pods that wait for sessions', function () {
  this.timeout(180_000);
  let app: Installed;
  const made = new Set<string>();
  const clients: McpClient[] = [];

  before(async function () {
    this.timeout(1_200_000);
    app = await installed();
  });

  after(async () => {
    await Promise.all(clients.map((client) => client.close()));
    for (const name of made) await remove(name);
  });

  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    const operator = ['-n', app.namespace, 'logs', '-l', 'app.kubernetes.io/component=operator', '--tail=60'];
    console.error(await kubectl(operator));
    console.error((await app.gatewayLog()).split('\n').slice(-30).join('\n'));
  });

  const apply = async (name: string, pool: object, pod: object = {}): Promise<void> => {
    made.add(name);
    await app.applyServer(name, { pool, pod });
  };
  const remove = async (name: string): Promise<void> => {
    made.delete(name);
    await app.removeServer(name);
  };
  const pods = async (server: string, component = 'warm'): Promise<Pod[]> => {
    const selector = `forgejo-mcp-operator/server=${server},app.kubernetes.io/component=${component}`;
    const list = JSON.parse(await kubectl(['-n', app.sessionsNamespace, 'get', 'pods', '-l', selector, '-o', 'json']));
    return (list.items as any[])
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .map(({ metadata }) => ({
        name: metadata.name,
        uid: metadata.uid,
        labels: metadata.labels,
        owners: metadata.ownerReferences ?? [],
      }));
  };
  const status = async (server: string): Promise<MCPServer['status']> =>
    (await get<MCPServer>('mcpserver', server, app.namespace)).status;
  const full = (server: string, size: number): Promise<unknown> =>
    until(
      `the pool of ${server} has ${String(size)} pods`,
      async () => {
        const pool = (await status(server))?.pool;
        return pool?.ready === size && pool.desired >= size;
      },
      120_000,
    );
  const opened = async (user: string, server: string): Promise<McpClient> => {
    const client = await app.client(user, server);
    clients.push(client);
    await client.initialize();
    return client;
  };

  it('is filled to its minimum, with pods that have nothing of a session', async () => {
    await apply('pooled', { min: SIZE, max: SIZE });
    await full('pooled', SIZE);
    const waiting = await pods('pooled');
    expect(waiting).to.have.length(SIZE);
    for (const { name, labels, owners } of waiting) {
      expect(name).to.match(/^mcp-warm-[0-9a-f]{16}$/);
      expect(labels).to.not.have.any.keys('forgejo-mcp-operator/session', 'forgejo-mcp-operator/user');
      expect(owners.map(({ kind, name: owner }) => `${kind} ${owner}`)).to.deep.equal([
        `ConfigMap ${app.release}-sessions`,
      ]);
    }
    expect(await app.metric('forgejo_mcp_pool_claims_total', { server: 'pooled' })).to.equal(0);
  });

  it(`${String(SIZE)} sessions that begin at once each get one that waited, none twice, and it is filled again with others`, async () => {
    const waiting = await pods('pooled');
    const users = Array.from({ length: SIZE }, (_, i) => (i % 2 === 0 ? 'alice' : 'bob'));
    for (const user of ['alice', 'bob']) await app.token(user, 'pooled');
    const mine = await Promise.all(users.map((user) => opened(user, 'pooled')));
    const taken = await Promise.all(mine.map((client) => app.podOf(client)));
    const names = waiting.map(({ name }) => name);
    // What was made to fill it again may have been quick enough for some; a pod of its own nobody has.
    for (const { name } of taken) expect(name).to.match(/^mcp-warm-/);
    expect(new Set(taken.map(({ name }) => name)).size, 'none is two sessions’').to.equal(SIZE);
    expect(taken.filter(({ name }) => names.includes(name)).length).to.be.above(SIZE / 2);
    expect(await app.metric('forgejo_mcp_pool_claims_total', { server: 'pooled', outcome: 'hit' })).to.equal(SIZE);
    expect(await app.metric('forgejo_mcp_pool_claims_total', { server: 'pooled', outcome: 'miss' })).to.equal(0);
    const said = await Promise.all(
      mine.map(async (client, i) => textOf((await client.call('echo', { text: String(i) })).answer)),
    );
    expect(said).to.deep.equal(users.map((_, i) => String(i)));
    const sessions = await pods('pooled', 'session');
    for (const { name, session } of taken) {
      const pod = sessions.find((one) => one.name === name);
      expect(pod?.owners.map(({ kind, name: owner }) => `${kind} ${owner}`)).to.deep.equal([`MCPSession ${session}`]);
    }
    await full('pooled', SIZE);
    const again = await pods('pooled');
    expect(again).to.have.length(SIZE);
    const used = new Set(taken.map(({ name }) => name));
    expect(again.filter(({ name }) => used.has(name))).to.deep.equal([]);
    await Promise.all(mine.map((client) => client.end()));
    await until('their pods are gone', async () => (await pods('pooled', 'session')).length === 0);
    expect((await pods('pooled')).length).to.equal(SIZE);
  });

  it('a session whose record is deleted takes such a pod along', async () => {
    const client = await opened('alice', 'pooled');
    const { name, session } = await app.podOf(client);
    await kubectl(['-n', app.sessionsNamespace, 'delete', 'mcpsession', session]);
    await until(
      'the pod is gone',
      async () => !(await pods('pooled', 'session')).some((one) => one.name === name),
      60_000,
    );
  });

  it('is made anew when its server’s pod changes', async () => {
    const before = new Set((await pods('pooled')).map(({ uid }) => uid));
    await apply('pooled', { min: 3, max: 3 }, { labels: { 'test/revision': 'two' } });
    await until(
      'all are new',
      async () => {
        const now = await pods('pooled');
        return (
          now.length === 3 && now.every(({ uid, labels }) => !before.has(uid) && labels['test/revision'] === 'two')
        );
      },
      60_000,
    );
    await full('pooled', 3);
    const client = await opened('bob', 'pooled');
    const { name } = await app.podOf(client);
    const taken = (await pods('pooled', 'session')).find((one) => one.name === name);
    expect(taken?.labels).to.include({ 'test/revision': 'two' });
    await client.end();
  });

  it('with an image that cannot be had is tried with one pod at a time, and is filled once it can be', async () => {
    const seen = new Set<string>();
    await apply('bad', { min: 5, max: 5 }, { image: 'fmo/no-such-image:test' });
    await until(
      'it is tried again',
      async () => {
        const now = await pods('bad');
        expect(now.length).to.be.at.most(1);
        for (const { name } of now) seen.add(name);
        return seen.size > 1;
      },
      60_000,
    );
    expect((await status('bad'))?.pool).to.deep.equal({ ready: 0, desired: 5 });
    await apply('bad', { min: 5, max: 5 });
    await full('bad', 5);
  });

  it('is emptied when it is to have no pods, and when its server is deleted; nothing is left', async () => {
    await apply('pooled', { min: 0, max: 0 }, { labels: { 'test/revision': 'two' } });
    await until('it is empty', async () => (await pods('pooled')).length === 0, 60_000);
    await until('its status says nothing of it', async () => (await status('pooled'))?.pool === undefined, 30_000);
    const client = await opened('alice', 'pooled');
    expect((await app.podOf(client)).name).to.match(/^mcp-[0-9a-f]{40}-/);
    await client.end();
    await remove('bad');
    await remove('pooled');
    await until(
      'nothing is left',
      async () => {
        const selector = 'forgejo-mcp-operator/server in (bad,pooled)';
        return (await kubectl(['-n', app.sessionsNamespace, 'get', 'pods', '-l', selector, '-o', 'name'])) === '';
      },
      60_000,
    );
  });
});
