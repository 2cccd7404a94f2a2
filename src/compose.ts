/** The one place where concrete things are built and wired: configuration in, a running gateway out. */
import { mkdir } from 'node:fs/promises';
import { lookup } from 'node:dns/promises';
import { randomBytes } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { isIP } from 'node:net';
import { dirname, join } from 'node:path';
import { Agent } from 'undici';
import { BearerAuthenticator } from './auth/bearer/authenticator';
import { createWhoAmI } from './auth/bearer/forge-user';
import { HeldTokens } from './auth/bearer/held-tokens';
import type { Backend } from './backends/contract';
import { PodBackend } from './backends/pod/driver';
import { KubeClient } from './kube/client';
import { Credentials } from './kube/credentials';
import { ProcessBackend } from './backends/process/driver';
import { systemClock } from './clock';
import { loadKeys } from './config/key-files';
import type { Config } from './config/load';
import { AppError } from './errors';
import type { CredentialProxyOptions } from './forgejo/proxy/options';
import { createCredentialProxy, type CredentialProxy } from './forgejo/proxy/proxy';
import { rateKey, trustedProxies } from './http/address';
import { createApp } from './http/app';
import { listen, type Listener } from './http/listener';
import { BodyReader } from './http/mcp/body';
import { Streams } from './http/mcp/stream';
import { opsHandler, ReadinessProbe } from './http/ops';
import { removeLeftovers } from './leftovers';
import { SessionIds } from './sessions/ids';
import type { SessionStore } from './sessions/ports';
import { Registry } from './sessions/registry';
import { createSpawner, proxySessions } from './spawn';
import { openSqliteSessionStore } from './stores/sqlite/sessions';
import type { Logger } from './telemetry/log';
import { collectProcessMetrics, createMetrics, type Metrics } from './telemetry/metrics';
import { authObserver, httpObserver, proxyObserver, sessionObserver } from './telemetry/observers';

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

  const store = await openStore(config);
  started.push(() => store.close());

  const agent = new Agent({
    connections: 32,
    keepAliveTimeout: 30_000,
    connect: { timeout: seconds(config.auth.timeout) },
  });
  started.push(() => agent.destroy());
  const authenticator = new BearerAuthenticator({
    key: (await loadKeys(config.auth.keyFile ?? join(dataDir, 'auth.key')))[0],
    whoAmI: createWhoAmI({ dispatcher: agent, timeoutMs: seconds(config.auth.timeout) }),
    clock,
    observer: authObserver(metrics),
    okMs: seconds(config.auth.cacheTime),
    refusedMs: seconds(config.auth.refusedCacheTime),
    maxCached: config.auth.maxCachedTokens,
    failures: {
      burst: config.auth.failureBurst,
      perMinute: config.auth.failuresPerMinute,
      maxAddresses: config.auth.maxCachedTokens,
      keyOf: rateKey,
    },
  });
  const tokens = new HeldTokens((grant) => authenticator.forget(grant));

  const proxy: CredentialProxy = createCredentialProxy({
    ...(await proxyAddress(config)),
    key: (await loadKeys(config.proxy.keyFile ?? join(dataDir, 'capability.key')))[0],
    find: proxySessions(
      (name) => registry.live(name),
      (name) => spawner.address(name),
      async (auth) => auth, // a bearer's token is its grant, and the forge says of each call what it may do
    ),
    tokens,
    sourceCheck: config.proxy.insecureNoSourceCheck ? 'off' : config.proxy.sourceCheck,
    helpUrl: config.proxy.helpUrl,
    timeouts: {
      connect: seconds(config.proxy.connectTimeout),
      firstByte: seconds(config.proxy.answerTimeout),
      idle: seconds(config.proxy.answerTimeout),
    },
    limits: { perSession: config.proxy.requestsPerSession, bodyBytes: config.proxy.maxBodyBytes },
    clock,
    logger: log,
    observer: proxyObserver(metrics),
  });
  await proxy.listen().catch((cause: unknown) => {
    throw cannotListen('proxy.listen', cause);
  });
  started.push(() => proxy.close(0));

  const driver = makeDriver(config, proxy, log, metrics);
  const { backend } = driver;
  started.push(
    () => driver.close(),
    () => backend.stop(),
  );
  const spawner = createSpawner({
    backend,
    tokens,
    proxy: { childUrl: proxy.childUrl, mint: (session, instance) => proxy.capabilities.mint(session, instance) },
    clock,
    log,
    metrics,
  });
  const registry = new Registry({
    ...config.sessions,
    spawn: spawner.spawn,
    store,
    clock,
    ids: new SessionIds(await loadKeys(config.sessions.keyFile ?? join(dataDir, 'session-ids.key'))),
    observer: sessionObserver(metrics, log),
  });
  started.push(() => registry.stop(0));

  await removeLeftovers({ store, backend, log, metrics, signal });
  signal.throwIfAborted();
  void backend.prepare?.(config.servers);

  const streams = new Streams({
    keepaliveMs: seconds(config.http.keepalive),
    stallMs: seconds(config.http.stallTimeout),
  });
  const bodies = new BodyReader({
    maxBytes: config.http.maxBodyBytes,
    maxBytesInFlight: config.http.maxBodyBytesInFlight,
    timeoutMs: seconds(config.http.bodyTimeout),
  });
  const probe = new ReadinessProbe({
    checks: [
      { name: 'backend', check: (signal) => backend.check(signal) },
      { name: 'store', check: () => store.check() },
      { name: 'proxy', check: (signal) => proxy.check(signal) },
    ],
    timeoutMs: seconds(config.ops.checkTimeout),
    cacheMs: seconds(config.ops.checkCache),
    clock,
    log,
    notes: () => ({ source: proxy.sourceState }),
    observe: (check, ready) => metrics.ready.set({ check }, ready ? 1 : 0),
  });

  const ops = await listen(opsHandler(probe, metricsText(metrics, streams, bodies)), {
    listen: config.ops.listen,
    headersMs: 5_000,
    requestMs: 10_000,
    idleMs: 30_000,
    maxConnections: 100,
  });
  started.push(() => ops.close(0));

  // The public listener is last: whoever reaches it finds everything behind it at work.
  const byName = new Map(config.servers.map((server) => [server.name, server]));
  const http = await openHttp(config, (publicUrl) =>
    createApp({
      exchange: { log, observer: httpObserver(metrics), trustedProxies: trustedProxies(config.http.trustedProxies) },
      guard: { ...config.http, publicUrl },
      find: (name) => byName.get(name ?? config.defaultServer),
      authenticator,
      mcp: { sessions: registry, bodies, streams, jsonMs: seconds(config.http.jsonTimeout), acceptMs: 30_000 },
      failure: { log, statuses: config.sessions },
    }),
  );

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
      await registry.stop(seconds(config.stop.drainTimeout));
      await http.close(LISTENER_MS);
      await proxy.close(0);
      await backend.stop();
      await driver.close();
      await ops.close(0);
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

