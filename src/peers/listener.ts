/**
 * The listener that other replicas reach: mutual TLS, and no request that is not for this replica or a session which it holds. It believes what a replica
 * says of its client's address, and that of nobody else.
 */
import { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { AppError } from '../errors';
import { type Certificates, isPeerCertificate } from './certificates';
import type { Forwarded, PeerListener, PeerObserver, PeerService } from './contract';
import { markMisdirected, rememberForwarded, stripPeerHeaders } from './forwarded';
import { HEADERS, isReplicaName } from './names';

/** Milliseconds for a handshake, and for a request's headers. */
const HANDSHAKE_MS = 5_000;
const HEADERS_MS = 10_000;
/** Milliseconds that an idle connection is kept: longer than the senders keep theirs. */
const IDLE_MS = 65_000;
/** Bytes of a request's headers: those that the listeners take whose requests come here, and ours. */
const HEADER_BYTES = 32_768 + 4_096;

export interface PeerListenerOptions {
  /** This replica's name: what is meant for another one, whose address this was, is refused. */
  readonly self: string;
  readonly listen: { readonly address: string; readonly port: number };
  /** Stays the caller's. Until there are some, nobody gets in. */
  readonly certificates: Pick<Certificates, 'onChange'>;
  readonly service: PeerService;
  readonly observer?: Pick<PeerObserver, 'refused'>;
  /** Connections at once; further ones are closed at once. */
  readonly maxConnections?: number;
}

/**
 * Opens the listener.
 * @throws AppError `CONFIG_INVALID` when the address cannot be taken.
 */
export async function openPeerListener(options: PeerListenerOptions): Promise<PeerListener> {
  const { service, self, observer } = options;
  let isDraining = false;
  const take = (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void => {
    response.on('error', () => undefined); // its close says it
    if (isDraining) response.setHeader('Connection', 'close');
    const forwarded = readForwarded(request, self);
    const handler = forwarded === undefined ? undefined : service.handlers[forwarded.channel];
    if (forwarded === undefined || handler === undefined || !isHeld(service, forwarded)) {
      observer?.refused('holder');
      misdirected(response);
      return;
    }
    begin(request, response, forwarded, expectsContinue, handler);
  };
  const server = createServer({
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['http/1.1'],
    handshakeTimeout: HANDSHAKE_MS,
    maxHeaderSize: HEADER_BYTES,
    headersTimeout: HEADERS_MS,
    requestTimeout: 0, // uploads may take long; a dead replica's connections are found by TCP keep-alive
    keepAliveTimeout: IDLE_MS,
    connectionsCheckingInterval: 5_000,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 15_000,
    requireHostHeader: true,
    insecureHTTPParser: false,
  });
  server.timeout = 0;
  server.maxConnections = options.maxConnections ?? 16_384;
  server.on('request', (request, response) => take(request, response, false));
  server.on('checkContinue', (request, response) => take(request, response, true));
  server.on('tlsClientError', () => observer?.refused('tls'));
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    const certificate = socket.getPeerX509Certificate();
    if (socket.authorized && certificate !== undefined && isPeerCertificate(certificate)) return;
    observer?.refused('name');
    socket.destroy();
  });
  const unfollow = options.certificates.onChange(({ tls }) => server.setSecureContext(tls));
  try {
    await bind(server, options.listen);
  } catch (thrown) {
    unfollow();
    throw thrown;
  }
  return {
    port: (server.address() as AddressInfo).port,
    drain: () => void (isDraining = true),
    close: (ms) => {
      isDraining = true;
      unfollow();
      return closed(server, ms);
    },
  };
}

/** Tells the sender that the request is taken, and hands it on as the client sent it. */
function begin(
  request: IncomingMessage,
  response: ServerResponse,
  forwarded: Forwarded,
  expectsContinue: boolean,
  handler: RequestListener,
): void {
  stripPeerHeaders(request);
  delete request.headers.expect;
  rememberForwarded(request, forwarded);
  if (expectsContinue) response.writeContinue();
  else response.writeProcessing();
  handler(request, response);
}

/** What the sender says of a request; undefined where it is not whole, or is meant for another replica. */
function readForwarded(request: IncomingMessage, self: string): Forwarded | undefined {
  const one = (name: string): string | undefined => {
    const values = request.headersDistinct[name];
    return values?.length === 1 ? values[0] : undefined;
  };
  const channel = one(HEADERS.channel);
  const from = one(HEADERS.from);
  const session = one(HEADERS.session);
  const epoch = one(HEADERS.epoch);
  const clientAddress = one(HEADERS.address);
  if (one(HEADERS.to) !== self || from === undefined || !isReplicaName(from)) return undefined;
  if (clientAddress === undefined || (clientAddress !== '' && isIP(clientAddress) === 0)) return undefined;
  if (channel === 'stateless' || channel === 'sse' || channel === 'handover') return { channel, from, clientAddress };
  if (channel !== 'mcp' && channel !== 'forge') return undefined;
  if (session === undefined || epoch === undefined || !/^\d{1,15}$/.test(epoch)) return undefined;
  return { channel, from, session, epoch: Number(epoch), clientAddress };
}

/** Whether a request is for a session that is held here, or for no session. */
function isHeld(service: PeerService, forwarded: Forwarded): boolean {
  return !('session' in forwarded) || service.holds(forwarded.session, forwarded.epoch);
}

/** 421 (RFC 9110, 15.5.20), and nothing was done. */
function misdirected(response: ServerResponse): void {
  markMisdirected(response);
  response.writeHead(421, { 'Content-Length': 0 }).end();
}

function bind(server: Server, { address, port }: PeerListenerOptions['listen']): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException): void =>
      reject(
        new AppError('CONFIG_INVALID', `Cannot listen for other replicas on ${address}:${String(port)}.`, {
          cause,
          detail: cause.code ?? cause.message,
        }),
      );
    server.once('error', fail);
    server.listen({ host: address, port }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

/** Closes the listener; what is idle at once, the rest as it ends, and all after `ms`. */
function closed(server: Server, ms: number): Promise<void> {
  return new Promise<void>((resolve) => {
    const look = setInterval(() => server.closeIdleConnections(), 50);
    const timer = setTimeout(() => server.closeAllConnections(), ms);
    server.close(() => {
      clearInterval(look);
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
