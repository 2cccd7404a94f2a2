/**
 * The transport of 2024-11-05, for clients that speak only it (MCP 2024-11-05, 'HTTP with SSE'): a GET opens a stream, whose first event names the URL
 * for POSTs; everything for the client comes on the stream. The session is opened by an `initialize` and ends with the stream, which cannot be resumed.
 *
 * A POST is answered 202 as soon as its message is understood. What goes wrong with a request after that is told as its JSON-RPC answer on the stream:
 * some clients never send again after a POST with another status. 401 and 403 stay statuses, because clients log in and step up on them.
 *
 * Where several gateways serve, the URL names the one that has the stream, and the others send its POSTs there.
 */
import type { JsonRpcRequest } from '../../bridge/contract';
import { AppError } from '../../errors';
import { forwardedOf } from '../../peers/forwarded';
import type { SessionHandle } from '../../sessions/ports';
import { pathOf, queryOf, type Handler, type Incoming, type Outgoing } from '../handler';
import { accepted, answerFailure, deliver } from './answers';
import { checkBatch } from './batch';
import type { Gateways } from './gateways';
import { checkContentType, checkGetAccept, checkProtocolVersion } from './headers';
import { begin } from './initialize';
import { idOf, parseBody, type ClientBody } from './message';
import { admittedOf, goneSignal, type Admitted, type McpOptions } from './routes';
import { ended, type SseConnection } from './sse-connections';
import { checkScope } from './step-up';
import { EventStream, PlainStream } from './stream';

/** The parts of a POST's query that name its connection, and the gateway that has it. */
const CONNECTION = 'connection';
const GATEWAY = 'gateway';

/** Whether a POST at an MCP endpoint's path is one of this transport: it names a connection. */
export function isSsePost(req: Incoming): boolean {
  return req.url?.includes(`?${CONNECTION}=`) === true;
}

/**
 * Whether a GET at an MCP endpoint's path is one of this transport. Its clients, and newer ones that fall back to it, name neither session nor
 * revision, which had no headers yet, and accept a stream only. No client of a later revision asks so: all sessions here have ids.
 */
export function isSseGet({ headers }: Incoming): boolean {
  return (
    headers.accept === 'text/event-stream' &&
    headers['mcp-session-id'] === undefined &&
    headers['mcp-protocol-version'] === undefined &&
    headers['last-event-id'] === undefined
  );
}

/** Serves GET: the stream, until the client goes away, its session ends, or none is opened in time. */
export function sseGet(options: McpOptions): Handler {
  return (req, res) => {
    const exchange = admittedOf(res);
    checkGetAccept(req);
    const out = new EventStream(res, options.streams);
    const closed = new AbortController();
    const { sse } = options;
    const connection = sse.add(exchange, new PlainStream(out), closed.signal);
    // Again and again, because an attempt that fails may be repeated.
    const late = setInterval(() => {
      if (connection.session === 'none') out.end();
    }, sse.limits.initializeMs).unref();
    out.onClose(() => {
      clearInterval(late);
      closed.abort(new AppError('STREAM_STALLED', 'The client went away.'));
      endSession(options, connection);
    });
    const at = options.gateways === undefined ? '' : `&${GATEWAY}=${options.gateways.self}`;
    const endpoint = `${pathOf(req)}?${CONNECTION}=${connection.id}${at}`;
    void out.write(`event: endpoint\ndata: ${endpoint}\n\n`)?.catch(() => undefined);
  };
}

/** Serves POST: one message, or a batch, for the connection that the query names. */
export function ssePost(options: McpOptions): Handler {
  return async (req, res) => {
    const exchange = admittedOf(res);
    checkContentType(req);
    const query = queryOf(req);
    const { gateways } = options;
    const at = query.get(GATEWAY) ?? undefined;
    if (gateways !== undefined && at !== undefined && at !== gateways.self && forwardedOf(req) === undefined) {
      await sendOn(gateways, at, exchange, req, res);
      return;
    }
    const connection = options.sse.find(query.get(CONNECTION) ?? '', exchange.auth, exchange.server);
    const { text, bytes, release } = await options.bodies.read(req, res);
    let calls: Promise<unknown>;
    try {
      const body = parseBody(text, bytes);
      if (body.kind !== 'batch') exchange.rpcId = idOf(body);
      if (body.kind === 'request' && body.message.method === 'initialize') {
        calls = initialize(options, exchange, connection, body.message);
      } else {
        checkProtocolVersion(req);
        ({ calls } = await use(options, exchange, connection, body));
      }
    } catch (thrown) {
      release();
      throw thrown;
    }
    accepted(res);
    await calls.finally(release);
  };
}

