/** An authorization and resource server on loopback, a user who consents by himself, and a client that speaks plain HTTP. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { systemClock, type Clock, type Timer } from '../../src/clock';
import { AppError } from '../../src/errors';
import { normaliseClientMetadata } from '../../src/auth/clients/metadata';
import { DEFAULT_REDIRECT_POLICY } from '../../src/auth/clients/redirect-uri';
import {
  registeredClientId,
  REGISTRATION_DEFAULTS,
  Registrations,
  type Registration,
} from '../../src/auth/clients/registrations';
import type { Choice, Scope, UserRef } from '../../src/auth/context';
import { deriveKeys } from '../../src/auth/keys/derive';
import { SigningKeyRing } from '../../src/auth/keys/ring';
import { accountOf, Grants } from '../../src/auth/provider/grants';
import { metadataAt } from '../../src/auth/provider/metadata';
import { LIFETIMES, type ClientMetadata, type Lifetimes } from '../../src/auth/provider/ports';
import { providerRecords, type ProviderRecords } from '../../src/auth/provider/records';
import { AuthorizationServer } from '../../src/auth/provider/server';
import { OAuthAuthenticator } from '../../src/auth/resource/authenticator';
import { LiveGrants } from '../../src/auth/resource/live-grants';
import { resourceMetadata } from '../../src/auth/resource/metadata';
import { ResourceUrls } from '../../src/auth/resource/urls';
import { AccessTokenVerifier } from '../../src/auth/resource/verifier';
import { pathOf } from '../../src/http/handler';
import { errorPage } from '../../src/http/pages/error';
import type { RecordStore } from '../../src/stores/contract';
import { collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { serverSpec } from './server-spec';

export const MASTER = [{ id: '0a0b0c0d', secret: Buffer.alloc(32, 5) }];
export const USER: UserRef = { issuer: 'https://forge.example', id: '42', login: 'mara' };
export const EVERYTHING: Choice = { owners: ['*'], repositories: ['*'] };

/** The machine's clock, put forward by the test. oidc-provider itself reads the machine's. */
export class ShiftedClock implements Clock {
  #ahead = 0;
  now(): number {
    return systemClock.now() + this.#ahead;
  }
  wall(): number {
    return systemClock.wall() + this.#ahead;
  }
  after(ms: number, run: () => void): Timer {
    return systemClock.after(ms, run);
  }
  every(ms: number, run: () => void): Timer {
    return systemClock.every(ms, run);
  }
  advance(ms: number): void {
    this.#ahead += ms;
  }
}

/** A store on which calls take a turn, so that those who come at the same time do meet, and that fails when it is told to. */
export class UnsteadyStore implements RecordStore {
  /** Says which calls fail. */
  failing: (method: keyof RecordStore, kind: string) => boolean = () => false;
  readonly #store: RecordStore;

  constructor(store: RecordStore) {
    this.#store = store;
  }

  get: RecordStore['get'] = (key) => this.#call('get', key.kind, () => this.#store.get(key));
  create: RecordStore['create'] = (key, data) => this.#call('create', key.kind, () => this.#store.create(key, data));
  replace: RecordStore['replace'] = (key, data, version) =>
    this.#call('replace', key.kind, () => this.#store.replace(key, data, version));
  delete: RecordStore['delete'] = (key, version) =>
    this.#call('delete', key.kind, () => this.#store.delete(key, version));
  find: RecordStore['find'] = (kind, tag) => this.#call('find', kind, () => this.#store.find(kind, tag));
  sweep: RecordStore['sweep'] = (limit) => this.#store.sweep(limit);
  check: RecordStore['check'] = () => this.#store.check();
  close: RecordStore['close'] = () => this.#store.close();

  async #call<T>(method: keyof RecordStore, kind: string, run: () => Promise<T>): Promise<T> {
    await turn();
    if (this.failing(method, kind))
      throw new AppError('STORE_UNAVAILABLE', 'The store is out of reach.', { retryAfter: 3 });
    const result = await run();
    await turn();
    return result;
  }
}

export interface Recorded {
  readonly store: UnsteadyStore;
  readonly records: ProviderRecords;
  readonly grants: Grants;
  readonly revoked: string[];
}

/** Records in SQLite, in memory. */
export function recorded(clock: Clock): Recorded {
  const store = new UnsteadyStore(openSqliteRecordStore(':memory:', clock));
  const records = providerRecords(store, MASTER);
  const revoked: string[] = [];
  const grants = new Grants({
    grants: records.grants,
    members: [records.refreshTokens, records.codes],
    clock,
    lifetime: LIFETIMES.grant,
    pending: LIFETIMES.interaction,
    revoked: (grant) => revoked.push(grant),
  });
  return { store, records, grants, revoked };
}

export async function openRing(store: RecordStore, clock: Clock): Promise<SigningKeyRing> {
  return SigningKeyRing.open({
    records: collection(store, 'oauth-keys', MASTER),
    clock,
    rotateAfter: 86_400_000,
    retireAfter: 3_600_000,
    settleAfter: 0,
    reloadGap: 1000,
  });
}

