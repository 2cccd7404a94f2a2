/** From a host's name to addresses that may be connected to. */
import { Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import type { AddressGuard } from './addresses';

/** Asks the DNS for all addresses of a host. Rejects when there are none, or when the signal aborts. */
export type Resolve = (hostname: string, signal: AbortSignal) => Promise<readonly string[]>;

const QUERY_MS = 1_500;

/** c-ares doubles its patience with every try: this is 4.5 s for IPv4, which everybody has. */
const TRIES_V4 = 2;

/** Name servers that stay silent when they are asked for IPv6 are many; they must not use up the deadline. */
const TRIES_V6 = 1;

/** Addresses that are looked at; nobody has so many, and each costs a check. */
const MAX_ADDRESSES = 32;

/**
 * Asks the DNS servers of this machine, for the name as it stands: search domains are left aside, so a stranger's `forge.git` never becomes the
 * Service `forge` of the namespace `git`. It does not go through getaddrinfo either, whose few threads a slow name server could hold.
 */
export const publicDns: Resolve = async (hostname, signal) => {
  signal.throwIfAborted();
  const v4 = new Resolver({ timeout: QUERY_MS, tries: TRIES_V4 });
  const v6 = new Resolver({ timeout: QUERY_MS, tries: TRIES_V6 });
  const cancel = (): void => {
    v4.cancel();
    v6.cancel();
  };
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const answers = await Promise.allSettled([v4.resolve4(hostname), v6.resolve6(hostname)]);
    signal.throwIfAborted();
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    if (addresses.length === 0) throw new Error(`the name ${hostname} has no address`);
    return addresses;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
};

/**
 * The `lookup` of one connection: the name is resolved once, every address is checked, and the connection is made to exactly these addresses, so a
 * name that changes its mind (DNS rebinding) gains nothing. One address that is not public refuses them all.
 */
export function guardedLookup(resolve: Resolve, guard: AddressGuard, signal: AbortSignal): LookupFunction {
  return (hostname, options, callback) => {
    void resolve(hostname, signal).then(
      (addresses) => {
        const [first] = addresses;
        if (first === undefined || addresses.length > MAX_ADDRESSES || !addresses.every(guard)) {
          callback(new Error('the name leads to an address that is not public'), []);
        } else if (options.all === true) {
          callback(
            null,
            addresses.map((address) => ({ address, family: isIP(address) })),
          );
        } else {
          callback(null, first, isIP(first));
        }
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error('the name cannot be resolved'), []),
    );
  };
}
