/** One request at the proxy and what its steps have found out so far; for the audit at its end. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ProxyEvent, ProxySessionElsewhere } from '../contract';
import type { Match } from '../routes/match';

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborted when the child goes away, when the forge is too late (with an AppError as reason) and when the proxy closes. */
  readonly abort: AbortController;
  /** Monotonic milliseconds. */
  readonly began: number;
  session: Pick<ProxySessionElsewhere, 'name' | 'server' | 'grant' | 'userId'> | undefined;
  match: Match | undefined;
  outcome: ProxyEvent['outcome'];
  bytesIn: number;
  /** The child waits for `100 Continue` before it sends its body (RFC 9110, 10.1.1), and has not been told yet. */
  expectsContinue: boolean;
}

/** The methods that the proxy knows. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;
export type Method = (typeof METHODS)[number];

export function methodOf(request: IncomingMessage): Method | 'OTHER' {
  return METHODS.find((method) => method === request.method) ?? 'OTHER';
}
