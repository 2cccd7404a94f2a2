/** The answer to `initialize`, held back until it is known whether there is a session at all. */
import type { JsonRpcMessage, MessageSink } from '../../bridge/contract';
import { AppError, ERRORS, type ErrorCode } from '../../errors';
import type { PostSink } from './stream';

/** How a call that was lost is called when it was the first: the child never came up. */
const AT_START: Partial<Record<ErrorCode, ErrorCode>> = {
  BACKEND_ENDED: 'BACKEND_CRASHED',
  LINK_CLOSED: 'BACKEND_CRASHED',
  CALL_DEADLINE: 'BACKEND_START_DEADLINE',
};
/** Seconds until a start that took too long is worth another try. */
const RETRY_AFTER = 10;

/**
 * A child that dies or stays silent before its first answer is a failed start, and a failed start has an HTTP status (502 or 503), because
 * clients take 200 for a session. An error that the child itself answered is its answer, and passes.
 */
export class InitializeSink implements MessageSink {
  /** Set when our side, not the child, answered with an error. */
  refusal: AppError | undefined;
  readonly #sink: PostSink;

  constructor(sink: PostSink) {
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
