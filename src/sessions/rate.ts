/** How fast sessions may be opened: a token bucket, a minute deep. */

const MINUTE_MS = 60_000;

/** Holds up to `perMinute` tokens and gets as many a minute, evenly. Times are monotonic milliseconds, handed in. */
export class TokenBucket {
  readonly #perMinute: number;
  #tokens: number;
  #at: number;

  constructor(perMinute: number, now: number) {
    this.#perMinute = perMinute;
    this.#tokens = perMinute;
    this.#at = now;
  }

  /** Seconds until a token is there; 0 when one is. */
  wait(now: number): number {
    this.#fill(now);
    return this.#tokens >= 1 ? 0 : ((1 - this.#tokens) * MINUTE_MS) / this.#perMinute / 1000;
  }

  /** Takes a token; only after {@link wait} said 0. */
  take(now: number): void {
    this.#fill(now);
    this.#tokens -= 1;
  }

  /** Puts a token back that was taken for nothing. */
  giveBack(now: number): void {
    this.#fill(now);
    this.#tokens = Math.min(this.#perMinute, this.#tokens + 1);
  }

  /** Whether nobody would notice if this bucket were made anew. */
  isFull(now: number): boolean {
    this.#fill(now);
    return this.#tokens >= this.#perMinute;
  }

  #fill(now: number): void {
    this.#tokens = Math.min(this.#perMinute, this.#tokens + ((now - this.#at) / MINUTE_MS) * this.#perMinute);
    this.#at = now;
  }
}
