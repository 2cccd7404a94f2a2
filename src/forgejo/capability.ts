/**
 * Capabilities: the tokens that children present to the credential proxy. A capability names a session and the one child that holds it. It has no
 * expiry of its own: it is worth something only while that session lives and that child is its current one.
 */
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Capabilities } from './contract';

/** What every capability begins with; redaction finds them by it. */
export const CAPABILITY_PREFIX = 'fmocap_';

const VERSION = 1;
const NONCE_BYTES = 12;
const MAC_BYTES = 32;
const MAX_LENGTH = 1024;

/**
 * Mints and verifies with a key derived from `key` (at least 32 bytes of secret).
 *
 * Layout: base64url of version (1 byte), nonce (12), length of the session's name (1), session, instance, HMAC-SHA256 (32) over all before it.
 * The nonce makes every mint another token: some children want two different ones, for reading and for writing.
 */
export function createCapabilities(key: Buffer): Capabilities {
  const macKey = deriveKey(key, 'capability');
  const mac = (payload: Buffer): Buffer => createHmac('sha256', macKey).update(payload).digest();
  return {
    mint(session, instance) {
      const name = Buffer.from(session, 'utf8');
      if (name.length === 0 || name.length > 255) throw new RangeError('a session name has 1 to 255 bytes');
      const head = Buffer.concat([Buffer.of(VERSION), randomBytes(NONCE_BYTES), Buffer.of(name.length)]);
      const payload = Buffer.concat([head, name, Buffer.from(instance, 'utf8')]);
      return CAPABILITY_PREFIX + Buffer.concat([payload, mac(payload)]).toString('base64url');
    },
    verify(token) {
      if (!token.startsWith(CAPABILITY_PREFIX) || token.length > MAX_LENGTH) return undefined;
      const text = token.slice(CAPABILITY_PREFIX.length);
      const bytes = Buffer.from(text, 'base64url');
      const head = 1 + NONCE_BYTES + 1;
      // One spelling only: base64url decoding ignores what it does not know.
      if (bytes.length < head + 1 + MAC_BYTES || bytes.toString('base64url') !== text) return undefined;
      const payload = bytes.subarray(0, bytes.length - MAC_BYTES);
      if (!timingSafeEqual(mac(payload), bytes.subarray(bytes.length - MAC_BYTES))) return undefined;
      const end = head + (payload[head - 1] ?? 0);
      if (payload[0] !== VERSION || end > payload.length) return undefined;
      return {
        session: payload.subarray(head, end).toString('utf8'),
        instance: payload.subarray(end).toString('utf8'),
      };
    },
  };
}

/** A key for one purpose out of the install's proxy key (RFC 5869). Throws RangeError for a key of less than 32 bytes. */
export function deriveKey(key: Buffer, purpose: 'capability' | 'link'): Buffer {
  if (key.length < 32) throw new RangeError('the proxy key needs at least 32 bytes');
  return Buffer.from(hkdfSync('sha256', key, '', `forgejo-mcp-operator proxy ${purpose} v1`, 32));
}
