/**
 * Typed records, encrypted before any driver sees them (AES-256-GCM, NIST SP 800-38D). A value is bound to its place: copied to another record it
 * does not open.
 */
import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto';
import { AppError } from '../errors';
import type { RecordData, RecordKey, RecordStore, StoredRecord } from './contract';

/** A key with the id that is written beside what it encrypts. */
export interface SealingKey {
  /** 8 hex digits. */
  readonly id: string;
  /** 32 bytes. */
  readonly secret: Buffer;
}

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

const CIPHER = 'aes-256-gcm';
const FORMAT = 1;
const NONCE = 12;
const TAG = 16;
const KEY_ID = 4;
const HEAD = 1 + KEY_ID + NONCE;

/** The digest under which an id is stored. */
export function recordName(kind: string, id: string): string {
  return hash('sha256', `${kind}\0${id}`, 'hex').slice(0, 40);
}

/**
 * The records of one kind.
 * @param keys the first one encrypts, all of them decrypt; a record is encrypted anew with the first one when it is next written.
 */
export function collection<T>(store: RecordStore, kind: string, keys: readonly SealingKey[]): Collection<T> {
  return new SealedCollection<T>(store, kind, keys);
}

class SealedCollection<T> implements Collection<T> {
  readonly #store: RecordStore;
  readonly #kind: string;
  readonly #keys: readonly SealingKey[];

  constructor(store: RecordStore, kind: string, keys: readonly SealingKey[]) {
    if (keys.length === 0 || keys.some((key) => key.secret.length !== 32)) {
      throw new RangeError('records are sealed with at least one key, each of 32 bytes');
    }
    this.#store = store;
    this.#kind = kind;
    this.#keys = keys;
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
      value: this.#seal(key, Buffer.from(JSON.stringify(value))),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(tags === undefined
        ? {}
        : { tags: Object.fromEntries(Object.entries(tags).map(([name, plain]) => [name, recordName(name, plain)])) }),
    };
  }

  #seal(place: RecordKey, plain: Buffer): Buffer {
    const key = this.#keys[0];
    const nonce = randomBytes(NONCE);
    const head = Buffer.concat([Buffer.of(FORMAT), Buffer.from(key.id, 'hex'), nonce]);
    const cipher = createCipheriv(CIPHER, key.secret, nonce, { authTagLength: TAG });
    cipher.setAAD(associated(place, head));
    return Buffer.concat([head, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  #open(record: StoredRecord): Item<T> {
    const { key: place, value: bytes, version, expiresAt } = record;
    const id = bytes.toString('hex', 1, 1 + KEY_ID);
    const key = this.#keys.find((one) => one.id === id);
    if (bytes.length < HEAD + TAG || bytes[0] !== FORMAT || key === undefined) {
      throw unreadable(`a ${place.kind} record is sealed with the key ${id}, which is not here`);
    }
    const decipher = createDecipheriv(CIPHER, key.secret, bytes.subarray(1 + KEY_ID, HEAD), { authTagLength: TAG });
    decipher.setAAD(associated(place, bytes.subarray(0, HEAD)));
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG));
    let plain: Buffer;
    try {
      plain = Buffer.concat([decipher.update(bytes.subarray(HEAD, bytes.length - TAG)), decipher.final()]);
    } catch {
      throw unreadable(`a ${place.kind} record does not open: it was changed, or moved`);
    }
    const value = JSON.parse(plain.toString('utf8')) as T;
    return { name: place.name, value, version, ...(expiresAt === undefined ? {} : { expiresAt }) };
  }
}

function associated({ kind, name }: RecordKey, head: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${kind}\0${name}\0`), head]);
}

function item<T>(key: RecordKey, value: T, options: WriteOptions, version: string | undefined): Item<T> | undefined {
  if (version === undefined) return undefined;
  const { expiresAt } = options;
  return { name: key.name, value, version, ...(expiresAt === undefined ? {} : { expiresAt }) };
}

/** Never taken for a record that is not there: a missing key must not log everybody out for good. */
function unreadable(detail: string): AppError {
  return new AppError('STORE_UNAVAILABLE', 'The gateway cannot read its own records. Tell your administrator.', {
    detail,
  });
}
