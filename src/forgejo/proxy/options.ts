/** What the credential proxy is made of. */
import type { ForgejoTokens } from '../../auth/context';
import type { Clock } from '../../clock';
import type { Logger } from '../../telemetry/log';
import type { ProxyKeys } from '../capability';
import type { FindProxySession, ProxyObserver } from '../contract';
import { DEFAULT_TIMEOUTS, type UpstreamTimeouts } from '../forge';
import type { ProxyElsewhere } from './elsewhere';
import type { SourceCheck } from './source';

/** How the listener is reached: plain HTTP (loopback, or children that cannot be given a CA), with a certificate made at start (its CA comes of `keys`), or with one's own. */
export type ProxyTls =
  | { readonly kind: 'plain' }
  /** `hosts`: DNS names and IP addresses that children use, such as the Service's ClusterIP. */
  | { readonly kind: 'self-made'; readonly hosts: readonly string[] }
  /** PEM texts. */
  | { readonly kind: 'given'; readonly key: string; readonly cert: string; readonly ca: string };

export interface ProxyLimits {
  /** Requests of one session at once; more are told to wait (503). */
  readonly perSession: number;
  /** Requests at once in all. */
  readonly inAll: number;
  /** Connections at once. */
  readonly connections: number;
  /** Bytes of one request body. */
  readonly bodyBytes: number;
  /** Bytes of all request bodies together that are held to be checked; beyond that 503. */
  readonly heldBodyBytes: number;
  /** Milliseconds for a request's headers. */
  readonly headers: number;
  /** Milliseconds for a connection on which nothing moves; more than the forge is given, for until it answers nothing does. */
  readonly idle: number;
}

export const DEFAULT_LIMITS: Omit<ProxyLimits, 'idle'> = {
  perSession: 64,
  inAll: 1024,
  connections: 4096,
  bodyBytes: 1024 * 1024 * 1024,
  heldBodyBytes: 64 * 1024 * 1024,
  headers: 10_000,
};

export interface CredentialProxyOptions {
  /** Port 0: any. */
  readonly listen: { readonly host: string; readonly port: number };
  /**
   * The base URL that children reach the proxy by, without a trailing slash; unset, it is made of the address listened on.
   * Never a name that a pod would have to resolve: pods have no DNS.
   */
  readonly childUrl?: string | undefined;
  readonly tls: ProxyTls;
  /** Capabilities, link proofs and the CA are made with keys derived from them. */
  readonly keys: ProxyKeys;
  readonly find: FindProxySession;
  /** The way to the gateways that have other sessions; absent where there is none. */
  readonly elsewhere?: ProxyElsewhere | undefined;
  readonly tokens: ForgejoTokens;
  readonly sourceCheck: SourceCheck;
  /** Where people read about refusals; becomes `url` in a refusal's body. */
  readonly helpUrl?: string | undefined;
  readonly timeouts?: Partial<UpstreamTimeouts>;
  readonly limits?: Partial<ProxyLimits>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observer?: ProxyObserver;
}

/** The options with every default filled in. */
export type CompleteOptions = CredentialProxyOptions & {
  readonly timeouts: UpstreamTimeouts;
  readonly limits: ProxyLimits;
};

export function completeOptions(options: CredentialProxyOptions): CompleteOptions {
  const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  const idle = timeouts.firstByte + timeouts.idle + 30_000;
  return { ...options, timeouts, limits: { ...DEFAULT_LIMITS, idle, ...options.limits } };
}
