/**
 * What was seen of the other replicas' Leases, and when, by our own monotonic clock: what their holders write as times is never compared with ours. Nothing
 * here asks anybody.
 */
import type { Clock } from '../clock';
import type { Projection } from '../kube/reflector';

/** One Lease as it was seen. */
export interface SeenLease extends Projection {
  /** `host:port`; empty where it names none. */
  readonly address: string;
  /** Milliseconds for which it stands without a renewal. */
  readonly duration: number;
  /** Its holder has given it back: it ends in order. */
  readonly isGivenBack: boolean;
}

interface Sighting {
  lease: SeenLease;
  /** When it was seen to change last. */
  at: number;
  /** Whether it was told to be dead or gone. */
  isToldGone: boolean;
}

/**
 * - `alive`: it changed within its duration;
 * - `left`: it was given back, and its name will not be used again;
 * - `overdue`: no change was seen for that long, so that it may be dead: read it before that is said;
 * - `unknown`: never seen.
 */
export type Standing = 'alive' | 'left' | 'overdue' | 'unknown';

/** Replicas that have left or died and are remembered, so that their end is told once. One that is forgotten is `unknown` again. */
const GONE_MAX = 1_000;
/** Replicas that are told of as living; of more, all who look choose the same. */
const LIVING_MAX = 100;

export class Sightings {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #seen = new Map<string, Sighting>();
  /** What {@link living} says until something changes. */
  #living: readonly string[] | undefined;
  /** Until then nobody could renew, so nothing before it counts as silence. */
  #countsFrom = -Infinity;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** A Lease as the API shows it now. Whether it is renewed is told by its version, which every write changes. */
  see(lease: SeenLease): void {
    this.#living = undefined;
    const known = this.#seen.get(lease.name);
    if (known === undefined) {
      this.#seen.set(lease.name, { lease, at: this.#clock.now(), isToldGone: false });
    } else if (known.lease.resourceVersion !== lease.resourceVersion) {
      known.lease = lease;
      known.at = this.#clock.now();
      // One that was stopped and goes on lives again; one that has left does not come back.
      if (!lease.isGivenBack) known.isToldGone = false;
    }
  }

  /**
   * The cluster could not be written to for a while, and can be again: every Lease gets its whole duration from now on, because its holder was no better off.
   */
  startOver(): void {
    this.#countsFrom = this.#clock.now();
  }

  standing(name: string): Standing {
    const known = this.#seen.get(name);
    if (known === undefined) return 'unknown';
    if (known.lease.isGivenBack) return 'left';
    const silent = this.#clock.now() - Math.max(known.at, this.#countsFrom);
    return silent < known.lease.duration ? 'alive' : 'overdue';
  }

  addressOf(name: string): string | undefined {
    const known = this.#seen.get(name);
    return known === undefined || known.lease.isGivenBack || known.lease.address === ''
      ? undefined
      : known.lease.address;
  }

  /** Those that can be reached, have not left and were not told to be gone. Silence alone takes nobody out: it is to be looked at first. */
  living(): readonly string[] {
    this.#living ??= [...this.#seen]
      .filter(([, { isToldGone, lease }]) => !isToldGone && !lease.isGivenBack && lease.address !== '')
      .map(([name]) => name)
      .sort()
      .slice(0, LIVING_MAX);
    return this.#living;
  }

  /** Those that seem to be dead, or have left, and were not told to be gone. */
  due(): string[] {
    return [...this.#seen]
      .filter(([name, { isToldGone }]) => !isToldGone && this.standing(name) !== 'alive')
      .map(([name]) => name);
  }

  /** Whether this is the first time that it is told to be gone. */
  tellGone(name: string): boolean {
    const known = this.#seen.get(name);
    if (known === undefined || known.isToldGone) return false;
    known.isToldGone = true;
    this.#living = undefined;
    this.#forget();
    return true;
  }

  #forget(): void {
    const gone = [...this.#seen].filter(([, { isToldGone }]) => isToldGone);
    for (const [name] of gone.slice(0, Math.max(0, gone.length - GONE_MAX))) this.#seen.delete(name);
  }
}
