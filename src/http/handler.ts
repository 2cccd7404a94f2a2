/**
 * The shapes of handlers. They work on Node's own request and response: express is used for its router alone, because the rest of it swaps
 * the prototypes of both objects on every request, which costs more than all the routing.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Exchange } from './exchange';

/** A request, with what the router found in its path. */
export type Incoming = IncomingMessage & { readonly params?: Readonly<Record<string, string | string[]>> };

/** A response, with the exchange that `beginExchange` began. */
export type Outgoing = ServerResponse & { exchange?: Exchange };

/** A request's path, without its query. */
export function pathOf({ url = '' }: IncomingMessage): string {
  const query = url.indexOf('?');
  return query === -1 ? url : url.slice(0, query);
}

/** A request's query: all behind the first `?`, for it may hold more of them (RFC 3986, 3.4). */
export function queryOf({ url = '' }: IncomingMessage): URLSearchParams {
  const query = url.indexOf('?');
  return new URLSearchParams(query === -1 ? '' : url.slice(query + 1));
}

export type Next = (error?: unknown) => void;

/** One step of a request. What it throws, or rejects with, goes to the failure handler. */
export type Handler = (req: Incoming, res: Outgoing, next: Next) => void | Promise<void>;

/** The last step, for what was thrown. */
export type FailureHandler = (thrown: unknown, req: Incoming, res: Outgoing, next: Next) => void;
