/** Whether grants still live, remembered for a moment: a revoked one must end within seconds on every gateway, without a read for each request. */
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Choice, Scope, UserRef } from '../context';

/** What a request has to know of its grant. */
export interface LiveGrant {
  readonly id: string;
  readonly user: UserRef;
  readonly client: { readonly id: string };
  readonly resource: string;
  readonly scopes: readonly Scope[];
  readonly policy: Choice;
}

/** Reads a grant from the store; undefined where it has ended. Rejects with `STORE_UNAVAILABLE`. */
export type FindGrant<T extends LiveGrant = LiveGrant> = (id: string) => Promise<T | undefined>;

export interface LiveGrantsOptions<T extends LiveGrant = LiveGrant> {
  readonly find: FindGrant<T>;
  readonly clock: Clock;
  /** Milliseconds for which an answer is good; at most 2000. */
  readonly maxAge: number;
  /** Answers that are remembered. */
  readonly max: number;
}

interface Answer<T> {
  readonly grant: T | undefined;
  /** Monotonic milliseconds: the answer is as old as its question. */
  readonly asked: number;
}

/** Questions to the store that may wait at once. */
const MAX_PENDING = 1024;

export class LiveGrants<T extends LiveGrant = LiveGrant> {
  readonly #options: LiveGrantsOptions<T>;
  readonly #answers = new Map<string, Answer<T>>();
  readonly #pending = new Map<string, { readonly asked: number; readonly answer: Promise<Answer<T>> }>();

  constructor(options: LiveGrantsOptions<T>) {
    this.#options = options;
  }

  /**
   * The grant, at most `maxAge` old; with `fresh` as the store has it after this call began, for what lasts: a new session.
   * @throws AppError `STORE_UNAVAILABLE`, `OVERLOADED`.
   */
  async find(id: string, { fresh = false } = {}): Promise<T | undefined> {
    const { clock, maxAge } = this.#options;
    if (fresh) return (await this.#ask(id)).grant;
    const known = this.#answers.get(id);
    if (known !== undefined && clock.now() - known.asked < maxAge) return known.grant;
    const waiting = this.#pending.get(id);
    // A question that the store sits on for long is not joined: what it answers may be older than that.
    if (waiting !== undefined && clock.now() - waiting.asked < maxAge) return (await waiting.answer).grant;
    if (waiting === undefined && this.#pending.size >= MAX_PENDING) {
      throw new AppError('OVERLOADED', 'Too many logins are being checked at the moment. Try again in a second.', {
        retryAfter: 1,
      });
    }
    const question = { asked: clock.now(), answer: this.#ask(id) };
    this.#pending.set(id, question);
    try {
      return (await question.answer).grant;
    } finally {
      if (this.#pending.get(id) === question) this.#pending.delete(id);
    }
  }

  /** Drops what is remembered of a grant, and what is being asked: it was revoked or changed here. */
  forget(id: string): void {
    this.#answers.delete(id);
    this.#pending.delete(id);
  }

  /** Answers that are remembered now. */
  get size(): number {
    return this.#answers.size;
  }

  async #ask(id: string): Promise<Answer<T>> {
    const { find, clock, max } = this.#options;
    const asked = clock.now();
    const answer = { grant: await find(id), asked };
    // A slow answer must not take the place of a newer one.
    if ((this.#answers.get(id)?.asked ?? -Infinity) > asked) return answer;
    this.#answers.delete(id);
    this.#answers.set(id, answer);
    if (this.#answers.size > max) {
      const oldest = this.#answers.keys().next();
      if (!oldest.done) this.#answers.delete(oldest.value);
    }
    return answer;
  }
}
