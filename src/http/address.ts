/** The client's address behind reverse proxies. */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

/** Networks whose `X-Forwarded-For` is believed. */
export type TrustedProxies = BlockList | undefined;

/** How many entries of `X-Forwarded-For` are looked at; a longer chain is no chain of ours. */
const MAX_HOPS = 16;

/**
 * Makes the set of trusted proxies from addresses and CIDR networks (`10.0.0.0/8`, `::1`).
 * The configuration's schema has checked the syntax.
 */
export function trustedProxies(networks: readonly string[]): TrustedProxies {
  if (networks.length === 0) return undefined;
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix] = network.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    if (prefix === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(prefix), family);
  }
  return list;
}

/**
 * The nearest address that is not a trusted proxy's: the peer's, or, where the peer is trusted, the last entry of `X-Forwarded-For` that
 * is not. Entries further left are whatever the client wrote, and are never looked at.
 */
export function addressOf(req: IncomingMessage, trusted: TrustedProxies): string {
  let address = plain(req.socket.remoteAddress ?? '');
  if (trusted === undefined) return address;
  const forwarded = req.headers['x-forwarded-for'];
  const hops = forwarded === undefined ? [] : String(forwarded).split(',').slice(-MAX_HOPS);
  while (isTrusted(trusted, address)) {
    const hop = plain(hops.pop()?.trim() ?? '');
    if (isIP(hop) === 0) break;
    address = hop;
  }
  return address;
}

/**
 * What a rate limit counts by: an IPv4 address, or the /64 of an IPv6 address, because one client owns all of it (RFC 6177, 2).
 */
export function rateKey(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = '', tail = ''] = address.split('%')[0]?.split('::') ?? [];
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const gap: string[] = address.includes('::')
    ? Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0')
    : [];
  return `${[...left, ...gap, ...right]
    .slice(0, 4)
    .map((group) => parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

function isTrusted(trusted: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && trusted.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/** Node shows IPv4 peers of a dual-stack listener as `::ffff:192.0.2.1`; proxies may add a port or brackets. */
function plain(address: string): string {
  if (isIP(address) !== 0) return MAPPED.exec(address)?.[1] ?? address;
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(address);
  if (bracketed?.[1] !== undefined) return bracketed[1];
  const withPort = /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(address);
  return withPort?.[1] ?? address;
}
