/** What the three methods of an MCP endpoint share. */
import type { AuthContext } from '../../auth/context';
import type { Authenticator } from '../../auth/authenticator';
import type { ServerSpec } from '../../config/server';
import { AppError } from '../../errors';
import type { Sessions, StatelessSessions } from '../../sessions/ports';
import { exchangeOf, type Exchange } from '../exchange';
import type { Handler, Incoming, Outgoing } from '../handler';
import type { BodyReader } from './body';
import type { Elsewhere } from './elsewhere';
import type { Gateways } from './gateways';
import type { KeptStreams } from './session-streams';
import type { SseConnections } from './sse-connections';
import type { Streams } from './stream';

/** Finds a server by the name in the path; without a name, the default one. */
export type FindServer = (name: string | undefined) => ServerSpec | undefined;

export interface McpOptions {
  readonly authenticator: Pick<Authenticator, 'confirm'>;
  readonly sessions: Sessions;
  /** The way to sessions that another gateway has; absent where there is none. */
  readonly elsewhere?: Elsewhere;
  /** The gateways among which other requests are shared out; absent where this is the only one. */
  readonly gateways?: Gateways;
  /** The same sessions for clients that know of none. */
  readonly stateless: StatelessSessions;
  readonly bodies: BodyReader;
  readonly streams: Streams;
  /** What clients that lost a connection may come back for. */
  readonly kept: KeptStreams;
  /** Connections of the transport of 2024-11-05. */
  readonly sse: SseConnections;
  /** Milliseconds until a call without a word from the child is answered as an event stream. */
  readonly jsonMs: number;
  /** The same where the stream can say its name at once (from 2025-11-25 on), so that the call can be resumed. */
  readonly primeMs: number;
  /** Milliseconds for a notification or an answer to be taken by the child. */
  readonly acceptMs: number;
}

/** An exchange that has passed {@link findServer} and {@link authenticate}. */
export type Admitted = Exchange & { readonly server: ServerSpec; readonly auth: AuthContext };

/** `/mcp` is the default server, `/servers/<name>/mcp` any. `SERVER_UNKNOWN` for a name that is not configured. */
export function findServer(find: FindServer): Handler {
  return (req, res, next) => {
    const name = req.params?.name;
    const server = Array.isArray(name) ? undefined : find(name);
    if (server === undefined) {
      throw new AppError(
        'SERVER_UNKNOWN',
        'There is no MCP server at this path. Check the URL with your administrator.',
      );
    }
    exchangeOf(res).server = server;
    next();
  };
}

/** Who is asking. Every request is checked: a session id is never authentication (MCP 'Security Best Practices', session hijacking). */
export function authenticate(authenticator: Authenticator): Handler {
  return async (req, res, next) => {
    const exchange = exchangeOf(res);
    if (exchange.server === undefined) throw new AppError('INTERNAL', 'The route has no server.');
    exchange.auth = await authenticator.authenticate(
      { authorization: req.headers.authorization, address: exchange.address, connection: req.socket },
      exchange.server,
    );
    next();
  };
}

/**
 * The exchange with server and identity. An exchange without an identity goes no further, whatever the wiring: `AUTH_CONTEXT_ABSENT`.
 */
export function admittedOf(res: Outgoing): Admitted {
  const exchange = exchangeOf(res);
  if (exchange.server === undefined || exchange.auth === undefined) {
    throw new AppError('AUTH_CONTEXT_ABSENT', 'The request was not authenticated. Tell your administrator.');
  }
  return exchange as Admitted;
}

/** Of responses that were asked for theirs: a request may be tried more than once. */
const goneSignals = new WeakMap<Outgoing, AbortSignal>();

/** Aborts when the client goes away before its answer was written whole. */
export function goneSignal(res: Outgoing): AbortSignal {
  const known = goneSignals.get(res);
  if (known !== undefined) return known;
  const controller = new AbortController();
  goneSignals.set(res, controller.signal);
  res.once('close', () => {
    if (!res.writableFinished) controller.abort(new AppError('STREAM_STALLED', 'The client went away.'));
  });
  return controller.signal;
}

/** A method that an MCP endpoint does not have. RFC 9110, 15.5.6 wants `Allow`. */
export function methodNotAllowed(_req: Incoming, res: Outgoing): never {
  res.setHeader('Allow', 'GET, POST, DELETE, OPTIONS');
  throw new AppError('METHOD_NOT_ALLOWED', 'Method not allowed. An MCP endpoint has POST, GET and DELETE.');
}

/** A method that an endpoint of the transport of 2024-11-05 does not have. */
export function sseMethodNotAllowed(_req: Incoming, res: Outgoing): never {
  res.setHeader('Allow', 'GET, POST, OPTIONS');
  throw new AppError('METHOD_NOT_ALLOWED', 'Method not allowed. This endpoint has GET, and POST for its connections.');
}
