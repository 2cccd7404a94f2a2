/**
 * Whose question is it? stdio does not say which call a request of the child belongs to, and in the stateless era a question must go out as the
 * answer to the very call that it belongs to. It is never guessed:
 *
 * - With one call at work that may ask, it is that call's. With several it waits until all but one of them have been answered; where that takes too
 *   long it is nobody's, and the child is told so.
 * - While a question waits, no further call that may ask is let through: those at work are the only ones that could have asked.
 * - What has asked once is likely to ask again, so it is let through when it is the only one at work, and is alone until it is answered or has asked.
 * - A call whose client was asked stands still. One that was withdrawn counts as at work until the child has shown that it knows.
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
const QUESTION_MS = 15_000;
/**
 * Milliseconds after which a call is let through all the same: it may have to wait with a question, but it runs. Long enough that those which had to
 * wait for a question that was nobody's come one by one after it, instead of all at once.
 */
const ENTER_MS = 60_000;
/** What is remembered to have asked. */
const MAX_KNOWN = 1024;

interface Waiting {
  readonly question: Question;
  readonly timer: Timer;
}

interface Queued {
  readonly running: Running;
  readonly go: (entered: boolean) => void;
}

export class Askers {
  readonly #options: AskersOptions;
  /** Calls at work that may ask. */
  readonly #working = new Set<Running>();
  /** Calls whose clients were asked. */
  readonly #parked = new Set<Running>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #queue = new Set<Queued>();
  readonly #known = new Set<string>();
  #departing = 0;

  constructor(options: AskersOptions) {
    this.#options = options;
  }

  /** Whether a call was withdrawn of which the child may not know yet. */
  get departing(): boolean {
    return this.#departing > 0;
  }

  /**
   * Lets a call through, or one whose client came back. Resolves with true when it counts as at work; with false when `signal` aborted before. Waits
   * at most {@link ENTER_MS}; rejects never.
   */
  enter(running: Running, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    if (this.#queue.size === 0 && this.#mayEnter(running)) {
      this.#admit(running);
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const leave = (entered: boolean): void => {
        this.#queue.delete(queued);
        timer.cancel();
        signal.removeEventListener('abort', gone);
        if (entered) this.#admit(running);
        resolve(entered);
      };
      const gone = (): void => {
        leave(false);
        this.#settle();
      };
      const queued = { running, go: leave };
      const timer = this.#options.clock.after(ENTER_MS, () => {
        leave(true);
        this.#settle();
      });
      signal.addEventListener('abort', gone);
      this.#queue.add(queued);
    });
  }

  /** A call's client was asked. */
  park(running: Running): void {
    this.#working.delete(running);
    this.#parked.add(running);
    this.#settle();
  }

  /** A call is over. */
  remove(running: Running): void {
    const working = this.#working.delete(running);
    const parked = this.#parked.delete(running);
    if (working || parked) this.#settle();
  }

  /** A call was withdrawn; the child knows once `known` has resolved, which it must. */
  depart(known: Promise<unknown>): void {
    this.#departing += 1;
    void known.then(() => {
      this.#departing -= 1;
      this.#settle();
    });
  }

  ask(question: Question): void {
    const timer = this.#options.clock.after(QUESTION_MS, () => {
      this.#waiting.delete(question.key);
      for (const { target } of this.#working) this.#learn(target);
      this.#options.lost(question);
      this.#settle();
    });
    this.#waiting.set(question.key, { question, timer });
    this.#settle();
  }

  /** The child wants no answer any more; false where the question is somebody's already. */
  withdraw(key: string): boolean {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) return false;
    this.#take(waiting);
    this.#settle();
    return true;
  }

  close(): void {
    for (const waiting of [...this.#waiting.values()]) this.#take(waiting);
    for (const { go } of [...this.#queue]) go(true);
    this.#working.clear();
    this.#parked.clear();
  }

  /** Gives questions to whom they belong, and lets through who may go. */
  #settle(): void {
    if (this.#departing === 0 && this.#working.size < 2) {
      const [asking] = this.#working.size === 1 ? this.#working : this.#parked.size === 1 ? this.#parked : [];
      for (const waiting of [...this.#waiting.values()]) {
        this.#take(waiting);
        if (asking === undefined) {
          this.#options.lost(waiting.question);
        } else {
          this.#learn(asking.target);
          this.#options.found(asking, waiting.question);
        }
      }
    }
    for (const { running, go } of [...this.#queue]) {
      if (!this.#mayEnter(running)) break;
      go(true);
    }
  }

  #mayEnter({ target }: Running): boolean {
    if (this.#waiting.size > 0) return false;
    if (this.#known.has(target)) return this.#working.size === 0;
    for (const working of this.#working) if (this.#known.has(working.target)) return false;
    return true;
  }

  #admit(running: Running): void {
    this.#parked.delete(running);
    this.#working.add(running);
  }

  #take({ question, timer }: Waiting): void {
    this.#waiting.delete(question.key);
    timer.cancel();
  }

  #learn(target: string): void {
    if (this.#known.size < MAX_KNOWN) this.#known.add(target);
  }
}
