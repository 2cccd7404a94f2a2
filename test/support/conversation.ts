/**
 * One whole conversation of an official client with `fixture-child` behind the gateway, in parts: what every client must be able to do, and what each
 * is known to do by itself when something goes wrong. The same parts run through the process driver and through a pod.
 */
import { expect } from 'chai';
import type { CuttingProxy } from './cutting-proxy';
import type { ClientAnswer, DrivenClient } from './peers';
import { ScriptedClient, type ScriptedKind } from './peers';
import { TypescriptClient } from './typescript-clients';
import { until } from './until';

const EVERY_QUESTION = ['sampling/createMessage', 'elicitation/create', 'roots/list'] as const;

/** What a client is known to do, as measured; docs/clients.md has it in words. */
export interface Habits {
  /** What it negotiates. */
  readonly revision: '2025-11-25' | '2026-07-28';
  /** What the server may ask it. */
  readonly asks: readonly (typeof EVERY_QUESTION)[number][];
  /** It has a way to ask for log messages. */
  readonly level: boolean;
  /** Of a call that its user gives up, the server is told. */
  readonly cancels: boolean;
  /** A call whose connection was cut: its answer is taken from the resumed stream, or it fails, or waits until its own time-out. */
  readonly cutDuring: 'resumes' | 'fails' | 'times out';
  /**
   * What it does after its session ended (404): the first call is made again in a new session, or fails and the second one opens one, or its user must.
   * Without sessions nothing ends: the gateway starts a child for the next call.
   */
  readonly ended: 'starts again' | 'fails once' | 'fails' | 'has no sessions';
}

export interface RealClient {
  /** SDK and era. */
  readonly name: string;
  readonly mode: 'legacy' | 'auto';
  readonly habits: Habits;
  start(url: string, token: string): Promise<DrivenClient>;
}

const legacy: Habits = {
  revision: '2025-11-25',
  asks: EVERY_QUESTION,
  level: true,
  cancels: true,
  cutDuring: 'resumes',
  ended: 'fails',
};
const modern: Habits = {
  revision: '2026-07-28',
  asks: EVERY_QUESTION,
  level: false,
  cancels: true,
  cutDuring: 'fails',
  ended: 'has no sessions',
};

const scripted =
  (kind: ScriptedKind): RealClient['start'] =>
  (url, token) =>
    ScriptedClient.start(kind, url, token);
const typescript =
  (kind: 'v1' | 'v2'): RealClient['start'] =>
  async (url, token) =>
    new TypescriptClient(kind, url, token);

/** Every official SDK's client, in each era that it knows. */
export const SDK_CLIENTS: readonly RealClient[] = [
  { name: 'TypeScript v1', mode: 'legacy', habits: legacy, start: typescript('v1') },
  { name: 'TypeScript v2', mode: 'legacy', habits: legacy, start: typescript('v2') },
  { name: 'Python', mode: 'legacy', habits: legacy, start: scripted('python') },
  { name: 'Go', mode: 'legacy', habits: legacy, start: scripted('go') },
  { name: 'Rust', mode: 'legacy', habits: { ...legacy, ended: 'starts again' }, start: scripted('rust') },
  {
    name: 'Java',
    mode: 'legacy',
    habits: { ...legacy, cancels: false, cutDuring: 'times out', ended: 'fails once' },
    start: scripted('java'),
  },
  {
    name: 'TypeScript v2, 2026-07-28',
    mode: 'auto',
    habits: { ...modern, cutDuring: 'times out' },
    start: typescript('v2'),
  },
  { name: 'Python, 2026-07-28', mode: 'auto', habits: modern, start: scripted('python') },
  { name: 'Go, 2026-07-28', mode: 'auto', habits: modern, start: scripted('go') },
  { name: 'Rust, 2026-07-28', mode: 'auto', habits: modern, start: scripted('rust') },
];

/** What the child asks in this conversation. */
export const QUESTIONS: Readonly<Record<(typeof EVERY_QUESTION)[number], object>> = {
  'sampling/createMessage': {
    messages: [{ role: 'user', content: { type: 'text', text: 'Say something.' } }],
    maxTokens: 10,
  },
  'elicitation/create': { message: 'Go on?', requestedSchema: { type: 'object', properties: {} } },
  'roots/list': {},
};
const ANSWERS: Readonly<Record<(typeof EVERY_QUESTION)[number], RegExp>> = {
  'sampling/createMessage': /sampled by \w+-client/,
  'elicitation/create': /"accept"/,
  'roots/list': /file:\/\/\/\w+-client/,
};

const textOf = (result: any): string => String(result?.content?.[0]?.text);
const call = (name: string, args: object = {}, more: object = {}): object => ({ name, arguments: args, ...more });

/** The child's own view of the conversation. */
async function stateOf(client: DrivenClient): Promise<{ pid: number; logLevel: string; cancelled: string }> {
  return JSON.parse(textOf(await client.must('call', call('state')))) as never;
}

