/**
 * This replica's certificate and the CA that all replicas believe: files in a folder, a Secret that the operator rotates, read again when they change.
 * A gateway without them is not ready, and begins with them when they come.
 */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { Clock, Timer } from '../clock';
import { AppError } from '../errors';
import type { Logger } from '../telemetry/log';
import { CERTIFICATE_FILES, PEER_DNS_NAME } from './names';

/** Milliseconds between two looks at the files. The kubelet brings a changed Secret within a minute or two, so this is no delay. */
const LOOK_MS = 5_000;

export interface CertificatesOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What both sides of a connection are made with. `key` is secret. */
export interface Material {
  readonly tls: Readonly<SecureContextOptions>;
}

/** Whether a certificate is a replica's: it says so as its alternative name, in full. Who signed it and when it is valid, TLS has checked. */
export function isPeerCertificate(certificate: X509Certificate): boolean {
  return certificate.checkHost(PEER_DNS_NAME, { subject: 'never', wildcards: false }) === PEER_DNS_NAME;
}

export class Certificates {
  readonly #options: CertificatesOptions;
  readonly #listeners = new Set<(material: Material) => void>();
  #material: Material | undefined;
  #stamp = '';
  /** What was said last in the log, so that a folder that stays wrong says so once. */
  #said = '';
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;

  constructor(options: CertificatesOptions) {
    this.#options = options;
  }

  /** What is used now; undefined until there was something to use. */
  get current(): Material | undefined {
    return this.#material;
  }

  /** Rejects where there was nothing to use so far: the other replicas cannot be reached, nor can they reach this one. */
  async check(): Promise<void> {
    if (this.#material !== undefined) return;
    throw new AppError(
      'STORE_UNAVAILABLE',
      'There is no certificate yet with which this gateway and the others believe each other. The operator makes it.',
      { detail: this.#said === '' ? 'it was not looked for' : this.#said },
    );
  }

  /** Calls `told` with each new material, and with the present one at once. It must not throw. Returns what ends it. */
  onChange(told: (material: Material) => void): () => void {
    this.#listeners.add(told);
    if (this.#material !== undefined) told(this.#material);
    return () => void this.#listeners.delete(told);
  }

  /** Looks for the first time, and goes on looking. Resolves after the first look, whatever it found. */
  async start(): Promise<void> {
    this.#timer ??= this.#options.clock.every(LOOK_MS, () => void this.look());
    await this.look();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** Looks now. Never rejects: files that cannot be used leave what is used as it is. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #look(): Promise<void> {
    try {
      const folder = await place(this.#options.folder);
      const before = await stampOf(folder);
      if (before === this.#stamp) return;
      const [ca, cert, key] = await Promise.all([
        readFile(join(folder, CERTIFICATE_FILES.ca), 'utf8'),
        readFile(join(folder, CERTIFICATE_FILES.cert), 'utf8'),
        readFile(join(folder, CERTIFICATE_FILES.key), 'utf8'),
      ]);
      const leaf = checked(ca, cert, key);
      // Files that are written one by one are read again when they stand still.
      if ((await stampOf(folder)) !== before) return;
      this.#stamp = before;
      // No tickets: a resumed session would stand on a certificate that was replaced.
      const tls = { ca, cert, key, minVersion: 'TLSv1.3', secureOptions: constants.SSL_OP_NO_TICKET } as const;
      this.#take({ tls }, leaf);
    } catch (thrown) {
      this.#say(thrown);
    }
  }

  #take(material: Material, leaf: X509Certificate): void {
    this.#said = '';
    this.#material = material;
    this.#options.log.info('peers.certificate', { serial: leaf.serialNumber, expires: leaf.validTo });
    for (const told of [...this.#listeners]) told(material);
  }

  /** The reason is a code or one of our own texts: what OpenSSL and the file system say may quote. */
  #say(thrown: unknown): void {
    const { code, message } = thrown as NodeJS.ErrnoException;
    const why = thrown instanceof Unusable ? message : (code ?? 'the files cannot be read');
    if (why === this.#said) return;
    this.#said = why;
    const fields = { folder: this.#options.folder, why, inUse: this.#material !== undefined };
    // Before the operator has made them there are none.
    if (code === 'ENOENT' && this.#material === undefined) this.#options.log.info('peers.certificate-awaited', fields);
    else this.#options.log.warn('peers.certificate-unusable', fields);
  }
}

class Unusable extends Error {}

/** A mounted Secret is a link, `..data`, to a folder that never changes: reading through one link cannot mix two versions. */
async function place(folder: string): Promise<string> {
  return realpath(join(folder, '..data')).catch(() => folder);
}

async function stampOf(folder: string): Promise<string> {
  const stamps = await Promise.all(
    Object.values(CERTIFICATE_FILES).map(async (file) => {
      const { mtimeMs, size, ino } = await stat(join(folder, file));
      return `${mtimeMs}:${size}:${ino}`;
    }),
  );
  return [folder, ...stamps].join(' ');
}

/** The certificate, if the three files belong together and make a replica. An expired one is taken, because the next may be late; peers refuse it. */
function checked(ca: string, cert: string, key: string): X509Certificate {
  let leaf: X509Certificate;
  let fits: boolean;
  try {
    leaf = new X509Certificate(cert);
    fits = leaf.checkPrivateKey(createPrivateKey(key));
    new X509Certificate(ca); // a context takes a CA file without any in it
    createSecureContext({ ca, cert, key });
  } catch {
    throw new Unusable('the files are no certificate, key and CA');
  }
  if (!fits) throw new Unusable('the key is another certificate’s');
  if (!isPeerCertificate(leaf)) throw new Unusable(`the certificate is not for ${PEER_DNS_NAME}`);
  return leaf;
}
