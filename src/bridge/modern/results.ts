/** What every answer of the stateless era has (MCP 2026-07-28, 'Result Responses', 'Caching', 'Error Codes'). */
import type { JsonRpcFailure, JsonRpcId, JsonRpcMessage, JsonRpcSuccess } from '../contract';
import { isObject, parseExact } from '../json';
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

/**
 * A result as this era wants it. Caches may keep it for this client alone, whatever the child says: everything behind the gateway is one user's.
 */
export function completed(
  method: string,
  result: Readonly<Record<string, unknown>>,
  serverInfo: unknown,
): Readonly<Record<string, unknown>> {
  const resultType = typeof result.resultType === 'string' ? result.resultType : 'complete';
  const meta = isObject(result._meta) ? result._meta : {};
  const named =
    serverInfo === undefined || Object.hasOwn(meta, SERVER_INFO) ? meta : { ...meta, [SERVER_INFO]: serverInfo };
  return {
    ...result,
    resultType,
    ...(resultType === 'complete' ? caching(method, result) : {}),
    ...(Object.keys(named).length === 0 ? {} : { _meta: named }),
  };
}

function caching(method: string, { ttlMs }: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const usual = TTL_MS[method];
  if (usual === undefined) return {};
  const given = typeof ttlMs === 'number' && Number.isInteger(ttlMs) && ttlMs >= 0 ? ttlMs : usual;
  return { ttlMs: given, cacheScope: 'private' };
}

/** A child's error with the codes of this era: none of the old era's, and none of the specification's that it does not define. */
export function modernError(error: JsonRpcFailure['error']): JsonRpcFailure['error'] {
  const { code } = error;
  if (code === RESOURCE_NOT_FOUND) return { ...error, code: INVALID_PARAMS };
  const defined = code === HEADER_MISMATCH || code === CAPABILITY_MISSING || code === VERSION_UNSUPPORTED;
  if (code <= -32020 && code >= -32099 && !defined) return { ...error, code: INTERNAL };
  return error;
}

/** A success in the form that sinks take. */
export function success(id: JsonRpcId, result: Readonly<Record<string, unknown>>): readonly [JsonRpcSuccess, string] {
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
export function exactResult(json: string): Readonly<Record<string, unknown>> | undefined {
  const { result } = parseExact(json) as { result?: unknown };
  return isObject(result) ? result : undefined;
}

/** Whether a message answers a request. */
export function isAnswer(message: JsonRpcMessage): message is JsonRpcSuccess | JsonRpcFailure {
  return !('method' in message);
}
