/**
 * This replica's Lease, and who else has one; see {@link Replicas}. Each replica renews its own and watches those of its install. Nobody takes another's
 * Lease: what a replica held is taken over record by record, each with a higher epoch.
 */
import type { Clock, Timer } from '../clock';
import { AppError } from '../errors';
import type { CallOptions, KubeClient } from '../kube/client';
import { fromFault } from '../kube/error';
import { LABEL_PREFIX, LABELS, labelValue, ownSelector } from '../kube/labels';
import { Lease, type LeaseObject, LEASES } from '../kube/lease';
import { KubeObjects } from '../kube/objects';
import type { OwnerReference } from '../kube/owner';
import { Reflector } from '../kube/reflector';
import type { Logger } from '../telemetry/log';
import type { Replicas } from './contract';
import { ADDRESS_ANNOTATION, isReplicaName, replicaName, splitAddress } from './names';
import { type SeenLease, Sightings } from './sightings';

const COMPONENT = 'gateway';

export interface ReplicasOptions {
  /** Stays the caller's. */
  readonly kube: KubeClient;
  /** The release's. */
  readonly namespace: string;
  /** Names the install: replicas of others are not seen. */
  readonly install: string;
  /** `host:port` at which the others reach this replica's peer listener. */
  readonly address: string;
  /** A Lease of the namespace that goes with the release, and takes along those of replicas that were killed. Nothing does unless it is there. */
  readonly owner?: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly times?: Partial<ReplicaTimes>;
}

/**
 * Milliseconds. Where the cluster is away for less than `hiccupMs` nobody is given more time, so `duration` is longer than `renewMs`, `hiccupMs`, `callMs` and
 * `retryMs` together: then a replica that lives has renewed by then.
 */
export interface ReplicaTimes {
  /** For which a Lease stands without a renewal. Whole seconds. */
  readonly durationMs: number;
  /** Between two renewals. */
  readonly renewMs: number;
  /** For one call of the API. */
  readonly callMs: number;
  /** Between a renewal that failed and the next. */
  readonly retryMs: number;
  /** Without a renewal of our own after which the silence of others says nothing. */
  readonly hiccupMs: number;
}

const TIMES: ReplicaTimes = { durationMs: 10_000, renewMs: 2_000, callMs: 3_000, retryMs: 500, hiccupMs: 3_000 };

/** Makes the registry. It asks nothing before it is started. */
export function createReplicas(options: ReplicasOptions): Replicas {
  return new LeasedReplicas(options);
}

class LeasedReplicas implements Replicas {
  readonly self = replicaName();
  readonly #options: ReplicasOptions;
  readonly #times: ReplicaTimes;
  readonly #lease: Lease;
  readonly #leases: KubeObjects<LeaseObject>;
  readonly #reflector: Reflector<SeenLease>;
  readonly #sightings: Sightings;
  readonly #looks = new Map<string, Promise<boolean>>();
  readonly #goneTold = new Set<(name: string) => void>();
  readonly #sureTold = new Set<() => void>();
  readonly #stopped = new AbortController();
  /** When the last renewal that was done was begun. */
  #renewedAt = -Infinity;
  #running: Promise<void> | undefined;

