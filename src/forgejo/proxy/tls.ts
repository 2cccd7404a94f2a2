/**
 * The proxy's own certificate. Its CAs come of the proxy's keys, so that every gateway has the same ones, today and after a restart: a child that was given
 * them by one gateway believes all. Their keys are forgotten once they have signed.
 */
import { createPublicKey, hkdfSync } from 'node:crypto';
import { type Authority, createAuthority, keyId, type Validity } from '../../tls/certificate';
import { derivedKey } from '../../tls/key';
import { deriveKeys, type ProxyKeys } from '../capability';

/** PEM texts. `key` is secret; `cert` is the proxy's certificate and what leads to it; `ca` goes to the children. */
export interface ProxyCertificate {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

export interface ProxyCertificateOptions {
  readonly days?: number;
  /** Wall-clock milliseconds. */
  readonly now?: number;
}

const DAY = 86_400_000;

/**
 * Makes a server certificate with a new key for the hosts (DNS names and IP addresses) that children reach the proxy by, valid from an hour ago (clocks of nodes
 * differ) for `days`, and the certificates of the CAs.
 *
 * There is a CA for each of the keys. The first one signs, as it does with capabilities, and each of the others vouches for it; children are given all. So a
 * child and a gateway that have one key in common understand each other, whichever of the two has been given a further one.
 * Throws TypeError for a host that is neither, RangeError for a key of less than 32 bytes.
 */
export function createCertificate(
  hosts: readonly string[],
  keys: ProxyKeys,
  { days = 825, now = Date.now() }: ProxyCertificateOptions = {},
): ProxyCertificate {
  const valid = { notBefore: new Date(now - 3_600_000), notAfter: new Date(now + days * DAY) };
  const [secret, ...older] = deriveKeys(keys, 'authority');
  const signing = authorityOf(secret, valid);
  const vouching = older.map((key) => authorityOf(key, valid));
  const server = signing.issue({
    name: 'forgejo-mcp-operator credential proxy',
    hosts,
    usages: ['server'],
    ...valid,
  });
  return {
    key: server.key,
    cert: [server.cert, ...vouching.map((authority) => authority.endorse(signing, valid))].join(''),
    ca: [signing, ...vouching].map(({ cert }) => cert).join(''),
  };
}

/** The CA that comes of a secret. Its name has a part of its key's, so that nobody takes one for another. */
function authorityOf(secret: Buffer, valid: Validity): Authority {
  const key = derivedKey((attempt) => Buffer.from(hkdfSync('sha256', secret, '', `P-256 ${String(attempt)}`, 32)));
  const name = `forgejo-mcp-operator credential proxy CA ${keyId(createPublicKey(key)).toString('hex', 0, 4)}`;
  return createAuthority({ name, key, endorses: true, ...valid });
}
