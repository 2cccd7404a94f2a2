/** The time that a start may take, and everything that ends it early, as one signal. */
import type { Clock } from '../clock';

export interface Budget {
  /** Aborts with the caller's reason, or without one of the caller's when the time is up. */
  readonly signal: AbortSignal;
  /** The time is up (and the caller had not given up before). */
  readonly late: boolean;
  /** Milliseconds left, at least 1. */
  left(): number;
  /** Releases the timer and listeners. Call it exactly once, whatever happened. */
  end(): void;
}

/** Starts counting `seconds` now. `signals` are the caller's own and the driver's stop. */
export function startBudget(clock: Clock, seconds: number, ...signals: readonly AbortSignal[]): Budget {
  const controller = new AbortController();
  const until = clock.now() + seconds * 1000;
  let late = false;
  const timer = clock.after(seconds * 1000, () => {
    late = !controller.signal.aborted;
    controller.abort(new Error('start deadline'));
  });
  const followed = signals.map((signal) => {
    const onAbort = (): void => controller.abort(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    return () => signal.removeEventListener('abort', onAbort);
  });
  return {
    signal: controller.signal,
    get late() {
      return late;
    },
    left: () => Math.max(1, until - clock.now()),
    end() {
      timer.cancel();
      for (const unfollow of followed) unfollow();
    },
  };
}

/** Waits for work that knows no signal. Rejects with the signal's reason; the work's own late failure is swallowed. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
