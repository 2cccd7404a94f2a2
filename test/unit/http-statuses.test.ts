/** Every status that an MCP endpoint answers, by name (MCP 2025-11-25 'Transports', RFC 9110, RFC 6750). */
import { expect } from 'chai';
import type { AuthContext } from '../../src/auth/context';
import { AppError } from '../../src/errors';
import {
  ACCEPT,
  ask,
  deferred,
  INITIALIZE,
  nameAuthenticator,
  open,
  raw,
  startApp,
  type Changes,
  type GatewayApp,
} from '../support/gateway-app';
import { cites } from '../requirements';
import { serverSpec } from '../support/server-spec';

const NEVER_MINTED = 'ab'.repeat(24);
const LIST = { jsonrpc: '2.0', id: 'list-1', method: 'tools/list' };

describe('statuses of an MCP endpoint', () => {
  let app: GatewayApp;
  const start = async (changes?: Changes): Promise<void> => {
    app = await startApp(changes);
  };
  afterEach(() => app.close());

  /** A POST as alice in her session. */
  const post = (
    id: string | undefined,
    body: string | Buffer | object,
    headers: Record<string, string | undefined> = {},
  ) => ask(app, { body, headers: { 'mcp-session-id': id, ...headers } });

  describe('POST', () => {
    beforeEach(() => start());

    it('answers 200, JSON and an Mcp-Session-Id of 48 hex digits for initialize', async () => {
      cites(
        '2025-03-26/transports/33',
        '2025-03-26/transports/16',
        '2025-06-18/transports/16',
        '2025-03-26/transports/32',
      );
      const answer = await ask(app, { body: INITIALIZE });
      expect(answer.status).to.equal(200);
      expect(answer.headers['mcp-session-id']).to.match(/^[0-9a-f]{48}$/);
      expect(answer.headers['content-type']).to.equal('application/json');
      expect(answer.json).to.deep.include({ jsonrpc: '2.0', id: 1 });
      expect(answer.json.result.protocolVersion).to.equal('2025-06-18');
    });

    it('answers 200 with the id as the client wrote it, string or number', async () => {
      cites('2024-11-05/messages/5', '2024-11-05/messages/2', '2025-11-25/basic/7');
      const id = await open(app);
      expect((await post(id, LIST)).json).to.deep.equal({
        jsonrpc: '2.0',
        id: 'list-1',
        result: { method: 'tools/list' },
      });
      expect((await post(id, { ...LIST, id: 0 })).json.id).to.equal(0);
    });

    it('answers 202 without a body for a notification and for a response', async () => {
      cites('2025-03-26/transports/14', '2025-03-26/basic/11');
      const id = await open(app);
      for (const body of [
        { jsonrpc: '2.0', method: 'notifications/initialized' },
        { jsonrpc: '2.0', id: 'unasked', result: {} },
        { jsonrpc: '2.0', id: 7, error: { code: -1, message: 'no' } },
      ]) {
        const answer = await post(id, body);
        expect(answer.status).to.equal(202);
        expect(answer.text).to.equal('');
      }
    });

    it('answers 400 for a request without a session id, and spawns nothing', async () => {
      cites('2024-11-05/lifecycle/1', '2025-03-26/transports/35', '2025-11-25/basic/8');
      const answer = await post(undefined, LIST);
      expect(answer.status).to.equal(400);
      expect(answer.json).to.deep.include({ jsonrpc: '2.0', id: 'list-1' });
      expect(answer.json.error.data.code).to.equal('SESSION_ID_MISSING');
      expect(app.children).to.have.length(0);
    });

    it('answers 400 for an initialize that is a notification', async () => {
      const { id: _id, ...notification } = INITIALIZE;
      expect((await post(undefined, notification)).status).to.equal(400);
      expect(app.children).to.have.length(0);
    });

    it('ignores a stale session id on initialize and opens a new session', async () => {
      const first = await open(app);
      const answer = await post(first, INITIALIZE);
      expect(answer.status).to.equal(200);
      expect(answer.headers['mcp-session-id'])
        .to.match(/^[0-9a-f]{48}$/)
        .and.not.equal(first);
      expect((await post(NEVER_MINTED, INITIALIZE, { 'mcp-protocol-version': '1999-01-01' })).status).to.equal(200);
    });

    it('answers 410 for an id that was never minted', async () => {
      const answer = await post(NEVER_MINTED, LIST);
      expect(answer.status).to.equal(410);
      expect(answer.json.id).to.equal('list-1');
      expect(answer.json.error.data.code).to.equal('SESSION_UNKNOWN');
      expect((await post('no hex at all', LIST)).status).to.equal(410);
    });

    it('answers 404 and -32001 "Session not found", with the id of the request, for a session that has ended', async () => {
      cites('2025-03-26/transports/36', '2025-11-25/basic/8');
      const id = await open(app);
      expect((await ask(app, { method: 'DELETE', headers: { 'mcp-session-id': id } })).status).to.equal(204);
      const answer = await post(id, LIST);
      expect(answer.status).to.equal(404);
      expect(answer.json).to.deep.include({ jsonrpc: '2.0', id: 'list-1' });
      expect(answer.json.error).to.deep.include({ code: -32001, message: 'Session not found' });
    });

    it('answers 403 for a live session of somebody else, apart from 401 and 410', async () => {
      cites(
        '2025-11-25/elicitation/21',
        '2025-11-25/elicitation/31',
        '2025-11-25/tasks/68',
        '2025-06-18/authorization/52',
      );
      const id = await open(app, 'alice');
      expect((await post(id, LIST, { authorization: 'Bearer mallory' })).status).to.equal(403);
      expect((await post(id, LIST, { authorization: 'Bearer bad' })).status).to.equal(401);
      expect((await post(id, LIST)).status).to.equal(200);
    });

    it('answers 401 with a plain challenge when no token came [2025-03-26/authorization/10]', async () => {
      const answer = await post(undefined, INITIALIZE, { authorization: undefined });
      expect(answer.status).to.equal(401);
      expect(answer.headers['www-authenticate']).to.equal('Bearer realm="t"');
    });

    it('answers 401 with error="invalid_token" when a token came that is not valid', async () => {
      cites('2024-11-05/transports/7', '2025-03-26/authorization/26');
      const answer = await post(undefined, INITIALIZE, { authorization: 'Bearer bad' });
      expect(answer.status).to.equal(401);
      expect(answer.headers['www-authenticate']).to.contain('error="invalid_token"');
    });

    it('answers 503 with Retry-After, never 401, when the token cannot be checked', async () => {
      const answer = await post(undefined, INITIALIZE, { authorization: 'Bearer down' });
      expect(answer.status).to.equal(503);
      expect(answer.headers['retry-after']).to.equal('7');
      expect(answer.headers['www-authenticate']).to.equal(undefined);
    });

    it('answers 406 unless both JSON and an event stream are accepted; wildcards count, q=0 does not', async () => {
      cites('2025-03-26/transports/12');
      const id = await open(app);
      for (const accept of [
        'application/json',
        'text/event-stream',
        'text/html',
        'application/json, text/event-stream;q=0',
      ]) {
        expect((await post(id, LIST, { accept })).status, accept).to.equal(406);
      }
      for (const accept of ['*/*', 'application/*, text/*', 'TEXT/EVENT-STREAM , application/JSON;q=0.5', undefined]) {
        expect((await post(id, LIST, { accept })).status, String(accept)).to.equal(200);
      }
    });

    it('answers 415 for what is not plain JSON in UTF-8', async () => {
      const id = await open(app);
      for (const type of [
        'text/plain',
        'application/x-www-form-urlencoded',
        'application/json; charset=utf-16',
        '',
        undefined,
      ]) {
        expect((await post(id, JSON.stringify(LIST), { 'content-type': type })).status, String(type)).to.equal(415);
      }
      expect((await post(id, LIST, { 'content-encoding': 'gzip' })).status).to.equal(415);
      expect((await post(id, LIST, { 'content-type': 'Application/JSON; charset="UTF-8"' })).status).to.equal(200);
    });

    it('answers 400 and -32700 for what is not JSON, an empty body, a byte order mark, and what is not UTF-8', async () => {
      cites('2025-03-26/transports/1', '2025-03-26/transports/15', '2025-11-25/basic/8');
      const id = await open(app);
      const broken = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"x\xff"}', 'latin1');
      for (const body of ['{', '', 'nonsense', '\ufeff{}', broken]) {
        const answer = await post(id, body);
        expect(answer.status).to.equal(400);
        expect(answer.json).to.deep.include({ jsonrpc: '2.0', id: null });
        expect(answer.json.error.code).to.equal(-32700);
      }
    });

    it('answers 400 and -32600 for JSON that is no JSON-RPC message', async () => {
      cites(
        '2024-11-05/basic/1',
        '2024-11-05/messages/2',
        '2024-11-05/messages/3',
        '2024-11-05/messages/6',
        '2024-11-05/messages/7',
        '2025-03-26/transports/15',
      );
      const id = await open(app);
      for (const body of [
        '1',
        'null',
        '"text"',
        {},
        { jsonrpc: '1.0', id: 1, method: 'x' },
        { jsonrpc: '2.0', id: null, method: 'x' },
        { jsonrpc: '2.0', id: 1.5, method: 'x' },
        { jsonrpc: '2.0', id: {}, method: 'x' },
        { jsonrpc: '2.0', id: 1, method: 5 },
        { jsonrpc: '2.0', id: 1, method: 'x', params: [1] },
        { jsonrpc: '2.0', id: 1, method: 'x', params: null },
        { jsonrpc: '2.0', id: 1 },
        { jsonrpc: '2.0', result: {} },
        { jsonrpc: '2.0', id: 1, result: {}, error: {} },
        { jsonrpc: '2.0', id: 1, error: 'text' },
      ]) {
        const answer = await post(id, body);
        expect(answer.status, JSON.stringify(body)).to.equal(400);
        expect(answer.json.error.code).to.equal(-32600);
      }
    });

    it('answers 400 with what to do for an array', async () => {
      const id = await open(app);
      const answer = await post(id, [LIST]);
      expect(answer.status).to.equal(400);
      expect(answer.json.error.message).to.contain('request of its own');
    });

    it('answers 400 for JSON that is nested too deeply, and takes brackets in strings for what they are', async () => {
      const id = await open(app);
      const deep = `{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":${'['.repeat(5000)}${']'.repeat(5000)}}}`;
      expect((await post(id, deep)).status).to.equal(400);
      const text = '[{"\\'.repeat(5000);
      expect((await post(id, { ...LIST, params: { text } })).status).to.equal(200);
      expect(app.children[0]?.last.params).to.deep.equal({ text });
    });

    it('answers 400 for an unsupported MCP-Protocol-Version and names those that are supported', async () => {
      cites('2025-06-18/transports/42');
      const id = await open(app);
      for (const version of ['2026-07-28', '1.0', '']) {
        const answer = await post(id, LIST, { 'mcp-protocol-version': version });
        expect(answer.status, version).to.equal(400);
        expect(answer.json.error.message).to.contain('2025-11-25');
      }
    });

    it('serves every supported MCP-Protocol-Version, and requests without one [2025-06-18/transports/41]', async () => {
      const id = await open(app);
      for (const version of ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25', undefined]) {
        expect((await post(id, LIST, { 'mcp-protocol-version': version })).status, String(version)).to.equal(200);
      }
    });

    it('answers 400 for the probe of a stateless client, so that it falls back to initialize', async () => {
      const probe = { jsonrpc: '2.0', id: 1, method: 'server/discover', params: {} };
      const answer = await post(undefined, probe, { 'mcp-protocol-version': '2026-07-28' });
      expect(answer.status).to.equal(400);
      expect(answer.json).to.deep.include({ jsonrpc: '2.0', id: 1 });
    });

    it("passes a child's own error through with 200 [2025-03-26/basic/9]", async () => {
      const id = await open(app);
      const [child] = app.children;
      if (child === undefined) throw new Error('no child');
      child.onMessage = (message) =>
        child.say({ jsonrpc: '2.0', id: message.id, error: { code: -32601, message: 'no such method' } });
      const answer = await post(id, LIST);
      expect(answer.status).to.equal(200);
      expect(answer.json).to.deep.equal({
        jsonrpc: '2.0',
        id: 'list-1',
        error: { code: -32601, message: 'no such method' },
      });
    });

    it('keeps digits, escapes and unusual characters as they were written, both ways', async () => {
      const id = await open(app);
      const [child] = app.children;
      if (child === undefined) throw new Error('no child');
      const result = '{"n":12345678901234567890,"f":1.0,"s":"\\ud800 \u2028\u00a0👩‍👩‍👧"}';
      child.onMessage = (message) =>
        child.push(`{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"result":${result}}\n`);
      const answer = await post(id, `{"jsonrpc":"2.0","id":5,"method":"x","params":${result}}`);
      expect(answer.text).to.equal(`{"jsonrpc":"2.0","id":5,"result":${result}}`);
    });
  });

  describe('POST whose initialize fails', () => {
    it("answers the child's error without a session id, and the session is gone", async () => {
      await start({
        child: (link) => {
          link.onMessage = (message) =>
            link.say({ jsonrpc: '2.0', id: message.id, error: { code: -32602, message: 'no' } });
        },
      });
      const answer = await ask(app, { body: INITIALIZE });
      expect(answer.status).to.equal(200);
      expect(answer.json.error.code).to.equal(-32602);
      expect(answer.headers['mcp-session-id']).to.equal(undefined);
    });

    for (const [code, status] of [
      ['BACKEND_UNSCHEDULABLE', 503],
      ['BACKEND_IMAGE', 502],
      ['BACKEND_CRASHED', 502],
      ['BACKEND_UNAVAILABLE', 503],
    ] as const) {
      it(`answers ${String(status)} with what to do when the child cannot start: ${code}`, async () => {
        cites('2024-11-05/lifecycle/15');
        await start({
          spawn: () => Promise.reject(new AppError(code, 'Do this.', { detail: 'pod secret-name', retryAfter: 9 })),
        });
        const answer = await ask(app, { body: INITIALIZE });
        expect(answer.status).to.equal(status);
        expect(answer.json).to.deep.include({ id: 1 });
        expect(answer.json.error).to.deep.include({ message: 'Do this.' });
        expect(answer.text).to.not.contain('secret-name');
        if (status === 503) expect(answer.headers['retry-after']).to.equal('9');
      });
    }

    it('answers 502 when what the child says to initialize is no answer', async () => {
      await start({
        child: (link) => {
          link.onMessage = ({ id }) => link.say({ jsonrpc: '2.0', id, error: 'not an object' });
        },
      });
      const answer = await ask(app, { body: INITIALIZE });
      expect(answer.status).to.equal(502);
      expect(answer.json.error.data.code).to.equal('BACKEND_CRASHED');
      expect(answer.headers['mcp-session-id']).to.equal(undefined);
    });

    it('answers 500 that tells nothing when something unforeseen is thrown, and logs it', async () => {
      await start({ spawn: () => Promise.reject(new TypeError('undefined is not hunter2')) });
      const answer = await ask(app, { body: INITIALIZE });
      expect(answer.status).to.equal(500);
      expect(answer.text).to.not.contain('hunter2');
      expect(app.log.lines.join('\n')).to.contain('undefined is not');
    });

    it('answers 503 with Retry-After at a cap', async () => {
      await start({ maxPerUser: 1 });
      await open(app);
      const answer = await ask(app, { body: INITIALIZE });
      expect(answer.status).to.equal(503);
      expect(Number(answer.headers['retry-after'])).to.be.at.least(1);
      expect(answer.json.error.data.code).to.equal('SESSION_CAP_USER');
      expect((await ask(app, { body: INITIALIZE, headers: { authorization: 'Bearer bob' } })).status).to.equal(200);
    });

    it('answers 503 with Retry-After while it stops', async () => {
      await start();
      await app.registry.stop(0);
      const answer = await ask(app, { body: INITIALIZE });
      expect(answer.status).to.equal(503);
      expect(answer.headers['retry-after']).to.not.equal(undefined);
    });

    it('gives the start up when the client goes away', async () => {
      const begun = deferred<AbortSignal>();
      await start({
        spawn: (signal) => {
          begun.resolve(signal);
          return new Promise((_resolve, reject) =>
            signal.addEventListener('abort', () => reject(signal.reason as Error)),
          );
        },
      });
      const text = JSON.stringify(INITIALIZE);
      const cut = new AbortController();
      const lost = fetch(`${app.url}/mcp`, {
        method: 'POST',
        body: text,
        headers: { accept: ACCEPT, 'content-type': 'application/json', authorization: 'Bearer alice' },
        signal: cut.signal,
      }).catch((error: unknown) => error);
      const signal = await begun.promise;
      const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
      cut.abort();
      await aborted;
      await lost;
      expect(signal.aborted).to.equal(true);
    });
  });

  describe('a store that is down', () => {
    it('answers 503, never 404, when a session cannot be looked up', async () => {
      await start();
      const id = await open(app);
      await ask(app, { method: 'DELETE', headers: { 'mcp-session-id': id } });
      app.store.down = true;
      const answer = await post(id, LIST);
      expect(answer.status).to.equal(503);
      expect(answer.headers['retry-after']).to.not.equal(undefined);
    });
  });

  describe('bodies', () => {
    it('answers 413 for a body that says it is too large', async () => {
      await start({ maxBodyBytes: 1000 });
      const answer = await ask(app, { body: { ...INITIALIZE, padding: 'x'.repeat(2000) } });
      expect(answer.status).to.equal(413);
      expect(answer.headers.connection).to.equal('close');
      expect(answer.json.error.data.code).to.equal('BODY_TOO_LARGE');
    });

    it('answers 413 for a streamed body as soon as it is too large', async () => {
      await start({ maxBodyBytes: 1000 });
      const head = `POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice\r\nAccept: ${ACCEPT}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;
      const answer = await raw(app, `${head}7d0\r\n${'x'.repeat(2000)}\r\n`, /BODY_TOO_LARGE/);
      expect(answer).to.match(/^HTTP\/1\.1 413 /);
    });

    it('answers 503 when all bodies together are too large, and serves on when they are done', async () => {
      await start({ maxBodyBytesInFlight: 2000, maxBodyBytes: 10_000 });
      const answer = await ask(app, { body: { ...INITIALIZE, padding: 'x'.repeat(3000) } });
      expect(answer.status).to.equal(503);
      expect(answer.json.error.data.code).to.equal('OVERLOADED');
      expect(app.bodies.inFlight).to.equal(0);
      expect((await ask(app, { body: INITIALIZE })).status).to.equal(200);
      expect(app.bodies.inFlight).to.equal(0);
    });

    it('answers 400 for a body that does not arrive in time', async () => {
      await start({ bodyTimeoutMs: 30 });
      const head = `POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice\r\nAccept: ${ACCEPT}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`;
      const answer = await raw(app, head, /did not arrive/);
      expect(answer).to.match(/^HTTP\/1\.1 400 /);
      expect(app.bodies.inFlight).to.equal(0);
    });
  });

  describe('GET and DELETE', () => {
    beforeEach(() => start());

    it('answers GET with 406 unless an event stream is accepted [2025-03-26/transports/24]', async () => {
      const id = await open(app);
      const answer = await ask(app, { method: 'GET', headers: { 'mcp-session-id': id, accept: 'application/json' } });
      expect(answer.status).to.equal(406);
    });

    for (const method of ['GET', 'DELETE']) {
      it(`answers ${method} with 400, 410, 404, 403 and 401 as POST does`, async () => {
        const go = async (id?: string, user = 'alice') =>
          (await ask(app, { method, headers: { 'mcp-session-id': id, authorization: `Bearer ${user}` } })).status;
        const id = await open(app);
        expect(await go(undefined)).to.equal(400);
        expect(await go(NEVER_MINTED)).to.equal(410);
        expect(await go(id, 'mallory')).to.equal(403);
        expect(await go(id, 'bad')).to.equal(401);
        await ask(app, { method: 'DELETE', headers: { 'mcp-session-id': id } });
        expect(await go(id)).to.equal(404);
      });

      it(`answers ${method} with 400 for an unsupported protocol version`, async () => {
        const id = await open(app);
        const headers = { 'mcp-session-id': id, 'mcp-protocol-version': '2026-07-28' };
        expect((await ask(app, { method, headers })).status).to.equal(400);
      });
    }

    it('answers DELETE with 204 once the child is gone', async () => {
      const id = await open(app);
      const answer = await ask(app, { method: 'DELETE', headers: { 'mcp-session-id': id } });
      expect(answer.status).to.equal(204);
      expect(app.children[0]?.closes).to.equal(1);
      expect(app.registry.size).to.equal(0);
    });
  });

  describe('other methods and paths', () => {
    beforeEach(() => start({ servers: [serverSpec({ name: 'one' }), serverSpec({ name: 'two' })] }));

    for (const method of ['PUT', 'PATCH', 'HEAD', 'PROPFIND']) {
      it(`answers 405 with Allow for ${method} [2025-03-26/transports/6]`, async () => {
        const answer = await ask(app, { method });
        expect(answer.status).to.equal(405);
        expect(answer.headers.allow).to.equal('GET, POST, DELETE, OPTIONS');
      });
    }

    it('answers 404 for a server that is not configured and for any other path', async () => {
      expect((await ask(app, { path: '/servers/three/mcp', body: INITIALIZE })).json.error.data.code).to.equal(
        'SERVER_UNKNOWN',
      );
      for (const path of ['/', '/sse', '/servers', '/mcp/more', '/servers/%ff/mcp']) {
        expect((await ask(app, { path, body: INITIALIZE })).status, path).to.be.oneOf([400, 404]);
      }
    });

    it('serves each server by its name, the default one at /mcp, and keeps their sessions apart', async () => {
      const first = await open(app, 'alice', '/mcp');
      expect(
        (await ask(app, { path: '/servers/one/mcp', headers: { 'mcp-session-id': first }, body: LIST })).status,
      ).to.equal(200);
      const elsewhere = await ask(app, { path: '/servers/two/mcp', headers: { 'mcp-session-id': first }, body: LIST });
      expect(elsewhere.status).to.be.oneOf([403, 404, 410]);
      const second = await open(app, 'alice', '/servers/two/mcp');
      expect(
        (await ask(app, { path: '/servers/two/mcp', headers: { 'mcp-session-id': second }, body: LIST })).status,
      ).to.equal(200);
    });
  });

  describe('settings', () => {
    it('answers what sessions.unknownStatus and sessions.endedStatus say', async () => {
      await start({ statuses: { unknownStatus: 404, endedStatus: 410 } });
      expect((await post(NEVER_MINTED, LIST)).status).to.equal(404);
      const id = await open(app);
      await ask(app, { method: 'DELETE', headers: { 'mcp-session-id': id } });
      expect((await post(id, LIST)).status).to.equal(410);
    });
  });

  describe('a login that has ended a moment ago', () => {
    const challenged: unknown[] = [];
    let standing: boolean;
    let confirmed: number;

    beforeEach(async () => {
      challenged.length = 0;
      standing = true;
      confirmed = 0;
      await start({
        servers: [serverSpec({ name: 'default' }), serverSpec({ name: 'other' })],
        authenticator: {
          ...nameAuthenticator,
          confirm: async () => {
            confirmed += 1;
            if (!standing) throw new AppError('AUTH_INVALID', 'This login has ended.');
          },
          challenge: ({ code }, place) => {
            challenged.push(place);
            return `Bearer error="${code}"`;
          },
        },
      });
    });

    it('answers 401 with a challenge to initialize, and starts no child', async () => {
      standing = false;
      const answer = await ask(app, { body: INITIALIZE, path: '/servers/other/mcp?x=1' });
      expect(answer.status).to.equal(401);
      expect(answer.headers['www-authenticate']).to.equal('Bearer error="AUTH_INVALID"');
      expect(challenged).to.deep.equal([{ server: 'other', path: '/servers/other/mcp' }]);
      expect(app.children).to.have.length(0);
    });

    it('is asked about for initialize alone', async () => {
      const id = await open(app);
      expect((await post(id, LIST)).status).to.equal(200);
      await ask(app, { method: 'DELETE', headers: { 'mcp-session-id': id } });
      expect(confirmed).to.equal(1);
    });

    it('answers with a challenge that names no server where none was found', async () => {
      await ask(app, { body: INITIALIZE, path: '/servers/nothing/mcp' });
      expect(challenged).to.deep.equal([{ path: '/servers/nothing/mcp' }]);
    });
  });

  describe('the guard against wiring faults', () => {
    it('serves nothing when authentication let a request through without an identity', async () => {
      const nobody = undefined as unknown as AuthContext;
      await start({ authenticator: { ...nameAuthenticator, authenticate: async () => nobody } });
      const answer = await ask(app, { body: INITIALIZE });
      expect(answer.status).to.equal(500);
      expect(answer.json.error.data.code).to.equal('AUTH_CONTEXT_ABSENT');
      expect(app.children).to.have.length(0);
    });
  });

  describe('request ids', () => {
    beforeEach(() => start());

    it('takes a sane X-Request-Id over, makes one otherwise, and names it in answer, error and log', async () => {
      const given = await ask(app, { body: LIST, headers: { 'x-request-id': 'trace-1.2_3' } });
      expect(given.headers['x-request-id']).to.equal('trace-1.2_3');
      expect(given.json.error.data.requestId).to.equal('trace-1.2_3');
      expect(app.log.lines.some((line) => line.includes('"trace-1.2_3"'))).to.equal(true);
      for (const bad of ['a b', 'x'.repeat(200), '"{}']) {
        const made = await ask(app, { body: LIST, headers: { 'x-request-id': bad } });
        expect(made.headers['x-request-id']).to.match(/^[0-9a-f-]{36}$/);
      }
    });
  });

  describe('headers that stand twice', () => {
    beforeEach(() => start());

    for (const name of ['Authorization', 'Mcp-Session-Id', 'MCP-Protocol-Version', 'Origin', 'Content-Type']) {
      it(`answers 400 for two of ${name}`, async () => {
        const body = JSON.stringify(INITIALIZE);
        const twice = `${name}: a\r\n${name.toLowerCase()}: b\r\n`;
        const rest = `Accept: ${ACCEPT}\r\nContent-Length: ${String(body.length)}\r\nConnection: close\r\n\r\n`;
        expect(await raw(app, `POST /mcp HTTP/1.1\r\nHost: localhost\r\n${twice}${rest}${body}`)).to.match(
          /^HTTP\/1\.1 400 /,
        );
      });
    }
  });
});
