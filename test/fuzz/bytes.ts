/** Bytes of HTTP/1.1 that are nearly right: framing, smuggling, floods, and how they arrive. */
import fc from 'fast-check';
import { requestText } from './messages';

/** One thing that goes over the socket. */
export type Piece =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  /** Waits some turns of the event loop. */
  | { readonly kind: 'turns'; readonly turns: number };

/** How the connection ends on our side. */
export type Ending = 'wait' | 'end' | 'destroy' | 'reset';

export interface Conversation {
  readonly pieces: readonly Piece[];
  readonly ending: Ending;
  /** How many requests a lenient reader could take it for, at most; the last may be a fault. */
  readonly atMost: number;
}

/** Stands for the id of a session of alice's. */
export const SESSION = '@@session@@';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

const target = fc.oneof(
  { weight: 12, arbitrary: fc.constant('/mcp') },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      'http://localhost/mcp',
      'http://evil.example/mcp',
      'https://localhost:443/mcp',
      'localhost:80',
      '*',
      '/mcp#x',
      '/mcp HTTP/1.1 x',
      '/%2e%2e/mcp',
      '/mcp/../../etc/passwd',
      '/\u00e9',
      '/mcp\u0000',
      '',
      `/${'a'.repeat(20_000)}`,
    ),
  },
);

const verb = fc.oneof(
  { weight: 10, arbitrary: fc.constant('POST') },
  { weight: 2, arbitrary: fc.constantFrom('GET', 'DELETE', 'OPTIONS') },
  { weight: 1, arbitrary: fc.constantFrom('CONNECT', 'TRACE', 'post', 'PO ST', '', 'M'.repeat(5000), 'PRI', 'POST\t') },
);

const httpVersion = fc.oneof(
  { weight: 14, arbitrary: fc.constant('HTTP/1.1') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/1.1 ', '', 'HTTP/1.12'),
  },
);

const lineEnd = fc.oneof(
  { weight: 24, arbitrary: fc.constant('\r\n') },
  { weight: 1, arbitrary: fc.constantFrom('\n', '\r', '\r\r\n', '\n\r') },
);

const oddHeader = fc.constantFrom(
  'Host: evil.example',
  'Host : localhost',
  ' Host: localhost',
  'Host',
  'X: a\r\n b',
  'X:\u0000',
  'X\u0000: a',
  ': a',
  '',
  'Authorization: Bearer bob',
  'Content-Type: text/plain',
  'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA',
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Expect: 100-continue',
  'Expect: 200-ok',
  'Connection: close',
  'Connection: content-length, transfer-encoding, authorization',
  `X-Long: ${'x'.repeat(17_000)}`,
  Array.from({ length: 2500 }, (_, n) => `x${String(n)}: 1`).join('\r\n'),
);

/** A body's framing: right, or so that two readers see two things. */
type Frame = (body: string) => { readonly headers: readonly string[]; readonly bytes: string };

const chunked = (body: string, size = body.length): string => `${size.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

const FRAMES: readonly Frame[] = [
  (body) => ({ headers: [`Content-Length: ${body.length}`], bytes: body }),
  (body) => ({ headers: [`Content-Length: ${body.length}`], bytes: body }),
  (body) => ({ headers: [`Content-Length: ${body.length}`], bytes: body }),
  (body) => ({ headers: ['Transfer-Encoding: chunked'], bytes: chunked(body) }),
  (body) => ({
    headers: ['Transfer-Encoding: chunked', 'Trailer: Authorization'],
    bytes: `${body.length.toString(16)};a="b"\r\n${body}\r\n0\r\nAuthorization: Bearer bob\r\n\r\n`,
  }),
  (body) => ({ headers: [`Content-Length: ${body.length + 7}`], bytes: body }),
  (body) => ({ headers: [`Content-Length: ${Math.max(0, body.length - 7)}`], bytes: body }),
  (body) => ({ headers: ['Content-Length: -1'], bytes: body }),
  (body) => ({ headers: [`Content-Length: +${body.length}`], bytes: body }),
  (body) => ({ headers: [`Content-Length: 0x${body.length.toString(16)}`], bytes: body }),
  (body) => ({ headers: [`Content-Length: ${body.length}, ${body.length}`], bytes: body }),
  (body) => ({ headers: [`Content-Length: ${body.length}`, 'Content-Length: 5'], bytes: body }),
  (body) => ({ headers: ['Content-Length: 99999999999999999999999'], bytes: body }),
  (body) => ({ headers: ['Content-Length: 9007199254740991'], bytes: body }),
  (body) => ({ headers: [`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked'], bytes: chunked(body) }),
  (body) => ({ headers: ['Transfer-Encoding: chunked', 'Content-Length: 4'], bytes: chunked(body) }),
  (body) => ({ headers: ['Transfer-Encoding: xchunked'], bytes: chunked(body) }),
  (body) => ({ headers: ['Transfer-Encoding: chunked, chunked'], bytes: chunked(body) }),
  (body) => ({ headers: ['Transfer-Encoding: identity, chunked'], bytes: chunked(body) }),
  (body) => ({ headers: ['Transfer-Encoding: gzip'], bytes: chunked(body) }),
  (body) => ({ headers: ['Transfer-Encoding:\u000bchunked'], bytes: chunked(body) }),
  (body) => ({ headers: ['Transfer-Encoding : chunked'], bytes: chunked(body) }),
  (body) => ({ headers: ['Transfer-Encoding: chunked'], bytes: chunked(body, body.length + 3) }),
  (body) => ({ headers: ['Transfer-Encoding: chunked'], bytes: chunked(body, Math.max(1, body.length - 3)) }),
  (body) => ({ headers: ['Transfer-Encoding: chunked'], bytes: `fffffffffffffffff\r\n${body}\r\n0\r\n\r\n` }),
  (body) => ({ headers: ['Transfer-Encoding: chunked'], bytes: `-1\r\n${body}\r\n0\r\n\r\n` }),
  (body) => ({ headers: ['Transfer-Encoding: chunked'], bytes: `zz\r\n${body}\r\n0\r\n\r\n` }),
  (body) => ({ headers: ['Transfer-Encoding: chunked'], bytes: `${body.length.toString(16)}\n${body}\n0\n\n` }),
  () => ({ headers: ['Transfer-Encoding: chunked'], bytes: `1;${'e'.repeat(20_000)}\r\n{\r\n0\r\n\r\n` }),
  (body) => ({ headers: [], bytes: body }),
];

