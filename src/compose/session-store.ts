/** Where sessions are recorded. */
import type { Clock } from '../clock';
import type { Config } from '../config/load';
import { AppError } from '../errors';
import type { KubeClient } from '../kube/client';
import { labelValue } from '../kube/labels';
import type { SessionStore } from '../sessions/ports';
import { openKubernetesSessionStore } from '../stores/kubernetes/sessions';
import { openSqliteSessionStore } from '../stores/sqlite/sessions';
import type { Logger } from '../telemetry/log';

/**
 * Opens the store.
 * @param path of the file, where it is one.
 * @param self names this run of the gateway; random, never used again.
 * @throws AppError `STORE_UNAVAILABLE`, `CONFIG_INVALID`.
 */
export function openSessionStore(
  { sessions, backend }: Config,
  path: string,
  kube: KubeClient | undefined,
  self: string,
  { clock, log }: { clock: Clock; log: Logger },
): SessionStore {
  if (sessions.driver === 'sqlite') return openSqliteSessionStore(path);
  if (kube === undefined) throw new AppError('CONFIG_INVALID', 'sessions.driver kubernetes needs a Kubernetes API.');
  const { namespace, installId, owner } = backend;
  const install = labelValue(installId);
  return openKubernetesSessionStore({
    ...{ kube, namespace, install, holder: self, clock, log },
    ...(owner === undefined ? {} : { owner }),
  });
}
