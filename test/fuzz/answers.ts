/** What every answer of an MCP endpoint must be, whatever was asked. */
import { ERRORS, toAppError, type ErrorCode } from '../../src/errors';
import type { Outcome } from './client';

type Json = Record<string, unknown>;

/** Statuses without an error. */
const FINE = new Set([200, 202, 204]);
/** How what nobody foresaw is answered. */
const DEFECT = toAppError(undefined).message;
/** What Node answers before anybody else sees the request, and then closes. */
const NODES_OWN = new Set([400, 408, 413, 414, 431]);
/** Errors of 2026-07-28 and of JSON-RPC that carry no code of ours. */
const PROTOCOL_ERRORS: Readonly<Record<number, readonly number[]>> = {
  [-32020]: [400],
  [-32021]: [400],
  [-32022]: [400],
  [-32600]: [400],
  [-32601]: [404],
  [-32602]: [400],
};

export interface Asked {
  /** The body's text; undefined where there was none. */
  readonly body: string | undefined;
  /** Responses may come that this request did not ask for: it resumes a stream. */
  readonly resumes: boolean;
  /** Nobody knows which of several requests this answers. */
  readonly any?: boolean;
}

/** Checks an answer that came, as far as it came. Returns the messages in it. Throws what is wrong. */
export function checkAnswer(outcome: Outcome, asked: Asked): readonly Json[] {
  const { status, headers, text, end } = outcome;
  if (end === 'stuck') throw new Error(`no answer, and the connection is open (status ${String(status)})`);
  if (status === undefined) return [];
  if (text.includes(DEFECT)) throw new Error(`a defect of the gateway: ${text}`);
  if (headers['x-request-id'] === undefined) {
    if (NODES_OWN.has(status) && text === '' && headers.connection === 'close') return [];
    throw new Error(`status ${status} without X-Request-Id: ${text}`);
  }
  if (status === 404 && headers['content-type']?.startsWith('text/html') === true) return []; // a page, at a path of nothing
  if (!FINE.has(status)) return end === 'whole' ? [failure(status, text, asked)] : [];
  if (status !== 200) {
    if (text !== '') throw new Error(`status ${status} with a body`);
    return [];
  }
  const type = headers['content-type'] ?? '';
  if (type === 'application/json') return end === 'whole' ? answers(JSON.parse(text) as unknown, asked) : [];
  if (type !== 'text/event-stream') throw new Error(`status 200 with the Content-Type ${JSON.stringify(type)}`);
  return stream(text, end, asked);
}

/** The ids of the requests in a body, as JavaScript values; none where it is no JSON. */
export function idsOf(body: string | undefined): readonly unknown[] {
  return messagesOf(body).flatMap((message) => (has(message, 'id') && has(message, 'method') ? [message.id] : []));
}

/** The JSON objects in a body. */
export function messagesOf(body: string | undefined): readonly Json[] {
  let value: unknown;
  try {
    value = JSON.parse(body ?? '');
  } catch {
    return [];
  }
  return (Array.isArray(value) ? value : [value]).filter(isObject);
}

function failure(status: number, text: string, { body, any = false }: Asked): Json {
  const message = parsed(text);
  const { error } = message;
  if (message.jsonrpc !== '2.0' || !isObject(error) || typeof error.message !== 'string') {
    throw new Error(`status ${status} without a JSON-RPC error: ${text}`);
  }
  if (message.id !== null && !any && !among(message.id, idsOf(body)))
    throw new Error(`an error with a foreign id: ${text}`);
  const code = isObject(error.data) ? error.data.code : undefined;
  if (code === 'INTERNAL' || code === 'AUTH_CONTEXT_ABSENT') throw new Error(`a defect of the gateway: ${text}`);
  if (typeof code === 'string' && Object.hasOwn(ERRORS, code)) {
    const meaning = ERRORS[code as ErrorCode];
    if (meaning.status !== status || meaning.rpc !== error.code) throw new Error(`not by the table: ${status} ${text}`);
  } else if (PROTOCOL_ERRORS[error.code as number]?.includes(status) !== true) {
    throw new Error(`status ${status} is in no table: ${text}`);
  }
  return message;
}

/** JSON: one response, or for a batch an array of them. */
function answers(value: unknown, { body, any = false }: Asked): readonly Json[] {
  const all = (Array.isArray(value) ? value : [value]) as readonly unknown[];
  const wanted = [...idsOf(body)];
  for (const one of all) {
    const response = isObject(one) && isResponse(one) ? one : undefined;
    const at = response === undefined ? -1 : wanted.findIndex((id) => same(id, response.id));
    if (response === undefined || (at < 0 && !any))
      throw new Error(`not the answer to what was asked: ${JSON.stringify(one)}`);
    if (at >= 0) wanted.splice(at, 1);
  }
  if (all.length === 0) throw new Error('an empty answer');
  return all as readonly Json[];
}

function stream(text: string, end: Outcome['end'], { body, resumes }: Asked): readonly Json[] {
  const wanted = [...idsOf(body)];
  const messages: Json[] = [];
  for (const block of text.split('\n\n').slice(0, -1)) {
    const data = dataOf(block);
    if (block.startsWith('event: endpoint\n')) continue; // the URL for POSTs, of 2024-11-05
    if (data === undefined || data === '') continue;
    const all = JSON.parse(data) as unknown;
    for (const message of (Array.isArray(all) ? all : [all]) as readonly Json[]) {
      if (message.jsonrpc !== '2.0') throw new Error(`no JSON-RPC message: ${data}`);
      messages.push(message);
      if (has(message, 'method')) continue;
      if (!isResponse(message)) throw new Error(`neither a request nor an answer: ${data}`);
      const at = wanted.findIndex((id) => same(id, message.id));
      if (at < 0 && !resumes) throw new Error(`an answer too many, or to another request: ${data}`);
      if (at >= 0) wanted.splice(at, 1);
    }
  }
  if (end === 'whole' && !text.endsWith('\n\n') && text !== '')
    throw new Error('an event stream that ends in an event');
  return messages;
}

/** An event's data; lines of other fields are checked to be fields. */
function dataOf(block: string): string | undefined {
  let data: string | undefined;
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [field = '', ...rest] = line.split(':');
    if (!['', 'data', 'event', 'id', 'retry'].includes(field)) throw new Error(`no field of an event: ${line}`);
    const value = rest.join(':').replace(/^ /, '');
    if (field === 'data') data = data === undefined ? value : `${data}\n${value}`;
  }
  return data;
}

function isResponse(message: Json): boolean {
  return message.jsonrpc === '2.0' && has(message, 'id') && has(message, 'result') !== has(message, 'error');
}

function among(id: unknown, ids: readonly unknown[]): boolean {
  return ids.some((one) => same(one, id));
}

/** Ids are strings and numbers; `-0` is another text than `0`, but the same number. */
function same(one: unknown, two: unknown): boolean {
  return one === two;
}

function parsed(text: string): Json {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // said below
  }
  throw new Error(`no JSON object: ${text}`);
}

function has(message: Json, name: string): boolean {
  return Object.hasOwn(message, name);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
