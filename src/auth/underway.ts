/** How many logins may be under way at once: each is a record that somebody whom nobody knows has made. */
import type { Clock } from '../clock';
import { AppError } from '../errors';

/** Counts what this gateway has begun and not ended; what is not ended in time counts no more. */
export class Underway {
  readonly #max: number;
  readonly #clock: Pick<Clock, 'wall'>;
  /** Ids with the wall-clock milliseconds at which they are gone, oldest first: all of them live equally long. */
  readonly #open = new Map<string, number>();

  constructor(max: number, clock: Pick<Clock, 'wall'>) {
    this.#max = max;
    this.#clock = clock;
  }

  get size(): number {
    this.#forget();
    return this.#open.size;
  }

  /**
   * Takes a place. @param expiresAt wall-clock milliseconds.
   * @throws AppError `OVERLOADED` when there are as many as there may be.
   */
  admit(id: string, expiresAt: number): void {
    if (this.size >= this.#max && !this.#open.has(id)) {
      throw new AppError('OVERLOADED', 'Too many people are logging in at the moment. Try again in a minute.', {
        retryAfter: 60,
      });
    }
    this.#open.set(id, expiresAt);
  }

  /** Gives a place back; harmless where there is none. */
  leave(id: string): void {
    this.#open.delete(id);
  }

  #forget(): void {
    const now = this.#clock.wall();
    for (const [id, expiresAt] of this.#open) {
      if (expiresAt > now) return;
      this.#open.delete(id);
    }
  }
}
