/** The child's requests that wait for the client's answer: sampling, elicitation, roots. */
import type { Clock, Timer } from '../clock';
import type { MessageSink } from './contract';
import { encodeId } from './ids';

/** One request of the child. */
export interface Ask {
  /** The id that the client sees. */
  readonly key: string;
  /** JSON text of the child's id. */
  readonly childId: string;
  /** The stream that carries it; undefined until one took it. */
  sink: MessageSink | undefined;
  readonly deadline: number;
}

/**
 * The table of open requests, bounded in number and in time. Each gets an id of ours: a child may use one id twice, and what the client
 * answers must be an answer to something that this child asked and that is still open.
 */
export class Asks {
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #timeout: number;
  readonly #expired: (ask: Ask) => void;
  readonly #open = new Map<string, Ask>();
  #sequence: number;
  #timer: Timer | undefined;

  /**
   * @param timeout milliseconds; @param expired told of a request whose deadline has passed, after it was taken out; @param sequence the number before
   * the first.
   */
  constructor(clock: Clock, limit: number, timeout: number, expired: (ask: Ask) => void, sequence = 0) {
    this.#clock = clock;
    this.#limit = limit;
    this.#timeout = timeout;
    this.#expired = expired;
    this.#sequence = sequence;
  }

  /** Adds a request; undefined when too many are open. */
  add(childId: string): Ask | undefined {
    if (this.#open.size >= this.#limit) return undefined;
    this.#sequence += 1;
    const ask: Ask = {
      key: encodeId('r', '0', this.#sequence, childId),
      childId,
      sink: undefined,
      deadline: this.#clock.now() + this.#timeout,
    };
    this.#open.set(ask.key, ask);
    this.#timer ??= this.#clock.after(this.#timeout, () => this.#sweep());
    return ask;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Whether the request that the client knows by `key` is open. */
  has(key: string): boolean {
    return this.#open.has(key);
  }

  /** Takes the request out that the client knows by `key`. */
  take(key: string): Ask | undefined {
    const ask = this.#open.get(key);
    if (ask !== undefined) this.#open.delete(key);
    return ask;
  }

  /** Takes the newest request out that the child knows by `childId`. */
  takeByChildId(childId: string): Ask | undefined {
    let newest: Ask | undefined;
    for (const ask of this.#open.values()) if (ask.childId === childId) newest = ask;
    if (newest !== undefined) this.#open.delete(newest.key);
    return newest;
  }

  /** Forgets all and stops the timer. */
  clear(): void {
    this.#open.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** The oldest come first, because all have the same time. */
  #sweep(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    for (const ask of this.#open.values()) {
      if (ask.deadline > now) {
        this.#timer ??= this.#clock.after(ask.deadline - now, () => this.#sweep());
        return;
      }
      this.#open.delete(ask.key);
      this.#expired(ask);
    }
  }
}
