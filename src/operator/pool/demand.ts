/** How many pods of a server should wait: as many as are kept anyhow, and as many as are taken while further ones start. */
import type { PoolSpec } from '../../config/server';

/** Milliseconds over which sessions that come are counted. */
const WINDOW_MS = 60_000;
/** Of one server at most; more of them say no more. */
const ARRIVALS_MAX = 10_000;
/** Milliseconds for a pod to come up, until one was seen to; and what is believed of what was seen. */
const LEAD_MS = 3_000;
const LEAD_MIN_MS = 500;
const LEAD_MAX_MS = 60_000;
/** What the newest start counts against those before it. */
const NEWEST = 0.25;

export class Demand {
  /** Moments at which a session got a pod, waiting or made for it, oldest first. */
  readonly #arrivals: number[] = [];
  #lead = LEAD_MS;

  /** A session got a pod. */
  arrived(now: number): void {
    this.#arrivals.push(now);
    if (this.#arrivals.length > ARRIVALS_MAX) this.#arrivals.shift();
  }

  /** A pod of the pool came up `ms` after it was asked for. */
  started(ms: number): void {
    const believed = Math.min(LEAD_MAX_MS, Math.max(LEAD_MIN_MS, ms));
    this.#lead += (believed - this.#lead) * NEWEST;
  }

  /** How many pods should wait now. */
  desired(pool: Pick<PoolSpec, 'min' | 'max'>, now: number): number {
    while ((this.#arrivals[0] ?? now) <= now - WINDOW_MS) this.#arrivals.shift();
    return desiredBy(pool, (this.#arrivals.length * this.#lead) / WINDOW_MS);
  }

  /** Whether it will become less by itself. */
  get isPassing(): boolean {
    return this.#arrivals.length > 0;
  }
}

/**
 * @param coming sessions that come, on average, while a pod starts. Chance has its share: two standard deviations of what comes independently (Poisson) above it.
 */
export function desiredBy({ min, max }: Pick<PoolSpec, 'min' | 'max'>, coming: number): number {
  return Math.min(max, min + Math.ceil(coming + 2 * Math.sqrt(coming)));
}
