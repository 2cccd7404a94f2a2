/** Ends what runs because of a grant that has ended, on every gateway: a session that is silent asks nobody, and its stream stays open. */
import type { Clock, Timer } from '../../clock';

/** Milliseconds between two rounds. */
export const WATCH_INTERVAL = 5_000;

/** Questions to the store at once. */
const AT_ONCE = 8;

export interface GrantWatchOptions {
  /** Grants with live sessions here. */
  readonly grants: () => readonly string[];
  /** Whether a grant lives; what was asked a moment ago may be remembered. Rejects with `STORE_UNAVAILABLE`, which is no verdict. */
  readonly lives: (grant: string) => Promise<boolean>;
  /** Told in every round until its sessions are gone. */
  readonly ended: (grant: string) => void;
  readonly clock: Clock;
  /** Milliseconds; {@link WATCH_INTERVAL} unless set. */
  readonly interval?: number;
}

export class GrantWatch {
  readonly #options: GrantWatchOptions;
  readonly #timer: Timer;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #stopped = false;

  /** Starts at once; the first round is after one interval. */
  constructor(options: GrantWatchOptions) {
    this.#options = options;
    this.#timer = options.clock.every(options.interval ?? WATCH_INTERVAL, () => void this.round());
  }

  /**
   * Looks at every grant once, in a round that begins after this call: one that runs may have passed the grant already. All who ask meanwhile share the next.
   * Never rejects.
   */
  round(): Promise<void> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      this.#running = this.#look();
      return this.#running;
    });
    return this.#next;
  }

  async #look(): Promise<void> {
    const { grants, lives, ended } = this.#options;
    const waiting = [...grants()];
    const worker = async (): Promise<void> => {
      for (let grant = waiting.pop(); grant !== undefined && !this.#stopped; grant = waiting.pop()) {
        const gone = await lives(grant).then(
          (live) => !live,
          () => false,
        );
        if (gone && !this.#stopped) ended(grant);
      }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, waiting.length) }, worker));
  }

  stop(): void {
    this.#stopped = true;
    this.#timer.cancel();
  }
}
