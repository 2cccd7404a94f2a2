/** The gateway's own connection to forges: one HTTP agent for all of them, and the copy of each forge's version that children start with. */
import { Agent, type Dispatcher } from 'undici';
import type { ForgejoSpec } from '../config/server';
import type { Clock } from '../clock';
import { AppError } from '../errors';

/** Milliseconds. */
export interface UpstreamTimeouts {
  readonly connect: number;
  /** Until the answer's head, counted from the last byte that was sent of the request. */
  readonly firstByte: number;
  /** Between two pieces of an answer. */
  readonly idle: number;
}

export const DEFAULT_TIMEOUTS: UpstreamTimeouts = { connect: 5_000, firstByte: 60_000, idle: 60_000 };

const MAX_VERSION_BYTES = 4096;
const VERSION_TTL = 300_000;

/**
 * The agent that all calls to forges and their object storage share. Its owner destroys it.
 * `connections` to one forge at once: as many as there may be requests, for a request that waited for a connection would wait for other sessions.
 */
export function createForgeAgent(timeouts: UpstreamTimeouts, connections: number): Agent {
  return new Agent({
    connections,
    pipelining: 1,
    connect: { timeout: timeouts.connect },
    headersTimeout: 0, // the caller's own timer
    bodyTimeout: timeouts.idle,
    keepAliveTimeout: 10_000,
    keepAliveMaxTimeout: 60_000,
    maxHeaderSize: 32_768,
    maxRequestsPerClient: 1_000,
  });
}

/** Splits a configured base URL into what goes into each request. Throws `CONFIG_INVALID` for anything but http(s) without credentials or query. */
export function splitBase(url: string): { origin: string; path: string } {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (cause) {
    throw new AppError('CONFIG_INVALID', 'A forge URL in the configuration is not a URL.', { cause });
  }
  if (!/^https?:$/.test(parsed.protocol) || parsed.username !== '' || parsed.search !== '' || parsed.hash !== '')
    throw new AppError('CONFIG_INVALID', 'A forge URL must be http or https, without credentials, query or fragment.');
  return { origin: parsed.origin, path: parsed.pathname.replace(/\/+$/, '') };
}

/** One forge as the proxy reaches it. */
export class Forge {
  /** The base URL for API calls. */
  readonly api: { readonly origin: string; readonly path: string };
  /** The base URL that the forge puts into links. */
  readonly web: { readonly origin: string; readonly path: string };
  readonly storageOrigins: ReadonlySet<string>;
  private version: { readonly body: string; readonly at: number } | undefined;
  private asking: Promise<string | undefined> | undefined;

  constructor(
    spec: ForgejoSpec,
    private readonly agent: Dispatcher,
    private readonly clock: Clock,
    private readonly timeouts: UpstreamTimeouts,
  ) {
    this.api = splitBase(spec.apiUrl);
    this.web = splitBase(spec.url);
    this.storageOrigins = new Set(spec.storageOrigins.map((origin) => splitBase(origin).origin));
  }

  /**
   * The body of `GET /api/v1/version` as the forge gave it once. An old copy is given out at once and refreshed behind it, so a child starts while
   * its forge is away. Undefined where the forge wants a sign-in even for that.
   * Throws `UPSTREAM_UNREACHABLE` or `UPSTREAM_TIMEOUT` while there is no copy yet.
   */
  async versionBody(): Promise<string | undefined> {
    const copy = this.version;
    if (copy === undefined) return (this.asking ??= this.ask().finally(() => (this.asking = undefined)));
    if (this.clock.now() - copy.at > VERSION_TTL && this.asking === undefined) {
      this.version = { body: copy.body, at: this.clock.now() };
      this.asking = this.ask()
        .catch(() => undefined) // the old copy stays good
        .finally(() => (this.asking = undefined));
    }
    return copy.body;
  }

  /** Keeps an answer that a signed-in call got, for forges that show their version to nobody else. */
  keepVersion(body: string): void {
    this.version = { body, at: this.clock.now() };
  }

  private async ask(): Promise<string | undefined> {
    const deadline = this.timeouts.connect * 2;
    try {
      const answer = await this.agent.request({
        origin: this.api.origin,
        path: `${this.api.path}/api/v1/version`,
        method: 'GET',
        headers: { accept: 'application/json' },
        signal: AbortSignal.timeout(deadline),
      });
      let body = '';
      for await (const chunk of answer.body) {
        body += String(chunk);
        if (body.length > MAX_VERSION_BYTES) break;
      }
      if (answer.statusCode === 401 || answer.statusCode === 403) return undefined;
      if (answer.statusCode !== 200 || !isVersion(body))
        throw new AppError('UPSTREAM_INVALID', 'The forge did not answer as a Forgejo does. Tell your administrator.', {
          detail: `version: status ${answer.statusCode}`,
        });
      this.keepVersion(body);
      return body;
    } catch (thrown) {
      throw upstreamError(thrown);
    }
  }
}

function isVersion(body: string): boolean {
  try {
    return typeof (JSON.parse(body) as { version?: unknown }).version === 'string';
  } catch {
    return false;
  }
}

/** What went wrong between the gateway and a forge, as an {@link AppError}: `UPSTREAM_TIMEOUT` or `UPSTREAM_UNREACHABLE`. AppErrors stay as they are. */
export function upstreamError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const { code, name } = thrown as { code?: string; name?: string };
  const detail = `${name ?? 'error'} ${code ?? ''}`.trim();
  const late = ['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'ETIMEDOUT'];
  if (name === 'TimeoutError' || (code !== undefined && late.includes(code)))
    return new AppError('UPSTREAM_TIMEOUT', 'Forgejo did not answer in time. Try again later.', {
      detail,
      cause: thrown,
      retryAfter: 5,
    });
  return new AppError('UPSTREAM_UNREACHABLE', 'Forgejo cannot be reached at the moment. Try again later.', {
    detail,
    cause: thrown,
    retryAfter: 5,
  });
}
