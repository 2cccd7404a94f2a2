/** The operator against objects in memory: real loops, caches and election, and a clock that the test drives. */
import { labelValue, LABELS } from '../../src/kube/labels';
import { Operator, type OperatorOptions } from '../../src/operator/operator';
import type { PoolCounts } from '../../src/operator/pool/pools';
import type { Action } from '../../src/operator/world';
import type { Validate } from '../../src/operator/server-loop';
import { replicaName } from '../../src/peers/names';
import { API_VERSION } from '../../src/resources/group';
import type { MCPSessionStatus } from '../../src/resources/session';
import { FakeCluster, type Stored } from './fake-cluster';
import { FakeClock } from './fake-link';
import { serverSpec } from './server-spec';
import { type KeptLog, keptLog } from './silent-log';

export const NAMESPACE = 'release';
export const SESSIONS_NAMESPACE = 'sessions';
export const INSTALL = 'install-1';
export const AT = {
  sessions: `/apis/forgejo-mcp-operator.dev/v1alpha1/namespaces/${SESSIONS_NAMESPACE}/mcpsessions`,
  servers: `/apis/forgejo-mcp-operator.dev/v1alpha1/namespaces/${NAMESPACE}/mcpservers`,
  pods: `/api/v1/namespaces/${SESSIONS_NAMESPACE}/pods`,
  leases: `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`,
  secrets: `/api/v1/namespaces/${NAMESPACE}/secrets`,
} as const;

/** A session's name. */
export const sessionName = (n: number): string => n.toString(16).padStart(40, '0');
export const podName = (n: number, suffix = 0): string =>
  `mcp-${sessionName(n)}-${suffix.toString(16).padStart(8, '0')}`;

/** An MCPSession as gateways write them; of the server `s`. */
export function anMCPSession(n: number, status: Partial<MCPSessionStatus>, server = 's'): Record<string, any> {
  return {
    apiVersion: API_VERSION,
    kind: 'MCPSession',
    metadata: {
      name: sessionName(n),
      labels: { [LABELS.install]: labelValue(INSTALL), [LABELS.server]: server, [LABELS.live]: 'true' },
    },
    spec: { server, user: { issuer: 'https://forge.example', id: '7' }, client: 'c', mode: 'oauth' },
    status: { epoch: 1, state: 'Active', createdAt: new Date(1_700_000_000_000).toISOString(), ...status },
  };
}

/** What a session has whose `initialize` was answered. */
export const ANSWERED = { protocolVersion: '2025-11-25', initialize: '{}' } as const;

export function aSessionPod(
  n: number,
  run: string,
  suffix = 0,
  more: Record<string, string> = {},
): Record<string, any> {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: podName(n, suffix),
      labels: {
        [LABELS.install]: labelValue(INSTALL),
        'app.kubernetes.io/managed-by': 'forgejo-mcp-operator',
        [LABELS.component]: 'session',
        [LABELS.session]: sessionName(n),
        [LABELS.server]: 's',
        [LABELS.run]: run,
        ...more,
      },
    },
    status: { phase: 'Running' },
  };
}

export function aReplicaLease(name: string, holder = name): Record<string, any> {
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name, labels: { [LABELS.install]: labelValue(INSTALL) } },
    spec: { holderIdentity: holder, leaseDurationSeconds: 15 },
  };
}

export function anMCPServer(name: string, spec: Record<string, unknown> = {}): Record<string, any> {
  return {
    apiVersion: API_VERSION,
    kind: 'MCPServer',
    metadata: { name, generation: 1 },
    spec: { idleTimeout: '5m', sessionTTL: '24h', startTimeout: '2m', ...spec },
  };
}

export interface OperatorBench {
  readonly cluster: FakeCluster;
  readonly clock: FakeClock;
  readonly log: KeptLog;
  readonly operator: Operator;
  readonly did: Action[];
  /** Pools as they were told last. */
  readonly pools: ReadonlyMap<string, PoolCounts>;
  /** A gateway that lives: its Lease is renewed whenever time passes. */
  gateway(): { readonly name: string; kill(): void; leave(): void };
  /** Lets time pass, in steps, with everything settled after each. */
  pass(ms: number): Promise<void>;
  /** What is stored of a session. */
  session(n: number): Stored | undefined;
  pods(): string[];
  close(): Promise<void>;
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 12; i++) await new Promise((resolve) => setTimeout(resolve, 1));
};

export async function operatorBench(
  more: {
    certificateSecret?: string;
    keepRecords?: number;
    validate?: Validate;
    pools?: Partial<OperatorOptions['pools']>;
  } = {},
): Promise<OperatorBench> {
  const cluster = await FakeCluster.start();
  const clock = new FakeClock();
  const log = keptLog();
  const did: Action[] = [];
  const pools = new Map<string, PoolCounts>();
  const living = new Set<string>();
  const operator = new Operator({
    kube: cluster.api.kube(),
    clock,
    log,
    observer: {
      leading: () => undefined,
      depth: () => undefined,
      done: () => undefined,
      did: (action) => did.push(action),
      pool: (server, counts) => void (counts === undefined ? pools.delete(server) : pools.set(server, counts)),
    },
    identity: 'operator-1',
    namespace: NAMESPACE,
    sessionsNamespace: SESSIONS_NAMESPACE,
    installId: INSTALL,
    keepRecords: more.keepRecords ?? 3_600,
    workers: 4,
    lease: { name: 'leader', duration: 15, deadline: 10, retry: 2 },
    certificateSecret: more.certificateSecret,
    validate: more.validate ?? (() => undefined),
    configured: new Map(),
    pools: {
      maxPods: 50,
      configured: [],
      resolve: (name, spec) => serverSpec({ name, pool: { min: 0, max: 0, maxAge: 3_600, ...(spec.pool as object) } }),
      userNamespace: async () => false,
      owner: async () => undefined,
      ...more.pools,
    },
  });
  const renew = (): void => {
    for (const name of living) cluster.put(AT.leases, aReplicaLease(name));
  };
  return {
    cluster,
    clock,
    log,
    operator,
    did,
    pools,
    gateway() {
      const name = replicaName();
      living.add(name);
      renew();
      return {
        name,
        kill: () => void living.delete(name),
        leave: () => {
          living.delete(name);
          cluster.remove(`${AT.leases}/${name}`);
        },
      };
    },
    async pass(ms) {
      await settle();
      for (let left = ms; left > 0; left -= 2_000) {
        renew();
        clock.advance(Math.min(2_000, left));
        await settle();
      }
    },
    session: (n) => cluster.get(`${AT.sessions}/${sessionName(n)}`),
    pods: () => cluster.all(AT.pods).map(({ metadata }) => metadata.name as string),
    async close() {
      await operator.stop();
      await cluster.close();
    },
  };
}
