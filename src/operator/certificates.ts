/**
 * The certificates with which gateways believe each other, in a Secret that all of them have mounted: one key and certificate for all, because all may do the
 * same. Nobody can sign another: the key of each CA is forgotten once it has signed its one certificate.
 *
 * A rotation takes two steps, so that gateways which see the Secret at different times (the kubelet takes a minute or two) always believe each other: first
 * the next CA joins the others in `ca.crt`, and later its certificate is put in use. A CA stays in `ca.crt` until it has expired, and so has its certificate.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CERTIFICATE_FILES, PEER_DNS_NAME } from '../peers/names';
import { createAuthority } from '../tls/certificate';
import type { World } from './world';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A certificate is valid for this long... */
const VALID_MS = 90 * DAY;
/** ...the next one is made when it has this long left... */
const NEXT_MS = 30 * DAY;
/** ...and put in use this long after everybody could see its CA. */
const SPREAD_MS = HOUR;
/** Clocks of nodes differ. */
const SKEW_MS = HOUR;

/** Where the next certificate waits. Gateways do not mount these. */
const NEXT = { cert: 'next.crt', key: 'next.key' } as const;

/** Every entry that is ours. */
const OURS: readonly string[] = [...Object.values(CERTIFICATE_FILES), ...Object.values(NEXT)];

/** Milliseconds between two looks at the Secret: whatever happens to it is mended soon. */
const LOOK_MS = 60_000;

/** A Secret's entries as text. */
export type Entries = Readonly<Record<string, string>>;

interface Pair {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  readonly leaf: X509Certificate;
}

/**
 * One look at the Secret of that name. It is made by whoever installs, empty, so that the operator needs no right to make any.
 */
export async function reconcileCertificates(world: World, name: string, signal: AbortSignal): Promise<number> {
  const { kube, namespace, clock } = world.options;
  const secret = await world.read(
    (limits) => kube.core((api, options) => api.readNamespacedSecret({ namespace, name }, options), limits),
    signal,
  );
  if (secret === undefined) {
    world.options.log.warn('operator.certificates-no-secret', { object: name });
    return LOOK_MS;
  }
  const data = secret.data ?? {};
  const present = Object.fromEntries(OURS.map((key) => [key, Buffer.from(data[key] ?? '', 'base64').toString('utf8')]));
  const wanted = rotated(present, clock.wall());
  if (wanted === undefined) return LOOK_MS;
  const others = Object.entries(data).filter(([key]) => !OURS.includes(key));
  const ours = Object.entries(wanted).map(([key, text]) => [key, Buffer.from(text, 'utf8').toString('base64')]);
  const body = { ...secret, data: Object.fromEntries([...others, ...ours]) as Record<string, string> };
  // With the resource version that was read: two leaders never overwrite each other.
  const isDone = await world.write(
    (limits) => kube.core((api, options) => api.replaceNamespacedSecret({ namespace, name, body }, options), limits),
    signal,
  );
  if (isDone) world.did('certificates-written', { object: name });
  return isDone ? LOOK_MS : 0;
}

/**
 * What the Secret should have, from what it has. Undefined where that is as it should be.
 * @param wall wall-clock milliseconds.
 */
export function rotated(present: Entries, wall: number): Entries | undefined {
  const trusted = authorities(present[CERTIFICATE_FILES.ca]).filter(({ validToDate }) => validToDate.getTime() > wall);
  const current = pair(present[CERTIFICATE_FILES.cert], present[CERTIFICATE_FILES.key], trusted);
  // Nothing that can be used: begun anew. What is still believed stays so, for gateways that have read more than we find.
  if (current === undefined || left(current, wall) <= 0) return entries(made(wall), trusted);
  const next = pair(present[NEXT.cert], present[NEXT.key], trusted);
  if (left(current, wall) > NEXT_MS)
    return trusted.length === count(present) ? undefined : entries(current, trusted, next);
  if (next === undefined) return entries(current, trusted, made(wall));
  const seenFor = wall - (next.leaf.validFromDate.getTime() + SKEW_MS);
  if (seenFor >= SPREAD_MS) return entries(next, trusted);
  return trusted.length === count(present) ? undefined : entries(current, trusted, next);
}

function made(wall: number): Pair {
  const valid = { notBefore: new Date(wall - SKEW_MS), notAfter: new Date(wall + VALID_MS) };
  const authority = createAuthority({ name: 'forgejo-mcp-operator gateways CA', ...valid });
  const hosts = [PEER_DNS_NAME];
  const issued = authority.issue({
    name: 'forgejo-mcp-operator gateway',
    hosts,
    usages: ['server', 'client'],
    ...valid,
  });
  return { ...issued, ca: authority.cert, leaf: new X509Certificate(issued.cert) };
}

const left = ({ leaf }: Pair, wall: number): number => leaf.validToDate.getTime() - wall;

const count = (present: Entries): number => blocks(present[CERTIFICATE_FILES.ca]).length;

/** A certificate that its key fits, that is a gateway's, and whose CA is one of those that are believed. */
function pair(cert = '', key = '', trusted: readonly X509Certificate[]): Pair | undefined {
  try {
    const leaf = new X509Certificate(cert);
    const ca = trusted.find((one) => leaf.checkIssued(one) && leaf.verify(one.publicKey));
    const isOurs = leaf.checkHost(PEER_DNS_NAME, { subject: 'never' }) !== undefined;
    if (ca === undefined || !isOurs || !leaf.checkPrivateKey(createPrivateKey(key))) return undefined;
    return { cert, key, ca: ca.toString(), leaf };
  } catch {
    return undefined; // what cannot be read is not there
  }
}

function entries(current: Pair, trusted: readonly X509Certificate[], next?: Pair): Entries {
  const bundle = new Set([current.ca, ...(next === undefined ? [] : [next.ca]), ...trusted.map(String)].map(tidy));
  return {
    [CERTIFICATE_FILES.ca]: [...bundle].join(''),
    [CERTIFICATE_FILES.cert]: current.cert,
    [CERTIFICATE_FILES.key]: current.key,
    ...(next === undefined ? {} : { [NEXT.cert]: next.cert, [NEXT.key]: next.key }),
  };
}

function authorities(bundle: string | undefined): X509Certificate[] {
  return blocks(bundle).flatMap((block) => {
    try {
      return [new X509Certificate(block)];
    } catch {
      return [];
    }
  });
}

function blocks(bundle = ''): string[] {
  return bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}

function tidy(pem: string): string {
  return `${pem.trim()}\n`;
}
