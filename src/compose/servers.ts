/** Which servers there are: those of the configuration, and where a namespace is named the MCPServers in it. */
import { ClusterCatalog } from '../catalog/cluster';
import type { ServerCatalog } from '../catalog/contract';
import { StaticCatalog } from '../catalog/static';
import type { Clock } from '../clock';
import type { Config } from '../config/load';
import { unknownAllowRoutes } from '../forgejo/policy';
import type { KubeClient } from '../kube/client';
import type { Logger } from '../telemetry/log';

/** Milliseconds for the MCPServers to be listed. Without them it cannot be said what is served. */
const SYNC_MS = 30_000;

export interface OpenedCatalog {
  readonly catalog: ServerCatalog;
  stop(): Promise<void>;
}

export interface CatalogOptions {
  readonly config: Config;
  readonly kube: KubeClient | undefined;
  readonly log: Logger;
  readonly clock: Clock;
  /** Gives up. */
  readonly signal: AbortSignal;
}

/** Resolves once all servers are known. @throws AppError `BACKEND_UNAVAILABLE` where the cluster does not tell. */
export async function openCatalog({ config, kube, log, clock, signal }: CatalogOptions): Promise<OpenedCatalog> {
  const { servers, auth, backend, operator } = config;
  const namespace = backend.serversNamespace;
  if (kube === undefined || backend.kind !== 'pod' || namespace === undefined) {
    return { catalog: new StaticCatalog(servers), stop: async () => undefined };
  }
  const perUser = operator.perUser.enabled;
  const ground = { servers, mode: auth.mode, perUser, unknownRoutes: unknownAllowRoutes };
  const catalog = new ClusterCatalog({ kube, clock, log, namespace, ground });
  try {
    await catalog.synced(AbortSignal.any([signal, AbortSignal.timeout(SYNC_MS)]));
  } catch (thrown) {
    await catalog.stop();
    throw thrown;
  }
  return { catalog, stop: () => catalog.stop() };
}

/** Whether a server is to have no sessions. Where that cannot be said just now, they are left alone. */
export function drainsBy(catalog: Pick<ServerCatalog, 'find'>): (name: string) => boolean {
  return (name) => {
    try {
      return catalog.find(name)?.drain === true;
    } catch {
      return false;
    }
  };
}
