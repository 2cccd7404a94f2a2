/**
 * Places among the caps that all processes of an install have in common: the record first, then the place. What is seen of the records decides where that is certain; before
 * anybody is refused they are read.
 */
import type { Clock, Timer } from '../clock';
import { AppError } from '../errors';
import { type Asker, Census, type CensusLimits, type Verdict } from './census';
import type { SessionView } from './ports';

/** Milliseconds for a record to be seen, and for those who asked before to be told; then it is decided by what is read. */
const PATIENCE_MS = 2_000;

/** Why there is no place. */
export interface Out extends Omit<Extract<Verdict, { code: unknown }>, 'kind'> {
  readonly kind: 'out';
}

export interface AdmissionOptions extends CensusLimits {
  readonly view: SessionView;
  readonly clock: Clock;
}

interface Asking {
  readonly asker: Asker;
  readonly timer: Timer;
  readonly settle: (outcome: Out | AppError | undefined) => void;
  /** It is decided by the next read, whatever that shows. */
  isLate: boolean;
  /** It waits for a read. */
  isRead: boolean;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #asking = new Map<string, Asking>();
  readonly #granted = new Set<string>();
  #isDue = false;
  #reading: Promise<Census> | undefined;
  #next: Promise<Census> | undefined;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    options.view.onSeen(() => this.#soon());
  }

  /** Whether there is a place for one whose record is not written yet, so that what is refused all the time costs no writes. Rejects with `STORE_UNAVAILABLE`. */
  async foresee(asker: Asker): Promise<Out | undefined> {
    if (out(this.#census().foresee(asker)) === undefined) return undefined;
    return out((await this.#read()).foresee(asker));
  }

  /**
   * Asks for a place for one whose record says `starting`. Until it is told nothing else may be written of it. Resolves with why there is none; rejects with
   * `STORE_UNAVAILABLE`. One that has its place has it until {@link left}.
   */
  async ask(asker: Asker): Promise<Out | undefined> {
    const { clock } = this.#options;
    const outcome = await new Promise<Out | AppError | undefined>((settle) => {
      const timer = clock.after(PATIENCE_MS, () => {
        const asking = this.#asking.get(asker.name);
        if (asking === undefined) return;
        asking.isLate = true;
        this.#confirm(asking);
      });
      this.#asking.set(asker.name, { asker, timer, settle, isLate: false, isRead: false });
      this.#round();
    });
    if (outcome instanceof AppError) throw outcome;
    return outcome;
  }

  /** It has no place any more, or its record tells of it. */
  left(name: string): void {
    this.#granted.delete(name);
  }

  /** Once for all that is seen in one go. */
  #soon(): void {
    if (this.#isDue || this.#asking.size === 0) return;
    this.#isDue = true;
    void Promise.resolve().then(() => {
      this.#isDue = false;
      this.#round();
    });
  }

  #round(): void {
    if (this.#asking.size === 0) return;
    for (const [name, verdict] of this.#census().judge(this.#askers())) {
      const asking = this.#asking.get(name);
      if (asking === undefined) continue;
      if (verdict.kind === 'in') this.#settle(asking, undefined);
      else if (verdict.kind === 'out') this.#confirm(asking);
    }
  }

  /** Decides one by a read, where that can. */
  #confirm(asking: Asking): void {
    if (asking.isRead) return;
    asking.isRead = true;
    void this.#read().then(
      (census) => {
        asking.isRead = false;
        const { asker, isLate } = asking;
        const verdict = census.judge(new Map([[asker.name, asker]])).get(asker.name);
        if (verdict?.kind === 'in') this.#settle(asking, undefined);
        else if (out(verdict) !== undefined) this.#settle(asking, out(verdict));
        // Those who asked before have the places unless they turn out to be refused, which takes them too long.
        else if (isLate) this.#settle(asking, verdict === undefined ? gone() : { ...verdict, kind: 'out' });
      },
      (thrown: unknown) => {
        asking.isRead = false;
        this.#settle(asking, thrown instanceof AppError ? thrown : gone(thrown));
      },
    );
  }

  #settle(asking: Asking, outcome: Out | AppError | undefined): void {
    const { asker, timer, settle } = asking;
    if (this.#asking.get(asker.name) !== asking) return;
    timer.cancel();
    this.#asking.delete(asker.name);
    if (outcome === undefined) this.#granted.add(asker.name);
    settle(outcome);
  }

  /** One read at a time, for all who ask before it begins: one that is under way may be too old for them. */
  #read(): Promise<Census> {
    if (this.#reading === undefined) {
      this.#reading = this.#options.view
        .read()
        .then((seen) => this.#census(seen))
        .finally(() => {
          this.#reading = undefined;
        });
      return this.#reading;
    }
    this.#next ??= this.#reading
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.#read();
      });
    return this.#next;
  }

  #census(seen = this.#options.view.seen()): Census {
    const { view, clock } = this.#options;
    return new Census({
      seen,
      opened: view.opened(),
      granted: this.#granted,
      limits: this.#options,
      wall: clock.wall(),
    });
  }

  #askers(): ReadonlyMap<string, Asker> {
    return new Map([...this.#asking].map(([name, { asker }]) => [name, asker]));
  }
}

function out(verdict: Verdict | undefined): Out | undefined {
  return verdict?.kind === 'out' ? { ...verdict, kind: 'out' } : undefined;
}

function gone(cause?: unknown): AppError {
  return new AppError('STORE_UNAVAILABLE', 'The session could not be recorded. Try again in a few seconds.', {
    detail: 'the record of a session that starts is not there',
    retryAfter: 5,
    ...(cause === undefined ? {} : { cause }),
  });
}
