/** Counts of what must be given back. */
import { createHook, type AsyncHook } from 'node:async_hooks';

const QUIET_MS = 10_000;

/** Waits until every count is 0. Throws those that are not after ten seconds. */
export async function becomesQuiet(counts: () => Readonly<Record<string, number>>): Promise<void> {
  const deadline = performance.now() + QUIET_MS;
  for (;;) {
    const left = Object.entries(counts()).filter(([, count]) => count !== 0);
    if (left.length === 0) return;
    if (performance.now() > deadline) throw new Error(`left: ${JSON.stringify(Object.fromEntries(left))}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Sockets of this process that are open, of both sides. */
export function countSockets(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
}

/** Timers that were set since `start` and have neither run out nor been cleared, also those that keep no process alive. */
export class TimerCount {
  readonly #live = new Set<number>();
  readonly #hook: AsyncHook = createHook({
    init: (id, type) => void (type === 'Timeout' && this.#live.add(id)),
    destroy: (id) => void this.#live.delete(id),
  });

  get size(): number {
    return this.#live.size;
  }

  start(): void {
    this.#hook.enable();
  }

  stop(): void {
    this.#hook.disable();
  }
}
