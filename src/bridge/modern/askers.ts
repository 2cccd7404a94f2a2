/**
 * Whose question is it? stdio does not say which call a request of the child belongs to, and in the stateless era a question must go out as the
 * answer to the very call that it belongs to. With one call that could have asked it is that call's. With several the question waits, and no further
 * call that may ask is let through, until the others are answered: those that ask cannot be, so they are what is left.
 */
import type { Clock, Timer } from '../../clock';
import type { Running } from './running';

/** A request of the child that is not yet anybody's. */
export interface Question {
  /** The id that answers it at the channel. */
  readonly key: string;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

export interface AskersOptions {
  readonly clock: Clock;
  /** Told whose a question is. */
  readonly found: (running: Running, question: Question) => void;
  /** Told of a question that is nobody's, or of which it cannot be said. */
  readonly lost: (question: Question) => void;
}

/** Milliseconds for which a question waits for the other calls to be answered. */
const WAIT_MS = 30_000;

export class Askers {
  readonly #options: AskersOptions;
  /** Calls that may ask, the oldest first. */
  readonly #calls = new Set<Running>();
  readonly #waiting = new Map<string, Question>();
  #held: (() => void)[] = [];
  #timer: Timer | undefined;

  constructor(options: AskersOptions) {
    this.#options = options;
  }

  /** Resolves when a further call that may ask can be let through; rejects never. */
  admit(): Promise<void> {
    if (this.#waiting.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#held.push(resolve));
  }

  add(running: Running): void {
    this.#calls.add(running);
  }

  /** A call was answered, parked or withdrawn. */
  changed(running: Running, isOver: boolean): void {
    if (isOver) this.#calls.delete(running);
    this.#settle();
  }

  ask(question: Question): void {
    this.#waiting.set(question.key, question);
    this.#timer ??= this.#options.clock.after(WAIT_MS, () => this.#giveUp());
    this.#settle();
  }

  /** The child wants no answer any more; false where the question is somebody's already. */
  withdraw(key: string): boolean {
    const found = this.#waiting.delete(key);
    if (found) this.#settle();
    return found;
  }

  close(): void {
    this.#calls.clear();
    this.#waiting.clear();
    this.#release();
  }

  #settle(): void {
    const waiting = [...this.#waiting.values()];
    if (waiting.length > 0) {
      const asking = [...this.#calls].filter(({ parked }) => !parked);
      const parked = [...this.#calls].filter(({ parked: isParked }) => isParked);
      if (asking.length === 1) this.#give(waiting, () => asking[0]);
      else if (asking.length > 1 && waiting.length >= asking.length) {
        // All of them ask, so all of them stand still: they are taken in the order in which they began.
        this.#give(waiting, (at) => asking[Math.min(at, asking.length - 1)]);
      } else if (asking.length === 0) this.#give(waiting, () => (parked.length === 1 ? parked[0] : undefined));
    }
    if (this.#waiting.size === 0) this.#release();
  }

  #give(waiting: readonly Question[], whose: (at: number) => Running | undefined): void {
    this.#waiting.clear();
    for (const [at, question] of waiting.entries()) {
      const running = whose(at);
      if (running === undefined) this.#options.lost(question);
      else this.#options.found(running, question);
    }
  }

  #giveUp(): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const question of waiting) this.#options.lost(question);
    this.#release();
  }

  #release(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const held = this.#held;
    this.#held = [];
    for (const go of held) go();
  }
}
