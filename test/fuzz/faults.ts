/** What goes wrong beside the path of a call: uncaught exceptions, rejections that nobody handles, and Node's warnings of leaks. */

const EVENTS = ['uncaughtException', 'unhandledRejection'] as const;

/** Warnings that tell of a defect; others tell of Node's age. */
const DEFECTS = new Set([
  'MaxListenersExceededWarning',
  'PromiseRejectionHandledWarning',
  'TimeoutNaNWarning',
  'TimeoutNegativeWarning',
  'TimeoutOverflowWarning',
]);

export interface Faults {
  /** Throws the first fault since the last look. */
  check(): void;
  stop(): void;
}

/** Takes the place of whoever listened for these events: the runner would end the whole run at the first, without its input. */
export function catchFaults(): Faults {
  const faults: unknown[] = [];
  const keep = (thrown: unknown): void => void faults.push(thrown);
  const warned = (warning: Error): void => void (DEFECTS.has(warning.name) && faults.push(warning));
  const before = EVENTS.map((event) => ({ event, listeners: process.rawListeners(event) as (() => void)[] }));
  for (const { event } of before) process.removeAllListeners(event).on(event, keep);
  process.on('warning', warned);
  return {
    check() {
      const [fault] = faults.splice(0);
      if (fault !== undefined) throw new Error(`not handled: ${describe(fault)}`, { cause: fault });
    },
    stop() {
      for (const { event, listeners } of before) {
        process.removeListener(event, keep);
        for (const listener of listeners) process.on(event, listener);
      }
      process.removeListener('warning', warned);
    },
  };
}

function describe(fault: unknown): string {
  return fault instanceof Error ? (fault.stack ?? fault.message) : String(fault);
}
