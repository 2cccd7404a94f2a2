/**
 * What a child was told that another child in its place must be told as well (MCP 'Lifecycle', 'Logging', 'Resources: Subscriptions'), so that a
 * session can sleep without one. Only what the child took counts.
 */
import { AppError, type ErrorCode } from '../errors';
import type { Channel, JsonRpcMessage, JsonRpcRequest, MessageSink } from './contract';
import { isObject } from './json';

/** What is remembered of a session, in the words of its client. */
export interface Remembered {
  /** The revision that was negotiated. */
  readonly protocolVersion: string;
  /** The parameters of `initialize`. */
  readonly initialize: Readonly<Record<string, unknown>>;
  readonly logLevel?: string;
  /** URIs of resources, the oldest first. */
  readonly subscriptions: readonly string[];
}

/** Characters, subscriptions, and characters of each that may be remembered of one session; of one that asks for more a child cannot be replaced. */
const MAX_LENGTH = 65_536;
const MAX_SUBSCRIPTIONS = 256;
const MAX_URI = 2_048;
/** Subscriptions that are taken out side by side when a child is told what the one before knew. */
const AT_ONCE = 16;

type Told = (message: JsonRpcMessage) => void;

export class Memory {
  #remembered: Remembered | undefined;
  #isOverfull = false;

  constructor(remembered?: Remembered) {
    this.#remembered = remembered;
  }

  /** What there is to tell; undefined before `initialize` was answered well, and where it is too much to be kept. */
  get remembered(): Remembered | undefined {
    return this.#isOverfull ? undefined : this.#remembered;
  }

  /** What is to be done with the answer to a request of the client's; undefined where nothing of it is remembered. */
  notes(request: JsonRpcRequest): Told | undefined {
    switch (request.method) {
      case 'initialize':
        return this.#onResult((result) => {
          if (!isObject(result) || typeof result.protocolVersion !== 'string') return;
          this.#set({ protocolVersion: result.protocolVersion, initialize: request.params ?? {}, subscriptions: [] });
        });
      case 'logging/setLevel':
        return this.#onResult(() => {
          const level = request.params?.level;
          if (typeof level === 'string') this.#change((now) => ({ ...now, logLevel: level }));
        });
      case 'resources/subscribe':
        return this.#onResult(() =>
          this.#subscriptions(request, (all, uri) => [...all.filter((one) => one !== uri), uri]),
        );
      case 'resources/unsubscribe':
        return this.#onResult(() => this.#subscriptions(request, (all, uri) => all.filter((one) => one !== uri)));
      default:
        return undefined;
    }
  }

  #onResult(take: (result: unknown) => void): Told {
    return (message) => {
      if ('result' in message) take(message.result);
    };
  }

  #subscriptions(request: JsonRpcRequest, change: (all: readonly string[], uri: string) => readonly string[]): void {
    const uri = request.params?.uri;
    if (typeof uri === 'string') this.#change((now) => ({ ...now, subscriptions: change(now.subscriptions, uri) }));
  }

  #change(to: (now: Remembered) => Remembered): void {
    if (this.#remembered !== undefined) this.#set(to(this.#remembered));
  }

  #set(remembered: Remembered): void {
    const { subscriptions } = remembered;
    this.#isOverfull =
      subscriptions.length > MAX_SUBSCRIPTIONS ||
      subscriptions.some(({ length }) => length > MAX_URI) ||
      JSON.stringify(remembered).length > MAX_LENGTH;
    this.#remembered = remembered;
  }
}

/**
 * Brings a new child to where the one before it was. Nothing of it reaches the client.
 * @throws AppError `WAKE_FAILED` where the child does not take it, or speaks another revision now; the channel is the caller's to close.
 */
export async function restore(channel: Channel, remembered: Remembered): Promise<void> {
  const { protocolVersion, initialize, logLevel, subscriptions } = remembered;
  const result = await ask(channel, 'initialize', initialize);
  if (!isObject(result) || result.protocolVersion !== protocolVersion) throw failed('it speaks another revision now');
  await channel.notify({ jsonrpc: '2.0', method: 'notifications/initialized' });
  // What the child refuses of these it refuses for good: a resource may be gone since.
  if (logLevel !== undefined) await ask(channel, 'logging/setLevel', { level: logLevel });
  for (let at = 0; at < subscriptions.length; at += AT_ONCE) {
    const some = subscriptions.slice(at, at + AT_ONCE);
    await Promise.all(some.map((uri) => ask(channel, 'resources/subscribe', { uri })));
  }
}

/** The child's result; undefined where it answers with an error. Every call has its deadline in the channel, and is answered. */
async function ask(channel: Channel, method: string, params: Readonly<Record<string, unknown>>): Promise<unknown> {
  let answer: JsonRpcMessage | undefined;
  let fault: ErrorCode | undefined;
  const sink: MessageSink = {
    send(message, _json, ours) {
      if ('method' in message) return undefined;
      answer = message;
      fault = ours;
      return undefined;
    },
  };
  await channel.call({ jsonrpc: '2.0', id: 'restore', method, params }, sink).catch((thrown: unknown) => {
    throw failed(`${method} could not be sent`, thrown);
  });
  if (answer === undefined || fault !== undefined) throw failed(`${method} was not answered (${fault ?? 'no answer'})`);
  return 'result' in answer ? answer.result : undefined;
}

function failed(detail: string, cause?: unknown): AppError {
  return new AppError(
    'WAKE_FAILED',
    'The session slept, and its server could not be brought back to where it was. Try again; if it stays, start a new session.',
    { detail: `the new child: ${detail}`, retryAfter: 5, ...(cause === undefined ? {} : { cause }) },
  );
}
