/** Keys as they come out of their file, made into keys that seal, or that others are derived from. */
import { hash, hkdfSync } from 'node:crypto';
import { AppError } from '../../errors';
import type { SealingKey } from '../../stores/sealed';

/** Part of the derivation, so it must never change. */
const DOMAIN = 'forgejo-mcp-operator master v1';

/**
 * Names each key by a digest of it, and makes 32 bytes of whatever length it has (HKDF, RFC 5869). The order stays: the first one encrypts and
 * signs.
 * @param setting names the file.
 * @throws AppError `CONFIG_INVALID` where two keys have one name, which means that a key is there twice.
 */
export function masterKeys(keys: readonly Buffer[], setting = 'auth.oauth.keyFile'): readonly SealingKey[] {
  const masters = keys.map((key) => ({
    id: hash('sha256', Buffer.concat([Buffer.from(`${DOMAIN} id\0`), key]), 'hex').slice(0, 8),
    secret: Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), DOMAIN, 32)),
  }));
  if (new Set(masters.map(({ id }) => id)).size < masters.length) {
    throw new AppError('CONFIG_INVALID', `${setting}: a key is in it twice; remove one of the two lines.`);
  }
  return masters;
}
