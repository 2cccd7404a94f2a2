/** Waiting with a deadline. */
import type { Clock } from '../clock';

/**
 * Settles as `work` does, or rejects with `late()` after `ms`. What `work` does after that is nobody's concern, so its failure is taken care
 * of.
 */
export function within<T>(clock: Clock, ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = clock.after(ms, () => reject(late()));
    work.then(
      (value) => {
        timer.cancel();
        resolve(value);
      },
      (thrown: Error) => {
        timer.cancel();
        reject(thrown);
      },
    );
  });
}
