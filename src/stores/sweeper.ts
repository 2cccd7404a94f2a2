/** Removes expired records every now and then, by one gateway at a time. */
import type { Clock } from '../clock';
import { toAppError } from '../errors';
import type { Logger } from '../telemetry/log';
import type { RecordStore, Turn } from './contract';

export interface SweeperOptions {
  readonly store: Pick<RecordStore, 'sweep'>;
  /** Absent where a store's own locks make sweeping at once harmless and cheap. */
  readonly turn?: Turn;
  readonly clock: Clock;
  /** Milliseconds between two sweeps. */
  readonly intervalMs: number;
  readonly log: Logger;
}

export interface Sweeper {
  /** Sweeps no more; resolves when a sweep that runs is over. */
  stop(): Promise<void>;
}

/** Records in one batch. */
const BATCH = 200;
/** Batches in one sweep: what is left waits for the next, so that a flood of expired records does not become a flood of deletions. */
const BATCHES = 20;

/** Starts the loop. A sweep that fails is told to the log and tried again at the next turn. */
export function startSweeper(options: SweeperOptions): Sweeper {
  const { store, turn, clock, intervalMs, log } = options;
  let running: Promise<void> | undefined;
  let stopped = false;

  const sweep = async (): Promise<void> => {
    try {
      if (turn !== undefined && !(await turn.take())) return;
      let removed = 0;
      for (let batch = 0; batch < BATCHES && !stopped; batch++) {
        const count = await store.sweep(BATCH);
        removed += count;
        if (count < BATCH) break;
      }
      if (removed > 0) log.debug('records.swept', { removed });
    } catch (thrown) {
      const { code, detail } = toAppError(thrown);
      log.warn('records.sweep-failed', { code, detail });
    }
  };
  const timer = clock.every(intervalMs, () => {
    running ??= sweep().finally(() => (running = undefined));
  });
  return {
    async stop() {
      stopped = true;
      timer.cancel();
      await running;
      await turn?.release().catch(() => undefined); // it runs out by itself
    },
  };
}