async function openStore(config: Config): Promise<SessionStore> {
  const path = config.store.path ?? join(config.dataDir, 'sessions.sqlite');
  await makeFolder(dirname(path));
  return openSqliteSessionStore(path);
}

/**
 * Where the credential proxy listens and what children are told. Pods have no DNS, so a name in its URL becomes the address that it has
 * now: that of a Service stays the same.
 */
async function proxyAddress({
  backend,
  proxy,
}: Config): Promise<Pick<CredentialProxyOptions, 'listen' | 'childUrl' | 'tls'>> {
  const pods = backend.kind === 'pod';
  const { address: host, port } =
    proxy.listen ?? (pods ? { address: '0.0.0.0', port: 8443 } : { address: '127.0.0.1', port: 0 });
  const childUrl = proxy.url === undefined ? undefined : await withAddress(proxy.url);
  const tls = proxy.tls === 'on' || (pods && !proxy.insecureNoTls);
  const hosts = [childUrl === undefined ? host : new URL(childUrl).hostname.replace(/^\[|\]$/g, '')];
  return { listen: { host, port }, childUrl, tls: tls ? { kind: 'self-made', hosts } : { kind: 'plain' } };
}

async function withAddress(url: string): Promise<string> {
  const parsed = new URL(url);
  if (isIP(parsed.hostname.replace(/^\[|\]$/g, '')) !== 0) return url;
  try {
    const { address, family } = await lookup(parsed.hostname);
    parsed.hostname = family === 6 ? `[${address}]` : address;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    throw new AppError(
      'CONFIG_INVALID',
      `proxy.url: the name ${parsed.hostname} has no address (${code ?? 'unknown'}). Write the Service's ClusterIP.`,
    );
  }
  return parsed.href.replace(/\/+$/, '');
}

/** The driver, and what closes what it stands on. */
interface Driver {
  readonly backend: Backend;
  close(): Promise<void>;
}

function makeDriver(config: Config, proxy: CredentialProxy, log: Logger, metrics: Metrics): Driver {
  const { backend, dataDir } = config;
  if (backend.kind === 'process') {
    const runDirectory = backend.runDir ?? join(dataDir, 'run');
    return { backend: new ProcessBackend({ runDirectory, log, clock: systemClock }), close: async () => undefined };
  }
  const kube = new KubeClient(kubeCredentials(backend.kubeconfig));
  const { caPem } = proxy;
  return {
    backend: new PodBackend({
      kube,
      namespace: backend.namespace,
      install: backend.installId,
      run: randomBytes(8).toString('hex'),
      ...(caPem === undefined ? {} : { ca: caPem, caEnv: backend.caEnv }),
      maxStarting: backend.maxStarting,
      log,
      clock: systemClock,
      observer: {
        attachBroken: () => metrics.attachDrops.inc(),
        attachRestored: (seconds) => metrics.attachRestoreSeconds.observe(seconds),
      },
    }),
    close: () => kube.close(),
  };
}

function kubeCredentials(kubeconfig: string | undefined): Credentials {
  try {
    return new Credentials(kubeconfig);
  } catch (thrown) {
    throw new AppError(
      'CONFIG_INVALID',
      'backend.kubeconfig: there is no Kubernetes configuration that can be read. Run in a pod, or name a kubeconfig file.',
      { cause: thrown },
    );
  }
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
  late.serve = handler(http.publicUrl ?? listener.url);
  return listener;
}

/** The metrics' text; what is counted elsewhere is read when somebody asks. */
function metricsText(metrics: Metrics, streams: Streams, bodies: BodyReader) {
  return {
    contentType: metrics.registry.contentType,
    text(): Promise<string> {
      metrics.httpStreams.set(streams.size);
      metrics.httpBodyBytes.set(bodies.inFlight);
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
