/** Keeps the store true behind the registry's back: what has happened is recorded even when the store is away for a while. */
import type { Clock, Timer } from '../clock';
import { AppError } from '../errors';
import type { EndReason, SessionChange, SessionRecord, SessionStore } from './ports';
import { ended, moved } from './refusals';
import { within } from './within';

/** Milliseconds for one call of the store. */
const STORE_DEADLINE_MS = 10_000;

/** Milliseconds between attempts, doubling up to the second. */
const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 30_000;

/** Sessions of which changes may wait for the store. Beyond that the oldest are given up: the next start puts those sessions right. */
const MAX_WAITING = 10_000;

/** What is to be recorded of one session; the last word counts, and nothing is said of a session after its end. */
type Change =
  | { readonly kind: 'end'; readonly reason: EndReason; readonly at: number }
  | { readonly kind: 'update'; readonly change: SessionChange };

/**
 * Told of a session of which nothing can be recorded any more.
 * @param ended why it has ended; undefined where it lives, and is another process's.
 */
type Lost = (name: string, ended: EndReason | undefined) => void;

export class Ledger {
  readonly #store: SessionStore;
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Change>();
  #writing: Promise<void> | undefined;
  /** The change that is on its way, so that no other one of the same session overtakes it. */
  #applying: { readonly name: string; readonly done: Promise<unknown> } | undefined;
  /** Of which nothing is written just now but by {@link write}. */
  readonly #held = new Set<string>();
  /** Those whose next write tells that they have their place. */
  readonly #admitted = new Set<string>();
  #retry: Timer | undefined;
  #pause = RETRY_FIRST_MS;
  readonly #over = new AbortController();

  readonly #lost: Lost;

  constructor(store: SessionStore, clock: Clock, lost: Lost = () => undefined) {
    this.#store = store;
    this.#clock = clock;
    this.#lost = lost;
  }

  /** Records a new session. Rejects with `STORE_UNAVAILABLE`; whether it was recorded is then unknown. */
  insert(record: SessionRecord): Promise<SessionRecord> {
    return this.#deadline(this.#store.insert(record));
  }

  /** A live read of a session that lives. Rejects with `STORE_UNAVAILABLE`. */
  async live(name: string): Promise<SessionRecord | undefined> {
    const record = await this.#deadline(this.#store.get(name));
    // An end that waits to be recorded is one all the same.
    return record?.state === 'ended' || this.#waiting.get(name)?.kind === 'end' ? undefined : record;
  }

  /** See {@link SessionStore.claim}. */
  claim(name: string, generation: number): Promise<SessionRecord | undefined> {
    return this.#deadline(this.#store.claim(name, generation));
  }

