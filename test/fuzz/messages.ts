/** Messages of clients, of both eras: most are right but for one thing. */
import fc from 'fast-check';
import { anyText, idText, member, members, mostly, objectText, stringText } from './texts';

/** Stands for what only the run knows: the mark of this very request. */
export const MARK = '@@mark@@';

/** Stands for a sealed state that somebody was given. */
export const STATE = '"@@state@@"';

const VERSIONS = ['"2024-11-05"', '"2025-03-26"', '"2025-06-18"', '"2025-11-25"', '"2026-07-28"', '"1999-01-01"'];
const version = mostly(fc.constantFrom(...VERSIONS), 40);

const META = 'io.modelcontextprotocol';

const METHODS = [
  'tools/call',
  'tools/call',
  'tools/call',
  'tools/list',
  'resources/read',
  'resources/subscribe',
  'prompts/get',
  'completion/complete',
  'logging/setLevel',
  'ping',
  'server/discover',
  'subscriptions/listen',
  'initialize',
  'notifications/initialized',
  'notifications/cancelled',
  'notifications/progress',
  'notifications/roots/list_changed',
  'no/such',
  '',
  '__proto__',
];
const method = mostly(
  fc.constantFrom(...METHODS).map((name) => JSON.stringify(name)),
  50,
);

/** `_meta` of no era, of the old one, of 2026-07-28, and of both. */
const meta: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: objectText(member('progressToken', idText)) },
  {
    weight: 4,
    arbitrary: objectText(
      members(
        member(`${META}/protocolVersion`, mostly('"2026-07-28"', 8, version)),
        member(`${META}/clientCapabilities`, mostly('{"elicitation":{},"sampling":{},"roots":{}}')),
        member(`${META}/clientInfo`, mostly('{"name":"fuzz","version":"1"}')),
        member(`${META}/logLevel`, mostly('"debug"', 4), 1),
        member(`${META}/subscriptionId`, idText, 1),
        member('progressToken', idText, 2),
        member('traceparent', stringText, 1),
      ),
    ),
  },
  { weight: 1, arbitrary: anyText },
);

const params: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 10,
    arbitrary: objectText(
      members(
        fc.constant([['mark', `"${MARK}"`] as const]),
        member('name', mostly(fc.constantFrom('"echo"', '"slow"', '"ask"', '"no such"')), 3),
        member('arguments', mostly(`{"text":"${MARK}"}`, 6), 3),
        member('uri', mostly('"test://x"'), 1),
        member('requestId', idText, 1),
        member('progressToken', idText, 1),
        member('level', mostly('"debug"'), 1),
        member('requestState', fc.oneof(fc.constant(STATE), stringText), 1),
        member('inputResponses', mostly('{"k1":{"action":"accept","content":{}}}', 3), 1),
        member('notifications', mostly('{"toolsListChanged":true}', 3), 1),
        member('_meta', meta, 2),
      ),
    ),
  },
  { weight: 1, arbitrary: anyText },
);

const version2 = mostly('"2.0"', 80);

/** A request or a notification. */
export const requestText: fc.Arbitrary<string> = objectText(
  members(
    member('jsonrpc', version2, 90),
    member('id', idText, 25),
    member('method', method, 90),
    member('params', params, 40),
  ),
);

/** An `initialize` that opens a session, or nearly. */
export const initializeText: fc.Arbitrary<string> = objectText(
  members(
    member('jsonrpc', version2, 40),
    member('id', mostly(idText, 30), 40),
    fc.constant([['method', '"initialize"'] as const]),
    member(
      'params',
      mostly(
        objectText(
          members(
            member('protocolVersion', version, 30),
            member('capabilities', mostly('{"sampling":{},"elicitation":{},"roots":{"listChanged":true}}'), 30),
            member('clientInfo', mostly('{"name":"fuzz","version":"1"}'), 30),
            fc.constant([['mark', `"${MARK}"`] as const]),
          ),
        ),
        30,
      ),
      30,
    ),
  ),
);

/** An answer to something that the server may have asked; the id is put in by the run where it knows one. */
export const ASK_ID = '"@@ask@@"';
export const responseText: fc.Arbitrary<string> = objectText(
  members(
    member('jsonrpc', version2, 90),
    member('id', fc.oneof({ weight: 5, arbitrary: fc.constant(ASK_ID) }, { weight: 1, arbitrary: idText }), 20),
    fc.oneof(
      { weight: 5, arbitrary: member('result', mostly(`{"action":"accept","mark":"${MARK}"}`, 4)) },
      { weight: 1, arbitrary: member('error', mostly('{"code":-32600,"message":"no"}', 2)) },
    ),
  ),
);

/** Methods of 2026-07-28 that every server may be asked for, calls more often than the others. */
export const MODERN_METHODS = [
  'tools/call',
  'tools/call',
  'tools/call',
  'prompts/get',
  'resources/read',
  'tools/list',
  'server/discover',
] as const;

/** A request of 2026-07-28 of which the envelope is right: what comes behind it is met. */
const modernText: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(...MODERN_METHODS, 'subscriptions/listen', 'ping', 'logging/setLevel'),
    idText,
    objectText(
      members(
        fc.constant([['mark', `"${MARK}"`] as const]),
        fc.constant([['name', '"echo"'] as const]),
        fc.constant([['uri', '"test://x"'] as const]),
        member('arguments', mostly(`{"text":"${MARK}"}`), 3),
        member('notifications', mostly('{"toolsListChanged":true,"resourceSubscriptions":["test://x"]}'), 2),
        member('requestState', fc.oneof(fc.constant(STATE), stringText), 1),
        member('inputResponses', mostly('{"k1":{"action":"accept","content":{}}}', 3), 1),
        objectText(
          members(
            fc.constant([[`${META}/protocolVersion`, '"2026-07-28"'] as const]),
            member(`${META}/clientCapabilities`, mostly('{"elicitation":{"form":{}},"sampling":{},"roots":{}}')),
            member(`${META}/clientInfo`, mostly('{"name":"fuzz","version":"1"}')),
            member(`${META}/logLevel`, mostly('"debug"', 4), 1),
            member('progressToken', idText, 2),
          ),
        ).map((text) => [['_meta', text] as const]),
      ),
    ),
  )
  .map(([name, id, text]) => `{"jsonrpc":"2.0","id":${id},"method":"${name}","params":${text}}`);

const single: fc.Arbitrary<string> = fc.oneof(
  { weight: 8, arbitrary: requestText },
  { weight: 6, arbitrary: modernText },
  { weight: 3, arbitrary: responseText },
  { weight: 1, arbitrary: initializeText },
  { weight: 1, arbitrary: anyText },
);

/** A body: one message, a batch, or something that an editor or a proxy has spoilt. */
export const bodyText: fc.Arbitrary<string> = fc.oneof(
  { weight: 20, arbitrary: single },
  { weight: 4, arbitrary: fc.array(single, { maxLength: 4 }).map((all) => `[${all.join(',')}]`) },
  { weight: 1, arbitrary: fc.tuple(single, fc.nat({ max: 200 })).map(([text, length]) => text.slice(0, length)) },
  { weight: 1, arbitrary: fc.tuple(single, single).map(([one, two]) => `${one}\n${two}`) },
  { weight: 1, arbitrary: single.map((text) => `\ufeff${text}`) },
  { weight: 1, arbitrary: single.map((text) => `${' '.repeat(70_000)}${text}`) },
);
