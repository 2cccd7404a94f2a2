/** The one place where concrete things are built and wired: configuration in, a running gateway out. */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { dirname, join } from 'node:path';
import { Agent } from 'undici';
import { deriveKeys } from './auth/keys/derive';
import { masterKeys } from './auth/keys/master';
import { LinkKeys } from './backends/pod/link-keys';
import { StateSeal } from './bridge/modern/state';
import { ALL_VERSIONS } from './bridge/versions';
import { systemClock } from './clock';
import { openBackend, openKube } from './compose/backend';
import { bearerIdentity } from './compose/bearer';
import type { Identity } from './compose/identity';
import { oauthIdentity } from './compose/oauth';
import { proxyAddress } from './compose/proxy-address';
import { recordedSessions } from './compose/recorded';
import { openRecords } from './compose/records';
import { joinReplicas } from './compose/replicas';
import { openSessionStore } from './compose/session-store';
import { drainsBy, openCatalog } from './compose/servers';
import { loadKeys } from './config/key-files';
import type { Config } from './config/load';
import { AppError } from './errors';
import { createCredentialProxy, type CredentialProxy } from './forgejo/proxy/proxy';
import { trustedProxies } from './http/address';
import { createApp } from './http/app';
import { listen, type Listener } from './http/listener';
import { BodyReader } from './http/mcp/body';
import { KeptStreams } from './http/mcp/session-streams';
import { SseConnections } from './http/mcp/sse-connections';
import { Streams } from './http/mcp/stream';
import { opsHandler, ReadinessProbe } from './http/ops';
import { isAway } from './kube/error';
import { removeLeftovers } from './leftovers';
import { alone } from './sessions/holders';
import { SessionIds } from './sessions/ids';
import { Registry } from './sessions/registry';
import { StatelessTable } from './sessions/stateless';
import { createSpawner, proxySessions } from './spawn';
import { Seal } from './stores/seal';
import type { Logger } from './telemetry/log';
import { collectProcessMetrics, createMetrics, type Metrics } from './telemetry/metrics';
import { httpObserver, proxyObserver, sessionObserver } from './telemetry/observers';

