/** Places among the caps, and when one will be free. */
import type { AuthContext } from '../auth/context';
import type { Clock } from '../clock';
import type { ServerSpec } from '../config/server';
import type { AppError } from '../errors';
import { Admission, type Out } from './admission';
import {
  capInstall,
  Caps,
  capServer,
  capUser,
  spawnRate,
  userKey,
  type CapOptions,
  type CapScope,
  type Place,
} from './caps';
import type { Asker } from './census';
import { idleIn } from './expiry';
import type { Ledger } from './ledger';
import type { SessionStore } from './ports';
import type { Session } from './session';
import type { Table } from './table';

/** Sessions that are looked at to say when a place will be free. */
const RETRY_SAMPLE = 256;

export interface PlacesOptions extends CapOptions {
  readonly clock: Clock;
  /** Seconds between two sweeps for idle sessions. */
  readonly sweepInterval: number;
  readonly table: Table;
  readonly ledger: Ledger;
  readonly store: Pick<SessionStore, 'view'>;
}

export class Places {
  readonly #options: PlacesOptions;
  readonly #caps: Caps;
  /** Absent where no other process shares the store: then what is counted here is all. */
  readonly #admission: Admission | undefined;

  constructor(options: PlacesOptions) {
    this.#options = options;
    const { view } = options.store;
    this.#admission = view === undefined ? undefined : new Admission({ ...options, view });
    this.#caps = new Caps(options, options.clock.now());
  }

  /** Takes a place for a child among those of this process; see {@link Caps.take}. */
  take(name: string, { user }: AuthContext, server: ServerSpec, opens: boolean): Place {
    const now = this.#options.clock.now();
    const place = this.#caps.take(userKey(user), server, now, (scope) => this.#freeIn(scope, now), opens);
    return () => {
      place();
      this.#admission?.left(name);
    };
  }

  /**
   * Records that a session is about to have a child, and takes its place among those of all processes. Rejects as `record` does, as {@link Caps.take} throws, and with
   * `STORE_UNAVAILABLE`.
   */
  async enter(session: Session, opens: boolean, record: () => Promise<void>): Promise<void> {
    const admission = this.#admission;
    if (admission === undefined) return record();
    const { ledger } = this.#options;
    const { name, generation, server, auth } = session;
    const { maxSessions } = server;
    const asker: Asker = { name, generation, server: server.name, user: userKey(auth.user), opens, maxSessions };
    const foreseen = await admission.foresee(asker);
    if (foreseen !== undefined) throw this.#refused(foreseen, asker);
    ledger.hold(name);
    try {
      await record();
      const refused = await admission.ask(asker);
      if (refused !== undefined) throw this.#refused(refused, asker);
      ledger.admit(name);
    } finally {
      ledger.release(name);
    }
  }

  #refused(out: Out, asker: Asker): AppError {
    if (asker.opens) this.#caps.refund(asker.user, this.#options.clock.now());
    return this.#refusal(out, asker);
  }

  #refusal({ code, waitMs = 1_000, isOwn = false }: Out, { user, server }: Asker): AppError {
    const { maxPerUser, clock } = this.#options;
    const now = clock.now();
    switch (code) {
      case 'SESSION_CAP_USER':
        return capUser(maxPerUser, this.#freeIn({ user }, now));
      case 'SESSION_CAP_SERVER':
        return capServer(this.#freeIn({ server }, now));
      case 'SESSION_CAP_INSTALL':
        return capInstall(this.#freeIn({}, now));
      case 'SPAWN_RATE':
        return spawnRate(isOwn, waitMs / 1000);
    }
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
