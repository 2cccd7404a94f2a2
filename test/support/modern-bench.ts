/** Conversations of the stateless era over a fake child of either era. */
import { expect } from 'chai';
import type { Conversation } from '../../src/bridge/modern/contract';
import { CLIENT_CAPABILITIES, PROTOCOL_VERSION } from '../../src/bridge/modern/meta';
import { openConversation, type OpenOptions } from '../../src/bridge/modern/open';
import type { StateSeal } from '../../src/bridge/modern/state';
import { stateSeal } from './state-seal';
import type { JsonRpcId, JsonRpcRequest } from '../../src/bridge/contract';
import type { ChannelOptions } from '../../src/bridge/channel';
import { openBench, type Bench } from './channel';
import type { FakeClock, FakeLink } from './fake-link';
import { FakeSink, settle, type Sent } from './fake-link';

export const ALL = { elicitation: { form: {}, url: {} }, sampling: { tools: {} }, roots: {} };
export const FORM = { message: 'Who?', requestedSchema: { type: 'object', properties: {} } };
export const SERVER = { name: 'fake', version: '1' };
export const VERSIONS = ['2026-07-28', '2025-11-25'];

/** What a child of the old era answers by itself; a test adds to it and takes away. */
export const LEGACY: Readonly<Record<string, unknown>> = {
  initialize: {
    protocolVersion: '2025-11-25',
    capabilities: {
      tools: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      logging: {},
      tasks: {},
    },
    serverInfo: SERVER,
    instructions: 'Be kind.',
  },
  ping: {},
  'logging/setLevel': {},
  'resources/subscribe': {},
  'resources/unsubscribe': {},
};

/** What a child of the stateless era answers by itself. */
export const MODERN: Readonly<Record<string, unknown>> = {
  'server/discover': {
    resultType: 'complete',
    supportedVersions: ['2026-07-28'],
    capabilities: { tools: { listChanged: true } },
    _meta: { 'io.modelcontextprotocol/serverInfo': SERVER },
  },
};

export interface Served {
  readonly sink: FakeSink;
  /** Resolves with `served`, or with what was thrown. */
  readonly done: Promise<unknown>;
  /** The client closes its stream. */
  readonly close: () => void;
  /** The answer, once there is one. */
  readonly answer: () => any;
}

export interface ModernBench extends Bench {
  readonly conversation: Conversation;
  /** Methods that the child answers by itself. */
  readonly answers: Record<string, unknown>;
  readonly learned: string[];
  readonly seal: StateSeal;
  serve(request: JsonRpcRequest, sink?: FakeSink, signal?: AbortController): Served;
  /** The requests and notifications of a method that the child got. */
  sent(method: string): Sent[];
}

export interface BenchOptions {
  readonly era?: OpenOptions['era'];
  readonly answers?: Readonly<Record<string, unknown>>;
  /** Errors that the child answers with. */
  readonly errors?: Readonly<Record<string, object>>;
  /** Told of the bench before the conversation begins. */
  readonly before?: (bench: Bench) => void;
  readonly capabilities?: object;
  readonly options?: Partial<OpenOptions>;
  readonly channel?: Partial<ChannelOptions>;
}

/** A request with the metadata that each has. */
export function modernRequest(
  id: JsonRpcId,
  method: string,
  params: Record<string, unknown> = {},
  meta: object = {},
): JsonRpcRequest {
  const own = { [PROTOCOL_VERSION]: '2026-07-28', [CLIENT_CAPABILITIES]: ALL };
  return { jsonrpc: '2.0', id, method, params: { ...params, _meta: { ...own, ...meta } } };
}

/** The call of a tool. */
export function toolCall(id: JsonRpcId, name = 'work', more: Record<string, unknown> = {}, meta = {}): JsonRpcRequest {
  return modernRequest(id, 'tools/call', { name, arguments: {}, ...more }, meta);
}

/** Begins a conversation with a fake child. */
export async function modernBench(what: BenchOptions = {}): Promise<ModernBench> {
  const bench = openBench(what.channel);
  const { link, clock, channel } = bench;
  const answers: Record<string, unknown> = { ...(what.answers ?? (what.era === 'modern' ? MODERN : LEGACY)) };
  const learned: string[] = [];
  link.onMessage = (message) => {
    const { id, method } = message;
    const error = what.errors?.[method];
    if (id === undefined || method === undefined) return;
    if (error !== undefined) link.say({ jsonrpc: '2.0', id, error });
    else if (Object.hasOwn(answers, method)) link.reply(message, answers[method]);
  };
  what.before?.(bench);
  const seal = stateSeal(clock);
  const conversation = await openConversation(channel, {
    clock,
    seal,
    audience: 'alice',
    client: { capabilities: what.capabilities ?? ALL, info: { name: 'client', version: '1' } } as OpenOptions['client'],
    era: what.era ?? 'legacy',
    versions: VERSIONS,
    callTimeout: 60,
    maxParked: 4,
    probeMs: 5_000,
    learned: (era) => learned.push(era),
    ...what.options,
  });
  channel.listen(conversation.rest);
  void channel.ended.then(() => conversation.close());
  return {
    ...bench,
    conversation,
    answers,
    learned,
    seal,
    sent: (method) => link.sent.filter((message) => message.method === method),
    serve(request, sink = new FakeSink(), abort = new AbortController()) {
      const done = conversation.serve(channel, request, sink, abort.signal).then(
        () => 'served',
        (thrown: unknown) => thrown,
      );
      return {
        sink,
        done,
        close: () => abort.abort(),
        answer: () => sink.messages.find((message) => !('method' in message)),
      };
    },
  };
}

/** Lets questions that belong together gather and go out. */
export async function gather({ clock }: { readonly clock: FakeClock }): Promise<void> {
  await settle();
  clock.advance(20);
  await settle();
}

/** The child is killed, and nothing is left of the conversation. @param patience milliseconds that what is under way may wait for its own end. */
export async function leavesNothing(bench: ModernBench, patience: number): Promise<void> {
  bench.link.exit({ reason: 'killed' });
  await bench.channel.ended;
  await settle();
  expect(bench.conversation).to.include({ busy: false, closed: true });
  expect(bench.observer.faults).to.deep.equal([]);
  bench.clock.advance(patience);
  expect(bench.clock.timers).to.equal(0);
}

let asked = 0;

/** The child asks for something. Returns the id under which it asks. */
export function ask(link: FakeLink, method = 'elicitation/create', params: object = FORM): string {
  asked += 1;
  const id = `ask-${String(asked)}`;
  link.say({ jsonrpc: '2.0', id, method, params });
  return id;
}

/** What the child was answered under an id of its own. */
export function answerTo(link: FakeLink, id: string): any {
  return link.sent.find((message) => message.id === id && message.method === undefined);
}

/** The request again with answers to all that it was asked, each `given`. */
export function retry(request: JsonRpcRequest, id: JsonRpcId, answer: any, given: unknown = ACCEPTED): JsonRpcRequest {
  const { inputRequests = {}, requestState } = answer.result;
  const inputResponses = Object.fromEntries(Object.keys(inputRequests as object).map((key) => [key, given]));
  return { ...request, id, params: { ...request.params, inputResponses, requestState } };
}

export const ACCEPTED = { action: 'accept', content: { name: 'alice' } };
