/** Asks the forge again and again about users with live sessions: a blocked account shows on its API only, and refreshing goes on working. */
import type { Clock, Timer } from '../../clock';
import type { Account } from '../login/contract';
import type { GrantHolder } from './tokens';
import type { ProbeAnswer, Vault } from './vault';

/** Milliseconds between two rounds: with a session's end at once, a blocked user is out within a minute. */
export const PROBE_INTERVAL = 30_000;

/** Questions to the forge at once. */
const AT_ONCE = 8;

export interface ProberOptions {
  readonly vault: Pick<Vault, 'probe'>;
  /** Who has live sessions here. */
  readonly holders: () => Promise<readonly GrantHolder[]>;
  readonly clock: Clock;
  /** Milliseconds; {@link PROBE_INTERVAL} unless set. */
  readonly interval?: number;
  /** The user's sessions by this application are to be ended: they must log in again. Told in every round until they are. */
  readonly ended: (holder: GrantHolder, reason: (ProbeAnswer & { verdict: 'ended' })['reason']) => void;
  /** The account as it is now, for what else is asked of it (no site administrators). */
  readonly seen: (holder: GrantHolder, account: Account) => void;
}

export class Prober {
  readonly #options: ProberOptions;
  readonly #timer: Timer;
  readonly #stop = new AbortController();
  #running = false;

  /** Starts at once; the first round is after one interval. */
  constructor(options: ProberOptions) {
    this.#options = options;
    // A round that takes longer than the interval is not overtaken.
    this.#timer = options.clock.every(options.interval ?? PROBE_INTERVAL, () => {
      if (this.#running) return;
      this.#running = true;
      this.round()
        .catch(() => undefined)
        .finally(() => (this.#running = false));
    });
  }

  /** Asks for everybody once. */
  async round(): Promise<void> {
    const waiting = [...(await this.#options.holders())];
    const worker = async (): Promise<void> => {
      for (let holder = waiting.pop(); holder !== undefined; holder = waiting.pop()) await this.#ask(holder);
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, waiting.length) }, worker));
  }

  /** Ends the rounds; one that runs tells nothing more. */
  stop(): void {
    this.#timer.cancel();
    this.#stop.abort();
  }

  async #ask(holder: GrantHolder): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const { vault, ended, seen } = this.#options;
    const answer = await vault.probe(holder.user, holder.application, this.#stop.signal);
    if (this.#stop.signal.aborted) return;
    if (answer.verdict === 'ended') ended(holder, answer.reason);
    else if (answer.verdict === 'ok') seen(holder, answer.account);
  }
}
