/** Keys for one purpose each, made of the install's master keys (HKDF, RFC 5869): one secret to keep, and none of them tells another. */
import { hkdfSync } from 'node:crypto';
import type { SealingKey } from '../../stores/sealed';

/** What a derived key is for; part of its derivation, so a name must never change. */
export type KeyPurpose =
  'provider-cookies' | 'own-cookies' | 'form-tokens' | 'refresh-tokens' | 'request-states' | 'pod-links';

/**
 * The keys for a purpose, one for each master key and in the same order: the first makes, all of them verify. So a master key is
 * rotated by putting a new one in front, and the old one goes when nothing that it made lives any more.
 * @throws RangeError without a master key, or with one that is not 32 bytes long.
 */
export function deriveKeys(masters: readonly SealingKey[], purpose: KeyPurpose): readonly SealingKey[] {
  if (masters.length === 0 || masters.some(({ secret }) => secret.length !== 32)) {
    throw new RangeError('keys are derived from at least one master key, each of 32 bytes');
  }
  return masters.map(({ id, secret }) => ({
    id,
    secret: Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), `forgejo-mcp-operator ${purpose}`, 32)),
  }));
}