export interface LoopbackOptions {
  readonly lifetimes?: Partial<Lifetimes>;
  readonly maxInteractions?: number;
  readonly documents?: Readonly<Record<string, ClientMetadata>>;
  /** As clients see the gateway; its loopback address unless set. */
  readonly publicUrl?: string;
  /** What the user allows; everything that was asked for unless set. */
  readonly allow?: readonly Scope[];
}

export interface Loopback extends Recorded {
  readonly base: string;
  readonly clock: ShiftedClock;
  readonly ring: SigningKeyRing;
  readonly urls: ResourceUrls;
  readonly server: AuthorizationServer;
  readonly authenticator: OAuthAuthenticator;
  readonly live: LiveGrants;
  readonly replays: string[];
  readonly faults: string[];
  /** Accounts that have to log in again. */
  readonly suspended: Set<string>;
  /** Set: whether somebody is suspended cannot be told. */
  vaultFault: AppError | undefined;
  /** Set: documents cannot be had. */
  documentFault: AppError | undefined;
  close(): Promise<void>;
}

/**
 * Two servers: `main`, the default one, and `other`.
 * @param shared another gateway of the same install: store, clock and public URL are its own as well.
 */
export async function loopback(options: LoopbackOptions = {}, shared?: Loopback): Promise<Loopback> {
  const clock = shared?.clock ?? new ShiftedClock();
  const parts = shared ?? recorded(clock);
  const http = createServer();
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const base = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const urls =
    shared?.urls ?? new ResourceUrls(options.publicUrl ?? base, (name) => ['main', 'other'].includes(name), 'main');
  const ring = await openRing(parts.store, clock);
  const registrations = new Registrations(
    { ...REGISTRATION_DEFAULTS, redirects: DEFAULT_REDIRECT_POLICY, keyOf: (address) => address },
    collection<Registration>(parts.store, 'oauth-client', MASTER),
    clock,
  );
  const replays: string[] = [];
  const faults: string[] = [];
  const suspended = new Set<string>();
  const live = new LiveGrants({ find: (id) => parts.grants.find(id), clock, maxAge: 2000, max: 100 });
  const authenticator = new OAuthAuthenticator({
    urls,
    verifier: new AccessTokenVerifier({ issuer: urls.base, keys: ring, clock, maxCached: 100 }),
    liveGrant: (id, how) => live.find(id, how),
  });
  const { store, records, grants, revoked } = parts;
  const server = new AuthorizationServer({
    records,
    grants,
    urls,
    signing: ring,
    cookieKeys: deriveKeys(MASTER, 'provider-cookies'),
    refreshKeys: deriveKeys(MASTER, 'refresh-tokens'),
    clock,
    lifetimes: { ...LIFETIMES, ...options.lifetimes },
    maxInteractions: options.maxInteractions ?? 100,
    clients: [],
    registered: registrations,
    loggedIn: (id) => registrations.loggedIn(id),
    register: (body) => {
      const metadata = normaliseClientMetadata(body, { kind: 'registration' }, DEFAULT_REDIRECT_POLICY);
      return { clientId: registeredClientId(metadata), metadata: { ...metadata } };
    },
    findDocument: async (id) => {
      if (made.documentFault !== undefined) throw made.documentFault;
      return options.documents?.[id];
    },
    suspended: async ({ user }) => {
      if (made.vaultFault !== undefined) throw made.vaultFault;
      return suspended.has(accountOf(user));
    },
    interactionPath: (uid) => `/login/${uid}`,
    errorPage: ({ status, error: code, description: message, requestId }) =>
      errorPage({ status, code, message, requestId }),
    observer: { replayed: (what, grant) => replays.push(`${what} ${grant}`), fault: (detail) => faults.push(detail) },
  });
  http.on('request', (req, res) => void answer(req, res));
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const path = pathOf(req);
    try {
      const document = metadataAt(urls, path, { registration: true, documents: true }) ?? resourceMetadata(urls, path);
      if (document !== undefined)
        return void res.setHeader('Content-Type', 'application/json').end(JSON.stringify(document));
      if (server.serves(path)) return await server.handle(req, res);
      if (path.startsWith('/login/')) {
        const login = await server.pendingLogin(req, res);
        const scopes = options.allow ?? login.scopes;
        const location =
          scopes.length === 0
            ? await server.deny(req, res, 'access_denied', 'The user said no.')
            : (await server.finish(req, res, { user: USER, scopes, policy: EVERYTHING, application: 'write' }))
                .location;
        return void res.writeHead(303, { Location: location }).end();
      }
      const name = urls.serverAt(path);
      if (name === undefined) return void res.writeHead(404).end();
      const { authorization } = req.headers;
      const auth = await authenticator.authenticate({ authorization, address: '127.0.0.1' }, serverSpec({ name }));
      res.end(JSON.stringify({ ...auth, scopes: [...auth.scopes], granted: [...(auth.granted ?? [])] }));
    } catch (thrown) {
      const error = thrown as AppError;
      const server = urls.serverAt(path);
      const challenge = authenticator.challenge(error, server === undefined ? { path } : { server, path });
      if (challenge !== undefined) res.setHeader('WWW-Authenticate', challenge);
      res.writeHead(error.status ?? 500).end(error.message);
    }
  };
  const made: Loopback = {
    store,
    records,
    grants,
    revoked,
    base,
    clock,
    ring,
    urls,
    server,
    authenticator,
    live,
    replays,
    faults,
    suspended,
    documentFault: undefined,
    vaultFault: undefined,
    async close() {
      http.closeAllConnections();
      http.close();
      await once(http, 'close');
      if (shared === undefined) await parts.store.close();
    },
  };
  return made;
}

