/** The operator's loops: caches that are kept by every replica, and queues that only the leader works on. */
import type { Clock } from '../clock';
import type { KubeClient } from '../kube/client';
import { LeaderElection, type Leadership } from '../kube/election';
import { KubeError } from '../kube/error';
import { LABELS, labelValue, ownSelector } from '../kube/labels';
import { Lease, LEASES } from '../kube/lease';
import { collectionPath } from '../kube/objects';
import { type QueueObserver, type Reconcile, WorkQueue } from '../kube/queue';
import { Reflector } from '../kube/reflector';
import { MCP_SERVERS, MCP_SESSIONS } from '../resources/group';
import type { Logger } from '../telemetry/log';
import { reconcileCertificates } from './certificates';
import { leaseFacts, podFacts, serverFacts, type ServerTimes, type SessionFacts, sessionFacts } from './facts';
import { reconcileLease } from './lease-loop';
import { PodLoop } from './pod-loop';
import { type PoolCounts, Pools, type PoolsOptions } from './pool/pools';
import { Replicas } from './replicas';
import { COUNT_MS, reconcileServer, type Validate } from './server-loop';
import { reconcileSession } from './session-loop';
import { type Action, World, type WorldOptions } from './world';

export type Loop = 'sessions' | 'pods' | 'pools' | 'servers' | 'leases' | 'certificates';

/** Told what happens; for metrics. */
export interface OperatorObserver {
  leading(is: boolean): void;
  depth(loop: Loop, keys: number): void;
  done(loop: Loop, outcome: 'ok' | 'failed' | 'given-up', seconds: number): void;
  did(action: Action): void;
  /** A server's pool is this now; undefined: it has none, or another leads. */
  pool(server: string, counts: PoolCounts | undefined): void;
}

export interface OperatorOptions {
  /** Stays the caller's: close it after {@link Operator.stop}. */
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly observer: OperatorObserver;
  /** Names this run of the operator. */
  readonly identity: string;
  /** Of the release. */
  readonly namespace: string;
  readonly sessionsNamespace: string;
  readonly installId: string;
  /** Seconds. */
  readonly keepRecords: number;
  /** Keys of one loop that are worked on at once. */
  readonly workers: number;
  /** The leader's Lease; seconds. */
  readonly lease: {
    readonly name: string;
    readonly duration: number;
    readonly deadline: number;
    readonly retry: number;
  };
  /** The Secret with the gateways' certificates; none is kept where it is not set. */
  readonly certificateSecret: string | undefined;
  readonly validate: Validate;
  /** Servers of the configuration, whose sessions are looked after like those of MCPServers. */
  readonly configured: ReadonlyMap<string, ServerTimes>;
  readonly pools: Omit<PoolsOptions, 'run'>;
}

/** Milliseconds that what is under way has to come to its end when a term is over; then it is given up. */
const DRAIN_MS = 1_000;
/** Of the times between two renewals so many may pass without an answer before other replicas are thought to have had none either. */
const HICCUP_RETRIES = 2;
/** Milliseconds without an answer of the API about the Lease after which a replica is not ready. */
const SILENT_MS = 30_000;
/** The session in the name of a pod that was made for it: where a pod is gone, its name is all that is left. */
const POD_NAME = /^mcp-([0-9a-f]{40})-[0-9a-f]{8}$/;

export class Operator {
  readonly #options: OperatorOptions;
  readonly #caches: Pick<WorldOptions, 'sessions' | 'pods' | 'servers' | 'leases' | 'replicas'>;
  readonly #reflectors: readonly Pick<Reflector<never>, 'start' | 'stop' | 'isSynced'>[];
  readonly #election: LeaderElection;
  /** The leader's; absent while another leads. */
  #queues: Readonly<Record<Loop, WorkQueue>> | undefined;
  #pools: Pools | undefined;

