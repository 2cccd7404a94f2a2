/** The transport of 2024-11-05: a GET stream, POSTs for it, and a session that lives as long as the stream (MCP 2024-11-05, 'HTTP with SSE'). */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { expect } from 'chai';
import { AppError } from '../../src/errors';
import type { FakeLink, Sent } from '../support/fake-link';
import {
  ask,
  contextOf,
  deferred,
  INITIALIZE,
  nameAuthenticator,
  rawEventsOf,
  startApp,
  stream,
  type Answer,
  type Changes,
  type GatewayApp,
  type Stream,
} from '../support/gateway-app';
import { serverSpec } from '../support/server-spec';
import { until } from '../support/until';

const LIST = { jsonrpc: '2.0', id: 7, method: 'tools/list' };
const READY = { jsonrpc: '2.0', method: 'notifications/initialized' };
const OLD = { ...INITIALIZE, params: { ...INITIALIZE.params, protocolVersion: '2024-11-05' } };

interface Connection {
  readonly events: Stream;
  readonly url: string;
  post(body: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Messages that came so far. */
  messages(): any[];
  message(id: number): Promise<any>;
}

describe('the transport of 2024-11-05', () => {
  let app: GatewayApp;
  afterEach(() => app.close());

  const connect = async (path = '/sse', headers: Record<string, string> = {}): Promise<Connection> => {
    const events = await stream(app, { path, headers: { accept: 'text/event-stream', ...headers } });
    await events.shows(/event: endpoint\ndata: .*\n\n/);
    const url = rawEventsOf(events.text())[0]?.data ?? '';
    const messages = () =>
      rawEventsOf(events.text())
        .slice(1)
        .map(({ data }) => JSON.parse(data) as { id?: number });
    return {
      events,
      url,
      post: (body, more = {}) =>
        ask(app, { path: url, headers: { accept: undefined, ...headers, ...more }, body: body as object }),
      messages,
      message: (id) => until(`message ${String(id)}`, async () => messages().find((message) => message.id === id)),
    };
  };
  const open = async (path?: string, headers?: Record<string, string>): Promise<Connection> => {
    const connection = await connect(path, headers);
    expect((await connection.post(OLD)).status).to.equal(202);
    await connection.message(1);
    expect((await connection.post(READY)).status).to.equal(202);
    return connection;
  };
  const start = async (changes: Changes = {}): Promise<void> => {
    app = await startApp(changes);
  };
  const noSession = () => until('the session to be gone', async () => app.registry.size === 0 && app.sse.size === 0);

  it('names a URL of the same origin first, whose connection is 192 random bits', async () => {
    await start();
    const [one, two] = [await connect(), await connect()];
    expect(one.url).to.match(/^\/sse\?connection=[0-9a-f]{48}$/);
    expect(two.url).to.not.equal(one.url);
    expect(one.events.headers['content-type']).to.equal('text/event-stream');
  });

  it('opens a session by initialize, answers 202 to every message, and everything comes on the stream', async () => {
    await start();
    const connection = await open();
    const [child] = app.children as [FakeLink];
    expect((await connection.post(LIST)).text).to.equal('');
    expect(await connection.message(7)).to.deep.equal({ jsonrpc: '2.0', id: 7, result: { method: 'tools/list' } });
    child.say({ jsonrpc: '2.0', id: 3, method: 'roots/list' });
    const asked = await until('the question', async () =>
      connection.messages().find(({ method }) => method === 'roots/list'),
    );
    expect((await connection.post({ jsonrpc: '2.0', id: asked.id, result: { roots: [] } })).status).to.equal(202);
    expect(child.last).to.deep.equal({ jsonrpc: '2.0', id: 3, result: { roots: [] } });
    child.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    await connection.events.shows(/list_changed/);
  });

  it('serves every server by its name', async () => {
    await start({ servers: [serverSpec({ name: 'default' }), serverSpec({ name: 'other' })] });
    const connection = await open('/servers/other/sse');
    expect(connection.url).to.match(/^\/servers\/other\/sse\?connection=/);
    expect((await ask(app, { path: connection.url.replace('/servers/other', ''), body: LIST })).status).to.equal(403);
    expect((await ask(app, { method: 'GET', path: '/servers/none/sse' })).status).to.equal(404);
  });

  it('is served at the URL of the endpoint itself to a client that names no session and no revision', async () => {
    await start();
    const connection = await open('/mcp');
    expect(connection.url).to.match(/^\/mcp\?connection=/);
    await connection.post(LIST);
    await connection.message(7);
  });

  it('is not taken for what later revisions ask at that URL: 400 without a session', async () => {
    await start();
    for (const headers of [
      { accept: 'text/event-stream', 'mcp-protocol-version': '2025-06-18' },
      { accept: 'text/event-stream', 'last-event-id': 'g1.0' },
      { accept: 'application/json, text/event-stream' },
      { accept: '*/*' },
    ]) {
      expect((await ask(app, { method: 'GET', headers })).status).to.equal(400);
    }
    expect(app.sse.size).to.equal(0);
  });

  it('answers a client of later revisions so that it falls back: 404 to an initialize without a connection', async () => {
    await start();
    expect((await ask(app, { path: '/sse', body: INITIALIZE })).status).to.equal(404);
  });

  it('ends the session when the stream closes, and a call in flight with it', async () => {
    await start();
    const connection = await open();
    const [child] = app.children as [FakeLink];
    child.onMessage = () => undefined;
    await connection.post(LIST);
    connection.events.drop();
    await noSession();
    expect(child.running).to.equal(false);
    expect(app.bodies.inFlight).to.equal(0);
    expect((await connection.post(LIST)).status).to.equal(404);
  });

  it('ends the stream when the child ends', async () => {
    await start();
    const connection = await open();
    app.children[0]?.exit({ reason: 'exited', code: 0 });
    await connection.events.ended;
    await noSession();
  });

  it('gives the start up when the stream closes meanwhile', async () => {
    const started = deferred<AbortSignal>();
    await start({
      spawn: (signal) => {
        started.resolve(signal);
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        });
      },
    });
    const connection = await connect();
    await connection.post(OLD);
    await started.promise;
    connection.events.drop();
    await noSession();
  });

