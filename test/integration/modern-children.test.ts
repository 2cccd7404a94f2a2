/** Which child serves which request of MCP 2026-07-28, counted by real processes: one for each kind of client, and none for what is refused. */
import { expect } from 'chai';
import { McpClient } from '../support/mcp';
import { childrenWith, jsonIn, type ModernGateway, startModernGateway, textIn } from '../support/modern-gateway';
import { type Forge, startForge } from '../support/forge';
import { startNameForge } from '../support/name-forge';
import { childCommand, ScriptedClient } from '../support/peers';
import { META, StatelessClient, type StatelessAnswer } from '../support/stateless-client';
import { TypescriptClient } from '../support/typescript-clients';
import { until } from '../support/until';

describe('children of requests of MCP 2026-07-28', function () {
  this.timeout(120_000);
  let gateway: ModernGateway<Forge>;

  before(async () => {
    const fixture = await childCommand('fixture-child');
    const everything = await childCommand('everything-server');
    const named = (name: string, more: object = {}): [string, any] => [name, { command: [fixture, name], ...more }];
    gateway = await startModernGateway(
      startForge,
      Object.fromEntries([
        named('shared'),
        named('untouched'),
        named('hundred', { env: { FIXTURE_START: 'slow:300' }, maxCallsInFlight: 100 }),
        named('slow', { env: { FIXTURE_START: 'slow:700' } }),
        named('idle', { idleTimeout: '1s' }),
        named('crashing', { env: { FIXTURE_START: 'crash' } }),
        named('silent', { env: { FIXTURE_START: 'hang' }, startTimeout: '2s' }),
        named('cancelled'),
        named('both'),
        ['everything', { command: [everything, 'everything'] }],
      ]),
    );
  });

  after(async () => gateway?.stop());

  afterEach(async () => gateway.closeClients());

  const pidOf = async (client: StatelessClient): Promise<number> => jsonIn(await client.tool('pid')).pid;
  const opens = (server: string): Promise<number> =>
    gateway.metric(`forgejo_mcp_session_opens_total{server="${server}"}`);

  it('one serves all requests of a user with a client, over any connection and any number at once', async () => {
    const clients = Array.from({ length: 5 }, () => gateway.client('shared'));
    const pids = new Set<number>();
    for (const client of clients) pids.add(await pidOf(client));
    for (const pid of await Promise.all(clients.map(pidOf))) pids.add(pid);
    expect([...pids]).to.deep.equal(await childrenWith('shared'));
    expect(pids.size).to.equal(1);
    expect(await opens('shared')).to.equal(1);
  });

  it('another user, client, version, capability or token has another one', async () => {
    const base = gateway.client('shared');
    const named = (info: object | undefined): StatelessClient => {
      const client = gateway.client('shared');
      client.info = info;
      return client;
    };
    const clients = [
      base,
      gateway.client('shared', { user: 'bob' }),
      gateway.client('shared', { capabilities: {} }),
      gateway.client('shared', { capabilities: { sampling: {} } }),
      named({ name: 'stateless', version: '2' }),
      named({ name: 'other', version: '1' }),
      named(undefined),
      new StatelessClient(base.url, gateway.forge.user('alice').tokens.write, base.capabilities),
    ];
    const pids = await Promise.all(clients.map(pidOf));
    expect(new Set(pids).size).to.equal(clients.length);
    // The order of members says nothing, and what else stands in `_meta` decides nothing.
    const again = named({ version: '1', name: 'stateless' });
    const traced = await again.tool(
      'pid',
      {},
      { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
    );
    expect(jsonIn(traced).pid).to.equal(pids[0]);
    await clients.at(-1)?.close();
  });

  it('says of itself what its client says, and is initialized once', async () => {
    const client = gateway.client('shared', { capabilities: { roots: { listChanged: true } } });
    client.info = { name: 'told', version: '9', title: 'Told' };
    const { initialize, initialized } = jsonIn(await client.tool('state'));
    expect(initialize.clientInfo).to.deep.equal(client.info);
    expect(initialize.capabilities).to.have.property('roots');
    expect(initialized).to.equal(true);
    expect(JSON.stringify(initialize)).to.not.contain(META);
  });

  it('a hundred first requests at once start exactly one', async () => {
    const clients = Array.from({ length: 10 }, () => gateway.client('hundred'));
    const pids = await Promise.all(Array.from({ length: 100 }, (_, i) => pidOf(clients[i % 10])));
    expect(new Set(pids).size).to.equal(1);
    expect(await opens('hundred')).to.equal(1);
    expect(await childrenWith('hundred')).to.deep.equal([pids[0]]);
  });

  it('a start that several wait for goes on when the first of them leaves', async () => {
    const client = gateway.client('slow');
    const stop = new AbortController();
    const gone = client.open(client.message('tools/list'), {}, stop).catch(() => 'gone');
    await until('the child starts', async () => (await childrenWith('slow')).length === 1);
    const waiting = pidOf(gateway.client('slow'));
    stop.abort();
    expect(await gone).to.equal('gone');
    const pid = await waiting;
    expect(await childrenWith('slow')).to.deep.equal([pid]);
    expect(await opens('slow')).to.equal(1);
  });

  it('none is started by a request that is refused for what it says, or for who asks', async () => {
    const client = gateway.client('untouched');
    const statuses: number[] = [];
    const tell = async (answer: Promise<StatelessAnswer>): Promise<void> => void statuses.push((await answer).status);
    await tell(client.call('tools/list', {}, {}, { 'Mcp-Method': 'tools/call' }));
    await tell(client.call('tools/call', { name: 'pid' }, {}, { 'Mcp-Name': 'env' }));
    await tell(client.call('tools/call', {}));
    await tell(client.call('ping'));
    await tell(
      client.call(
        'tools/list',
        {},
        { [`${META}protocolVersion`]: '2099-01-01' },
        { 'MCP-Protocol-Version': '2099-01-01' },
      ),
    );
    await tell(client.call('tools/list', {}, { [`${META}clientCapabilities`]: 'all' }));
    await tell(client.call('tools/list', {}, { [`${META}logLevel`]: 'loud' }));
    await tell(client.call('tools/list', {}, {}, { authorization: undefined }));
    await tell(client.call('tools/list', {}, {}, { authorization: `Bearer ${'0'.repeat(40)}` }));
    expect(statuses).to.deep.equal([400, 400, 400, 404, 400, 400, 400, 401, 401]);
    expect(await opens('untouched')).to.equal(0);
    expect(await childrenWith('untouched')).to.deep.equal([]);
  });

  it('an idle one ends, and the next request starts another', async () => {
    const client = gateway.client('idle');
    const first = await pidOf(client);
    await until('it is gone', async () => (await childrenWith('idle')).length === 0);
    const second = await pidOf(client);
    expect(second).to.not.equal(first);
    // One with a call in flight is not idle, however long that takes.
    const slow = await client.tool('slow', { ms: 2500, steps: 1 });
    expect(textIn(slow)).to.equal('slept for 2500 ms');
    expect(await pidOf(client)).to.equal(second);
  });

  it('one more than a user may have is 503 with Retry-After, until another has been idle for long enough', async () => {
    const command = [await childCommand('fixture-child'), 'capped'];
    const capped = await startModernGateway(
      startNameForge,
      { capped: { command, idleTimeout: '1s' } },
      { maxPerUser: 2 },
    );
    try {
      const named = (name: string, user = 'alice'): StatelessClient => {
        const client = capped.client('capped', { user });
        client.info = { name, version: '1' };
        return client;
      };
      const three = named('three');
      const stop = new AbortController();
      const busy = [named('one'), named('two')].map(async (client) => {
        const message = client.message('tools/call', { name: 'slow', arguments: { ms: 60_000, steps: 600 } });
        message.params._meta.progressToken = 1;
        return (await client.open(message, {}, stop)).next();
      });
      await Promise.all(busy);
      const answer = await three.tool('pid');
      expect(answer.status).to.equal(503);
      expect(Number(answer.headers['retry-after'])).to.be.at.least(1);
      expect(answer.answer).to.include({ id: 'r1' });
      expect(answer.answer.error.message).to.be.a('string').that.is.not.empty;
      expect(await childrenWith('capped')).to.have.length(2);
      expect((await named('one', 'bob').tool('pid')).status).to.equal(200);
      stop.abort();
      await until('there is room', async () => (await three.tool('pid')).status === 200);
    } finally {
      await capped.stop();
    }
  });

  it('one that cannot start is told: 502 where it crashes, 503 where it is silent, and nothing is left', async () => {
    for (const [server, status] of [
      ['crashing', 502],
      ['silent', 503],
    ] as const) {
      const all = await Promise.all(Array.from({ length: 3 }, () => gateway.client(server).call('tools/list')));
      for (const { status: given, answer } of all) {
        expect(given, server).to.equal(status);
        expect(answer.error.message).to.be.a('string').that.is.not.empty;
        expect(answer).to.have.property('id');
      }
      await until(`nothing of ${server} is left`, async () => (await childrenWith(server)).length === 0);
    }
  });

  it('one that dies in a call is told in its answer, is not run again, and the next request has another', async () => {
    const client = gateway.client('cancelled');
    const pid = await pidOf(client);
    const died = await client.tool('crash');
    expect(died.answer.error?.code, JSON.stringify(died.answer)).to.be.a('number');
    expect(died.answer.error.message).to.be.a('string').that.is.not.empty;
    const state = jsonIn(await client.tool('state'));
    expect(state.pid).to.not.equal(pid);
    expect(state.called).to.deep.equal({ state: 1 });
  });

  it('one whose client goes away in a call is told so, once, before the headers as after them', async () => {
    const client = gateway.client('cancelled');
    const before = await pidOf(client);
    for (const [args, isOpen] of [
      [{ name: 'slow', arguments: { ms: 60_000, steps: 600 } }, true],
      [{ name: 'hang' }, false],
    ] as const) {
      const stop = new AbortController();
      const message = client.message('tools/call', args, { progressToken: 1 });
      const stream = client.open(message, {}, stop);
      stream.catch(() => undefined);
      const counted = async (): Promise<string[]> =>
        jsonIn(await client.tool('state'))
          .cancelled.split(' ')
          .filter(Boolean);
      const { length } = await counted();
      if (isOpen) expect((await (await stream).next()).method).to.equal('notifications/progress');
      else await until('the call is under way', async () => jsonIn(await client.tool('state')).called.hang === 1);
      stop.abort();
      await until('the child is told', async () => (await counted()).length === length + 1);
    }
    expect(await pidOf(client)).to.equal(before);
    expect(await gateway.metric('forgejo_mcp_calls_total{method="tools/call",outcome="cancelled"}')).to.equal(2);
  });

  it('and sessions of the old era live side by side at one endpoint, each with its own', async () => {
    const modern = gateway.client('both');
    const legacy = new McpClient(modern.url, gateway.tokenOf('alice'));
    await legacy.initialize();
    const mine = await pidOf(modern);
    const theirs = (await legacy.json<{ pid: number }>('pid')).pid;
    expect(mine).to.not.equal(theirs);
    for (let round = 0; round < 10; round++) {
      const [a, b] = await Promise.all([pidOf(modern), legacy.json<{ pid: number }>('pid')]);
      expect([a, b.pid]).to.deep.equal([mine, theirs]);
    }
    // A request of the new era with the session's id is of the new era, and leaves the session as it is.
    const named = await modern.tool('pid', {}, {}, { 'Mcp-Session-Id': legacy.sessionId });
    expect(jsonIn(named).pid).to.equal(mine);
    expect(await legacy.end()).to.equal(204);
    await until('the child of the session is gone', async () => !(await childrenWith('both')).includes(theirs));
    expect(await pidOf(modern)).to.equal(mine);
    await legacy.close();
  });

  describe('of clients that find out what a server speaks', () => {
    for (const [name, start] of [
      ['Go', (url: string, token: string) => ScriptedClient.start('go', url, token)],
      ['Python', (url: string, token: string) => ScriptedClient.start('python', url, token)],
      ['TypeScript v2', async (url: string, token: string) => new TypescriptClient('v2', url, token)],
    ] as const) {
      it(`are of 2026-07-28 for the ${name} SDK, at a child of either era, with a session beside them`, async () => {
        const token = gateway.tokenOf('bob');
        for (const [server, tool] of [
          ['both', 'echo'],
          ['everything', 'test_simple_text'],
        ] as const) {
          const session = new McpClient(gateway.urlOf(server), token);
          await session.initialize();
          const client = await start(gateway.urlOf(server), token);
          try {
            const { protocolVersion } = await client.must('initialize', { mode: 'auto' });
            expect(protocolVersion).to.equal('2026-07-28');
            expect(await client.must('tools')).to.include(tool);
            const { content } = await client.must('call', { name: tool, arguments: { text: 'x' } });
            expect(content[0].text).to.be.a('string').that.is.not.empty;
            expect((await session.call(tool, { text: 'x' })).status).to.equal(200);
          } finally {
            await client.stop();
            await session.end();
            await session.close();
          }
        }
      });
    }
  });
});
