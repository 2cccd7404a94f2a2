/**
 * Which gateways live, by the operator's own monotonic clock: a Lease counts as renewed when its change was seen here, and has run out when none was seen for
 * its duration. One that is seen for the first time is given its whole duration.
 */
import type { Clock, Timer } from '../clock';
import type { Reflector, Seen } from '../kube/reflector';
import { isReplicaName } from '../peers/names';
import type { LeaseFacts } from './facts';

interface Watched {
  readonly version: string;
  readonly seenAt: number;
  readonly lease: LeaseFacts;
  readonly timer: Timer;
}

/** Replicas without a Lease that are remembered. One that is forgotten has died anew, which only makes the operator wait. */
const MISSING_MAX = 10_000;

export interface ReplicasOptions {
  readonly leases: Pick<Reflector<LeaseFacts>, 'follow' | 'isSynced'>;
  readonly clock: Clock;
  /** Whether the API answers us. While it does not, nobody can renew either, and nothing is said of those whose Lease runs out. */
  readonly isHeard: () => boolean;
  /** Called when a replica is found to be dead, when its Lease is gone, and when it lives again. */
  readonly changed: (name: string) => void;
}

export class Replicas {
  readonly #options: ReplicasOptions;
  readonly #leases = new Map<string, Watched>();
  /** Since when there is no Lease, of those that were asked for. */
  readonly #missing = new Map<string, number>();

  constructor(options: ReplicasOptions) {
    this.#options = options;
    options.leases.follow((name, seen) => this.#see(name, seen));
  }

  /**
   * Milliseconds for which a replica is known to be dead: its Lease ran out, was given back, or is not there. Undefined where it lives, or nothing can be
   * said yet. Nobody (an empty name) is dead from the first time that it is asked for.
   */
  deadFor(name: string, asker = name): number | undefined {
    const { clock, leases, isHeard } = this.#options;
    const known = this.#leases.get(name);
    const now = clock.now();
    if (known === undefined) {
      if (!leases.isSynced) return undefined;
      const key = name === '' ? `/${asker}` : name;
      const since = this.#missing.get(key) ?? now;
      this.#miss(key, since);
      return now - since;
    }
    if (!isHeard()) return undefined;
    const dead = now - known.seenAt - (known.lease.holder === '' ? 0 : known.lease.duration);
    return dead >= 0 ? dead : undefined;
  }

  /** What was seen of its Lease last; undefined where there is none. */
  version(name: string): string | undefined {
    return this.#leases.get(name)?.version;
  }

  /** Those that have a Lease. */
  get names(): IterableIterator<string> {
    return this.#leases.keys();
  }

  /** How many gateways of an install live; others may have Leases in the same namespace. */
  living(install: string): number {
    const ours = [...this.#leases].filter(([name, { lease }]) => isReplicaName(name) && lease.install === install);
    return ours.filter(([name]) => this.deadFor(name) === undefined).length;
  }

  /** A term begins, or the API answers again: every Lease is given its whole duration from now, because nobody could renew meanwhile. */
  begin(): void {
    for (const [name, { lease, timer }] of this.#leases) {
      timer.cancel();
      this.#watch(name, lease);
    }
  }

  stop(): void {
    for (const { timer } of this.#leases.values()) timer.cancel();
  }

  #see(name: string, seen: Seen<LeaseFacts>): void {
    const { clock, changed } = this.#options;
    const known = this.#leases.get(name);
    if (seen === 'gone') {
      const dead = this.deadFor(name) ?? 0; // it may have run out long before it was deleted
      known?.timer.cancel();
      this.#leases.delete(name);
      this.#miss(name, clock.now() - dead);
      return changed(name);
    }
    if (known?.version === seen.resourceVersion) return;
    const wasDead = known === undefined || this.deadFor(name) !== undefined;
    known?.timer.cancel();
    this.#missing.delete(name);
    this.#watch(name, seen);
    if (wasDead) changed(name);
  }

  #watch(name: string, lease: LeaseFacts): void {
    const { clock, changed } = this.#options;
    const timer = clock.after(lease.holder === '' ? 0 : lease.duration, () => changed(name));
    this.#leases.set(name, { version: lease.resourceVersion, seenAt: clock.now(), lease, timer });
  }

  #miss(key: string, since: number): void {
    this.#missing.set(key, since);
    const [oldest] = this.#missing.keys();
    if (this.#missing.size > MISSING_MAX && oldest !== undefined) this.#missing.delete(oldest);
  }
}
