/**
 * What a refresh token is: the family that it belongs to, its generation in it, and a MAC over both. So its successor follows from the token
 * itself: requests that refresh it at the same time, on whichever gateway, get the same one. A family is one record however
 * often it is refreshed, every old token is known as one of the family, and a guess costs no look-up.
 *
 *   4 bytes key id | 16 bytes family | 4 bytes generation | 24 bytes HMAC-SHA-256 (cut)
 *
 * The family is random and kept nowhere as such, so not even the key makes a token.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { SealingKey } from '../../stores/sealed';

/** A refresh token, taken apart. */
export interface RefreshId {
  /** Hex. Secret, as the token is. */
  readonly family: string;
  /** 0 for the one that came with the code. */
  readonly generation: number;
}

const KEY_ID = 4;
const FAMILY = 16;
const HEAD = KEY_ID + FAMILY + 4;
const MAC = 24;
const FORM = /^[A-Za-z0-9_-]{64}$/;
const LAST = 0xffff_ffff;

export class RefreshIds {
  readonly #keys: readonly SealingKey[];

  /** @param keys the first one makes, all of them verify. */
  constructor(keys: readonly SealingKey[]) {
    if (keys.length === 0) throw new RangeError('refresh tokens need a key');
    this.#keys = keys;
  }

  /** The first token of a new family. */
  first(): string {
    return this.#make(randomBytes(FAMILY), 0);
  }

  /** The token that follows this one. @throws RangeError for what is no refresh token. */
  successor(token: string): string {
    const id = this.parse(token);
    if (id === undefined || id.generation === LAST)
      throw new RangeError('no successor: this is no refresh token of ours');
    return this.#make(Buffer.from(id.family, 'hex'), id.generation + 1);
  }

  /** Undefined for anything that was not made here. */
  parse(token: string): RefreshId | undefined {
    if (!FORM.test(token)) return undefined;
    const bytes = Buffer.from(token, 'base64url');
    const keyId = bytes.toString('hex', 0, KEY_ID);
    const key = this.#keys.find(({ id }) => id === keyId);
    if (key === undefined || !timingSafeEqual(bytes.subarray(HEAD), mac(key, bytes.subarray(0, HEAD))))
      return undefined;
    return { family: bytes.toString('hex', KEY_ID, KEY_ID + FAMILY), generation: bytes.readUInt32BE(KEY_ID + FAMILY) };
  }

  #make(family: Buffer, generation: number): string {
    const key = this.#keys[0];
    if (key === undefined) throw new RangeError('refresh tokens need a key');
    const head = Buffer.alloc(HEAD);
    head.write(key.id, 0, 'hex');
    family.copy(head, KEY_ID);
    head.writeUInt32BE(generation, KEY_ID + FAMILY);
    return Buffer.concat([head, mac(key, head)]).toString('base64url');
  }
}

function mac(key: SealingKey, head: Buffer): Buffer {
  return createHmac('sha256', key.secret).update(head).digest().subarray(0, MAC);
}
