/** The bridge against children that say anything in any pieces: lines, and a whole channel on a clock of the test's. */
import { expect } from 'chai';
import fc from 'fast-check';
import { LineSplitter } from '../../src/bridge/framing';
import { aRequest, openBench, type Bench } from '../support/channel';
import { FakeSink, settle, type Sent } from '../support/fake-link';
import { fuzz, TIMEOUT_MS } from './budget';
import { anyText, idText, member, members, mostly, objectText } from './texts';

/** Bytes of a line at most, in the first target. */
const MAX_LINE = 64;
/** In the second: small, so that lines that are too long are met. */
const MAX_MESSAGE = 4096;

const bytes = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('\n', '\r\n', '\r', '\n\n', '{}', 'é', '\u2028', '\ufeff') },
  { weight: 4, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
  { weight: 1, arbitrary: fc.nat({ max: 3 * MAX_LINE }).map((length) => 'x'.repeat(length)) },
);

/** What {@link LineSplitter} must find, said in the simplest way: a line, or the length of one that is too long. */
function expected(all: Buffer): (string | number)[] {
  const parts = all.toString('latin1').split('\n');
  return parts.flatMap((part, n): (string | number)[] => {
    if (part.length > MAX_LINE) return [part.length];
    const line = part.endsWith('\r') ? part.slice(0, -1) : part;
    return line === '' || (n === parts.length - 1 && part === '') ? [] : [line];
  });
}

describe('framing, whatever a child writes', () => {
  it('cuts any bytes in any pieces into the same lines, and holds no more than twice the longest line', async function () {
    this.timeout(TIMEOUT_MS);
    await fuzz('lines', {
      share: 0.05,
      input: fc.tuple(
        fc.array(bytes, { maxLength: 40, size: 'max' }),
        fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
      ),
      run([parts, sizes]) {
        const all = Buffer.from(parts.join(''));
        const found: (string | number)[] = [];
        const lines = new LineSplitter(MAX_LINE, {
          line: (chunk, start, end) => void found.push(chunk.toString('latin1', start, end)),
          tooLong: (_head, _tail, length) => void found.push(length),
        });
        let turn = 0;
        for (let at = 0; at < all.length;) {
          const size = sizes[turn++ % sizes.length] ?? 1;
          lines.push(all.subarray(at, at + size));
          expect(lines.capacity).to.be.at.most(2 * MAX_LINE + 2 * 4096);
          at += size;
        }
        lines.end();
        expect(found).to.deep.equal(expected(all));
      },
    });
  });

  it('answers every call once whatever the child says, whenever, and ends with nothing left', async function () {
    this.timeout(TIMEOUT_MS);
    await fuzz('channel', { share: 0.15, input: drama, run: play });
  });
});

/** What the child says: an answer to one of the calls in flight, or anything else. Places marked so are filled in by the play. */
const KEY = '@@key@@';
const TOKEN = '@@token@@';
const METHODS = [
  'notifications/progress',
  'notifications/cancelled',
  'notifications/message',
  'notifications/tools/list_changed',
  'notifications/resources/updated',
  'notifications/elicitation/complete',
  'sampling/createMessage',
  'elicitation/create',
  'roots/list',
  'ping',
  '__proto__',
];
const id = fc.oneof({ weight: 6, arbitrary: fc.constant(`"${KEY}"`) }, { weight: 1, arbitrary: idText });
const speech = fc.oneof(
  {
    weight: 4,
    arbitrary: objectText(
      members(
        member('jsonrpc', mostly('"2.0"'), 20),
        member('id', id, 20),
        fc.oneof(
          { weight: 6, arbitrary: member('result', mostly('{"content":[]}', 6)) },
          { weight: 2, arbitrary: member('error', mostly('{"code":-32000,"message":"no"}', 4)) },
          { weight: 1, arbitrary: members(member('result', anyText), member('error', anyText)) },
        ),
      ),
    ),
  },
  {
    weight: 3,
    arbitrary: objectText(
      members(
        member('jsonrpc', mostly('"2.0"')),
        member('id', idText, 1),
        member('method', mostly(fc.constantFrom(...METHODS).map((name) => JSON.stringify(name)))),
        member(
          'params',
          mostly(
            objectText(
              members(
                member('progressToken', mostly(`"${TOKEN}"`, 4, idText)),
                member('progress', mostly('1', 6)),
                member('requestId', mostly(`"${KEY}"`, 4, idText), 1),
                member('uri', anyText, 1),
              ),
            ),
          ),
        ),
      ),
    ),
  },
  { weight: 1, arbitrary: anyText },
  {
    weight: 1,
    arbitrary: fc
      .nat({ max: 2 * MAX_MESSAGE })
      .map((n) => `{"jsonrpc":"2.0","id":"${KEY}","result":"${'x'.repeat(n)}"}`),
  },
);

