/** Where logins are kept, and what keeps that tidy. */
import { hash, randomBytes } from 'node:crypto';
import type { Clock } from '../clock';
import type { Config } from '../config/load';
import { AppError } from '../errors';
import type { KubeClient } from '../kube/client';
import type { RecordStore, Turn } from '../stores/contract';
import { leaseTurn } from '../stores/kubernetes/lease';
import { openKubernetesRecordStore } from '../stores/kubernetes/records';
import { openSqliteRecordStore } from '../stores/sqlite/records';

/** Milliseconds between two sweeps for expired records. */
export const SWEEP_MS = 60_000;
/** Seconds; longer than two sweeps. */
const LEASE_SECONDS = 150;

export interface Records {
  readonly store: RecordStore;
  /** Whose turn it is to sweep; absent where that does not matter. */
  readonly turn?: Turn;
}

/** Opens the store of logins. @throws AppError `STORE_UNAVAILABLE`, `CONFIG_INVALID`. */
export function openRecords(config: Config, path: string, kube: KubeClient | undefined, clock: Clock): Records {
  const { driver, namespace } = config.store;
  if (driver === 'sqlite') return { store: openSqliteRecordStore(path, clock) };
  if (kube === undefined || namespace === undefined) {
    throw new AppError('CONFIG_INVALID', 'store.driver kubernetes needs store.namespace and a Kubernetes API.');
  }
  const { installId } = config.backend;
  return {
    store: openKubernetesRecordStore({ kube, namespace, install: installId, clock }),
    turn: leaseTurn({
      kube,
      namespace,
      name: `sweeper-${hash('sha256', installId, 'hex').slice(0, 8)}`,
      holder: randomBytes(12).toString('hex'),
      duration: LEASE_SECONDS,
      clock,
    }),
  };
}
