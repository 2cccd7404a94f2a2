/** The client's calls that wait for the child's answer. */
import type { Clock, Timer } from '../clock';
import type { JsonRpcId, JsonRpcRequest, MessageSink } from './contract';
import { encodeId } from './ids';
import { isObject } from './json';
import { methodLabel } from './methods';

/** One call in flight. */
export interface Call {
  /** The id that the child sees. */
  readonly key: string;
  /** The client's id, and its JSON text. */
  readonly id: JsonRpcId;
  readonly idText: string;
  readonly initialize: boolean;
  /** A stream without an end of its own; what the child says to nobody in particular is not for it. */
  readonly endless: boolean;
  readonly label: string;
  readonly sink: MessageSink;
  /** Monotonic milliseconds. */
  readonly began: number;
  readonly deadline: number;
  readonly tokenKey: string | undefined;
  /** JSON text of the client's progress token. */
  readonly tokenText: string | undefined;
  /** The sink rejected: what is left for it is dropped. */
  gone: boolean;
  /** Resolves the caller's promise. */
  readonly settle: () => void;
}

export interface CallDeadlines {
  /** Milliseconds. */
  readonly call: number;
  readonly initialize: number;
}

/**
 * The table of calls, by the child's id and by the child's progress token. All deadlines share one timer, which is not touched when a call
 * ends in time: on the hot path a deadline costs a number.
 */
export class Calls {
  readonly #clock: Clock;
  readonly #deadlines: CallDeadlines;
  readonly #expired: (call: Call) => void;
  readonly #byKey = new Map<string, Call>();
  readonly #byToken = new Map<string, Call>();
  #sequence: number;
  #endless = 0;
  #timer: Timer | undefined;
  #timerAt = Infinity;

  /** @param expired told of a call whose deadline has passed, after it was taken out; @param sequence the number before the first. */
  constructor(clock: Clock, deadlines: CallDeadlines, expired: (call: Call) => void, sequence = 0) {
    this.#clock = clock;
    this.#deadlines = deadlines;
    this.#expired = expired;
    this.#sequence = sequence;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** The call that began last and whose stream is there, for what the child says to nobody in particular. */
  newest(except: ReadonlySet<MessageSink>): Call | undefined {
    let newest: Call | undefined;
    for (const call of this.#byKey.values()) if (!call.gone && !call.endless && !except.has(call.sink)) newest = call;
    return newest;
  }

  /** The call in flight when there is exactly one, streams without an end aside. */
  only(): Call | undefined {
    if (this.#byKey.size - this.#endless !== 1) return undefined;
    for (const call of this.#byKey.values()) if (!call.endless) return call;
    return undefined;
  }

  add(request: JsonRpcRequest, sink: MessageSink, settle: () => void, endless = false): Call {
    this.#sequence += 1;
    const stream = sink.stream ?? '0';
    const idText = JSON.stringify(request.id);
    const initialize = request.method === 'initialize';
    const began = this.#clock.now();
    const usual = initialize ? this.#deadlines.initialize : this.#deadlines.call;
    const deadline = endless ? Infinity : began + usual;
    const meta = request.params?._meta;
    const token = isObject(meta) && meta.progressToken !== undefined ? JSON.stringify(meta.progressToken) : undefined;
    // A task's progress goes on after the answer that created it (MCP 2025-11-25, 'Tasks').
    const kind = isObject(request.params?.task) ? 't' : 'p';
    const call: Call = {
      key: encodeId('i', stream, this.#sequence, idText),
      id: request.id,
      idText,
      initialize,
      endless,
      label: methodLabel(request.method),
      sink,
      began,
      deadline,
      tokenKey: token === undefined ? undefined : encodeId(kind, stream, this.#sequence, token),
      tokenText: token,
      gone: false,
      settle,
    };
    this.#byKey.set(call.key, call);
    if (endless) this.#endless += 1;
    if (call.tokenKey !== undefined) this.#byToken.set(call.tokenKey, call);
    if (deadline < this.#timerAt) this.#arm(deadline, began);
    return call;
  }

  get(key: string): Call | undefined {
    return this.#byKey.get(key);
  }

  byToken(key: string): Call | undefined {
    return this.#byToken.get(key);
  }

  /** The calls that carry this id of the client's. */
  byClientId(idText: string): readonly Call[] {
    return [...this.#byKey.values()].filter((call) => call.idText === idText);
  }

  /** Takes a call out; false when it was out already. */
  delete(call: Call): boolean {
    if (call.tokenKey !== undefined) this.#byToken.delete(call.tokenKey);
    const found = this.#byKey.delete(call.key);
    if (found && call.endless) this.#endless -= 1;
    return found;
  }

  /** Takes all calls out. */
  drain(): readonly Call[] {
    const calls = [...this.#byKey.values()];
    this.#byKey.clear();
    this.#byToken.clear();
    this.#endless = 0;
    return calls;
  }

  /** Stops the timer. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Infinity;
  }

  #arm(at: number, now: number): void {
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.after(Math.max(0, at - now), () => this.#sweep());
  }

  #sweep(): void {
    this.#timerAt = Infinity;
    const now = this.#clock.now();
    let next = Infinity;
    for (const call of this.#byKey.values()) {
      if (call.deadline > now) {
        next = Math.min(next, call.deadline);
      } else {
        this.delete(call);
        this.#expired(call);
      }
    }
    if (next < this.#timerAt) this.#arm(next, now);
  }
}
