/** A POST of the stateless era, once its body was read (MCP 2026-07-28, 'Streamable HTTP'). */
import type { JsonRpcMessage, JsonRpcRequest } from '../../bridge/contract';
import type { ClientFacts } from '../../bridge/modern/meta';
import { AppError } from '../../errors';
import type { StatelessUse } from '../../sessions/ports';
import type { Incoming, Outgoing } from '../handler';
import { accepted, respond } from '../mcp/answers';
import type { ClientBody } from '../mcp/message';
import { PostSink } from '../mcp/post-sink';
import { goneSignal, type Admitted, type McpOptions } from '../mcp/routes';
import { checkScope } from '../mcp/step-up';
import { EventStream, PlainStream } from '../mcp/stream';
import { readEnvelope } from './envelope';
import { checkMirrored } from './mirrored';
import { atOwner } from './owner';

/** Errors of JSON-RPC that have a status of their own; every other answer is 200. */
const STATUS: Readonly<Record<number, number>> = { [-32601]: 404, [-32020]: 400, [-32021]: 400, [-32022]: 400 };
/** Children that may end before one of them is asked. */
const TRIES = 3;

/**
 * Serves one request, here or at the gateway that has the child for it. Order of refusals: what it says of itself (400, 404), then what the session says,
 * then headers of arguments.
 */
export async function modern(
  options: McpOptions,
  exchange: Admitted,
  req: Incoming,
  res: Outgoing,
  body: ClientBody,
): Promise<void> {
  if (body.kind === 'batch' || body.kind === 'response') {
    throw new AppError('INVALID_REQUEST', 'MCP 2026-07-28 has no batches and no answers of clients. Send one request.');
  }
  if (body.kind === 'notification') {
    accepted(res); // this revision has none that mean anything over HTTP
    return;
  }
  const request = body.message;
  exchange.rpcId = request.id;
  const client = readEnvelope(req, request);
  const gone = goneSignal(res);
  const here = (): Promise<void> => serve(options, exchange, req, res, { request, client, gone });
  await atOwner(options, exchange, req, res, { request, client, gone }, here);
}

/** What is to be served. */
export interface ModernRequest {
  readonly request: JsonRpcRequest;
  readonly client: ClientFacts;
  /** Aborts when the client goes away. */
  readonly gone: AbortSignal;
}

async function serve(
  options: McpOptions,
  exchange: Admitted,
  req: Incoming,
  res: Outgoing,
  { request, client, gone }: ModernRequest,
): Promise<void> {
  const { auth, server } = exchange;
  for (let tries = 1; ; tries += 1) {
    const use = await options.stateless.use(auth, server, client, () => options.authenticator.confirm(auth, server));
    let listening: { readonly over: Promise<void> } | undefined;
    let isGone = false;
    try {
      exchange.session = use.handle.name;
      await checkScope(exchange, use.handle, request);
      await checkMirrored(req, use.handle, request);
      if (request.method === 'subscriptions/listen') listening = await listen(options, res, use, request, gone);
      else await call(options, exchange, res, use, request, gone);
    } catch (thrown) {
      // The child has ended in the moment before: it has heard nothing, so another one is asked. The client knows of no sessions.
      isGone = hasEnded(thrown);
      if (!isGone || res.headersSent) throw thrown;
      if (tries === TRIES) throw childEnded(thrown);
      continue;
    } finally {
      use.release(isGone); // a stream that only listens does not keep its child
    }
    await listening?.over;
    return;
  }
}

async function call(
  options: McpOptions,
  exchange: Admitted,
  res: Outgoing,
  { handle, conversation }: StatelessUse,
  request: JsonRpcRequest,
  gone: AbortSignal,
): Promise<void> {
  const sink = new PostSink(res, { streams: options.streams, jsonMs: options.jsonMs, status: statusOf });
  await respond(sink, exchange, request, async () => {
    try {
      await conversation.serve(handle, request, sink, gone);
    } catch (thrown) {
      throw sink.begun && hasEnded(thrown) ? childEnded(thrown) : thrown; // before that another child is asked
    }
  });
}

/** Resolves once the subscription was acknowledged. */
async function listen(
  options: McpOptions,
  res: Outgoing,
  { handle, conversation, subscriptions }: StatelessUse,
  request: JsonRpcRequest,
  gone: AbortSignal,
): Promise<{ readonly over: Promise<void> }> {
  const stream = new PlainStream(new EventStream(res, options.streams));
  const { ended } = await subscriptions.serve(conversation, handle, request, stream, gone);
  return { over: ended.then(() => stream.end()) };
}

function statusOf(message: JsonRpcMessage): number {
  return 'error' in message ? (STATUS[message.error.code] ?? 200) : 200;
}

/** Whether a child was gone before it was sent anything. */
function hasEnded(thrown: unknown): boolean {
  return thrown instanceof AppError && (thrown.code === 'SESSION_ENDED' || thrown.code === 'LINK_CLOSED');
}

function childEnded(cause: unknown): AppError {
  return new AppError('BACKEND_ENDED', 'The server of this endpoint ended before it could be asked. Try again.', {
    cause,
  });
}
