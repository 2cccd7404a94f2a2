/** Templates whose pods do not come up are tried again later and later, with one pod each time. So is one that has never been tried. */

const FIRST_MS = 10_000;
const MOST_MS = 300_000;
/** Templates that are remembered. One that is forgotten is tried with one pod, as a new one is. */
const TEMPLATES_MAX = 1_000;

interface Trouble {
  readonly failures: number;
  /** When it may be tried again; monotonic milliseconds. */
  readonly until: number;
  /** Pods that were made later than this tell that it is over; wall-clock milliseconds. */
  readonly since: number;
}

export class Backoff {
  readonly #troubles = new Map<string, Trouble>();
  readonly #proved = new Set<string>();

  /** A pod of the template did not come up, or none could be made. Several that fail together are one failure. */
  failed(template: string, now: number, wall: number): void {
    this.#proved.delete(template);
    const before = this.#troubles.get(template);
    if (before !== undefined && now < before.until) return;
    const failures = (before?.failures ?? 0) + 1;
    const wait = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10));
    this.#troubles.set(template, { failures, until: now + wait, since: wall });
    forgetOldest(this.#troubles);
  }

  /** A pod of the template is up that was made at that moment; wall-clock milliseconds. */
  up(template: string, createdAt: number): void {
    const trouble = this.#troubles.get(template);
    if (trouble !== undefined && createdAt <= trouble.since) return; // it tells of better times
    this.#troubles.delete(template);
    this.#proved.add(template);
    forgetOldest(this.#proved);
  }

  /** How many pods may be made now, of which so many are on their way already. */
  allowed(template: string, starting: number, now: number): number {
    if (this.#proved.has(template)) return Infinity;
    return this.wait(template, now) > 0 ? 0 : Math.max(0, 1 - starting);
  }

  /** Milliseconds until it may be tried again. */
  wait(template: string, now: number): number {
    return Math.max(0, (this.#troubles.get(template)?.until ?? now) - now);
  }
}

function forgetOldest(known: Map<string, unknown> | Set<string>): void {
  const [oldest] = known.keys();
  if (known.size > TEMPLATES_MAX && oldest !== undefined) known.delete(oldest);
}
