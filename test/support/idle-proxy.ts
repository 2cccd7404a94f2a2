/** A reverse proxy that hangs up, as they do by default, when nothing has come from upstream for a time. */
import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export class IdleProxy {
  /** Paths of the requests that were given up. */
  readonly hungUp: string[] = [];

  private constructor(
    private readonly server: Server,
    private readonly upstream: URL,
    private readonly idleMs: number,
  ) {
    server.on('request', (asked, answer) => this.pass(asked, answer));
  }

  /** @param upstream an MCP endpoint; the proxy's has the same path. @param idleMs for headers as well as between two pieces of a body. */
  static async start(upstream: string, idleMs: number): Promise<IdleProxy> {
    const server = createServer({ requestTimeout: 0 });
    const proxy = new IdleProxy(server, new URL(upstream), idleMs);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get url(): string {
    const { port } = this.server.address() as AddressInfo;
    return `http://127.0.0.1:${port}${this.upstream.pathname}`;
  }

  async stop(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
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
