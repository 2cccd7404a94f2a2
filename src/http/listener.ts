/** Node HTTP servers with every time-out set, and an orderly end. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { isIPv6, type AddressInfo } from 'node:net';
import { AppError } from '../errors';

/** `address:port`; port 0 takes a free one. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

export interface ListenerOptions {
  readonly listen: ListenAddress;
  /** Milliseconds for a request's headers, and for headers and body together. Calls that take longer to answer are not cut. */
  readonly headersMs: number;
  readonly requestMs: number;
  /** Milliseconds that an idle connection is kept; longer than the load balancer in front keeps it, or requests are lost in between. */
  readonly idleMs: number;
  /** Connections at once; further ones are closed at once. */
  readonly maxConnections: number;
}

export interface Listener {
  /** The base URL with the port that was taken. */
  readonly url: string;
  readonly port: number;
  /** Stops accepting. Requests that are under way go on, and their connections end with them. */
  drain(): void;
  /** Drains, and cuts what is left after `ms`. Resolves when every connection is gone; never rejects. */
  close(ms: number): Promise<void>;
}

/**
 * Opens a listener.
 * @throws AppError `CONFIG_INVALID` when the address cannot be taken.
 */
export async function listen(handler: RequestListener, options: ListenerOptions): Promise<Listener> {
  const server = createServer(
    {
      headersTimeout: options.headersMs,
      requestTimeout: options.requestMs,
      keepAliveTimeout: options.idleMs,
      connectionsCheckingInterval: 5_000,
      noDelay: true,
      keepAlive: true, // TCP keep-alive finds clients that vanished behind an open stream
      keepAliveInitialDelay: 60_000,
      insecureHTTPParser: false,
    },
    handler,
  );
  server.maxConnections = options.maxConnections;
  server.timeout = 0; // a response may be silent between keepalives; a stalled one is cut by its own deadline
  await bind(server, options.listen);
  const { port } = server.address() as AddressInfo;
  const { address } = options.listen;
  return {
    url: `http://${isIPv6(address) ? `[${address}]` : address}:${String(port)}`,
    port,
    ...ending(server),
  };
}

function bind(server: Server, { address, port }: ListenAddress): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException): void => {
      const why =
        cause.code === 'EADDRINUSE'
          ? 'another program uses it: stop that one or choose another port'
          : cause.code === 'EACCES'
            ? 'this user may not: choose a port above 1023'
            : `the system says ${cause.code ?? cause.message}`;
      reject(new AppError('CONFIG_INVALID', `Cannot listen on ${address}:${String(port)}: ${why}.`, { cause }));
    };
    server.once('error', fail);
    server.listen({ host: address, port }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

/** Milliseconds between two looks for connections that have become idle. */
const IDLE_LOOK_MS = 50;

function ending(server: Server): Pick<Listener, 'drain' | 'close'> {
  let closed: Promise<void> | undefined;
  const drain = (): Promise<void> => {
    closed ??= new Promise<void>((resolve) => {
      // Node closes connections that are idle now; those that are busy would stay open for their keep-alive time.
      const look = setInterval(() => server.closeIdleConnections(), IDLE_LOOK_MS);
      server.close(() => {
        clearInterval(look);
        resolve();
      });
      server.closeIdleConnections();
    });
    return closed;
  };
  return {
    drain: () => void drain(),
    async close(ms) {
      const timer = setTimeout(() => server.closeAllConnections(), ms);
      await drain();
      clearTimeout(timer);
    },
  };
}