export interface ComposeOptions {
  readonly log: Logger;
  readonly version: string;
  /** Gives the start up: what was started is ended again, and {@link compose} rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** A running gateway. */
export interface Gateway {
  /** Where MCP clients are served on this machine, without a path. */
  readonly url: string;
  readonly opsUrl: string;
  /** What children are given for the forge. */
  readonly proxyUrl: string;
  /** Ends everything in order: not ready, no new sessions, calls in flight, children, listeners, store. Resolves when all is gone. */
  stop(): Promise<void>;
}

/** Milliseconds for all sessions of the install to be seen. */
const SYNC_MS = 30_000;
/** Milliseconds for the last responses to be written once sessions are over. */
const LISTENER_MS = 2_000;

/**
 * Builds and starts the gateway. What was started before a failure is ended again.
 * @throws AppError `CONFIG_INVALID` for keys, ports and folders that cannot be used; `STORE_UNAVAILABLE`.
 */
export async function compose(config: Config, options: ComposeOptions): Promise<Gateway> {
  const started: (() => Promise<void>)[] = [];
  try {
    return await build(config, options, started);
  } catch (thrown) {
    for (const undo of started.reverse()) await undo().catch(() => undefined); // the failure itself is what matters
    throw thrown;
  }
}

async function build(
  config: Config,
  { log, version, signal }: ComposeOptions,
  started: (() => Promise<void>)[],
): Promise<Gateway> {
  const clock = systemClock;
  const seconds = (value: number): number => value * 1000;
  const { dataDir } = config;
  await makeFolder(dataDir);

  const metrics = createMetrics();
  collectProcessMetrics(metrics);
  metrics.build.set({ version, node: process.version, backend: config.backend.kind }, 1);

  const storePath = config.store.path ?? join(dataDir, 'sessions.sqlite');
  await makeFolder(dirname(storePath));
  const kube = openKube(config);
  if (kube !== undefined) started.push(() => kube.close());
  const shared = await joinReplicas(config, kube, { clock, log, metrics, signal });
  if (shared !== undefined) started.push(() => shared.stop());
  const holders = shared?.holders ?? alone(randomBytes(8).toString('hex'));
  const store = openSessionStore(config, storePath, kube, holders.self, { clock, log });
  started.push(() => store.close());
  await store.view?.synced(AbortSignal.any([signal, AbortSignal.timeout(SYNC_MS)]));
  const servers = await openCatalog({ config, kube, log, clock, signal });
  started.push(() => servers.stop());
  const { catalog } = servers;

  const agent = new Agent({
    connections: 32,
    keepAliveTimeout: 30_000,
    connect: { timeout: seconds(config.auth.timeout) },
  });
  started.push(() => agent.destroy());
  async function openIdentity(): Promise<Identity> {
    const common = { config, dispatcher: agent, metrics, clock };
    if (config.auth.mode === 'bearer') return bearerIdentity(common);
    const records = openRecords(config, storePath, kube, clock);
    started.push(() => records.store.close());
    const opened = await oauthIdentity({
      ...{ ...common, catalog, records, log, self: holders.self, view: store.view },
      sessions: () => registry,
    });
    return { ...opened, close: () => opened.close().then(() => records.store.close()) };
  }
  const identity = await openIdentity();
  started.push(() => identity.close());

  const sessionKeys = await loadKeys(config.sessions.keyFile ?? join(dataDir, 'session-ids.key'));
  const proxy: CredentialProxy = createCredentialProxy({
    ...(await proxyAddress(config)),
    keys: await loadKeys(config.proxy.keyFile ?? join(dataDir, 'capability.key')),
    find: proxySessions(
      (name) => registry.live(name),
      (name) => spawner.address(name),
      identity.now,
      ...(shared === undefined ? [] : [recordedSessions(store, catalog, clock)]),
    ),
    elsewhere: shared?.forge,
    tokens: identity.tokens,
    sourceCheck: config.proxy.insecureNoSourceCheck ? 'off' : config.proxy.sourceCheck,
    helpUrl: config.proxy.helpUrl ?? connectionsUrl(config),
    timeouts: {
      connect: seconds(config.proxy.connectTimeout),
      firstByte: seconds(config.proxy.answerTimeout),
      idle: seconds(config.proxy.answerTimeout),
    },
    limits: {
      perSession: config.proxy.requestsPerSession,
      bodyBytes: config.proxy.maxBodyBytes,
      heldBodyBytes: config.proxy.maxHeldBodyBytes,
    },
    clock,
    logger: log,
    observer: proxyObserver(metrics),
  });
  await proxy.listen().catch((cause: unknown) => {
    throw cannotListen('proxy.listen', cause);
  });
  started.push(() => proxy.close(0));

  const sessionMasters = masterKeys(sessionKeys, 'sessions.keyFile');
  const linkKeys = shared === undefined ? undefined : new LinkKeys(deriveKeys(sessionMasters, 'pod-links'));
  const backend = openBackend(config, kube, proxy, holders.self, log, metrics, linkKeys);
  started.push(() => backend.stop());
  const spawner = createSpawner({
    backend,
    tokens: identity.tokens,
    proxy: { childUrl: proxy.childUrl, mint: (session, instance) => proxy.capabilities.mint(session, instance) },
    clock,
    log,
    metrics,
  });
  const registry = new Registry({
    ...config.sessions,
    spawn: spawner.spawn,
    ...(shared === undefined || backend.adopt === undefined ? {} : { adopt: spawner.adopt }),
    store,
    clock,
    ids: new SessionIds(sessionKeys),
    holders,
    discard: (child) => backend.discard?.(child) ?? Promise.resolve(),
    drains: drainsBy(catalog),
    drainTimeout: config.stop.drainTimeout,
    observer: sessionObserver(metrics, log),
  });
  started.push(() => registry.stop(0));
  const stateless = new StatelessTable({
    sessions: registry,
    clock,
    seal: new StateSeal(new Seal(deriveKeys(sessionMasters, 'request-states')), clock, shared?.replicas.self),
    versions: ALL_VERSIONS,
    owns: (key) => shared?.owns(key) ?? true,
  });

  await removeLeftovers({
    ...{ store, backend, log, metrics, signal },
    isShared: shared !== undefined,
    sleepMs: seconds(Math.max(...catalog.all().map(({ sessionTTL }) => sessionTTL))),
  });
  signal.throwIfAborted();
  void backend.prepare?.(catalog.all());
  catalog.onChange((name, server) => {
    registry.serverChanged(name);
    if (server !== undefined) void backend.prepare?.([server]);
  });

  const streams = new Streams({
    keepaliveMs: seconds(config.http.keepalive),
    stallMs: seconds(config.http.stallTimeout),
  });
  const kept = new KeptStreams({
    maxStreamBytes: config.http.replayStreamBytes,
    maxSessionBytes: config.http.replaySessionBytes,
    maxBytes: config.http.replayTotalBytes,
    maxStreams: config.http.replayStreams,
    keepMs: seconds(config.http.replayKeep),
  });
  const bodies = new BodyReader({
    maxBytes: config.http.maxBodyBytes,
    maxBytesInFlight: config.http.maxBodyBytesInFlight,
    timeoutMs: seconds(config.http.bodyTimeout),
  });
  const probe = new ReadinessProbe({
    checks: [
      { name: 'backend', check: (signal) => backend.check(signal), isOutage: isAway },
      { name: 'store', check: () => store.check(), isOutage: isAway },
      { name: 'proxy', check: (signal) => proxy.check(signal) },
      ...identity.checks,
      ...(shared?.checks ?? []),
    ],
    timeoutMs: seconds(config.ops.checkTimeout),
    cacheMs: seconds(config.ops.checkCache),
    outageMs: seconds(config.ops.outageGrace),
    clock,
    log,
    notes: () => ({ source: proxy.sourceState }),
    observe: (check, ready) => metrics.ready.set({ check }, ready ? 1 : 0),
  });

  const ops = await listen(opsHandler(probe, metricsText(metrics, streams, bodies, proxy)), {
    listen: config.ops.listen,
    headersMs: 5_000,
    requestMs: 10_000,
    idleMs: 30_000,
    maxConnections: 100,
  });
  started.push(() => ops.close(0));

  const served: { app?: RequestListener } = {}; // it knows its URL once its port is taken
  const forwarded: RequestListener = (req, res) => (served.app === undefined ? res.destroy() : served.app(req, res));
  const ways = await shared?.open({
    holds: (name, generation) => registry.holds(name, generation),
    handlers: {
      mcp: forwarded,
      stateless: forwarded,
      sse: forwarded,
      handover: forwarded,
      forge: proxy.serveForwarded,
    },
  });

  // The public listener is last: whoever reaches it finds everything behind it at work.
  const http = await openHttp(config, (publicUrl) => {
    served.app = createApp({
      exchange: { log, observer: httpObserver(metrics), trustedProxies: trustedProxies(config.http.trustedProxies) },
      guard: { ...config.http, publicUrl },
      find: (name) => catalog.find(name ?? config.defaultServer),
      ...identity.serve(publicUrl, bodies),
      mcp: {
        sessions: registry,
        ...ways,
        stateless,
        bodies,
        streams,
        kept,
        sse: new SseConnections({
          maxPerUser: config.http.maxSseConnectionsPerUser,
          maxTotal: config.http.maxSseConnections,
          initializeMs: seconds(config.http.sseInitializeTimeout),
        }),
        jsonMs: seconds(config.http.jsonTimeout),
        primeMs: seconds(config.http.primeAfter),
        acceptMs: 30_000,
      },
      failure: { log, statuses: config.sessions },
    });
    return served.app;
  });

  if (/^http:\/\/(?!localhost|127\.|\[::1\])/.test(config.http.publicUrl ?? '')) {
    log.warn('http.public-url-without-tls', { url: config.http.publicUrl, why: 'access tokens travel in the clear' });
  }

  return {
    url: http.url,
    opsUrl: ops.url,
    proxyUrl: proxy.childUrl,
    async stop() {
      probe.stop();
      await new Promise<void>((resolve) => void setTimeout(resolve, seconds(config.stop.readinessDelay)));
      http.drain();
      shared?.drain();
      stateless.stop();
      const until = clock.now() + seconds(config.stop.drainTimeout);
      await registry.stop(seconds(config.stop.drainTimeout));
      const left = (): number => Math.max(0, until - clock.now());
      await http.close(shared === undefined ? LISTENER_MS : Math.max(LISTENER_MS, left())); // what goes on at other gateways too
      await shared?.close(); // once its sessions are given up
      await proxy.close(left()); // what children of other gateways load through it
      await shared?.stop();
      await backend.stop();
      await identity.close();
      await ops.close(0);
      await servers.stop();
      await kube?.close();
      await agent.destroy();
      await store.close();
    },
  };
}

async function makeFolder(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 }).catch((thrown: unknown) => {
    const { code } = thrown as NodeJS.ErrnoException;
    throw new AppError(
      'CONFIG_INVALID',
      `dataDir: the folder ${dir} cannot be made (${code ?? 'unknown'}). Choose one that this user may write to (dataDir or FMO_DATA_DIR).`,
    );
  });
}

