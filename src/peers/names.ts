/** Every name that replicas agree on. A change here breaks a rolling upgrade. */
import { randomBytes } from 'node:crypto';

/** The one DNS name that every replica's certificate has, as client and as server: addresses change, and all replicas may do the same. */
export const PEER_DNS_NAME = 'gateway.peers.forgejo-mcp-operator.internal';

/** Files in the certificates' folder: those of a Secret of the type `kubernetes.io/tls`, with the CA beside them. */
export const CERTIFICATE_FILES = { ca: 'ca.crt', cert: 'tls.crt', key: 'tls.key' } as const;

/** Prefix of the headers that replicas add. Nobody else's are believed or passed on. */
export const PREFIX = 'x-fmo-';

/** What a forwarded request says beside what its client said. */
export const HEADERS = {
  channel: `${PREFIX}channel`,
  /** Whom it is meant for: an address may have a new owner. */
  to: `${PREFIX}to`,
  from: `${PREFIX}from`,
  session: `${PREFIX}session`,
  epoch: `${PREFIX}epoch`,
  address: `${PREFIX}client-address`,
  /** On an answer: `misdirected` with the 421 of a replica, which is told so from any other 421. */
  answer: `${PREFIX}answer`,
} as const;

export const MISDIRECTED = 'misdirected';

/** Annotation of a replica's Lease: `host:port` of its peer listener. */
export const ADDRESS_ANNOTATION = 'forgejo-mcp-operator/peer-address';

/** A name for one run of one gateway: its Lease's name, too. Never used again. */
export function replicaName(): string {
  return `gateway-${randomBytes(8).toString('hex')}`;
}

/** Whether a text may be a replica's name. */
export function isReplicaName(text: string): boolean {
  return /^gateway-[0-9a-f]{16}$/.test(text);
}

/** Host and port of `host:port`; IPv6 addresses are in brackets. Undefined where it is neither. */
export function splitAddress(address: string): { host: string; port: number } | undefined {
  const [, bracketed, plain, digits = ''] = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}
