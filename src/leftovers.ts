/** What a run that did not stop in order left behind: records of sessions whose children are no more, and children. */
import { abortable } from './backends/budget';
import type { Backend } from './backends/contract';
import { toAppError } from './errors';
import type { SessionStore } from './sessions/ports';
import type { Logger } from './telemetry/log';
import type { Metrics } from './telemetry/metrics';

/** Milliseconds for them to be removed, before they are left to a later start. */
const LEFTOVERS_MS = 30_000;

export interface Leftovers {
  readonly store: SessionStore;
  readonly backend: Backend;
  /** Milliseconds for which those sessions sleep at most. */
  readonly sleepMs: number;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Whether there may be others whose children are theirs: then nothing is removed here. */
  readonly isShared: boolean;
  /** Gives up. */
  readonly signal: AbortSignal;
}

/** Puts the records right and removes the children. What cannot be removed now must not keep the gateway from serving; rejects as the store does. */
export async function removeLeftovers({
  store,
  backend,
  sleepMs,
  isShared,
  log,
  metrics,
  signal,
}: Leftovers): Promise<void> {
  const at = Date.now();
  const nothing = { hibernated: 0, abandoned: 0 };
  const { hibernated, abandoned } = (await store.upkeep?.recover(at, at + sleepMs)) ?? nothing;
  if (isShared) return;
  const late = AbortSignal.timeout(LEFTOVERS_MS);
  try {
    const removed = await abortable(backend.removeOrphans(), AbortSignal.any([signal, late]));
    metrics.orphans.inc(removed);
    if (hibernated > 0 || abandoned > 0 || removed > 0) {
      log.info('gateway.leftovers-removed', { hibernated, abandoned, children: removed });
    }
  } catch (thrown) {
    const { code, detail } = toAppError(thrown);
    log.warn('gateway.leftovers-kept', { hibernated, abandoned, code, detail });
  }
}
