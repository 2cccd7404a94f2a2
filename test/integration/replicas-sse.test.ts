/** The transport of 2024-11-05 before two gateways: the stream is at one of them, and its POSTs reach either. Real HTTP, real TLS between them. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { ListRootsRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { expect } from 'chai';
import { replicaName } from '../../src/peers/names';
import type { FakeLink, Sent } from '../support/fake-link';
import { ask, INITIALIZE, initializeResult, rawEventsOf, startApp, stream, type Stream } from '../support/gateway-app';
import { Install, type SharedGateway } from '../support/several-gateways';
import { until } from '../support/until';

const OLD = { ...INITIALIZE, params: { ...INITIALIZE.params, protocolVersion: '2024-11-05' } };
const LIST = { jsonrpc: '2.0', id: 7, method: 'tools/list' };

/** A child with a tool that asks for its client's roots and says how many there are; what it is told is in `sent`. */
function child(link: FakeLink): void {
  const polite = link.onMessage;
  let call: Sent | undefined;
  link.onMessage = (message) => {
    const { id, method } = message;
    if (method === 'initialize') {
      link.reply(message, { ...(initializeResult(message) as object), protocolVersion: '2024-11-05' });
    } else if (method === 'tools/call') {
      call = message;
      link.say({ jsonrpc: '2.0', id: 'roots', method: 'roots/list' });
    } else if (method === undefined && id === 'roots' && call !== undefined) {
      const { roots } = (message as unknown as { result: { roots: unknown[] } }).result;
      link.reply(call, { content: [{ type: 'text', text: String(roots.length) }] });
    } else if (method === 'tools/list') link.reply(message, { tools: [] });
    else polite(message);
  };
}

describe('the transport of 2024-11-05 before two gateways', function () {
  this.timeout(60_000);

  let install: Install;
  let a: SharedGateway;
  let b: SharedGateway;

  beforeEach(async () => {
    install = await Install.of(2, { child });
    [a, b] = install.gateways as [SharedGateway, SharedGateway];
  });
  afterEach(() => install.stop());

  /** A stream at a gateway, and the URL for its POSTs. */
  const connect = async ({ app }: SharedGateway): Promise<{ events: Stream; url: string }> => {
    const events = await stream(app, { path: '/sse', headers: { accept: 'text/event-stream' } });
    await events.shows(/event: endpoint\ndata: .*\n\n/);
    return { events, url: rawEventsOf(events.text())[0]?.data ?? '' };
  };
  const post = ({ app }: { app: { port: number } }, path: string, body: object, headers: Record<string, string> = {}) =>
    ask(app, { path, headers: { accept: undefined, ...headers }, body });

  it('an official client works whose POSTs go to both in turn, and everything comes on its stream', async () => {
    let turn = 0;
    const seen = new Set<string>();
    const transport = new SSEClientTransport(new URL('/sse', a.app.url), {
      requestInit: { headers: { authorization: 'Bearer alice' } },
      fetch: (url, init) => {
        const target = new URL(url);
        if (init?.method === 'POST') {
          turn += 1;
          target.port = String((turn % 2 === 0 ? a : b).app.port);
          seen.add(target.port);
        }
        return fetch(target, init);
      },
    });
    const client = new Client({ name: 'old', version: '1' }, { capabilities: { roots: {} } });
    client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///a' }, { uri: 'file:///b' }] }));
    await client.connect(transport);
    for (let n = 0; n < 5; n += 1) {
      expect(await client.listTools()).to.deep.equal({ tools: [] });
      const { content } = await client.callTool({ name: 'roots' });
      expect(content).to.deep.equal([{ type: 'text', text: '2' }]);
    }
    await Promise.all(Array.from({ length: 50 }, () => client.listTools()));
    expect(seen.size).to.equal(2);
    expect([a.children.length, b.children.length]).to.deep.equal([1, 0]);
    await client.close();
    await until('the session to be gone', async () => a.app.registry.size === 0 && a.app.sse.size === 0);
  });

  it('the URL names the gateway that has the stream, and none where there is only one', async () => {
    const { url } = await connect(b);
    expect(url).to.match(new RegExp(`^/sse\\?connection=[0-9a-f]{48}&gateway=${b.name}$`));
    const single = await startApp();
    try {
      const events = await stream(single, { path: '/sse', headers: { accept: 'text/event-stream' } });
      await events.shows(/\/sse\?connection=[0-9a-f]{48}\n/);
      const [{ data }] = rawEventsOf(events.text()) as [{ data: string }];
      expect((await post({ app: single }, `${data}&gateway=${replicaName()}`, OLD)).status).to.equal(202);
    } finally {
      await single.close();
    }
  });

  it('refuses at either gateway who may not post: 401, 403, 404, 415', async () => {
    const { url } = await connect(a);
    for (const gateway of [a, b]) {
      expect((await post(gateway, url, OLD, { authorization: '' })).status).to.equal(401);
      expect((await post(gateway, url, OLD, { authorization: 'Bearer bob' })).status).to.equal(403);
      expect((await post(gateway, url, OLD, { 'content-type': 'text/plain' })).status).to.equal(415);
      const other = url.replace(/connection=[0-9a-f]{8}/, 'connection=00000000');
      expect((await post(gateway, other, OLD)).status).to.equal(404);
      expect((await post(gateway, url, LIST)).status).to.equal(404); // no session yet
    }
    expect(a.children).to.have.length(0);
  });

  it('answers as for a connection that has ended where its gateway is gone, and for a name that is no gateway’s', async () => {
    const { url, events } = await connect(a);
    const first = await post(b, url.replace(/&.*/, ''), LIST);
    expect(first.status).to.equal(404);
    const { message } = first.json.error;
    const before = b.addressed.length;
    for (const name of [replicaName(), '', 'gateway-x', 'evil.example:443', 'a.example/%0a', a.name.toUpperCase()]) {
      const answer = await post(b, url.replace(/gateway=.*/, `gateway=${encodeURIComponent(name)}`), LIST);
      expect([answer.status, answer.json.error.message], name).to.deep.equal([404, message]);
    }
    expect(b.addressed, 'nobody’s address is asked for').to.have.length(before);
    a.isDead = true;
    await a.vanish();
    const gone = await post(b, url, LIST);
    expect([gone.status, gone.json.error.message]).to.deep.equal([404, message]);
    events.drop();
  });

  it('is answered 503 while its gateway lives and cannot be reached, and goes on at that one', async () => {
    const { url } = await connect(a);
    await a.vanish();
    const answer = await post(b, url, OLD);
    expect(answer.status).to.equal(503);
    expect(Number(answer.headers['retry-after'])).to.be.above(0);
    expect((await post(a, url, OLD)).status).to.equal(202);
  });

  it('passes on what the other gateway says of a body: 400, 413', async () => {
    const { url } = await connect(a);
    for (const gateway of [a, b]) {
      expect((await ask(gateway.app, { path: url, body: 'no JSON' })).status).to.equal(400);
      expect((await ask(gateway.app, { path: url, body: `"${'x'.repeat(2 ** 20)}"` })).status).to.equal(413);
    }
    expect((await post(b, url, OLD)).status).to.equal(202);
  });
});
