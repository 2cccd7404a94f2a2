/** Encrypts with the newest key what older ones encrypted, so that a key can be replaced and dropped while everybody stays logged in. */
import type { Clock } from '../clock';
import { toAppError } from '../errors';
import type { Logger } from '../telemetry/log';
import type { RecordStore, StoredRecord, Turn } from './contract';
import { Seal, type SealingKey } from './seal';

export interface ResealerOptions {
  readonly store: Pick<RecordStore, 'find' | 'replace'>;
  readonly kinds: readonly string[];
  /** The first one is the newest. With one key there is nothing to do. */
  readonly keys: readonly SealingKey[];
  /** Absent where resealing at once is harmless and cheap. It stays the caller's: it is not released here. */
  readonly turn?: Turn;
  readonly clock: Clock;
  /** Milliseconds between two rounds: a gateway that does not have the newest key yet still writes with an older one. */
  readonly intervalMs: number;
  readonly log: Logger;
}

export interface Resealer {
  /** Resolves when a round that runs is over. */
  stop(): Promise<void>;
}

/** What a round found. */
interface Round {
  /** Records that were sealed with an older key and are with the newest now. */
  resealed: number;
  /** Records whose key is not here, or that were changed by hand. */
  unreadable: number;
}

/** Writes at once: a round must not take the store from those who log in meanwhile. */
const BATCH = 8;

/**
 * Starts with a round, and has one at every interval. The log says after each how many records there were to do; once it is none, the store does not need the
 * older keys any more. A round that fails is told to the log, and the next one goes on with what is left.
 */
export function startResealer({ store, kinds, keys, turn, clock, intervalMs, log }: ResealerOptions): Resealer {
  if (keys.length < 2) return { stop: async () => undefined };
  const seal = new Seal(keys);
  let running: Promise<void> | undefined;
  let stopped = false;

  const reseal = async (record: StoredRecord, round: Round): Promise<void> => {
    const { key, version, expiresAt, tags } = record;
    let plain: Buffer;
    try {
      plain = seal.open(record);
    } catch {
      round.unreadable += 1;
      return;
    }
    const data = {
      value: seal.close(key, plain),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(tags === undefined ? {} : { tags }),
    };
    // Whoever was quicker has written it anew, or deleted it.
    if ((await store.replace(key, data, version)) !== undefined) round.resealed += 1;
  };

  const run = async (): Promise<void> => {
    const round: Round = { resealed: 0, unreadable: 0 };
    try {
      if (turn !== undefined && !(await turn.take())) return;
      for (const kind of kinds) {
        const old = (await store.find(kind)).filter(({ value }) => !seal.isCurrent(value));
        for (let at = 0; at < old.length; at += BATCH) {
          if (stopped) return;
          await Promise.all(old.slice(at, at + BATCH).map((record) => reseal(record, round)));
        }
      }
      log.info('records.resealed', { ...round });
    } catch (thrown) {
      const { code, detail } = toAppError(thrown);
      log.warn('records.reseal-failed', { code, detail, ...round });
    }
  };
  const begin = (): void => {
    running ??= run().finally(() => (running = undefined));
  };
  const timer = clock.every(intervalMs, begin);
  begin();
  return {
    async stop() {
      stopped = true;
      timer.cancel();
      await running;
    },
  };
}
