/** Several messages in one POST (MCP 2025-03-26, 'Batching'; JSON-RPC 2.0, 6). Later revisions have no batches. */
import { AppError } from '../../errors';
import type { SessionHandle } from '../../sessions/ports';
import type { Outgoing } from '../handler';
import { accepted, answerFailure, deliver, jsonMsOf } from './answers';
import type { ClientBatch, ClientMessage } from './message';
import { PostSink } from './post-sink';
import type { Admitted, McpOptions } from './routes';
import { checkScope } from './step-up';

/** The last revision with batches. */
const LAST_WITH_BATCHES = '2025-03-26';

/**
 * Serves a batch: 202 where it asks for nothing, else one answer to every request, as a JSON array when they come soon and as events otherwise. What
 * would refuse a single message refuses the whole batch before anything of it was passed on; what fails after that is that entry's own answer.
 * Throws as {@link checkBatch}.
 */
export async function batch(
  options: McpOptions,
  exchange: Admitted,
  res: Outgoing,
  handle: SessionHandle,
  { messages }: ClientBatch,
): Promise<void> {
  const requests = await checkBatch(exchange, handle, messages);
  if (requests === 0) {
    for (const entry of messages) if (entry.kind !== 'request') await deliver(options.acceptMs, handle, entry);
    accepted(res);
    return;
  }
  const sink = new PostSink(res, {
    streams: options.streams,
    jsonMs: jsonMsOf(options, handle),
    replay: options.kept.of(handle),
    batch: requests,
  });
  const answered: Promise<void>[] = [];
  for (const entry of messages) {
    if (entry.kind === 'request') {
      const { message } = entry;
      answered.push(handle.call(message, sink).catch((thrown) => answerFailure(sink, exchange, message, thrown)));
    } else {
      // The requests of the batch are on their way already, and are answered whatever becomes of this one.
      await deliver(options.acceptMs, handle, entry).catch(() => undefined);
    }
  }
  await Promise.all(answered);
  sink.finish();
}

/**
 * Whether a batch may be served in this session, and with this token; resolves with how many requests are in it.
 * @throws AppError `INVALID_REQUEST` in sessions of later revisions and for an `initialize`, `AUTH_SCOPE`.
 */
export async function checkBatch(
  exchange: Admitted,
  handle: SessionHandle,
  messages: readonly ClientMessage[],
): Promise<number> {
  if ((handle.protocolVersion ?? '') > LAST_WITH_BATCHES) {
    throw new AppError(
      'INVALID_REQUEST',
      'Batches are not served in this revision. Send every JSON-RPC message in a request of its own.',
    );
  }
  let requests = 0;
  for (const entry of messages) {
    if (entry.kind !== 'request') continue;
    requests += 1;
    if (entry.message.method === 'initialize') {
      throw new AppError('INVALID_REQUEST', 'The request "initialize" must not be part of a batch.');
    }
    await checkScope(exchange, handle, entry.message);
  }
  return requests;
}
