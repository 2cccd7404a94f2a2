/** What a client of 2026-07-28 must say twice, and how it goes on with a call that was answered with questions. */
import type { User } from './acts';
import { messagesOf } from './answers';

const VERSION = 'io.modelcontextprotocol/protocolVersion';

type Json = Record<string, unknown>;

/** A call that was answered with questions. */
export interface Questioned {
  readonly user: User;
  readonly call: Json;
  readonly keys: readonly string[];
  readonly state: unknown;
}

/** Whether a body is of the era without sessions, so that its answer ends when the client leaves. */
export function isStateless(body: string | undefined): boolean {
  return messagesOf(body).some((message) => versionIn(message) !== undefined);
}

/** The headers that repeat what the body says; undefined where the body is not of that era. */
export function alignedHeaders(body: string | undefined): readonly (readonly [string, string])[] | undefined {
  const [message] = messagesOf(body);
  const version = message === undefined ? undefined : versionIn(message);
  if (message === undefined || typeof version !== 'string') return undefined;
  const params = isObject(message.params) ? message.params : {};
  const name = message.method === 'resources/read' ? params.uri : params.name;
  const said: readonly (readonly [string, unknown])[] = [
    ['MCP-Protocol-Version', version],
    ['Mcp-Method', message.method],
    ['Mcp-Name', name],
  ];
  return said.flatMap(([header, value]) => (typeof value === 'string' ? [[header, encoded(value)] as const] : []));
}

/** The call again with an answer to each question. */
export function retryOf({ call, keys, state }: Questioned): string {
  const inputResponses = Object.fromEntries(keys.map((key) => [key, { action: 'accept', content: { a: 1 } }]));
  return JSON.stringify({ ...call, params: { ...(call.params as Json), inputResponses, requestState: state } });
}

/** Calls among the answered that were answered with questions. */
export function questionsIn(messages: readonly Json[], user: User, body: string | undefined): readonly Questioned[] {
  const [call] = messagesOf(body);
  if (call === undefined || !isObject(call.params) || versionIn(call) === undefined) return [];
  return messages.flatMap(({ result }) => {
    if (!isObject(result) || result.resultType !== 'input_required') return [];
    const keys = isObject(result.inputRequests) ? Object.keys(result.inputRequests) : [];
    return [{ user, call, keys, state: result.requestState }];
  });
}

/** What a header can carry goes as it is; the rest in the sentinel's base64. */
function encoded(value: string): string {
  return /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value)
    ? value
    : `=?base64?${Buffer.from(value).toString('base64')}?=`;
}

function versionIn({ params }: Json): unknown {
  const meta = isObject(params) ? params._meta : undefined;
  return isObject(meta) ? meta[VERSION] : undefined;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
