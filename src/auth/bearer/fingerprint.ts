/** The name of a token that is no use to anybody who reads it. */
import { createHmac } from 'node:crypto';

/**
 * HMAC-SHA-256 over forge and token in 64 hex digits. Keyed, so that a leaked record cannot be tested against guessed tokens; with the
 * forge in it, so that one string at two forges is two grants.
 */
export function fingerprint(key: Buffer, apiUrl: string, token: string): string {
  return createHmac('sha256', key).update(apiUrl).update('\0').update(token).digest('hex');
}
