/** What of a message goes from one replica to another, and what stays. */
import { expect } from 'chai';
import fc from 'fast-check';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { beginExchange, exchangeOf } from '../../src/http/exchange';
import type { Outgoing } from '../../src/http/handler';
import type { Forward, SessionForward } from '../../src/peers/contract';
import { forwardedOf, rememberForwarded } from '../../src/peers/forwarded';
import { answerHeaders, requestHeaders, trailers } from '../../src/peers/headers';
import { replicaName } from '../../src/peers/names';
import { ask } from '../support/raw-http';
import { Authority } from '../support/peer-certificates';
import { EPOCH, Replica, SESSION } from '../support/replica';
import { keptLog } from '../support/silent-log';

const SELF = replicaName();
const FORWARD: SessionForward = {
  channel: 'mcp',
  target: { name: replicaName(), address: '10.0.0.1:9443' },
  session: SESSION,
  epoch: EPOCH,
  clientAddress: '192.0.2.1',
};

const HOP_BY_HOP = [
  'Connection',
  'Expect',
  'Keep-Alive',
  'Proxy-Authenticate',
  'Proxy-Authorization',
  'Proxy-Connection',
  'TE',
  'Trailer',
  'Transfer-Encoding',
  'Upgrade',
];

/** A request with these raw headers, as Node makes one. */
function incoming(raw: string[], headers: Record<string, string> = {}): IncomingMessage {
  return { rawHeaders: raw, headers, method: 'POST' } as unknown as IncomingMessage;
}

/** Names, in lower case. */
const names = (raw: readonly string[]): string[] =>
  raw.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());

const value = (raw: readonly string[], name: string): string[] =>
  raw.filter((_, at) => at % 2 === 1 && raw[at - 1].toLowerCase() === name);

