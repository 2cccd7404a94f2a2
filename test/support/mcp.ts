/** A plain MCP client for tests: Streamable HTTP 2025-06-18 with every status and header in the open, and a deadline on everything. */
import { Agent, request } from 'undici';
import { eventsIn, messagesOf } from './event-stream';

export interface McpAnswer {
  readonly jsonrpc: '2.0';
  readonly id: number | string | null;
  readonly result?: any;
  readonly error?: { code: number; message: string; data?: unknown };
}

export interface McpResponse {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  /** The answer to the request, from JSON or from the stream. */
  readonly answer: McpAnswer | undefined;
  /** Whatever else the stream carried. */
  readonly messages: any[];
  readonly text: string;
}

/** The text of a tool's first content block. */
export const textOf = (answer: McpAnswer | undefined): string => {
  if (answer?.error !== undefined) throw new Error(`JSON-RPC error ${answer.error.code}: ${answer.error.message}`);
  return String(answer?.result?.content?.[0]?.text ?? '');
};

/** One client with at most one session. */
export class McpClient {
  sessionId: string | undefined;
  private next = 1;

  constructor(
    readonly url: string,
    readonly token: string | undefined,
    private readonly agent: Agent = new Agent({ connections: 64, keepAliveTimeout: 1000 }),
  ) {}

  /** One POST; nothing is assumed of the answer. */
  async post(
    message: unknown,
    options: { headers?: Record<string, string>; timeout?: number; signal?: AbortSignal } = {},
  ): Promise<McpResponse> {
    const timeout = AbortSignal.timeout(options.timeout ?? 60_000);
    const { statusCode, headers, body } = await request(this.url, {
      method: 'POST',
      dispatcher: this.agent,
      signal: options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]),
      headers: { ...this.headers(), 'content-type': 'application/json', ...options.headers },
      body: typeof message === 'string' ? message : JSON.stringify(message),
    });
    const text = await body.text();
    const all = parse(text, headers['content-type']);
    const id = (message as { id?: unknown }).id;
    return {
      status: statusCode,
      headers,
      text,
      answer:
        all.find((m) => m.id === id && ('result' in m || 'error' in m)) ?? (statusCode >= 400 ? all[0] : undefined),
      messages: all.filter((m) => 'method' in m),
    };
  }

  /** The handshake; throws unless it succeeds. */
  async initialize(timeout = 90_000): Promise<McpAnswer> {
    const response = await this.request(
      'initialize',
      { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
      { timeout },
    );
    const id = response.headers['mcp-session-id'];
    if (response.status !== 200 || typeof id !== 'string' || response.answer?.result === undefined) {
      throw new Error(`initialize: HTTP ${response.status}: ${response.text.slice(0, 500)}`);
    }
    this.sessionId = id;
    const ready = await this.post({ jsonrpc: '2.0', method: 'notifications/initialized' });
    if (ready.status !== 202) throw new Error(`initialized: HTTP ${ready.status}`);
    return response.answer;
  }

  async request(
    method: string,
    params: unknown = {},
    options: { timeout?: number; signal?: AbortSignal } = {},
  ): Promise<McpResponse> {
    return this.post({ jsonrpc: '2.0', id: this.next++, method, params }, options);
  }

  /** Calls a tool; the whole HTTP answer. */
  async call(
    name: string,
    args: unknown = {},
    options: { timeout?: number; signal?: AbortSignal } = {},
  ): Promise<McpResponse> {
    return this.request('tools/call', { name, arguments: args }, options);
  }

  /** Calls a tool and gives its first text; throws on any error. */
  async text(name: string, args: unknown = {}, options: { timeout?: number } = {}): Promise<string> {
    const response = await this.call(name, args, options);
    if (response.answer === undefined)
      throw new Error(`${name}: HTTP ${response.status}: ${response.text.slice(0, 300)}`);
    return textOf(response.answer);
  }

  /** Calls a tool whose text is JSON. */
  async json<T = any>(name: string, args: unknown = {}, options: { timeout?: number } = {}): Promise<T> {
    return JSON.parse(await this.text(name, args, options)) as T;
  }

  /** DELETE; the status. */
  async end(): Promise<number> {
    const { statusCode, body } = await request(this.url, {
      method: 'DELETE',
      dispatcher: this.agent,
      headers: this.headers(),
      signal: AbortSignal.timeout(60_000),
    });
    await body.dump();
    return statusCode;
  }

  /** Drops every connection. */
  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private headers(): Record<string, string> {
    return {
      accept: 'application/json, text/event-stream',
      ...(this.token === undefined ? {} : { authorization: `Bearer ${this.token}` }),
      ...(this.sessionId === undefined
        ? {}
        : { 'mcp-session-id': this.sessionId, 'mcp-protocol-version': '2025-06-18' }),
    };
  }
}

function parse(text: string, type: string | string[] | undefined): any[] {
  if (text === '') return [];
  if (String(type).startsWith('application/json')) return [JSON.parse(text)];
  if (!String(type).startsWith('text/event-stream')) return [];
  return messagesOf(eventsIn(text));
}
