/** The lightest honest MCP client: what it costs must not hide what the gateway costs. The same one measures every HTTP server. */
import { Pool } from 'undici';

/** One MCP session over Streamable HTTP (2025-06-18). */
export class BenchSession {
  private next = 1;
  private id: string | undefined;

  private constructor(
    private readonly pool: Pool,
    private readonly path: string,
    private readonly token: string | undefined,
  ) {}

  /** Opens a session: `initialize` and `notifications/initialized`. */
  static async open(pool: Pool, path: string, token?: string): Promise<BenchSession> {
    const session = new BenchSession(pool, path, token);
    await session.request('initialize', {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 'bench', version: '1' },
    });
    await session.post({ jsonrpc: '2.0', method: 'notifications/initialized' });
    return session;
  }

  /** One request; resolves with its result, throws on a JSON-RPC error. */
  async request(method: string, params: unknown): Promise<unknown> {
    const id = this.next++;
    const text = await this.post({ jsonrpc: '2.0', id, method, params });
    const answer = parse(text, id);
    if (answer.error !== undefined) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
    return answer.result;
  }

  /** Ends the session. */
  async close(): Promise<void> {
    if (this.id === undefined) return;
    const { body } = await this.pool.request({ method: 'DELETE', path: this.path, headers: this.headers() });
    await body.dump();
  }

  private headers(): Record<string, string> {
    return {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(this.token === undefined ? {} : { authorization: `Bearer ${this.token}` }),
      ...(this.id === undefined ? {} : { 'mcp-session-id': this.id, 'mcp-protocol-version': '2025-06-18' }),
    };
  }

  private async post(message: unknown): Promise<string> {
    const { statusCode, headers, body } = await this.pool.request({
      method: 'POST',
      path: this.path,
      headers: this.headers(),
      body: JSON.stringify(message),
    });
    const text = await body.text();
    if (statusCode >= 300) throw new Error(`HTTP ${statusCode}: ${text.slice(0, 300)}`);
    const id = headers['mcp-session-id'];
    if (typeof id === 'string') this.id = id;
    return text;
  }
}

interface Answer {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: unknown;
}

function parse(text: string, id: number): Answer {
  if (text.startsWith('{')) return JSON.parse(text) as Answer;
  for (const line of text.split('\n')) {
    if (!line.startsWith('data:')) continue;
    const data = line.slice(5).trim();
    if (data === '') continue;
    const message = JSON.parse(data) as Answer;
    if (message.id === id) return message;
  }
  throw new Error('no answer in the stream');
}

/** A pool for one origin with room for every session at once. */
export function pool(origin: string, connections: number): Pool {
  return new Pool(origin, { connections, pipelining: 1, keepAliveTimeout: 60_000 });
}
