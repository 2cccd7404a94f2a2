/** Whether a request came from the address of the child that holds its capability. */
import { isIPv6 } from 'node:net';
import type { SourceState } from '../contract';

/**
 * `auto`: enforced from the first child on that is seen with its own address, which proves that the network keeps addresses (some CNI plugins and
 * masquerading service proxies do not); `require`: always; `off`: never.
 */
export type SourceCheck = 'auto' | 'require' | 'off';

/** The one spelling of an address that two of them are compared by: IPv4-mapped IPv6 is IPv4 (RFC 4291, 2.5.5.2), zones are cut. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped?.[1] !== undefined) return mapped[1];
  const bare = address.split('%')[0] ?? address;
  // The URL parser writes the canonical form of RFC 5952.
  return isIPv6(bare) ? new URL(`http://[${bare}]`).hostname.slice(1, -1) : bare;
}

/** Keeps what was proved. */
export class SourceProof {
  private current: SourceState;

  constructor(private readonly check: SourceCheck) {
    this.current = check === 'off' ? 'off' : 'unproven';
  }

  get state(): SourceState {
    return this.current;
  }

  /** True when the request may go on. A child whose address the driver cannot tell (`expected` undefined) is not checked. */
  admit(expected: string | undefined, actual: string | undefined): boolean {
    if (this.check === 'off' || expected === undefined) return true;
    const same = actual !== undefined && plainAddress(actual) === plainAddress(expected);
    if (same) {
      this.current = 'preserved';
      return true;
    }
    if (this.check === 'require' || this.current === 'preserved') return false;
    this.current = 'rewritten';
    return true;
  }
}
