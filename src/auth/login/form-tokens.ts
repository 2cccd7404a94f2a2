/** Tokens in forms, so that a form of ours is sent by a page of ours (CSRF; RFC 9700, 4.7). */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { SealingKey } from '../../stores/sealed';

export class FormTokens {
  readonly #keys: readonly SealingKey[];

  /** @param keys the first one makes, all of them verify; see `deriveKeys`. */
  constructor(keys: readonly SealingKey[]) {
    if (keys.length === 0) throw new RangeError('form tokens need a key');
    this.#keys = keys;
  }

  /**
   * The token for a form. @param page which form. @param holder what only the browser that was shown it has in a cookie, or is named by one: a
   * login's id, a visitor's.
   */
  make(page: string, holder: string): string {
    return mac(this.#keys[0], page, holder).toString('base64url');
  }

  /** Whether a token is the one of this form. */
  verify(page: string, holder: string, presented: string | undefined): boolean {
    const bytes = Buffer.from(presented ?? '', 'base64url');
    return this.#keys.some((key) => {
      const wanted = mac(key, page, holder);
      return bytes.length === wanted.length && timingSafeEqual(bytes, wanted);
    });
  }
}

function mac(key: SealingKey, page: string, holder: string): Buffer {
  return createHmac('sha256', key.secret).update(`${page}\0${holder}`).digest();
}
