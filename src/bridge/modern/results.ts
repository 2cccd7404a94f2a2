/** What every answer of the stateless era has (MCP 2026-07-28, 'Result Responses', 'Caching', 'Error Codes'). */
import type { ErrorCode } from '../../errors';
import type { JsonRpcFailure, JsonRpcId, JsonRpcMessage, JsonRpcSuccess, MessageSink } from '../contract';
import { isObject, parseExact } from '../json';
import { addToResult } from '../splice';
import { SERVER_INFO } from './meta';

export const METHOD_NOT_FOUND = -32601;
export const INVALID_PARAMS = -32602;
export const INTERNAL = -32603;
export const HEADER_MISMATCH = -32020;
export const CAPABILITY_MISSING = -32021;
export const VERSION_UNSUPPORTED = -32022;
/** Codes that only the old era has. */
const RESOURCE_NOT_FOUND = -32002;
export const URL_ELICITATION = -32042;

/** Milliseconds for which a client may keep an answer. A list changes with the child; what a resource holds may change at any time. */
const TTL_MS: Readonly<Record<string, number>> = {
  'server/discover': 300_000,
  'tools/list': 60_000,
  'prompts/list': 60_000,
  'resources/list': 60_000,
  'resources/templates/list': 60_000,
  'resources/read': 0,
};

type Result = Readonly<Record<string, unknown>>;
type RpcError = JsonRpcFailure['error'];

/**
 * A result as this era wants it. Caches may keep it for this client alone, whatever the child says: everything behind the gateway is one user's.
 */
export function completed(method: string, result: Result, serverInfo: unknown): Result {
  return { ...result, ...lacking(method, result, serverInfo) };
}

/** The members that a result has not, or has otherwise than this era wants them. */
function lacking(method: string, result: Result, serverInfo: unknown): Result {
  const meta = isObject(result._meta) ? result._meta : {};
  const typed = typeof result.resultType === 'string';
  return {
    ...(typed ? {} : { resultType: 'complete' }),
    ...(typed && result.resultType !== 'complete' ? {} : caching(method, result)),
    ...(serverInfo === undefined || Object.hasOwn(meta, SERVER_INFO)
      ? {}
      : { _meta: { ...meta, [SERVER_INFO]: serverInfo } }),
  };
}

function caching(method: string, { ttlMs, cacheScope }: Result): Result {
  const usual = Object.hasOwn(TTL_MS, method) ? TTL_MS[method] : undefined;
  if (usual === undefined) return {};
  const good = typeof ttlMs === 'number' && Number.isInteger(ttlMs) && ttlMs >= 0;
  return { ...(good ? {} : { ttlMs: usual }), ...(cacheScope === 'private' ? {} : { cacheScope: 'private' }) };
}

/**
 * A child's answer as this era wants it, under the id `to`. Its text is not read again where members need only be added: a megabyte costs nothing then.
 * @param json the message's exact text.
 */
export function completedAnswer(
  method: string,
  message: JsonRpcSuccess,
  json: string,
  to: JsonRpcId,
  serverInfo: unknown,
): readonly [JsonRpcMessage, string] {
  const { id, result } = message;
  if (!isObject(result)) return failure(to, INTERNAL, 'The server answered with no result.');
  const more = lacking(method, result, serverInfo);
  const isNew = !Object.keys(more).some((name) => Object.hasOwn(result, name));
  const text = isNew ? addToResult(json, JSON.stringify(id), JSON.stringify(to), more) : undefined;
  if (text !== undefined) return [{ ...message, id: to, result: { ...result, ...more } }, text];
  return success(to, completed(method, exactResult(json) ?? result, serverInfo));
}

/** An error of a child of this era: none of the codes of the old one, and none of the specification's that it does not define. */
export function modernError(error: RpcError): RpcError {
  const { code } = error;
  const defined = code === HEADER_MISMATCH || code === CAPABILITY_MISSING || code === VERSION_UNSUPPORTED;
  return defined ? error : oldError(error);
}

/** An error of a child of the old era, to which this era's codes mean nothing. */
export function oldError(error: RpcError): RpcError {
  const { code } = error;
  if (code === RESOURCE_NOT_FOUND) return { ...error, code: INVALID_PARAMS };
  // SDKs of both eras say this to clients of the old one as well, and by its data it is what it says.
  if (code === CAPABILITY_MISSING && isObject(error.data) && isObject(error.data.requiredCapabilities)) return error;
  return code <= -32020 && code >= -32099 ? { ...error, code: INTERNAL } : error;
}

/** A success in the form that sinks take. */
export function success(id: JsonRpcId, result: Result): readonly [JsonRpcSuccess, string] {
  const message: JsonRpcSuccess = { jsonrpc: '2.0', id, result };
  return [message, JSON.stringify(message)];
}

/** An error in the form that sinks take. */
export function failure(id: JsonRpcId, code: number, text: string, data?: unknown): readonly [JsonRpcFailure, string] {
  const message: JsonRpcFailure = {
    jsonrpc: '2.0',
    id,
    error: { code, message: text, ...(data === undefined ? {} : { data }) },
  };
  return [message, JSON.stringify(message)];
}

/** The result in a child's answer with every number as it was spelt; undefined where it is no object. */
export function exactResult(json: string): Result | undefined {
  const { result } = parseExact(json) as { result?: unknown };
  return isObject(result) ? result : undefined;
}

/** The error in a child's answer with every number of its data as it was spelt; undefined where its code is spelt in a way that would have to be kept. */
export function exactError(json: string): RpcError | undefined {
  const { error } = parseExact(json) as { error?: unknown };
  return isObject(error) && typeof error.code === 'number' ? (error as unknown as RpcError) : undefined;
}

/** Whether a message answers a request. */
export function isAnswer(message: JsonRpcMessage): message is JsonRpcSuccess | JsonRpcFailure {
  return !('method' in message);
}

/** Hands a message over. Resolves when the client has taken it, or is gone, which is no concern of the call. Never rejects. */
export async function hand(
  sink: MessageSink,
  [message, json]: readonly [JsonRpcMessage, string],
  ours?: ErrorCode,
): Promise<void> {
  try {
    await sink.send(message, json, ours);
  } catch {
    // A client that is gone needs no answer.
  }
}
