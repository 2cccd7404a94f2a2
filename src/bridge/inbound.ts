/** From a line of the child's stdout to a JSON-RPC message, and what kind it is (JSON-RPC 2.0, 4 to 6). */
import { isId, isObject, parseExact } from './json';

/** What the child said. `json` is the message's exact text in one line. */
export interface ChildSpeech {
  request(message: ChildMessage, json: string): void;
  notification(message: ChildMessage, json: string): void;
  answer(message: ChildMessage, json: string): void;
  noise(bytes: number): void;
}

/** A JSON object that is a message by its looks; its members are not checked beyond that. */
export interface ChildMessage extends Record<string, unknown> {
  method?: unknown;
  id?: unknown;
}

const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;
const SPACE = 0x20;

/** Reads one line. Anything that is not a message is noise: a child's stray print must not cost its session. */
export function readLine(bytes: Buffer, start: number, end: number, speech: ChildSpeech): void {
  let first = start;
  while (first < end && (bytes[first] ?? 0) <= SPACE) first += 1;
  if (first === end) return;
  const opening = bytes[first];
  if (opening !== OPEN_BRACE && opening !== OPEN_BRACKET) {
    speech.noise(end - start);
    return;
  }
  const text = bytes.toString('utf8', first, end);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    speech.noise(end - start);
    return;
  }
  if (Array.isArray(value)) readBatch(text, value, end - start, speech);
  // A carriage return may stand between tokens; in an event stream it would end the line.
  else dispatch(value, text.includes('\r') ? JSON.stringify(parseExact(text)) : text, end - start, speech);
}

/** A batch is its messages one by one (MCP 2025-03-26, 'Batching': implementations must accept batches). */
function readBatch(text: string, batch: readonly unknown[], bytes: number, speech: ChildSpeech): void {
  if (batch.length === 0) speech.noise(bytes);
  const exact = parseExact(text) as readonly unknown[];
  for (const [index, value] of batch.entries()) {
    const json = JSON.stringify(exact[index]);
    dispatch(value, json, json.length, speech);
  }
}

function dispatch(value: unknown, json: string, bytes: number, speech: ChildSpeech): void {
  if (!isObject(value)) {
    speech.noise(bytes);
    return;
  }
  const message: ChildMessage = value;
  const { id, method } = message;
  if (method === undefined) {
    if (id !== undefined && ('result' in message || 'error' in message)) speech.answer(message, json);
    else speech.noise(bytes);
  } else if (typeof method !== 'string' || message.jsonrpc !== '2.0') {
    speech.noise(bytes);
  } else if (id === undefined) {
    speech.notification(message, json);
  } else if (isId(id)) {
    speech.request(message, json);
  } else {
    speech.noise(bytes);
  }
}

/** The JSON text of a message's id, digit by digit. */
export function idTextOf(message: ChildMessage, json: string): string {
  if (typeof message.id === 'number' && !Number.isSafeInteger(message.id)) {
    return JSON.stringify((parseExact(json) as ChildMessage).id);
  }
  return JSON.stringify(message.id);
}
