/**
 * Exchanging an id in a line that the child wrote, without writing the rest again: the rest keeps every digit, escape and order of members,
 * and a megabyte of output costs two searches instead of a pass of JSON.
 */
import { parseExact } from './json';

const HEAD = '{"jsonrpc":"2.0","id":';
const TAIL = ',"jsonrpc":"2.0","id":';

/**
 * Exchanges the top-level id of a message. Go, Rust and Python children write it first, the TypeScript SDK writes it last; at both ends its
 * place is certain. Elsewhere the message is written again.
 *
 * @param json the message's text; @param from JSON text of the id in it; @param to JSON text of the new one.
 */
export function exchangeId(json: string, from: string, to: string): string {
  if (json.startsWith(HEAD) && json.startsWith(from, HEAD.length)) {
    const end = HEAD.length + from.length;
    if (json.startsWith(',', end)) return HEAD + to + json.slice(end);
  }
  const tail = `${TAIL}${from}}`;
  if (json.endsWith(tail)) return `${json.slice(0, -from.length - 1)}${to}}`;
  return rewrite(json, (message) => {
    message.id = parseExact(` ${to}`);
  });
}

/** Exchanges a string that stands exactly once in `json`; undefined when it does not, or when that is not the member `name`. */
export function exchangeOnce(json: string, name: string, from: string, to: string): string | undefined {
  const member = `"${name}":${from}`;
  const at = json.indexOf(member);
  if (
    at < 0 ||
    json.indexOf(from, at + member.length) >= 0 ||
    json.indexOf(from) !== at + member.length - from.length
  ) {
    return undefined;
  }
  return json.slice(0, at + member.length - from.length) + to + json.slice(at + member.length);
}

/** Writes a message again after `change`; numbers keep their spelling. */
export function rewrite(json: string, change: (message: Record<string, unknown>) => void): string {
  const message = parseExact(json) as Record<string, unknown>;
  change(message);
  return JSON.stringify(message);
}