  constructor(options: ReplicasOptions) {
    const { kube, namespace, install, address, owner, clock, log } = options;
    const label = labelValue(install);
    this.#options = options;
    this.#times = { ...TIMES, ...options.times };
    this.#leases = new KubeObjects(kube, LEASES, namespace);
    this.#lease = new Lease({
      kube,
      namespace,
      name: this.self,
      holder: this.self,
      duration: this.#times.durationMs / 1000,
      clock,
      labels: { [LABELS.install]: label, [LABELS.managedBy]: LABEL_PREFIX, [LABELS.component]: COMPONENT },
      annotations: { [ADDRESS_ANNOTATION]: address },
      ...(owner === undefined ? {} : { owners: (limits) => this.#owners(owner, limits) }),
    });
    this.#sightings = new Sightings(clock);
    this.#reflector = new Reflector({
      kube,
      clock,
      log,
      path: this.#leases.path,
      selector: ownSelector(install, COMPONENT),
      what: 'replicas',
      project: (value) => seenLease(value, label, this.#times.durationMs),
    });
    // That a Lease is deleted says nothing by itself, because anybody can do that: who lives makes it again. Who leaves gives it back before.
    this.#reflector.follow((name, seen) => {
      if (name === this.self || seen === 'gone') return;
      this.#sightings.see(seen);
      if (seen.isGivenBack) this.#tellGone(name, 'left');
    });
  }

  get isSure(): boolean {
    return this.#options.clock.now() - this.#renewedAt < this.#times.durationMs;
  }

  async addressOf(name: string): Promise<string | undefined> {
    if (name === this.self) return this.#options.address;
    const standing = this.#sightings.standing(name);
    if (standing === 'unknown') await this.#read(name);
    return this.#sightings.addressOf(name);
  }

  living(): readonly string[] {
    return [this.self, ...this.#sightings.living()];
  }

  async isAlive(name: string): Promise<boolean> {
    if (name === this.self) return true;
    const standing = this.#sightings.standing(name);
    if (standing === 'alive') return true;
    return standing === 'left' ? false : this.#look(name);
  }

  onGone(told: (name: string) => void): () => void {
    this.#goneTold.add(told);
    return () => void this.#goneTold.delete(told);
  }

  onSureAgain(told: () => void): () => void {
    this.#sureTold.add(told);
    return () => void this.#sureTold.delete(told);
  }

  async start(signal: AbortSignal): Promise<void> {
    while (!(await this.#renew())) {
      if (signal.aborted) throw unavailable('this replica’s Lease could not be made');
      await this.#sleep(this.#times.retryMs, signal);
    }
    this.#running = this.#run();
    try {
      await this.#reflector.synced(signal);
    } catch (thrown) {
      await this.stop();
      throw unavailable(fromFault(thrown).summary);
    }
  }

  async stop(): Promise<void> {
    const { signal } = this.#stopped;
    if (signal.aborted) return;
    this.#stopped.abort();
    await Promise.all([this.#running, this.#reflector.stop()]);
    this.#renewedAt = -Infinity;
    const limits = { timeout: this.#times.callMs };
    try {
      await this.#lease.release(limits);
      await this.#leases.delete(this.self, {}, limits);
    } catch (thrown) {
      // The others wait until it has run out; the operator removes it.
      this.#options.log.info('replicas.lease-left', { reason: fromFault(thrown).summary });
    }
  }

  /** Read anew each time: what is owned by something that is gone is removed as soon as it was made. */
  async #owners(name: string, limits?: CallOptions): Promise<OwnerReference[]> {
    try {
      const { metadata } = await this.#leases.get(name, limits);
      if (metadata.uid === undefined) return [];
      return [{ apiVersion: 'coordination.k8s.io/v1', kind: LEASES.kind, name, uid: metadata.uid }];
    } catch (thrown) {
      const fault = fromFault(thrown);
      if (fault.status === 404) return [];
      throw fault;
    }
  }

  /** Renews, and looks after those that are overdue, until it is stopped. */
  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    let isRenewed = true;
    while (!signal.aborted) {
      const { renewMs, retryMs } = this.#times;
      // Not all at the same moment: replicas that started together would write together for ever.
      await this.#sleep(isRenewed ? renewMs * (0.9 + Math.random() / 10) : retryMs, signal);
      if (signal.aborted) return;
      isRenewed = await this.#renew();
      if (isRenewed) for (const name of this.#sightings.due()) void this.#look(name).catch(() => undefined);
    }
  }

  /** Resolves with whether it is renewed; never rejects. */
  async #renew(): Promise<boolean> {
    const { clock, log } = this.#options;
    const began = clock.now();
    let reason = 'somebody else writes it';
    const isRenewed = await this.#lease.take({ timeout: this.#times.callMs }).catch((thrown: unknown) => {
      reason = fromFault(thrown).summary;
      return false;
    });
    if (!isRenewed) {
      log.warn('replicas.renewal-failed', { reason, isSure: this.isSure });
      return false;
    }
    const wasSure = this.isSure;
    const isFirst = this.#renewedAt === -Infinity;
    if (began - this.#renewedAt > this.#times.hiccupMs) this.#sightings.startOver();
    this.#renewedAt = began;
    if (!wasSure && !isFirst) {
      log.warn('replicas.sure-again', { replica: this.self });
      for (const told of [...this.#sureTold]) told();
    }
    return true;
  }

  /** Whether one that seems to be dead lives. All that ask at once share one look. */
  #look(name: string): Promise<boolean> {
    const running = this.#looks.get(name) ?? this.#lookNow(name).finally(() => this.#looks.delete(name));
    this.#looks.set(name, running);
    return running;
  }

  async #lookNow(name: string): Promise<boolean> {
    const isThere = await this.#read(name);
    const standing = this.#sightings.standing(name);
    if (standing === 'alive') return true;
    if (standing === 'overdue' && !this.#canJudge) throw unavailable('this replica’s own Lease is not renewed');
    this.#tellGone(name, standing === 'left' ? 'left' : isThere ? 'dead' : 'gone');
    return false;
  }

  /** While we cannot renew, others may not be able to either. */
  get #canJudge(): boolean {
    return this.#options.clock.now() - this.#renewedAt <= this.#times.hiccupMs;
  }

  #tellGone(name: string, how: 'left' | 'dead' | 'gone'): void {
    if (!this.#sightings.tellGone(name)) return;
    this.#options.log.info('replicas.gone', { replica: name, how });
    for (const told of [...this.#goneTold]) told(name);
  }

  /** A live read. Resolves with whether there is such a replica. */
  async #read(name: string): Promise<boolean> {
    if (!isReplicaName(name)) return false;
    try {
      const found = await this.#leases.get(name, { timeout: this.#times.callMs });
      return this.#reflector.seed(found) !== undefined; // in its place among what the watch shows, which may be behind
    } catch (thrown) {
      const fault = fromFault(thrown);
      if (fault.status === 404) return false;
      throw unavailable(fault.summary);
    }
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer: Timer = this.#options.clock.after(ms, done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

/** What is kept of a Lease; undefined for one that is no replica's, or another install's. */
function seenLease(value: unknown, install: string, usualMs: number): SeenLease | undefined {
  const { metadata, spec } = (value ?? {}) as Partial<LeaseObject>;
  const { name = '', uid = '', resourceVersion = '', labels = {}, annotations = {} } = metadata ?? {};
  if (!isReplicaName(name) || labels[LABELS.install] !== install) return undefined;
  const address = annotations[ADDRESS_ANNOTATION] ?? '';
  const seconds = spec?.leaseDurationSeconds;
  return {
    name,
    uid,
    resourceVersion,
    address: splitAddress(address) === undefined ? '' : address,
    duration: seconds === undefined || seconds <= 0 ? usualMs : seconds * 1000,
    isGivenBack: (spec?.holderIdentity ?? '') === '',
  };
}

function unavailable(detail: string): AppError {
  return new AppError(
    'STORE_UNAVAILABLE',
    'The gateway cannot tell at the moment which of its replicas are at work. Try again in a few seconds.',
    { detail, retryAfter: 2 },
  );
}
