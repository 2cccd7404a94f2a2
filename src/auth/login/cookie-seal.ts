/** Values of cookies that only this install reads: encrypted (AES-256-GCM), bound to what they are for, and good for a time. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { SealingKey } from '../../stores/sealed';

const CIPHER = 'aes-256-gcm';
const KEY_ID = 4;
const NONCE = 12;
const TAG = 16;
const HEAD = KEY_ID + NONCE;

/** More than a browser keeps in a cookie (RFC 6265, 6.1). */
const MAX_TEXT = 4096;

/** What a cookie is for; a value for one does not open as another. */
export type CookiePurpose = 'consents' | 'visitor';

export class CookieSeal {
  readonly #keys: readonly SealingKey[];

  /** @param keys the first one seals, all of them open; see `deriveKeys`. */
  constructor(keys: readonly SealingKey[]) {
    if (keys.length === 0) throw new RangeError('cookies need a key');
    this.#keys = keys;
  }

  /** @param expiresAt wall-clock milliseconds. */
  seal(purpose: CookiePurpose, value: unknown, expiresAt: number): string {
    const [key] = this.#keys;
    const nonce = randomBytes(NONCE);
    const head = Buffer.concat([Buffer.from(key.id, 'hex'), nonce]);
    const cipher = createCipheriv(CIPHER, key.secret, nonce, { authTagLength: TAG });
    cipher.setAAD(associated(purpose, head));
    const plain = Buffer.from(JSON.stringify({ value, expiresAt }));
    return Buffer.concat([head, cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString('base64url');
  }

  /** The value; undefined for anything that was not sealed here for this purpose, or is too old. @param now wall-clock milliseconds. */
  open(purpose: CookiePurpose, text: string | undefined, now: number): unknown {
    if (text === undefined || text.length > MAX_TEXT || !/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
    const bytes = Buffer.from(text, 'base64url');
    const key = this.#keys.find(({ id }) => id === bytes.toString('hex', 0, KEY_ID));
    if (key === undefined || bytes.length < HEAD + TAG) return undefined;
    const decipher = createDecipheriv(CIPHER, key.secret, bytes.subarray(KEY_ID, HEAD), { authTagLength: TAG });
    decipher.setAAD(associated(purpose, bytes.subarray(0, HEAD)));
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG));
    try {
      const plain = Buffer.concat([decipher.update(bytes.subarray(HEAD, bytes.length - TAG)), decipher.final()]);
      const { value, expiresAt } = JSON.parse(plain.toString('utf8')) as { value: unknown; expiresAt: number };
      return expiresAt > now ? value : undefined;
    } catch {
      return undefined;
    }
  }
}

function associated(purpose: CookiePurpose, head: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${purpose}\0`), head]);
}
