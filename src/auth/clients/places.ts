/** How many of something may run at once, by key and in all; nobody waits for a place. */

export class Places {
  readonly #perKey: number;
  readonly #inAll: number;
  readonly #taken = new Map<string, number>();
  #count = 0;

  constructor(perKey: number, inAll: number) {
    this.#perKey = perKey;
    this.#inAll = inAll;
  }

  /** Takes a place; undefined when there is none. Call the returned function once. */
  take(key: string): (() => void) | undefined {
    const taken = this.#taken.get(key) ?? 0;
    if (this.#count >= this.#inAll || taken >= this.#perKey) return undefined;
    this.#count += 1;
    this.#taken.set(key, taken + 1);
    return () => {
      this.#count -= 1;
      const left = (this.#taken.get(key) ?? 1) - 1;
      if (left > 0) this.#taken.set(key, left);
      else this.#taken.delete(key);
    };
  }
}