/** The page on which users change what their agents may do, for those that are refused; not known before the listener's port is. */
function connectionsUrl({ auth, http }: Config): string | undefined {
  return auth.mode === 'oauth' && http.publicUrl !== undefined ? `${http.publicUrl}/connections` : undefined;
}

/** Without a public URL it is the loopback address that was taken, so that port 0 works. */
async function openHttp(config: Config, handler: (publicUrl: string) => RequestListener): Promise<Listener> {
  const { http } = config;
  const late: { serve?: RequestListener } = {}; // the handler has to know the port
  const listener = await listen((req, res) => late.serve?.(req, res), {
    listen: http.listen,
    headersMs: http.headersTimeout * 1000,
    requestMs: http.bodyTimeout * 1000 + http.headersTimeout * 1000,
    idleMs: http.idleTimeout * 1000,
    maxConnections: http.maxConnections,
  });
  try {
    late.serve = handler(http.publicUrl ?? listener.url);
    return listener;
  } catch (thrown) {
    await listener.close(0);
    throw thrown;
  }
}

/** The metrics' text; what is counted elsewhere is read when somebody asks. */
function metricsText(metrics: Metrics, streams: Streams, bodies: BodyReader, proxy: CredentialProxy) {
  return {
    contentType: metrics.registry.contentType,
    text(): Promise<string> {
      metrics.httpStreams.set(streams.size);
      metrics.httpBodyBytes.set(bodies.inFlight);
      metrics.proxyHeldBytes.set(proxy.heldBodyBytes);
      return metrics.registry.metrics();
    },
  };
}

function cannotListen(setting: string, cause: unknown): AppError {
  const { code } = cause as NodeJS.ErrnoException;
  return new AppError(
    'CONFIG_INVALID',
    `${setting}: cannot listen there (${code ?? 'unknown'}). Choose another address or port.`,
    { cause },
  );
}
