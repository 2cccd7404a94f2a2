/** What clients do, one act after another or side by side: requests with headers that are there, absent, twice, or wrong. */
import fc from 'fast-check';
import type { Drop } from './client';
import { bodyText } from './messages';

export const USERS = ['alice', 'bob', 'carol'] as const;
export type User = (typeof USERS)[number];

/** A session as an act names it: the n-th that was opened, whoever's it is by then. */
export type SessionRef =
  | { readonly kind: 'own' | 'foreign' | 'ended'; readonly n: number }
  | { readonly kind: 'none' }
  | { readonly kind: 'text'; readonly text: string };

export interface Act {
  readonly user: User;
  readonly session: SessionRef;
  readonly method: string;
  readonly path: string;
  /** Beside those that name user and session. */
  readonly headers: readonly (readonly [string, string])[];
  /** The header of the session stands twice. */
  readonly twice: boolean;
  /** For `@@ask@@` and `Last-Event-ID`: the n-th that was seen by anybody. */
  readonly seen: number;
  readonly body: string | undefined;
  /** Bytes that are no UTF-8 are put in at this place. */
  readonly spoilt: number | undefined;
  /** The headers of 2026-07-28 say what the body says. */
  readonly aligned: boolean;
  /** Instead of all that: the request that was answered with questions is sent again with answers to them. */
  readonly again: boolean;
  readonly drop: Drop | undefined;
  /** Waits for the answer before the next act; what may never be answered is not waited for. */
  readonly wait: boolean;
}

const session: fc.Arbitrary<SessionRef> = fc.oneof(
  { weight: 16, arbitrary: fc.record({ kind: fc.constant('own' as const), n: fc.nat({ max: 3 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom('foreign' as const, 'ended' as const), n: fc.nat({ max: 3 }) }),
  },
  { weight: 4, arbitrary: fc.constant({ kind: 'none' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('text' as const),
      text: fc.constantFrom('ab'.repeat(24), 'AB'.repeat(24), '0', 'x'.repeat(300), '../../etc', 'null', 'é'),
    }),
  },
);

type Header = readonly (readonly [string, string])[];

/** The header with one of these values, in so many of a hundred; now and then it stands twice. */
function header(
  name: string,
  usual: readonly string[],
  odd: readonly string[] = [],
  present = 97,
): fc.Arbitrary<Header> {
  const value = fc.oneof(
    { weight: 60, arbitrary: fc.constantFrom(...usual) },
    ...(odd.length === 0 ? [] : [{ weight: 2, arbitrary: fc.constantFrom(...odd) }]),
  );
  return fc.oneof(
    { weight: present, arbitrary: value.map((one): Header => [[name, one]]) },
    { weight: 99 - present, arbitrary: fc.constant<Header>([]) },
    {
      weight: 1,
      arbitrary: fc.tuple(value, value).map(([one, two]): Header => [
        [name, one],
        [name.toUpperCase(), two],
      ]),
    },
  );
}

/** Only now and then there. */
function rare(name: string, values: readonly string[], weight = 1): fc.Arbitrary<Header> {
  const there = fc.constantFrom(...values).map((one): Header => [[name, one]]);
  return fc.oneof({ weight: 40, arbitrary: fc.constant<Header>([]) }, { weight, arbitrary: there });
}

const BASE64 = ['=?base64?dG9vbHMvY2FsbA==?=', '=?base64?***?=', '=?base64?gICA?=', '=?base64?', '=?BASE64?ZWNobw==?='];

export const LAST_EVENT = '@@event@@';

const headers: fc.Arbitrary<Header> = fc
  .tuple(
    header(
      'Accept',
      ['application/json, text/event-stream'],
      ['*/*', 'text/event-stream', 'application/json', 'text/html', 'a;;q=0,', ','],
    ),
    header(
      'Content-Type',
      ['application/json'],
      ['application/json; charset=utf-16', 'text/plain', ';', 'APPLICATION/JSON'],
    ),
    header('Host', ['localhost'], ['127.0.0.1:1', 'evil.example', '', '[', 'localhost:x']),
    header(
      'MCP-Protocol-Version',
      ['2025-06-18', '2025-11-25', '2025-03-26'],
      ['', '1999-01-01', '2026-07-28', '2025-06-18, 2025-06-18', 'é'],
      75,
    ),
    header('Mcp-Method', ['tools/call', 'tools/list', 'server/discover'], [...BASE64, '', 'TOOLS/CALL'], 25),
    header('Mcp-Name', ['echo', 'test://x'], [...BASE64, ''], 25),
    rare('Mcp-Param-Text', ['x', ...BASE64]),
    rare('Last-Event-ID', [LAST_EVENT, LAST_EVENT, '', '0', '0.0', 'x'.repeat(5000)]),
    rare('Origin', ['http://localhost', 'http://evil.example', 'null', 'https://inspector.example']),
    rare('X-Forwarded-For', ['10.0.0.1', 'x'.repeat(500), ',,,']),
    rare('X-Request-Id', ['a', 'b\tc', 'x'.repeat(200)]),
    rare('Content-Encoding', ['gzip', 'identity', '']),
    rare('Transfer-Encoding', ['chunked']),
    rare('Connection', ['close', 'keep-alive', 'Upgrade']),
    rare('Upgrade', ['websocket', 'h2c']),
    rare('Expect', ['100-continue']),
  )
  .map((all) => all.flat());

const drop: fc.Arbitrary<Drop | undefined> = fc.oneof(
  { weight: 8, arbitrary: fc.constant(undefined) },
  {
    weight: 1,
    arbitrary: fc.record({
      at: fc.constantFrom('sent' as const, 'headers' as const, 'data' as const),
      turns: fc.nat({ max: 8 }),
    }),
  },
);

const method = fc.oneof(
  { weight: 24, arbitrary: fc.constant('POST') },
  { weight: 4, arbitrary: fc.constant('GET') },
  { weight: 2, arbitrary: fc.constant('DELETE') },
  { weight: 1, arbitrary: fc.constantFrom('PUT', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND') },
);

/** Stands for the URL that a stream of 2024-11-05 named: the n-th that was named to anybody. */
export const ENDPOINT = '@@endpoint@@';

const path = fc.oneof(
  { weight: 30, arbitrary: fc.constant('/mcp') },
  { weight: 3, arbitrary: fc.constantFrom('/sse', ENDPOINT, ENDPOINT, ENDPOINT) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '/servers/default/mcp',
      '/servers/none/mcp',
      '/mcp/',
      '/mcp?x=1',
      '/%',
      '//mcp',
      '/servers/%00/mcp',
      '/MCP',
    ),
  },
);

const act: fc.Arbitrary<Act> = fc.record({
  user: fc.constantFrom(...USERS),
  session,
  method,
  path,
  headers,
  twice: fc.integer({ min: 0, max: 30 }).map((n) => n === 0),
  seen: fc.nat({ max: 20 }),
  body: fc.oneof({ weight: 30, arbitrary: bodyText }, { weight: 1, arbitrary: fc.constant(undefined) }),
  spoilt: fc.oneof({ weight: 40, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat({ max: 60 }) }),
  aligned: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
  again: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  drop,
  wait: fc.boolean(),
});

/** A whole story: what the clients do, and what the children make of it. */
export interface Story {
  readonly acts: readonly Act[];
  readonly moods: readonly number[];
}

export const story: fc.Arbitrary<Story> = fc.record({
  acts: fc.array(act, { minLength: 1, maxLength: 30, size: 'max' }),
  moods: fc.array(fc.nat({ max: 10_000 }), { minLength: 1, maxLength: 60, size: 'max' }),
});
