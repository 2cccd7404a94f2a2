/** What runs the children, and the Kubernetes API that it and the store of logins share. */
import { join } from 'node:path';
import type { Backend } from '../backends/contract';
import { PodBackend } from '../backends/pod/driver';
import type { LinkKeys } from '../backends/pod/link-keys';
import { ProcessBackend } from '../backends/process/driver';
import { systemClock } from '../clock';
import type { Config } from '../config/load';
import { AppError } from '../errors';
import type { CredentialProxy } from '../forgejo/proxy/proxy';
import { KubeClient } from '../kube/client';
import { Credentials } from '../kube/credentials';
import type { Logger } from '../telemetry/log';
import type { Metrics } from '../telemetry/metrics';

/** A client for the Kubernetes API, where something needs one. @throws AppError `CONFIG_INVALID` where there is no configuration for it. */
export function openKube({ backend, store }: Config): KubeClient | undefined {
  return backend.kind === 'pod' || store.driver === 'kubernetes' ? openCluster(backend.kubeconfig) : undefined;
}

/** A client for the cluster that a kubeconfig file or the surroundings name. @throws AppError `CONFIG_INVALID` where there is none. */
export function openCluster(kubeconfig: string | undefined): KubeClient {
  try {
    return new KubeClient(new Credentials(kubeconfig));
  } catch (thrown) {
    throw new AppError(
      'CONFIG_INVALID',
      'backend.kubeconfig: there is no Kubernetes configuration that can be read. Run in a pod, or name a kubeconfig file.',
      { cause: thrown },
    );
  }
}

/** @param run names this run of the gateway; random, never used again. @param linkKeys where other gateways take children over. */
export function openBackend(
  config: Config,
  kube: KubeClient | undefined,
  { caPem }: CredentialProxy,
  run: string,
  log: Logger,
  metrics: Metrics,
  linkKeys?: LinkKeys,
): Backend {
  const { backend, dataDir } = config;
  if (backend.kind === 'process' || kube === undefined) {
    return new ProcessBackend({ runDirectory: backend.runDir ?? join(dataDir, 'run'), log, clock: systemClock });
  }
  return new PodBackend({
    kube,
    namespace: backend.namespace,
    install: backend.installId,
    ...(backend.owner === undefined ? {} : { owner: backend.owner }),
    run,
    ...(caPem === undefined ? {} : { ca: caPem, caEnv: backend.caEnv }),
    maxStarting: backend.maxStarting,
    ...(linkKeys === undefined ? {} : { linkKeys }),
    log,
    clock: systemClock,
    observer: {
      attachBroken: () => metrics.attachDrops.inc(),
      attachRestored: (seconds) => metrics.attachRestoreSeconds.observe(seconds),
      taken: (server, outcome) => metrics.poolClaims.inc({ server, outcome }),
    },
  });
}
