/** The real HTTP application over the real registry and bridge; only the child is a fake, and who is asking is the test's choice. */
import { randomBytes } from 'node:crypto';
import { request, type IncomingHttpHeaders, type RequestListener, type RequestOptions } from 'node:http';
import { connect } from 'node:net';
import type { Authenticator } from '../../src/auth/authenticator';
import type { AuthContext } from '../../src/auth/context';
import { openChannel } from '../../src/bridge/channel';
import type { ChannelObserver } from '../../src/bridge/contract';
import { systemClock } from '../../src/clock';
import type { ServerSpec } from '../../src/config/server';
import { AppError } from '../../src/errors';
import { trustedProxies } from '../../src/http/address';
import { createApp, type AppOptions } from '../../src/http/app';
import { listen, type Listener } from '../../src/http/listener';
import { BodyReader } from '../../src/http/mcp/body';
import type { Elsewhere } from '../../src/http/mcp/elsewhere';
import type { Gateways } from '../../src/http/mcp/gateways';
import { KeptStreams, type ReplayLimits } from '../../src/http/mcp/session-streams';
import { SseConnections, type SseLimits } from '../../src/http/mcp/sse-connections';
import { Streams } from '../../src/http/mcp/stream';
import { alone } from '../../src/sessions/holders';
import { SessionIds } from '../../src/sessions/ids';
import type { SpawnRequest } from '../../src/sessions/ports';
import { MemoryStore } from './memory-store';
import { stateSeal } from './state-seal';
import { ALL_VERSIONS } from '../../src/bridge/versions';
import { type StatelessOptions, StatelessTable } from '../../src/sessions/stateless';
import { Registry, type RegistryOptions } from '../../src/sessions/registry';
import { eventsIn, messagesOf, type ServerEvent } from './event-stream';
import { FakeLink, type Sent } from './fake-link';
import { serverSpec } from './server-spec';
import { keptLog, type KeptLog } from './silent-log';

/** Who a bearer is, in these tests: `Bearer alice` is alice. */
export function contextOf(name: string): AuthContext {
  return {
    mode: 'bearer',
    user: { issuer: 'https://forge.example', id: String(name.charCodeAt(0)), login: name },
    grant: `grant-of-${name}`,
    client: 'bearer',
    scopes: new Set(['forgejo:read', 'forgejo:write']),
  };
}

/** Takes the bearer for the user's name; `Bearer bad` is refused, `Bearer down` cannot be checked. */
export const nameAuthenticator: Authenticator = {
  async authenticate({ authorization }) {
    const name = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1];
    if (name === undefined) throw new AppError('AUTH_MISSING', 'Log in first.');
    if (name === 'bad') throw new AppError('AUTH_INVALID', 'Not valid.');
    if (name === 'down') throw new AppError('AUTH_UNAVAILABLE', 'Cannot tell.', { retryAfter: 7 });
    return contextOf(name);
  },
  async confirm() {},
  challenge: ({ code }) =>
    code === 'AUTH_MISSING'
      ? 'Bearer realm="t"'
      : code === 'AUTH_INVALID'
        ? 'Bearer realm="t", error="invalid_token"'
        : undefined,
};

/** What a call of the test changes. */
export interface Changes {
  readonly servers?: readonly ServerSpec[];
  readonly authenticator?: Authenticator;
  readonly guard?: Partial<AppOptions['guard']>;
  readonly maxBodyBytes?: number;
  readonly maxBodyBytesInFlight?: number;
  readonly bodyTimeoutMs?: number;
  readonly jsonMs?: number;
  readonly primeMs?: number;
  readonly replay?: Partial<ReplayLimits>;
  readonly sse?: Partial<SseLimits>;
  readonly maxCallsInFlight?: number;
  readonly keepaliveMs?: number;
  readonly stallMs?: number;
  readonly acceptMs?: number;
  readonly maxPerUser?: number;
  readonly maxTotal?: number;
  readonly opensPerMinute?: number;
  readonly statuses?: { unknownStatus: number; endedStatus: number };
  readonly trusted?: readonly string[];
  /** Told of each new child, before it is used. */
  readonly child?: (link: FakeLink, request: SpawnRequest) => void;
  readonly observer?: Partial<ChannelObserver>;
  /** Its store, its name in it, who else lives, and the ways to them, where several share one. */
  readonly shared?: Pick<RegistryOptions, 'ids' | 'holders' | 'discard'> &
    Partial<Pick<StatelessOptions, 'seal' | 'owns'>> &
    Partial<Pick<RegistryOptions, 'spawn' | 'adopt'>> & {
      store: MemoryStore;
      elsewhere: Elsewhere;
      gateways?: Gateways;
    };
  /** Replaces the start of a child. */
  readonly spawn?: (signal: AbortSignal) => Promise<void>;
}

