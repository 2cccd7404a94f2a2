/** The stateless era over HTTP: the real application over fake children. */
import { expect } from 'chai';
import { AppError } from '../../src/errors';
import { StatelessClient } from '../support/stateless-client';
import { until } from '../support/until';
import type { FakeLink, Sent } from '../support/fake-link';
import {
  ask,
  nameAuthenticator,
  politeChild,
  startApp,
  stream,
  type Answer,
  type Ask,
  type Changes,
  type GatewayApp,
} from '../support/gateway-app';
import { serverSpec } from '../support/server-spec';

const META = 'io.modelcontextprotocol/';
const SERVERS = [serverSpec({ name: 'default', protocolEra: 'legacy', maxCallsInFlight: 4 })];
const CAPABILITIES = { roots: {}, elicitation: { form: {} } };

describe('the stateless era over HTTP', () => {
  let app: GatewayApp;

  const start = async (changes: Changes = {}): Promise<void> => {
    app = await startApp({ servers: SERVERS, ...changes });
  };
  afterEach(() => app.close());

  const post = (
    method: string,
    params: object = {},
    changes: { meta?: object; headers?: object; id?: unknown } = {},
  ): Ask => {
    const name = (params as { name?: string; uri?: string }).name ?? (params as { uri?: string }).uri;
    const _meta = {
      [`${META}protocolVersion`]: '2026-07-28',
      [`${META}clientCapabilities`]: CAPABILITIES,
      ...changes.meta,
    };
    return {
      method: 'POST',
      headers: {
        'mcp-protocol-version': '2026-07-28',
        'mcp-method': method,
        'mcp-name': /call|get|read/.test(method) ? name : undefined,
        ...changes.headers,
      },
      body: { jsonrpc: '2.0', id: changes.id ?? 1, method, params: { ...params, _meta } },
    };
  };
  const send = (...args: Parameters<typeof post>): Promise<Answer> => ask(app, post(...args));
  const code = async (answer: Promise<Answer>): Promise<[number, number]> => {
    const { status, json } = await answer;
    return [status, json?.error?.code];
  };
  const lastCall = (at = -1): Promise<[FakeLink, Sent]> =>
    until('a call at a child', async () => {
      for (const child of app.children) {
        const sent = child.sent.filter(({ method }) => method === 'tools/call').at(at);
        if (sent !== undefined) return [child, sent];
      }
      return undefined;
    });
  /** Children that answer nothing but initialize. */
  const silent = (link: FakeLink): void => {
    politeChild(link);
    const polite = link.onMessage;
    link.onMessage = (message) => {
      if (['initialize', 'ping', 'tools/list'].includes(message.method)) polite(message);
    };
  };

  it('a request that does not say what it must is refused before anything is started', async () => {
    await start();
    const version = `${META}protocolVersion`;
    const refusals: [Ask, [number, number]][] = [
      [post('tools/list', {}, { meta: { [version]: undefined } }), [400, -32602]],
      [post('tools/list', {}, { meta: { [version]: 7 } }), [400, -32602]],
      [post('tools/list', {}, { meta: { [`${META}clientCapabilities`]: [] } }), [400, -32602]],
      [post('tools/list', {}, { meta: { [`${META}clientInfo`]: 'x' } }), [400, -32602]],
      [post('tools/list', {}, { meta: { [`${META}clientInfo`]: { name: 'x'.repeat(70_000) } } }), [400, -32602]],
      [post('tools/list', {}, { meta: { [`${META}logLevel`]: 'loud' } }), [400, -32602]],
      [post('tools/list', {}, { meta: { progressToken: 1.5 } }), [400, -32602]],
      [post('tools/call', { name: 7 }), [400, -32602]],
      [post('tools/list', {}, { headers: { 'mcp-protocol-version': '2025-11-25' } }), [400, -32020]],
      [post('tools/list', {}, { headers: { 'mcp-method': 'x' } }), [400, -32020]],
      [post('tools/call', { name: 'a' }, { headers: { 'mcp-name': 'b' } }), [400, -32020]],
      [post('tools/call', { name: 'é' }, { headers: { 'mcp-name': '=?base64?w6k?=' } }), [400, -32020]],
      [post('ping'), [404, -32601]],
      [
        post(
          'tools/list',
          {},
          { meta: { [version]: '2027-01-01' }, headers: { 'mcp-protocol-version': '2027-01-01' } },
        ),
        [400, -32022],
      ],
    ];
    for (const [what, expected] of refusals)
      expect(await code(ask(app, what)), JSON.stringify(what)).to.deep.equal(expected);
    const { headers, body } = post('tools/list');
    expect(await code(ask(app, { headers: headers ?? {}, body: [body] }))).to.deep.equal([400, -32600]);
    expect(await code(ask(app, { headers: headers ?? {}, body: { jsonrpc: '2.0', id: 1, result: {} } }))).to.deep.equal(
      [400, -32600],
    );
    const note = { jsonrpc: '2.0', method: 'notifications/x' };
    expect(await ask(app, { headers: headers ?? {}, body: note })).to.include({ status: 202, text: '' });
    expect(app.children).to.deep.equal([]);
  });

  it('a name in Base64 is decoded before it is compared, strictly', async () => {
    await start();
    const encoded = (text: string): string => `=?base64?${Buffer.from(text).toString('base64')}?=`;
    expect((await send('tools/call', { name: 'é' }, { headers: { 'mcp-name': encoded('é') } })).status).to.equal(200);
    const invalid = `=?base64?${Buffer.from([0xff]).toString('base64')}?=`;
    for (const name of [invalid, 'é'])
      expect(await code(send('tools/call', { name: 'é' }, { headers: { 'mcp-name': name } }))).to.deep.equal([
        400, -32020,
      ]);
  });

  it('arguments that a tool mirrors in headers must be the same there, number by number', async () => {
    const property = (type: string, name: string) => ({ type, 'x-mcp-header': name });
    const inputSchema = {
      type: 'object',
      properties: {
        n: property('integer', 'N'),
        b: property('boolean', 'B'),
        s: property('string', 'S'),
        deep: { type: 'object', properties: { constructor: property('string', 'C') } },
      },
    };
    await start({
      child: (link) => {
        const polite = link.onMessage;
        link.onMessage = (message) => {
          if (message.method === 'tools/list') link.reply(message, { tools: [{ name: 'm', inputSchema }] });
          else polite(message);
        };
      },
    });
    const call = async (args: object | undefined, headers: object): Promise<number> =>
      (await send('tools/call', { name: 'm', ...(args === undefined ? {} : { arguments: args }) }, { headers })).status;
    expect(
      await call({ n: 42, b: true, s: 'x' }, { 'mcp-param-n': '42.0', 'mcp-param-b': 'true', 'mcp-param-s': 'x' }),
    ).to.equal(200);
    expect(await call({ n: null, deep: {} }, {})).to.equal(200);
    expect(await call(undefined, {})).to.equal(200);
    for (const [args, headers] of [
      [{ n: 42 }, { 'mcp-param-n': '0x2a' }],
      [{ n: 42 }, { 'mcp-param-n': '4.2e1' }],
      [{ n: 42 }, { 'mcp-param-n': ' ' }],
      [{ n: 42 }, {}],
      [{}, { 'mcp-param-n': '42' }],
      [{ n: {} }, { 'mcp-param-n': '42' }],
      [{ b: true }, { 'mcp-param-b': 'TRUE' }],
      [{ s: 'x' }, { 'mcp-param-s': 'y' }],
      [{ deep: { constructor: 'x' } }, {}],
    ]) {
      expect(await call(args, headers ?? {}), JSON.stringify([args, headers])).to.equal(400);
    }
  });

  it('errors of the child have their status where they are the whole response', async () => {
    await start({ child: silent });
    for (const [given, status] of [
      [-32601, 404],
      [-32602, 200],
      [-32021, 200], // means nothing in the old era
    ]) {
      const answer = send('tools/call', { name: 'x' }, { id: given });
      const [child, sent] = await until('the call', async () => {
        const [link, last] = await lastCall();
        return last.id.includes(String(given)) ? ([link, last] as const) : undefined;
      });
      child.say({ jsonrpc: '2.0', id: sent.id, error: { code: given, message: 'no' } });
      expect((await answer).status).to.equal(status);
    }
  });

  it('a child that is gone when it is asked is replaced, without the client seeing a 404', async () => {
    await start();
    const first = await send('tools/list');
    expect(first.status).to.equal(200);
    app.children[0]?.exit({ reason: 'killed' });
    expect((await send('tools/list')).status).to.equal(200);
    expect(app.children).to.have.length(2);
    app.children[1]?.exit({ reason: 'killed' });
    const listening = await stream(app, post('subscriptions/listen', { notifications: {} }));
    await listening.shows(/acknowledged/);
    expect(app.children).to.have.length(3);
    listening.drop();
  });

  it('a child that cannot be written to any more is given up for another one', async () => {
    await start();
    await send('tools/list');
    const [child] = app.children;
    if (child !== undefined) Object.assign(child, { broken: true, exitOnClose: false });
    const lost = await send('tools/list'); // in flight when it turns out: what became of it nobody knows
    expect(lost.json.error.data.code).to.equal('BACKEND_ENDED');
    expect((await send('tools/list')).status).to.equal(200);
    expect(app.children).to.have.length(2);
    child?.exit({ reason: 'closed' });
  });

  it('closing the response cancels the request, before and after its stream began', async () => {
    await start({ child: silent, jsonMs: 100 });
    const streaming = await stream(app, post('tools/call', { name: 'x' }));
    const [child] = await lastCall();
    streaming.drop();
    await until('the first is cancelled', async () =>
      child.sent.some(({ method }) => method === 'notifications/cancelled'),
    );
    const client = new StatelessClient(`${app.url}/mcp`, 'alice');
    const abort = new AbortController();
    const lost = client.open(client.message('tools/call', { name: 'y' }), {}, abort).catch(() => 'closed');
    const other = await until('its call', async () => app.children.find(({ last }) => last.params?.name === 'y'));
    abort.abort();
    expect(await lost).to.equal('closed');
    await until('the second is cancelled', async () =>
      other.sent.some(({ method }) => method === 'notifications/cancelled'),
    );
    await client.close();
  });

  it('a failure after the stream began is told as the answer', async () => {
    await start({
      child: silent,
      jsonMs: 20,
      servers: [serverSpec({ name: 'default', protocolEra: 'legacy', maxCallsInFlight: 1 })],
    });
    const first = await stream(app, post('tools/call', { name: 'x' }));
    const [child, sent] = await lastCall();
    // The next one waits to be let through, because a question waits; when it is, the child takes no more.
    const second = await send('tools/list');
    expect(second.json.error.code).to.equal(-32000);
    expect(second.status).to.equal(503);
    child.reply(sent);
    await first.shows(/"resultType":"complete"/);
    await first.ended;
  });

  it('a request is refused as ever by those who know who asks: 401, 503, 403', async () => {
    await start({
      authenticator: {
        ...nameAuthenticator,
        async confirm({ user }) {
          if (user.login === 'carol') throw new AppError('AUTH_INVALID', 'Gone.');
        },
      },
      maxPerUser: 1,
    });
    const as = (user: string, params: object = {}): Promise<Answer> =>
      send('tools/list', params, { headers: { authorization: `Bearer ${user}` } });
    expect([(await as('bad')).status, (await as('down')).status, (await as('carol')).status]).to.deep.equal([
      401, 503, 401,
    ]);
    expect((await as('alice')).status).to.equal(200);
    expect(app.children).to.have.length(1);
  });

  it('who listens holds no child, and is told in order when the gateway stops', async () => {
    await start();
    const listening = await stream(
      app,
      post('subscriptions/listen', { notifications: { toolsListChanged: true } }, { id: 'l' }),
    );
    await listening.shows(/acknowledged/);
    await app.registry.stop(0);
    await listening.shows(/"id":"l","result":\{"_meta"/);
    await listening.ended;
  });

  it('a revision that no session ever had marks the stateless era, unless a session is named or opened', async () => {
    await start();
    const plain = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
    const version = { 'mcp-protocol-version': '2026-07-28' };
    expect(await code(ask(app, { headers: version, body: plain }))).to.deep.equal([400, -32602]);
    expect(await code(ask(app, { headers: { ...version, 'mcp-session-id': 'x' }, body: plain }))).to.deep.equal([
      400, -32000,
    ]);
    const initialize = {
      ...plain,
      method: 'initialize',
      params: { protocolVersion: '2026-07-28', capabilities: {}, clientInfo: {} },
    };
    expect((await ask(app, { headers: version, body: initialize })).headers['mcp-session-id']).to.be.a('string');
    expect((await ask(app, { headers: version, body: { jsonrpc: '2.0', method: 'x' } })).status).to.equal(202);
  });
});
