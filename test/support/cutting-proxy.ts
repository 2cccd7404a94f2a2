/** A reverse proxy between a client and the gateway that notes what passes, and cuts the client's connections on demand. */
import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { listenOnLoopback, type Loopback } from './loopback';

/** One HTTP request of the client's. */
export interface Exchange {
  readonly method: string;
  /** Of the JSON-RPC message in the body; undefined for an answer, and where there is no body. */
  readonly rpc: string | undefined;
  /** Value of `Mcp-Session-Id` in the request. */
  readonly session: string | undefined;
  readonly revision: string | undefined;
  /** A stream is resumed. */
  readonly lastEventId: string | undefined;
  /** 0 until the answer begins. */
  status: number;
  /** The session id that the answer gave out, if it was a new one. */
  opened: string | undefined;
  /** What came of the answer's body so far. */
  text: string;
}

/** Loopback in front of one upstream; its connections live as long as the client keeps them. */
export class CuttingProxy {
  readonly exchanges: Exchange[] = [];
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Loopback,
    private readonly upstream: URL,
  ) {}

  /** @param upstream an MCP endpoint; the proxy's has the same path. */
  static async start(upstream: string): Promise<CuttingProxy> {
    const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 });
    const proxy = new CuttingProxy(await listenOnLoopback(server), new URL(upstream));
    server.on('connection', (socket) => {
      proxy.sockets.add(socket);
      socket.on('error', () => undefined).once('close', () => proxy.sockets.delete(socket));
    });
    server.on('request', (asked, answer) => void proxy.pass(asked, answer));
    return proxy;
  }

  get url(): string {
    return `${this.server.url}${this.upstream.pathname}`;
  }

  /** The id of the last session that was opened. */
  get session(): string | undefined {
    return this.exchanges.findLast(({ opened }) => opened !== undefined)?.opened;
  }

  /** Requests with this JSON-RPC method. */
  of(rpc: string): readonly Exchange[] {
    return this.exchanges.filter((one) => one.rpc === rpc);
  }

  /** Forgets what has passed; what is under way is noted no more. */
  forget(): void {
    this.exchanges.length = 0;
  }

  /** Cuts every connection of the client's, in the middle of whatever passes. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** Closes every connection as a proxy does whose patience is at its end, and waits until the client has seen that; at most a second. */
  async hangUp(): Promise<void> {
    await Promise.all(
      [...this.sockets].map(async (socket) => {
        const patience = setTimeout(() => socket.destroy(), 1000);
        socket.end();
        await once(socket, 'close');
        clearTimeout(patience);
      }),
    );
  }

  stop(): Promise<void> {
    this.cut();
    return this.server.close();
  }

  private async pass(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of asked) chunks.push(chunk as Buffer);
    } catch {
      return; // cut
    }
    const body = Buffer.concat(chunks);
    const header = (name: string): string | undefined => asked.headers[name] as string | undefined;
    const exchange: Exchange = {
      method: asked.method!,
      rpc: methodOf(body),
      session: header('mcp-session-id'),
      revision: header('mcp-protocol-version'),
      lastEventId: header('last-event-id'),
      status: 0,
      opened: undefined,
      text: '',
    };
    this.exchanges.push(exchange);
    const { hostname, port, host } = this.upstream;
    const target = { hostname, port, method: asked.method, path: asked.url, headers: { ...asked.headers, host } };
    // A connection of its own, so that a cut never reaches another request's.
    const passed = request({ ...target, agent: false }, (response) => {
      exchange.status = response.statusCode!;
      const id = response.headers['mcp-session-id'] as string | undefined;
      if (id !== exchange.session) exchange.opened = id;
      answer.writeHead(response.statusCode!, { ...response.headers, connection: 'keep-alive' });
      answer.flushHeaders();
      response.on('data', (chunk: Buffer) => {
        exchange.text += chunk.toString('utf8');
        answer.write(chunk);
      });
      response.on('end', () => answer.end());
      response.on('error', () => answer.destroy());
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    passed.end(body);
  }
}

function methodOf(body: Buffer): string | undefined {
  try {
    return (JSON.parse(body.toString('utf8')) as { method?: string }).method;
  } catch {
    return undefined;
  }
}
