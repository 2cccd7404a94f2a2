/** A Kubernetes API server that does what a test tells it to, faults above all. Loopback only, plain HTTP. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';

export interface ApiCall {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

type Handler = (call: ApiCall, response: ServerResponse) => void;
type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export class FakeApi {
  readonly calls: ApiCall[] = [];
  /** TCP connections so far. */
  connections = 0;
  /** Headers of every upgrade. */
  readonly upgrades: IncomingMessage['headers'][] = [];
  /** What answers the calls. */
  handle: Handler = (_call, response) => status(response, 404, 'NotFound', 'nothing is here');
  /** What takes the upgrades; accepts with v5 unless set. */
  upgrade: Upgrade = (request, socket, head) => this.accept(request, socket, head);
  readonly #server: Server;
  readonly #sockets = new Set<Duplex>();
  readonly #directory = mkdtempSync(join(tmpdir(), 'fmo-api-'));
  readonly #webSockets = new WebSocketServer({
    noServer: true,
    autoPong: false,
    handleProtocols: (offered) => (offered.has('v5.channel.k8s.io') ? 'v5.channel.k8s.io' : false),
  });
  readonly #clients: KubeClient[] = [];

  private constructor() {
    this.#server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const url = new URL(request.url ?? '/', 'http://api');
        const call = {
          method: request.method ?? '',
          path: url.pathname,
          query: url.searchParams,
          headers: request.headers,
          body: Buffer.concat(parts).toString('utf8'),
        };
        this.calls.push(call);
        this.handle(call, response);
      });
    });
    this.#server.on('connection', (socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
    });
    this.#server.on('upgrade', (request: IncomingMessage, socket, head) => {
      this.upgrades.push(request.headers);
      this.upgrade(request, socket, head);
    });
  }

  static async start(): Promise<FakeApi> {
    const api = new FakeApi();
    api.#server.listen(0, '127.0.0.1');
    await once(api.#server, 'listening');
    return api;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Writes a kubeconfig with a token and gives its path; a second call changes the same file. */
  kubeconfig(token = 'token-of-the-test', server = this.url): string {
    const file = join(this.#directory, 'kubeconfig');
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server, 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'u', user: { token } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'sessions' } }],
      'current-context': 'x',
    };
    writeFileSync(file, JSON.stringify(config));
    return file;
  }

  kube(): KubeClient {
    const client = new KubeClient(new Credentials(this.kubeconfig()));
    this.#clients.push(client);
    return client;
  }

  /** The next attach stream's server side. */
  attached(): Promise<WebSocket> {
    return new Promise((resolve) => this.#webSockets.once('connection', resolve));
  }

  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => undefined);
      this.#webSockets.emit('connection', webSocket, request);
    });
  }

  /** Answers upgrades with a status and body instead. */
  refuse(code: number, body: string): void {
    this.upgrade = (_request, socket) => {
      socket.end(
        `HTTP/1.1 ${code} Refused\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
    };
  }

  async close(): Promise<void> {
    for (const client of this.#clients) await client.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#webSockets.close();
    this.#server.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export function statusBody(code: number, reason: string, message: string): string {
  return JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message });
}

/** Answers with a Status. */
export function status(
  response: ServerResponse,
  code: number,
  reason: string,
  message: string,
  headers: Record<string, string> = {},
): void {
  json(response, code, statusBody(code, reason, message), headers);
}

export function json(response: ServerResponse, code: number, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(body);
}
