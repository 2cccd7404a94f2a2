/**
 * Which addresses a stranger may make this process connect to: those of the public Internet. Names that are given by strangers lead to whatever
 * address their owner likes, so this is asked about every address, right before it is used.
 */
import { isIPv4, isIPv6 } from 'node:net';

/** An address block: its first bytes, and how many bits of them count. */
interface Block {
  readonly bytes: readonly number[];
  readonly bits: number;
}

/**
 * IPv4 that is not the public Internet: the IANA special-purpose registry (RFC 6890), multicast (RFC 5771) and what is reserved (RFC 1112, 4).
 */
export const SPECIAL_V4 = [
  '0.0.0.0/8', // this network
  '10.0.0.0/8', // private
  '100.64.0.0/10', // shared by a provider's customers (RFC 6598)
  '127.0.0.0/8', // loopback
  '169.254.0.0/16', // link-local; metadata services of clouds
  '172.16.0.0/12', // private
  '192.0.0.0/24', // protocol assignments
  '192.0.2.0/24', // documentation
  '192.31.196.0/24', // AS112
  '192.52.193.0/24', // AMT
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16', // private
  '192.175.48.0/24', // AS112
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, and broadcast
  '168.63.129.16/32', // looks public, and is Azure's own service for its virtual machines
] as const;

/** The only IPv6 that is allotted to the public (RFC 4291, 2.4); all around it is special, mapped or not in use. */
const GLOBAL_V6 = '2000::/3';

/** What is special inside of it (IANA IPv6 special-purpose registry, RFC 6890). */
export const SPECIAL_V6 = [
  '2001::/23', // protocol assignments: Teredo, benchmarks, ORCHID
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4: an IPv4 address in disguise
  '2620:4f:8000::/48', // AS112
  '3fff::/20', // documentation (RFC 9637)
] as const;

/** IPv4 through a translator (RFC 6052, 2.1): as good as the IPv4 address at its end. Networks without IPv4 answer with these (DNS64). */
const TRANSLATED = '64:ff9b::/96';

/** Says whether an address may be connected to. */
export type AddressGuard = (address: string) => boolean;

/**
 * Makes the guard.
 * @param refused more networks that are never connected to, in CIDR notation: a cluster's pods, Services and nodes where those have public addresses.
 * @throws RangeError for what is no CIDR network.
 */
export function addressGuard(refused: readonly string[] = []): AddressGuard {
  const own = refused.map(block);
  return (address) => isPublic(address) && !isWithin(address, own);
}

function isWithin(address: string, blocks: readonly Block[]): boolean {
  const bytes = parse(address);
  if (bytes === undefined) return true;
  const inner = translated(bytes);
  return blocks.some((one) => matches(bytes, one) || (inner !== undefined && matches(inner, one)));
}

const special4 = SPECIAL_V4.map(block);
const special6 = SPECIAL_V6.map(block);
const global6 = block(GLOBAL_V6);
const translated6 = block(TRANSLATED);

/** Whether an address is one of the public Internet. What is no plain address (a zone, another notation) is not. */
export function isPublic(address: string): boolean {
  const bytes = parse(address);
  if (bytes === undefined) return false;
  const four = bytes.length === 4 ? bytes : translated(bytes);
  if (four !== undefined) return !special4.some((one) => matches(four, one));
  return matches(bytes, global6) && !special6.some((one) => matches(bytes, one));
}

/** The IPv4 address behind a translator's address. */
function translated(bytes: readonly number[]): readonly number[] | undefined {
  return matches(bytes, translated6) ? bytes.slice(12) : undefined;
}

function block(network: string): Block {
  const [address = '', prefix = '', ...rest] = network.split('/');
  const bytes = parse(address);
  const bits = /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
  if (bytes === undefined || rest.length > 0 || !(bits <= bytes.length * 8)) {
    throw new RangeError(`${JSON.stringify(network)} is no network in CIDR notation`);
  }
  return { bytes, bits };
}

function matches(bytes: readonly number[], { bytes: first, bits }: Block): boolean {
  if (bytes.length !== first.length) return false;
  return first.every((byte, index) => {
    const counted = Math.min(8, Math.max(0, bits - index * 8));
    const mask = (0xff << (8 - counted)) & 0xff;
    return ((bytes[index] ?? 0) & mask) === (byte & mask);
  });
}

/** The 4 or 16 bytes of an address; undefined for anything else, addresses with a zone (RFC 4007, 11) among it. */
function parse(address: string): readonly number[] | undefined {
  if (isIPv4(address)) return address.split('.').map(Number);
  if (!isIPv6(address) || address.includes('%')) return undefined;
  // The last 32 bits may be written as IPv4 (RFC 4291, 2.2).
  const plain = address.replace(/[\d.]+$/, (tail) => (isIPv4(tail) ? dottedToGroups(tail) : tail));
  const [head = '', tail] = plain.split('::');
  const left = groups(head);
  const right = groups(tail ?? '');
  const gap = Array<number>(tail === undefined ? 0 : 8 - left.length - right.length).fill(0);
  return [...left, ...gap, ...right].flatMap((group) => [group >> 8, group & 0xff]);
}

function dottedToGroups(dotted: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = dotted.split('.').map(Number);
  return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

function groups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => parseInt(group, 16));
}
