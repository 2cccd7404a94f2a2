import { expect } from 'chai';
import { installed, type Installed } from '../support/installed';
import { McpClient } from '../support/mcp';
import { until } from '../support/until';

/** Pods and sessions match one for one, however a session begins and ends. */
describe('pods and sessions', () => {
  let app: Installed;

  before(async function () {
    this.timeout(600_000);
    app = await installed();
  });

  const gone = (pod: string) =>
    until(`pod ${pod} is gone`, async () => !(await app.sessionPods()).some((p) => p.name === pod));

  it('are one for one while sessions open and close, 12 at once', async function () {
    this.timeout(180_000);
    const before = (await app.sessionPods()).length;
    const clients = await Promise.all(
      Array.from({ length: 12 }, (_, i) => app.client(i % 2 ? 'alice' : 'bob', 'fixture')),
    );
    await Promise.all(clients.map((client) => client.initialize(150_000)));
    const pods = await app.sessionPods();
    expect(pods.length - before).to.equal(12);
    expect(new Set(await Promise.all(clients.map(async (client) => (await app.podOf(client)).name))).size).to.equal(12);
    expect(await Promise.all(clients.map((client) => client.end()))).to.deep.equal(Array(12).fill(204));
    await until('the pods are gone', async () => (await app.sessionPods()).length === before);
    await Promise.all(clients.map((client) => client.close()));
  });

  it('end with DELETE: 204, then 404, and the pod is gone', async function () {
    this.timeout(60_000);
    const client = await app.client('alice', 'fixture');
    await client.initialize();
    const { name } = await app.podOf(client);
    expect(await client.end()).to.equal(204);
    await gone(name);
    expect((await client.call('echo', { text: 'x' })).status).to.equal(404);
    await client.close();
  });

  it('end when the child exits by itself: the pod is gone and the client is told 404', async function () {
    this.timeout(60_000);
    const client = await app.client('alice', 'fixture');
    await client.initialize();
    const { name } = await app.podOf(client);
    await client.call('exit', { code: 3, answer: true });
    await gone(name);
    await until('404', async () => (await client.call('echo', { text: 'x' })).status === 404);
    await client.close();
  });

  it('end when idle, and the session does not: its next call has another pod, 200', async function () {
    this.timeout(120_000);
    const slept = await app.metric('forgejo_mcp_session_hibernations_total', { why: 'idle' });
    const client = await app.client('alice', 'brief');
    await client.initialize();
    const { name } = await app.podOf(client);
    await until(`pod ${name} is gone`, async () => !(await app.sessionPods()).some((p) => p.name === name), 90_000);
    expect(await app.metric('forgejo_mcp_session_hibernations_total', { why: 'idle' })).to.be.greaterThan(slept);
    expect(await client.text('echo', { text: 'awake' })).to.equal('awake');
    expect((await app.podOf(client)).name).to.not.equal(name);
    expect(await client.end()).to.equal(204);
    await client.close();
  });

  it('answer 410 for an id that was never minted, 403 for somebody else, 401 for a bad token, 400 without an id', async function () {
    this.timeout(60_000);
    const client = await app.client('alice', 'fixture');
    await client.initialize();
    const as = async (token: string | undefined, id: string | undefined) => {
      const other = new McpClient(app.url('fixture'), token);
      other.sessionId = id;
      const { status } = await other.call('echo', { text: 'x' });
      await other.close();
      return status;
    };
    expect(await as(client.token, 'f'.repeat(48))).to.equal(410);
    expect(await as(await app.token('bob', 'fixture'), client.sessionId)).to.equal(403);
    expect(await as('0'.repeat(40), client.sessionId)).to.equal(401);
    expect(await as(undefined, client.sessionId)).to.equal(401);
    expect(await as(client.token, undefined)).to.equal(400);
    await client.end();
    await client.close();
  });

  for (const [server, status, says] of [
    ['no-image', 502, /image/i],
    ['unschedulable', 503, /schedul|capacity|node/i],
    ['crashing', 502, /exit|crash|start/i],
    ['silent', 503, /did not answer within/i],
  ] as const) {
    it(`are not left behind by a start that fails: server ${server} answers ${status} and says what to do`, async function () {
      this.timeout(120_000);
      const before = (await app.sessionPods()).length;
      const client = await app.client('alice', server);
      const response = await client.request('initialize', {
        protocolVersion: '2025-06-18',
        capabilities: {},
        clientInfo: { name: 't', version: '1' },
      });
      expect(response.status).to.equal(status);
      expect(response.answer?.error?.message).to.match(says);
      await until('no pod is left', async () => (await app.sessionPods()).length === before);
      await client.close();
    });
  }
});
