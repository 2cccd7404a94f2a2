/** A replica of the tests: a public listener that sends everything on to another replica, and a peer listener that serves what is sent to it. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '../../src/clock';
import { AppError } from '../../src/errors';
import { Certificates } from '../../src/peers/certificates';
import type { Outcome, PeerListener, PeerObserver, Peers, SessionForward } from '../../src/peers/contract';
import { forwardedOf, markMisdirected, stripPeerHeaders } from '../../src/peers/forwarded';
import { openPeerListener } from '../../src/peers/listener';
import { replicaName } from '../../src/peers/names';
import { createPeers, type PeerLimits } from '../../src/peers/peers';
import { type KeptLog, keptLog } from './silent-log';
import { type PeerFiles, SecretFolder } from './peer-certificates';

export const SESSION = 'a'.repeat(40);
export const EPOCH = 7;

/** How a public request is sent on, beside its target. */
export type Way = Partial<Omit<SessionForward, 'target'>> & { readonly signal?: AbortSignal };

export class Replica {
  readonly name = replicaName();
  readonly secret = new SecretFolder();
  readonly log: KeptLog = keptLog();
  readonly certificates: Certificates;
  readonly peers: Peers;
  /** What this replica's peer listener serves. */
  serve: RequestListener = (_request, response) => void response.end('served');
  /** What it holds. */
  held = new Map<string, number>([[SESSION, EPOCH]]);
  /** Where its public listener sends requests, and how; a body of theirs is streamed unless told otherwise. */
  target: { name: string; address: string } | undefined;
  way: Way = {};
  /** What its public listener does with a request; sends it on unless told otherwise. */
  serveOwn: (request: IncomingMessage, response: ServerResponse) => Promise<string> = (request, response) =>
    this.forward(request, response);
  /** Outcomes of its public listener's requests, or codes of errors, in the order in which they ended. */
  readonly outcomes: string[] = [];
  readonly told: { forwarded: string[]; refused: string[] } = { forwarded: [], refused: [] };
  listener!: PeerListener;
  public!: Server;

  private constructor(limits: Partial<PeerLimits>) {
    this.certificates = new Certificates({ folder: this.secret.path, clock: systemClock, log: this.log });
    const observer: PeerObserver = {
      forwarded: (_channel, outcome) => void this.told.forwarded.push(outcome),
      refused: (why) => void this.told.refused.push(why),
    };
    this.observer = observer;
    this.peers = createPeers({
      self: this.name,
      certificates: this.certificates,
      clock: systemClock,
      observer,
      limits,
    });
  }

  private readonly observer: PeerObserver;

  static async start(files: PeerFiles | undefined, limits: Partial<PeerLimits> = {}): Promise<Replica> {
    const replica = new Replica(limits);
    if (files !== undefined) replica.secret.write(files);
    await replica.certificates.start();
    await replica.open(0);
    replica.public = createServer((request, response) => void replica.#send(request, response));
    replica.public.listen(0, '127.0.0.1');
    await once(replica.public, 'listening');
    return replica;
  }

  /** Opens the peer listener: at the start, or again after it was closed. */
  async open(port: number): Promise<void> {
    this.listener = await openPeerListener({
      self: this.name,
      listen: { address: '127.0.0.1', port },
      certificates: this.certificates,
      observer: this.observer,
      service: {
        holds: (session, epoch) => this.held.get(session) === epoch,
        handlers: {
          mcp: (request, response) => this.serve(request, response),
          forge: (request, response) => this.serve(request, response),
          stateless: (request, response) => this.serve(request, response),
        },
      },
    });
  }

  /** `host:port` of the peer listener. */
  get address(): string {
    return `127.0.0.1:${this.listener.port}`;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.public.address() as AddressInfo).port}`;
  }

  get port(): number {
    return (this.public.address() as AddressInfo).port;
  }

  /** Sends everything on to that one from now on. */
  to(other: Replica, way: Way = {}): void {
    this.target = { name: other.name, address: other.address };
    this.way = way;
  }

  /** Sends one request on. */
  async forward(request: IncomingMessage, response: ServerResponse): Promise<Outcome> {
    const { signal = new AbortController().signal, ...way } = this.way;
    const { target } = this;
    if (target === undefined) throw new Error('no target');
    const hasBody = request.headers['content-length'] !== undefined || 'transfer-encoding' in request.headers;
    const forward: SessionForward = {
      channel: 'mcp',
      target,
      session: SESSION,
      epoch: EPOCH,
      clientAddress: request.socket.remoteAddress ?? '',
      ...(hasBody ? { body: 'stream' as const } : {}),
      ...way,
    };
    return this.peers.forward(request, response, forward, signal);
  }

  async #send(request: IncomingMessage, response: ServerResponse): Promise<void> {
    stripPeerHeaders(request);
    let outcome: string;
    try {
      outcome = await this.serveOwn(request, response);
    } catch (thrown) {
      outcome = thrown instanceof AppError ? thrown.code : String(thrown);
    }
    this.outcomes.push(outcome);
    if (outcome === 'forwarded') return;
    if (response.headersSent) throw new Error(`${outcome} although something was sent`);
    response.writeHead(599, { Connection: 'close' }).end(outcome);
  }

  async stop(): Promise<void> {
    this.certificates.stop();
    this.peers.close();
    await this.listener.close(0);
    this.public.closeAllConnections();
    await new Promise((resolve) => this.public.close(resolve));
    this.secret.remove();
  }
}

/** Serves as the gateway does where a session turns out to have moved: another replica is asked, and that one hop too many is refused. */
export async function servesByForwarding(
  replica: Replica,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await replica.forward(request, response);
  } catch (thrown) {
    if (!(thrown instanceof AppError)) throw thrown;
    if (thrown.code === 'MISDIRECTED') markMisdirected(response);
    response.writeHead(thrown.status).end(forwardedOf(request)?.from);
  }
}
