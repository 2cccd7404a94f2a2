import { expect } from 'chai';
import { installed, type Installed } from '../support/installed';
import type { McpClient } from '../support/mcp';
import { until } from '../support/until';

/** What happens to a call when something under it breaks. Every caller gets an answer, once. */
describe('a call in flight', () => {
  let app: Installed;
  let bystander: McpClient;
  const clients: McpClient[] = [];

  const open = async (user = 'alice'): Promise<McpClient> => {
    const client = await app.client(user, 'fixture');
    clients.push(client);
    await client.initialize();
    return client;
  };

  before(async function () {
    this.timeout(600_000);
    app = await installed();
    bystander = await open('bob');
  });

  // What the test before has broken may have taken more with it than the gateway: kube-proxy and the node look again after a while.
  beforeEach(async function () {
    this.timeout(90_000);
    await app.reachable();
  });

  afterEach(async () => {
    expect(await bystander.text('echo', { text: 'untouched' }), 'another session goes on').to.equal('untouched');
  });

  after(async () => {
    await Promise.allSettled(clients.map((client) => client.end()));
    await Promise.all(clients.map((client) => client.close()));
  });

  it('is answered, once, when the attach stream is cut under it', async function () {
    this.timeout(60_000);
    const client = await open();
    const before = await app.metric('forgejo_mcp_attach_restore_duration_seconds_count');
    const call = client.call('slow', { ms: 3000, steps: 6 });
    await app.cutAttach();
    const { answer, messages, status } = await call;
    expect(status).to.equal(200);
    expect(answer?.error).to.equal(undefined);
    expect(messages.filter((m) => 'result' in m)).to.have.length(0);
    expect(await app.metric('forgejo_mcp_attach_restore_duration_seconds_count')).to.be.greaterThan(before);
    expect(await client.text('echo', { text: 'after' })).to.equal('after');
  });

  it('is answered, once, when the API server is restarted under it', async function () {
    this.timeout(120_000);
    const client = await open();
    const call = client.call('slow', { ms: 4000, steps: 4 }, { timeout: 90_000 });
    await app.restart('kube-apiserver');
    const { answer, status } = await call;
    expect(status).to.equal(200);
    expect(answer?.error).to.equal(undefined);
    // Logins are kept in the API that has just come back: until it can be read, 503 says to try again, and nothing else is said.
    await until('the session goes on', async () => {
      const after = await client.call('echo', { text: 'after' });
      expect(after.status).to.be.oneOf([200, 503]);
      return after.status === 200;
    });
  });

  it('gets an explicit error when its child is killed, and the session then answers 404', async function () {
    this.timeout(60_000);
    const client = await open();
    const call = client.call('hang');
    await client.call('echo', { text: 'the call is under way' });
    const dying = client.call('crash', { signal: 9 });
    for (const { answer, status } of await Promise.all([call, dying])) {
      expect(status).to.equal(200);
      expect(answer?.error?.message).to.match(/killed|lost/i);
    }
    await until('the session has ended', async () => (await client.call('echo', { text: 'x' })).status === 404);
    expect((await client.call('echo', { text: 'x' })).answer?.error?.code).to.equal(-32001);
  });

  it('gets an explicit error that names memory when its child is killed for memory', async function () {
    this.timeout(90_000);
    const client = await open();
    const { answer } = await client.call('oom', { mib: 2048 }, { timeout: 80_000 });
    expect(answer?.error?.message).to.match(/memory/i);
  });

  it('gets an explicit error when its pod is deleted by somebody else, and the session goes on with another one', async function () {
    this.timeout(60_000);
    const client = await open();
    const pod = await app.podOf(client);
    const call = client.call('hang');
    await client.call('echo', { text: 'the call is under way' });
    await app.kubectl(
      'delete',
      'pod',
      '-n',
      app.sessionsNamespace,
      pod.name,
      '--wait=false',
      '--grace-period=0',
      '--force',
    );
    const { answer } = await call;
    expect(answer?.error, 'an answer').not.to.equal(undefined);
    expect(await client.text('echo', { text: 'after' })).to.equal('after');
    expect((await app.podOf(client)).name).not.to.equal(pod.name);
  });

  it('gets an explicit answer when the forge is gone, and works again once it is back', async function () {
    this.timeout(180_000);
    const client = await open();
    const { FORGEJO_URL: url, FORGEJO_ACCESS_TOKEN: capability } = await client.json<Record<string, string>>('env');
    const ask = () =>
      client.json<{ status: number; body: string }>(
        'http',
        { url: `${url}/api/v1/user`, headers: { Authorization: `token ${capability}` }, ms: 40_000 },
        { timeout: 60_000 },
      );
    expect((await ask()).status).to.equal(200);
    await app.stopForge();
    try {
      const { status, body } = await ask();
      expect(status).to.be.oneOf([502, 504]);
      expect(body).to.match(/forge/i);
    } finally {
      await app.startForge();
    }
    expect((await ask()).status).to.equal(200);
  });
});
