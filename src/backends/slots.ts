/** A bounded number of places, first come first served. */

export class Slots {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  /** @param count places; at least 1. */
  constructor(count: number) {
    this.#free = Math.max(1, count);
  }

  /** Waits for a place. Resolves with the function that gives it back (once is enough, more are harmless); rejects with the signal's reason. */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
    } else {
      await new Promise<void>((resolve, reject) => {
        const turn = (): void => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        };
        const onAbort = (): void => {
          this.#waiting.splice(this.#waiting.indexOf(turn), 1);
          reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
        };
        this.#waiting.push(turn);
        signal.addEventListener('abort', onAbort, { once: true });
      });
    }
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    };
  }
}
