/** From text to JSON-RPC messages, checked as far as the gateway must rely on it (JSON-RPC 2.0, 4 and 5; MCP 'Messages'). */
import type { JsonRpcId, JsonRpcNotification, JsonRpcRequest, JsonRpcResponse } from '../../bridge/contract';
import { isId, isObject, parseExact } from '../../bridge/json';
import { AppError } from '../../errors';

export type ClientMessage =
  | { readonly kind: 'request'; readonly message: JsonRpcRequest }
  | { readonly kind: 'notification'; readonly message: JsonRpcNotification }
  | { readonly kind: 'response'; readonly message: JsonRpcResponse };

/** Several messages in one body (JSON-RPC 2.0, 6). */
export interface ClientBatch {
  readonly kind: 'batch';
  readonly messages: readonly ClientMessage[];
}

export type ClientBody = ClientMessage | ClientBatch;

/** Messages of one batch. */
export const MAX_BATCH = 100;

/** Deeper JSON is refused: writing it out again recurses, and no MCP message comes near. */
export const MAX_DEPTH = 512;

/**
 * Parses and classifies a body.
 * @throws AppError `PARSE` for what is not JSON, `INVALID_REQUEST` for what is neither a JSON-RPC message nor a batch of 1 to {@link MAX_BATCH}.
 */
export function parseBody(text: string, bytes: Buffer): ClientBody {
  if (bytes.length > 2 * MAX_DEPTH && deeperThan(bytes, MAX_DEPTH)) {
    throw new AppError(
      'INVALID_REQUEST',
      `The message is nested deeper than ${String(MAX_DEPTH)} levels. Send it flatter.`,
    );
  }
  let value: unknown;
  try {
    value = parseExact(text);
  } catch {
    throw new AppError('PARSE', 'The body is not JSON. Send one JSON-RPC message in UTF-8.');
  }
  if (!Array.isArray(value)) return classify(value);
  if (value.length === 0) throw invalid('The batch is empty.');
  if (value.length > MAX_BATCH) {
    throw invalid(`The batch has more than ${String(MAX_BATCH)} messages. Send fewer at once.`);
  }
  return { kind: 'batch', messages: value.map(classify) };
}

/** Tells requests, notifications and responses apart. Throws `INVALID_REQUEST`. */
export function classify(value: unknown): ClientMessage {
  if (!isObject(value)) throw invalid('The body is not a JSON-RPC message.');
  const message = value;
  if (message.jsonrpc !== '2.0') throw invalid('The field "jsonrpc" must be "2.0".');
  const hasId = Object.hasOwn(message, 'id');
  if (hasId && !isId(message.id)) throw invalid('The field "id" must be a string or an integer (never null).');
  if (Object.hasOwn(message, 'method')) {
    if (typeof message.method !== 'string') throw invalid('The field "method" must be a string.');
    if (Object.hasOwn(message, 'params') && !isObject(message.params))
      throw invalid('The field "params" must be an object.');
    return hasId
      ? { kind: 'request', message: message as unknown as JsonRpcRequest }
      : { kind: 'notification', message: message as unknown as JsonRpcNotification };
  }
  if (!hasId) throw invalid('A message without a method must be a response and carry an id.');
  if (Object.hasOwn(message, 'result') === Object.hasOwn(message, 'error')) {
    throw invalid('A response carries either "result" or "error".');
  }
  if (Object.hasOwn(message, 'error') && !isObject(message.error))
    throw invalid('The field "error" must be an object.');
  return { kind: 'response', message: message as unknown as JsonRpcResponse };
}

/** The id of a value that may be a request, for an error answer; null where there is none to read. */
export function idOf(message: ClientMessage): JsonRpcId | null {
  return message.kind === 'request' ? message.message.id : null;
}

function invalid(message: string): AppError {
  return new AppError('INVALID_REQUEST', message);
}

/** Whether brackets outside strings nest deeper than `limit`. Long strings, the bulk of a large message, are skipped by `indexOf`. */
function deeperThan(bytes: Buffer, limit: number): boolean {
  let depth = 0;
  for (let i = 0; i < bytes.length; i += 1) {
    const byte = bytes[i];
    if (byte === 0x22) {
      i = endOfString(bytes, i + 1);
      if (i < 0) return false; // not JSON: the parser says so
    } else if (byte === 0x5b || byte === 0x7b) {
      depth += 1;
      if (depth > limit) return true;
    } else if (byte === 0x5d || byte === 0x7d) {
      depth -= 1;
    }
  }
  return false;
}

/** The index of the quote that ends the string which begins at `from`: one with an even number of backslashes before it. */
function endOfString(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(0x22, from); at >= 0; at = bytes.indexOf(0x22, at + 1)) {
    let before = at - 1;
    while (before >= from && bytes[before] === 0x5c) before -= 1;
    if ((at - 1 - before) % 2 === 0) return at;
  }
  return -1;
}
