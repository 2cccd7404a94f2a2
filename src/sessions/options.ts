/** What the registry is made of. */
import type { Clock } from '../clock';
import type { BindingPolicy } from './binding';
import type { CapOptions } from './caps';
import type { CrowdOptions } from './crowd';
import type { Holders } from './holders';
import type { SessionIds } from './ids';
import type { AdoptFunc, ChildPlace, SessionObserver, SessionStore, SpawnFunc } from './ports';

export interface RegistryOptions extends CapOptions, CrowdOptions {
  readonly spawn: SpawnFunc;
  /** Absent where children do not outlive the process that started them. */
  readonly adopt?: AdoptFunc;
  readonly store: SessionStore;
  readonly clock: Clock;
  readonly ids: SessionIds;
  readonly observer: SessionObserver;
  readonly binding: BindingPolicy;
  readonly holders: Holders;
  /** Whether the server of that name is to have no sessions. Must not throw. */
  readonly drains: (server: string) => boolean;
  /** Seconds that calls in flight have when their server is emptied. */
  readonly drainTimeout: number;
  /** Removes what is left of a session's child to which nothing here speaks. Resolves when it is gone; never rejects. */
  readonly discard: (child: ChildPlace) => Promise<void>;
  /** Seconds between two sweeps for idle and expired sessions. */
  readonly sweepInterval: number;
  /** GET streams that one session may have open. */
  readonly maxStreams: number;
  /** Seconds for which the record of an ended session is kept. */
  readonly keepRecords: number;
}