export interface GatewayApp {
  readonly port: number;
  readonly url: string;
  /** What serves requests, for another listener. */
  readonly serve: RequestListener;
  readonly registry: Registry;
  readonly stateless: StatelessTable;
  readonly store: MemoryStore;
  readonly log: KeptLog;
  readonly streams: Streams;
  readonly kept: KeptStreams;
  readonly sse: SseConnections;
  readonly bodies: BodyReader;
  /** The children, oldest first. */
  readonly children: FakeLink[];
  /** What the HTTP layer observed. */
  readonly seen: { method: string; status: number }[];
  close(): Promise<void>;
}

/** The answer of a child that knows `initialize`, and answers whatever else with its method. */
export function politeChild(link: FakeLink): void {
  link.onMessage = (message) => {
    if (message.id === undefined) return;
    if (message.method === 'initialize') link.reply(message, initializeResult(message));
    else if (message.method !== undefined) link.reply(message, { method: message.method });
  };
}

export function initializeResult(message: Sent): unknown {
  const { protocolVersion } = message.params;
  return { protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'fake', version: '1' } };
}

/** Starts the application on a free loopback port. */
export async function startApp(changes: Changes = {}): Promise<GatewayApp> {
  const servers = changes.servers ?? [serverSpec({ name: 'default' })];
  const children: FakeLink[] = [];
  const seen: { method: string; status: number }[] = [];
  const store = changes.shared?.store ?? new MemoryStore();
  const log = keptLog();
  const channelObserver = { call() {}, noise() {}, dropped() {}, fault() {}, stderr() {}, ...changes.observer };
  const registry = new Registry({
    spawn: async (request, signal) => {
      const { server } = request;
      await changes.spawn?.(signal);
      const link = new FakeLink();
      children.push(link);
      politeChild(link);
      changes.child?.(link, request);
      return openChannel(link, {
        clock: systemClock,
        observer: channelObserver,
        callTimeout: server.callTimeout,
        initializeTimeout: server.startTimeout,
        maxLineBytes: server.maxLineBytes,
        maxCallsInFlight: changes.maxCallsInFlight ?? server.maxCallsInFlight,
        generation: request.generation,
      });
    },
    store,
    clock: systemClock,
    ids: changes.shared?.ids ?? new SessionIds([randomBytes(32)]),
    observer: { opened() {}, refused() {}, ended() {}, hibernated() {}, woken() {}, handedOver() {}, counts() {} },
    binding: 'adopt',
    holders: changes.shared?.holders ?? alone('self'),
    discard: changes.shared?.discard ?? (async () => undefined),
    ...(changes.shared?.spawn === undefined ? {} : { spawn: changes.shared.spawn }),
    ...(changes.shared?.adopt === undefined ? {} : { adopt: changes.shared.adopt }),
    drains: () => false,
    drainTimeout: 20,
    sweepInterval: 30,
    maxStreams: 4,
    keepRecords: 3600,
    maxPerUser: changes.maxPerUser ?? 0,
    maxTotal: changes.maxTotal ?? 0,
    maxHibernatedPerUser: 0,
    maxHibernated: 0,
    opensPerMinutePerUser: 0,
    opensPerMinute: changes.opensPerMinute ?? 0,
  });
  const bodies = new BodyReader({
    maxBytes: changes.maxBodyBytes ?? 1024 * 1024,
    maxBytesInFlight: changes.maxBodyBytesInFlight ?? 64 * 1024 * 1024,
    timeoutMs: changes.bodyTimeoutMs ?? 30_000,
  });
  const streams = new Streams({ keepaliveMs: changes.keepaliveMs ?? 15_000, stallMs: changes.stallMs ?? 30_000 });
  const kept = new KeptStreams({
    maxStreamBytes: 1_048_576,
    maxSessionBytes: 4_194_304,
    maxBytes: 67_108_864,
    maxStreams: 64,
    keepMs: 300_000,
    ...changes.replay,
  });
  const stateless = new StatelessTable({
    sessions: registry,
    clock: systemClock,
    seal: changes.shared?.seal ?? stateSeal(),
    versions: ALL_VERSIONS,
    ...(changes.shared?.owns === undefined ? {} : { owns: changes.shared.owns }),
  });
  const sse = new SseConnections({ maxPerUser: 10, maxTotal: 200, initializeMs: 30_000, ...changes.sse });
  const app = createApp({
    exchange: {
      log,
      observer: { request: (method, status) => void seen.push({ method, status }) },
      trustedProxies: trustedProxies(changes.trusted ?? []),
    },
    guard: {
      publicUrl: 'http://localhost:8080',
      allowedHosts: ['gateway.internal'],
      allowedOrigins: ['https://inspector.example'],
      insecureAllowAnyOrigin: false,
      ...changes.guard,
    },
    find: (name) => (name === undefined ? servers[0] : servers.find((server) => server.name === name)),
    authenticator: changes.authenticator ?? nameAuthenticator,
    mcp: {
      sessions: registry,
      ...(changes.shared === undefined ? {} : { elsewhere: changes.shared.elsewhere }),
      ...(changes.shared?.gateways === undefined ? {} : { gateways: changes.shared.gateways }),
      stateless,
      bodies,
      streams,
      kept,
      sse,
      jsonMs: changes.jsonMs ?? 10_000,
      primeMs: changes.primeMs ?? 50,
      acceptMs: changes.acceptMs ?? 10_000,
    },
    failure: { log, statuses: changes.statuses ?? { unknownStatus: 410, endedStatus: 404 } },
  });
  const listener: Listener = await listen(app, {
    listen: { address: '127.0.0.1', port: 0 },
    headersMs: 10_000,
    requestMs: 60_000,
    idleMs: 5_000,
    maxConnections: 1000,
  });
  return {
    port: listener.port,
    url: listener.url,
    serve: app,
    registry,
    stateless,
    store,
    log,
    streams,
    kept,
    sse,
    bodies,
    children,
    seen,
    async close() {
      await registry.stop(0);
      await listener.close(0);
    },
  };
}

