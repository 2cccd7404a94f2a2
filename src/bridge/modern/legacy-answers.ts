/** What a child of the old era answered, as an answer of the stateless era. */
import type { JsonRpcFailure, JsonRpcMessage, JsonRpcRequest } from '../contract';
import { isObject } from '../json';
import { missingFor } from './capabilities';
import type { ClientFacts } from './meta';
import {
  CAPABILITY_MISSING,
  completed,
  completedAnswer,
  exactError,
  exactResult,
  failure,
  INTERNAL,
  METHOD_NOT_FOUND,
  oldError,
  success,
  URL_ELICITATION,
} from './results';
import type { Finished, Running } from './running';
import { urlQuestions } from './url-elicitation';

export interface AnswerContext {
  readonly client: ClientFacts;
  /** The child's, where it has told. */
  readonly serverInfo: unknown;
}

/** The answer to `request`, the one that waits for the call now. */
export function translated(
  context: AnswerContext,
  running: Running,
  { message, json }: Finished,
  request: JsonRpcRequest,
): readonly [JsonRpcMessage, string] {
  const { id } = request;
  if (running.missing !== undefined && ('error' in message || isFailed(message.result))) {
    return lacking(id, 'This needs a capability that the client has not declared.', running.missing);
  }
  if (!('error' in message)) {
    const { result } = message;
    if (isObject(result) && Object.hasOwn(result, 'resultType') && result.resultType !== 'complete') {
      // The old era has no such member: passed on, a child's word there would look like a question of ours, whose state is not.
      const whole = { ...(exactResult(json) ?? result), resultType: 'complete' };
      return success(id, completed(running.method, whole, context.serverInfo));
    }
    return completedAnswer(running.method, message, json, id, context.serverInfo);
  }
  if (message.error.code === URL_ELICITATION) return visit(context, running, message, request);
  const { code, message: text, data } = oldError(exactError(json) ?? message.error);
  return failure(id, code, text, data);
}

/** An answer to a question of the child that its client will not answer. */
export function unanswered(method: string): { readonly result: unknown } | { readonly error: JsonRpcFailure['error'] } {
  if (method === 'elicitation/create') return { result: { action: 'cancel' } };
  return { error: { code: -32000, message: 'The client has not answered.' } };
}

/** An answer to a request of the child that no client of this era may be sent. */
export const NOT_ASKED: JsonRpcFailure['error'] = {
  code: METHOD_NOT_FOUND,
  message: 'The client has not declared that it can do this.',
};

/** The child wants its user to visit a page before the call is made again (MCP 2025-11-25, 'URL Elicitation Required Errors'). */
function visit(
  { client, serverInfo }: AnswerContext,
  running: Running,
  { error }: JsonRpcFailure,
  { id }: JsonRpcRequest,
): readonly [JsonRpcMessage, string] {
  const questions = running.mayAsk ? urlQuestions(error.data) : undefined;
  if (questions === undefined) return failure(id, INTERNAL, error.message);
  const missing = missingFor(client.capabilities, 'elicitation/create', { mode: 'url' });
  if (missing !== undefined) {
    const text = 'This needs the user to visit a page, which the client has not declared that it can ask for.';
    return lacking(id, text, missing);
  }
  const result = { resultType: 'input_required', inputRequests: questions };
  return success(id, completed(running.method, result, serverInfo));
}

function lacking(
  id: JsonRpcRequest['id'],
  text: string,
  requiredCapabilities: Readonly<Record<string, unknown>>,
): readonly [JsonRpcMessage, string] {
  return failure(id, CAPABILITY_MISSING, text, { requiredCapabilities });
}

function isFailed(result: unknown): boolean {
  return !isObject(result) || result.isError === true;
}
