/** Certificates of replicas as the operator makes them, and ones that nobody should believe, in folders as the kubelet mounts Secrets. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  bitString,
  boolean,
  context,
  integer,
  objectId,
  octetString,
  sequence,
  set,
  time,
  utf8String,
} from '../../src/tls/der';
import { PEER_DNS_NAME } from '../../src/peers/names';

export interface PeerFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const ECDSA_SHA256 = sequence(objectId('1.2.840.10045.4.3.2'));
const name = (commonName: string): Buffer => sequence(set(sequence(objectId('2.5.4.3'), utf8String(commonName))));
const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
const keyId = (key: KeyObject): Buffer => createHash('sha256').update(spki(key)).digest().subarray(0, 20);
const extension = (id: string, critical: boolean, value: Buffer): Buffer =>
  sequence(objectId(id), ...(critical ? [boolean(true)] : []), octetString(value));

export interface LeafOptions {
  /** DNS names; the replicas' own unless set. */
  readonly names?: readonly string[];
  readonly commonName?: string;
  /** Milliseconds from now; a negative one has expired. */
  readonly expiresIn?: number;
}

/** A CA that signs certificates of replicas. */
export class Authority {
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  readonly pem: string;

  constructor(private readonly commonName = `test CA ${randomBytes(4).toString('hex')}`) {
    const { publicKey } = this.#keys;
    this.pem = this.#sign(this.commonName, publicKey, Date.now() + 86_400_000, [
      extension('2.5.29.19', true, sequence(boolean(true))),
      extension('2.5.29.15', true, bitString(Buffer.of(0b0000_0110), 1)),
      extension('2.5.29.14', false, octetString(keyId(publicKey))),
    ]);
  }

  /** A certificate, as client and as server. */
  issue({ names = [PEER_DNS_NAME], commonName = 'gateway', expiresIn = 3_600_000 }: LeafOptions = {}): PeerFiles {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const cert = this.#sign(commonName, publicKey, Date.now() + expiresIn, [
      extension('2.5.29.19', true, sequence()),
      extension('2.5.29.15', true, bitString(Buffer.of(0b1000_0000), 7)),
      extension('2.5.29.37', false, sequence(objectId('1.3.6.1.5.5.7.3.1'), objectId('1.3.6.1.5.5.7.3.2'))),
      ...(names.length === 0
        ? []
        : [extension('2.5.29.17', false, sequence(...names.map((each) => context(2, Buffer.from(each)))))]),
      extension('2.5.29.35', false, sequence(context(0, keyId(this.#keys.publicKey)))),
    ]);
    return { ca: this.pem, cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }

  #sign(subject: string, publicKey: KeyObject, until: number, extensions: readonly Buffer[]): string {
    const serial = randomBytes(16);
    serial[0] &= 0x7f;
    const body = sequence(
      context(0, integer(Buffer.of(2)), true),
      integer(serial),
      ECDSA_SHA256,
      name(this.commonName),
      sequence(time(new Date(Math.min(Date.now(), until) - 7_200_000)), time(new Date(until))),
      name(subject),
      spki(publicKey),
      context(3, sequence(...extensions), true),
    );
    const der = sequence(body, ECDSA_SHA256, bitString(sign('sha256', body, this.#keys.privateKey)));
    const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
    return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
  }
}

/** A folder as the kubelet mounts a Secret: files are links into `..data`, which is a link that is swapped when the Secret changes. */
export class SecretFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'fmo-peers-'));
  #count = 0;

  /** Swaps the content in one step. */
  write({ ca, cert, key }: PeerFiles): void {
    const version = `..version-${++this.#count}`;
    mkdirSync(join(this.path, version));
    const files = { 'ca.crt': ca, 'tls.crt': cert, 'tls.key': key };
    for (const [file, text] of Object.entries(files)) writeFileSync(join(this.path, version, file), text);
    symlinkSync(version, join(this.path, '..data_tmp'));
    renameSync(join(this.path, '..data_tmp'), join(this.path, '..data'));
    if (this.#count > 1) return;
    for (const file of Object.keys(files)) symlinkSync(join('..data', file), join(this.path, file));
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