/** One HTTP answer, whole. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined where it is none. */
  readonly json: any;
  /** The events of an event stream. */
  readonly events: any[];
}

export interface Ask {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string | string[] | undefined>;
  readonly body?: string | Buffer | object;
}

export const ACCEPT = 'application/json, text/event-stream';

/** Headers of a usual POST as alice; a header set to undefined is left out. */
function headersOf({ headers = {} }: Ask): Record<string, string | string[]> {
  const all: Record<string, string | string[] | undefined> = {
    accept: ACCEPT,
    'content-type': 'application/json',
    authorization: 'Bearer alice',
    ...headers,
  };
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, string | string[]] => entry[1] !== undefined),
  );
}

/** A request on a connection of its own. `usual`: the method where none is asked for. */
function requestOf(app: { readonly port: number }, what: Ask, usual: string): RequestOptions {
  const { method = usual, path = '/mcp' } = what;
  return {
    host: '127.0.0.1',
    port: app.port,
    method,
    path,
    agent: false,
    headers: { host: 'localhost', ...headersOf(what) },
  };
}

/** Sends one request over a connection of its own and reads the whole answer. */
export function ask(app: { readonly port: number }, what: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { body } = what;
    const sent = request(requestOf(app, what, 'POST'), (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          text,
          json: jsonOf(text),
          events: messagesOf(eventsIn(text)),
        });
      });
    });
    sent.setTimeout(15_000, () => sent.destroy(new Error('no answer')));
    sent.on('error', reject);
    if (body === undefined) sent.end();
    else sent.end(typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body));
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Every whole event of a stream. `message` is left out as the event's name: that is what an event without one has. */
export function rawEventsOf(text: string): ServerEvent[] {
  return eventsIn(text).map(({ event, ...rest }) =>
    event === undefined || event === 'message' ? rest : { ...rest, event },
  );
}

export const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};

/** Opens a session and returns its id. */
export async function open(app: { readonly port: number }, user = 'alice', path = '/mcp'): Promise<string> {
  const answer = await ask(app, { path, headers: { authorization: `Bearer ${user}` }, body: INITIALIZE });
  const id = answer.headers['mcp-session-id'];
  if (answer.status !== 200 || typeof id !== 'string')
    throw new Error(`initialize: ${String(answer.status)} ${answer.text}`);
  return id;
}

/** Bytes over a raw socket, as they are; resolves with everything that came until the other side closed, or `until` was seen. */
export function raw(app: { readonly port: number }, bytes: string | Buffer, until?: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(app.port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    const timer = setTimeout(() => socket.destroy(new Error(`no end; so far: ${text}`)), 15_000);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (until?.test(text) === true) socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

/** A response that is read as it comes. */
export interface Stream {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** What came so far. */
  text(): string;
  /** Resolves when what came so far matches. */
  shows(what: RegExp): Promise<void>;
  /** Resolves when the other side ended it. */
  readonly ended: Promise<void>;
  /** Goes away as a client that is killed does. */
  drop(): void;
  /** Stops reading. */
  pause(): void;
  resume(): void;
}

/** Begins a request whose answer is a stream. */
export function stream(app: { readonly port: number }, what: Ask): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const { body } = what;
    const sent = request(requestOf(app, what, 'GET'), (res) => {
      let text = '';
      const waiting = new Set<() => void>();
      res.setEncoding('utf8');
      res.on('data', (chunk: string) => {
        text += chunk;
        for (const look of waiting) look();
      });
      res.on('error', () => undefined);
      const ended = new Promise<void>((done) => res.on('close', done));
      resolve({
        status: res.statusCode ?? 0,
        headers: res.headers,
        text: () => text,
        ended,
        shows: (pattern) =>
          new Promise((yes, no) => {
            const timer = setTimeout(
              () => no(new Error(`did not show ${String(pattern)}: ${text.slice(-500)}`)),
              10_000,
            );
            const look = (): void => {
              if (!pattern.test(text)) return;
              clearTimeout(timer);
              waiting.delete(look);
              yes();
            };
            waiting.add(look);
            look();
          }),
        drop: () => sent.destroy(),
        pause: () => res.pause(),
        resume: () => res.resume(),
      });
    });
    sent.on('error', reject);
    if (body === undefined) sent.end();
    else sent.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
}

/** A promise that the test settles. */
export function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((yes) => {
    resolve = yes;
  });
  return { promise, resolve };
}
