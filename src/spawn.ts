/** The registry's `SpawnFunc`: a backend, a bridge and the credential proxy, made into one session's channel. */
import type { AuthContext, ForgejoTokens } from './auth/context';
import type { Backend, BackendAddress, BackendExit, BackendLink } from './backends/contract';
import type { Clock } from './clock';
import type { ServerSpec } from './config/server';
import { AppError, toAppError } from './errors';
import type { FindProxySession, ProxySession, ProxySessionElsewhere } from './forgejo/contract';
import { API_VERSION, MCP_SESSIONS } from './resources/group';
import type { AdoptFunc, SpawnFunc, SpawnRequest } from './sessions/ports';
import type { LiveSession } from './sessions/registry';
import { adoptWith, spawnWith } from './sessions/spawn';
import type { Logger } from './telemetry/log';
import type { Metrics } from './telemetry/metrics';
import { channelObserver } from './telemetry/observers';

export interface SpawnOptions {
  readonly backend: Backend;
  readonly tokens: ForgejoTokens;
  /** The credential proxy as children are told of it; asked for each child, because its port is known late. */
  readonly proxy: { readonly childUrl: string; mint(session: string, instance: string): string };
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** What starts sessions, and what the credential proxy may know of them. */
export interface Spawner {
  readonly spawn: SpawnFunc;
  readonly adopt: AdoptFunc;
  /** Where a session's child was started last. */
  address(session: string): BackendAddress | undefined;
}

/**
 * Makes the spawner. While a child lives, the token of its session's grant is held; no longer.
 */
export function createSpawner(options: SpawnOptions): Spawner {
  const { backend, tokens, proxy, clock, log, metrics } = options;
  const addresses = new Map<string, BackendAddress>();

  /** What a session has here while it has a child: its grant's token, and where the child is. Of two children the earlier one's end takes nothing from the later one. */
  const occupy = ({ session, auth, server }: Pick<SpawnRequest, 'session' | 'auth' | 'server'>) => {
    const release = tokens.retain(auth);
    const sessionLog = log.child({ session, server: server.name });
    let own: BackendAddress | undefined;
    return {
      log: sessionLog,
      observer: () => channelObserver(metrics, sessionLog, () => clock.now()),
      at: (address: BackendAddress): void => {
        own = address;
        addresses.set(session, address);
      },
      end: (): void => {
        if (own !== undefined && addresses.get(session) === own) addresses.delete(session);
        release();
      },
    };
  };

  const spawn: SpawnFunc = async (request, signal) => {
    const { session, server } = request;
    const here = occupy(request);
    const start = spawnWith({
      backend: {
        ...surface(backend),
        open: async (spec, until) => watched(await backend.open(spec, until), metrics, here.end),
      },
      clock,
      owner: (name, uid) => ({ apiVersion: API_VERSION, kind: MCP_SESSIONS.kind, name, uid }),
      secrets: async (_request, address) => {
        here.at(address);
        return childEnvironment(server, proxy.childUrl, () => proxy.mint(session, address.instance));
      },
      observer: here.observer,
      started: (_request, link) => {
        for (const [phase, seconds] of Object.entries(link.phases)) metrics.startSeconds.observe({ phase }, seconds);
        void link.exited.then((exit) => reportExit(exit, metrics, here.log));
      },
    });
    try {
      return await start(request, signal);
    } catch (thrown) {
      here.end();
      if (thrown instanceof AppError) {
        metrics.startFailures.inc({ code: thrown.code });
        here.log.warn('child.start-failed', { code: thrown.code, detail: thrown.detail });
      }
      throw thrown;
    }
  };

  const adopt: AdoptFunc = async (request, signal) => {
    const here = occupy(request);
    here.at(request.child); // it is at work, and its calls to the forge come at any moment
    const start = adoptWith({
      backend: {
        async adopt(spec, until) {
          if (backend.adopt === undefined) throw new AppError('BACKEND_REFUSED', 'This child cannot be taken over.');
          const link = await backend.adopt(spec, until);
          void link.exited.then((exit) => reportExit(exit, metrics, here.log));
          return watched(link, metrics, here.end);
        },
      },
      clock,
      observer: here.observer,
    });
    try {
      return await start(request, signal);
    } catch (thrown) {
      here.end();
      const { code, detail } = toAppError(thrown);
      here.log.warn('child.not-adopted', { code, detail });
      throw thrown;
    }
  };
  return { spawn, adopt, address: (session) => addresses.get(session) };
}

/** What a grant allows at this moment; undefined where it has ended. Rejects with `STORE_UNAVAILABLE`. */
export type GrantNow = (auth: AuthContext) => Promise<Pick<AuthContext, 'scopes' | 'choice'> | undefined>;

/** A session with its child. */
interface Found {
  readonly auth: AuthContext;
  readonly server: ServerSpec;
  readonly child: Pick<BackendAddress, 'instance' | 'ip'>;
}

/** A session that another gateway has, as its record says. */
export interface Recorded extends Found {
  /** Undefined where it was given up and nobody has taken it. */
  readonly holder: string | undefined;
  readonly generation: number;
}

/** Looks for a record, for a fresh one where asked to. Rejects with `STORE_UNAVAILABLE`. */
export type FindRecorded = (name: string, fresh?: boolean) => Promise<Recorded | undefined>;

/**
 * What the credential proxy asks: a session that the registry calls live, or that another gateway has, with the child that it has now and what its
 * grant allows now, since a call may come long after the last request of the session's client. From the moment a session's or its grant's end begins its
 * capability is worth nothing. Where clients bring tokens of the forge, the gateway that has a session has its token, and no other.
 */
export function proxySessions(
  live: (name: string) => LiveSession | undefined,
  address: (name: string) => BackendAddress | undefined,
  grantNow: GrantNow,
  recorded: FindRecorded = async () => undefined,
): FindProxySession {
  return async (name, fresh) => {
    const auth = live(name)?.auth;
    if (auth === undefined) {
      const other = await recorded(name, fresh);
      if (other?.auth.mode === 'bearer') return sessionElsewhere(name, other);
      const now = other === undefined ? undefined : await grantNow(other.auth);
      return other === undefined || now === undefined ? undefined : proxySession(name, other, other.auth, now);
    }
    const now = await grantNow(auth);
    const session = live(name);
    const child = address(name);
    if (now === undefined || session === undefined || child === undefined) return undefined;
    return proxySession(name, { ...session, auth: session.auth, child }, auth, now);
  };
}

/** @param before who the session was bound to before what the grant allows was asked: what it may do both then and now it may do. */
function proxySession(
  name: string,
  { auth, server, child }: Found,
  before: AuthContext,
  now: Pick<AuthContext, 'scopes' | 'choice'>,
): ProxySession {
  const mayWrite =
    server.policy.access === 'write' && [before, auth, now].every(({ scopes }) => scopes.has('forgejo:write'));
  return {
    name,
    server,
    grant: before.grant,
    access: mayWrite ? 'write' : 'read',
    ...(now.choice === undefined ? {} : { choice: now.choice }),
    instance: child.instance,
    ip: child.ip,
    userId: before.user.id,
  };
}

function sessionElsewhere(name: string, { auth, server, holder, generation }: Recorded): ProxySessionElsewhere {
  if (holder === undefined)
    throw new AppError(
      'FORGE_TOKEN_UNAVAILABLE',
      "No gateway has this session's token at the moment; it comes with the next message of the session's client. Try again then.",
      { retryAfter: 5 },
    );
  return { name, server, grant: auth.grant, userId: auth.user.id, holder, generation };
}

/** What the child is told: the proxy for the forge, and a capability of its own for each variable that may hold a token. */
function childEnvironment(server: ServerSpec, proxyUrl: string, mint: () => string): Record<string, string> {
  const env: Record<string, string> = { [server.forgejo.urlEnv]: proxyUrl };
  for (const variable of server.forgejo.tokenEnv) env[variable] = mint();
  return env;
}

/** The methods of a driver as an object of their own, so that one of them can be another. */
function surface(backend: Backend): Backend {
  return {
    kind: backend.kind,
    open: (spec, signal) => backend.open(spec, signal),
    removeOrphans: () => backend.removeOrphans(),
    check: (signal) => backend.check(signal),
    stop: () => backend.stop(),
  };
}

/** An end that nobody asked for is worth a warning: the session's user will ask why. */
function reportExit({ reason, code, signal }: BackendExit, metrics: Metrics, log: Logger): void {
  metrics.backendExits.inc({ reason });
  const orderly = reason === 'closed' || (reason === 'exited' && code === 0);
  log[orderly ? 'debug' : 'warn']('child.exited', { reason, status: code, signal });
}

/** The same link, with its bytes counted and its end noticed. */
function watched(link: BackendLink, metrics: Metrics, end: () => void): BackendLink {
  void link.exited.then(end);
  const out = { direction: 'out' } as const;
  const into = { direction: 'in' } as const;
  return {
    phases: link.phases,
    exited: link.exited,
    write: (bytes) => {
      metrics.linkBytes.inc(out, bytes.length);
      return link.write(bytes);
    },
    onData: (consumer) =>
      link.onData((bytes) => {
        metrics.linkBytes.inc(into, bytes.length);
        consumer(bytes);
      }),
    onStderr: (consumer) => link.onStderr(consumer),
    pause: () => link.pause(),
    resume: () => link.resume(),
    close: () => link.close(),
    ...(link.takeover === undefined ? {} : { takeover: link.takeover }),
    ...(link.retain === undefined ? {} : { retain: (held) => link.retain?.(held) }),
    ...(link.release === undefined ? {} : { release: () => link.release?.() }),
  };
}
