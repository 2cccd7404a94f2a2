/** How calls and GET streams are answered over time: JSON or events, keepalives, back-pressure, clients that go away. */
import { expect } from 'chai';
import { cites } from '../requirements';
import { eventsIn, messagesOf } from '../support/event-stream';
import type { FakeLink, Sent } from '../support/fake-link';
import {
  ask,
  deferred,
  INITIALIZE,
  initializeResult,
  open,
  startApp,
  stream,
  type Changes,
  type GatewayApp,
} from '../support/gateway-app';
import { until } from '../support/until';

const CALL = { jsonrpc: '2.0', id: 'call', method: 'tools/call', params: { name: 'x' } };

describe('streams of an MCP endpoint', () => {
  let app: GatewayApp;
  let id: string;
  let child: FakeLink;
  const start = async (changes?: Changes): Promise<void> => {
    app = await startApp(changes);
    id = await open(app);
    child = app.children[0];
  };
  afterEach(() => app.close());

  const session = (more: Record<string, string> = {}) => ({ headers: { 'mcp-session-id': id, ...more } });
  /** What the child is sent next. */
  const next = (): Promise<Sent> =>
    new Promise((resolve) => {
      child.onMessage = resolve;
    });

  describe('a call', () => {
    it('is answered as JSON when the answer is the first word', async () => {
      cites('2025-06-18/transports/16', '2025-03-26/transports/16');
      await start();
      const answer = await ask(app, { ...session(), body: CALL });
      expect(answer.headers['content-type']).to.equal('application/json');
      expect(answer.headers['content-length']).to.equal(String(Buffer.byteLength(answer.text)));
      expect(answer.headers['cache-control']).to.equal('no-store');
    });

    it('is answered as an event stream when the child says something first, which carries all of it and ends with the answer', async () => {
      cites('2025-06-18/transports/16', '2025-03-26/transports/16', '2025-03-26/transports/28');
      await start();
      child.onMessage = (message) => {
        child.say({
          jsonrpc: '2.0',
          method: 'notifications/message',
          params: { level: 'info', data: 'working\nhard' },
        });
        child.reply(message, { done: true });
      };
      const answer = await ask(app, { ...session(), body: CALL });
      expect(answer.status).to.equal(200);
      expect(answer.headers['content-type']).to.equal('text/event-stream');
      expect(answer.headers['cache-control']).to.equal('no-cache, no-transform');
      expect(answer.headers['x-accel-buffering']).to.equal('no');
      expect(answer.events).to.deep.equal([
        { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'working\nhard' } },
        { jsonrpc: '2.0', id: 'call', result: { done: true } },
      ]);
      expect(answer.text).to.match(/^event: message\nid: p\w+\.1\ndata: /);
    });

    it('is answered as an event stream when the child is silent for too long', async () => {
      cites('2025-03-26/transports/20', '2025-03-26/transports/21');
      await start({ jsonMs: 20 });
      const asked = next();
      const answer = await stream(app, { method: 'POST', ...session(), body: CALL });
      expect(answer.headers['content-type']).to.equal('text/event-stream');
      child.reply(await asked, { late: true });
      await answer.ended;
      expect(messagesOf(eventsIn(answer.text()))).to.deep.equal([
        { jsonrpc: '2.0', id: 'call', result: { late: true } },
      ]);
    });

    it('carries the session id of a slow initialize in the headers of its event stream', async () => {
      const asked = deferred<[FakeLink, Sent]>();
      app = await startApp({
        jsonMs: 20,
        child: (link) => (link.onMessage = (message) => asked.resolve([link, message])),
      });
      const answer = await stream(app, { method: 'POST', body: INITIALIZE });
      expect(answer.headers['mcp-session-id']).to.match(/^[0-9a-f]{48}$/);
      const [link, message] = await asked.promise;
      link.reply(message, initializeResult(message));
      await answer.ended;
      expect(answer.text()).to.contain('"protocolVersion"');
    });

    it('tells a fault after the headers as its JSON-RPC answer', async () => {
      await start({ jsonMs: 20 });
      const asked = next();
      const answer = await stream(app, { method: 'POST', ...session(), body: CALL });
      await asked;
      child.exit({ reason: 'killed', signal: 'SIGKILL' });
      await answer.ended;
      const [failure] = messagesOf(eventsIn(answer.text())) as { id: string; error: { code: number } }[];
      expect(failure?.id).to.equal('call');
      expect(failure?.error.code).to.be.a('number');
    });

    it('gets comments while the child is silent', async () => {
      await start({ jsonMs: 5, keepaliveMs: 30 });
      const asked = next();
      const answer = await stream(app, { method: 'POST', ...session(), body: CALL });
      await answer.shows(/(: keepalive\n\n){3}/);
      child.reply(await asked);
      await answer.ended;
      expect(messagesOf(eventsIn(answer.text()))).to.have.length(1);
      expect(app.streams.size).to.equal(0);
    });

    it('carries what the child asks, and the client answers with a POST of its own', async () => {
      await start();
      const asked = next();
      const reading = stream(app, { method: 'POST', ...session(), body: CALL });
      const call = await asked;
      const answered = next();
      child.say({ jsonrpc: '2.0', id: 9, method: 'elicitation/create', params: { message: 'sure?' } });
      const answer = await reading;
      await answer.shows(/elicitation/);
      const [question] = messagesOf(eventsIn(answer.text())) as { id: string }[];
      await ask(app, { ...session(), body: { jsonrpc: '2.0', id: question?.id, result: { action: 'accept' } } });
      expect(await answered).to.deep.equal({ jsonrpc: '2.0', id: 9, result: { action: 'accept' } });
      child.reply(call, { done: true });
      await answer.ended;
      expect(messagesOf(eventsIn(answer.text())).at(-1)).to.deep.equal({
        jsonrpc: '2.0',
        id: 'call',
        result: { done: true },
      });
    });

    it('runs on when its client goes away: a disconnect is no cancellation [2025-03-26/transports/22]', async () => {
      await start({ jsonMs: 5 });
      const asked = next();
      const answer = await stream(app, { method: 'POST', ...session(), body: CALL });
      const message = await asked;
      answer.drop();
      await until('the stream to be gone', async () => app.streams.size === 0);
      expect(child.sent.some(({ method }) => method === 'notifications/cancelled')).to.equal(false);
      child.reply(message);
      expect((await ask(app, { ...session(), body: { jsonrpc: '2.0', method: 'notifications/x' } })).status).to.equal(
        202,
      );
    });

    it('is ended without an answer when the client cancels it', async () => {
      await start();
      const asked = next();
      const answered = ask(app, { ...session(), body: CALL });
      await asked;
      const cancel = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'call' } };
      expect((await ask(app, { ...session(), body: cancel })).status).to.equal(202);
      const answer = await answered;
      expect(answer.status).to.equal(200);
      expect(answer.events).to.deep.equal([]);
    });

    it('cuts a client that reads nothing, and only its stream', async () => {
      await start({ stallMs: 50 });
      const asked = next();
      const reading = stream(app, { method: 'POST', ...session(), body: CALL });
      const message = await asked;
      child.say({ jsonrpc: '2.0', method: 'notifications/message', params: { data: 'first' } });
      const slow = await reading;
      slow.pause();
      const big = 'x'.repeat(1024 * 1024);
      for (let i = 0; i < 64; i += 1)
        child.say({ jsonrpc: '2.0', method: 'notifications/message', params: { data: big } });
      await until('the stalled stream to be cut', async () => app.streams.size === 0);
      child.reply(message);
      child.onMessage = (other) => child.reply(other, { ok: true });
      expect((await ask(app, { ...session(), body: { ...CALL, id: 2 } })).json.result).to.deep.equal({ ok: true });
    });

    it('hands 32 messages of 1 MiB over whole to a client that pauses now and then', async () => {
      await start();
      const asked = next();
      const reading = stream(app, { method: 'POST', ...session(), body: CALL });
      const message = await asked;
      const big = 'y'.repeat(1024 * 1024);
      for (let i = 0; i < 32; i += 1)
        child.say({ jsonrpc: '2.0', method: 'notifications/message', params: { data: big, i } });
      child.reply(message, { done: true });
      const answer = await reading;
      answer.pause();
      setImmediate(() => answer.resume());
      await answer.ended;
      const events = messagesOf(eventsIn(answer.text())) as {
        params?: { i: number; data: string };
        result?: unknown;
      }[];
      expect(events.slice(0, -1).map(({ params }) => params?.i)).to.deep.equal(Array.from({ length: 32 }, (_, i) => i));
      expect(events.at(-1)?.result).to.deep.equal({ done: true });
    });

    it('hands one answer of 8 MiB over as JSON', async () => {
      await start();
      child.onMessage = (message) => child.reply(message, { data: 'z'.repeat(8 * 1024 * 1024) });
      const answer = await ask(app, { ...session(), body: CALL });
      expect(answer.json.result.data).to.have.length(8 * 1024 * 1024);
    });
  });

  describe('a GET stream', () => {
    it('begins at once, gets what belongs to no call, and ends with its session', async () => {
      cites('2025-03-26/transports/25');
      await start();
      const listening = await stream(app, session());
      expect(listening.status).to.equal(200);
      expect(listening.headers['content-type']).to.equal('text/event-stream');
      expect(listening.headers['x-accel-buffering']).to.equal('no');
      child.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
      await listening.shows(/list_changed/);
      await ask(app, { method: 'DELETE', ...session() });
      await listening.ended;
      expect(app.streams.size).to.equal(0);
    });

    it('ends when the child exits', async () => {
      await start();
      const listening = await stream(app, session());
      child.exit({ reason: 'exited', code: 0 });
      await listening.ended;
    });

    it('gets comments while nothing happens', async () => {
      await start({ keepaliveMs: 30 });
      const listening = await stream(app, session());
      await listening.shows(/(: keepalive\n\n){2}/);
      listening.drop();
      await until('the stream to be gone', async () => app.streams.size === 0);
    });

    it('takes a request of the child, which the client answers with a POST', async () => {
      await start();
      const listening = await stream(app, session());
      child.say({ jsonrpc: '2.0', id: 77, method: 'roots/list' });
      await listening.shows(/roots\/list/);
      const [request] = messagesOf(eventsIn(listening.text())) as { id: string }[];
      const answered = next();
      const answer = { jsonrpc: '2.0', id: request?.id, result: { roots: [] } };
      expect((await ask(app, { ...session(), body: answer })).status).to.equal(202);
      expect(await answered).to.deep.equal({ jsonrpc: '2.0', id: 77, result: { roots: [] } });
    });

    it('gives the newest of several streams the messages [2025-03-26/transports/28]', async () => {
      await start();
      const older = await stream(app, session());
      const newer = await stream(app, session());
      child.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
      await newer.shows(/list_changed/);
      expect(older.text()).to.equal('');
    });
  });

  it('leaves nothing behind: no stream, no session, no body, after 100 sessions of every kind', async () => {
    await start({ jsonMs: 5 });
    await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const mine = await open(app, `user${String(i)}`);
        const headers = { authorization: `Bearer user${String(i)}`, 'mcp-session-id': mine };
        const listening = await stream(app, { headers });
        await ask(app, { headers, body: CALL });
        if (i % 2 === 0) listening.drop();
        else await ask(app, { method: 'DELETE', headers });
      }),
    );
    await app.registry.stop(0);
    await until('all streams to be gone', async () => app.streams.size === 0);
    expect(app.registry.size).to.equal(0);
    expect(app.bodies.inFlight).to.equal(0);
  });
});
