/** `subscriptions/listen` of MCP 2026-07-28 through the whole gateway, to real children of both eras. */
import { expect } from 'chai';
import {
  childrenWith,
  jsonIn,
  logLevel,
  type ModernGateway,
  startModernGateway,
  SUBSCRIPTION_ID,
  textIn,
} from '../support/modern-gateway';
import { startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import { type StatelessClient, type StatelessStream } from '../support/stateless-client';
import { until } from '../support/until';

const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged';
const TOOLS = 'notifications/tools/list_changed';
const PROMPTS = 'notifications/prompts/list_changed';
const RESOURCES = 'notifications/resources/list_changed';
const UPDATED = 'notifications/resources/updated';
const NOTE = 'fixture://note';
const WATCHED = 'test://watched-resource';

describe('subscriptions of MCP 2026-07-28', function () {
  this.timeout(120_000);
  let gateway: ModernGateway;
  const streams: StatelessStream[] = [];

  before(async () => {
    const everything = await childCommand('everything-server');
    const fixture = await childCommand('fixture-child');
    gateway = await startModernGateway(startNameForge, {
      modern: { command: [everything] },
      translated: { command: [everything], protocolEra: 'legacy' },
      fixture: { command: [fixture] },
      'idle-fixture': { command: [fixture, 'idle-fixture'], idleTimeout: '1s' },
      'idle-modern': { command: [everything, 'idle-modern'], idleTimeout: '1s' },
      dying: { command: [fixture, 'dying'] },
    });
  });

  after(async () => gateway?.stop());

  afterEach(async () => {
    for (const stream of streams.splice(0)) stream.close();
    await gateway.closeClients();
  });

  interface Listening {
    readonly stream: StatelessStream;
    readonly id: string;
    /** What was agreed to. */
    readonly granted: any;
    /** The next notification, whose subscription is checked. */
    readonly next: () => Promise<any>;
  }

  /** Subscribes and takes the acknowledgement, which must come first. */
  const listen = async (client: StatelessClient, notifications: object): Promise<Listening> => {
    const request = client.message('subscriptions/listen', { notifications });
    const stream = await client.open(request);
    streams.push(stream);
    expect(stream.status).to.equal(200);
    expect(stream.headers['content-type']).to.equal('text/event-stream');
    expect(stream.headers['mcp-session-id']).to.equal(undefined);
    const next = async (): Promise<any> => {
      const message = await stream.next();
      if (message?.method !== undefined) expect(message.params._meta[SUBSCRIPTION_ID]).to.equal(request.id);
      return message;
    };
    const first = await next();
    expect(first.method).to.equal(ACKNOWLEDGED);
    return { stream, id: request.id, granted: first.params.notifications, next };
  };

  const tells = (client: StatelessClient, method: string, params?: object): Promise<unknown> =>
    client.tool('notify', { method, ...(params === undefined ? {} : { params }) });

  it('several on one child each hear what they asked for, and no more', async () => {
    const client = gateway.client('fixture');
    const tools = await listen(client, { toolsListChanged: true });
    const lists = await listen(client, { promptsListChanged: true, resourcesListChanged: true });
    const note = await listen(client, { resourceSubscriptions: [NOTE] });
    const both = await listen(client, { toolsListChanged: true, resourceSubscriptions: [NOTE, 'fixture://item/1'] });
    expect(tools.granted).to.deep.equal({ toolsListChanged: true });
    expect(lists.granted).to.deep.equal({ promptsListChanged: true, resourcesListChanged: true });
    expect(both.granted.toolsListChanged).to.equal(true);
    expect(both.granted.resourceSubscriptions).to.have.members([NOTE, 'fixture://item/1']);

    for (const method of [TOOLS, PROMPTS, RESOURCES]) await tells(client, method);
    for (const uri of [NOTE, 'fixture://item/1']) expect(textIn(await client.tool('touch', { uri }))).to.equal('true');
    await tells(client, TOOLS);

    const heard = async ({ next }: Listening, n: number): Promise<unknown[]> => {
      const all = [];
      for (let i = 0; i < n; i++) {
        const { method, params } = await next();
        all.push(params.uri ?? method);
      }
      return all;
    };
    expect(await heard(tools, 2)).to.deep.equal([TOOLS, TOOLS]);
    expect(await heard(lists, 2)).to.deep.equal([PROMPTS, RESOURCES]);
    expect(await heard(note, 1)).to.deep.equal([NOTE]);
    expect(await heard(both, 4)).to.deep.equal([TOOLS, NOTE, 'fixture://item/1', TOOLS]);
  });

  it('a resource stays subscribed at the child as long as anybody listens for it, and not a moment longer', async () => {
    const client = gateway.client('fixture');
    client.info = { name: 'counting', version: '1' };
    const subscribed = async (): Promise<string[]> => jsonIn(await client.tool('state')).subscriptions;
    const first = await listen(client, { resourceSubscriptions: [NOTE, 'fixture://item/1'] });
    const second = await listen(client, { resourceSubscriptions: [NOTE] });
    expect(await subscribed()).to.deep.equal(['fixture://item/1', NOTE]);
    first.stream.close();
    await until('the one that nobody wants is given up', async () => (await subscribed()).length === 1);
    expect(await subscribed()).to.deep.equal([NOTE]);
    second.stream.close();
    await until('both are given up', async () => (await subscribed()).length === 0);
  });

  it('nothing comes on a stream that asked for nothing, or of what the child cannot tell', async () => {
    const client = gateway.client('fixture');
    const nothing = await listen(client, {});
    expect(nothing.granted).to.deep.equal({});
    const some = await listen(client, { toolsListChanged: true, somethingNew: true });
    expect(some.granted).to.deep.equal({ toolsListChanged: true });
    await tells(client, PROMPTS);
    await tells(client, TOOLS);
    expect((await some.next()).method).to.equal(TOOLS);
    nothing.stream.close();
    expect(client.seen.filter(({ method }) => method === PROMPTS)).to.deep.equal([]);
  });

  for (const server of ['modern', 'translated'] as const) {
    it(`changes of the everything-server's tools, prompts and resource arrive (${server})`, async () => {
      const client = gateway.client(server);
      const tools = await listen(client, { toolsListChanged: true });
      const more = await listen(client, { promptsListChanged: true, resourceSubscriptions: [WATCHED] });
      expect(tools.granted).to.deep.equal({ toolsListChanged: true });
      await client.tool('test_trigger_tool_change');
      expect((await tools.next()).method).to.equal(TOOLS);
      await client.tool('test_trigger_prompt_change');
      const heard = new Set<string>();
      while (heard.size < 2) heard.add((await more.next()).method);
      expect([...heard]).to.have.members([PROMPTS, UPDATED]);
      // What a call says meanwhile goes to the call.
      const logged = await client.tool('test_tool_with_logging', {}, logLevel('info'));
      expect(logged.messages.filter(({ method }) => method === 'notifications/message')).to.have.length(3);
    });

    it(`one that ends leaves the others as they are (${server})`, async () => {
      const client = gateway.client(server);
      client.info = { name: 'leaving', version: '1' };
      const [first, second, third] = [
        await listen(client, { toolsListChanged: true }),
        await listen(client, { toolsListChanged: true, promptsListChanged: true }),
        await listen(client, { promptsListChanged: true }),
      ];
      first.stream.close();
      third.stream.close();
      await client.tool('test_trigger_prompt_change');
      expect((await second.next()).method).to.equal(PROMPTS);
      await client.tool('test_trigger_tool_change');
      expect((await second.next()).method).to.equal(TOOLS);
    });
  }

  for (const [server, change] of [
    ['idle-fixture', (client: StatelessClient) => tells(client, TOOLS)],
    ['idle-modern', (client: StatelessClient) => client.tool('test_trigger_tool_change')],
  ] as const) {
    it(`a stream outlives its idle child, and hears of the next one's changes (${server})`, async () => {
      const client = gateway.client(server);
      const { next } = await listen(client, { toolsListChanged: true });
      for (let round = 0; round < 2; round++) {
        await until('the child is gone', async () => (await childrenWith(server)).length === 0);
        const answer = await client.call('tools/list');
        expect(answer.status).to.equal(200);
        expect(await childrenWith(server)).to.have.length(1);
        // Nobody can tell what has changed in between, so that is said first.
        expect((await next()).method).to.equal(TOOLS);
        await change(client);
        expect((await next()).method).to.equal(TOOLS);
      }
    });
  }

  it('is ended in an orderly way, by the result of its request, when its child dies', async () => {
    const client = gateway.client('dying');
    const { next, id } = await listen(client, { toolsListChanged: true });
    const other = await listen(gateway.client('fixture'), { toolsListChanged: true });
    for (const pid of await childrenWith('dying')) process.kill(pid, 'SIGKILL');
    const last = await next();
    expect(last).to.deep.include({ jsonrpc: '2.0', id });
    expect(last.result).to.deep.include({ resultType: 'complete' });
    expect(last.result._meta[SUBSCRIPTION_ID]).to.equal(id);
    expect(await next()).to.equal(undefined);
    await tells(gateway.client('fixture'), TOOLS);
    expect((await other.next()).method).to.equal(TOOLS);
    // Whoever comes again is served again.
    expect((await listen(client, { toolsListChanged: true })).granted).to.deep.equal({ toolsListChanged: true });
  });

  it('of another user, and of another client of the same user, hear nothing of each other', async () => {
    const [mine, theirs, other] = [
      gateway.client('fixture'),
      gateway.client('fixture', { user: 'bob' }),
      gateway.client('fixture'),
    ];
    other.info = { name: 'other', version: '1' };
    const all = [];
    for (const client of [mine, theirs, other]) all.push(await listen(client, { toolsListChanged: true }));
    await tells(mine, TOOLS);
    expect((await all[0].next()).method).to.equal(TOOLS);
    for (const client of [theirs, other]) {
      expect(client.seen.map(({ method }) => method)).to.deep.equal([ACKNOWLEDGED]);
    }
  });

  it('is refused before a child is asked where it is wrong: version, headers, method', async () => {
    const client = gateway.client('fixture');
    const message = client.message('subscriptions/listen', { notifications: {} });
    const answer = await client.post(message, { 'Mcp-Method': 'tools/list' });
    expect([answer.status, answer.answer.error.code]).to.deep.equal([400, -32020]);
  });
});
