/** Typed records, encrypted before any driver sees them. */
import { hash } from 'node:crypto';
import type { RecordData, RecordKey, RecordStore, StoredRecord } from './contract';
import { Seal, type SealingKey } from './seal';

export type { SealingKey };

/** A typed record as it was read. */
export interface Item<T> {
  /** Digest of the id; the id itself is not kept. */
  readonly name: string;
  readonly value: T;
  readonly version: string;
  readonly expiresAt?: number;
}

export interface WriteOptions {
  /** Wall-clock milliseconds. */
  readonly expiresAt?: number;
  /** Plain values; only digests of them reach the store. */
  readonly tags?: Readonly<Record<string, string>>;
}

/** One kind of records. Ids are any strings, secret ones too. */
export interface Collection<T> {
  get(id: string): Promise<Item<T> | undefined>;
  /** Undefined where there is one already. */
  create(id: string, value: T, options?: WriteOptions): Promise<Item<T> | undefined>;
  /** Undefined where the record has changed since `item` was read, or is gone. */
  replace(item: Pick<Item<T>, 'name' | 'version'>, value: T, options?: WriteOptions): Promise<Item<T> | undefined>;
  /** Whether this call deleted it. With an item: only while it is unchanged. */
  delete(target: string | Pick<Item<T>, 'name' | 'version'>): Promise<boolean>;
  find(tag?: { readonly name: string; readonly value: string }): Promise<readonly Item<T>[]>;
}

/** The digest under which an id is stored. */
export function recordName(kind: string, id: string): string {
  return hash('sha256', `${kind}\0${id}`, 'hex').slice(0, 40);
}

/**
 * The records of one kind.
 * @param keys the first one encrypts, all of them decrypt; a record is encrypted anew with the first one when it is next written, or by `startResealer`.
 */
export function collection<T>(store: RecordStore, kind: string, keys: readonly SealingKey[]): Collection<T> {
  return new SealedCollection<T>(store, kind, keys);
}

class SealedCollection<T> implements Collection<T> {
  readonly #store: RecordStore;
  readonly #kind: string;
  readonly #seal: Seal;

  constructor(store: RecordStore, kind: string, keys: readonly SealingKey[]) {
    this.#store = store;
    this.#kind = kind;
    this.#seal = new Seal(keys);
  }

  async get(id: string): Promise<Item<T> | undefined> {
    const record = await this.#store.get(this.#key(id));
    return record === undefined ? undefined : this.#open(record);
  }

  async create(id: string, value: T, options: WriteOptions = {}): Promise<Item<T> | undefined> {
    const key = this.#key(id);
    return item(key, value, options, await this.#store.create(key, this.#data(key, value, options)));
  }

  async replace(
    target: Pick<Item<T>, 'name' | 'version'>,
    value: T,
    options: WriteOptions = {},
  ): Promise<Item<T> | undefined> {
    const key = { kind: this.#kind, name: target.name };
    return item(key, value, options, await this.#store.replace(key, this.#data(key, value, options), target.version));
  }

  delete(target: string | Pick<Item<T>, 'name' | 'version'>): Promise<boolean> {
    return typeof target === 'string'
      ? this.#store.delete(this.#key(target))
      : this.#store.delete({ kind: this.#kind, name: target.name }, target.version);
  }

  async find(tag?: { readonly name: string; readonly value: string }): Promise<readonly Item<T>[]> {
    const wanted = tag === undefined ? undefined : { name: tag.name, value: recordName(tag.name, tag.value) };
    return (await this.#store.find(this.#kind, wanted)).map((record) => this.#open(record));
  }

  #key(id: string): RecordKey {
    return { kind: this.#kind, name: recordName(this.#kind, id) };
  }

  #data(key: RecordKey, value: T, { expiresAt, tags }: WriteOptions): RecordData {
    return {
      value: this.#seal.close(key, Buffer.from(JSON.stringify(value))),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(tags === undefined
        ? {}
        : { tags: Object.fromEntries(Object.entries(tags).map(([name, plain]) => [name, recordName(name, plain)])) }),
    };
  }

  #open(record: StoredRecord): Item<T> {
    const { key, version, expiresAt } = record;
    const value = JSON.parse(this.#seal.open(record).toString('utf8')) as T;
    return { name: key.name, value, version, ...(expiresAt === undefined ? {} : { expiresAt }) };
  }
}

function item<T>(key: RecordKey, value: T, options: WriteOptions, version: string | undefined): Item<T> | undefined {
  if (version === undefined) return undefined;
  const { expiresAt } = options;
  return { name: key.name, value, version, ...(expiresAt === undefined ? {} : { expiresAt }) };
}
