/**
 * A turn that is a Lease (coordination.k8s.io/v1), by the rules of client-go's leader election: the clocks of two gateways are never compared. Whoever does
 * not hold it watches the record, and takes it only when it has not changed for its whole duration by the watcher's own monotonic clock.
 */
import { V1MicroTime, type V1Lease } from '@kubernetes/client-node';
import type { Clock } from '../../clock';
import type { KubeClient } from '../../kube/client';
import { fromFault } from '../../kube/error';
import type { Turn } from '../contract';
import { storeUnavailable } from '../unavailable';

export interface LeaseOptions {
  /** Stays the caller's. */
  readonly kube: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Names this gateway's run; random, never used again. */
  readonly holder: string;
  /** Seconds without a renewal after which another may take it; longer than two intervals of {@link Turn.take}. */
  readonly duration: number;
  readonly clock: Pick<Clock, 'now' | 'wall'>;
}

/** A turn that is the Lease of that name, which is made when it is not there. */
export function leaseTurn(options: LeaseOptions): Turn {
  return new LeaseTurn(options);
}

class LeaseTurn implements Turn {
  readonly #options: LeaseOptions;
  /** What was seen last of somebody else's turn, and when, by our clock. */
  #seen: { readonly version: string; readonly at: number } | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  async take(): Promise<boolean> {
    const { kube, namespace, holder } = this.#options;
    const lease = await this.#read();
    if (lease === undefined) {
      const body = { metadata: { name: this.#options.name }, spec: this.#spec(0) };
      const created = kube.coordination((api, options) => api.createNamespacedLease({ namespace, body }, options));
      return this.#won(created, [409]);
    }
    const { holderIdentity = '', leaseTransitions = 0 } = lease.spec ?? {};
    if (holderIdentity !== holder && holderIdentity !== '' && !this.#runOut(lease)) return false;
    const { acquireTime } = lease.spec ?? {};
    const renewed = { ...this.#spec(leaseTransitions), ...(acquireTime === undefined ? {} : { acquireTime }) };
    return this.#write(lease, holderIdentity === holder ? renewed : this.#spec(leaseTransitions + 1));
  }

  async release(): Promise<void> {
    const lease = await this.#read();
    if (lease?.spec?.holderIdentity !== this.#options.holder) return;
    await this.#write(lease, { ...this.#spec(lease.spec.leaseTransitions ?? 0), holderIdentity: '' });
  }

  /** Whether somebody else's turn has stood unchanged for as long as it lasts. */
  #runOut(lease: V1Lease): boolean {
    const now = this.#options.clock.now();
    const version = lease.metadata?.resourceVersion ?? '';
    if (this.#seen?.version !== version) this.#seen = { version, at: now };
    const seconds = lease.spec?.leaseDurationSeconds ?? this.#options.duration;
    return now - this.#seen.at >= seconds * 1000;
  }

  #spec(leaseTransitions: number): NonNullable<V1Lease['spec']> {
    const { holder, duration, clock } = this.#options;
    const now = new V1MicroTime(clock.wall());
    return {
      holderIdentity: holder,
      leaseDurationSeconds: Math.ceil(duration),
      acquireTime: now,
      renewTime: now,
      leaseTransitions,
    };
  }

  async #read(): Promise<V1Lease | undefined> {
    const { kube, namespace, name } = this.#options;
    try {
      return await kube.coordination((api, options) => api.readNamespacedLease({ namespace, name }, options));
    } catch (thrown) {
      const error = fromFault(thrown);
      if (error.status === 404) return undefined;
      throw storeUnavailable(error.summary);
    }
  }

  /** Replaces the lease that was read. */
  #write(lease: V1Lease, spec: NonNullable<V1Lease['spec']>): Promise<boolean> {
    const { kube, namespace, name } = this.#options;
    const { resourceVersion } = lease.metadata ?? {};
    const body = { metadata: { name, ...(resourceVersion === undefined ? {} : { resourceVersion }) }, spec };
    return this.#won(
      kube.coordination((api, options) => api.replaceNamespacedLease({ namespace, name, body }, options)),
      [404, 409],
    );
  }

  /** False where the write was answered with one of these statuses: somebody was quicker. */
  async #won(write: Promise<unknown>, statuses: readonly number[]): Promise<boolean> {
    try {
      await write;
      return true;
    } catch (thrown) {
      const error = fromFault(thrown);
      if (statuses.includes(error.status)) return false;
      throw storeUnavailable(error.summary);
    }
  }
}
