/**
 * A Lease (coordination.k8s.io/v1) that one of several processes holds, by the rules of client-go's leader election: the clocks of two processes are never
 * compared. Whoever does not hold it watches the record, and takes it only when it has not changed for its whole duration by the watcher's own
 * monotonic clock. Every write names the resource version that was read, so that of many who try at once one succeeds.
 */
import type { V1OwnerReference } from '@kubernetes/client-node';
import type { Clock } from '../clock';
import type { CallOptions, KubeClient } from './client';
import { fromFault, KubeError } from './error';
import { type KubeObject, KubeObjects, type Resource } from './objects';

/** The Lease resource, for whoever watches Leases. */
export const LEASES: Resource = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease' };

/** A Lease as it comes over the wire. */
export interface LeaseObject extends KubeObject {
  readonly spec?: {
    /** Absent or empty: nobody has it. */
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

export interface LeaseOptions {
  /** Stays the caller's. */
  readonly kube: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Names this process's run; random, never used again. */
  readonly holder: string;
  /** Seconds without a renewal after which another may take it. */
  readonly duration: number;
  readonly clock: Pick<Clock, 'now' | 'wall'>;
  /** What is said beside it, written with every renewal. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Asked each time that it is made, for what takes it along when it goes. */
  readonly owners?: (limits?: CallOptions) => Promise<V1OwnerReference[]>;
}

/**
 * The calls; one of them at a time. All reject with {@link KubeError}, or the signal's reason, when it cannot be told how it stands: after that
 * the Lease may have been written all the same.
 */
export class Lease {
  readonly #options: LeaseOptions;
  readonly #leases: KubeObjects<LeaseObject>;
  /** What was seen last of somebody else's Lease, and when, by our clock. */
  #seen: { readonly version: string; readonly at: number } | undefined;
  /** As we wrote it last, while nothing says that it has changed since. */
  #own: LeaseObject | undefined;
  #holder = '';

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#leases = new KubeObjects(options.kube, LEASES, options.namespace);
  }

  /** Who had it when it was looked at last; empty where nobody had. */
  get holder(): string {
    return this.#holder;
  }

  /** Takes it, renews it, or finds that another has it. Resolves with whether it is ours from now on. It is made where it is not there. */
  async take(limits?: CallOptions): Promise<boolean> {
    const { holder } = this.#options;
    const own = this.#own;
    // Nobody else writes a Lease that is held: mostly one call does.
    if (own !== undefined && (await this.#write(own, this.#renewed(own), limits))) return true;
    const lease = await this.#read(limits);
    if (lease === undefined) return this.#create(limits);
    const present = lease.spec?.holderIdentity ?? '';
    if (present === holder) return this.#write(lease, this.#renewed(lease), limits);
    this.#holder = present;
    if (present !== '' && !this.#runOut(lease)) return false;
    return this.#write(lease, this.#spec((lease.spec?.leaseTransitions ?? 0) + 1), limits);
  }

  /** Gives it back, so that another need not wait until it has run out. Nothing happens where it is not ours. */
  async release(limits?: CallOptions): Promise<void> {
    this.#own = undefined;
    const lease = await this.#read(limits);
    if (lease?.spec?.holderIdentity !== this.#options.holder) return;
    await this.#write(lease, { ...this.#spec(lease.spec.leaseTransitions ?? 0), holderIdentity: '' }, limits);
    this.#own = undefined;
  }

  /** Whether somebody else's has stood unchanged for as long as it lasts. */
  #runOut(lease: LeaseObject): boolean {
    const now = this.#options.clock.now();
    const version = lease.metadata.resourceVersion ?? '';
    if (this.#seen?.version !== version) this.#seen = { version, at: now };
    const seconds = lease.spec?.leaseDurationSeconds ?? this.#options.duration;
    return now - this.#seen.at >= seconds * 1000;
  }

  #renewed({ spec }: LeaseObject): NonNullable<LeaseObject['spec']> {
    const { acquireTime, leaseTransitions = 0 } = spec ?? {};
    return { ...this.#spec(leaseTransitions), ...(acquireTime === undefined ? {} : { acquireTime }) };
  }

  #spec(leaseTransitions: number): NonNullable<LeaseObject['spec']> {
    const { holder, duration, clock } = this.#options;
    const now = microTime(clock.wall());
    return {
      holderIdentity: holder,
      leaseDurationSeconds: Math.ceil(duration),
      acquireTime: now,
      renewTime: now,
      leaseTransitions,
    };
  }

  async #read(limits?: CallOptions): Promise<LeaseObject | undefined> {
    try {
      return await this.#leases.get(this.#options.name, limits);
    } catch (thrown) {
      if (limits?.signal?.aborted === true) throw thrown;
      const error = fromFault(thrown);
      if (error.status === 404) return undefined;
      throw error;
    }
  }

  async #create(limits?: CallOptions): Promise<boolean> {
    const { name, labels, annotations, owners } = this.#options;
    const ownerReferences = (await owners?.(limits)) ?? [];
    const metadata = {
      name,
      ...(ownerReferences.length === 0 ? {} : { ownerReferences }),
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
    };
    const lease = { apiVersion: 'coordination.k8s.io/v1', kind: LEASES.kind, metadata, spec: this.#spec(0) };
    return this.#won(this.#leases.create(lease, limits), [409]);
  }

  /** Replaces the Lease that was read. What others say beside it stays. */
  #write(lease: LeaseObject, spec: NonNullable<LeaseObject['spec']>, limits?: CallOptions): Promise<boolean> {
    const { labels, annotations } = this.#options;
    const metadata = {
      ...lease.metadata,
      labels: { ...lease.metadata.labels, ...labels },
      annotations: { ...lease.metadata.annotations, ...annotations },
    };
    return this.#won(this.#leases.replace({ ...lease, metadata, spec }, limits), [404, 409]);
  }

  /** False where the write was answered with one of these statuses: somebody was quicker. */
  async #won(write: Promise<LeaseObject>, refused: readonly number[]): Promise<boolean> {
    this.#own = undefined;
    try {
      this.#own = await write;
    } catch (thrown) {
      if (thrown instanceof KubeError && refused.includes(thrown.status)) return false;
      throw thrown;
    }
    this.#holder = this.#own.spec?.holderIdentity ?? '';
    return true;
  }
}

/** Kubernetes' MicroTime: RFC 3339 with exactly six digits of a second. */
function microTime(wall: number): string {
  return new Date(wall).toISOString().replace('Z', '000Z');
}
