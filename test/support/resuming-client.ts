/** A client of MCP 2025-11-25 of our own that resumes what breaks: GET with `Last-Event-ID`, as often as it takes, and nothing is ever sent twice. */
import { Agent, request } from 'undici';
import { setTimeout as pause } from 'node:timers/promises';
import { eventsOf } from './event-stream';
import { textOf, type McpAnswer } from './mcp';

const REVISION = '2025-11-25';
/** Milliseconds before a connection that broke is tried again where the server said nothing of it. */
const RETRY_MS = 50;
/** Connections for one call. */
const MAX_TRIES = 100;

export class ResumingClient {
  /** Ids of requests that were answered more than once. */
  readonly doubled: unknown[] = [];
  /** Calls that can be resumed by now and are not answered. */
  underWay = 0;
  private readonly answered = new Set<unknown>();
  private readonly agent = new Agent({ connections: 16, keepAliveTimeout: 1000 });
  sessionId: string | undefined;
  private next = 1;

  constructor(
    private readonly url: string,
    private readonly token: string,
  ) {}

  async initialize(): Promise<void> {
    await this.call('initialize', {
      protocolVersion: REVISION,
      capabilities: {},
      clientInfo: { name: 'resuming', version: '1' },
    });
    const { statusCode, body } = await this.send('POST', {}, { jsonrpc: '2.0', method: 'notifications/initialized' });
    await body.dump();
    if (statusCode !== 202) throw new Error(`initialized: ${statusCode}`);
  }

  /** Calls a tool and gives its text; throws when the call cannot be resumed. */
  async text(name: string, args: object): Promise<string> {
    return textOf(await this.call('tools/call', { name, arguments: args }));
  }

  /** Ends the session and drops every connection. */
  async close(): Promise<void> {
    const { body } = await this.send('DELETE');
    await body.dump();
    await this.agent.destroy();
  }

  /** Any request, and its answer. @throws Refused where the gateway refuses it, {@link Broke} where its connection broke before it could be resumed */
  async call(method: string, params: object): Promise<McpAnswer> {
    const id = this.next++;
    let place: string | undefined;
    let answer: McpAnswer | undefined;
    for (let tries = 0; answer === undefined && tries < MAX_TRIES; tries++) {
      if (tries > 0) await pause(RETRY_MS);
      if (tries > 0 && place === undefined) throw new Broke(`${method} ${id} broke before it could be resumed`);
      const resumed = place !== undefined;
      try {
        const { statusCode, headers, body } = await (resumed
          ? this.send('GET', { 'last-event-id': place })
          : this.send('POST', {}, { jsonrpc: '2.0', id, method, params }));
        this.sessionId ??= headers['mcp-session-id'] as string | undefined;
        if (resumed && statusCode === 503) {
          await body.dump(); // nobody has the session just now
          continue;
        }
        if (statusCode !== 200) throw new Refused(statusCode, await body.text(), `${method} ${id}`);
        if (String(headers['content-type']).startsWith('application/json')) return this.take(await body.json());
        for await (const event of eventsOf(body)) {
          if (place === undefined && event.id !== undefined) this.underWay += 1;
          place = event.id ?? place;
          const message = event.data === '' ? undefined : JSON.parse(event.data);
          if (message?.id === id && message.method === undefined) answer = this.take(message);
        }
      } catch (thrown) {
        if (thrown instanceof Refused) throw thrown; // anything else is a connection that broke
      }
    }
    if (place !== undefined) this.underWay -= 1;
    if (answer === undefined) throw new Error(`${method} ${id} was not answered`);
    return answer;
  }

  /** Counts an answer; streams are read to their end, so that a second one is seen. */
  private take(answer: any): McpAnswer {
    if (this.answered.has(answer.id)) this.doubled.push(answer.id);
    this.answered.add(answer.id);
    return answer as McpAnswer;
  }

  private send(method: 'POST' | 'GET' | 'DELETE', more: Record<string, string | undefined> = {}, message?: object) {
    const headers: Record<string, string | undefined> = {
      authorization: `Bearer ${this.token}`,
      accept: method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
      ...(message === undefined ? {} : { 'content-type': 'application/json' }),
      ...(this.sessionId === undefined ? {} : { 'mcp-session-id': this.sessionId, 'mcp-protocol-version': REVISION }),
      ...more,
    };
    return request(this.url, {
      method,
      headers: headers as Record<string, string>,
      dispatcher: this.agent,
      signal: AbortSignal.timeout(60_000),
      ...(message === undefined ? {} : { body: JSON.stringify(message) }),
    });
  }
}

/** The gateway answered with a status other than 200. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly body: string,
    what: string,
  ) {
    super(`${what}: ${status} ${body}`);
  }
}

/** A connection broke before its client was told how to resume it. */
export class Broke extends Error {}