/** What the token endpoint said. */
export interface TokenAnswer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: any;
}

export const REDIRECT = 'http://127.0.0.1:7777/callback';

/** A public client with a browser. */
export class PlainClient {
  readonly base: string;
  id = '';
  readonly verifier = randomBytes(32).toString('base64url');

  constructor(base: string) {
    this.base = base;
  }

  async register(name = 'plain'): Promise<this> {
    const answer = await fetch(`${this.base}/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        client_name: name,
        redirect_uris: [REDIRECT],
        grant_types: ['authorization_code', 'refresh_token'],
      }),
    });
    const { client_id: id } = (await answer.json()) as { client_id: string };
    this.id = id;
    return this;
  }

  /** The authorization request's query; `undefined` leaves a parameter out. */
  query(changes: Record<string, string | undefined> = {}): string {
    const query: Record<string, string | undefined> = {
      response_type: 'code',
      client_id: this.id,
      redirect_uri: REDIRECT,
      state: 'the-state',
      code_challenge: createHash('sha256').update(this.verifier).digest('base64url'),
      code_challenge_method: 'S256',
      resource: `${this.base}/mcp`,
      scope: 'forgejo:read forgejo:write',
      ...changes,
    };
    return new URLSearchParams(
      Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ).toString();
  }

  /** Follows redirects as a browser does, as far as the client's own URI or a page. */
  async browse(
    path: string,
    jar = new Map<string, string>(),
  ): Promise<{ url: URL; status: number; jar: Map<string, string> }> {
    let url = new URL(path, this.base);
    for (let hops = 0; hops < 8; hops += 1) {
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
      const answer = await fetch(url, { redirect: 'manual', headers: { cookie, accept: 'text/html' } });
      await answer.arrayBuffer();
      for (const line of answer.headers.getSetCookie()) {
        const [name = '', value = ''] = (line.split(';', 1)[0] ?? '').split(/=(.*)/s);
        if (value === '') jar.delete(name);
        else jar.set(name, value);
      }
      const location = answer.headers.get('location');
      if (location === null) return { url, status: answer.status, jar };
      url = new URL(location, url);
      if (url.origin !== this.base) return { url, status: answer.status, jar };
    }
    throw new Error('too many redirects');
  }

  /** The whole way to a code. */
  async code(changes: Record<string, string | undefined> = {}): Promise<string> {
    const { url } = await this.browse(`/authorize?${this.query(changes)}`);
    const code = url.searchParams.get('code');
    if (code === null)
      throw new Error(`no code: ${url.searchParams.get('error')} ${url.searchParams.get('error_description')}`);
    return code;
  }

  async token(form: Record<string, string | undefined>): Promise<TokenAnswer> {
    const body = new URLSearchParams(
      Object.entries({ client_id: this.id, ...form }).filter(
        (entry): entry is [string, string] => entry[1] !== undefined,
      ),
    );
    const answer = await fetch(`${this.base}/token`, { method: 'POST', body });
    return { status: answer.status, retryAfter: answer.headers.get('retry-after'), body: await answer.json() };
  }

  redeem(code: string, changes: Record<string, string | undefined> = {}): Promise<TokenAnswer> {
    return this.token({
      grant_type: 'authorization_code',
      code,
      redirect_uri: REDIRECT,
      code_verifier: this.verifier,
      resource: `${this.base}/mcp`,
      ...changes,
    });
  }

  refresh(token: string, changes: Record<string, string | undefined> = {}): Promise<TokenAnswer> {
    return this.token({ grant_type: 'refresh_token', refresh_token: token, ...changes });
  }

  async login(): Promise<{ access: string; refresh: string }> {
    const { body } = await this.redeem(await this.code());
    return { access: body.access_token, refresh: body.refresh_token };
  }

  /** Asks an MCP path who this is. */
  async whoAmI(
    token: string | undefined,
    path = '/mcp',
  ): Promise<{ status: number; challenge: string | null; body: string }> {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const answer = await fetch(`${this.base}${path}`, { headers });
    return { status: answer.status, challenge: answer.headers.get('www-authenticate'), body: await answer.text() };
  }
}