  constructor(options: OperatorOptions) {
    this.#options = options;
    const { kube, clock, log, namespace, sessionsNamespace, installId, identity, lease } = options;
    const common = { kube, clock, log };
    const sessions = new Reflector({
      ...common,
      what: 'sessions',
      path: collectionPath(MCP_SESSIONS, sessionsNamespace),
      selector: `${LABELS.install}=${labelValue(installId)}`,
      project: sessionFacts,
    });
    const pods = new Reflector({
      ...common,
      what: 'pods',
      path: `/api/v1/namespaces/${encodeURIComponent(sessionsNamespace)}/pods`,
      selector: ownSelector(installId),
      project: podFacts,
    });
    const servers = new Reflector({
      ...common,
      what: 'servers',
      path: collectionPath(MCP_SERVERS, namespace),
      project: serverFacts,
    });
    const leases = new Reflector({
      ...common,
      what: 'leases',
      path: collectionPath(LEASES, namespace),
      project: leaseFacts,
    });
    const hiccupMs = HICCUP_RETRIES * lease.retry * 1000;
    const replicas = new Replicas({
      ...{ leases, clock },
      isHeard: () => this.#election.silence <= hiccupMs,
      changed: (name) => this.#replicaChanged(name),
    });
    this.#caches = { sessions, pods, servers, leases, replicas };
    this.#reflectors = [sessions, pods, servers, leases];

    sessions.follow((name) => {
      const server = sessions.get(name)?.server;
      this.#queues?.sessions.add(name);
      for (const pod of pods.all()) if (pod.session === name) this.#queues?.pods.add(pod.name);
      // Of one that is gone nothing is left to say whose it was.
      const touched = server === undefined ? [...servers.all()].map((one) => one.name) : [server];
      for (const one of touched) this.#queues?.servers.addAfter(one, COUNT_MS);
    });
    pods.follow((name, seen) => {
      this.#queues?.pods.add(name);
      const session = POD_NAME.exec(name)?.[1] ?? ownerOf(sessions, name);
      if (session !== undefined) this.#queues?.sessions.add(session);
      const pool = this.#pools?.see(name, seen);
      if (pool !== undefined) this.#queues?.pools.add(pool);
    });
    servers.follow((name, server) => {
      this.#queues?.servers.add(name);
      this.#queues?.pools.add(labelValue(name));
      if (server === 'gone' || !server.times.drain) return;
      // Gateways end the sessions that they hold; of the others nothing else would tell.
      for (const session of sessions.all()) if (session.server === name) this.#queues?.sessions.add(session.name);
    });

    this.#election = new LeaderElection({
      lease: new Lease({ kube, clock, namespace, name: lease.name, holder: identity, duration: lease.duration }),
      clock,
      log,
      retryMs: lease.retry * 1000,
      renewDeadlineMs: lease.deadline * 1000,
      lead: (leadership) => this.#lead(leadership),
      observer: {
        leading: (is) => options.observer.leading(is),
        holder: () => undefined,
        told: (silence) => {
          if (silence > hiccupMs) replicas.begin();
        },
      },
    });
  }

  get leading(): boolean {
    return this.#election.leading;
  }

  /** Fills the caches and becomes a candidate. */
  start(): void {
    for (const reflector of this.#reflectors) reflector.start();
    this.#election.start();
  }

  /** Ends a term in order, gives the Lease back, and stops. Never rejects. */
  async stop(): Promise<void> {
    await this.#election.stop();
    this.#caches.replicas.stop();
    await Promise.all(this.#reflectors.map((reflector) => reflector.stop()));
  }

  /** Readiness: the API answers, and the caches are filled; whether it leads does not matter. Rejects with KubeError. */
  check(): Promise<void> {
    const lag = this.#reflectors.some(({ isSynced }) => !isSynced);
    if (lag) return Promise.reject(new KubeError(0, 'NotSynced', 'not everything has been listed yet'));
    if (this.#election.silence > SILENT_MS) {
      return Promise.reject(new KubeError(0, 'Unreachable', 'the API does not say how the leader’s Lease stands'));
    }
    return Promise.resolve();
  }

  #replicaChanged(name: string): void {
    const { sessions, pods, servers } = this.#caches;
    this.#queues?.leases.add(name);
    for (const session of sessions.all()) if (session.holder === name) this.#queues?.sessions.add(session.name);
    for (const pod of pods.all()) if (pod.run === name) this.#queues?.pods.add(pod.name);
    for (const server of servers.all()) this.#queues?.servers.addAfter(server.name, COUNT_MS);
  }

  /** One term. Everything is looked at once at its start: what happened before nobody may have seen. */
  async #lead(leadership: Leadership): Promise<void> {
    const { signal } = leadership;
    const { certificateSecret, namespace, sessionsNamespace, installId, kube, clock, log } = this.#options;
    const { observer, configured } = this.#options;
    const world = new World(
      {
        ...this.#caches,
        kube,
        clock,
        log,
        namespace,
        sessionsNamespace,
        install: labelValue(installId),
        configured,
        did: (action) => observer.did(action),
      },
      leadership,
    );
    const shown = new Set<string>();
    const pools = new Pools(world, { ...this.#options.pools, run: this.#options.identity }, (server, counts) => {
      observer.pool(server, counts);
      shown.add(server);
      this.#queues?.servers.addAfter(server, COUNT_MS);
    });
    const queues = this.#makeQueues(world, pools, leadership);
    this.#queues = queues;
    this.#pools = pools;
    this.#caches.replicas.begin();
    for (const { name } of this.#caches.sessions.all()) queues.sessions.add(name);
    for (const { name } of this.#caches.pods.all()) queues.pods.add(name);
    for (const { name } of this.#caches.servers.all()) queues.servers.add(name);
    for (const key of pools.keys()) queues.pools.add(key);
    for (const name of this.#caches.replicas.names) queues.leases.add(name);
    if (certificateSecret !== undefined) queues.certificates.add(certificateSecret);

    if (!signal.aborted) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    }
    this.#queues = this.#pools = undefined;
    await Promise.all(Object.values(queues).map((queue) => queue.stop(DRAIN_MS)));
    for (const server of shown) observer.pool(server, undefined);
  }

  #makeQueues(world: World, pools: Pools, leadership: Leadership): Readonly<Record<Loop, WorkQueue>> {
    const { clock, workers, keepRecords, validate } = this.#options;
    const pods = new PodLoop(world);
    const queue = (loop: Loop, many: number, reconcile: Reconcile): WorkQueue =>
      new WorkQueue({
        clock,
        workers: many,
        observer: this.#observer(loop),
        reconcile: (key, signal) => {
          if (!leadership.stands()) return Promise.resolve(undefined);
          return reconcile(key, signal);
        },
      });
    return {
      sessions: queue('sessions', workers, (key, signal) => reconcileSession(world, keepRecords * 1000, key, signal)),
      pods: queue('pods', workers, (key, signal) => pods.reconcile(key, signal)),
      // One at a time: they have a bound in common.
      pools: queue('pools', 1, (key, signal) => pools.reconcile(key, signal)),
      servers: queue('servers', 2, (key, signal) => reconcileServer(world, validate, pools, key, signal)),
      leases: queue('leases', 2, (key, signal) => reconcileLease(world, key, signal)),
      certificates: queue('certificates', 1, (key, signal) => reconcileCertificates(world, key, signal)),
    };
  }

  #observer(loop: Loop): QueueObserver {
    const { observer, log } = this.#options;
    return {
      depth: (keys) => observer.depth(loop, keys),
      done: (outcome, seconds) => observer.done(loop, outcome, seconds),
      failed: (key, thrown, tries) => {
        // The key is a name of an object: never a secret.
        log[tries > 3 ? 'error' : 'warn']('operator.reconcile-failed', {
          loop,
          key,
          tries,
          ...(thrown instanceof KubeError ? { reason: thrown.summary } : { error: thrown }),
        });
      },
    };
  }
}

/** The session whose record names a pod that had waited for anybody: its own name says nothing. */
function ownerOf(sessions: Reflector<SessionFacts>, pod: string): string | undefined {
  for (const session of sessions.all()) if (session.pod?.name === pod) return session.name;
  return undefined;
}
