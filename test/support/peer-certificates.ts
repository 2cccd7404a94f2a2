/** Certificates of replicas as the operator makes them, and ones that nobody should believe, in folders as the kubelet mounts Secrets. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/clock';
import { Certificates } from '../../src/peers/certificates';
import { PEER_DNS_NAME } from '../../src/peers/names';
import { createAuthority } from '../../src/tls/certificate';
import { keptLog } from './silent-log';

export interface PeerFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface LeafOptions {
  /** DNS names and addresses; the replicas' own unless set. */
  readonly hosts?: readonly string[];
  readonly commonName?: string;
  /** Milliseconds from now; a negative one has expired. */
  readonly expiresIn?: number;
  readonly usages?: readonly ('server' | 'client')[];
}

const DAY = 86_400_000;

/** A CA that signs certificates of replicas. */
export class Authority {
  readonly #authority = createAuthority({
    name: 'replicas of the test',
    notBefore: new Date(Date.now() - DAY),
    notAfter: new Date(Date.now() + DAY),
  });

  /** PEM. */
  get pem(): string {
    return this.#authority.cert;
  }

  /** A certificate, as client and as server. */
  issue(options: LeafOptions = {}): PeerFiles {
    const {
      hosts = [PEER_DNS_NAME],
      commonName = 'gateway',
      expiresIn = DAY / 2,
      usages = ['server', 'client'],
    } = options;
    const dates = { notBefore: new Date(Date.now() - DAY / 2), notAfter: new Date(Date.now() + expiresIn) };
    return { ca: this.pem, ...this.#authority.issue({ name: commonName, hosts, usages, ...dates }) };
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

  /** What is in it, as a gateway reads it; changes of it are not seen. */
  async read(): Promise<Certificates> {
    const certificates = new Certificates({ folder: this.path, clock: systemClock, log: keptLog() });
    await certificates.start();
    certificates.stop();
    return certificates;
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
