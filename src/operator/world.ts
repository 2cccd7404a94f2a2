/** What the loops see and touch: caches that may lag behind, live reads, and writes that name what they were decided by. */
import type { Clock } from '../clock';
import type { Leadership } from '../kube/election';
import { type KubeClient } from '../kube/client';
import { fromFault, KubeError } from '../kube/error';
import { KubeObjects } from '../kube/objects';
import { LEASES, type LeaseObject } from '../kube/lease';
import type { Reflector } from '../kube/reflector';
import { MCP_SERVERS, MCP_SESSIONS } from '../resources/group';
import type { MCPServer } from '../resources/server';
import type { MCPSession } from '../resources/session';
import type { Logger } from '../telemetry/log';
import {
  DEFAULT_TIMES,
  type LeaseFacts,
  type PodFacts,
  podFacts,
  type ServerFacts,
  type ServerTimes,
  type SessionFacts,
} from './facts';
import type { Replicas } from './replicas';

/** What the operator did, for its metric and its log. */
export type Action =
  | 'session-expired'
  | 'session-hibernated'
  | 'session-ended'
  | 'record-removed'
  | 'pod-removed'
  | 'warm-pod-created'
  | 'warm-pod-removed'
  | 'lease-removed'
  | 'status-written'
  | 'certificates-written';

/** Milliseconds for each call: short, so that a leader that has to stop is soon done. */
const CALL_MS = 5_000;
/** Seconds that the kubelet gives what is left in a pod that nobody has. */
const POD_GRACE_SECONDS = 5;

export interface WorldOptions {
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** Of the release: servers, Leases. */
  readonly namespace: string;
  readonly sessionsNamespace: string;
  readonly install: string;
  /** Servers of the configuration. */
  readonly configured: ReadonlyMap<string, ServerTimes>;
  readonly sessions: Reflector<SessionFacts>;
  readonly pods: Reflector<PodFacts>;
  readonly servers: Reflector<ServerFacts>;
  readonly leases: Reflector<LeaseFacts>;
  readonly replicas: Replicas;
  readonly did: (action: Action) => void;
}

/** One leader's term: what is done in it is done only while it stands. */
export class World {
  readonly options: WorldOptions;
  readonly sessionObjects: KubeObjects<MCPSession>;
  readonly serverObjects: KubeObjects<MCPServer>;
  readonly leaseObjects: KubeObjects<LeaseObject>;
  readonly #leadership: Leadership;

  constructor(options: WorldOptions, leadership: Leadership) {
    const { kube, namespace, sessionsNamespace } = options;
    this.options = options;
    this.#leadership = leadership;
    this.sessionObjects = new KubeObjects(kube, MCP_SESSIONS, sessionsNamespace);
    this.serverObjects = new KubeObjects(kube, MCP_SERVERS, namespace);
    this.leaseObjects = new KubeObjects(kube, LEASES, namespace);
  }

  /** Times of the server of that name. */
  times(server: string): ServerTimes {
    const { servers, configured } = this.options;
    // As the gateways have it: the configuration's server wins over an MCPServer of the same name.
    return configured.get(server) ?? servers.get(server)?.times ?? DEFAULT_TIMES;
  }

  /** A live read; undefined where there is no such object. */
  async read<T>(call: (limits: { signal: AbortSignal; timeout: number }) => Promise<T>, signal: AbortSignal) {
    try {
      return await call({ signal, timeout: CALL_MS });
    } catch (thrown) {
      if (!signal.aborted && fromFault(thrown).status === 404) return undefined;
      throw thrown;
    }
  }

  /**
   * A write. Resolves with whether it was done; not where what it was decided by has changed (409) or is gone (404): an event tells of that.
   * Rejects with `NotLeader` where another may lead by now.
   */
  async write(
    call: (limits: { signal: AbortSignal; timeout: number }) => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (!this.#leadership.stands()) throw notLeader();
    try {
      await call({ signal, timeout: CALL_MS });
      return true;
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      const { status } = fromFault(thrown);
      if (status === 409 || status === 404) return false;
      throw thrown;
    }
  }

  /**
   * Whether a replica that is dead by what was seen of it is so by a live read as well: its Lease is gone, given back, or just as it was seen.
   * A name that is empty is nobody.
   */
  async isDead(replica: string, signal: AbortSignal): Promise<boolean> {
    const { replicas } = this.options;
    if (replicas.deadFor(replica) === undefined) return false;
    if (replica === '') return true;
    const lease = await this.lease(replica, signal);
    return lease === undefined || lease.holder === '' || lease.resourceVersion === replicas.version(replica);
  }

  async lease(name: string, signal: AbortSignal): Promise<LeaseFacts | undefined> {
    return this.options.leases.seed(await this.read((limits) => this.leaseObjects.get(name, limits), signal));
  }

  async pod(namespace: string, name: string, signal: AbortSignal): Promise<PodFacts | undefined> {
    const { kube } = this.options;
    return podFacts(
      await this.read(
        (limits) => kube.core((api, options) => api.readNamespacedPod({ namespace, name }, options), limits),
        signal,
      ),
    );
  }

  /** Makes an object. Rejects with KubeError, or `NotLeader` where another may lead by now. */
  make<T>(call: (limits: { signal: AbortSignal; timeout: number }) => Promise<T>, signal: AbortSignal): Promise<T> {
    if (!this.#leadership.stands()) return Promise.reject(notLeader());
    return call({ signal, timeout: CALL_MS });
  }

  /** Deletes the pod of this UID and no later one of its name; with a resource version only while nobody has changed it since. */
  async removePod(
    { name, uid }: Pick<PodFacts, 'name' | 'uid'>,
    namespace: string,
    signal: AbortSignal,
    resourceVersion?: string,
  ) {
    const { kube } = this.options;
    const preconditions = { uid, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    const body = { gracePeriodSeconds: POD_GRACE_SECONDS, preconditions };
    return this.write(
      (limits) => kube.core((api, options) => api.deleteNamespacedPod({ namespace, name, body }, options), limits),
      signal,
    );
  }

  /** Tells what was done. Names only: no session id is known here. */
  did(action: Action, fields: Readonly<Record<string, unknown>>): void {
    this.options.did(action);
    this.options.log[action === 'status-written' ? 'debug' : 'info'](`operator.${action}`, fields);
  }
}

function notLeader(): KubeError {
  return new KubeError(0, 'NotLeader', 'another may lead by now');
}
