/**
 * The pools of all servers, as the leader keeps them: bare pods that it makes, watches and removes by itself. What it does is decided by `plan.ts`; here is what
 * that is decided by, and how it is done. One pool is looked at at a time, because all of them have one bound in common.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ServerSpec } from '../../config/server';
import { warmName } from '../../backends/pod/names';
import { templateOf, WARM, warmManifest } from '../../backends/pod/warm';
import { fromFault } from '../../kube/error';
import { labelValue, ownSelector } from '../../kube/labels';
import type { OwnerReference } from '../../kube/objects';
import type { Seen } from '../../kube/reflector';
import { type PodFacts, podFacts } from '../facts';
import type { World } from '../world';
import { Backoff } from './backoff';
import { Demand } from './demand';
import { Expectations } from './expectations';
import { plan, type Plan, type PoolSight, type Waiting } from './plan';

/** Milliseconds after which a pool is looked at again while what is wanted of it is passing, or something of it is not known yet. */
const AGAIN_MS = 10_000;
const SOON_MS = 1_000;
/** Pods that one look makes at most; the next one makes more. */
const CREATE_MOST = 50;

export interface PoolsOptions {
  /** Pods of all pools together. */
  readonly maxPods: number;
  /** The run of the operator. */
  readonly run: string;
  /** Servers of the configuration. */
  readonly configured: readonly ServerSpec[];
  /** What an MCPServer is as the gateways have it; undefined where they refuse it. */
  readonly resolve: (name: string, spec: Readonly<Record<string, unknown>>) => ServerSpec | undefined;
  /** Whether a server's pods get a user namespace. Rejects where that cannot be said now. */
  readonly userNamespace: (server: ServerSpec, signal: AbortSignal) => Promise<boolean>;
  /** Who a pod belongs to that nobody has taken; undefined where nobody. Rejects with KubeError. */
  readonly owner: (signal: AbortSignal) => Promise<OwnerReference | undefined>;
}

/** A pool in numbers. */
export interface PoolCounts {
  readonly ready: number;
  readonly starting: number;
  readonly desired: number;
}

interface Pool {
  readonly demand: Demand;
  counts: PoolCounts | undefined;
}

/** What a server's pool should be; no server: there should be none. */
interface Goal {
  readonly server: ServerSpec;
  readonly userNamespace: boolean;
  readonly template: string;
  readonly desired: number;
}

export class Pools {
  readonly #world: World;
  readonly #options: PoolsOptions;
  /** Told when the numbers of a pool have changed, by its server's label; undefined: it has no pool any more. */
  readonly #changed: (server: string, counts: PoolCounts | undefined) => void;
  readonly #expectations = new Expectations();
  readonly #backoff = new Backoff();
  /** By the label of the server. */
  readonly #pools = new Map<string, Pool>();
  /** Those that were looked at since this leader leads. */
  readonly #looked = new Set<string>();
  /** Servers of pods that wait, and of those that sessions have, by the pods' names. */
  readonly #waiting = new Map<string, string>();
  readonly #taken = new Map<string, string>();
  /** When pods were asked for that are not up yet; monotonic milliseconds. */
  readonly #asked = new Map<string, number>();

  constructor(world: World, options: PoolsOptions, changed: (server: string, counts: PoolCounts | undefined) => void) {
    this.#world = world;
    this.#options = options;
    this.#changed = changed;
    for (const pod of world.options.pods.all()) this.#know(pod);
  }

