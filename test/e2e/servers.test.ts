/** MCPServers that somebody applies with kubectl, served by gateways that run: made, changed, paused, wrong, removed; users log in for each. */
import { expect } from 'chai';
import { request } from 'undici';
import { kubectl, get } from '../support/cluster';
import { installed, type Installed } from '../support/installed';
import { McpClient, textOf } from '../support/mcp';
import { until } from '../support/until';

describe('servers of the cluster', function () {
  this.timeout(120_000);
  let app: Installed;
  const made = new Set<string>();

  before(async function () {
    this.timeout(900_000);
    app = await installed();
  });

  after(async () => {
    for (const name of made) await remove(name);
  });

  /** As people do it: the least, and what is said. */
  const applied = async (name: string, spec: Readonly<Record<string, unknown>> = {}, label = 'one'): Promise<void> => {
    made.add(name);
    await app.applyServer(name, { pod: { labels: { 'test/revision': label } }, ...spec });
  };
  const remove = async (name: string): Promise<void> => {
    made.delete(name);
    await app.removeServer(name);
  };
  /** What a stranger is told at a server's path: 401 where there is one. */
  const statusAt = async (name: string): Promise<number> => {
    const { statusCode, body } = await request(app.url(name), { method: 'POST', signal: AbortSignal.timeout(10_000) });
    await body.dump();
    return statusCode;
  };
  const revision = async (client: McpClient): Promise<string> => {
    const pod = await get('pod', (await app.podOf(client)).name, app.sessionsNamespace);
    return pod.metadata.labels['test/revision'] as string;
  };
  const gateway = async (): Promise<string> => {
    const selector = `app.kubernetes.io/instance=${app.release},app.kubernetes.io/component=gateway`;
    const path = '{range .items[*]}{.metadata.uid}{.status.containerStatuses[0].restartCount} {end}';
    return kubectl(['-n', app.namespace, 'get', 'pods', '-l', selector, '-o', `jsonpath=${path}`]);
  };
  const echo = async (client: McpClient): Promise<string> =>
    textOf((await client.call('echo', { text: 'here' })).answer);

  it('are served at their path once they are applied, to users who log in for them, by the gateway that runs', async () => {
    const before = await gateway();
    expect(await statusAt('team')).to.equal(404);
    await applied('team');
    await app.served('team');
    const metadata = await request(new URL('/.well-known/oauth-protected-resource/servers/team/mcp', app.url()));
    expect(await metadata.body.json()).to.include({ resource: app.url('team') });
    const [alice, bob] = await Promise.all([app.client('alice', 'team'), app.client('bob', 'team')]);
    await Promise.all([alice.initialize(), bob.initialize()]);
    expect(await Promise.all([echo(alice), echo(bob)])).to.deep.equal(['here', 'here']);
    expect(await revision(alice)).to.equal('one');
    await Promise.all([alice.end(), bob.end()]);
    expect(await gateway()).to.equal(before);
    await Promise.all([alice.close(), bob.close()]);
  });

  it('want a token of their own: another server’s is 401', async () => {
    await applied('team');
    await app.served('team');
    const stranger = new McpClient(app.url('team'), await app.token('alice', 'fixture'));
    const { status } = await stranger.request('initialize', {});
    expect(status).to.equal(401);
    await stranger.close();
  });

  it('that change are new for new sessions; those that are open go on', async () => {
    await applied('changing');
    await app.served('changing');
    const old = await app.client('alice', 'changing');
    await old.initialize();
    await applied('changing', {
      pod: { image: 'fmo/child-fixture:test', imagePullPolicy: 'Never', labels: { 'test/revision': 'two' } },
    });
    const revisions = await until('a new session has the new labels', async () => {
      const client = await app.client('alice', 'changing');
      await client.initialize();
      const seen = await revision(client);
      await client.end();
      await client.close();
      return seen === 'two' && [await revision(old), seen];
    });
    expect(revisions).to.deep.equal(['one', 'two']);
    expect(await echo(old)).to.equal('here');
    await old.end();
    await old.close();
  });

  it('that are paused open no session: 503 with Retry-After, and go on with those that they have', async () => {
    await applied('paused');
    await app.served('paused');
    const open = await app.client('alice', 'paused');
    await open.initialize();
    await kubectl(['-n', app.namespace, 'patch', 'mcps', 'paused', '--type=merge', '-p', '{"spec":{"paused":true}}']);
    const initialize = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } };
    const refused = await until('it is paused', async () => {
      const client = await app.client('alice', 'paused');
      const answer = await client.request('initialize', initialize);
      await client.close();
      return answer.status === 503 && answer;
    });
    expect(refused.headers['retry-after']).to.equal('60');
    expect(refused.text).to.include('SERVER_PAUSED');
    expect(await echo(open)).to.equal('here');
    await open.end();
    await open.close();
  });

  it('that are wrong are not served, and nothing else is the worse for it', async () => {
    await applied('elsewhere', { forgejo: { url: 'https://no-such-forge.example' } });
    await applied('fixture', { paused: true });
    await applied('after-them');
    await app.served('after-them');
    expect(await statusAt('elsewhere')).to.equal(404);
    const client = await app.client('alice', 'fixture');
    await client.initialize();
    expect(await echo(client), 'the configuration’s server of that name').to.equal('here');
    await client.end();
    await client.close();
    const log = await app.gatewayLog();
    expect(log).to.match(/"server":"elsewhere","reason":"ForgeUnknown"/);
    expect(log).to.match(/"server":"fixture","reason":"NameTaken"/);
  });

  it('that are removed are unknown: 404, for those who had a session as well', async () => {
    await applied('leaving');
    await app.served('leaving');
    const client = await app.client('alice', 'leaving');
    await client.initialize();
    await remove('leaving');
    await until('it is unknown', async () => (await statusAt('leaving')) === 404);
    const { status, text } = await client.call('echo', { text: 'x' });
    expect({ status, unknown: text.includes('SERVER_UNKNOWN') }).to.deep.equal({ status: 404, unknown: true });
    await client.close();
  });
});
