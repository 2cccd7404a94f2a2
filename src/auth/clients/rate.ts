/** Token buckets: how often something may be done, by key and in all. */
import type { Clock } from '../../clock';
import { Recent } from './recent';

export interface RateOptions {
  /** How often at once, for one key. */
  readonly burst: number;
  /** How often a minute after that, for one key. */
  readonly perMinute: number;
  /** Keys that are remembered; the one that was used longest ago is forgotten first. */
  readonly maxKeys: number;
}

/** A token bucket for each key, each kept as the time at which it is full again. */
export class Rate {
  readonly #interval: number;
  readonly #depth: number;
  readonly #clock: Clock;
  readonly #fullAt: Recent<number>;

  constructor({ burst, perMinute, maxKeys }: RateOptions, clock: Clock) {
    this.#interval = 60_000 / perMinute;
    this.#depth = (burst - 1) * this.#interval;
    this.#clock = clock;
    this.#fullAt = new Recent(maxKeys);
  }

  /** Takes one; 0 when it was there, else the whole seconds until it is, and nothing is taken. */
  take(key: string): number {
    const now = this.#clock.now();
    const fullAt = Math.max(now, this.#fullAt.get(key) ?? now);
    const wait = fullAt - this.#depth - now;
    if (wait > 0) return Math.ceil(wait / 1000);
    this.#fullAt.set(key, fullAt + this.#interval);
    return 0;
  }

  /** Gives one back that was taken and not used. */
  giveBack(key: string): void {
    const fullAt = this.#fullAt.get(key);
    if (fullAt !== undefined) this.#fullAt.set(key, fullAt - this.#interval);
  }
}
