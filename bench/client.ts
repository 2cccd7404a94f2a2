/**
 * The lightest honest MCP client: what it costs must not hide what the gateway costs, so it speaks HTTP/1.1 on a bare socket of its own for each
 * session and reads only what an answer needs. The same one measures every HTTP server.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type HttpAnswer, ResponseReader } from './response';

const DEADLINE = 60_000;

/** One MCP session over Streamable HTTP (2025-06-18), one request at a time. */
export class BenchSession {
  private next = 1;
  private id: string | undefined;
  private readonly reader = new ResponseReader();
  private waiting: { resolve(answer: HttpAnswer): void; reject(error: Error): void } | undefined;

  private constructor(
    private readonly socket: Socket,
    private readonly url: URL,
    private readonly token: string | undefined,
  ) {
    socket.setNoDelay(true);
    socket.setTimeout(DEADLINE, () => socket.destroy(new Error(`no answer in ${DEADLINE} ms`)));
    socket.on('data', (bytes: Buffer) => this.read(bytes));
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('the server closed the connection')));
  }

  /** Opens a session: `initialize` and `notifications/initialized`. Throws what the server answered when it refuses. */
  static async open(url: URL, token?: string): Promise<BenchSession> {
    const socket = connect({ host: url.hostname, port: Number(url.port) });
    await once(socket, 'connect', { signal: AbortSignal.timeout(DEADLINE) });
    const session = new BenchSession(socket, url, token);
    await session.request('initialize', {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 'bench', version: '1' },
    });
    await session.send('POST', JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' }));
    return session;
  }

  /** One request; resolves with its result, throws on a JSON-RPC error. */
  async request(method: string, params: unknown): Promise<unknown> {
    const id = this.next++;
    const { body } = await this.send('POST', JSON.stringify({ jsonrpc: '2.0', id, method, params }));
    const answer = answerIn(body, id);
    if (answer.error !== undefined) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
    return answer.result;
  }

  /** Ends the session and its connection. */
  async close(): Promise<void> {
    await this.send('DELETE', '');
    this.socket.destroy();
  }

  private send(method: string, body: string): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.socket.write(
        `${method} ${this.url.pathname} HTTP/1.1\r\n${this.headers()}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
    });
  }

  private read(bytes: Buffer): void {
    const answer = this.reader.push(bytes);
    if (answer === undefined) return;
    const waiting = this.waiting!;
    this.waiting = undefined;
    if (answer.status >= 300) return waiting.reject(new Error(`HTTP ${answer.status}: ${answer.body.slice(0, 300)}`));
    this.id ??= answer.header('mcp-session-id');
    waiting.resolve(answer);
  }

  private fail(error: Error): void {
    this.waiting?.reject(error);
    this.waiting = undefined;
  }

  private headers(): string {
    return [
      `host: ${this.url.host}`,
      'content-type: application/json',
      'accept: application/json, text/event-stream',
      ...(this.token === undefined ? [] : [`authorization: Bearer ${this.token}`]),
      ...(this.id === undefined ? [] : [`mcp-session-id: ${this.id}`, 'mcp-protocol-version: 2025-06-18']),
      '',
    ].join('\r\n');
  }
}

interface JsonRpcAnswer {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: unknown;
}

/** The answer in a response's body, JSON or event stream. */
function answerIn(body: string, id: number): JsonRpcAnswer {
  if (body.startsWith('{')) return JSON.parse(body) as JsonRpcAnswer;
  for (const line of body.split('\n')) {
    if (!line.startsWith('data:') || line.trim() === 'data:') continue;
    const message = JSON.parse(line.slice(5)) as JsonRpcAnswer;
    if (message.id === id) return message;
  }
  throw new Error('no answer in the response');
}
