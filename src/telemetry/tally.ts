/** Counting on the path of every request: prom-client checks and hashes labels on each increment, this adds to a number. */
import type { Counter } from 'prom-client';

type Labels<L extends string> = Readonly<Record<L, string | number>>;

/** A counter whose increments are handed to prom-client when somebody asks for the metrics. */
export class Tally<L extends string> {
  readonly #names: readonly L[];
  readonly #counts = new Map<string, { readonly labels: Labels<L>; value: number }>();

  constructor(names: readonly L[]) {
    this.#names = names;
  }

  inc(labels: Labels<L>, by = 1): void {
    let key = '';
    for (const name of this.#names) key += `${String(labels[name])}\0`;
    const count = this.#counts.get(key);
    if (count === undefined) this.#counts.set(key, { labels: { ...labels }, value: by });
    else count.value += by;
  }

  /** Adds what was counted since the last time. */
  drain(into: Counter<L>): void {
    for (const count of this.#counts.values()) {
      if (count.value > 0) into.inc({ ...count.labels } as Partial<Record<L, string | number>>, count.value);
      count.value = 0;
    }
  }
}
