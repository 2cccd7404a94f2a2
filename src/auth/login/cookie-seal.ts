/** Values of cookies that only this install reads: encrypted as records are, bound to what they are for, and good for a time. */
import type { RecordKey } from '../../stores/contract';
import { Seal, type SealingKey } from '../../stores/seal';

/** More than a browser keeps in a cookie (RFC 6265, 6.1). */
const MAX_TEXT = 4096;

/** What a cookie is for; a value for one does not open as another. */
export type CookiePurpose = 'consents' | 'visitor';

export class CookieSeal {
  readonly #seal: Seal;

  /** @param keys the first one seals, all of them open; see `deriveKeys`. @throws RangeError as {@link Seal}. */
  constructor(keys: readonly SealingKey[]) {
    this.#seal = new Seal(keys);
  }

  /** @param expiresAt wall-clock milliseconds. */
  seal(purpose: CookiePurpose, value: unknown, expiresAt: number): string {
    return this.#seal.close(placeOf(purpose), Buffer.from(JSON.stringify({ value, expiresAt }))).toString('base64url');
  }

  /** The value; undefined for anything that was not sealed here for this purpose, or is too old. @param now wall-clock milliseconds. */
  open(purpose: CookiePurpose, text: string | undefined, now: number): unknown {
    if (text === undefined || text.length > MAX_TEXT || !/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
    try {
      const plain = this.#seal.open({ key: placeOf(purpose), value: Buffer.from(text, 'base64url') });
      const { value, expiresAt } = JSON.parse(plain.toString('utf8')) as { value: unknown; expiresAt: number };
      return expiresAt > now ? value : undefined;
    } catch {
      return undefined;
    }
  }
}

function placeOf(purpose: CookiePurpose): RecordKey {
  return { kind: 'cookie', name: purpose };
}
