/** What the operator needs to know for pods that wait: what servers are, whether their pods get user namespaces, and whose they are until somebody takes them. */
import { abortable } from '../backends/budget';
import { UserNamespaces } from '../backends/pod/canary';
import { Pods } from '../backends/pod/pods';
import { PodWatch } from '../backends/pod/watch';
import { type Ground, judgeServer } from '../catalog/verdict';
import { systemClock } from '../clock';
import type { OperatorConfig } from '../config/operator';
import type { KubeClient } from '../kube/client';
import { ownSelector } from '../kube/labels';
import { configMapOwner } from '../kube/owner';
import type { PoolsOptions } from '../operator/pool/pools';
import type { Logger } from '../telemetry/log';

/** Milliseconds for test pods to be gone when the operator stops; the next one removes what is left. */
const STOP_MS = 5_000;

export interface OpenedPools {
  readonly options: Omit<PoolsOptions, 'run'>;
  /** Resolves when nothing of it runs any more. Never rejects. */
  stop(): Promise<void>;
}

/** @param run names this run of the operator. */
export function openPools(
  { backend, servers, operator }: OperatorConfig,
  ground: Ground,
  kube: KubeClient,
  run: string,
  log: Logger,
): OpenedPools {
  const { namespace, installId: install, owner } = backend;
  const clock = systemClock;
  const stopped = new AbortController();
  // Its own pods alone, a few at a time: nothing is watched until the first one is needed.
  const watch = new PodWatch({ kube, clock, log, namespace, selector: ownSelector(install, 'canary') });
  const common = { watch, clock, log, namespace, install, run };
  const pods = new Pods({ ...common, kube, ...(owner === undefined ? {} : { owner }) });
  const userNamespaces = new UserNamespaces({ ...common, pods, stopped: stopped.signal });
  return {
    options: {
      maxPods: operator.maxWarmPods,
      configured: servers,
      resolve: (name, spec) => {
        const verdict = judgeServer(name, spec, ground);
        return 'server' in verdict ? verdict.server : undefined;
      },
      userNamespace: (server, signal) => {
        watch.start();
        return abortable(userNamespaces.decide(server), signal);
      },
      owner: async (signal) =>
        owner === undefined ? undefined : configMapOwner(kube, namespace, owner, { signal, timeout: 5_000 }),
    },
    async stop() {
      stopped.abort();
      await pods.settle(STOP_MS);
      await watch.stop();
    },
  };
}