  it('tells on the stream why there is no session, and lets the client try again', async () => {
    let fail = true;
    await start({
      spawn: async () => {
        if (fail) throw new AppError('BACKEND_IMAGE', 'The image cannot be pulled.');
      },
    });
    const connection = await connect();
    expect((await connection.post(OLD)).status).to.equal(202);
    const failure = await connection.message(1);
    expect(failure.error.data.code).to.equal('BACKEND_IMAGE');
    expect((await connection.post(LIST)).status).to.equal(404);
    fail = false;
    await connection.post({ ...OLD, id: 2 });
    expect((await connection.message(2)).result.protocolVersion).to.equal('2024-11-05');
  });

  it('passes the error of a child that refuses initialize on, and no session is left', async () => {
    await start({
      child: (link) => {
        link.onMessage = ({ id }) => link.say({ jsonrpc: '2.0', id, error: { code: -32602, message: 'no' } });
      },
    });
    const connection = await connect();
    await connection.post(OLD);
    expect((await connection.message(1)).error.message).to.equal('no');
    await until('no session', async () => app.registry.size === 0);
    expect((await connection.post(LIST)).status).to.equal(404);
  });

  it('holds the caps of sessions: told on the stream', async () => {
    await start({ maxPerUser: 1 });
    await open();
    const second = await connect();
    expect((await second.post(OLD)).status).to.equal(202);
    expect((await second.message(1)).error.data.code).to.equal('SESSION_CAP_USER');
  });

  it('answers a call that cannot be made on the stream, because a client may never send again after another status', async () => {
    await start({ maxCallsInFlight: 1 });
    const connection = await open();
    const [child] = app.children as [FakeLink];
    child.onMessage = () => undefined;
    await connection.post(LIST);
    expect((await connection.post({ ...LIST, id: 8 })).status).to.equal(202);
    expect((await connection.message(8)).error.data.code).to.equal('CALLS_TOO_MANY');
  });

  it('answers 503 to one connection too many, of a user and in all, and has place again', async () => {
    await start({ sse: { maxPerUser: 2, maxTotal: 3 } });
    const get = (user: string) =>
      ask(app, {
        method: 'GET',
        path: '/sse',
        headers: { accept: 'text/event-stream', authorization: `Bearer ${user}` },
      });
    const first = await connect();
    await connect();
    expect((await get('alice')).status).to.equal(503);
    await connect('/sse', { authorization: 'Bearer bob' });
    const refused = await get('carol');
    expect(refused.status).to.equal(503);
    expect(refused.headers['retry-after']).to.equal('10');
    first.events.drop();
    await until('a place', async () => app.sse.size === 2);
    await connect('/sse', { authorization: 'Bearer carol' });
  });

  it('ends a connection on which no session is opened in time, and no other', async () => {
    await start({ sse: { initializeMs: 100 } });
    const [idle, used] = [await connect(), await open()];
    await idle.events.ended;
    await used.post(LIST);
    await used.message(7);
  });

  it('is authenticated message by message: 401 and 403', async () => {
    await start();
    const connection = await open();
    expect((await ask(app, { method: 'GET', path: '/sse', headers: { authorization: undefined } })).status).to.equal(
      401,
    );
    expect((await connection.post(LIST, { authorization: 'Bearer bad' })).status).to.equal(401);
    expect((await connection.post(LIST, { authorization: 'Bearer bob' })).status).to.equal(403);
    expect((await connection.post({ ...OLD, id: 2 }, { authorization: 'Bearer bob' })).status).to.equal(403);
    expect(app.children[0]?.sent.map(({ method }) => method)).to.deep.equal(['initialize', READY.method]);
    expect((await connection.post(LIST, { origin: 'https://evil.example' })).status).to.equal(403);
  });