describe('headers between replicas', () => {
  it('hop-by-hop ones stay on their hop, on the way there and back (RFC 9110, 7.6.1)', () => {
    const raw = HOP_BY_HOP.flatMap((name) => [name, 'close']);
    for (const [way, passed] of [
      ['there', requestHeaders(incoming([...raw, 'X-Own', '1']), SELF, FORWARD)],
      ['back', answerHeaders([...raw, 'X-Own', '1'])],
    ] as const) {
      for (const name of HOP_BY_HOP) expect(names(passed), way).not.to.include(name.toLowerCase());
      expect(value(passed, 'x-own'), way).to.deep.equal(['1']);
    }
  });

  it('what Connection names stays as well, but for what would change the message', () => {
    const raw = ['Connection', 'X-One, x-TWO', 'X-One', '1', 'X-Two', '2', 'X-Three', '3', 'Connection', ' x-three ,,'];
    expect(names(answerHeaders(raw))).to.deep.equal([]);
    const kept = ['Authorization', 'Content-Type', 'Content-Encoding', 'Host'];
    const named = requestHeaders(
      incoming(['Connection', `${kept.join(',')}, x-fmo-to, x-fmo-epoch, via`, ...kept.flatMap((name) => [name, 'v'])]),
      SELF,
      FORWARD,
    );
    for (const name of kept) expect(value(named, name.toLowerCase())).to.deep.equal(['v']);
    expect(value(named, 'x-fmo-to')).to.deep.equal([FORWARD.target.name]);
    expect(value(named, 'x-fmo-epoch')).to.deep.equal([String(EPOCH)]);
    expect(value(named, 'via')).to.deep.equal([`1.1 ${SELF}`]);
  });

  it('the framing is made for each hop, whatever the client said', () => {
    const framing = (body: Forward['body'], headers: Record<string, string>): string[] => {
      const raw = Object.entries(headers).flat();
      const passed = requestHeaders(incoming(raw, headers), SELF, {
        ...FORWARD,
        ...(body === undefined ? {} : { body }),
      });
      return ['content-length', 'transfer-encoding', 'expect'].flatMap((name) => value(passed, name));
    };
    expect(framing(undefined, {})).to.deep.equal([]);
    expect(framing(undefined, { 'content-length': '5' }), 'a body that is not passed on').to.deep.equal(['0']);
    expect(framing(Buffer.from('123'), { 'content-length': '5' })).to.deep.equal(['3']);
    expect(framing(Buffer.from('123'), { 'transfer-encoding': 'chunked' })).to.deep.equal(['3']);
    expect(framing('stream', { 'content-length': '5' })).to.deep.equal(['5']);
    expect(framing('stream', { 'transfer-encoding': 'chunked' })).to.deep.equal(['chunked']);
    expect(framing('stream', {})).to.deep.equal([]);
    expect(framing('stream', { 'content-length': '0' })).to.deep.equal(['0']);
  });

  it('trailers that would change what was read before are dropped (RFC 9110, 6.5.1)', () => {
    const bad = [
      'Content-Length',
      'Transfer-Encoding',
      'Host',
      'Authorization',
      'Set-Cookie',
      'Content-Type',
      'X-FMO-To',
    ];
    expect(trailers([...bad.flatMap((name) => [name, '1']), 'X-Sum', '2', 'X-Sum', '3'])).to.deep.equal([
      ['X-Sum', '2'],
      ['X-Sum', '3'],
    ]);
  });

  it('whatever a client writes, it gets no header of ours in, and loses none of its own', () => {
    const token = fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}$/);
    const ours = fc
      .tuple(
        fc.constantFrom('x-fmo-', 'X-Fmo-', 'X-FMO-', 'x-FmO-'),
        fc.constantFrom('to', 'epoch', 'session', 'x', ''),
      )
      .map((parts) => parts.join(''));
    const name = fc.oneof(token, ours, fc.constantFrom(...HOP_BY_HOP, 'Content-Length', 'Host', 'Via', 'X-Request-Id'));
    const text = fc.oneof(
      fc.string({ maxLength: 30 }),
      token,
      fc.array(name, { maxLength: 4 }).map((list) => list.join(', ')),
    );
    const raw = fc.array(fc.tuple(name, text), { maxLength: 20 });
    fc.assert(
      fc.property(raw, fc.boolean(), (pairs, isTraced) => {
        const headers = pairs.flat();
        const forward = isTraced ? { ...FORWARD, requestId: 'id' } : FORWARD;
        const passed = requestHeaders(incoming([...headers]), SELF, forward);
        const own = names(passed).filter((each) => each.startsWith('x-fmo-'));
        expect(own.sort()).to.deep.equal(
          ['channel', 'client-address', 'epoch', 'from', 'session', 'to'].map((each) => `x-fmo-${each}`),
        );
        expect(value(passed, 'x-fmo-to')).to.deep.equal([FORWARD.target.name]);
        expect(value(passed, 'x-fmo-client-address')).to.deep.equal([FORWARD.clientAddress]);
        if (isTraced) expect(value(passed, 'x-request-id')).to.deep.equal(['id']);
        expect(names(passed).filter((each) => each === 'content-length').length).to.be.at.most(1);
        expect(value(passed, 'via').at(-1)).to.equal(`1.1 ${SELF}`);

        const listed = new Set(
          pairs
            .filter(([each]) => each.toLowerCase() === 'connection')
            .flatMap(([, list]) => list.split(',').map((each) => each.trim().toLowerCase())),
        );
        const special = new Set([
          ...HOP_BY_HOP.map((each) => each.toLowerCase()),
          'content-length',
          'x-request-id',
          'http2-settings',
        ]);
        const plain = pairs.filter(([each]) => {
          const lower = each.toLowerCase();
          return !special.has(lower) && !listed.has(lower) && !lower.startsWith('x-fmo-');
        });
        for (const [each, said] of plain) expect(value(passed, each.toLowerCase())).to.include(said);
        const back = answerHeaders(headers);
        expect(names(back).filter((each) => each.startsWith('x-fmo-'))).to.deep.equal([]);
        for (const [each, said] of plain) expect(value(back, each.toLowerCase())).to.include(said);
      }),
      { numRuns: 500 },
    );
  });

  it('the address of a forwarded request is what its replica says, and of any other what its connection says', () => {
    const log = keptLog();
    const begin = beginExchange({ log, observer: { request: () => undefined }, trustedProxies: undefined });
    const address = (request: IncomingMessage): string => {
      const response = { setHeader: () => undefined, once: () => undefined } as unknown as Outgoing;
      void begin(request, response, () => undefined);
      return exchangeOf(response).address;
    };
    const request = (): IncomingMessage =>
      ({
        rawHeaders: ['X-Forwarded-For', '203.0.113.1', 'X-Fmo-Client-Address', '203.0.113.2'],
        headers: { 'x-forwarded-for': '203.0.113.1', 'x-fmo-client-address': '203.0.113.2' },
        headersDistinct: {},
        socket: { remoteAddress: '10.9.9.9' },
      }) as unknown as IncomingMessage;
    const forwarded = request();
    rememberForwarded(forwarded, { ...FORWARD, from: SELF });
    expect(address(forwarded)).to.equal('192.0.2.1');
    expect(log.lines).to.deep.equal([]);
    expect(address(request())).to.equal('10.9.9.9');
  });
});

