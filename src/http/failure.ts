/** How every error looks on the wire: the table in `errors.ts` decides, this file only writes. */
import type { ServerResponse } from 'node:http';
import type { Place } from '../auth/authenticator';
import type { JsonRpcFailure, JsonRpcId } from '../bridge/contract';
import { AppError, toAppError } from '../errors';
import { markMisdirected } from '../peers/forwarded';
import type { Logger } from '../telemetry/log';
import { exchangeOf } from './exchange';
import { pathOf, type FailureHandler } from './handler';

/** Statuses that the administrator may choose, because real clients differ (see docs/configuration.md). */
export interface SessionStatuses {
  /** For an id that was never minted here. */
  readonly unknownStatus: number;
  /** For a session that has ended. */
  readonly endedStatus: number;
}

export interface FailureOptions {
  readonly log: Logger;
  readonly statuses: SessionStatuses;
  /** The `WWW-Authenticate` header for an error of authentication at a place, where one is due (RFC 6750, 3). */
  challenge(error: AppError, place: Place): string | undefined;
}

/** The JSON-RPC body of an error: number, public message, and our stable code for whoever reads logs. */
export function failureBody(error: AppError, id: JsonRpcId | null, requestId: string): JsonRpcFailure {
  return {
    jsonrpc: '2.0',
    id,
    error: { code: error.rpc, message: error.message, data: { ...error.data, code: error.code, requestId } },
  };
}

/** The status on the wire: the table's, but for the two that are settings. */
export function statusOf(error: AppError, statuses: SessionStatuses): number {
  if (error.code === 'SESSION_UNKNOWN') return statuses.unknownStatus;
  if (error.code === 'SESSION_ENDED') return statuses.endedStatus;
  return error.status;
}

/**
 * The last middleware: answers what any step threw. An error that is not one of ours is logged with its stack and answered as
 * `INTERNAL`, which tells nothing. A response that has begun can only be cut.
 */
export function answerFailures(options: FailureOptions): FailureHandler {
  return (thrown, req, res, _next) => {
    const exchange = exchangeOf(res);
    const error = fromHttp(thrown) ?? toAppError(thrown);
    exchange.code = error.code;
    const status = statusOf(error, options.statuses);
    if (status >= 500 || error.detail !== undefined) {
      const stack = error.code === 'INTERNAL' && thrown instanceof Error ? thrown.stack : undefined;
      const fields = { request: exchange.id, code: error.code, status, detail: error.detail, stack };
      if (status >= 500) options.log.warn('http.failure', fields);
      else options.log.info('http.failure', fields);
    }
    if (res.headersSent || res.destroyed) {
      res.destroy();
      return;
    }
    if (error.code === 'MISDIRECTED') markMisdirected(res);
    const challenge = options.challenge(error, {
      ...(exchange.server === undefined ? {} : { server: exchange.server.name }),
      path: pathOf(req),
    });
    if (challenge !== undefined) res.setHeader('WWW-Authenticate', challenge);
    const retryAfter = error.retryAfter ?? (status === 503 ? 1 : undefined);
    if (retryAfter !== undefined) res.setHeader('Retry-After', String(Math.max(1, Math.ceil(retryAfter))));
    sendJson(res, status, JSON.stringify(failureBody(error, exchange.rpcId, exchange.id)));
  };
}

/** Writes a whole JSON answer. Answers of the gateway are personal and of the moment: no cache may keep them. */
export function sendJson(res: ServerResponse, status: number, body: string): void {
  res.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
  });
  res.end(body);
}

/** What the router itself throws (a path that cannot be decoded) names a client's fault by a status. */
function fromHttp(thrown: unknown): AppError | undefined {
  if (thrown instanceof AppError || !(thrown instanceof Error)) return undefined;
  const status = (thrown as { status?: unknown }).status;
  if (typeof status !== 'number' || status < 400 || status > 499) return undefined;
  return new AppError('INVALID_REQUEST', 'The request cannot be understood. Check its path.', { cause: thrown });
}
