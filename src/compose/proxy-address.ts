/** Where the credential proxy listens, and what children are told of it. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Config } from '../config/load';
import { AppError } from '../errors';
import type { CredentialProxyOptions } from '../forgejo/proxy/options';

/**
 * Where the credential proxy listens and what children are told. Pods have no DNS, so a name in its URL becomes the address that it has
 * now: that of a Service stays the same.
 */
export async function proxyAddress({
  backend,
  proxy,
}: Config): Promise<Pick<CredentialProxyOptions, 'listen' | 'childUrl' | 'tls'>> {
  const pods = backend.kind === 'pod';
  const { address: host, port } =
    proxy.listen ?? (pods ? { address: '0.0.0.0', port: 8443 } : { address: '127.0.0.1', port: 0 });
  const childUrl = proxy.url === undefined ? undefined : await withAddress(proxy.url);
  const tls = proxy.tls === 'on' || (pods && !proxy.insecureNoTls);
  const hosts = [childUrl === undefined ? host : new URL(childUrl).hostname.replace(/^\[|\]$/g, '')];
  return { listen: { host, port }, childUrl, tls: tls ? { kind: 'self-made', hosts } : { kind: 'plain' } };
}

async function withAddress(url: string): Promise<string> {
  const parsed = new URL(url);
  if (isIP(parsed.hostname.replace(/^\[|\]$/g, '')) !== 0) return url;
  try {
    const { address, family } = await lookup(parsed.hostname);
    parsed.hostname = family === 6 ? `[${address}]` : address;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    throw new AppError(
      'CONFIG_INVALID',
      `proxy.url: the name ${parsed.hostname} has no address (${code ?? 'unknown'}). Write the Service's ClusterIP.`,
    );
  }
  return parsed.href.replace(/\/+$/, '');
}
