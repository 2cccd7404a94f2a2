/** P-256 keys that are derived instead of made: whoever has the secret that they come of has the same key. */
import { createECDH, createPrivateKey, type KeyObject } from 'node:crypto';

/** The order of the group (FIPS 186-5 and SP 800-186, 3.2.1.3). */
const ORDER = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex');
const ZERO = Buffer.alloc(ORDER.length);
/** One candidate of 2^32 is none; so many in a row are never seen. */
const ATTEMPTS = 8;

/**
 * The private key of the first candidate that is a scalar of the group (rejection sampling: FIPS 186-5, A.2.2). Nothing is reduced, so that no key is
 * likelier than another.
 * @param candidate gives 32 bytes for each attempt, the first being 0: always the same, and not to be told from random ones.
 * @throws RangeError where none of them is.
 */
export function derivedKey(candidate: (attempt: number) => Buffer): KeyObject {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const scalar = candidate(attempt);
    if (scalar.length === ORDER.length && scalar.compare(ZERO) > 0 && scalar.compare(ORDER) < 0) return keyOf(scalar);
  }
  throw new RangeError('no candidate is a scalar of P-256');
}

function keyOf(scalar: Buffer): KeyObject {
  const curve = createECDH('prime256v1');
  curve.setPrivateKey(scalar);
  const point = curve.getPublicKey(); // 04, x, y (SEC 1, 2.3.3)
  const [x, y, d] = [point.subarray(1, 33), point.subarray(33), scalar].map((part) => part.toString('base64url'));
  return createPrivateKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x, y, d } });
}
