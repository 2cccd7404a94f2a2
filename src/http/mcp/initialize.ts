/** `initialize`: the first request of a session, which opens it (MCP 2025-11-25, 'Lifecycle'). */
import type { JsonRpcMessage, JsonRpcRequest, MessageSink } from '../../bridge/contract';
import { LATEST_SESSION_VERSION } from '../../bridge/versions';
import { AppError, ERRORS, type ErrorCode } from '../../errors';
import type { SessionHandle } from '../../sessions/ports';
import type { Outgoing } from '../handler';
import { respond } from './answers';
import { isServed } from './headers';
import { PostSink } from './post-sink';
import { goneSignal, type Admitted, type McpOptions } from './routes';

/** How a call that was lost is called when it was the first: the child never came up. */
const AT_START: Partial<Record<ErrorCode, ErrorCode>> = {
  BACKEND_ENDED: 'BACKEND_CRASHED',
  LINK_CLOSED: 'BACKEND_CRASHED',
  CALL_DEADLINE: 'BACKEND_START_DEADLINE',
  INTERNAL: 'BACKEND_CRASHED', // what the child said is no answer
};
/** Seconds until a start that took too long is worth another try. */
const RETRY_AFTER = 10;

/**
 * Opens a session, which outlasts this request: whether the login still stands is asked anew. A client that goes away meanwhile gives it up, so this
 * stream cannot be resumed.
 */
export async function initialize(
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
    const { streams, jsonMs } = options;
    const sink = new PostSink(res, { streams, jsonMs, headers: { 'Mcp-Session-Id': handle.id } });
    await respond(sink, exchange, request, () => begin(handle, request, sink));
  } finally {
    handle.release();
  }
}

/**
 * Makes the call of `initialize` on a new session.
 * @throws AppError when there is no session after all and nothing went out yet.
 */
export async function begin(
  handle: Pick<SessionHandle, 'call'>,
  request: JsonRpcRequest,
  sink: MessageSink & { readonly begun: boolean },
): Promise<void> {
  const first = new InitializeSink(sink);
  await handle.call(negotiable(request), first).catch(atStart);
  if (first.refusal !== undefined) throw first.refusal;
}

/**
 * A client that asks for a revision without sessions, or one that nobody knows, is offered the latest that has them (MCP 'Version Negotiation'), also
 * towards the child: one that speaks both eras would else answer with a revision that this session is not served in.
 */
function negotiable(request: JsonRpcRequest): JsonRpcRequest {
  const asked = request.params?.protocolVersion;
  if (typeof asked !== 'string' || isServed(asked)) return request;
  return { ...request, params: { ...request.params, protocolVersion: LATEST_SESSION_VERSION } };
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

/**
 * The answer, held back until it is known whether there is a session at all. A child that dies or stays silent before its first answer is a failed start, and a failed start has an HTTP status (502 or 503), because
 * clients take 200 for a session. An error that the child itself answered is its answer, and passes.
 */
class InitializeSink implements MessageSink {
  /** Set when our side, not the child, answered with an error. */
  refusal: AppError | undefined;
  readonly #sink: MessageSink & { readonly begun: boolean };

  constructor(sink: MessageSink & { readonly begun: boolean }) {
    this.#sink = sink;
  }

  /** See {@link MessageSink.send}. */
  send(message: JsonRpcMessage, json: string, ours?: ErrorCode): Promise<void> | undefined {
    if (ours === undefined || this.#sink.begun) return this.#sink.send(message, json);
    const { message: text } = (message as { error: { message: string } }).error;
    const meant = AT_START[ours] ?? ours;
    this.refusal = new AppError(meant, text, ERRORS[meant].status === 503 ? { retryAfter: RETRY_AFTER } : {});
    return undefined;
  }
}
