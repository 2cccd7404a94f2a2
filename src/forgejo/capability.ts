/**
 * Capabilities: the tokens that children present to the credential proxy. A capability names a session and the one child that holds it. It has no
 * expiry of its own: it is worth something only while that session lives and that child is its current one.
 */
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Capabilities } from './contract';

/** What every capability begins with; redaction finds them by it. */
export const CAPABILITY_PREFIX = 'fmocap_';

/** Secrets of at least 32 bytes each; the first one makes, all of them verify. */
export type ProxyKeys = readonly [Buffer, ...Buffer[]];

const VERSION = 1;
const NONCE_BYTES = 12;
const MAC_BYTES = 32;
const MAX_LENGTH = 1024;

/**
 * Mints with a key derived from the first of `keys`, and verifies with all of them, so that a key can be replaced while children live.
 * @throws RangeError for a key of less than 32 bytes.
 *
 * Layout: base64url of version (1 byte), nonce (12), length of the session's name (1), session, instance, HMAC-SHA256 (32) over all before it.
 * The nonce makes every mint another token: some children want two different ones, for reading and for writing.
 */
export function createCapabilities(keys: ProxyKeys): Capabilities {
  const macKeys = deriveKeys(keys, 'capability');
  const mac = (key: Buffer, payload: Buffer): Buffer => createHmac('sha256', key).update(payload).digest();
  return {
    mint(session, instance) {
      const name = Buffer.from(session, 'utf8');
      if (name.length === 0 || name.length > 255) throw new RangeError('a session name has 1 to 255 bytes');
      const head = Buffer.concat([Buffer.of(VERSION), randomBytes(NONCE_BYTES), Buffer.of(name.length)]);
      const payload = Buffer.concat([head, name, Buffer.from(instance, 'utf8')]);
      return CAPABILITY_PREFIX + Buffer.concat([payload, mac(macKeys[0], payload)]).toString('base64url');
    },
    verify(token) {
      if (!token.startsWith(CAPABILITY_PREFIX) || token.length > MAX_LENGTH) return undefined;
      const text = token.slice(CAPABILITY_PREFIX.length);
      const bytes = Buffer.from(text, 'base64url');
      const head = 1 + NONCE_BYTES + 1;
      // One spelling only: base64url decoding ignores what it does not know.
      if (bytes.length < head + 1 + MAC_BYTES || bytes.toString('base64url') !== text) return undefined;
      const payload = bytes.subarray(0, bytes.length - MAC_BYTES);
      const given = bytes.subarray(bytes.length - MAC_BYTES);
      if (!macKeys.some((key) => timingSafeEqual(mac(key, payload), given))) return undefined;
      const end = head + (payload[head - 1] ?? 0);
      if (payload[0] !== VERSION || end > payload.length) return undefined;
      return {
        session: payload.subarray(head, end).toString('utf8'),
        instance: payload.subarray(end).toString('utf8'),
      };
    },
  };
}

/** Keys for one purpose out of the install's proxy keys (RFC 5869), in their order. Throws RangeError for a key of less than 32 bytes. */
export function deriveKeys([first, ...rest]: ProxyKeys, purpose: 'capability' | 'link' | 'authority'): ProxyKeys {
  const derive = (key: Buffer): Buffer => {
    if (key.length < 32) throw new RangeError('the proxy key needs at least 32 bytes');
    return Buffer.from(hkdfSync('sha256', key, '', `forgejo-mcp-operator proxy ${purpose} v1`, 32));
  };
  return [derive(first), ...rest.map(derive)];
}
