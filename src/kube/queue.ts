/**
 * A work queue of keys for level-triggered loops: a key says that something about a thing may be otherwise than it should be, never what. However often it is
 * added it is worked on once, by one worker at a time, and once more where it was added meanwhile. What fails comes back later and later.
 */
import type { Clock, Timer } from '../clock';

/** Works on one key. Resolves with the milliseconds after which to look again, undefined where an event will tell. What it throws is tried again. */
export type Reconcile = (key: string, signal: AbortSignal) => Promise<number | undefined>;

export interface QueueObserver {
  /** Keys that wait for a worker. */
  depth(keys: number): void;
  done(outcome: 'ok' | 'failed' | 'given-up', seconds: number): void;
  failed(key: string, thrown: unknown, tries: number): void;
}

export interface QueueOptions {
  readonly reconcile: Reconcile;
  readonly clock: Clock;
  /** Keys that are worked on at once. */
  readonly workers: number;
  /** Milliseconds after the first failure of a key, doubled with each further one, up to `backoffMaxMs`; a half of each wait is left to chance. */
  readonly backoffMinMs?: number;
  readonly backoffMaxMs?: number;
  readonly observer?: QueueObserver;
}

const BACKOFF_MIN_MS = 200;
const BACKOFF_MAX_MS = 120_000;
/** The longest that a timer is set for; a key that has longer to wait is looked at in between. */
const AFTER_MAX_MS = 3_600_000;

export class WorkQueue {
  readonly #options: QueueOptions;
  /** Keys that wait for a worker, oldest first. */
  readonly #ready = new Set<string>();
  readonly #working = new Set<string>();
  readonly #promises = new Set<Promise<void>>();
  /** Keys that were added while they were worked on. */
  readonly #again = new Set<string>();
  readonly #later = new Map<string, { readonly at: number; readonly timer: Timer }>();
  readonly #failures = new Map<string, number>();
  readonly #giveUp = new AbortController();
  #pumping = false;
  #stopped = false;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Keys that wait for a worker. */
  get depth(): number {
    return this.#ready.size + this.#again.size;
  }

  /** Whether there is nothing to do now, and nothing is being done. */
  get idle(): boolean {
    return this.depth === 0 && this.#working.size === 0;
  }

  /** Has a key worked on as soon as a worker is free. */
  add(key: string): void {
    if (this.#stopped) return;
    this.#forget(key);
    if (this.#working.has(key)) this.#again.add(key);
    else this.#ready.add(key);
    this.#pump();
  }

  /** The same after `ms`; the earliest of several such wishes counts, and a key that is worked on before then has no need of it. */
  addAfter(key: string, ms: number): void {
    if (this.#stopped) return;
    if (ms <= 0) return this.add(key);
    const { clock } = this.#options;
    const at = clock.now() + Math.min(ms, AFTER_MAX_MS);
    const set = this.#later.get(key);
    if (this.#ready.has(key) || this.#again.has(key) || (set !== undefined && set.at <= at)) return;
    set?.timer.cancel();
    this.#later.set(key, { at, timer: clock.after(at - clock.now(), () => this.add(key)) });
  }

  /**
   * Begins nothing any more. What is being worked on may go on for `ms`; then its signal aborts. Resolves when nothing is being worked on, with whether
   * all of it came to its end by itself.
   */
  async stop(ms: number): Promise<boolean> {
    this.#stopped = true;
    for (const { timer } of this.#later.values()) timer.cancel();
    this.#later.clear();
    this.#ready.clear();
    this.#again.clear();
    this.#told();
    const working = Promise.all(this.#promises);
    if (ms <= 0) this.#giveUp.abort();
    const deadline = this.#options.clock.after(ms, () => this.#giveUp.abort());
    await working;
    deadline.cancel();
    return !this.#giveUp.signal.aborted;
  }

  /** Begins what there are workers for, a moment later: what is added in one go is then seen as one. */
  #pump(): void {
    this.#told();
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      for (const key of this.#ready) {
        if (this.#working.size >= this.#options.workers) break;
        this.#ready.delete(key);
        this.#working.add(key);
        const work = this.#work(key).finally(() => this.#promises.delete(work));
        this.#promises.add(work);
      }
      this.#told();
    });
  }

  async #work(key: string): Promise<void> {
    const { reconcile, clock, observer } = this.#options;
    const { signal } = this.#giveUp;
    const began = clock.now();
    const seconds = (): number => (clock.now() - began) / 1000;
    let after: number | undefined;
    try {
      after = await reconcile(key, signal);
      this.#failures.delete(key);
      observer?.done('ok', seconds());
    } catch (thrown) {
      observer?.done(signal.aborted ? 'given-up' : 'failed', seconds());
      const tries = (this.#failures.get(key) ?? 0) + 1;
      this.#failures.set(key, tries);
      after = this.#backoff(tries);
      if (!signal.aborted) observer?.failed(key, thrown, tries);
    }
    this.#working.delete(key);
    if (this.#stopped) return;
    if (this.#again.delete(key)) this.#ready.add(key);
    else if (after !== undefined) this.addAfter(key, after);
    this.#pump();
  }

  #backoff(tries: number): number {
    const { backoffMinMs = BACKOFF_MIN_MS, backoffMaxMs = BACKOFF_MAX_MS } = this.#options;
    return Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(tries - 1, 30)) * (0.5 + Math.random() / 2);
  }

  /** What is worked on now has no need of being looked at later. */
  #forget(key: string): void {
    this.#later.get(key)?.timer.cancel();
    this.#later.delete(key);
  }

  #told(): void {
    this.#options.observer?.depth(this.depth);
  }
}
