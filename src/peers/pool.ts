/** Connections to other replicas: kept, counted for each, made anew with each new certificate. */
import { X509Certificate } from 'node:crypto';
import { Agent } from 'node:https';
import type { Duplex } from 'node:stream';
import { createSecureContext, type PeerCertificate } from 'node:tls';
import { isPeerCertificate, type Material } from './certificates';
import { PEER_DNS_NAME } from './names';

/** Milliseconds for which an idle connection is kept: well below the listener's, so that no request meets a closing one. */
export const IDLE_MS = 20_000;
/** Idle connections that are kept to each replica. */
const IDLE_MAX = 64;

/** One certificate's connections. A connection carries one request at a time: a stream that nobody reads holds up no other. */
export class PeerAgent extends Agent {
  #isRetired = false;

  constructor({ tls }: Material) {
    super({
      keepAlive: true,
      keepAliveMsecs: 15_000, // TCP keep-alive: machines that vanish behind an open stream
      maxFreeSockets: IDLE_MAX,
      timeout: IDLE_MS,
      scheduling: 'lifo',
      maxCachedSessions: 0, // a resumed session would stand on a certificate that was replaced
      secureContext: createSecureContext(tls),
      minVersion: 'TLSv1.3',
      servername: PEER_DNS_NAME,
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: true,
      checkServerIdentity: (_host: string, { raw }: PeerCertificate) =>
        isPeerCertificate(new X509Certificate(raw)) ? undefined : new Error('not a replica’s certificate'),
    });
  }

  /** Closes what is idle, all or of one replica. */
  closeIdle(host?: string, port?: number): void {
    const name = host === undefined || port === undefined ? undefined : `${host}:${String(port)}:`;
    for (const [key, sockets] of Object.entries(this.freeSockets)) {
      if (name === undefined || key.startsWith(name)) for (const socket of sockets ?? []) socket.destroy();
    }
  }

  /** Another certificate came: what is under way ends in its own time, and its connections with it. */
  retire(): void {
    this.#isRetired = true;
    this.closeIdle();
  }

  /** Node's hook: whether a connection that became idle is kept. */
  override keepSocketAlive(socket: Duplex): boolean {
    const keep: unknown = super.keepSocketAlive(socket); // the types say void
    return keep === true && !this.#isRetired;
  }
}
