/** The end of a request: what it was, for the log and the metrics. Never a URL, a query, an address or a token. */
import type { AppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import type { ProxyEvent, ProxyObserver } from '../contract';
import { type Exchange, methodOf } from './exchange';

/** Refusals are the child's doing; the rest is the forge's, the token's or ours. */
const REFUSALS: ReadonlySet<string> = new Set([
  'CAPABILITY_INVALID',
  'POLICY_REFUSED',
  'ROUTE_REFUSED',
  'REQUEST_REFUSED',
  'METHOD_NOT_ALLOWED',
  'CONTENT_TYPE',
  'BODY_TOO_LARGE',
  'CALLS_TOO_MANY',
  'OVERLOADED',
]);

export function outcomeOf(error: AppError): 'refused' | 'failed' {
  return REFUSALS.has(error.code) ? 'refused' : 'failed';
}

/** Tells observer and log. `error` is what ended the request, where something did. */
export function report(
  exchange: Exchange,
  error: AppError | undefined,
  now: number,
  sent: number,
  observer: ProxyObserver | undefined,
  logger: Logger,
): void {
  const { session, match, request, response } = exchange;
  const event: ProxyEvent = {
    session: session?.name,
    server: session?.server.name,
    userId: session?.userId,
    method: methodOf(request),
    route: match?.route.path ?? 'none',
    class: match?.route.class ?? 'unknown',
    outcome: exchange.outcome,
    code: error?.code,
    reason: error?.code === 'POLICY_REFUSED' ? error.detail : undefined,
    status: response.headersSent ? response.statusCode : 0,
    seconds: (now - exchange.began) / 1000,
    bytesIn: exchange.bytesIn,
    bytesOut: sent,
  };
  observer?.finished(event);
  const { userId: user, ...fields } = event;
  const more = { audit: true, user, grant: session?.grant, detail: error?.detail };
  logger[event.outcome === 'failed' ? 'warn' : 'info']('proxy.request', { ...fields, ...more });
}
