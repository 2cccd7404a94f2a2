/** The translation between eras on a clock of the test's: a child that may do anything, and clients of 2026-07-28 that share it. */
import { expect } from 'chai';
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import type { JsonRpcRequest } from '../../src/bridge/contract';
import type { Conversation, ConversationLink } from '../../src/bridge/modern/contract';
import { openConversation } from '../../src/bridge/modern/open';
import type { StateSeal } from '../../src/bridge/modern/state';
import { stateSeal } from '../support/state-seal';
import { Subscriptions } from '../../src/bridge/modern/subscriptions';
import { openBench, type Bench } from '../support/channel';
import { FakeSink, settle } from '../support/fake-link';
import { fuzz, TIMEOUT_MS } from './budget';
import { canary, mark } from './canaries';
import { haunt } from './haunted';
import { MODERN_METHODS } from './messages';

const META = 'io.modelcontextprotocol/';
const CLIENT = {
  capabilities: { elicitation: { form: {} }, sampling: {}, roots: {} },
  info: { name: 'fuzz', version: '1' },
};

/** What may be answered with questions (MCP 2026-07-28, 'Multi Round-Trip Requests'). */
const ASKING = new Set(['tools/call', 'prompts/get', 'resources/read']);

/** Longer than any deadline in the translation, and than all of them one after the other. */
const LONG_MS = 4 * 3_600_000;

type Step =
  | {
      readonly do: 'call' | 'listen';
      readonly method: string;
      readonly id: number;
      readonly log: boolean;
      readonly token: boolean;
    }
  | {
      readonly do: 'again';
      readonly which: number;
      readonly answers: 'all' | 'none' | 'wrong' | 'odd';
      readonly foreign: boolean;
    }
  | { readonly do: 'leave' | 'wait' | 'say'; readonly n: number };

const METHODS = [...MODERN_METHODS, 'completion/complete'];

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('call' as const),
      method: fc.constantFrom(...METHODS),
      id: fc.nat({ max: 3 }),
      log: fc.boolean(),
      token: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('listen' as const),
      method: fc.constant('subscriptions/listen'),
      id: fc.nat({ max: 3 }),
      log: fc.constant(false),
      token: fc.constant(false),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('again' as const),
      which: fc.nat({ max: 20 }),
      answers: fc.constantFrom('all', 'all', 'all', 'none', 'wrong', 'odd'),
      foreign: fc.integer({ min: 0, max: 8 }).map((n) => n === 0),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('leave' as const, 'wait' as const, 'say' as const),
      n: fc.nat({ max: 60_000 }),
    }),
  },
);

interface Drama {
  readonly steps: readonly Step[];
  readonly moods: readonly number[];
  readonly era: 'auto' | 'legacy' | 'modern';
  readonly finale: 'exit' | 'close' | 'time';
}

const drama: fc.Arbitrary<Drama> = fc.record({
  steps: fc.array(step, { maxLength: 40, size: 'max' }),
  moods: fc.array(fc.nat({ max: 10_000 }), { minLength: 1, maxLength: 40, size: 'max' }),
  era: fc.constantFrom('auto', 'legacy', 'modern'),
  finale: fc.constantFrom('exit', 'close', 'time'),
});

interface Asked {
  readonly request: JsonRpcRequest;
  readonly mark: string;
  readonly sink: FakeSink;
  readonly leave: AbortController;
  /** It was refused before anything was sent, which is an answer of its own. */
  refused: boolean;
  readonly done: Promise<void>;
}

describe('the translation between eras', () => {
  it('answers every request once whatever child and clients do, never as another one, and ends with nothing left', async function () {
    this.timeout(TIMEOUT_MS);
    await fuzz('translation', { share: 0.2, input: drama, run: play });
  });
});

async function play({ steps, moods, era, finale }: Drama): Promise<void> {
  const bench = openBench({ callTimeout: 60, initializeTimeout: 10, maxCallsInFlight: 12 });
  const { channel, link, clock, observer } = bench;
  let turn = 0;
  const choose = (): number => moods[turn++ % moods.length] ?? 0;
  const child = haunt(link, 'alice', canary('alice'), choose);
  const conversationLink: ConversationLink = {
    call: (request, sink, options) => channel.call(request, sink, options),
    notify: (notification) => channel.notify(notification),
    answer: (response) => channel.answer(response),
    ask: (method, params, ms) => channel.ask(method, params, ms),
    begin: (stateless) => channel.begin(stateless),
    tool: (name) => channel.tool(name),
  };
  const key = randomBytes(32);
  const opening = openConversation(conversationLink, {
    clock,
    seal: stateSeal(clock, key),
    audience: 'alice',
    client: CLIENT,
    era,
    versions: ['2026-07-28'],
    callTimeout: 60,
    maxParked: 4,
    probeMs: 1_000,
    learned: () => undefined,
  }).catch(() => undefined);
  const conversation = await inTime(bench, opening, 'the opening');
  const asked: Asked[] = [];
  if (conversation !== undefined) {
    channel.listen(conversation.rest);
    const subscriptions = new Subscriptions(() => undefined);
    for (const one of steps) {
      perform(bench, conversation, subscriptions, conversationLink, asked, one, choose);
      await settle();
    }
    if (finale === 'time') {
      await inTime(
        bench,
        Promise.all(asked.filter(({ request }) => request.method !== 'subscriptions/listen').map(({ done }) => done)),
        'a request',
      );
    }
    subscriptions.end();
  }
  if (finale === 'exit') link.exit({ reason: 'killed' });
  else await channel.close();
  await channel.ended;
  conversation?.close();
  await inTime(bench, Promise.all(asked.map(({ done }) => done)), 'a request, the child gone,');
  for (const one of asked) check(one, stateSeal({ wall: () => 0 }, key));
  for (const fault of [...child.wrongs, ...observer.faults]) throw fault;
  await settle();
  expect({ calls: channel.inFlight, timers: clock.timers }).to.deep.equal({ calls: 0, timers: 0 });
}

