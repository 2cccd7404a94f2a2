/**
 * What a child that was taken over still owes the clients of those who had it before: answers to their calls. The ids say which stream each belongs to; whoever holds
 * the child now hands it to that stream once its client asks for it, and keeps it until then, within bounds.
 */
import type { Clock, Timer } from '../clock';
import { AppError } from '../errors';
import type { DropReason, JsonRpcId, JsonRpcMessage, MessageSink } from './contract';
import { failureOf } from './failures';
import { decodeId, vouched } from './ids';
import type { Router } from './router';

/** Characters of answers that wait for their clients. In the place of one that has no room there is an error. */
const MAX_LENGTH = 1_048_576;
/** Answers that wait, and streams that are waited on. */
const MAX_COUNT = 256;

/** A call of a former holder, as its id tells. */
export interface StrayCall {
  readonly key: string;
  readonly stream: string;
  readonly id: JsonRpcId;
  readonly idText: string;
}

interface Kept {
  readonly stream: string;
  readonly message: JsonRpcMessage;
  readonly json: string;
}

interface Waiting {
  readonly sink: MessageSink;
  readonly settle: (answered: boolean) => void;
}

export interface StraysOptions {
  readonly clock: Clock;
  readonly router: Pick<Router, 'hand'>;
  readonly dropped: (why: DropReason) => void;
  /** Ids up to this number are those of former holders. */
  readonly before: number;
  /** Milliseconds in which the calls of former holders are over, one way or the other. */
  readonly timeout: number;
  /** Whether a stream may have more than one answer (batches, MCP 2025-03-26): it ends with its time then. */
  readonly batches: boolean;
}

export class Strays {
  readonly #options: StraysOptions;
  #kept: Kept[] = [];
  #length = 0;
  readonly #waiting = new Map<string, Waiting>();
  /** Requests of the child that were answered here although somebody else had passed them on. */
  readonly #answered = new Set<string>();
  #timer: Timer | undefined;

  constructor(options: StraysOptions) {
    this.#options = options;
    this.#timer = options.clock.after(options.timeout, () => this.close());
  }

  /** The call of a former holder that an id names; undefined where it names none that is still awaited. */
  callOf(key: string): StrayCall | undefined {
    const id = this.#timer === undefined ? undefined : decodeId(key);
    if (id?.kind !== 'i' || id.sequence > this.#options.before) return undefined;
    const original = vouched(id.original);
    return original === undefined ? undefined : { key, stream: id.stream, id: original.value, idText: original.text };
  }

  /** Takes the answer to a call of a former holder. */
  answer({ stream, id }: StrayCall, message: JsonRpcMessage, json: string): void {
    const waiting = this.#waiting.get(stream);
    if (waiting !== undefined) {
      this.#options.router.hand(waiting.sink, message, json, undefined, () => this.#options.dropped('stream-gone'));
      if (!this.#options.batches) this.#settle(stream, true);
      return;
    }
    if (this.#kept.length >= MAX_COUNT) return this.#options.dropped('late-answer');
    if (this.#length + json.length > MAX_LENGTH) {
      const failure = failureOf(id, lost());
      this.#kept.push({ stream, message: failure, json: JSON.stringify(failure) });
      return;
    }
    this.#length += json.length;
    this.#kept.push({ stream, message, json });
  }

  /** The stream of a former holder's call, where its client has come for it; for what the child says on the way to the answer. */
  streamOf(stream: string): MessageSink | undefined {
    return this.#waiting.get(stream)?.sink;
  }

  /**
   * The client of a former holder's stream has come for the rest of it. Resolves with whether its answer was handed over, once it was, or none can come; undefined
   * where none is awaited any more.
   */
  reclaim(stream: string, sink: MessageSink): Promise<boolean> | undefined {
    const kept = this.#kept.filter((each) => each.stream === stream);
    if (this.#timer === undefined || this.#waiting.size >= MAX_COUNT) return undefined;
    this.#kept = this.#kept.filter((each) => each.stream !== stream);
    this.#length = this.#kept.reduce((sum, { json }) => sum + json.length, 0);
    this.#settle(stream, false); // another connection has taken its place
    return new Promise((settle) => {
      this.#waiting.set(stream, { sink, settle });
      for (const { message, json } of kept) {
        this.#options.router.hand(sink, message, json, undefined, () => this.#options.dropped('stream-gone'));
      }
      if (kept.length > 0 && !this.#options.batches) this.#settle(stream, true);
    });
  }

  /** JSON text of the child's id, of a request that a former holder passed on to the client and that was not answered here yet. */
  askOf(key: string): string | undefined {
    const id = this.#timer === undefined ? undefined : decodeId(key);
    if (id?.kind !== 'r' || id.sequence > this.#options.before) return undefined;
    const original = vouched(id.original);
    if (original === undefined || this.#answered.has(key) || this.#answered.size >= MAX_COUNT) return undefined;
    this.#answered.add(key);
    return original.text;
  }

  /** Nothing more is awaited. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const stream of [...this.#waiting.keys()]) this.#settle(stream, this.#options.batches);
    for (const _each of this.#kept.splice(0)) this.#options.dropped('late-answer');
    this.#length = 0;
  }

  #settle(stream: string, answered: boolean): void {
    this.#waiting.get(stream)?.settle(answered);
    this.#waiting.delete(stream);
  }
}

function lost(): AppError {
  return new AppError(
    'ANSWER_LOST',
    'The server answered, but the answer could not be kept until the connection was back. What was asked for may have happened.',
  );
}
