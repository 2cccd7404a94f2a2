/** Calls whose clients were asked and may never come back (MCP 2026-07-28, 'Multi Round-Trip Requests', server requirement 8): how many, how large, how long. */
import type { Clock, Timer } from '../../clock';
import type { Running } from './running';

export interface ParkedOptions {
  readonly clock: Clock;
  /** Calls at most. */
  readonly most: number;
  /** Milliseconds for which an answer that nobody has fetched is kept. */
  readonly keepMs: number;
  /** Told of a call that is given up, after it was taken out. */
  readonly dropped: (running: Running) => void;
}

/** Characters of all answers that wait to be fetched. */
const MAX_KEPT = 8_388_608;

export class Parked {
  readonly #options: ParkedOptions;
  /** The one that has waited longest first. */
  readonly #calls = new Set<Running>();
  readonly #timers = new Map<Running, Timer>();

  constructor(options: ParkedOptions) {
    this.#options = options;
  }

  /** Adds a call; where there are too many, the one that has waited longest is given up. */
  add(running: Running): void {
    this.#calls.add(running);
    const [oldest] = this.#calls;
    if (this.#calls.size > this.#options.most && oldest !== undefined) this.#drop(oldest);
  }

  /** The call's answer is there. */
  keep(running: Running): void {
    const { clock, keepMs } = this.#options;
    this.#timers.set(
      running,
      clock.after(keepMs, () => this.#drop(running)),
    );
    let kept = 0;
    for (const { finished } of this.#calls) kept += finished?.json.length ?? 0;
    for (const each of [...this.#calls]) {
      if (kept <= MAX_KEPT) return;
      kept -= each.finished?.json.length ?? 0;
      if (each.finished !== undefined) this.#drop(each);
    }
  }

  /** Takes a call out: its client came back, or it is over. */
  delete(running: Running): void {
    this.#calls.delete(running);
    this.#timers.get(running)?.cancel();
    this.#timers.delete(running);
  }

  close(): void {
    for (const running of [...this.#calls]) this.delete(running);
  }

  #drop(running: Running): void {
    this.delete(running);
    this.#options.dropped(running);
  }
}
