/** The name of a token that is no use to anybody who reads it. */
import { hash } from 'node:crypto';

/** SHA-256's block (FIPS 180-4). */
const BLOCK_BYTES = 64;

/**
 * HMAC-SHA-256 over forge and token in 64 hex digits. Keyed, so that a leaked record cannot be tested against guessed tokens; with the
 * forge in it, so that one string at two forges is two grants.
 *
 * It stands on the path of every request, and `createHmac` costs as much as the rest of the check, so the two hashes of RFC 2104, 2 are
 * made by the one-shot function instead. A test compares the two.
 */
export class Fingerprints {
  readonly #inner = Buffer.alloc(BLOCK_BYTES, 0x36);
  readonly #outer = Buffer.alloc(BLOCK_BYTES, 0x5c);

  /** @throws RangeError for a key of less than 32 bytes. */
  constructor(key: Buffer) {
    if (key.length < 32) throw new RangeError('a fingerprint key has at least 32 bytes');
    const block = key.length > BLOCK_BYTES ? hash('sha256', key, 'buffer') : key;
    for (const [i, byte] of block.entries()) {
      this.#inner[i] = byte ^ 0x36;
      this.#outer[i] = byte ^ 0x5c;
    }
  }

  of(apiUrl: string, token: string): string {
    const message = Buffer.from(`${apiUrl}\0${token}`, 'utf8');
    const digest = hash('sha256', Buffer.concat([this.#inner, message]), 'buffer');
    return hash('sha256', Buffer.concat([this.#outer, digest]), 'hex');
  }
}
