/** POST: one JSON-RPC message from the client (MCP 2025-11-25, 'Sending Messages to the Server'). */
import type { JsonRpcRequest } from '../../bridge/contract';
import { AppError, toAppError } from '../../errors';
import type { SessionHandle } from '../../sessions/ports';
import { failureBody } from '../failure';
import type { Handler, Incoming, Outgoing } from '../handler';
import { InitializeSink } from './initialize';
import { checkContentType, checkPostAccept, checkProtocolVersion, sessionIdOf } from './headers';
import { idOf, parseMessage, type ClientMessage } from './message';
import { admittedOf, goneSignal, type Admitted, type McpOptions } from './routes';
import { checkScope } from './step-up';
import { PostSink } from './stream';

/** Serves POST. Order of refusals: headers (406, 415), body (413, 400), protocol version (400), then whatever the session says. */
export function post(options: McpOptions): Handler {
  return async (req, res) => {
    const exchange = admittedOf(res);
    checkPostAccept(req);
    checkContentType(req);
    const { message, release } = await readMessage(options, req, res);
    try {
      exchange.rpcId = idOf(message);
      if (message.kind === 'request' && message.message.method === 'initialize') {
        // Whatever session or revision the client had before: this starts anew.
        await initialize(options, exchange, res, message.message);
        return;
      }
      checkProtocolVersion(req);
      const handle = await options.sessions.use(exchange.auth, exchange.server, sessionIdOf(req));
      try {
        exchange.session = handle.name;
        if (message.kind === 'request') {
          await checkScope(exchange, handle, message.message);
          await call(options, exchange, res, handle, message.message, {});
        } else {
          await accept(options, res, handle, message);
        }
      } finally {
        handle.release();
      }
    } finally {
      release();
    }
  };
}

/** Reads and parses the body. The text is let go here: a long call holds the message only. */
async function readMessage(
  options: McpOptions,
  req: Incoming,
  res: Outgoing,
): Promise<{ message: ClientMessage; release: () => void }> {
  const { text, bytes, release } = await options.bodies.read(req, res);
  try {
    return { message: parseMessage(text, bytes), release };
  } catch (thrown) {
    release();
    throw thrown;
  }
}

/** Opens a session, which outlasts this request: whether the login still stands is asked anew. A client that goes away meanwhile gives it up. */
async function initialize(
  options: McpOptions,
  exchange: Admitted,
  res: Outgoing,
  request: JsonRpcRequest,
): Promise<void> {
  const gone = goneSignal(res);
  await options.authenticator.confirm(exchange.auth, exchange.server);
  const handle = await options.sessions.open(exchange.auth, exchange.server, gone);
  try {
    exchange.session = handle.name;
    await call(options, exchange, res, handle, request, { 'Mcp-Session-Id': handle.id });
  } finally {
    handle.release();
  }
}

/**
 * Passes a call on. It runs to its end even when the client goes away: a disconnect is not a cancellation. What fails after the headers
 * went out is told as the JSON-RPC answer.
 */
async function call(
  options: McpOptions,
  exchange: Admitted,
  res: Outgoing,
  handle: SessionHandle,
  request: JsonRpcRequest,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const sink = new PostSink(res, options.streams, options.jsonMs, headers);
  const first = request.method === 'initialize' ? new InitializeSink(sink) : undefined;
  try {
    await (first === undefined ? handle.call(request, sink) : handle.call(request, first).catch(atStart));
    if (first?.refusal !== undefined) throw first.refusal;
    sink.finish();
  } catch (thrown) {
    sink.abandon();
    if (!sink.begun) throw thrown;
    const error = toAppError(thrown);
    exchange.code = error.code;
    const failure = failureBody(error, request.id, exchange.id);
    await sink.send(failure, JSON.stringify(failure))?.catch(() => undefined); // then the client is gone as well
    sink.finish();
  }
}

/** A child that was gone before `initialize` could be sent: no session has ended, a start has failed. */
function atStart(thrown: unknown): never {
  if (!(thrown instanceof AppError) || thrown.code !== 'SESSION_ENDED') throw thrown;
  throw new AppError(
    'BACKEND_CRASHED',
    'The server of this session ended by itself at its start. Tell your administrator.',
    {
      cause: thrown,
    },
  );
}

/** A notification or an answer: 202 once the child's side has taken it, and no body. */
async function accept(
  options: McpOptions,
  res: Outgoing,
  handle: SessionHandle,
  message: Exclude<ClientMessage, { kind: 'request' }>,
): Promise<void> {
  const taken = message.kind === 'notification' ? handle.notify(message.message) : handle.answer(message.message);
  await within(options.acceptMs, taken);
  res.writeHead(202, { 'Content-Length': 0 });
  res.end();
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new AppError('CALL_DEADLINE', 'The server does not take messages at the moment. Try again later.')),
      ms,
    ).unref();
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined); // when it fails after the deadline, the client already knows
  }
}
