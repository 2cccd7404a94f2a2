/** A credential proxy on loopback for tests, and a stand-in for the forge that keeps what reached it. */
import { randomBytes } from 'node:crypto';
import {
  createServer,
  type IncomingMessage,
  request as httpRequest,
  type Server,
  type ServerResponse,
} from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { systemClock } from '../../src/clock';
import type { ForgejoSpec, ServerPolicy } from '../../src/config/server';
import { AppError } from '../../src/errors';
import type { ProxyKeys } from '../../src/forgejo/capability';
import type { FindProxySession, ProxyEvent, ProxySession } from '../../src/forgejo/contract';
import type { CredentialProxyOptions } from '../../src/forgejo/proxy/options';
import { createCredentialProxy, type CredentialProxy } from '../../src/forgejo/proxy/proxy';
import { serverSpec } from './server-spec';
import { keptLog } from './silent-log';

/** The user's token at the stand-in; it must never be seen anywhere else. */
export const REAL_TOKEN = 'f'.repeat(40);

/** One request as the stand-in got it. */
export interface Recorded {
  readonly method: string;
  /** The request target, byte for byte. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

/** A forge that answers as it is told. */
export class StandInForge {
  readonly requests: Recorded[] = [];
  /** Answers everything but what `stream` takes. */
  handler: Handler = (_request, response) => json(response, 200, {});
  /** Takes a request before its body is read; true when it did. */
  stream: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  private readonly server: Server;

  constructor() {
    this.server = createServer((request, response) => {
      if (this.stream(request, response)) return;
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        this.keep(request, body);
        this.handler(request, response, body);
      });
      request.on('error', () => undefined);
    });
  }

  keep(request: IncomingMessage, body = Buffer.alloc(0)): void {
    this.requests.push({
      method: request.method ?? '',
      target: request.url ?? '',
      headers: request.headers as Record<string, string>,
      rawHeaders: request.rawHeaders,
      body,
    });
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get connections(): Promise<number> {
    return new Promise((resolve, reject) =>
      this.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
    );
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  /** The last request that reached it. */
  last(): Recorded {
    const found = this.requests.at(-1);
    if (found === undefined) throw new Error('nothing reached the forge');
    return found;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json;charset=utf-8', ...headers });
  response.end(JSON.stringify(body));
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  readonly text: string;
  readonly json: any;
}

export interface Call {
  readonly method?: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: string | Buffer;
  /** The token; the session's own capability unless given. */
  readonly token?: string;
  readonly session?: string;
}

/** A running proxy with its sessions. */
export interface ProxyFixture {
  readonly proxy: CredentialProxy;
  readonly url: string;
  readonly port: number;
  readonly sessions: Map<string, ProxySession>;
  readonly events: ProxyEvent[];
  /** Requests that began and are neither over nor sent on, and how many were sent on. */
  readonly told: { inFlight: number; sentOn: number };
  readonly log: readonly string[];
  /** Grants whose token the forge refused. */
  readonly refused: string[];
  /** How sessions are found; a test may change it. */
  lookup: FindProxySession;
  /** What the token source answers; a test may change it. */
  tokens: (signal: AbortSignal) => Promise<string>;
  addSession(name: string, changes?: Partial<ProxySession> & { policy?: Partial<ServerPolicy> }): ProxySession;
  capability(session?: string): string;
  call(path: string, call?: Call): Promise<Answer>;
  /** Sends bytes as they are and gives everything that came back until the proxy closed. */
  raw(bytes: string | Buffer): Promise<string>;
  close(): Promise<void>;
}

export interface FixtureOptions extends Partial<
  Pick<CredentialProxyOptions, 'timeouts' | 'limits' | 'sourceCheck' | 'tls' | 'helpUrl' | 'elsewhere'>
> {
  /** A key of its own unless given. */
  readonly keys?: ProxyKeys;
  readonly forgejo: Partial<ForgejoSpec> & { readonly apiUrl: string };
  readonly policy?: Partial<ServerPolicy>;
  readonly token?: string;
}

const OPEN: ServerPolicy = { access: 'write', owners: ['*'], repositories: ['*'], insecureAllowRoutes: [] };

export async function startProxy(options: FixtureOptions): Promise<ProxyFixture> {
  const sessions = new Map<string, ProxySession>();
  const events: ProxyEvent[] = [];
  const told = { inFlight: 0, sentOn: 0 };
  const refused: string[] = [];
  const log = keptLog();
  const { forgejo, policy, token, ...rest } = options;
  const proxy = createCredentialProxy({
    listen: { host: '127.0.0.1', port: 0 },
    tls: { kind: 'plain' },
    sourceCheck: 'auto',
    keys: [randomBytes(32)],
    ...rest,
    find: (name, fresh) => fixture.lookup(name, fresh),
    tokens: {
      token: (_grant, _access, signal) => fixture.tokens(signal),
      refused: (grant) => void refused.push(grant),
      retain: () => () => undefined,
    },
    clock: systemClock,
    logger: log,
    observer: {
      started: () => void (told.inFlight += 1),
      finished: (event) => {
        told.inFlight -= 1;
        events.push(event);
      },
      sentOn: () => {
        told.inFlight -= 1;
        told.sentOn += 1;
      },
    },
  });
  const { port } = await proxy.listen();
  const fixture: ProxyFixture = {
    proxy,
    url: proxy.childUrl,
    port,
    sessions,
    events,
    told,
    log: log.lines,
    refused,
    lookup: async (name) => sessions.get(name),
    tokens: () => Promise.resolve(token ?? REAL_TOKEN),
    addSession(name, changes = {}) {
      const { policy: own, ...session } = changes;
      const made: ProxySession = {
        name,
        grant: `grant-${name}`,
        access: 'write',
        instance: `process:${name}`,
        ip: '127.0.0.1',
        userId: '1',
        ...session,
        server: serverSpec({
          forgejo: { ...serverSpec().forgejo, url: forgejo.apiUrl, ...forgejo },
          policy: { ...OPEN, ...policy, ...own },
        }),
      };
      sessions.set(name, made);
      return made;
    },
    capability(name = 'one') {
      return proxy.capabilities.mint(name, sessions.get(name)?.instance ?? 'none');
    },
    call: (path, call = {}) => callProxy(fixture, path, call),
    raw: (bytes) =>
      new Promise((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
        const chunks: Buffer[] = [];
        socket.on('data', (chunk) => chunks.push(chunk));
        socket.on('error', reject);
        socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
      }),
    close: () => proxy.close(100),
  };
  fixture.addSession('one');
  return fixture;
}

function callProxy(fixture: ProxyFixture, path: string, call: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: '127.0.0.1',
      port: fixture.port,
      path,
      method: call.method ?? 'GET',
      agent: false,
      headers: {
        authorization: `token ${call.token ?? fixture.capability(call.session)}`,
        ...(call.body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(call.body)) }),
        ...call.headers,
      },
    });
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const body = Buffer.concat(chunks);
        const text = body.toString();
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body,
          text,
          get json() {
            return JSON.parse(text);
          },
        });
      });
    });
    request.end(call.body);
  });
}

/** What a vault throws that cannot be asked at the moment. */
export const noToken = (): Promise<string> =>
  Promise.reject(new AppError('FORGE_TOKEN_UNAVAILABLE', 'The token cannot be had at the moment.', { retryAfter: 5 }));
