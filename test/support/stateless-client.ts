/** A plain client of MCP 2026-07-28 for tests: every header and status in the open, nothing but what it is told, and a deadline on everything. */
import { Agent, request } from 'undici';
import { eventData, eventsIn, messagesOf } from './event-stream';

export const META = 'io.modelcontextprotocol/';
export const REVISION = '2026-07-28';

export interface StatelessAnswer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
  /** Everything that came, the answer last. */
  readonly messages: any[];
  /** The message with the request's id that is no request. */
  readonly answer: any;
}

export interface StatelessStream {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  /** The next message; undefined at the end of the stream. */
  next(): Promise<any>;
  /** Closes the stream, which cancels the request. */
  close(): void;
}

/** Headers that a test changes; undefined leaves one out. */
export type Headers = Readonly<Record<string, string | undefined>>;

export class StatelessClient {
  /** Every message that ever came. */
  readonly seen: any[] = [];
  /** What it says of itself; undefined where it says nothing. */
  info: object | undefined = { name: 'stateless', version: '1' };
  #next = 1;

  constructor(
    readonly url: string,
    readonly token: string,
    readonly capabilities: object = {},
    private readonly agent: Agent = new Agent({ connections: 16, keepAliveTimeout: 1000 }),
  ) {}

  /** `_meta` of a request, with what the test adds. */
  meta(more: object = {}): object {
    return {
      [`${META}protocolVersion`]: REVISION,
      [`${META}clientCapabilities`]: this.capabilities,
      ...(this.info === undefined ? {} : { [`${META}clientInfo`]: this.info }),
      ...more,
    };
  }

  message(method: string, params: Record<string, unknown> = {}, meta: object = {}): any {
    return { jsonrpc: '2.0', id: `r${this.#next++}`, method, params: { ...params, _meta: this.meta(meta) } };
  }

  call(method: string, params?: Record<string, unknown>, meta?: object, headers?: Headers): Promise<StatelessAnswer> {
    return this.post(this.message(method, params, meta), headers);
  }

  tool(name: string, args: object = {}, meta?: object, headers?: Headers): Promise<StatelessAnswer> {
    return this.call('tools/call', { name, arguments: args }, meta, headers);
  }

  async post(message: any, headers: Headers = {}, timeout = 60_000): Promise<StatelessAnswer> {
    const { statusCode, headers: got, body } = await this.#send(message, headers, AbortSignal.timeout(timeout));
    const text = await body.text();
    const messages = String(got['content-type']).startsWith('text/event-stream')
      ? messagesOf(eventsIn(text))
      : text === ''
        ? []
        : [JSON.parse(text)];
    this.seen.push(...messages);
    const answer = messages.find((one) => one.method === undefined && one.id === message.id) ?? messages.at(-1);
    return { status: statusCode, headers: got, text, messages, answer };
  }

  /** Sends a request and reads its stream message by message. `abort` closes the connection, before the headers came as well. */
  async open(message: any, headers: Headers = {}, abort = new AbortController()): Promise<StatelessStream> {
    const { statusCode, headers: got, body } = await this.#send(message, headers, abort.signal);
    body.on('error', () => undefined);
    const reader = this.#read(body);
    return {
      status: statusCode,
      headers: got,
      next: async () => (await within(reader.next())).value,
      close: () => abort.abort(),
    };
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  async *#read(body: AsyncIterable<Buffer>): AsyncGenerator<any, undefined> {
    for await (const data of eventData(body)) {
      const message = JSON.parse(data);
      this.seen.push(message);
      yield message;
    }
    return undefined;
  }

  #send(message: any, changes: Headers, signal: AbortSignal) {
    const name = message?.params?.name ?? message?.params?.uri;
    const headers: Record<string, string | undefined> = {
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
      authorization: `Bearer ${this.token}`,
      'MCP-Protocol-Version': REVISION,
      'Mcp-Method': message?.method,
      'Mcp-Name': /^(tools\/call|prompts\/get|resources\/read)$/.test(message?.method) ? name : undefined,
      ...changes,
    };
    return request(this.url, {
      method: 'POST',
      dispatcher: this.agent,
      signal,
      headers: Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)) as Record<
        string,
        string
      >,
      body: JSON.stringify(message),
    });
  }
}

async function within<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no message came within 30 s')), 30_000);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
