/**
 * The signing keys of an install: one sealed record that every gateway reads. Made at first start by whoever comes first; the newest key that
 * all gateways know signs, all of them verify, so a rotation logs nobody out.
 */
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Collection, Item } from '../../stores/sealed';
import { makeSigningKey, publicJwk, type PublicSigningJwk, type SigningKey } from './signing';

/** The record; newest first. */
export interface RingRecord {
  /** Newest first. */
  readonly keys: readonly SigningKey[];
}

export interface RingOptions {
  readonly records: Collection<RingRecord>;
  readonly clock: Clock;
  /** Milliseconds for which a key signs before {@link SigningKeyRing.maintain} puts a new one in front. */
  readonly rotateAfter: number;
  /** Milliseconds from the making of the next key for which a key still verifies: longer than `settleAfter` and the longest life of what it signed together. */
  readonly retireAfter: number;
  /**
   * Milliseconds that a key is in the ring before it signs, so that every gateway knows it by then: more than the interval of {@link
   * SigningKeyRing.maintain}. A ring whose keys are all younger signs with its oldest.
   */
  readonly settleAfter: number;
  /** Milliseconds between two reads of the store for keys that are not known here. A stranger can name any key. */
  readonly reloadGap: number;
}

const RECORD = 'signing';
/** Rotations that lose against others this often in a row mean that something is wrong with the store. */
const ATTEMPTS = 8;

export class SigningKeyRing {
  readonly #options: RingOptions;
  #item: Item<RingRecord>;
  #readAt: number;
  #reading: Promise<void> | undefined;

  private constructor(options: RingOptions, item: Item<RingRecord>) {
    this.#options = options;
    this.#item = item;
    this.#readAt = options.clock.now();
  }

  /**
   * Reads the ring, and makes it where there is none: of many gateways that start at once one creates it, the others read that.
   * @throws AppError `STORE_UNAVAILABLE`; RangeError where a key would be gone before the one after it signs.
   */
  static async open(options: RingOptions): Promise<SigningKeyRing> {
    const { records, clock, retireAfter, settleAfter } = options;
    if (retireAfter <= settleAfter)
      throw new RangeError('a signing key must outlive the time in which the next one settles');
    let item = await records.get(RECORD);
    item ??= await records.create(RECORD, { keys: [await makeSigningKey(clock.wall())] });
    item ??= await records.get(RECORD);
    if (item === undefined) throw gone();
    return new SigningKeyRing(options, item);
  }

  /** Changes with every change of the ring; what was built from an older one is built anew. */
  get version(): string {
    return this.#item.version;
  }

  /** Newest first. Secret. */
  get keys(): readonly SigningKey[] {
    return this.#item.value.keys;
  }

  /** The key that signs now. Secret. */
  get current(): SigningKey {
    const { clock, settleAfter } = this.#options;
    const known = clock.wall() - settleAfter;
    const key = this.keys.find(({ createdAt }) => createdAt <= known) ?? this.keys.at(-1);
    if (key === undefined) throw gone();
    return key;
  }

  /** The JWK set without private halves (RFC 7517, 5). */
  get jwks(): { readonly keys: readonly PublicSigningJwk[] } {
    return { keys: this.keys.map(publicJwk) };
  }

  /** The public half of the key with this id that is known here now. */
  find(kid: string): PublicSigningJwk | undefined {
    const key = this.keys.find(({ jwk }) => jwk.kid === kid);
    return key === undefined ? undefined : publicJwk(key);
  }

  /**
   * As {@link find}; an unknown id is looked up in the store, because another gateway may just have rotated, but at most once in `reloadGap`.
   * @throws AppError `STORE_UNAVAILABLE`: whether the key exists cannot be told.
   */
  async resolve(kid: string): Promise<PublicSigningJwk | undefined> {
    const known = this.find(kid);
    if (known !== undefined) return known;
    if (this.#reading === undefined && this.#options.clock.now() - this.#readAt < this.#options.reloadGap)
      return undefined;
    await this.reload();
    return this.find(kid);
  }

  /** Reads the store once for all who wait. @throws AppError `STORE_UNAVAILABLE`. */
  reload(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** Reads the ring and rotates it where its newest key is due. To be called now and then by every gateway; one of them rotates. */
  async maintain(): Promise<void> {
    await this.reload();
    const { clock, rotateAfter } = this.#options;
    const due = ({ keys }: RingRecord): boolean => clock.wall() - (keys[0]?.createdAt ?? 0) >= rotateAfter;
    if (due(this.#item.value)) await this.#rotate(due);
  }

  /** Puts a new key in front at once, and drops those whose next one was made `retireAfter` ago. @throws AppError `STORE_UNAVAILABLE`. */
  async rotate(): Promise<void> {
    await this.reload();
    await this.#rotate(() => true);
  }

  async #rotate(due: (record: RingRecord) => boolean): Promise<void> {
    const { records, clock, retireAfter } = this.#options;
    const fresh = await makeSigningKey(clock.wall());
    for (let attempt = 0; attempt < ATTEMPTS && due(this.#item.value); attempt += 1) {
      const { keys } = this.#item.value;
      // A key signed until the one before it in the list had settled.
      const kept = keys.filter(
        (_, index) => index === 0 || clock.wall() - (keys[index - 1]?.createdAt ?? 0) < retireAfter,
      );
      const replaced = await records.replace(this.#item, { keys: [fresh, ...kept] });
      if (replaced !== undefined) {
        this.#item = replaced;
        return;
      }
      await this.reload();
    }
    if (due(this.#item.value)) throw gone();
  }

  async #read(): Promise<void> {
    this.#readAt = this.#options.clock.now();
    const item = await this.#options.records.get(RECORD);
    if (item === undefined) throw gone();
    if (item.version !== this.#item.version) this.#item = item;
  }
}

function gone(): AppError {
  return new AppError(
    'STORE_UNAVAILABLE',
    'The gateway cannot read its keys at the moment. Try again in a few seconds.',
    {
      detail: 'the record of the signing keys is missing, or changes all the time',
      retryAfter: 5,
    },
  );
}