describe('bytes that no client library sends', () => {
  let a: Replica;
  let b: Replica;

  before(async () => {
    const authority = new Authority();
    a = await Replica.start(authority.issue(), { firstByteMs: 5_000 });
    b = await Replica.start(authority.issue());
    a.to(b);
  });

  after(async () => {
    await Promise.all([a.stop(), b.stop()]);
  });

  /** Everything that a listener says to these bytes, until it closes (`isOver`) or waits for more of them. */
  async function say(bytes: Buffer): Promise<{ heard: string; isOver: boolean }> {
    const socket: Socket = connect(a.port, '127.0.0.1');
    const heard: Buffer[] = [];
    let isOver = true;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => void heard.push(chunk));
    socket.setTimeout(100, () => {
      isOver = false;
      socket.destroy();
    });
    socket.write(bytes);
    await once(socket, 'close');
    return { heard: Buffer.concat(heard).toString('latin1'), isOver };
  }

  it('come through as they are, or are refused by the first replica; never is one request two, or another’s', async function () {
    this.timeout(60_000);
    const seen: { forwarded: unknown; url: string | undefined; body: string; raw: string[] }[] = [];
    b.serve = (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => void chunks.push(chunk));
      request.on('error', () => undefined);
      request.once('end', () => {
        const body = Buffer.concat(chunks).toString('latin1');
        seen.push({ forwarded: forwardedOf(request), url: request.url, body, raw: [...request.rawHeaders] });
        response.end('ok');
      });
    };
    let served = 0;
    let runs = 0;
    const sane = fc.constantFrom(
      'X-Fmo-To: me',
      'x-fmo-epoch: 1',
      'X-FMO-Session:\t2',
      'Connection: x-fmo-to, transfer-encoding, content-length',
      'Connection: upgrade, authorization',
      'Upgrade: websocket',
      'Expect: 100-continue',
      'Expect: something',
      'TE: trailers',
      'Trailer: x-fmo-to',
      'X-High: \xff\xfe\x80',
      'X-Empty:',
      'X-Tab: a\tb',
      'Authorization: Bearer t',
      'Proxy-Authorization: Basic eDp5',
      'Via: 1.0 fred',
    );
    const CHUNKED = '5\r\nhello\r\n0\r\n\r\n';
    const matched = fc.constantFrom<[string, string]>(
      ['X-None: 1', ''],
      ['Content-Length: 5', 'hello'],
      ['content-length:5', 'hello'],
      ['Transfer-Encoding: chunked', CHUNKED],
      ['transfer-encoding:Chunked', '5\r\nhello\r\n0\r\nX-Fmo-To: me\r\nAuthorization: x\r\nX-Sum: 1\r\n\r\n'],
    );
    const mixed = fc.tuple(
      fc.constantFrom('X-None: 1', 'Content-Length: 5', 'Transfer-Encoding: chunked'),
      fc.constantFrom('', 'hel', 'hello', CHUNKED, '0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'),
    );
    const framing = fc.oneof({ arbitrary: matched, weight: 4 }, { arbitrary: mixed, weight: 1 });
    const odd = fc.oneof(
      fc.constantFrom(
        'Content-Length: 6',
        'Content-Length: 5, 5',
        'Transfer-Encoding: identity',
        'transfer-encoding: x, chunked',
        'Transfer-Encoding : chunked',
        ' folded: line',
        'No colon',
        'X-Null: a\0b',
      ),
      fc.string({ maxLength: 24, unit: 'binary' }),
    );
    const lines = fc
      .tuple(fc.array(sane, { maxLength: 6 }), fc.option(odd, { freq: 1 }))
      .map(([some, strange]) => (strange === null ? some : [...some, strange]));
    const target = fc.oneof(
      fc.constantFrom('/mcp', '/mcp?a=b#c', '//x/mcp', 'http://other/mcp', '*', '/\xff', '/a b', '/%00', '/mcp\\'),
      fc.stringMatching(/^\/[!-~]{0,12}$/),
    );
    const method = fc.constantFrom(
      'GET',
      'POST',
      'DELETE',
      'HEAD',
      'OPTIONS',
      'PUT',
      'PATCH',
      'PROPFIND',
      'CONNECT',
      'TRACE',
    );
    await fc.assert(
      fc.asyncProperty(method, target, lines, framing, async (verb, path, said, [frame, sent]) => {
        const run = String(++runs);
        const head = [
          `${verb} ${path} HTTP/1.1`,
          `X-Run: ${run}`,
          'Host: mcp.example',
          ...said,
          frame,
          'Connection: close',
          '',
          '',
        ].join('\r\n');
        const { heard, isOver } = await say(Buffer.from(head + sent, 'latin1'));
        // What the first replica understood as requests is what it sent on: each was answered once.
        const answers = heard.match(/^HTTP\/1\.1 (?!100)\d{3} /gm)?.length ?? 0;
        const own = seen.splice(0).filter(({ raw }) => value(raw, 'x-run').includes(run));
        if (isOver) expect(own.length).to.be.at.most(answers);
        for (const { forwarded, raw } of own) {
          expect(forwarded).to.include({ from: a.name, session: SESSION, epoch: EPOCH, clientAddress: '127.0.0.1' });
          expect(raw.filter((text, at) => at % 2 === 0 && /^x-fmo-/i.test(text))).to.deep.equal([]);
          expect(value(raw, 'host')).to.include('mcp.example');
        }
        served += own.length;
        const [first] = own;
        if (first !== undefined) expect(['', 'hello', sent.slice(0, 5)]).to.include(first.body);
      }),
      { numRuns: 400 },
    );
    expect(served, 'requests that came through').to.be.above(50);
    // And both are as they were.
    expect(await ask(`${a.url}/mcp`)).to.include({ status: 200, text: 'ok' });
    expect(a.outcomes.filter((each) => !['forwarded', 'not-there'].includes(each))).to.deep.equal([]);
  });
});
