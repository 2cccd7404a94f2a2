/** Servers that are being emptied: their sessions end, those in use once their calls are answered. */
import type { Clock } from '../clock';
import * as refusals from './refusals';
import type { Session } from './session';
import { within } from './within';

export interface DrainOptions {
  readonly clock: Clock;
  /** Whether the server of that name is to have no sessions. */
  readonly drains: (server: string) => boolean;
  /** Seconds for calls in flight. */
  readonly drainTimeout: number;
  readonly end: (session: Session) => void;
}

export class Drain {
  readonly #options: DrainOptions;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  /**
   * Looks whether a session's server is being emptied, or is so no longer: what is asked for now counts, so that a look too many does nothing and one that was
   * missed is made up for by the next.
   */
  look(session: Session): void {
    const { clock, drains, drainTimeout, end } = this.#options;
    if (!drains(session.server.name)) {
      session.draining = undefined;
    } else if (session.draining === undefined && session.isLive) {
      const turn = (session.draining = {});
      if (session.state === 'starting' || !session.busy) return end(session);
      const over = (): void => {
        if (session.draining === turn) end(session);
      };
      void within(clock, drainTimeout * 1000, session.quiet(), refusals.serverDraining).then(over, over);
    }
  }
}
