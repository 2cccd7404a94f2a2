/** The request to the forge, built anew: nothing of the child's request goes upstream but what is named here. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { ForgejoTokens } from '../../auth/context';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import { type Forge, type UpstreamTimeouts, upstreamError } from '../forge';
import type { ProxySession } from '../contract';
import type { Target } from '../routes/target';
import type { Body } from './body';
import type { Exchange, Method } from './exchange';
import { insideForge } from './links';

/** What of the child's headers goes upstream. */
const PASSED = [
  'accept',
  'accept-language',
  'range',
  'if-range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
] as const;
const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** How the agent calls a connection that the other side closed while a request was on its way, as a restarted forge does. */
const CUT = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);

/** The forge's answer; its body must be read or destroyed. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Readable;
}

export interface UpstreamContext {
  readonly agent: Dispatcher;
  readonly clock: Clock;
  readonly timeouts: UpstreamTimeouts;
  readonly tokens: ForgejoTokens;
}

/** Gives up when nothing has moved for a while; `moved` puts that off. */
export class Deadline {
  private last: number;
  private timer: { cancel(): void };

  constructor(
    private readonly clock: Clock,
    private readonly ms: number,
    private readonly late: () => void,
  ) {
    this.last = clock.now();
    this.timer = clock.after(ms, () => this.look());
  }

  readonly moved = (): void => {
    this.last = this.clock.now();
  };

  stop(): void {
    this.timer.cancel();
  }

  private look(): void {
    const left = this.last + this.ms - this.clock.now();
    if (left <= 0) this.late();
    else this.timer = this.clock.after(left, () => this.look());
  }
}

/** What node and the agent call it when the child went away. */
const GONE = new Set(['ABORT_ERR', 'UND_ERR_ABORTED', 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET']);

/** The child went away, and that is why `thrown` was thrown. */
export function isGone(exchange: Exchange, thrown: unknown): boolean {
  const { aborted, reason } = exchange.abort.signal as { aborted: boolean; reason: unknown };
  const { code, name } = thrown as { code?: string; name?: string };
  return aborted && !(reason instanceof AppError) && (name === 'AbortError' || GONE.has(code ?? ''));
}

/** What `thrown` means: the reason of our own abort (a deadline, the gateway's stop), or what went wrong at the forge. */
export function failure(exchange: Exchange, thrown: unknown): unknown {
  const { aborted, reason } = exchange.abort.signal as { aborted: boolean; reason: unknown };
  if (aborted && reason instanceof AppError) return reason;
  return isGone(exchange, thrown) ? thrown : upstreamError(thrown);
}

async function send(
  context: UpstreamContext,
  exchange: Exchange,
  origin: string,
  path: string,
  headers: Record<string, string>,
  stream?: Readable,
): Promise<Answer> {
  const method = exchange.request.method as Method;
  const { signal } = exchange.abort;
  if (stream?.errored) throw failure(exchange, stream.errored); // while the token was asked for
  for (let again = method === 'GET' || method === 'HEAD'; ; again = false) {
    try {
      const body = stream === undefined ? {} : { body: stream };
      const answer = await context.agent.request({ origin, path, method, headers, signal, ...body });
      answer.body.on('error', () => undefined); // whoever reads it sees the error; it may come before anybody does
      return { status: answer.statusCode, headers: answer.headers, body: answer.body };
    } catch (thrown) {
      // A kept connection may have been closed just then; what only reads is asked once more (RFC 9110, 9.2.2).
      if (again && !signal.aborted && CUT.has((thrown as { code?: string }).code ?? '')) continue;
      throw failure(exchange, thrown);
    }
  }
}

function passedHeaders(exchange: Exchange): Record<string, string> {
  const headers: Record<string, string> = { 'user-agent': 'forgejo-mcp-operator', 'accept-encoding': 'identity' };
  for (const name of PASSED) {
    const value = exchange.request.headers[name];
    if (typeof value === 'string') headers[name] = value;
  }
  return headers;
}

const discard = (answer: Answer): void => {
  answer.body.destroy();
};

const pathOf = (target: Target): string =>
  target.query === undefined ? target.path : `${target.path}?${target.query}`;

/** Fetches from object storage: without Authorization, only from configured origins, only what the forge itself redirected to. */
async function fetchStorage(context: UpstreamContext, exchange: Exchange, url: string): Promise<Answer> {
  const { origin } = new URL(url);
  const rest = url.slice(url.indexOf('/', url.indexOf('//') + 2));
  const answer = await send(context, exchange, origin, rest.split('#')[0] ?? '/', passedHeaders(exchange));
  if (!REDIRECTS.has(answer.status)) return answer;
  discard(answer);
  throw new AppError(
    'UPSTREAM_INVALID',
    'The object storage redirected elsewhere, which the credential proxy does not follow.',
  );
}

/** True where `url` is an absolute URL of one of the configured storage origins. */
function inStorage(forge: Forge, url: string): boolean {
  return /^https?:\/\/[^/]+\//i.test(url) && URL.canParse(url) && forge.storageOrigins.has(new URL(url).origin);
}

/**
 * Sends the request and follows the redirects of GET and HEAD: to the forge itself only where `permit` lets the new path through (it is matched and
 * decided again), to configured object storage without Authorization. A redirect of any other method is given back.
 *
 * A 401 makes the token be asked for again; a request without a body is then sent once more, where there is another token.
 * Throws `UPSTREAM_*`, `FORGE_TOKEN_UNAVAILABLE`, `AUTH_INVALID`, `POLICY_REFUSED` (a redirect out of the policy) or what `permit` throws.
 */
export async function callForge(
  context: UpstreamContext,
  exchange: Exchange,
  forge: Forge,
  session: ProxySession,
  target: Target,
  body: Body,
  permit: (location: string) => Target,
): Promise<Answer> {
  const { signal } = exchange.abort;
  const follow = exchange.request.method === 'GET' || exchange.request.method === 'HEAD';
  let token = await context.tokens.token(session.grant, session.access, signal);
  let path = pathOf(target);
  let renewed = body.stream !== undefined; // a body cannot be sent twice
  for (let redirects = 0; ;) {
    const headers = { ...passedHeaders(exchange), ...body.headers, authorization: `Bearer ${token}` };
    const answer = await send(context, exchange, forge.api.origin, forge.api.path + path, headers, body.stream);
    if (answer.status === 401) {
      discard(answer);
      context.tokens.refused(session.grant);
      const fresh = renewed ? token : await context.tokens.token(session.grant, session.access, signal);
      renewed = true;
      if (fresh === token)
        throw new AppError(
          'AUTH_INVALID',
          "Forgejo no longer accepts this user's token. Ask the user to connect again.",
        );
      token = fresh;
      continue;
    }
    const location = answer.headers.location;
    if (!follow || !REDIRECTS.has(answer.status) || typeof location !== 'string') return answer;
    discard(answer);
    if (++redirects > MAX_REDIRECTS) throw new AppError('UPSTREAM_INVALID', 'Forgejo redirects in a circle.');
    if (inStorage(forge, location)) return fetchStorage(context, exchange, location);
    const inside = insideForge(forge, location);
    if (inside === undefined)
      throw new AppError(
        'POLICY_REFUSED',
        'Forgejo redirected to another host, which the credential proxy does not follow. An administrator can name object storage in the server\'s "storageOrigins".',
        { detail: 'redirect' },
      );
    path = pathOf(permit(inside));
  }
}