/** Opens the session. */
export async function opens({ habits, mode }: RealClient, client: DrivenClient): Promise<void> {
  const { protocolVersion } = await client.must('initialize', { mode });
  expect(protocolVersion).to.equal(habits.revision);
}

/** Tools, a call, what the server asks, progress, log messages. */
export async function talks({ habits }: RealClient, client: DrivenClient): Promise<void> {
  expect(await client.must('tools')).to.include.members(['echo', 'ask', 'slow']);
  const text = 'a\u00a0b\u2028 👩‍👩‍👧';
  expect(textOf(await client.must('call', call('echo', { text })))).to.equal(text);
  for (const method of habits.asks) {
    const asked = await client.must('call', call('ask', { method, params: QUESTIONS[method] }));
    expect(textOf(asked)).to.match(ANSWERS[method]);
    // Some SDKs answer for the roots themselves.
    if (method !== 'roots/list') expect(asked.asked).to.deep.equal([method]);
  }
  const slow = await client.must('call', call('slow', { ms: 200, steps: 3 }, { progress: true }));
  // The last ones may be handled after the answer: an SDK may do both side by side.
  expect(slow.progress).to.deep.equal([1, 2, 3].slice(0, slow.progress.length)).and.not.have.length(0);
  if (!habits.level) return;
  await client.must('level', { level: 'info' });
  expect((await stateOf(client)).logLevel).to.equal('info');
  const told = await client.must('call', call('notify', { n: 3, everyMs: 20 }));
  expect(told.logged, 'log messages').to.be.within(1, 3);
}

/** A call that its user gives up. */
export async function cancels({ habits }: RealClient, client: DrivenClient): Promise<void> {
  const given = await client.do('call', call('slow', { ms: 3000, steps: 30 }, { cancel: true }));
  expect(given.ok, JSON.stringify(given)).to.equal(false);
  if (habits.cancels) {
    await until('the child is told', async () => (await stateOf(client)).cancelled !== '', 10_000);
  }
  expect(textOf(await client.must('call', call('echo', { text: 'after' })))).to.equal('after');
  if (!habits.cancels) expect((await stateOf(client)).cancelled).to.equal('');
}

/** Its connections are cut between two calls, and in the middle of one. */
export async function isCut({ habits }: RealClient, client: DrivenClient, proxy: CuttingProxy): Promise<void> {
  const { session } = proxy;
  expect(textOf(await client.must('call', call('echo', { text: 'before' })))).to.equal('before');
  await proxy.hangUp();
  expect(textOf(await client.must('call', call('echo', { text: 'again' })))).to.equal('again');
  proxy.forget();
  const timeoutMs = habits.cutDuring === 'times out' ? 5000 : 30_000;
  const running = client.do('call', call('slow', { ms: 1500, steps: 3 }, { progress: true, timeoutMs }));
  await until('the call is under way', async () =>
    proxy.of('tools/call').some(({ text }) => /"progress":1\b/.test(text)),
  );
  proxy.cut();
  const answer = await running;
  const said = JSON.stringify(answer);
  if (habits.cutDuring === 'resumes') expect(textOf(answer.result), said).to.equal('slept for 1500 ms');
  else expect(answer.ok, said).to.equal(false);
  expect(/timed? ?out/i.test(said), said).to.equal(habits.cutDuring === 'times out');
  expect(textOf(await client.must('call', call('echo', { text: 'on' })))).to.equal('on');
  expect(proxy.of('initialize'), 'new sessions').to.have.length(0);
  expect(proxy.exchanges.at(-1)?.session).to.equal(session);
}

/** Its child dies during a call, which ends with an error. */
export async function losesItsChild(client: DrivenClient): Promise<void> {
  const killed = await client.do('call', call('exit', { code: 3 }));
  expect(failed(killed), JSON.stringify(killed)).to.equal(true);
}

/** Its session has ended: the next call begins a new one, by itself or by its user's doing. */
export async function startsAgain(real: RealClient, client: DrivenClient, proxy: CuttingProxy): Promise<void> {
  const { session } = proxy;
  proxy.forget();
  const next = await client.do('call', call('echo', { text: 'anew' }));
  if (real.habits.ended === 'has no sessions') {
    expect(textOf(next.result), JSON.stringify(next)).to.equal('anew');
    return;
  }
  expect(proxy.exchanges.map(({ status }) => status)).to.include(404);
  expect(next.ok, JSON.stringify(next)).to.equal(real.habits.ended === 'starts again');
  if (real.habits.ended === 'fails') {
    const still = await client.do('call', call('echo', { text: 'anew' }));
    expect(still.ok, JSON.stringify(still)).to.equal(false);
    expect(proxy.of('initialize')).to.have.length(0);
    await opens(real, client);
  }
  expect(textOf(await client.must('call', call('echo', { text: 'anew' })))).to.equal('anew');
  expect(proxy.of('initialize'), 'sessions that were opened').to.have.length(1);
  expect(proxy.session).to.be.a('string').and.not.equal(session);
}

/** An error of the protocol's, or a tool's. */
function failed({ ok, result }: ClientAnswer): boolean {
  return !ok || result?.isError === true;
}
