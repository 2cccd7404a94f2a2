/**
 * How a record's value is encrypted (AES-256-GCM, NIST SP 800-38D). It is bound to its place: copied to another record it does not open.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { AppError } from '../errors';
import type { RecordKey, StoredRecord } from './contract';

/** A key with the id that is written beside what it encrypts. */
export interface SealingKey {
  /** 8 hex digits. */
  readonly id: string;
  /** 32 bytes. */
  readonly secret: Buffer;
}

const CIPHER = 'aes-256-gcm';
const FORMAT = 1;
const NONCE = 12;
const TAG = 16;
const KEY_ID = 4;
const HEAD = 1 + KEY_ID + NONCE;

/** Layout: format (1 byte), the key's id (4), nonce (12), ciphertext, authentication tag (16). */
export class Seal {
  readonly #keys: readonly SealingKey[];
  readonly #first: SealingKey;

  /**
   * @param keys the first one encrypts, all of them decrypt.
   * @throws RangeError without a key, or with one that is not 32 bytes long.
   */
  constructor(keys: readonly SealingKey[]) {
    const [first] = keys;
    if (first === undefined || keys.some((key) => key.secret.length !== 32)) {
      throw new RangeError('records are sealed with at least one key, each of 32 bytes');
    }
    this.#keys = keys;
    this.#first = first;
  }

  /** Encrypts with the first key. */
  close(place: RecordKey, plain: Buffer): Buffer {
    const nonce = randomBytes(NONCE);
    const head = Buffer.concat([Buffer.of(FORMAT), Buffer.from(this.#first.id, 'hex'), nonce]);
    const cipher = createCipheriv(CIPHER, this.#first.secret, nonce, { authTagLength: TAG });
    cipher.setAAD(associated(place, head));
    return Buffer.concat([head, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  /** Decrypts. @throws AppError `STORE_UNAVAILABLE` where its key is not here, or it was changed or moved. */
  open({ key: place, value }: Pick<StoredRecord, 'key' | 'value'>): Buffer {
    const id = keyIdOf(value);
    const key = this.#keys.find((one) => one.id === id);
    if (value.length < HEAD + TAG || value[0] !== FORMAT || key === undefined) {
      throw unreadable(`a ${place.kind} record is sealed with the key ${id}, which is not here`);
    }
    const decipher = createDecipheriv(CIPHER, key.secret, value.subarray(1 + KEY_ID, HEAD), { authTagLength: TAG });
    decipher.setAAD(associated(place, value.subarray(0, HEAD)));
    decipher.setAuthTag(value.subarray(value.length - TAG));
    try {
      return Buffer.concat([decipher.update(value.subarray(HEAD, value.length - TAG)), decipher.final()]);
    } catch {
      throw unreadable(`a ${place.kind} record does not open: it was changed, or moved`);
    }
  }

  /** Whether it was encrypted with the key that encrypts now. */
  isCurrent(value: Buffer): boolean {
    return keyIdOf(value) === this.#first.id;
  }
}

function keyIdOf(value: Buffer): string {
  return value.toString('hex', 1, 1 + KEY_ID);
}

function associated({ kind, name }: RecordKey, head: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${kind}\0${name}\0`), head]);
}

/** Never taken for a record that is not there: a missing key must not log everybody out for good. */
function unreadable(detail: string): AppError {
  return new AppError('STORE_UNAVAILABLE', 'The gateway cannot read its own records. Tell your administrator.', {
    detail,
  });
}
