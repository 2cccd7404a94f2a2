/**
 * One leader among several processes, by a {@link Lease}. A leader counts its renewals from before they were sent, and steps down when the last that went
 * well is older than the renew deadline; another can take the Lease only when it has stood for its duration since that renewal was stored. So as
 * long as the deadline is the shorter of the two there are never two leaders, whatever the clocks and the network do, and what is left between them is the
 * time that a write under way has to be over.
 */
import type { Clock } from '../clock';
import type { Logger } from '../telemetry/log';
import { fromFault, KubeError } from './error';
import type { Lease } from './lease';

/** What a leader has. */
export interface Leadership {
  /** Aborts when it is over: nothing is begun any more, and what is under way is given up. */
  readonly signal: AbortSignal;
  /** Whether it still stands at this very moment: also where the process was stopped for a while and no timer of its own has run yet. */
  stands(): boolean;
}

export interface ElectionOptions {
  readonly lease: Pick<Lease, 'take' | 'release' | 'holder'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Milliseconds between two tries, a leader's to renew and a candidate's to take. */
  readonly retryMs: number;
  /** Milliseconds after a leader's last renewal at which it steps down; shorter than the Lease's duration, longer than two tries. */
  readonly renewDeadlineMs: number;
  /** Does the leader's work, for as long as the signal is not aborted. Must resolve once nothing of it is under way any more, and not before. */
  readonly lead: (leadership: Leadership) => Promise<void>;
  readonly observer?: ElectionObserver;
}

export interface ElectionObserver {
  leading(is: boolean): void;
  /** Another has the Lease than before; empty: nobody. */
  holder(name: string): void;
  /** The API has told how the Lease stands, for the first time in so many milliseconds. */
  told?(silence: number): void;
}

/** Of each wait between two tries this much is left to chance, so that candidates do not come together. */
const SPREAD = 0.2;
/** Milliseconds to give the Lease back. */
const RELEASE_MS = 2_000;

export class LeaderElection {
  readonly #options: ElectionOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** When the last renewal that went well was begun. */
  #renewedAt = -Infinity;
  /** When the API last told how the Lease stands. */
  #toldAt = -Infinity;
  #leading = false;
  #holder = '';

  constructor(options: ElectionOptions) {
    this.#options = options;
  }

  get leading(): boolean {
    return this.#leading;
  }

  /** Milliseconds since it was last known how the Lease stands; for readiness. */
  get silence(): number {
    return this.#options.clock.now() - this.#toldAt;
  }

  /** Becomes a candidate; harmless when it is one. */
  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Stops being one. A leader's work is ended first, and the Lease kept until that is done; then it is given back. Resolves when all is over; what
   * bounds it is the leader's work. Never rejects.
   */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { retryMs } = this.#options;
    while (!this.#stop.signal.aborted) {
      if ((await this.#try()) === 'ours') await this.#lead();
      await this.#wait(retryMs * (1 + Math.random() * SPREAD), this.#stop.signal);
    }
  }

  /** One try to take or renew, no longer than it can be of use. */
  async #try(): Promise<'ours' | 'anothers' | 'unknown'> {
    const { lease, clock, log, observer, renewDeadlineMs } = this.#options;
    const began = clock.now();
    try {
      const ours = await lease.take({ timeout: renewDeadlineMs / 2 });
      const { silence } = this;
      this.#toldAt = clock.now();
      observer?.told?.(silence);
      if (ours) this.#renewedAt = began;
      if (lease.holder !== this.#holder) {
        this.#holder = lease.holder;
        log.info('leader.holder', { holder: lease.holder });
        observer?.holder(lease.holder);
      }
      return ours ? 'ours' : 'anothers';
    } catch (thrown) {
      log.warn('leader.try-failed', { reason: fromFault(thrown).summary });
      return 'unknown';
    }
  }

  /** Leads until it is told to stop, the work ends, or the Lease is not surely ours any more. */
  async #lead(): Promise<void> {
    const { clock, log, lead, observer, lease, retryMs, renewDeadlineMs } = this.#options;
    const over = new AbortController();
    const ended = new AbortController();
    const left = (): number => this.#renewedAt + renewDeadlineMs - clock.now();
    if (left() <= 0) return; // taking it has taken too long
    const resign = (): void => over.abort(new KubeError(0, 'NotLeader', 'another may lead by now'));
    this.#stop.signal.addEventListener('abort', resign, { once: true });
    if (this.#stop.signal.aborted) resign();
    let deadline = clock.after(left(), resign);
    this.#leading = true;
    log.info('leader.began', {});
    observer?.leading(true);
    const work = lead({ signal: over.signal, stands: () => !over.signal.aborted && left() > 0 })
      .catch((thrown: unknown) => log.error('leader.work-failed', { error: thrown }))
      .finally(() => ended.abort());

    // Renewed until the work is over, also while it is being ended: nobody else is to begin before that.
    let lost = false;
    while (!lost) {
      await this.#wait(retryMs, ended.signal);
      if (ended.signal.aborted) break;
      const outcome = await this.#try();
      lost = outcome === 'anothers' || left() <= 0;
      if (outcome !== 'ours' || lost) continue;
      deadline.cancel();
      deadline = clock.after(left(), resign);
    }
    resign();
    deadline.cancel();
    await work;
    this.#stop.signal.removeEventListener('abort', resign);
    this.#leading = false;
    log[lost ? 'warn' : 'info']('leader.ended', { lost });
    observer?.leading(false);
    if (lost) return;
    await lease.release({ timeout: RELEASE_MS }).catch((thrown: unknown) => {
      log.warn('leader.not-released', { reason: fromFault(thrown).summary }); // it runs out by itself
    });
  }

  #wait(ms: number, until: AbortSignal): Promise<void> {
    if (until.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        until.removeEventListener('abort', done);
        resolve();
      };
      const timer = this.#options.clock.after(ms, done);
      until.addEventListener('abort', done, { once: true });
    });
  }
}
