/** What a caller is told when the child cannot answer. */
import type { BackendExit } from '../backends/contract';
import { AppError, type ErrorCode } from '../errors';
import type { JsonRpcFailure, JsonRpcId, JsonRpcMessage } from './contract';

/** The failures that the bridge made: a child can write the same `data`, and must not be taken for us. */
const OURS = new WeakMap<JsonRpcMessage, ErrorCode>();

/** An error as a JSON-RPC answer, with our stable code in `data`. */
export function failureOf(id: JsonRpcId, error: AppError, reason?: string): JsonRpcFailure {
  const data = reason === undefined ? { code: error.code } : { code: error.code, reason };
  const failure: JsonRpcFailure = { jsonrpc: '2.0', id, error: { code: error.rpc, message: error.message, data } };
  OURS.set(failure, error.code);
  return failure;
}

/** Why the bridge itself answered with this message; undefined when it is the child's word. */
export function ourCode(message: JsonRpcMessage): ErrorCode | undefined {
  return OURS.get(message);
}

export function linkClosed(): AppError {
  return new AppError('LINK_CLOSED', 'The server has ended. Start a new session.');
}

export function tooManyCalls(limit: number): AppError {
  return new AppError(
    'CALLS_TOO_MANY',
    `This session has ${String(limit)} calls in flight already. Wait for one of them to be answered.`,
    { retryAfter: 1 },
  );
}

export function childBehind(): AppError {
  return new AppError('CALLS_TOO_MANY', 'The server does not read what was sent to it already. Wait and try again.', {
    retryAfter: 1,
  });
}

export function callDeadline(seconds: number): AppError {
  return new AppError(
    'CALL_DEADLINE',
    `The server did not answer within ${String(Math.round(seconds))} seconds. What it was asked to do may have happened.`,
  );
}

export function lineTooLong(limit: number): AppError {
  return new AppError(
    'LINE_TOO_LONG',
    `The server's answer is longer than ${String(limit)} bytes. Ask for less at once.`,
  );
}

export function malformedAnswer(): AppError {
  return new AppError('INTERNAL', "The server's answer is not valid JSON-RPC 2.0. Tell whoever maintains the server.");
}

/** Why a call in flight was lost with its child. */
export function childLost(exit: BackendExit | undefined): AppError {
  return new AppError(
    'BACKEND_ENDED',
    `${whatHappened(exit)} The call may have happened. Try again if that does no harm.`,
  );
}

function whatHappened(exit: BackendExit | undefined): string {
  switch (exit?.reason) {
    case 'exited':
      return `The server ended by itself${exit.code === undefined ? '' : ` (exit code ${String(exit.code)})`}.`;
    case 'oom':
      return 'The server was killed because it ran out of memory.';
    case 'killed':
      return `The server was killed${exit.signal === undefined ? '' : ` (${exit.signal})`}.`;
    case 'deleted':
      return 'The pod of the server was deleted or evicted.';
    case 'closed':
      return 'This session was closed.';
    case 'lost':
    case undefined:
      return 'The connection to the server was lost.';
  }
}
