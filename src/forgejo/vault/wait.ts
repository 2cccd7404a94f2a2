/** Waiting by the clock that was handed in. */
import type { Clock } from '../../clock';

/** Resolves after `ms`. */
export function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve));
}

/** What `work` becomes; rejects with what `late` makes after `ms`, and with the signal's reason (an Error) once it is aborted. `work` goes on either way. */
export function within<T>(
  work: Promise<T>,
  clock: Clock,
  ms: number,
  signal: AbortSignal | undefined,
  late: () => Error,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = (): void =>
      settle(() => reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted')));
    const timer = clock.after(ms, () => settle(() => reject(late())));
    const settle = (then: () => void): void => {
      timer.cancel();
      signal?.removeEventListener('abort', aborted);
      then();
    };
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted === true) aborted();
    work.then(
      (value) => settle(() => resolve(value)),
      (error: unknown) => settle(() => reject(error instanceof Error ? error : new Error(typeof error))),
    );
  });
}
