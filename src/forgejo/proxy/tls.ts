/** The proxy's own certificate: a CA made at start, whose key is forgotten once it has signed the one certificate that the proxy serves with. */
import { createAuthority } from '../../tls/certificate';

/** PEM texts. `key` is secret; `ca` goes to the children. */
export interface ProxyCertificate {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

const DAY = 86_400_000;

/**
 * Makes a CA and a server certificate for the hosts (DNS names and IP addresses) that children reach the proxy by, valid from an hour ago (clocks of nodes
 * differ) for `days`. It lives as long as the process: a restart makes another, and children get new pods.
 * Throws TypeError for a host that is neither.
 */
export function createCertificate(hosts: readonly string[], days = 825, now = Date.now()): ProxyCertificate {
  const valid = { notBefore: new Date(now - 3_600_000), notAfter: new Date(now + days * DAY) };
  const authority = createAuthority({ name: 'forgejo-mcp-operator credential proxy CA', ...valid });
  const server = authority.issue({
    name: 'forgejo-mcp-operator credential proxy',
    hosts,
    usages: ['server'],
    ...valid,
  });
  return { ...server, ca: authority.cert };
}
