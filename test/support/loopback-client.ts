/** An MCP client on this machine, as far as logging in goes: it registers, sends a browser away, and waits for it at its redirect URI. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PlainClient, type TokenAnswer } from './oauth';

export class LoopbackClient {
  /** What browsers brought, in their order. */
  readonly came: URLSearchParams[] = [];

  private constructor(
    private readonly server: Server,
    private readonly plain: PlainClient,
    readonly redirectUri: string,
  ) {}

  /** @param base the gateway's public URL. */
  static async start(base: string, name: string): Promise<LoopbackClient> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const redirectUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`;
    const client = new LoopbackClient(server, await new PlainClient(base).register(name), redirectUri);
    server.on('request', ({ url = '' }, res) => {
      if (url.startsWith('/callback?')) client.came.push(new URLSearchParams(url.slice('/callback?'.length)));
      res.setHeader('Content-Type', 'text/html').end('<!doctype html><title>Done</title><p>You can close this page.');
    });
    return client;
  }

  /** Where it sends a browser. */
  get authorizationUrl(): string {
    return `${this.plain.base}/authorize?${this.plain.query({ redirect_uri: this.redirectUri })}`;
  }

  /** Whether an address is the one that it waits at. */
  readonly isHere = (at: string): boolean => at.startsWith(this.redirectUri);

  /** Redeems the code that came last. */
  redeem(): Promise<TokenAnswer> {
    return this.plain.redeem(this.came.at(-1)?.get('code') ?? '', { redirect_uri: this.redirectUri });
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}
