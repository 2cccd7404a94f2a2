/** A reverse proxy that hangs up, as they do by default, when nothing has come from upstream for a time. */
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import { listenOnLoopback, type Loopback } from './loopback';

export class IdleProxy {
  /** Paths of the requests that were given up. */
  readonly hungUp: string[] = [];

  private constructor(
    private readonly server: Loopback,
    private readonly upstream: URL,
    private readonly idleMs: number,
  ) {}

  /** @param upstream an MCP endpoint; the proxy's has the same path. @param idleMs for headers as well as between two pieces of a body. */
  static async start(upstream: string, idleMs: number): Promise<IdleProxy> {
    const server = createServer({ requestTimeout: 0 });
    const proxy = new IdleProxy(await listenOnLoopback(server), new URL(upstream), idleMs);
    server.on('request', (asked, answer) => proxy.pass(asked, answer));
    return proxy;
  }

  get url(): string {
    return `${this.server.url}${this.upstream.pathname}`;
  }

  stop(): Promise<void> {
    return this.server.close();
  }

  private pass(asked: IncomingMessage, answer: ServerResponse): void {
    const { hostname, port, host } = this.upstream;
    const target = { hostname, port, method: asked.method, path: asked.url, headers: { ...asked.headers, host } };
    const passed = request({ ...target, agent: false }, (response) => {
      answer.writeHead(response.statusCode!, response.headers);
      answer.flushHeaders();
      response.on('data', (chunk: Buffer) => {
        patience.refresh();
        answer.write(chunk);
      });
      response.on('end', () => {
        clearTimeout(patience);
        answer.end();
      });
      response.on('error', () => answer.destroy());
    });
    const patience = setTimeout(() => {
      this.hungUp.push(`${asked.method!} ${asked.url!}`);
      passed.destroy();
      answer.destroy();
    }, this.idleMs);
    passed.on('response', () => patience.refresh());
    passed.on('error', () => answer.destroy());
    answer.on('close', () => {
      clearTimeout(patience);
      passed.destroy();
    });
    asked.pipe(passed);
  }
}