  /** Ends sleeping sessions whose time is up, and removes old records; a failure leaves them for the next time. */
  async tidy(now: number, keptFrom: number): Promise<void> {
    const { upkeep } = this.#store;
    if (upkeep === undefined) return;
    await this.#deadline(upkeep.expire(now)).catch(() => undefined);
    if (!this.#over.signal.aborted) await this.#deadline(upkeep.purge(keptFrom)).catch(() => undefined);
  }

  /** Keeps what changes of a session until {@link release}; its end is recorded all the same. What is on its way is waited for by {@link write}. */
  hold(name: string): void {
    this.#held.add(name);
  }

  /** From now on what is written of a session tells that it has its place, until it sleeps or ends. */
  admit(name: string): void {
    this.#admitted.add(name);
  }

  release(name: string): void {
    this.#held.delete(name);
    this.#begin();
  }

  /** Records an end, now or as soon as the store can. */
  end(name: string, reason: EndReason, at: number): void {
    this.#put(name, { kind: 'end', reason, at });
  }

  /** Records a change, now or as soon as the store can. */
  update(name: string, change: SessionChange): void {
    const before = this.#waiting.get(name);
    if (before?.kind === 'end') return;
    this.#put(name, { kind: 'update', change: { ...before?.change, ...change } });
  }

  /**
   * Records a change, and what waits of the same session with it. Rejects with `STORE_UNAVAILABLE`; whether it was recorded is then unknown, and it is not
   * tried again. Where nothing can be recorded of the session any more, it says so in its message: the session has ended, or is another
   * process's.
   */
  async write(name: string, change: SessionChange): Promise<void> {
    if (this.#applying?.name === name) await this.#applying.done;
    const before = this.#waiting.get(name);
    const whole = before?.kind === 'update' ? { ...before.change, ...change } : change;
    const isOurs = await this.#deadline(this.#store.update(name, this.#marked(name, whole)));
    if (before !== undefined && this.#waiting.get(name) === before && before.kind === 'update')
      this.#waiting.delete(name);
    if (isOurs) return;
    throw (await this.#lose(name)) ? ended() : moved();
  }

  /** Looks whether a session is this process's own still, because somebody else seems to have changed its record. Rejects with `STORE_UNAVAILABLE`. */
  async look(name: string, self: string): Promise<void> {
    const record = await this.#deadline(this.#store.get(name));
    if (record === undefined || record.state === 'ended') this.#lost(name, record?.endReason ?? 'removed');
    else if (record.holder !== undefined && record.holder !== self) this.#lost(name, undefined);
  }

  /** Makes one last attempt to write all that waits; nothing is tried again after it. Never rejects. */
  async stop(): Promise<void> {
    this.#over.abort();
    this.#cancelRetry();
    await this.#writing;
    await this.#write();
  }

  #cancelRetry(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
  }

  #put(name: string, change: Change): void {
    this.#waiting.delete(name);
    this.#waiting.set(name, change);
    if (this.#waiting.size > MAX_WAITING) {
      const [oldest] = this.#waiting.keys();
      if (oldest !== undefined) this.#waiting.delete(oldest);
    }
    this.#begin();
  }

  #begin(): void {
    const isIdle = this.#writing === undefined && this.#retry === undefined && !this.#over.signal.aborted;
    if (isIdle && [...this.#waiting].some(([name, change]) => this.#isReady(name, change))) this.#start();
  }

  #isReady(name: string, { kind }: Change): boolean {
    return kind === 'end' || !this.#held.has(name);
  }

  #marked(name: string, change: SessionChange): SessionChange {
    if (change.state === 'starting' || change.state === 'hibernated') this.#admitted.delete(name);
    return this.#admitted.has(name) ? { ...change, admitted: true } : change;
  }

  #start(): void {
    this.#retry = undefined;
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined;
      // What was put down when the last one was written already and this was not known yet.
      this.#begin();
    });
  }

  /** Writes what waits, one after the other, until all is written or the store fails. */
  async #write(): Promise<void> {
    for (const [name, change] of this.#waiting) {
      if (!this.#isReady(name, change)) continue;
      try {
        const applied = this.#deadline(this.#apply(name, change));
        this.#applying = { name, done: applied.catch(() => undefined) };
        await applied;
      } catch {
        this.#applying = undefined;
        if (!this.#over.signal.aborted) this.#retry = this.#clock.after(this.#pause, () => this.#start());
        this.#pause = Math.min(this.#pause * 2, RETRY_MOST_MS);
        return;
      }
      this.#applying = undefined;
      this.#pause = RETRY_FIRST_MS;
      if (this.#waiting.get(name) === change) this.#waiting.delete(name);
    }
  }

  async #apply(name: string, change: Change): Promise<void> {
    if (change.kind === 'end') {
      this.#admitted.delete(name);
      await this.#store.end(name, change.reason, change.at);
    } else if (!(await this.#store.update(name, this.#marked(name, change.change)))) await this.#lose(name);
  }

  /** Says of a session that nothing more can be recorded of it. Resolves with whether it has ended. */
  async #lose(name: string): Promise<boolean> {
    const record = await this.#deadline(this.#store.get(name));
    const isOver = record === undefined || record.state === 'ended';
    this.#lost(name, isOver ? (record?.endReason ?? 'removed') : undefined);
    return isOver;
  }

  #deadline<T>(work: Promise<T>): Promise<T> {
    return within(
      this.#clock,
      STORE_DEADLINE_MS,
      work,
      () =>
        new AppError(
          'STORE_UNAVAILABLE',
          'The gateway cannot look sessions up at the moment. Try again in a few seconds.',
          {
            detail: 'the session store did not answer in time',
            retryAfter: 5,
          },
        ),
    );
  }
}
