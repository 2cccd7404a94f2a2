/** Places among the caps, and when one will be free. */
import type { AuthContext } from '../auth/context';
import type { Clock } from '../clock';
import type { ServerSpec } from '../config/server';
import { Caps, userKey, type CapOptions, type CapScope, type Place } from './caps';
import { idleIn } from './expiry';
import type { Table } from './table';

/** Sessions that are looked at to say when a place will be free. */
const RETRY_SAMPLE = 256;

export interface PlacesOptions extends CapOptions {
  readonly clock: Clock;
  /** Seconds between two sweeps for idle sessions. */
  readonly sweepInterval: number;
  readonly table: Table;
}

export class Places {
  readonly #options: PlacesOptions;
  readonly #caps: Caps;

  constructor(options: PlacesOptions) {
    this.#options = options;
    this.#caps = new Caps(options, options.clock.now());
  }

  /** Takes a place for a child; see {@link Caps.take}. */
  take({ user }: AuthContext, server: ServerSpec, opens: boolean): Place {
    const now = this.#options.clock.now();
    return this.#caps.take(userKey(user), server, now, (scope) => this.#freeIn(scope, now), opens);
  }

  /** See {@link Caps.hold}. */
  hold({ user }: AuthContext, server: ServerSpec): Place {
    return this.#caps.hold(userKey(user), server);
  }

  /** See {@link Caps.sweep}. */
  sweep(now: number): void {
    this.#caps.sweep(now);
  }

  /** Seconds until the reaper may free a place in a scope: the next sweep after its first session is idle for long enough. */
  #freeIn(scope: CapScope, now: number): number {
    const { table, sweepInterval } = this.#options;
    let soonest = Infinity;
    let looked = 0;
    for (const session of table) {
      if (scope.user !== undefined && userKey(session.auth.user) !== scope.user) continue;
      if (scope.server !== undefined && session.server.name !== scope.server) continue;
      if (session.place === undefined) continue; // it sleeps
      looked += 1;
      if (looked > RETRY_SAMPLE) break;
      if (session.state === 'ending' || session.leaving !== undefined) return 1;
      soonest = Math.min(soonest, idleIn(session.server, session.times, now) ?? Infinity);
    }
    return soonest === Infinity ? sweepInterval : Math.max(1, Math.ceil(soonest / sweepInterval) * sweepInterval);
  }
}