/**
 * Sends a POST to the gateway that has its connection. A gateway that is gone has none any more.
 * @throws AppError `SESSION_ENDED`, `OVERLOADED` where it lives and cannot be reached, and as {@link Gateways.send}.
 */
async function sendOn(
  gateways: Gateways,
  name: string,
  exchange: Admitted,
  req: Incoming,
  res: Outgoing,
): Promise<void> {
  const to = { name, channel: 'sse', body: 'stream', gone: goneSignal(res) } as const;
  if ((await gateways.send(req, res, exchange, to)) === 'done') return;
  if (!(await gateways.isAlive(name))) throw ended();
  throw new AppError('OVERLOADED', 'The gateway that has this connection cannot be reached at the moment. Try again.', {
    retryAfter: 1,
  });
}

/** Opens the session. Resolves when `initialize` was answered; never rejects. */
function initialize(
  options: McpOptions,
  exchange: Admitted,
  connection: SseConnection,
  request: JsonRpcRequest,
): Promise<void> {
  if (connection.session !== 'none') {
    throw new AppError(
      'INVALID_REQUEST',
      'This connection has a session already. Open another connection for another.',
    );
  }
  connection.session = 'opening';
  return open(options, exchange, connection, request).catch((thrown: unknown) => {
    connection.session = 'none';
    return answerFailure(connection.sink, exchange, request, thrown);
  });
}

async function open(
  { authenticator, sessions }: McpOptions,
  { auth, server }: Admitted,
  connection: SseConnection,
  request: JsonRpcRequest,
): Promise<void> {
  await authenticator.confirm(auth, server);
  const handle = await sessions.open(auth, server, connection.gone, { outlives: 'child' });
  try {
    connection.opened(handle.name);
    connection.auth = auth;
    const { sink } = connection;
    const listening = await sessions.listen(auth, server, handle.id, sink);
    void listening.ended.then(() => {
      if (connection.session !== 'none') sink.end();
    });
    await begin(handle, request, {
      begun: false,
      send(message, json) {
        // Before the client can know of it and go on.
        if ('result' in message) connection.session = { id: handle.id };
        return sink.send(message, json);
      },
    });
    if (connection.session === 'opening') connection.session = 'none'; // the child answered with an error
  } finally {
    handle.release();
  }
}

/**
 * Passes a message or a batch on. Resolves once it may be answered 202, with a promise for the end of its calls.
 * @throws AppError as the registry, the checks of the message, and the child's side when it takes no notification.
 */
async function use(
  options: McpOptions,
  exchange: Admitted,
  connection: SseConnection,
  body: ClientBody,
): Promise<{ readonly calls: Promise<unknown> }> {
  if (typeof connection.session === 'string') throw ended();
  const handle = await options.sessions.use(exchange.auth, exchange.server, connection.session.id);
  const calls: Promise<void>[] = [];
  try {
    exchange.session = handle.name;
    connection.auth = exchange.auth;
    const messages = body.kind === 'batch' ? body.messages : [body];
    if (body.kind === 'batch') await checkBatch(exchange, handle, messages);
    else if (body.kind === 'request') await checkScope(exchange, handle, body.message);
    for (const entry of messages) {
      if (entry.kind === 'request') calls.push(call(exchange, connection, handle, entry.message));
      // Where requests of a batch are on their way already, they are answered whatever becomes of the rest.
      else await deliver(options.acceptMs, handle, entry).catch(calls.length > 0 ? () => undefined : rethrow);
    }
  } finally {
    void Promise.all(calls).then(() => handle.release());
  }
  return { calls: Promise.all(calls) };
}

/** Never rejects: what fails is told on the stream. */
function call(
  exchange: Admitted,
  connection: SseConnection,
  handle: SessionHandle,
  request: JsonRpcRequest,
): Promise<void> {
  return handle
    .call(request, connection.sink)
    .catch((thrown: unknown) => answerFailure(connection.sink, exchange, request, thrown));
}

/** The stream is closed, and the session with it. One that was still being opened is given up by its signal. */
function endSession({ sessions }: McpOptions, { auth, server, session }: SseConnection): void {
  if (typeof session === 'string') return;
  sessions.end(auth, server, session.id).catch(() => undefined); // ended already, or, where its login has, soon by its own rules
}

function rethrow(thrown: unknown): never {
  throw thrown;
}
