/** The official TypeScript SDKs, old and new, as clients that do the actions of test/peers/python-client/client.py. */
import {
  Client as NewClient,
  SdkHttpError,
  StreamableHTTPClientTransport as NewTransport,
  type LoggingLevel,
} from '@modelcontextprotocol/client';
import { Client as OldClient } from '@modelcontextprotocol/sdk/client/index.js';
import {
  StreamableHTTPClientTransport as OldTransport,
  StreamableHTTPError,
} from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import type { ClientAnswer, DrivenClient } from './peers';

/** What either SDK's client does for an action. */
interface Driver {
  open(): Promise<object>;
  tools(): Promise<{ tools: { name: string }[] }>;
  call(name: string, args: Record<string, unknown>, options: CallOptions): Promise<object>;
  level(level: LoggingLevel): Promise<unknown>;
  ping(): Promise<unknown>;
  close(): Promise<void>;
}

interface CallOptions {
  readonly timeout?: number;
  readonly signal: AbortSignal;
  readonly onprogress?: (step: { progress: number }) => void;
}

/** What the server said unasked, since the last call began. */
interface Heard {
  asked: string[];
  progress: number[];
  logged: number;
}

const info = { name: 'typescript-client', version: '1.0.0' };
const capabilities = { sampling: {}, elicitation: {}, roots: { listChanged: true } };
const roots = { roots: [{ uri: 'file:///typescript-client', name: 'typescript-client' }] };
const accepted = { action: 'accept' as const, content: {} };
const sampled = {
  role: 'assistant' as const,
  content: { type: 'text' as const, text: 'sampled by typescript-client' },
  model: 'none',
  stopReason: 'endTurn',
};
const bearer = (token?: string): { headers: Record<string, string> } => ({
  headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
});

/** `@modelcontextprotocol/sdk`, which knows no later revision than 2025-11-25. */
function oldDriver(url: string, token: string | undefined, heard: Heard): Driver {
  const transport = new OldTransport(new URL(url), { requestInit: bearer(token) });
  const client = new OldClient(info, { capabilities });
  client.setRequestHandler(CreateMessageRequestSchema, () => (heard.asked.push('sampling/createMessage'), sampled));
  client.setRequestHandler(ElicitRequestSchema, () => (heard.asked.push('elicitation/create'), accepted));
  client.setRequestHandler(ListRootsRequestSchema, () => (heard.asked.push('roots/list'), roots));
  client.setNotificationHandler(LoggingMessageNotificationSchema, () => void heard.logged++);
  return {
    async open() {
      await client.connect(transport);
      return { protocolVersion: transport.protocolVersion, serverInfo: client.getServerVersion() };
    },
    tools: () => client.listTools(),
    call: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
    level: (level) => client.setLoggingLevel(level),
    ping: () => client.ping(),
    async close() {
      await transport.terminateSession().catch(() => undefined); // it has ended already
      await client.close();
    },
  };
}

/** `@modelcontextprotocol/client`; `auto` has it probe for 2026-07-28, which it does not by default. */
function newDriver(url: string, token: string | undefined, heard: Heard, mode: 'legacy' | 'auto'): Driver {
  const transport = new NewTransport(new URL(url), { requestInit: bearer(token) });
  const client = new NewClient(info, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler('sampling/createMessage', () => (heard.asked.push('sampling/createMessage'), sampled));
  client.setRequestHandler('elicitation/create', () => (heard.asked.push('elicitation/create'), accepted));
  client.setRequestHandler('roots/list', () => (heard.asked.push('roots/list'), roots));
  client.setNotificationHandler('notifications/message', () => void heard.logged++);
  return {
    async open() {
      await client.connect(transport);
      return { protocolVersion: client.getNegotiatedProtocolVersion(), serverInfo: client.getServerVersion() };
    },
    tools: () => client.listTools(),
    call: (name, args, options) => client.callTool({ name, arguments: args }, options),
    level: (level) => client.setLoggingLevel(level),
    ping: () => client.ping(),
    async close() {
      await transport.terminateSession().catch(() => undefined); // it has ended already
      await client.close();
    },
  };
}

interface Action {
  readonly mode?: 'legacy' | 'auto';
  readonly name?: string;
  readonly arguments?: Record<string, unknown>;
  readonly progress?: boolean;
  readonly cancel?: boolean;
  readonly timeoutMs?: number;
  readonly level?: LoggingLevel;
}

/** One of the two in this process. */
export class TypescriptClient implements DrivenClient {
  private readonly heard: Heard = { asked: [], progress: [], logged: 0 };
  private driver: Driver | undefined;

  constructor(
    private readonly kind: 'v1' | 'v2',
    private readonly url: string,
    private readonly token?: string,
  ) {}

  async do(action: string, more: object = {}): Promise<ClientAnswer> {
    const began = performance.now();
    const outcome = await this.perform(action, more).then(
      (result) => ({ ok: true, result }),
      (error: unknown) => ({ ok: false, error: told(error) }),
    );
    return { did: action, ...outcome, ms: performance.now() - began };
  }

  async must(action: string, more: object = {}): Promise<any> {
    const answer = await this.do(action, more);
    if (!answer.ok) throw new Error(`${action} failed: ${JSON.stringify(answer.error)}`);
    return answer.result;
  }

  async stop(): Promise<void> {
    await this.driver?.close();
  }

  private async perform(action: string, more: Action): Promise<unknown> {
    if (action === 'initialize') {
      await this.driver?.close();
      this.driver =
        this.kind === 'v1'
          ? oldDriver(this.url, this.token, this.heard)
          : newDriver(this.url, this.token, this.heard, more.mode ?? 'legacy');
      return this.driver.open();
    }
    const driver = this.driver;
    if (driver === undefined) throw new Error('initialize first');
    switch (action) {
      case 'tools':
        return (await driver.tools()).tools.map(({ name }) => name);
      case 'ping':
        return driver.ping();
      case 'level':
        return driver.level(more.level!);
      case 'call':
        return this.call(driver, more);
      case 'close':
        return driver.close();
      default:
        throw new Error(`no such action: ${action}`);
    }
  }

  private async call(driver: Driver, action: Action): Promise<object> {
    Object.assign(this.heard, { asked: [], progress: [], logged: 0 });
    const giveUp = new AbortController();
    const onprogress = ({ progress }: { progress: number }): void => {
      this.heard.progress.push(progress);
      if (action.cancel === true) giveUp.abort(new Error('the test gives up'));
    };
    const watched = action.progress === true || action.cancel === true;
    const result = await driver.call(action.name!, action.arguments ?? {}, {
      signal: giveUp.signal,
      ...(action.timeoutMs === undefined ? {} : { timeout: action.timeoutMs }),
      ...(watched ? { onprogress } : {}),
    });
    return { ...result, ...this.heard };
  }
}

function told(error: unknown): NonNullable<ClientAnswer['error']> {
  const { name, message } = error as Error;
  const { code } = error as { code?: unknown };
  // The old SDK has the status where others have the JSON-RPC code.
  if (error instanceof StreamableHTTPError && error.code !== undefined)
    return { type: name, message, status: error.code };
  if (error instanceof SdkHttpError) return { type: name, message, status: error.status };
  return { type: name, message, ...(typeof code === 'number' ? { code } : {}) };
}
