/** Sets as they are in the store, remembered for a moment: hundreds of sessions of one user ask for the same one. */
import type { Clock } from '../../clock';
import type { Collection, Item } from '../../stores/sealed';
import { MAX_REMEMBERED, type TokenSet } from './contract';
import { keepUntil } from './set';

interface Remembered {
  readonly set: TokenSet | undefined;
  /** Monotonic milliseconds. */
  readonly until: number;
}

export class Sets {
  readonly #collection: Collection<TokenSet>;
  readonly #clock: Clock;
  readonly #cacheMs: number;
  /** Newest last. */
  readonly #remembered = new Map<string, Remembered>();
  readonly #reading = new Map<string, Promise<TokenSet | undefined>>();

  constructor(collection: Collection<TokenSet>, clock: Clock, cacheMs: number) {
    this.#collection = collection;
    this.#clock = clock;
    this.#cacheMs = cacheMs;
  }

  /** The set, at most `cacheMs` old. One read for all who ask at once. */
  async recent(id: string): Promise<TokenSet | undefined> {
    const known = this.#remembered.get(id);
    if (known !== undefined && known.until > this.#clock.now()) return known.set;
    return this.#reading.get(id) ?? this.#read(id);
  }

  /** The record as it is now. */
  async current(id: string): Promise<Item<TokenSet> | undefined> {
    const item = await this.#collection.get(id);
    if (!this.#outdated(id, item?.value)) this.#remember(id, item?.value);
    return item;
  }

  async create(id: string, set: TokenSet): Promise<Item<TokenSet> | undefined> {
    return this.#written(id, await this.#collection.create(id, set, this.#options(set)));
  }

  /** Undefined where the record is not as `item` any more. */
  async replace(id: string, item: Item<TokenSet>, set: TokenSet): Promise<Item<TokenSet> | undefined> {
    return this.#written(id, await this.#collection.replace(item, set, this.#options(set)));
  }

  async delete(id: string): Promise<void> {
    await this.#collection.delete(id);
    this.#remember(id, undefined);
  }

  #options(set: TokenSet): { expiresAt: number } {
    return { expiresAt: keepUntil(set, this.#clock.wall()) };
  }

  #written(id: string, item: Item<TokenSet> | undefined): Item<TokenSet> | undefined {
    if (item !== undefined) this.#remember(id, item.value);
    return item;
  }

  /** Whether a read was overtaken by a write of this process: what has just logged in must not look suspended again. */
  #outdated(id: string, set: TokenSet | undefined): boolean {
    const known = this.#remembered.get(id);
    if (known?.set === undefined || known.until <= this.#clock.now()) return false;
    return set !== undefined && set.generation < known.set.generation;
  }

  #read(id: string): Promise<TokenSet | undefined> {
    const reading = this.#collection.get(id).then(
      (item) => {
        // A write or a later read in between knows better than this read.
        if (this.#reading.get(id) === reading) this.#remember(id, item?.value);
        return item?.value;
      },
      (error: unknown) => {
        if (this.#reading.get(id) === reading) this.#reading.delete(id);
        throw error;
      },
    );
    this.#reading.set(id, reading);
    return reading;
  }

  #remember(id: string, set: TokenSet | undefined): void {
    this.#reading.delete(id);
    this.#remembered.delete(id);
    this.#remembered.set(id, { set, until: this.#clock.now() + this.#cacheMs });
    if (this.#remembered.size > MAX_REMEMBERED) {
      const oldest = this.#remembered.keys().next();
      if (!oldest.done) this.#remembered.delete(oldest.value);
    }
  }
}
