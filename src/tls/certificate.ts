/** Certificates (X.509 v3, RFC 5280), which Node reads and cannot make: a CA, and what it signs. ECDSA P-256 with SHA-256 throughout. */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import { bitString, boolean, context, integer, objectId, octetString, sequence, set, time, utf8String } from './der';

/** PEM texts. `key` is secret. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

export interface AuthorityOptions extends Validity {
  /** Its common name. */
  readonly name: string;
  /** Its private key, on P-256; a new one that nobody else has unless given. */
  readonly key?: KeyObject;
  /** Whether it may sign for other CAs as well; see {@link Authority.endorse}. */
  readonly endorses?: boolean;
}

export interface LeafOptions extends Validity {
  /** Its common name. */
  readonly name: string;
  /** DNS names and IP addresses. */
  readonly hosts: readonly string[];
  /** What its key proves: a server's identity, a client's, or both. */
  readonly usages: readonly ('server' | 'client')[];
}

/** A CA that can sign as long as somebody has it: its key is in no text and cannot be had. */
export interface Authority {
  readonly name: string;
  readonly publicKey: KeyObject;
  /** PEM. */
  readonly cert: string;
  /** Signs for a new key. @throws TypeError for a host that is neither a name nor an address. */
  issue(options: LeafOptions): Certificate;
  /** Signs for another CA (PEM): sent behind a certificate of that one's, it leads those to it who trust this one only. */
  endorse(other: Pick<Authority, 'name' | 'publicKey'>, valid: Validity): string;
}

const ECDSA_SHA256 = sequence(objectId('1.2.840.10045.4.3.2'));
const COMMON_NAME = '2.5.4.3';
const EXTENSION = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;
const USAGE = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' } as const;

/** Makes a CA that signs leaves, and no other CA unless told to. */
export function createAuthority({ name, key, endorses = false, ...valid }: AuthorityOptions): Authority {
  const privateKey = key ?? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const publicKey = createPublicKey(privateKey);
  const id = keyId(publicKey);
  const signed = (subject: string, { notBefore, notAfter }: Validity, of: KeyObject, extensions: readonly Buffer[]) =>
    pem(certificate(subject, name, sequence(time(notBefore), time(notAfter)), of, privateKey, extensions));
  return {
    name,
    publicKey,
    cert: signed(name, valid, publicKey, authorityExtensions(id, endorses ? 1 : 0)),
    issue(options) {
      const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const usages = options.usages.map((usage) => objectId(USAGE[usage]));
      const cert = signed(options.name, options, leaf.publicKey, [
        extension('basicConstraints', true, sequence()),
        extension('keyUsage', true, bitString(Buffer.of(0b1000_0000), 7)), // digitalSignature
        extension('extendedKeyUsage', false, sequence(...usages)),
        extension('subjectAltName', false, sequence(...options.hosts.map(generalName))),
        extension('subjectKeyId', false, octetString(keyId(leaf.publicKey))),
        extension('authorityKeyId', false, sequence(context(0, id))),
      ]);
      return { cert, key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
    },
    endorse: (other, until) =>
      signed(other.name, until, other.publicKey, [
        ...authorityExtensions(keyId(other.publicKey), 0),
        extension('authorityKeyId', false, sequence(context(0, id))),
      ]),
  };
}

/** @param below how many CAs may stand between it and a leaf. */
const authorityExtensions = (id: Buffer, below: 0 | 1): readonly Buffer[] => [
  extension('basicConstraints', true, sequence(boolean(true), integer(Buffer.of(below)))),
  extension('keyUsage', true, bitString(Buffer.of(0b0000_0110), 1)), // keyCertSign, cRLSign
  extension('subjectKeyId', false, octetString(id)),
];

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });

/** What a public key is called in certificates (RFC 7093, method 1: any digest of the key does). */
export const keyId = (key: KeyObject): Buffer => createHash('sha256').update(spki(key)).digest().subarray(0, 20);

const distinguishedName = (commonName: string): Buffer =>
  sequence(set(sequence(objectId(COMMON_NAME), utf8String(commonName))));

function extension(name: keyof typeof EXTENSION, critical: boolean, value: Buffer): Buffer {
  return sequence(objectId(EXTENSION[name]), ...(critical ? [boolean(true)] : []), octetString(value));
}

function certificate(
  subject: string,
  issuer: string,
  validity: Buffer,
  publicKey: KeyObject,
  signer: KeyObject,
  extensions: readonly Buffer[],
): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0] ?? 0) & 0x7f;
  const body = sequence(
    context(0, integer(Buffer.of(2)), true), // version 3
    integer(serial),
    ECDSA_SHA256,
    distinguishedName(issuer),
    validity,
    distinguishedName(subject),
    spki(publicKey),
    context(3, sequence(...extensions), true),
  );
  return sequence(body, ECDSA_SHA256, bitString(sign('sha256', body, signer)));
}

/** `dNSName` or `iPAddress` (RFC 5280, 4.2.1.6). */
function generalName(host: string): Buffer {
  if (isIP(host) !== 0) return context(7, addressBytes(host));
  if (!/^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(host)) throw new TypeError('not a host name or an IP address');
  return context(2, Buffer.from(host, 'ascii'));
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  // The URL parser writes IPv6 in the one form of RFC 5952: hexadecimal groups, and at most one run of zeros left out.
  const [left = '', right] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const head = groups(left);
  const tail = right === undefined ? [] : groups(right);
  const bytes = Buffer.alloc(16);
  [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail].forEach((group, index) =>
    bytes.writeUInt16BE(group, index * 2),
  );
  return bytes;
}

function pem(bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
