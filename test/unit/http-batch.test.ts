/** Batches of 2025-03-26, and which revision a session is served in. */
import { expect } from 'chai';
import fc from 'fast-check';
import { cites } from '../requirements';
import type { FakeLink, Sent } from '../support/fake-link';
import { ask, contextOf, INITIALIZE, nameAuthenticator, startApp, stream, type Ask } from '../support/gateway-app';
import { rawEventsOf, type Answer, type Changes, type GatewayApp } from '../support/gateway-app';
import { serverSpec } from '../support/server-spec';
import { until } from '../support/until';

const request = (id: number | string, method = 'tools/list') => ({ jsonrpc: '2.0', id, method });
const NOTE = { jsonrpc: '2.0', method: 'notifications/roots/list_changed' };

describe('batches and revisions', () => {
  let app: GatewayApp;
  let id: string;
  let child: FakeLink;
  const initialize = (version: unknown): Promise<Answer> =>
    ask(app, { body: { ...INITIALIZE, params: { ...INITIALIZE.params, protocolVersion: version } } });
  const start = async (version = '2025-03-26', changes: Changes = {}): Promise<void> => {
    app = await startApp(changes);
    id = String((await initialize(version)).headers['mcp-session-id']);
    child = app.children[0];
  };
  afterEach(() => app.close());
  const send = (body: object | string, more: Record<string, string> = {}): Promise<Answer> =>
    ask(app, sent(body, more));
  const sent = (body: object | string, more: Record<string, string> = {}): Ask => ({
    headers: { 'mcp-session-id': id, ...more },
    body,
  });

  describe('a batch', () => {
    for (const version of ['2024-11-05', '2025-03-26']) {
      it(`of requests is answered with a JSON array in ${version}, each once`, async () => {
        cites('2025-03-26/basic/13', '2025-03-26/transports/13', '2025-03-26/transports/18');
        await start(version);
        const answer = await send([request(1), NOTE, request('two', 'ping')]);
        expect(answer.status).to.equal(200);
        expect(answer.headers['content-type']).to.equal('application/json');
        expect(answer.json).to.deep.equal([
          { jsonrpc: '2.0', id: 1, result: { method: 'tools/list' } },
          { jsonrpc: '2.0', id: 'two', result: { method: 'ping' } },
        ]);
        expect(child.sent.slice(1).map(({ method }) => method)).to.deep.equal(['tools/list', NOTE.method, 'ping']);
      });
    }

    it('of one request is answered with an array of one', async () => {
      await start();
      expect((await send([request(1)])).json).to.have.length(1);
    });

    it('of notifications and answers is 202 without a body', async () => {
      cites('2025-03-26/transports/13', '2025-03-26/transports/14');
      await start();
      const answer = await send([NOTE, { jsonrpc: '2.0', id: 'r0.1.n1', result: {} }]);
      expect(answer.status).to.equal(202);
      expect(answer.text).to.equal('');
      expect(child.sent.at(-1)).to.deep.equal(NOTE);
    });

    it('becomes an event stream when the child says something first, with what was answered already', async () => {
      await start();
      const waiting: Sent[] = [];
      child.onMessage = (message) => {
        waiting.push(message);
        if (waiting.length < 3) return;
        child.reply(waiting[0], 1);
        child.say({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' } });
        child.reply(waiting[2], 3);
        child.reply(waiting[1], 2);
      };
      const answer = await send([request(1), request(2), request(3)]);
      expect(answer.headers['content-type']).to.equal('text/event-stream');
      expect(answer.events.map((event) => (event as { result?: number }).result ?? 'note')).to.deep.equal([
        1,
        'note',
        3,
        2,
      ]);
    });

    it('becomes an event stream when one answer is slow, which can be resumed until every answer came', async () => {
      await start('2025-03-26', { jsonMs: 10 });
      const asked: Sent[] = [];
      child.onMessage = (message) => {
        asked.push(message);
        if (asked.length === 1) child.reply(message, 'soon');
      };
      const answer = await stream(app, { method: 'POST', ...sent([request(1), request(2)]) });
      await answer.shows(/soon/);
      answer.drop();
      await until('the connection to be gone', async () => app.streams.size === 0);
      child.reply(asked[1], 'late');
      const rest = await ask(app, {
        method: 'GET',
        headers: { 'mcp-session-id': id, 'last-event-id': rawEventsOf(answer.text()).at(-1)?.id },
      });
      expect(rest.events).to.deep.equal([{ jsonrpc: '2.0', id: 2, result: 'late' }]);
    });

    it('answers a request that was too many with an error of its own, and the others well', async () => {
      await start('2025-03-26', { maxCallsInFlight: 2 });
      const waiting: Sent[] = [];
      child.onMessage = (message) => {
        waiting.push(message);
        if (waiting.length === 2) setImmediate(() => waiting.forEach((each) => child.reply(each, 'ok')));
      };
      const answer = await send([request(1), request(2), request(3), request(4)]);
      const all = answer.json as { id: number; result?: string; error?: { data: { code: string } } }[];
      expect(all.map((each) => each.id).sort()).to.deep.equal([1, 2, 3, 4]);
      for (const each of all) {
        if (each.id <= 2) expect(each.result).to.equal('ok');
        else expect(each.error?.data.code).to.equal('CALLS_TOO_MANY');
      }
    });

    it('ends without the answer of a call that was cancelled, with all others', async () => {
      await start();
      let asked = 0;
      child.onMessage = (message) => {
        if (message.method === 'tools/list' && (asked += 1) === 1) child.reply(message, 'ok');
      };
      const answer = send([request(1), request(2)]);
      await until('both', async () => asked === 2);
      await send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 2 } });
      expect((await answer).json).to.deep.equal([{ jsonrpc: '2.0', id: 1, result: 'ok' }]);
    });

    it('is answered with errors when the child dies', async () => {
      await start();
      let asked = 0;
      child.onMessage = () => {
        if ((asked += 1) === 2) child.exit({ reason: 'killed', signal: 'SIGKILL' });
      };
      const answer = await send([request(1), request(2)]);
      const all = answer.json as { id: number; error: { data: { code: string } } }[];
      expect(all.map((each) => each.error.data.code)).to.deep.equal(['BACKEND_ENDED', 'BACKEND_ENDED']);
    });

    for (const [what, body] of Object.entries<unknown>({
      'an empty array': [],
      'an initialize in it': [request(1), { ...INITIALIZE, id: 2 }],
      'something that is no message': [request(1), 7],
      'an array in it': [[request(1)]],
      'a null in it': [null],
      'too many messages': Array.from({ length: 101 }, (_, i) => request(i)),
    })) {
      it(`with ${what} is answered 400, and nothing of it is passed on [2025-03-26/lifecycle/3]`, async () => {
        await start();
        const before = child.sent.length;
        const answer = await send(body as object);
        expect(answer.status).to.equal(400);
        expect(answer.json.error.code).to.equal(-32600);
        expect(child.sent).to.have.length(before);
        expect(app.bodies.inFlight).to.equal(0);
      });
    }

    for (const version of ['2025-06-18', '2025-11-25']) {
      it(`is answered 400 in a session of ${version}, whatever the header says`, async () => {
        cites('2025-06-18/transports/13');
        await start(version);
        expect((await send([request(1)])).status).to.equal(400);
        expect((await send([request(1)], { 'mcp-protocol-version': '2025-03-26' })).status).to.equal(400);
      });
    }

    it('is answered 400 without a session', async () => {
      await start();
      expect((await ask(app, { body: [request(1)] })).status).to.equal(400);
      expect((await ask(app, { body: [INITIALIZE] })).status).to.equal(400);
    });

    it('is refused whole when one of its calls needs more than its token may do', async () => {
      const reader = { ...contextOf('alice'), scopes: new Set(['forgejo:read'] as const) };
      await start('2025-03-26', {
        servers: [serverSpec({ name: 'default' })],
        authenticator: { ...nameAuthenticator, authenticate: async () => reader },
      });
      child.onMessage = (message) => {
        const tools = [
          { name: 'get', annotations: { readOnlyHint: true } },
          { name: 'put', annotations: { readOnlyHint: false } },
        ];
        child.reply(message, message.method === 'tools/list' ? { tools } : 'called');
      };
      const tool = (n: number, name: string) => ({ ...request(n, 'tools/call'), params: { name, arguments: {} } });
      expect((await send([tool(1, 'get'), tool(2, 'put')])).status).to.equal(403);
      expect(child.sent.some(({ method }) => method === 'tools/call')).to.equal(false);
      expect((await send([tool(1, 'get')])).status).to.equal(200);
    });

    it('gets every answer once, in whatever order and with whatever between, by property', async function () {
      this.timeout(60_000);
      await start('2025-03-26', { maxCallsInFlight: 64 });
      const plan = fc.array(fc.record({ order: fc.nat(1_000), notes: fc.nat(2) }), { minLength: 1, maxLength: 40 });
      await fc.assert(
        fc.asyncProperty(plan, async (entries) => {
          const asked: Sent[] = [];
          child.onMessage = (message) => {
            asked.push(message);
            if (asked.length < entries.length) return;
            const order = entries.map((entry, i) => ({ ...entry, i })).sort((a, b) => a.order - b.order);
            for (const { i, notes } of order) {
              for (let n = 0; n < notes; n += 1)
                child.say({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: n } });
              child.reply(asked[i], { i });
            }
          };
          const answer = await send(entries.map((_, i) => request(i)));
          const all = (answer.json === undefined ? answer.events : answer.json) as {
            id?: number;
            result?: { i: number };
          }[];
          const answers = all.filter(({ result }) => result !== undefined);
          expect(answers.map((each) => each.id).sort((a = 0, b = 0) => a - b)).to.deep.equal(entries.map((_, i) => i));
          for (const each of answers) expect(each.result?.i).to.equal(each.id);
        }),
        { numRuns: Number(process.env.FC_RUNS ?? 20) },
      );
    });
  });

  describe('the revision', () => {
    for (const asked of ['2026-07-28', '2024-10-07', '2099-01-01', 'garbage', '']) {
      it(`that is asked for as "${asked}" is 2025-11-25 towards the child, and in the session`, async () => {
        app = await startApp();
        const answer = await initialize(asked);
        expect(answer.status).to.equal(200);
        expect(answer.json.result.protocolVersion).to.equal('2025-11-25');
        expect(app.children[0].sent[0]?.params.protocolVersion).to.equal('2025-11-25');
      });
    }

    for (const version of ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']) {
      it(`${version} is passed on as it is asked for`, async () => {
        app = await startApp();
        expect((await initialize(version)).json.result.protocolVersion).to.equal(version);
      });
    }

    it("is the child's business where it is no text", async () => {
      app = await startApp();
      await initialize(7);
      expect(app.children[0].sent[0]?.params.protocolVersion).to.equal(7);
    });

    it('in the header of a session may be left out or be another one that is served', async () => {
      await start('2025-06-18');
      expect((await send(request(1))).status).to.equal(200);
      for (const version of ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'])
        expect((await send(request(1), { 'mcp-protocol-version': version })).status).to.equal(200);
    });

    for (const version of ['2026-07-28', '2024-10-07', 'x', '']) {
      it(`"${version}" in the header of a session is answered 400 to every method`, async () => {
        await start('2025-11-25');
        for (const method of ['POST', 'GET', 'DELETE']) {
          const headers = { 'mcp-session-id': id, 'mcp-protocol-version': version };
          const body = method === 'POST' ? { body: request(1) } : {};
          expect((await ask(app, { method, headers, ...body })).status).to.equal(400);
        }
      });
    }
  });
});
