/** The credential proxy: the listener that children take for their forge. */
import {
  createServer as createPlainServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { AppError, toAppError } from '../../errors';
import { createCapabilities, deriveKeys } from '../capability';
import type { Capabilities, SourceState } from '../contract';
import { createForgeAgent } from '../forge';
import { RouteMatcher } from '../routes/match';
import { ROUTES } from '../routes/route';
import { outcomeOf, report } from './audit';
import { answersCheck, checkListener } from './check';
import type { Exchange } from './exchange';
import { HeldBodies } from './held';
import { linger } from './incoming';
import { LinkProofs } from './links';
import { completeOptions, type CredentialProxyOptions } from './options';
import { writeRefusal } from './refusal';
import { SourceProof } from './source';
import { run, Servers, type Shared } from './steps';
import { isGone } from './upstream';
import { createCertificate } from './tls';

/** A running credential proxy. */
export interface CredentialProxy {
  /** Mints and verifies what children present. */
  readonly capabilities: Capabilities;
  /** The CA (PEM) that children have to trust; undefined on plain HTTP. Known once `listen` has resolved. */
  readonly caPem: string | undefined;
  /** The base URL for the child's environment, without a trailing slash. Known once `listen` has resolved. */
  readonly childUrl: string;
  /** Bytes of request bodies that are held now to be checked. */
  readonly heldBodyBytes: number;
  /** Whether children are seen with their own addresses. */
  readonly sourceState: SourceState;
  /** Serves a request that came to another gateway, by the listener for those. */
  readonly serveForwarded: RequestListener;
  /** Makes the certificate and opens the port. Rejects with the system's error (`EADDRINUSE` and the like). */
  listen(): Promise<AddressInfo>;
  /** Readiness: asks its own listener. Rejects with `INTERNAL`. Says nothing of the forge. */
  check(signal: AbortSignal): Promise<void>;
  /** Takes no new requests, lets those in flight end for `graceMs`, then cuts them. Resolves when the port is closed. */
  close(graceMs: number): Promise<void>;
}

/** Milliseconds between two looks for connections that have become idle while the proxy closes. */
const IDLE_LOOK_MS = 50;

/** Throws RangeError for a key of less than 32 bytes. */
export function createCredentialProxy(given: CredentialProxyOptions): CredentialProxy {
  return new ProxyListener(given);
}

class ProxyListener implements CredentialProxy {
  readonly capabilities: Capabilities;
  caPem: string | undefined;
  childUrl = '';
  private readonly options;
  private readonly shared: Shared;
  private readonly servers: Servers;
  private readonly agent;
  private readonly source: SourceProof;
  private readonly open = new Set<Exchange>();
  private readonly busy = new Map<string, number>();
  private server: Server | undefined;

  constructor(given: CredentialProxyOptions) {
    this.options = completeOptions(given);
    this.capabilities = createCapabilities(given.keys);
    this.agent = createForgeAgent(this.options.timeouts, this.options.limits.inAll);
    this.source = new SourceProof(given.sourceCheck);
    this.shared = {
      options: this.options,
      capabilities: this.capabilities,
      proofs: new LinkProofs(deriveKeys(given.keys, 'link')),
      source: this.source,
      matcher: new RouteMatcher(ROUTES),
      held: new HeldBodies(this.options.limits.heldBodyBytes),
      agent: this.agent,
      base: () => this.childUrl,
    };
    this.servers = new Servers(this.shared);
  }

  get heldBodyBytes(): number {
    return this.shared.held.bytes;
  }

  get sourceState(): SourceState {
    return this.source.state;
  }

  async listen(): Promise<AddressInfo> {
    const { tls, listen, limits, childUrl } = this.options;
    const common = {
      maxHeaderSize: 32_768,
      headersTimeout: limits.headers,
      requestTimeout: 0, // an upload may take long; a connection on which nothing moves is cut by `timeout`
      keepAliveTimeout: 30_000,
      connectionsCheckingInterval: 5_000,
      requireHostHeader: true,
      insecureHTTPParser: false,
    };
    const certificate =
      tls.kind === 'self-made'
        ? createCertificate(tls.hosts, this.options.keys)
        : tls.kind === 'given'
          ? tls
          : undefined;
    const server =
      certificate === undefined
        ? createPlainServer(common)
        : createTlsServer({ ...common, key: certificate.key, cert: certificate.cert, minVersion: 'TLSv1.2' });
    this.server = server;
    this.caPem = certificate?.ca;
    server.timeout = limits.idle;
    server.maxConnections = limits.connections;
    server.on('request', (request, response) => this.take(request, response, false));
    server.on('checkContinue', (request, response) => this.take(request, response, true));
    server.on('checkExpectation', (request, response) => this.take(request, response, true));
    server.on('connect', (_request, socket) =>
      socket.on('error', () => undefined).end('HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\n\r\n'),
    );
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listen.port, listen.host, () => {
        server.off('error', reject);
        resolve();
      });
    });
    const address = server.address() as AddressInfo;
    const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    this.childUrl = childUrl ?? `${certificate === undefined ? 'http' : 'https'}://${host}:${address.port}`;
    return address;
  }

  async check(signal: AbortSignal): Promise<void> {
    const address = this.server?.address() as AddressInfo | null | undefined;
    if (address === null || address === undefined)
      throw new AppError('INTERNAL', 'The credential proxy does not listen.', { detail: 'proxy not listening' });
    await checkListener(address, this.caPem !== undefined, signal);
  }

  async close(graceMs: number): Promise<void> {
    const server = this.server;
    if (server !== undefined) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // A connection whose last request ends later would stay open for its keep-alive time.
      const look = this.options.clock.every(IDLE_LOOK_MS, () => server.closeIdleConnections());
      const timer = this.options.clock.after(graceMs, () => {
        for (const exchange of this.open)
          exchange.abort.abort(new AppError('DRAINING', 'The gateway stops. Try again.'));
        server.closeAllConnections();
      });
      await closed;
      timer.cancel();
      look.cancel();
    }
    await this.agent.destroy();
  }

  readonly serveForwarded: RequestListener = (request, response) => this.take(request, response, false);

  private take(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    if (answersCheck(request, response)) return;
    const { clock, observer } = this.options;
    const exchange: Exchange = {
      request,
      response,
      abort: new AbortController(),
      began: clock.now(),
      session: undefined,
      match: undefined,
      outcome: 'failed',
      bytesIn: 0,
      expectsContinue,
    };
    observer?.started();
    this.open.add(exchange);
    const before = request.socket.bytesWritten;
    const gone = (): void => {
      if (!response.writableFinished) exchange.abort.abort();
    };
    response.once('close', gone);
    response.on('error', () => undefined); // its close says it
    void this.serve(exchange).then((error) => {
      this.open.delete(exchange);
      const name = exchange.session?.name;
      if (name !== undefined) this.leave(name);
      if (error === 'sent-on' || error?.code === 'MISDIRECTED') observer?.sentOn();
      else report(exchange, error, clock.now(), request.socket.bytesWritten - before, observer, this.options.logger);
    });
  }

  /** Never rejects; resolves with what ended the request, where something did, and with `sent-on` where another gateway ended it. */
  private async serve(exchange: Exchange): Promise<AppError | 'sent-on' | undefined> {
    const { response } = exchange;
    try {
      const by = await run(this.shared, this.servers, exchange, (name) => this.enter(name));
      if (by === 'sent-on') return by;
      // The forge may answer before it has the whole body; nobody wants the rest.
      linger(exchange.request, () => undefined, this.options.clock);
      return undefined;
    } catch (thrown) {
      if (isGone(exchange, thrown)) {
        exchange.outcome = 'cancelled';
        response.destroy();
        return undefined;
      }
      const error = toAppError(thrown);
      exchange.outcome = outcomeOf(error);
      writeRefusal(exchange, error, this.options.helpUrl, this.options.clock);
      return error;
    }
  }

  private enter(name: string): void {
    const now = this.busy.get(name) ?? 0;
    this.busy.set(name, now + 1);
    if (now >= this.options.limits.perSession)
      throw new AppError(
        'CALLS_TOO_MANY',
        'This session has too many calls to Forgejo in flight. Wait for one to end.',
        {
          retryAfter: 1,
        },
      );
    if (this.open.size > this.options.limits.inAll)
      throw new AppError('OVERLOADED', 'The credential proxy has too many calls in flight. Try again.', {
        retryAfter: 1,
      });
  }

  private leave(name: string): void {
    const now = this.busy.get(name) ?? 0;
    if (now <= 1) this.busy.delete(name);
    else this.busy.set(name, now - 1);
  }
}
