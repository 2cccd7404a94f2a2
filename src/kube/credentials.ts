/** Who we are to the Kubernetes API: from a kubeconfig or the pod's own service account, read again as it rotates. */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { createSecureContext, type SecureContext } from 'node:tls';
import { HttpMethod, KubeConfig, RequestContext } from '@kubernetes/client-node';
import { Agent, type Dispatcher } from 'undici';
import { KubeError } from './error';

/** Milliseconds for a connection to the API server. While it restarts, attempts vanish without a word; a new one a moment later works. */
const CONNECT_MS = 2_500;
/** Milliseconds for which credentials are used without looking at their files again; a bound token rotates at 80 % of its life (KEP-1205). */
const FRESH_MS = 10_000;
/** Milliseconds for an exec or OIDC plugin of a kubeconfig. */
const PLUGIN_MS = 15_000;
/** The API server closes idle connections after 90 s; we do so before it, so that no request meets a closing one. */
const KEEP_ALIVE_MS = 60_000;

/** All that is needed to make a request. Secret: never log it. */
export interface Access {
  /** The API server's base URL without a trailing slash. */
  readonly server: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The one shared connection pool for REST calls and watches. */
  readonly dispatcher: Dispatcher;
  /** Options for a TLS connection of one's own (the attach stream). */
  readonly tls: {
    readonly secureContext: SecureContext;
    readonly rejectUnauthorized?: boolean;
    readonly servername?: string;
  };
  /** Set only where the kubeconfig names a proxy. */
  readonly agent: RequestOptions['agent'];
}

/** Reads, caches and rotates {@link Access}. */
export class Credentials {
  readonly #path: string | undefined;
  #config: KubeConfig;
  #stamp: string;
  #access: Access | undefined;
  #fingerprint = '';
  #readAt = -Infinity;
  #reading: Promise<Access> | undefined;
  #closed = false;

  /**
   * @param path a kubeconfig; without it `KUBECONFIG`, `~/.kube/config` and the pod's service account are tried in this order.
   * @throws KubeError `Credentials` where the configuration cannot be read or names no cluster.
   */
  constructor(path?: string) {
    this.#path = path;
    this.#config = load(path);
    this.#stamp = stampOf(path);
  }

  /**
   * The present credentials. `renew` reads everything anew (the API said 401).
   * @throws KubeError `Credentials`.
   */
  async current(renew = false): Promise<Access> {
    if (!renew && this.#access !== undefined && performance.now() - this.#readAt < FRESH_MS) return this.#access;
    this.#reading ??= this.#read(renew).finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  async #read(renew: boolean): Promise<Access> {
    const stamp = stampOf(this.#path);
    if (renew || stamp !== this.#stamp) {
      try {
        this.#config = load(this.#path);
        this.#stamp = stamp;
      } catch {
        // A file that is being replaced is not there for a moment: what was read before may still do, and is tried until the next look.
      }
    }
    const config = this.#config;
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new KubeError(0, 'Credentials', 'the Kubernetes configuration names no cluster');
    const options: RequestOptions = {};
    await bounded(config.applyToHTTPSOptions(options));

    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value).trim();
    if (typeof options.auth === 'string') {
      headers['Authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
    }
    const fingerprint = digest(options, cluster.server, cluster.proxyUrl);
    if (this.#access === undefined || fingerprint !== this.#fingerprint) {
      const former = this.#access?.dispatcher;
      this.#access = { ...(await connection(config, options)), server: cluster.server.replace(/\/+$/, ''), headers };
      this.#fingerprint = fingerprint;
      // In-flight requests of the former pool end in their own time.
      if (former !== undefined) void former.close().catch(() => undefined);
    } else {
      this.#access = { ...this.#access, headers };
    }
    this.#readAt = performance.now();
    if (this.#closed) void this.#access.dispatcher.destroy().catch(() => undefined);
    return this.#access;
  }

  /** Closes all connections. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#access?.dispatcher.destroy().catch(() => undefined);
  }
}

/** Connection pool and TLS options for what `applyToHTTPSOptions` found. */
async function connection(
  config: KubeConfig,
  options: RequestOptions,
): Promise<Pick<Access, 'dispatcher' | 'tls' | 'agent'>> {
  // One parsed context for every connection: parsing certificates costs more than the handshake.
  const secureContext = createSecureContext({
    ca: options.ca,
    cert: options.cert,
    key: options.key,
    pfx: options.pfx,
    passphrase: options.passphrase,
    minVersion: 'TLSv1.2',
  });
  const tls = {
    secureContext,
    ...(options.rejectUnauthorized === undefined ? {} : { rejectUnauthorized: options.rejectUnauthorized }),
    ...(options.servername === undefined ? {} : { servername: options.servername }),
  };
  if (config.getCurrentCluster()?.proxyUrl !== undefined) {
    // client-node knows HTTP and SOCKS proxies; it builds a pool a call, so the first one is kept.
    const probe = new RequestContext('https://unused.invalid', HttpMethod.GET);
    await bounded(config.applySecurityAuthentication(probe));
    const dispatcher = probe.getDispatcher();
    if (dispatcher !== undefined) return { dispatcher, tls, agent: options.agent };
  }
  const dispatcher = new Agent({
    connect: { ...tls, timeout: CONNECT_MS, keepAlive: true, keepAliveInitialDelay: 30_000 },
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
  });
  return { dispatcher, tls, agent: undefined };
}

/** Reads the configuration; its errors may quote the file, so they are replaced. */
function load(path: string | undefined): KubeConfig {
  const config = new KubeConfig();
  try {
    if (path === undefined) config.loadFromDefault();
    else config.loadFromFile(path);
  } catch {
    throw new KubeError(
      0,
      'Credentials',
      `the Kubernetes configuration${path === undefined ? '' : ` ${path}`} cannot be read`,
    );
  }
  if (config.getCurrentCluster() === null) {
    throw new KubeError(0, 'Credentials', 'the Kubernetes configuration names no cluster in its current context');
  }
  return config;
}

/** Changes when the kubeconfig file does; the default chain is read once, because its files in a pod are read by client-node itself. */
function stampOf(path: string | undefined): string {
  if (path === undefined) return '';
  try {
    const { mtimeMs, size, ino } = statSync(path);
    return `${mtimeMs}:${size}:${ino}`;
  } catch {
    return 'gone';
  }
}

function digest(options: RequestOptions, ...more: (string | undefined)[]): string {
  const hash = createHash('sha256');
  for (const part of [options.ca, options.cert, options.key, options.pfx, options.passphrase, options.servername]) {
    hash.update(part === undefined ? 'none' : Buffer.isBuffer(part) ? part : JSON.stringify(part)).update('\0');
  }
  for (const part of more) hash.update(part ?? '').update('\0');
  return hash.digest('hex');
}

/** Plugins run programs: they get a deadline, and their errors (which quote the program's output) are replaced. */
async function bounded(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('deadline')), PLUGIN_MS).unref();
  });
  try {
    await Promise.race([work, late]);
  } catch {
    throw new KubeError(0, 'Credentials', 'the credentials of the Kubernetes configuration could not be obtained');
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
  }
}