/** A second request where a lenient reader may find one: bob's, from inside a body of alice's. */
const smuggled = 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer bob\r\nContent-Length: 2\r\n\r\n{}';

const body = fc.oneof(
  { weight: 8, arbitrary: requestText },
  { weight: 2, arbitrary: fc.constant(smuggled) },
  { weight: 1, arbitrary: fc.constant(`0\r\n\r\n${smuggled}`) },
  { weight: 1, arbitrary: fc.constant('') },
  { weight: 1, arbitrary: fc.constant('x'.repeat(300_000)) },
);

const request: fc.Arbitrary<Buffer> = fc
  .record({
    verb,
    target,
    httpVersion,
    end: lineEnd,
    odd: fc.oneof(
      { weight: 4, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(oddHeader, { maxLength: 3 }) },
    ),
    frame: fc.nat({ max: 10_000 }),
    framed: fc.nat({ max: 2 }),
    body,
  })
  .map(({ verb: method, target: path, httpVersion: version, end, odd, frame, framed, body: text }) => {
    const bytes = Buffer.from(text).toString('latin1');
    const how = FRAMES[framed === 0 ? frame % FRAMES.length : 0]?.(bytes) ?? { headers: [], bytes };
    const headers = [
      'Host: localhost',
      'Authorization: Bearer alice',
      'Accept: application/json, text/event-stream',
      'Content-Type: application/json',
      `Mcp-Session-Id: ${SESSION}`,
      ...odd,
      ...how.headers,
    ];
    return latin1(`${method} ${path} ${version}${end}${headers.join(end)}${end}${end}${how.bytes}`);
  });

const rubbish = fc.oneof(
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(
    latin1('\r\n\r\n\r\n'),
    latin1('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    Buffer.from('160301020001000001fc0303', 'hex'),
    latin1('GET / HTTP/1.1\r\n'),
    latin1('0\r\n\r\n'),
  ),
);

/** Requests one behind the other, cut in pieces anywhere, with pauses, and an end that may come early. */
export const conversation: fc.Arbitrary<Conversation> = fc
  .record({
    parts: fc.array(fc.oneof({ weight: 10, arbitrary: request }, { weight: 1, arbitrary: rubbish }), {
      minLength: 1,
      maxLength: 5,
    }),
    cuts: fc.array(fc.tuple(fc.nat({ max: 100_000 }), fc.nat({ max: 6 })), { maxLength: 6 }),
    upTo: fc.oneof(
      { weight: 4, arbitrary: fc.constant(1) },
      { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) },
    ),
    ending: fc.oneof(
      { weight: 400, arbitrary: fc.constantFrom<Ending>('end', 'destroy', 'reset') },
      { weight: 1, arbitrary: fc.constant<Ending>('wait') },
    ),
  })
  .map(({ parts, cuts, upTo, ending }) => {
    const all = Buffer.concat(parts);
    const bytes = all.subarray(0, Math.ceil(all.length * upTo));
    const pieces: Piece[] = [];
    let from = 0;
    for (const [place, turns] of cuts
      .map(([at, n]) => [at % (bytes.length + 1), n] as const)
      .sort((a, b) => a[0] - b[0])) {
      pieces.push({ kind: 'bytes', bytes: bytes.subarray(from, place) }, { kind: 'turns', turns });
      from = place;
    }
    pieces.push({ kind: 'bytes', bytes: bytes.subarray(from) });
    // However lenient a reader is, it finds a request only where a version stands, and one fault at the end.
    const atMost = bytes.toString('latin1').split('HTTP/').length;
    return { pieces, ending, atMost };
  });
