/** What the MCP specification asks of streams, event by event, from the whole gateway. */
import { expect } from 'chai';
import { Agent, request, type Dispatcher } from 'undici';
import { cites } from '../requirements';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import { eventsIn, eventsOf, messagesOf, type ServerEvent } from '../support/event-stream';
import { McpClient } from '../support/mcp';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';

describe('requirements of streams', function () {
  this.timeout(120_000);
  let gateway: BearerGateway<NameForge>;
  let agent: Agent;
  let client: McpClient;

  before(async () => {
    const command = [await childCommand('fixture-child')];
    gateway = await startBearerGateway(startNameForge, { default: { command } });
  });

  after(() => gateway?.stop());

  beforeEach(() => {
    agent = new Agent({ connections: 16 });
    client = new McpClient(gateway.url, gateway.tokenOf('alice'), agent);
  });

  afterEach(async () => {
    if (client.sessionId !== undefined) await client.end();
    await agent.destroy();
  });

  const authorization = (): string => `Bearer ${client.token ?? ''}`;

  const headers = (accept: string): Record<string, string> => ({
    accept,
    authorization: authorization(),
    'content-type': 'application/json',
    'mcp-session-id': client.sessionId ?? '',
    'mcp-protocol-version': '2025-11-25',
  });

  const send = (
    method: 'GET' | 'POST',
    more: Record<string, string>,
    message?: object,
  ): Promise<Dispatcher.ResponseData> =>
    request(gateway.url, {
      method,
      dispatcher: agent,
      signal: AbortSignal.timeout(60_000),
      headers: { ...headers(method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream'), ...more },
      ...(message === undefined ? {} : { body: JSON.stringify(message) }),
    });

  const whole = async ({ body }: Dispatcher.ResponseData): Promise<ServerEvent[]> => eventsIn(await body.text());

  const slow = (id: string): object => ({
    jsonrpc: '2.0',
    id,
    method: 'tools/call',
    params: { name: 'slow', arguments: { ms: 200, steps: 4 }, _meta: { progressToken: `token of ${id}` } },
  });

  /** A session of 2025-11-25. */
  const open = async (): Promise<void> => {
    const answer = await client.request('initialize', {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'test', version: '1' },
    });
    client.sessionId = answer.headers['mcp-session-id'] as string;
    await send('POST', {}, { jsonrpc: '2.0', method: 'notifications/initialized' }).then(({ body }) => body.dump());
  };

  it('have ids of their own, carry each message once, and begin with an id to come back to', async () => {
    cites(
      '2025-03-26/transports/25',
      '2025-03-26/transports/28',
      '2025-03-26/transports/29',
      '2025-11-25/transports/20',
      '2025-11-25/transports/36',
    );
    await open();
    const listening = await send('GET', {});
    expect([listening.statusCode, listening.headers['content-type']]).to.deep.equal([200, 'text/event-stream']);
    const heard = eventsOf(listening.body);
    const [a, b] = await Promise.all(
      ['a', 'b'].map(async (id) => {
        const response = await send('POST', {}, slow(id));
        expect(response.headers['content-type']).to.equal('text/event-stream');
        return whole(response);
      }),
    );
    await client.call('notify', { method: 'notifications/tools/list_changed' });
    const general: ServerEvent[] = [];
    while (messagesOf(general).length === 0) general.push((await heard.next()).value as ServerEvent);

    const streams = [a ?? [], b ?? [], general];
    const ids = streams.flat().flatMap(({ id }) => id ?? []);
    expect(ids).to.have.length.above(10);
    expect(new Set(ids).size).to.equal(ids.length);
    for (const events of streams) {
      const [first] = events;
      expect(first).to.include({ data: '' });
      expect(first?.id).to.be.a('string');
      // The part before the last dot names the stream.
      expect(new Set(events.flatMap(({ id }) => id?.replace(/\.[^.]*$/, '') ?? [])).size).to.equal(1);
    }
    const tokens = streams.map((events) =>
      messagesOf(events).flatMap(({ params }) => (params?.progressToken as string | undefined) ?? []),
    );
    expect(tokens).to.deep.equal([Array(4).fill('token of a'), Array(4).fill('token of b'), []]);
  });

  it('are resumed with what is theirs alone: their messages and their answer', async () => {
    cites('2025-03-26/transports/31', '2025-03-26/transports/27', '2025-03-26/transports/18');
    await open();
    const [a, b] = await Promise.all(['a', 'b'].map((id) => send('POST', {}, slow(id))));
    if (a === undefined || b === undefined) throw new Error('no streams');
    const reading = eventsOf(a.body);
    const first = (await reading.next()).value as ServerEvent;
    await reading.return(undefined);
    a.body.destroy();
    a.body.on('error', () => undefined);
    const other = messagesOf(await whole(b));
    expect(other.at(-1)).to.have.property('result');
    const again = messagesOf(await whole(await send('GET', { 'last-event-id': first.id ?? '' })));
    expect(again.map(({ id, params }) => (id ?? params.progressToken) as string)).to.deep.equal([
      ...Array<string>(4).fill('token of a'),
      'a',
    ]);
    const unknown = await send('GET', { 'last-event-id': 'nothing' });
    expect(unknown.statusCode).to.equal(400);
    await unknown.body.dump();
  });

  it('that a client listens on carry no answer of a call', async () => {
    cites('2025-03-26/transports/27');
    await open();
    const listening = await send('GET', {});
    const heard = eventsOf(listening.body);
    await Promise.all(['x', 'y', 'z'].map(async (id) => whole(await send('POST', {}, slow(id)))));
    await client.call('notify', { method: 'notifications/prompts/list_changed' });
    const messages: any[] = [];
    while (messages.length === 0) messages.push(...messagesOf([(await heard.next()).value as ServerEvent]));
    expect(messages).to.deep.equal([{ jsonrpc: '2.0', method: 'notifications/prompts/list_changed', params: {} }]);
  });

  for (const path of ['/sse', '/mcp']) {
    it(`of the transport of 2024-11-05 begin with the endpoint for messages, and carry all of them (${path})`, async () => {
      cites('2024-11-05/transports/8', '2024-11-05/transports/9');
      const stream = await request(`${gateway.gateway.url}${path}`, {
        dispatcher: agent,
        headers: { accept: 'text/event-stream', authorization: authorization() },
      });
      expect([stream.statusCode, stream.headers['content-type']]).to.deep.equal([200, 'text/event-stream']);
      const events = eventsOf(stream.body);
      const { event: name, data } = (await events.next()).value as ServerEvent;
      expect(name).to.equal('endpoint');
      const endpoint = new URL(data, gateway.url);
      expect(endpoint.origin).to.equal(new URL(gateway.url).origin);
      const say = async (message: object): Promise<void> => {
        const { statusCode, body } = await request(endpoint, {
          method: 'POST',
          dispatcher: agent,
          headers: { authorization: authorization(), 'content-type': 'application/json' },
          body: JSON.stringify(message),
        });
        await body.dump();
        expect(statusCode).to.equal(202);
      };
      const next = async (): Promise<any> => {
        const event = (await events.next()).value as ServerEvent;
        expect(event.event).to.equal('message');
        return JSON.parse(event.data);
      };
      const params = { protocolVersion: '2024-11-05', capabilities: {}, clientInfo: { name: 't', version: '1' } };
      await say({ jsonrpc: '2.0', id: 1, method: 'initialize', params });
      expect((await next()).result.protocolVersion).to.equal('2024-11-05');
      await say({ jsonrpc: '2.0', method: 'notifications/initialized' });
      await say({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'echo', arguments: { text: 'old' } } });
      expect((await next()).result.content[0].text).to.equal('old');
      stream.body.on('error', () => undefined);
      stream.body.destroy();
    });
  }
});
