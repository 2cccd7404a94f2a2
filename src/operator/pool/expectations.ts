/**
 * Pods that were asked for and that the cache has not shown yet. Their names are known beforehand and never used again, so each is waited for by itself: one
 * that is seen, in whatever state, is waited for no more, and nothing else stands for it (ReplicaSet's controller counts, and names only what it deletes).
 */

/**
 * Milliseconds after which a pod whose creation got no answer, and that a live list does not show, has not been made and will not be: the API server gives a
 * request up after one minute.
 */
export const CREATE_LOST_MS = 120_000;

interface Expected {
  readonly server: string;
  /** When it was asked for; monotonic milliseconds. */
  readonly at: number;
  /** The API said that it made it. */
  made: boolean;
}

export class Expectations {
  readonly #expected = new Map<string, Expected>();

  /** It is about to be asked for: before, not after, because the cache may be quicker than the answer. */
  expect(name: string, server: string, at: number): void {
    this.#expected.set(name, { server, at, made: false });
  }

  /** The API said that it made it. */
  made(name: string): void {
    const expected = this.#expected.get(name);
    if (expected !== undefined) expected.made = true;
  }

  /** It was seen, is gone again, or was refused. */
  met(name: string): void {
    this.#expected.delete(name);
  }

  /** How many of a server's are waited for; of all where none is named. */
  count(server?: string): number {
    if (server === undefined) return this.#expected.size;
    return [...this.#expected.values()].filter((one) => one.server === server).length;
  }

  /** Whether one of a server's is waited for in vain: a live list tells which. */
  overdue(server: string, now: number): boolean {
    return [...this.#expected.values()].some((one) => one.server === server && now - one.at >= CREATE_LOST_MS);
  }

  /**
   * A live list has shown these pods, that were there after all whose names were expected before `now`. What the API said that it made and is not among them
   * waits no more, and neither does what was asked for long ago.
   */
  listed(names: ReadonlySet<string>, now: number): void {
    for (const [name, { made, at }] of this.#expected)
      if (names.has(name) || made || now - at >= CREATE_LOST_MS) this.#expected.delete(name);
  }
}
