/** Session ids: 192 bits in 48 hex digits, 128 of chance and 64 of proof that they were minted here. */
import { createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { UserRef } from '../auth/context';
import { userKey } from './caps';

const RANDOM_BYTES = 16;
const TAG_BYTES = 8;
const FORM = /^[0-9a-f]{48}$/;

/** Keeps these tags apart from anything else the same key might ever sign. */
const DOMAIN = 'forgejo-mcp-operator/session-id/1\0';

/** Bytes of a key, at least (RFC 2104, 3: as long as the hash). */
export const MIN_KEY_BYTES = 32;

/**
 * Mints and checks session ids. The tag, an HMAC-SHA-256 truncated to 64 bits (RFC 2104, 5), tells an id that was never minted here from
 * one whose session has ended, without keeping any of them, and a guess costs no look-up. It proves nothing about who presents the id:
 * that is the bearer's part (MCP 'Security best practices': sessions are not authentication).
 */
export class SessionIds {
  readonly #keys: readonly Buffer[];
  readonly #current: Buffer;

  /**
   * @param keys the first one mints, all of them verify; kept so that ids of an earlier key are still told from guesses.
   * @throws RangeError when there is none or one is shorter than {@link MIN_KEY_BYTES}.
   */
  constructor(keys: readonly Buffer[]) {
    const [current] = keys;
    if (current === undefined || keys.some((key) => key.length < MIN_KEY_BYTES)) {
      throw new RangeError(`session ids need at least one key, each of at least ${String(MIN_KEY_BYTES)} bytes`);
    }
    this.#current = current;
    this.#keys = keys;
  }

  /** Makes a new id from the system's CSPRNG. */
  mint(): string {
    const random = randomBytes(RANDOM_BYTES);
    return Buffer.concat([random, tag(this.#current, random)]).toString('hex');
  }

  /** Whether an id was minted here, with any key. Takes the same time for every wrong tag and tries every key. */
  verify(id: string): boolean {
    if (!FORM.test(id)) return false;
    const bytes = Buffer.from(id, 'hex');
    const random = bytes.subarray(0, RANDOM_BYTES);
    const presented = bytes.subarray(RANDOM_BYTES);
    let ours = false;
    for (const key of this.#keys) ours = timingSafeEqual(tag(key, random), presented) || ours;
    return ours;
  }
}

/** The name of a session: safe to log, to name objects by and to index by; the id cannot be found from it. */
export function sessionName(id: string): string {
  return hash('sha256', id, 'hex').slice(0, 40);
}

/** A user as an opaque label: the same for every session of the user, and never the login name. */
export function userLabel(user: Pick<UserRef, 'issuer' | 'id'>): string {
  return hash('sha256', userKey(user), 'hex').slice(0, 40);
}

function tag(key: Buffer, random: Buffer): Buffer {
  return createHmac('sha256', key).update(DOMAIN).update(random).digest().subarray(0, TAG_BYTES);
}