  /** Servers, by their labels, that have a pool or pods of one. */
  keys(): ReadonlySet<string> {
    const { servers } = this.#world.options;
    const named = [...this.#options.configured, ...servers.all()].map(({ name }) => labelValue(name));
    return new Set([...named, ...this.#waiting.values()]);
  }

  /** A pod was seen to change, or is gone. Answers with the server whose pool is to be looked at; undefined: none. */
  see(name: string, seen: Seen<PodFacts>): string | undefined {
    this.#expectations.met(name);
    const before = this.#waiting.get(name);
    if (seen === 'gone') {
      this.#taken.delete(name);
      this.#waiting.delete(name);
      this.#asked.delete(name);
      return before;
    }
    const isNew = this.#know(seen);
    if (seen.component !== 'session') return this.#waiting.get(name);
    // A session came, and found one that waited or had one made. What the first list shows has been there before.
    const { pods, clock } = this.#world.options;
    if (!isNew || !pods.isSynced) return undefined;
    this.#pool(seen.server).demand.arrived(clock.now());
    return seen.server;
  }

  /** The numbers of a server's pool; undefined where it has none, `unknown` where it has not been looked at yet. */
  counts(server: string): PoolCounts | undefined | 'unknown' {
    const key = labelValue(server);
    return this.#looked.has(key) ? this.#pools.get(key)?.counts : 'unknown';
  }

  /** One look at one pool. */
  async reconcile(key: string, signal: AbortSignal): Promise<number | undefined> {
    const { pods, servers, clock } = this.#world.options;
    if (!pods.isSynced || !servers.isSynced) return SOON_MS;
    const goal = await this.#goal(key, signal);
    const known = [...pods.all()].filter((pod): pod is Waiting => pod.warm !== undefined);
    let next = plan(this.#sight(key, goal, known));
    // Only a live list says how many there are: a cache that lags behind must not make one too many.
    if (next.create > 0 || this.#expectations.overdue(key, clock.now()))
      next = plan(this.#sight(key, goal, await this.#list(signal)));
    this.#tell(key, goal, next);
    const isDone = await this.#carryOut(key, goal, next, signal);
    if (goal === undefined) {
      // What its sessions said of a server is of use for a pool alone.
      this.#pools.delete(key);
      if (this.#server(key) === undefined) this.#looked.delete(key);
      return next.remove.length > 0 || this.#expectations.count(key) > 0 ? AGAIN_MS : undefined;
    }
    const isFull = next.ready + next.starting >= goal.desired;
    const isUnsettled = !isFull || this.#pool(key).demand.isPassing || this.#expectations.count(key) > 0;
    const waits = [
      ...(next.again === undefined ? [] : [next.again]),
      ...(isDone ? [] : [Math.max(SOON_MS, this.#backoff.wait(goal.template, clock.now()))]),
      ...(isUnsettled ? [AGAIN_MS] : []),
    ];
    return waits.length === 0 ? undefined : Math.min(...waits);
  }

  async #goal(key: string, signal: AbortSignal): Promise<Goal | undefined> {
    const server = this.#server(key);
    if (server === undefined || server.pool.max === 0) return undefined;
    const { min, max } = server.pool;
    const userNamespace = await this.#options.userNamespace(server, signal);
    const desired = this.#pool(key).demand.desired(
      // One that is paused opens no sessions, and yet those that sleep are woken.
      { min: server.paused ? 0 : min, max },
      this.#world.options.clock.now(),
    );
    return { server, userNamespace, template: templateOf(server, userNamespace), desired };
  }

  #server(key: string): ServerSpec | undefined {
    const { configured, resolve } = this.#options;
    // As the gateways have it: the configuration's server wins over an MCPServer of the same name.
    const own = configured.find(({ name }) => labelValue(name) === key);
    if (own !== undefined) return own;
    const found = [...this.#world.options.servers.all()].find(({ name }) => labelValue(name) === key);
    return found === undefined ? undefined : resolve(found.name, found.spec);
  }

  /** @param all pods of all pools. */
  #sight(key: string, goal: Goal | undefined, all: readonly Waiting[]): PoolSight {
    const { clock } = this.#world.options;
    const pods = all.filter(({ server }) => server === key);
    const { template = '' } = goal ?? {};
    for (const { warm, deleting } of pods) if (warm.ready && !deleting) this.#backoff.up(warm.template, warm.createdAt);
    const expected = this.#expectations.count(key);
    const starting = pods.filter(({ warm, deleting }) => !deleting && warm.template === template && !warm.ready).length;
    const room = this.#options.maxPods - all.filter(({ deleting }) => !deleting).length - this.#expectations.count();
    const { startTimeout = 0, pool } = goal?.server ?? {};
    return {
      pods,
      expected,
      template: goal?.template,
      desired: goal?.desired ?? 0,
      allowed: Math.min(CREATE_MOST, room, this.#backoff.allowed(template, starting + expected, clock.now())),
      wall: clock.wall(),
      maxAge: (pool?.maxAge ?? 0) * 1000,
      start: startTimeout * 1000,
    };
  }

  /** All pods that wait, as the API has them now. */
  async #list(signal: AbortSignal): Promise<Waiting[]> {
    const { kube, clock, pods, install, sessionsNamespace: namespace } = this.#world.options;
    const now = clock.now();
    const labelSelector = ownSelector(install, WARM);
    const list = await this.#world.read(
      (limits) => kube.core((api, options) => api.listNamespacedPod({ namespace, labelSelector }, options), limits),
      signal,
    );
    const found = (list?.items ?? []).map((item) => podFacts(item)).filter((one) => one !== undefined);
    for (const item of list?.items ?? []) pods.seed(item);
    this.#expectations.listed(new Set(found.map(({ name }) => name)), now);
    return found.filter((pod): pod is Waiting => pod.warm !== undefined);
  }

  /** Resolves with whether all was done. What could not be is logged, and waits for the backoff of its template. */
  async #carryOut(
    key: string,
    goal: Goal | undefined,
    { create, remove }: Plan,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { log, clock, sessionsNamespace } = this.#world.options;
    for (const { pod, why } of remove) {
      if (why === 'fault' || why === 'late') {
        this.#backoff.failed(pod.warm.template, clock.now(), clock.wall());
        log.warn('operator.pool-pod-failed', {
          server: key,
          pod: pod.name,
          why: pod.warm.fault ?? 'it did not come up in time',
        });
      }
      // With what it was decided by: one that was taken meanwhile is its session's.
      const isDone = await this.#world.removePod(pod, sessionsNamespace, signal, pod.resourceVersion);
      if (isDone) this.#world.did('warm-pod-removed', { pod: pod.name, server: key, why });
    }
    return goal === undefined || create === 0 || (await this.#create(key, goal, create, signal));
  }

  /** One, then twice as many each time: what is refused is refused a few times, not a hundred (as ReplicaSet's controller does). */
  async #create(key: string, goal: Goal, count: number, signal: AbortSignal): Promise<boolean> {
    const { clock, log } = this.#world.options;
    try {
      const owner = await this.#options.owner(signal);
      for (let left = count, batch = 1; left > 0; left -= batch, batch *= 2) {
        const names = Array.from({ length: Math.min(left, batch) }, warmName);
        const made = await Promise.allSettled(names.map((name) => this.#createOne(name, key, goal, owner, signal)));
        const failed = made.find((one): one is PromiseRejectedResult => one.status === 'rejected');
        if (failed !== undefined) throw failed.reason;
      }
      return true;
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      this.#backoff.failed(goal.template, clock.now(), clock.wall());
      log.warn('operator.pool-not-filled', { server: key, reason: fromFault(thrown).summary });
      return false;
    }
  }

  async #createOne(
    name: string,
    key: string,
    { server, userNamespace }: Goal,
    owner: OwnerReference | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { kube, clock, pods, install, sessionsNamespace: namespace } = this.#world.options;
    const body = warmManifest({
      ...{ name, namespace, install, run: this.#options.run, server, userNamespace },
      ...(owner === undefined ? {} : { owner }),
    });
    this.#expectations.expect(name, key, clock.now());
    this.#waiting.set(name, key);
    this.#asked.set(name, clock.now());
    try {
      const made = await this.#world.make(
        (limits) => kube.core((api, options) => api.createNamespacedPod({ namespace, body }, options), limits),
        signal,
      );
      this.#expectations.made(name);
      pods.seed(made);
      this.#world.did('warm-pod-created', { pod: name, server: key });
    } catch (thrown) {
      const { status } = fromFault(thrown);
      if (status >= 400 && status < 500) this.see(name, 'gone');
      throw thrown;
    }
  }

  #tell(key: string, goal: Goal | undefined, { ready, starting, create }: Plan): void {
    const pool = this.#pool(key);
    const counts = goal === undefined ? undefined : { ready, starting: starting + create, desired: goal.desired };
    const isSame = this.#looked.has(key) && isDeepStrictEqual(pool.counts, counts);
    pool.counts = counts;
    this.#looked.add(key);
    if (!isSame) this.#changed(key, counts);
  }

  /** What a pod is. Answers with whether a session has it that had none before. */
  #know({ name, component, server, warm }: PodFacts): boolean {
    if (warm !== undefined) {
      this.#waiting.set(name, server);
      const asked = this.#asked.get(name);
      if (warm.ready && asked !== undefined) {
        this.#asked.delete(name);
        this.#pool(server).demand.started(this.#world.options.clock.now() - asked);
      }
      return false;
    }
    this.#waiting.delete(name);
    this.#asked.delete(name);
    if (component !== 'session' || this.#taken.has(name)) return false;
    this.#taken.set(name, server);
    return true;
  }

  #pool(key: string): Pool {
    const pool = this.#pools.get(key) ?? { demand: new Demand(), counts: undefined };
    this.#pools.set(key, pool);
    return pool;
  }
}