/** Lets time pass until it has resolved. Throws where it does not, however long it takes. */
async function inTime<T>({ clock }: Bench, work: Promise<T>, what: string): Promise<T> {
  let over = false;
  void work.then(() => (over = true));
  await settle();
  for (let passed = 0; !over && passed < LONG_MS; passed += 30_000) {
    clock.advance(30_000);
    await settle();
  }
  if (!over) throw new Error(`${what} has no end`);
  return work;
}

function perform(
  { clock, link }: Bench,
  conversation: Conversation,
  subscriptions: Subscriptions,
  conversationLink: ConversationLink,
  asked: Asked[],
  one: Step,
  choose: () => number,
): void {
  const serve = (request: JsonRpcRequest, word: string): void => {
    const sink = new FakeSink();
    const leave = new AbortController();
    const served =
      request.method === 'subscriptions/listen'
        ? subscriptions.serve(conversation, conversationLink, request, sink, leave.signal).then(({ ended }) => ended)
        : conversation.serve(conversationLink, request, sink, leave.signal);
    const entry: Asked = {
      request,
      mark: word,
      sink,
      leave,
      refused: false,
      done: served.catch(() => {
        entry.refused = true;
      }),
    };
    asked.push(entry);
  };
  switch (one.do) {
    case 'call':
    case 'listen': {
      const word = mark('alice');
      const _meta = {
        [`${META}protocolVersion`]: '2026-07-28',
        [`${META}clientCapabilities`]: CLIENT.capabilities,
        [`${META}clientInfo`]: CLIENT.info,
        ...(one.log ? { [`${META}logLevel`]: 'debug' } : {}),
        ...(one.token ? { progressToken: one.id } : {}),
      };
      const params = { name: 'echo', uri: 'test://x', mark: word, notifications: { toolsListChanged: true }, _meta };
      serve({ jsonrpc: '2.0', id: one.id, method: one.method, params }, word);
      return;
    }
    case 'again': {
      const before = asked.filter(({ sink }) => questionsOf(sink) !== undefined);
      const from = before[one.which % Math.max(1, before.length)];
      const result = from === undefined ? undefined : questionsOf(from.sink);
      if (from === undefined || result === undefined) return;
      const keys = Object.keys(result.inputRequests ?? {});
      const value =
        one.answers === 'odd' ? [null, 7] : { action: 'accept', content: {}, roots: [], role: 'assistant', model: 'm' };
      const inputResponses = Object.fromEntries(
        (one.answers === 'none' ? [] : one.answers === 'wrong' ? ['__proto__', 'k'] : keys).map((key) => [key, value]),
      );
      // Another request with somebody's state: it must not be taken for that one.
      const word = one.foreign ? mark('alice') : from.mark;
      const params = { ...from.request.params, mark: word, inputResponses, requestState: result.requestState };
      serve({ ...from.request, id: choose() % 4, params }, word);
      return;
    }
    case 'leave':
      asked[one.n % Math.max(1, asked.length)]?.leave.abort();
      return;
    case 'wait':
      clock.advance(one.n);
      return;
    case 'say': {
      if (!link.running) return;
      const method = [
        'notifications/tools/list_changed',
        'notifications/cancelled',
        'notifications/message',
        'elicitation/create',
      ][one.n % 4];
      link.say({
        jsonrpc: '2.0',
        ...(one.n % 4 === 3 ? { id: one.n % 3 } : {}),
        method,
        params: { requestId: one.n % 3, level: 'info', message: 'x' },
      });
    }
  }
}

function questionsOf({ messages }: FakeSink): { inputRequests?: object; requestState?: unknown } | undefined {
  const result = messages.at(-1)?.result as { resultType?: unknown; inputRequests?: object } | undefined;
  return result?.resultType === 'input_required' ? result : undefined;
}

/** One answer at most, with its own id; of marks its own alone; and an answer wherever nobody left and the request was not refused. @param seal opens states however old. */
function check({ request, mark: own, sink, leave, refused }: Asked, seal: StateSeal): void {
  const answers = sink.messages.filter((message) => !('method' in message));
  if (answers.length === 0 && !refused && !leave.signal.aborted)
    throw new Error(`${JSON.stringify(request)} was not answered`);
  if (answers.length > 1) throw new Error(`answered ${answers.length} times: ${JSON.stringify(answers)}`);
  for (const answer of answers) {
    if (answer.id !== request.id) throw new Error(`${String(request.id)} was answered as ${JSON.stringify(answer.id)}`);
    if ('result' in answer === 'error' in answer) throw new Error(`no answer: ${JSON.stringify(answer)}`);
    const { resultType, requestState } = (answer.result ?? {}) as { resultType?: unknown; requestState?: unknown };
    if (resultType === 'input_required') {
      if (!ASKING.has(request.method)) throw new Error(`${request.method} was answered with questions`);
      const ours = typeof requestState === 'string' && seal.open('alice', request, requestState) !== undefined;
      if (requestState !== undefined && !ours) throw new Error("a child's own state was shown");
    }
    if ('result' in answer && typeof (answer.result as { resultType?: unknown } | null)?.resultType !== 'string') {
      throw new Error(`a result without a type: ${JSON.stringify(answer)}`);
    }
  }
  const foreign = sink.texts
    .join('\n')
    .match(/\bmk\.alice\.\d+\b/g)
    ?.find((word) => word !== own);
  if (foreign !== undefined) throw new Error(`${own} was shown ${foreign}`);
}
