/** What the handlers of POST share: how they answer, and how they hand on what needs no answer. */
import type { JsonRpcRequest, MessageSink } from '../../bridge/contract';
import { AppError, toAppError } from '../../errors';
import type { SessionHandle } from '../../sessions/ports';
import { failureBody } from '../failure';
import type { Outgoing } from '../handler';
import type { ClientMessage } from './message';
import type { PostSink } from './post-sink';
import type { Admitted, McpOptions } from './routes';
import { primes } from './session-streams';

/** Milliseconds until a call without a word from the child becomes an event stream: soon where the stream can say its name at once. */
export function jsonMsOf(options: McpOptions, handle: Pick<SessionHandle, 'protocolVersion'>): number {
  return primes(handle.protocolVersion) ? Math.min(options.primeMs, options.jsonMs) : options.jsonMs;
}

/**
 * Makes a call whose answer is the response. What fails after the headers went out is told as the JSON-RPC answer; what fails before that is thrown.
 */
export async function respond(
  sink: PostSink,
  exchange: Admitted,
  request: JsonRpcRequest,
  call: () => Promise<void>,
): Promise<void> {
  try {
    await call();
  } catch (thrown) {
    sink.abandon();
    if (!sink.begun) throw thrown;
    await answerFailure(sink, exchange, request, thrown);
  }
  sink.finish();
}

/** Tells what was thrown as the answer to a request whose response has begun. Never rejects. */
export async function answerFailure(
  sink: MessageSink,
  exchange: Admitted,
  request: JsonRpcRequest,
  thrown: unknown,
): Promise<void> {
  const error = toAppError(thrown);
  exchange.code = error.code;
  const failure = failureBody(error, request.id, exchange.id);
  await sink.send(failure, JSON.stringify(failure))?.catch(() => undefined); // then the client is gone as well
}

/** 202 and no body. */
export function accepted(res: Outgoing): void {
  res.writeHead(202, { 'Content-Length': 0 });
  res.end();
}

/** Hands a notification or an answer to the child within `ms`. Rejects as the handle does, or with `CALL_DEADLINE`. */
export async function deliver(
  ms: number,
  handle: Pick<SessionHandle, 'notify' | 'answer'>,
  message: Exclude<ClientMessage, { kind: 'request' }>,
): Promise<void> {
  const taken = message.kind === 'notification' ? handle.notify(message.message) : handle.answer(message.message);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new AppError('CALL_DEADLINE', 'The server does not take messages at the moment. Try again later.')),
      ms,
    ).unref();
  });
  try {
    await Promise.race([taken, late]);
  } finally {
    clearTimeout(timer);
    taken.catch(() => undefined); // when it fails after the deadline, the client already knows
  }
}
