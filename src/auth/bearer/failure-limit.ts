/** Bounds how many wrong tokens one client address may have checked, so that nobody guesses tokens, or floods the forge, through us. */
import type { Clock } from '../../clock';
import { AppError } from '../../errors';

export interface FailureLimitOptions {
  /** Failures that an address may have at once. */
  readonly burst: number;
  /** Failures that are forgiven a minute. */
  readonly perMinute: number;
  /** Addresses that are remembered. */
  readonly maxAddresses: number;
  /** Maps an address to what is counted, for example an IPv6 network. */
  readonly keyOf: (address: string) => string;
}

interface Bucket {
  left: number;
  at: number;
}

/** A token bucket for each address. Only failures cost: a caller with good tokens is never held back. */
export class FailureLimit {
  readonly #options: FailureLimitOptions;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: FailureLimitOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** Throws `AUTH_RATE` with the seconds to wait when the address has failed too often. */
  admit(address: string): void {
    const bucket = this.#bucket(address);
    if (bucket === undefined || bucket.left >= 1) return;
    const seconds = Math.ceil(((1 - bucket.left) * 60) / this.#options.perMinute);
    throw new AppError(
      'AUTH_RATE',
      'Too many invalid tokens came from this address. Check the token and try again later.',
      {
        retryAfter: seconds,
      },
    );
  }

  /** Counts one failure. Those that were under way when the last one was spent are a debt, up to one burst. */
  failed(address: string): void {
    const key = this.#options.keyOf(address);
    const bucket = this.#bucket(address) ?? { left: this.#options.burst, at: this.#clock.now() };
    bucket.left = Math.max(-this.#options.burst, bucket.left - 1);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#options.maxAddresses) {
      const oldest = this.#buckets.keys().next();
      if (!oldest.done) this.#buckets.delete(oldest.value);
    }
  }

  /** The address's bucket, filled up to now; a full one is forgotten. */
  #bucket(address: string): Bucket | undefined {
    const key = this.#options.keyOf(address);
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return undefined;
    const now = this.#clock.now();
    bucket.left += ((now - bucket.at) / 60_000) * this.#options.perMinute;
    bucket.at = now;
    if (bucket.left < this.#options.burst) return bucket;
    this.#buckets.delete(key);
    return undefined;
  }
}
