/** What the middlewares know of one request, handed from one to the next. */
import { randomUUID } from 'node:crypto';
import type { AuthContext } from '../auth/context';
import type { JsonRpcId } from '../bridge/contract';
import type { ServerSpec } from '../config/server';
import type { Logger } from '../telemetry/log';
import { AppError } from '../errors';
import { forwardedOf, stripPeerHeaders } from '../peers/forwarded';
import { addressOf, type TrustedProxies } from './address';
import type { Handler, Outgoing } from './handler';

/** One request on its way through the gateway. */
export interface Exchange {
  /** For the log, the client and whoever asks for help: `X-Request-Id`. */
  readonly id: string;
  /** Monotonic milliseconds. */
  readonly began: number;
  /** The client's address, seen through the trusted proxies. */
  readonly address: string;
  /** The id of the JSON-RPC request in the body, once it was read; an error answer carries it. */
  rpcId: JsonRpcId | null;
  /** What `findServer` found. */
  server?: ServerSpec;
  /** What `authenticate` found. */
  auth?: AuthContext;
  /** The session's name (never its id), for the log. */
  session?: string;
  /** The code of the error that was answered. */
  code?: string;
}

/** Told once for every finished request; metrics. */
export interface HttpObserver {
  request(method: string, status: number, seconds: number): void;
}

export interface ExchangeOptions {
  readonly log: Logger;
  readonly observer: HttpObserver;
  readonly trustedProxies: TrustedProxies;
}

/** A caller's request id is taken over when it is short and cannot break a log line or a header. */
const SANE_ID = /^[A-Za-z0-9._:/+=@-]{1,128}$/;

/** Headers whose second copy would let two readers of one request see two different requests. */
const SINGLE = new Set([
  'authorization',
  'content-length',
  'content-type',
  'host',
  'last-event-id',
  'mcp-method',
  'mcp-name',
  'mcp-protocol-version',
  'mcp-session-id',
  'origin',
]);

/** Unique without a call of the random generator for every request: chance tells processes apart, a count the requests of one. */
const PROCESS = randomUUID().slice(0, 24);
let count = 0;
function nextId(): string {
  count += 1;
  return PROCESS + count.toString(16).padStart(12, '0');
}

/** The exchange of a response that went through {@link beginExchange}. */
export function exchangeOf(res: Outgoing): Exchange {
  if (res.exchange === undefined) throw new AppError('INTERNAL', 'The request was not begun.');
  return res.exchange;
}

/**
 * The first middleware: request id, client address, one line in the log and one observation at the end.
 * Refuses a request that repeats a header which may stand only once (RFC 9110, 5.3): `INVALID_REQUEST`.
 */
export function beginExchange(options: ExchangeOptions): Handler {
  const { log, observer } = options;
  let warned = false;
  return (req, res, next) => {
    stripPeerHeaders(req);
    const from = forwardedOf(req);
    const given = req.headers['x-request-id'];
    const exchange: Exchange = {
      id: typeof given === 'string' && SANE_ID.test(given) ? given : nextId(),
      began: performance.now(),
      // The replica that the client came to has seen through the trusted proxies already.
      address: from?.clientAddress ?? addressOf(req, options.trustedProxies),
      rpcId: null,
    };
    res.exchange = exchange;
    res.setHeader('X-Request-Id', exchange.id);
    res.setHeader('X-Content-Type-Options', 'nosniff');
    res.once('close', () => {
      const seconds = (performance.now() - exchange.began) / 1000;
      const status = res.headersSent ? res.statusCode : 499; // nothing was answered: the client went away first
      observer.request(req.method ?? '', status, seconds);
      const fields = {
        request: exchange.id,
        method: req.method,
        status,
        ms: Math.round(seconds * 1e6) / 1e3,
        server: exchange.server?.name,
        user: exchange.auth?.user.id,
        session: exchange.session,
        code: exchange.code,
        ...(from === undefined ? {} : { from: from.from }),
        ...(status === 401 || status === 403 ? { audit: true } : {}),
      };
      if (status >= 500) log.warn('http.request', fields);
      else if (status >= 400) log.info('http.request', fields);
      else log.debug('http.request', fields);
    });
    if (
      !warned &&
      from === undefined &&
      options.trustedProxies === undefined &&
      req.headers['x-forwarded-for'] !== undefined
    ) {
      warned = true;
      log.warn('http.untrusted-proxy', {
        address: exchange.address,
        why: 'X-Forwarded-For is not believed: set http.trustedProxies',
      });
    }
    const twice = repeatedHeader(req.rawHeaders);
    if (twice !== undefined) {
      throw new AppError(
        'INVALID_REQUEST',
        `The header ${twice} may stand only once. Send the request with one of them.`,
      );
    }
    next();
  };
}

/** The first header of {@link SINGLE} that stands twice among node's raw headers (name, value, name, value, ...). */
function repeatedHeader(raw: readonly string[]): string | undefined {
  let seen: Set<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase();
    if (!SINGLE.has(name)) continue;
    seen ??= new Set();
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}