  it('answers 403 to a call that needs more than the token may do, so that the client can step up', async () => {
    const reader = { ...contextOf('alice'), scopes: new Set(['forgejo:read'] as const) };
    await start({ authenticator: { ...nameAuthenticator, authenticate: async () => reader } });
    const connection = await open();
    const [child] = app.children as [FakeLink];
    child.onMessage = (message: Sent) => {
      const annotations = { readOnlyHint: true };
      child.reply(message, {
        tools: [
          { name: 'put', annotations: {} },
          { name: 'get', annotations },
        ],
      });
    };
    const call = { ...LIST, method: 'tools/call', params: { name: 'put' } };
    expect((await connection.post(call)).status).to.equal(403);
  });

  it('serves batches', async () => {
    await start();
    const connection = await open();
    expect((await connection.post([LIST, READY, { ...LIST, id: 8 }])).status).to.equal(202);
    await connection.message(7);
    await connection.message(8);
    expect((await connection.post([])).status).to.equal(400);
    expect((await connection.post([{ ...OLD, id: 9 }])).status).to.equal(400);
  });

  it('answers what it does not understand: 400, 404, 405, 406, 413, 415', async () => {
    await start({ maxBodyBytes: 2_000 });
    const connection = await open();
    expect((await connection.post('{')).status).to.equal(400);
    expect((await connection.post({ ...OLD, id: 2 })).status).to.equal(400);
    expect((await connection.post(LIST, { 'mcp-protocol-version': '2026-07-28' })).status).to.equal(400);
    expect((await connection.post(LIST, { 'content-type': 'text/plain' })).status).to.equal(415);
    expect((await connection.post({ ...LIST, params: { x: 'x'.repeat(3_000) } })).status).to.equal(413);
    expect((await ask(app, { path: `/sse?connection=${'0'.repeat(48)}`, body: LIST })).status).to.equal(404);
    expect((await ask(app, { method: 'GET', path: '/sse', headers: { accept: 'application/json' } })).status).to.equal(
      406,
    );
    for (const method of ['DELETE', 'PUT', 'HEAD']) {
      const refused = await ask(app, { method, path: '/sse' });
      expect(refused.status).to.equal(405);
      expect(refused.headers.allow).to.equal('GET, POST, OPTIONS');
    }
    expect(app.bodies.inFlight).to.equal(0);
  });

  it('gets comments while nothing happens', async () => {
    await start({ keepaliveMs: 30 });
    const connection = await open();
    await connection.events.shows(/(: keepalive\n\n){2}/);
  });

  it('names no connection and no session in the log', async () => {
    await start();
    const connection = await open();
    await connection.post(LIST);
    connection.events.drop();
    await noSession();
    const secret = connection.url.split('=')[1] ?? '';
    expect(app.log.lines.length).to.be.above(2);
    expect(app.log.lines.join('\n')).to.not.contain(secret);
    const [name] = [...app.store.records.keys()];
    expect(app.log.lines.some((line) => line.includes('"method":"GET"') && line.includes(String(name)))).to.equal(true);
  });

  it('keeps 20 clients with the same ids apart, whichever of them goes away', async () => {
    await start({
      child: (link) => {
        const answer = link.onMessage;
        link.onMessage = (message) =>
          message.method === 'tools/call' ? setImmediate(() => link.reply(message, message.params)) : answer(message);
      },
      sse: { maxPerUser: 20 },
    });
    const all = await Promise.all(Array.from({ length: 20 }, () => open()));
    await Promise.all(
      all.map(async (connection, who) => {
        for (let id = 10; id < 20; id += 1) {
          await connection.post({ jsonrpc: '2.0', id, method: 'tools/call', params: { who, id } });
          if (who % 4 === 3 && id === 15) {
            connection.events.drop();
            return;
          }
        }
        for (let id = 10; id < 20; id += 1) {
          expect(await connection.message(id)).to.deep.equal({ jsonrpc: '2.0', id, result: { who, id } });
        }
        expect(connection.messages()).to.have.length(11);
      }),
    );
    await until('the others', async () => app.sse.size === 15 && app.registry.size === 15);
  });

  it('serves the official TypeScript client, which is told when its session is gone', async () => {
    await start();
    const headers = { Authorization: 'Bearer alice' };
    const transport = new SSEClientTransport(new URL('/sse', app.url), { requestInit: { headers } });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(transport);
    const [child] = app.children as [FakeLink];
    child.onMessage = (message) => child.reply(message);
    await client.ping();
    child.exit({ reason: 'exited', code: 0 });
    const thrown = await client.ping().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(String(thrown)).to.contain('Session not found');
    await client.close();
    await noSession();
  });
});
