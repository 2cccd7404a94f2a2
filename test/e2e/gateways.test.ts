import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { get } from '../support/cluster';
import { Gateways } from '../support/gateways';
import type { Installed } from '../support/installed';
import { McpClient } from '../support/mcp';
import { ResumingClient } from '../support/resuming-client';
import { until } from '../support/until';

const REPLICAS = 3;

type HasSession = Pick<McpClient, 'sessionId'>;

/** Several gateways behind one Service, which gives each new connection to any of them. */
describe('three gateways', () => {
  const gateways = Gateways.use(REPLICAS);
  const refusals = new Set<string>();
  let app: Installed;
  before(() => (app = gateways.app));

  const open = (user?: string): Promise<McpClient> => gateways.open(user);
  const record = ({ sessionId }: HasSession): Promise<any> => {
    const name = createHash('sha256')
      .update(sessionId ?? '')
      .digest('hex')
      .slice(0, 40);
    return get('mcpsession', name, app.sessionsNamespace);
  };
  /** One call over a connection of its own. Undefined where nobody answered. */
  const call = async (client: McpClient, text: string, timeout = 60_000): Promise<number | undefined> => {
    const once = new McpClient(client.url, client.token);
    once.sessionId = client.sessionId;
    try {
      const { status, answer } = await once.call('echo', { text }, { timeout });
      if (status !== 200) refusals.add(`${String(status)} ${answer?.error?.message ?? ''}`);
      if (status === 200) expect(answer?.result?.content?.[0]?.text, JSON.stringify(answer)).to.equal(text);
      return status;
    } catch (thrown) {
      if (thrown instanceof Error && thrown.name === 'AssertionError') throw thrown;
      return undefined;
    } finally {
      await once.close();
    }
  };
  /** The pod of the gateway that has a session. */
  const podOfHolder = async (client: HasSession): Promise<string> => {
    const { holder } = (await record(client)).status;
    const { metadata } = await get('lease', holder as string, app.namespace);
    const address = Object.entries(metadata.annotations as Record<string, string>).find(([key]) =>
      key.endsWith('/peer-address'),
    );
    const ip = String(address?.[1]).split(':')[0];
    for (const pod of await app.gatewayPods()) {
      if ((await get('pod', pod, app.namespace)).status.podIP === ip) return pod;
    }
    throw new Error('no gateway has that address');
  };
  /** A metric, over all gateways. */
  const metric = async (name: string): Promise<number> => {
    let sum = 0;
    for (const pod of await app.gatewayPods()) {
      const text = await app.kubectl(
        'get',
        '--raw',
        `/api/v1/namespaces/${app.namespace}/pods/${pod}:9090/proxy/metrics`,
      );
      for (const line of text.split('\n')) if (line.startsWith(`${name}{`)) sum += Number(line.split(' ').pop());
    }
    return sum;
  };
  /** Calls on all sessions, one after the other on each, while something happens. Resolves with how many had which status. */
  const load = async (sessions: readonly McpClient[], work: () => Promise<void>): Promise<Record<string, number>> => {
    const counts: Record<string, number> = {};
    let isOver = false;
    const calling = sessions.map(async (client, i) => {
      for (let n = 0; !isOver; n += 1) {
        const status = String((await call(client, `${i}.${n}`, 20_000)) ?? 'cut');
        counts[status] = (counts[status] ?? 0) + 1;
      }
    });
    try {
      await work();
    } finally {
      isOver = true;
      await Promise.all(calling);
    }
    return counts;
  };

  it('answer for any session wherever its requests come to', async function () {
    this.timeout(180_000);
    const before = await metric('forgejo_mcp_peer_forwards_total');
    const sessions = await Promise.all(['alice', 'bob', 'alice', 'bob', 'alice', 'bob'].map(open));
    for (let n = 0; n < 20; n += 1) {
      const statuses = await Promise.all(sessions.map((client, i) => call(client, `${i}.${n}`)));
      expect(statuses).to.deep.equal(sessions.map(() => 200));
    }
    expect(await metric('forgejo_mcp_peer_forwards_total')).to.be.above(before);
    expect((await app.sessionPods()).length, 'one pod each').to.equal(sessions.length);
  });

  it('lose no session when one of them is killed: each goes on under its id', async function () {
    this.timeout(240_000);
    const sessions = await Promise.all(['alice', 'bob', 'alice', 'bob', 'alice', 'bob'].map(open));
    const counts = await load(sessions, async () => {
      await app.signalGateway('KILL', await podOfHolder(sessions[0]));
      await Promise.all(
        sessions.map((client, i) =>
          until('it is answered', async () => (await call(client, `after ${i}`, 20_000)) === 200, 120_000),
        ),
      );
    });
    console.log(`      ${JSON.stringify(counts)} ${[...refusals].join(' | ')}`);
    expect(Object.keys(counts)).to.satisfy((all: string[]) =>
      all.every((one) => ['200', '502', '503', 'cut'].includes(one)),
    );
    expect(await Promise.all(sessions.map((client) => call(client, 'x')))).to.deep.equal(sessions.map(() => 200));
    await until('one pod each', async () => (await app.sessionPods()).length === sessions.length, 90_000);
  });

  it('lose no call that is under way when one of them is killed: clients that resume are answered once, by the child', async function () {
    this.timeout(240_000);
    const resuming = await Promise.all(
      ['alice', 'bob', 'alice', 'bob', 'alice', 'bob'].map(async (user) => {
        const client = new ResumingClient(app.url('fixture'), await app.token(user, 'fixture'));
        await client.initialize();
        return client;
      }),
    );
    const pods = async (): Promise<string[]> => (await app.sessionPods()).map(({ name }) => name).sort();
    const before = await pods();
    const killed = await podOfHolder(resuming[0]);
    const calls = Promise.allSettled(
      resuming.flatMap((client) => Array.from({ length: 5 }, () => client.text('slow', { ms: 30_000, steps: 30 }))),
    );
    await until('every call can be resumed', async () => resuming.every(({ underWay }) => underWay === 5), 30_000);
    await app.signalGateway('KILL', killed);
    for (const outcome of await calls) expect(outcome).to.have.property('status', 'fulfilled');
    expect(resuming.flatMap(({ doubled }) => doubled)).to.deep.equal([]);
    expect(await pods(), 'the same children').to.deep.equal(before);
    await Promise.all(resuming.map((client) => client.close()));
  });

  it('are replaced one by one under load: no call is lost or cut, and nearly none refused (503)', async function () {
    this.timeout(400_000);
    const sessions = await Promise.all(['alice', 'bob', 'alice', 'bob', 'alice', 'bob'].map(open));
    const counts = await load(sessions, async () => {
      const deployment = `deployment/${app.release}-gateway`;
      const before = await app.gatewayPods();
      await app.kubectl('-n', app.namespace, 'rollout', 'restart', deployment);
      await until(
        'all are others',
        async () => {
          const now = await app.gatewayPods();
          return now.length === REPLICAS && now.every((pod) => !before.includes(pod));
        },
        300_000,
      );
    });
    console.log(`      ${JSON.stringify(counts)} ${[...refusals].join(' | ')}`);
    const { '200': answered = 0, '503': refused = 0, ...others } = counts;
    expect(others).to.deep.equal({});
    expect(refused).to.be.at.most(answered / 100);
  });

  it('leave a session to another when its gateway stands still, which does not get it back when it goes on', async function () {
    this.timeout(240_000);
    const client = await open();
    const pod = await podOfHolder(client);
    const before = (await record(client)).status;
    await app.signalGateway('STOP', pod);
    try {
      await until('another answers', async () => (await call(client, 'taken over', 15_000)) === 200, 120_000);
    } finally {
      await app.signalGateway('CONT', pod);
    }
    const after = (await record(client)).status;
    expect(after.holder).to.not.equal(before.holder);
    expect(after.epoch).to.be.above(before.epoch);
    await until('all serve', async () => {
      const { status } = await get('deployment', `${app.release}-gateway`, app.namespace);
      return status.readyReplicas === REPLICAS;
    });
    for (let n = 0; n < 20; n += 1) expect(await call(client, `later ${n}`)).to.equal(200);
    expect((await record(client)).status).to.deep.include({ holder: after.holder, epoch: after.epoch });
    await until('it has one pod', async () => (await app.sessionPods()).length === 1, 60_000);
  });
});