type Step =
  | { readonly do: 'call'; readonly id: string; readonly token: string | undefined; readonly initialize: boolean }
  | {
      readonly do: 'say';
      readonly texts: readonly string[];
      readonly batch: boolean;
      readonly which: number;
      readonly cut: number;
    }
  | { readonly do: 'cancel' | 'reply'; readonly id: string; readonly which: number }
  | { readonly do: 'gone' | 'wait' | 'listen' | 'stall'; readonly n: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('call' as const),
      id: idText.filter((text) => typeof safe(text) === 'string' || Number.isInteger(safe(text))),
      token: fc.option(idText, { nil: undefined }),
      initialize: fc.integer({ min: 0, max: 20 }).map((n) => n === 0),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('say' as const),
      texts: fc.array(speech, { minLength: 1, maxLength: 4 }),
      batch: fc.integer({ min: 0, max: 6 }).map((n) => n === 0),
      which: fc.nat({ max: 50 }),
      cut: fc.integer({ min: 1, max: 300 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('cancel' as const, 'reply' as const),
      id: idText,
      which: fc.nat({ max: 50 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('gone' as const, 'wait' as const, 'listen' as const, 'stall' as const),
      n: fc.nat({ max: 40_000 }),
    }),
  },
);

interface Drama {
  readonly steps: readonly Step[];
  readonly finale: 'exit' | 'close' | 'both' | 'time';
}

const drama: fc.Arbitrary<Drama> = fc.record({
  steps: fc.array(step, { maxLength: 60, size: 'max' }),
  finale: fc.constantFrom('exit', 'close', 'both', 'time'),
});

interface Begun {
  readonly id: unknown;
  readonly sink: FakeSink;
  readonly sent: Sent | undefined;
  readonly done: Promise<unknown>;
}

/** Plays it, ends the child, and looks at what every caller got. */
async function play({ steps, finale }: Drama): Promise<void> {
  const bench = openBench({ maxLineBytes: MAX_MESSAGE, maxCallsInFlight: 12 });
  const begun: Begun[] = [];
  const listening = new FakeSink();
  for (const one of steps) {
    await perform(bench, begun, listening, one);
    await Promise.resolve();
  }
  const { channel, link, clock, observer } = bench;
  for (const { sink } of begun) sink.gate = undefined;
  if (finale === 'time') clock.advance(10 * 60_000);
  if (finale === 'exit' || finale === 'both') link.exit({ reason: 'killed' });
  if (finale !== 'exit') await channel.close();
  else await channel.ended;
  await Promise.all(begun.map(({ done }) => done));
  await settle();
  for (const { id: asked, sink } of begun) {
    const answers = sink.messages.filter((message) => !('method' in message));
    if (answers.length > 1) throw new Error(`answered ${answers.length} times`);
    for (const answer of answers)
      if (answer.id !== asked) throw new Error(`${String(asked)} was answered as ${String(answer.id)}`);
  }
  for (const message of listening.messages)
    if (!('method' in message)) throw new Error('a GET stream carried an answer');
  for (const fault of observer.faults) throw fault;
  expect({ calls: channel.inFlight, timers: clock.timers }).to.deep.equal({ calls: 0, timers: 0 });
}

async function perform(bench: Bench, begun: Begun[], listening: FakeSink, one: Step): Promise<void> {
  const { channel, link, clock } = bench;
  switch (one.do) {
    case 'call': {
      const meta = one.token === undefined ? {} : { _meta: { progressToken: safe(one.token) } };
      const asked = safe(one.id) as string | number;
      const request = aRequest(asked, one.initialize ? 'initialize' : 'tools/call', meta);
      const sink = new FakeSink();
      const before = link.sent.length;
      const done = channel.call(request, sink).catch((refused: unknown) => refused);
      begun.push({ id: asked, sink, sent: link.sent[before], done });
      return;
    }
    case 'say': {
      const call = begun[one.which % Math.max(1, begun.length)]?.sent;
      const token = (call?.params?._meta as { progressToken?: string } | undefined)?.progressToken ?? 'p0.1.n1';
      const texts = one.texts.map((text) => text.replaceAll(KEY, call?.id ?? 'i0.1.n1').replaceAll(TOKEN, token));
      const said = Buffer.from(one.batch ? `[${texts.join(',')}]\n` : texts.map((text) => `${text}\n`).join(''));
      for (let at = 0; at < said.length && link.running; at += one.cut) link.push(said.subarray(at, at + one.cut));
      return;
    }
    case 'cancel': {
      const params = { requestId: begun[one.which]?.id ?? safe(one.id) };
      await channel.notify({ jsonrpc: '2.0', method: 'notifications/cancelled', params }).catch(() => undefined);
      return;
    }
    case 'reply': {
      const asks = [...begun.map(({ sink }) => sink), listening].flatMap(({ messages }) =>
        messages.filter((message) => 'id' in message && 'method' in message),
      );
      const key = (asks[one.which % Math.max(1, asks.length)]?.id as string | undefined) ?? one.id;
      await channel.answer({ jsonrpc: '2.0', id: key, result: {} }).catch(() => undefined);
      return;
    }
    case 'gone': {
      const call = begun[one.n % Math.max(1, begun.length)];
      if (call !== undefined) call.sink.gone = true;
      return;
    }
    case 'stall': {
      const call = begun[one.n % Math.max(1, begun.length)];
      if (call !== undefined) call.sink.gate = settle();
      return;
    }
    case 'wait':
      clock.advance(one.n);
      return;
    case 'listen':
      channel.listen(listening);
  }
}

/** The value of a text; undefined where it is no JSON. */
function safe(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
