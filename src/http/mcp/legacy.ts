/** A POST of the revisions with sessions, once its body was read (MCP 2024-11-05 to 2025-11-25). */
import type { JsonRpcRequest } from '../../bridge/contract';
import type { SessionHandle } from '../../sessions/ports';
import type { Incoming, Outgoing } from '../handler';
import { accepted, deliver, jsonMsOf, respond } from './answers';
import { batch } from './batch';
import { checkProtocolVersion, sessionIdOf } from './headers';
import { initialize } from './initialize';
import { idOf, type ClientBody, type ClientMessage } from './message';
import { PostSink } from './post-sink';
import type { Admitted, McpOptions } from './routes';
import { checkScope } from './step-up';

/** Serves a message or a batch. Order of refusals: protocol version (400), then whatever the session says. */
export async function legacy(
  options: McpOptions,
  exchange: Admitted,
  req: Incoming,
  res: Outgoing,
  body: ClientBody,
): Promise<void> {
  if (body.kind !== 'batch') exchange.rpcId = idOf(body);
  if (body.kind === 'request' && body.message.method === 'initialize') {
    // Whatever session or revision the client had before: this starts anew.
    await initialize(options, exchange, res, body.message);
    return;
  }
  checkProtocolVersion(req);
  const handle = await options.sessions.use(exchange.auth, exchange.server, sessionIdOf(req));
  try {
    exchange.session = handle.name;
    if (body.kind === 'batch') await batch(options, exchange, res, handle, body);
    else if (body.kind === 'request') await call(options, exchange, res, handle, body.message);
    else await accept(options, res, handle, body);
  } finally {
    handle.release();
  }
}

/** Passes a call on. It runs to its end even when the client goes away: a disconnect is not a cancellation. */
async function call(
  options: McpOptions,
  exchange: Admitted,
  res: Outgoing,
  handle: SessionHandle,
  request: JsonRpcRequest,
): Promise<void> {
  await checkScope(exchange, handle, request);
  const sink = new PostSink(res, {
    streams: options.streams,
    jsonMs: jsonMsOf(options, handle),
    replay: options.kept.of(handle),
  });
  await respond(sink, exchange, request, () => handle.call(request, sink));
}

/** A notification or an answer: 202 once the child's side has taken it, and no body. */
async function accept(
  options: McpOptions,
  res: Outgoing,
  handle: SessionHandle,
  message: Exclude<ClientMessage, { kind: 'request' }>,
): Promise<void> {
  await deliver(options.acceptMs, handle, message);
  accepted(res);
}
