/** A child that may do anything: answer well, late, twice, wrongly or never, ask, chatter, print rubbish, and end. */
import type { FakeLink, Sent } from '../support/fake-link';
import { checkHeard } from './canaries';
import { later } from './client';

/** What it does with one message. The well-behaved stand oftener. */
const MOODS = [
  'answer',
  'answer',
  'answer',
  'answer',
  'answer',
  'late',
  'late',
  'progress',
  'notify',
  'ask',
  'twice',
  'error',
  'never',
  'malformed',
  'noise',
  'pieces',
  'batch',
  'long',
  'foreign-id',
  'input',
  'exit',
] as const;

export interface HauntedChild {
  /** Its own word, in everything that it says of itself. */
  readonly canary: string;
  readonly user: string;
  /** What it heard that it should not have; empty when all is well. */
  readonly wrongs: Error[];
}

/** @param choose the next choice of the run, a natural number. */
export function haunt(link: FakeLink, user: string, canary: string, choose: () => number): HauntedChild {
  const child: HauntedChild = { canary, user, wrongs: [] };
  link.onMessage = (message) => {
    try {
      checkHeard(JSON.stringify(message), user);
    } catch (thrown) {
      child.wrongs.push(thrown as Error);
    }
    if (message.method === undefined) return;
    if (message.id === undefined) {
      if (choose() % 4 === 0) ask(link, canary, choose());
      return;
    }
    if (message.method === 'server/discover' && choose() % 2 === 0) discover(link, message, canary);
    else if (message.method === 'initialize') initialize(link, message, canary, choose());
    else act(link, message, canary, MOODS[choose() % MOODS.length] ?? 'answer', choose());
  };
  return child;
}

function initialize(link: FakeLink, message: Sent, canary: string, choice: number): void {
  const asked = message.params?.protocolVersion;
  const result = {
    protocolVersion: typeof asked === 'string' ? asked : '2025-11-25',
    capabilities: {
      tools: { listChanged: true },
      resources: { subscribe: true },
      prompts: {},
      logging: {},
      completions: {},
    },
    serverInfo: { name: canary, version: '1' },
    instructions: canary,
  };
  const odd = choice % 40;
  if (odd === 0) say(link, { id: message.id, error: { code: -32603, message: canary } });
  else if (odd === 1) link.exit({ reason: 'exited', code: 1 });
  else if (odd === 2) say(link, { id: message.id, result: null });
  else if (odd === 3) later(3, () => say(link, { id: message.id, result }));
  else if (odd === 5) push(link, `${JSON.stringify(MALFORMED[choice % MALFORMED.length]?.(message.id))}\n`);
  else say(link, { id: message.id, result });
  if (odd === 4) say(link, { id: message.id, result });
}

/** A child that speaks 2026-07-28 itself. */
function discover(link: FakeLink, message: Sent, canary: string): void {
  const result = {
    resultType: 'complete',
    supportedVersions: ['2026-07-28'],
    capabilities: { tools: { listChanged: true } },
    serverInfo: { name: canary, version: '1' },
    ttlMs: 0,
    cacheScope: 'private',
  };
  say(link, { id: message.id, result });
}

function act(link: FakeLink, message: Sent, canary: string, mood: (typeof MOODS)[number], choice: number): void {
  const answer = { jsonrpc: '2.0', id: message.id, result: { canary, method: message.method, params: message.params } };
  const text = `${JSON.stringify(answer)}\n`;
  switch (mood) {
    case 'answer':
      return push(link, text);
    case 'late':
      return later(choice % 12, () => push(link, text));
    case 'progress': {
      const token = (message.params?._meta as { progressToken?: unknown } | undefined)?.progressToken;
      for (let progress = choice % 4; progress > 0; progress -= 1) {
        const mark = message.params?.mark;
        say(link, { method: 'notifications/progress', params: { progressToken: token, progress, message: mark } });
      }
      return later(choice % 3, () => push(link, text));
    }
    case 'notify':
      say(link, { method: 'notifications/message', params: { level: 'info', data: canary } });
      say(link, { method: 'notifications/tools/list_changed', params: { canary } });
      return push(link, text);
    case 'ask':
      ask(link, canary, choice);
      return later(choice % 6, () => push(link, text));
    case 'twice':
      return push(link, text + text);
    case 'error':
      return say(link, {
        id: message.id,
        error: { code: CODES[choice % CODES.length], message: canary, data: { canary } },
      });
    case 'never':
      return;
    case 'malformed':
      return push(link, `${JSON.stringify(MALFORMED[choice % MALFORMED.length]?.(message.id))}\n`);
    case 'noise':
      return push(link, `${NOISE[choice % NOISE.length] ?? ''}\n${text}`);
    case 'pieces': {
      const bytes = Buffer.from(text);
      const size = 1 + (choice % 40);
      for (let at = 0; at < bytes.length; at += size) push(link, bytes.subarray(at, at + size));
      return;
    }
    case 'batch': {
      const note = { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: canary } };
      return push(link, `${JSON.stringify([note, answer, null, answer])}\n`);
    }
    case 'long':
      return say(link, { id: message.id, result: { canary, pad: 'x'.repeat(2 ** (10 + (choice % 9))) } });
    case 'foreign-id':
      say(link, { id: FOREIGN[choice % FOREIGN.length], result: { canary } });
      return push(link, text);
    case 'input': {
      const inputRequests = { q: { method: 'elicitation/create', params: { mode: 'form', message: canary } } };
      return say(link, {
        id: message.id,
        result: { resultType: 'input_required', inputRequests, requestState: canary },
      });
    }
    case 'exit':
      return link.exit({ reason: choice % 2 === 0 ? 'exited' : 'oom', code: 1 });
  }
}

/** Errors that a child may answer with, those of the new era among them. */
const CODES = [-32601, -32602, -32002, -32042, -32021, -32700, 0, 1.5, 2 ** 40];

const MALFORMED: readonly ((id: string) => unknown)[] = [
  (id) => ({ jsonrpc: '2.0', id }),
  (id) => ({ jsonrpc: '2.0', id, result: {}, error: { code: 1, message: 'both' } }),
  (id) => ({ jsonrpc: '2.0', id, error: 'no object' }),
  (id) => ({ jsonrpc: '1.0', id, result: [] }),
  (id) => ({ id, result: 'no object' }),
  (id) => ({ jsonrpc: '2.0', id, error: { code: 'x', message: 7 } }),
  (id) => ({ jsonrpc: '2.0', id, method: 7, result: {} }),
];

const NOISE = [
  'starting ...',
  '{broken',
  '[]',
  '\u0000\u0001',
  '{"jsonrpc":"2.0"}',
  '\ufeff{}',
  '{"jsonrpc":"2.0","method":7}',
  '[[{}]]',
];

const FOREIGN = ['i0.1.n1', 'i0.2.n1', 'g0.1.n1', 'r0.1.n1', 'p0.1.n1', '', 0, null, {}];

const ASKS = ['sampling/createMessage', 'elicitation/create', 'roots/list', 'ping', 'no/such'];

function ask(link: FakeLink, canary: string, choice: number): void {
  const id = choice % 3 === 0 ? choice % 5 : `ask-${String(choice % 5)}`;
  say(link, {
    id,
    method: ASKS[choice % ASKS.length],
    params: { message: canary, mode: 'form', messages: [], maxTokens: 1 },
  });
}

function say(link: FakeLink, message: object): void {
  push(link, `${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
}

/** A child that has gone says nothing more. */
function push(link: FakeLink, bytes: Buffer | string): void {
  if (link.running) link.push(bytes);
}
