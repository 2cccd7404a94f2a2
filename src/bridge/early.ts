/**
 * Requests of the child that came before its client had a stream for them. Children ask for roots the moment they are initialised, and a client opens
 * its GET stream a moment after that: such a request waits a little instead of being refused.
 */
import type { Clock, Timer } from '../clock';

/** Milliseconds that a request waits for a stream. */
const WAIT_MS = 10_000;
/** Characters of all that wait; what is more is refused at once. */
const MAX_LENGTH = 65_536;

interface Early {
  readonly length: number;
  readonly again: () => void;
  readonly giveUp: () => void;
  readonly until: number;
}

export class EarlyRequests {
  readonly #clock: Clock;
  #waiting: Early[] = [];
  #length = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Keeps a request of this length until a stream opens (`again`) or its time is up (`giveUp`); one of them is called once, none after {@link clear}.
   * Where there is no room it is given up at once.
   */
  hold(length: number, again: () => void, giveUp: () => void): void {
    if (this.#length + length > MAX_LENGTH) {
      giveUp();
      return;
    }
    this.#length += length;
    this.#waiting.push({ length, again, giveUp, until: this.#clock.now() + WAIT_MS });
    this.#timer ??= this.#clock.after(WAIT_MS, () => this.#sweep());
  }

  /** A stream has opened. */
  opened(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.clear();
    for (const { again } of waiting) again();
  }

  /** Forgets all and stops the timer. */
  clear(): void {
    this.#waiting = [];
    this.#length = 0;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** The oldest come first, because all have the same time. */
  #sweep(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    const late = this.#waiting.filter(({ until }) => until <= now);
    for (const { length } of late) this.#length -= length;
    this.#waiting = this.#waiting.filter(({ until }) => until > now);
    const [next] = this.#waiting;
    if (next !== undefined) this.#timer = this.#clock.after(next.until - now, () => this.#sweep());
    for (const { giveUp } of late) giveUp();
  }
}
