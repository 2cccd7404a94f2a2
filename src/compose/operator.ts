/** The operator program: configuration in, running loops out. */
import { judgeServer } from '../catalog/verdict';
import { systemClock } from '../clock';
import type { OperatorConfig } from '../config/operator';
import type { ServerSpec } from '../config/server';
import { AppError } from '../errors';
import { unknownAllowRoutes } from '../forgejo/policy';
import { listen } from '../http/listener';
import { opsHandler, ReadinessProbe } from '../http/ops';
import { fromFault } from '../kube/error';
import type { ServerTimes } from '../operator/facts';
import { operatorName } from '../operator/names';
import { Operator } from '../operator/operator';
import type { Logger } from '../telemetry/log';
import { collectProcessMetrics, createMetrics } from '../telemetry/metrics';
import { operatorObserver } from '../telemetry/observers';
import { openCluster } from './backend';
import { openPools } from './pools';

export interface OperatorProgramOptions {
  readonly log: Logger;
  readonly version: string;
}

/** A running operator. */
export interface OperatorProgram {
  readonly opsUrl: string;
  /** Ends its term in order, gives the leader's Lease back, and closes everything. Never rejects. */
  stop(): Promise<void>;
}

/**
 * Builds and starts the operator. It attaches to nothing, and needs no key and no token but its own service account's.
 * @throws AppError `CONFIG_INVALID` for a cluster or an address that cannot be used.
 */
export async function composeOperator(
  config: OperatorConfig,
  { log, version }: OperatorProgramOptions,
): Promise<OperatorProgram> {
  const { backend, operator: own, ops, sessions } = config;
  const clock = systemClock;
  const metrics = createMetrics();
  collectProcessMetrics(metrics);
  metrics.build.set({ version, node: process.version, backend: 'operator' }, 1);
  const kube = openCluster(backend.kubeconfig);
  const ground = {
    servers: config.servers,
    mode: config.auth.mode,
    perUser: own.perUser.enabled,
    unknownRoutes: unknownAllowRoutes,
  };
  const identity = operatorName();
  const pools = openPools(config, ground, kube, identity, log);
  const operator = new Operator({
    kube,
    clock,
    log,
    observer: operatorObserver(metrics),
    identity,
    namespace: own.namespace,
    sessionsNamespace: backend.namespace,
    installId: backend.installId,
    keepRecords: sessions.keepRecords,
    workers: own.workers,
    lease: { name: own.lease, duration: own.leaseDuration, deadline: own.renewDeadline, retry: own.retryPeriod },
    certificateSecret: own.certificateSecret,
    pools: pools.options,
    configured: new Map(config.servers.map((server) => [server.name, timesOf(server)])),
    validate: (name, spec) => {
      const verdict = judgeServer(name, spec, ground);
      return 'refusal' in verdict ? { reason: verdict.refusal, message: verdict.message } : undefined;
    },
  });
  const probe = new ReadinessProbe({
    checks: [
      {
        name: 'kubernetes',
        check: () =>
          operator.check().catch((thrown: unknown) => {
            throw new AppError('BACKEND_UNAVAILABLE', 'The Kubernetes API cannot be used.', {
              detail: fromFault(thrown).summary,
            });
          }),
      },
    ],
    timeoutMs: ops.checkTimeout * 1000,
    cacheMs: ops.checkCache * 1000,
    clock,
    log,
    notes: () => ({ leader: operator.leading ? 'yes' : 'no' }),
    observe: (check, ready) => metrics.ready.set({ check }, ready ? 1 : 0),
  });
  const { registry } = metrics;
  const listener = await listen(
    opsHandler(probe, { contentType: registry.contentType, text: () => registry.metrics() }),
    {
      listen: ops.listen,
      headersMs: 5_000,
      requestMs: 10_000,
      idleMs: 30_000,
      maxConnections: 100,
    },
  ).catch(async (thrown: unknown) => {
    await kube.close();
    throw thrown;
  });
  operator.start();
  return {
    opsUrl: listener.url,
    async stop() {
      probe.stop();
      await operator.stop();
      await pools.stop();
      await listener.close(0);
      await kube.close();
    },
  };
}

/** Times of a server of the configuration, in milliseconds. */
function timesOf({
  idleTimeout,
  sessionTTL,
  maxLifetime,
  startTimeout,
  stateful,
  paused,
  drain,
}: ServerSpec): ServerTimes {
  const [idle, ttl, lifetime, start] = [idleTimeout, sessionTTL, maxLifetime, startTimeout].map((time) => time * 1000);
  return { idle, ttl, maxLifetime: lifetime, start, stateful, paused, drain };
}
