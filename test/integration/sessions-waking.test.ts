/** Sessions that sleep and wake with real children and an official client, which notices nothing. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { PromptListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { expect } from 'chai';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import { until } from '../support/until';

/** What a client has set up in its child, as the child tells it. */
interface State {
  readonly pid: number;
  readonly initialize: { readonly clientInfo: unknown; readonly capabilities: unknown };
  readonly initialized: boolean;
  readonly logLevel: string;
  readonly subscriptions: readonly string[];
  readonly called: Readonly<Record<string, number>>;
}

const NOTE = 'fixture://note';

describe('sessions that wake', function () {
  this.timeout(180_000);
  let gateway: BearerGateway<NameForge>;
  const clients: { client: Client; transport: StreamableHTTPClientTransport }[] = [];

  before(async () => {
    const fixture = { command: [await childCommand('fixture-child')], idleTimeout: '1s' };
    gateway = await startBearerGateway(
      startNameForge,
      { fixture },
      { sessions: { maxPerUser: 100, sweepInterval: '0.2s' } },
    );
  });
  after(() => gateway?.stop());
  afterEach(async () => {
    for (const { client, transport } of clients.splice(0)) {
      await transport.terminateSession().catch(() => undefined); // some tests end it otherwise
      await client.close();
    }
  });

  const connect = async (): Promise<{ client: Client; transport: StreamableHTTPClientTransport }> => {
    const transport = new StreamableHTTPClientTransport(new URL(gateway.url), {
      requestInit: { headers: { Authorization: `Bearer ${gateway.tokenOf('alice')}` } },
    });
    const client = new Client({ name: 'sleeper', version: '1' }, { capabilities: { roots: { listChanged: true } } });
    await client.connect(transport);
    clients.push({ client, transport });
    return { client, transport };
  };
  const stateOf = async (client: Client): Promise<State> => {
    const { content } = await client.callTool({ name: 'state' });
    return JSON.parse((content as { text: string }[])[0]?.text ?? '') as State;
  };
  const asleep = async (pid: number): Promise<void> => {
    await until(`the child ${String(pid)} is gone`, async () => !isRunning(pid), 60_000);
  };
  const isRunning = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };

  it('have another child that knows all that the one before was told, under the same id', async () => {
    const { client, transport } = await connect();
    await client.setLoggingLevel('debug');
    const { resources } = await client.listResources();
    const uri = resources[0]?.uri ?? NOTE;
    await client.subscribeResource({ uri });
    const before = await stateOf(client);
    const id = transport.sessionId;
    await asleep(before.pid);
    const after = await stateOf(client);
    expect(after.pid).to.not.equal(before.pid);
    expect(transport.sessionId).to.equal(id);
    expect([after.initialize, after.initialized]).to.deep.equal([before.initialize, true]);
    expect([after.logLevel, after.subscriptions]).to.deep.equal(['debug', [uri]]);
    await client.unsubscribeResource({ uri });
    await asleep(after.pid);
    expect((await stateOf(client)).subscriptions).to.deep.equal([]);
  });

  it('keep their GET stream: what the new child says of its own accord comes', async () => {
    const { client } = await connect();
    const heard: string[] = [];
    client.setNotificationHandler(PromptListChangedNotificationSchema, ({ method }) => void heard.push(method));
    const { pid } = await stateOf(client);
    await asleep(pid);
    await client.callTool({ name: 'notify', arguments: { n: 2, method: 'notifications/prompts/list_changed' } });
    await until('it is heard', async () => heard.length === 2);
  });

  it('wake once for 50 calls at once, and each is answered', async () => {
    const { client } = await connect();
    const { pid } = await stateOf(client);
    await asleep(pid);
    const answers = await Promise.all(
      [...Array(50).keys()].map((n) => client.callTool({ name: 'echo', arguments: { text: `n${String(n)}` } })),
    );
    expect(answers.map(({ content }) => (content as { text: string }[])[0]?.text)).to.deep.equal(
      [...Array(50).keys()].map((n) => `n${String(n)}`),
    );
    const { called } = await stateOf(client);
    expect(called.echo).to.equal(50);
  });

  it('cost no process while they sleep: of 60 none has one, and all wake at once under their ids', async () => {
    const opened = await Promise.all([...Array(60).keys()].map(connect));
    const pids = await Promise.all(opened.map(async ({ client }) => (await stateOf(client)).pid));
    const ids = opened.map(({ transport }) => transport.sessionId);
    for (const pid of pids) await asleep(pid);
    expect(await gateway.metric('forgejo_mcp_sessions{state="hibernated"}')).to.equal(60);
    const woken = await Promise.all(opened.map(async ({ client }) => (await stateOf(client)).pid));
    expect(new Set(woken).size).to.equal(60);
    expect(opened.map(({ transport }) => transport.sessionId)).to.deep.equal(ids);
  });
});
