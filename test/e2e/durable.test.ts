import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { get } from '../support/cluster';
import { installed, type Installed } from '../support/installed';
import type { McpClient } from '../support/mcp';
import { until } from '../support/until';

/** Sessions are objects of the cluster, and outlive their pods and their gateway. */
describe('a session in the cluster', () => {
  let app: Installed;
  const clients: McpClient[] = [];

  const open = async (server = 'fixture', user = 'alice'): Promise<McpClient> => {
    const client = await app.client(user, server);
    clients.push(client);
    await client.initialize(150_000);
    return client;
  };
  const nameOf = ({ sessionId }: McpClient): string =>
    createHash('sha256')
      .update(sessionId ?? '')
      .digest('hex')
      .slice(0, 40);
  const record = (client: McpClient): Promise<any> => get('mcpsession', nameOf(client), app.sessionsNamespace);
  const podsOf = async (client: McpClient): Promise<readonly string[]> =>
    (await app.sessionPods()).filter(({ session }) => session === nameOf(client)).map(({ name }) => name);

  before(async function () {
    this.timeout(600_000);
    app = await installed();
  });

  afterEach(async function () {
    this.timeout(60_000);
    for (const client of clients.splice(0)) {
      await client.end().catch(() => undefined);
      await client.close();
    }
  });

  it('is an MCPSession that says whose it is and where its pod is, which it owns; no id and no token is in it', async function () {
    this.timeout(60_000);
    const client = await open();
    const pod = await app.podOf(client);
    const object = await record(client);
    expect(object.spec).to.deep.include({ server: 'fixture', mode: 'oauth' });
    expect(object.status).to.deep.include({ state: 'Active', epoch: 1 });
    expect(object.status.pod).to.include({ name: pod.name, ip: pod.ip });
    const { ownerReferences: owners } = (await get('pod', pod.name, app.sessionsNamespace)).metadata;
    expect((owners as any[]).map(({ kind, uid }) => [kind, uid])).to.deep.equal([['MCPSession', object.metadata.uid]]);
    const text = JSON.stringify(object);
    for (const secret of [client.sessionId, client.token, ...app.secrets()]) expect(text).to.not.include(secret);
    expect(await client.end()).to.equal(204);
    expect((await record(client)).status).to.include({ state: 'Ended', reason: 'deleted' });
  });

  it('writes nothing while it is busy or idle', async function () {
    this.timeout(60_000);
    const client = await open();
    await until('its pod is recorded', async () => (await record(client)).status.pod !== undefined);
    const { resourceVersion } = (await record(client)).metadata;
    for (let i = 0; i < 20; i += 1) await client.text('echo', { text: String(i) });
    expect((await record(client)).metadata.resourceVersion).to.equal(resourceVersion);
  });

  it('that is deleted with kubectl is over: 404, and its pod is gone', async function () {
    this.timeout(90_000);
    const client = await open();
    await app.kubectl('-n', app.sessionsNamespace, 'delete', 'mcpsession', nameOf(client));
    await until('its pod is gone', async () => (await podsOf(client)).length === 0, 60_000);
    await until('404', async () => (await client.call('echo', { text: 'x' })).status === 404, 60_000);
  });

  it('goes on under its id and with its child when its gateway is killed', async function () {
    this.timeout(240_000);
    const client = await open();
    const { pid } = await client.json('pid');
    const before = await podsOf(client);
    await app.signalGateway('KILL');
    await until(
      'its next call is answered',
      async () => {
        const { status, answer } = await client.call('echo', { text: 'after' });
        expect(status, JSON.stringify(answer)).to.be.oneOf([200, 503]);
        return status === 200;
      },
      180_000,
    );
    expect((await record(client)).status.epoch).to.be.above(1);
    expect(await podsOf(client))
      .to.deep.equal(before)
      .and.to.have.length(1);
    expect((await client.json('pid')).pid).to.equal(pid);
  });

  it('costs no pod while it is idle: of 60, none has one, and all wake at once under their ids', async function () {
    this.timeout(500_000);
    const opened: McpClient[] = [];
    for (let round = 0; round < 6; round += 1)
      opened.push(...(await Promise.all(Array.from({ length: 10 }, (_, i) => open('brief', i % 2 ? 'alice' : 'bob')))));
    const ids = opened.map(({ sessionId }) => sessionId);
    const pods = async (): Promise<number> => (await Promise.all(opened.map(podsOf))).flat().length;
    await until('no pod is left', async () => (await pods()) === 0, 120_000);
    const answers = await Promise.all(
      opened.map((client, i) => client.text('echo', { text: String(i) }, { timeout: 150_000 })),
    );
    expect(answers).to.deep.equal(opened.map((_, i) => String(i)));
    expect(opened.map(({ sessionId }) => sessionId)).to.deep.equal(ids);
  });
});
