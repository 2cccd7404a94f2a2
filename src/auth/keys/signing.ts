/** Keys that sign access tokens: ES256 (RFC 7518, 3.4), named by their own thumbprint (RFC 7638). */
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose';

/** The public half of a P-256 key, as it stands in a JWK set (RFC 7517). */
export interface PublicSigningJwk {
  readonly kty: 'EC';
  readonly crv: 'P-256';
  readonly x: string;
  readonly y: string;
  readonly kid: string;
  readonly alg: 'ES256';
  readonly use: 'sig';
}

/** With the private half. Secret. */
export interface SigningJwk extends PublicSigningJwk {
  readonly d: string;
}

export interface SigningKey {
  readonly jwk: SigningJwk;
  /** Wall-clock milliseconds. */
  readonly createdAt: number;
}

/** Makes a key. @param now wall-clock milliseconds. */
export async function makeSigningKey(now: number): Promise<SigningKey> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const { x, y, d } = await exportJWK(privateKey);
  if (x === undefined || y === undefined || d === undefined) throw new TypeError('an EC key without its numbers');
  const kid = await calculateJwkThumbprint({ kty: 'EC', crv: 'P-256', x, y });
  return { jwk: { kty: 'EC', crv: 'P-256', x, y, d, kid, alg: 'ES256', use: 'sig' }, createdAt: now };
}

/** The half that everybody may have. */
export function publicJwk({ jwk: { kty, crv, x, y, kid, alg, use } }: SigningKey): PublicSigningJwk {
  return { kty, crv, x, y, kid, alg, use };
}
