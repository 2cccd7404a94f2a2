/**
 * Exchanging an id in a line that the child wrote, without writing the rest again: the rest keeps every digit, escape and order of members,
 * and a megabyte of output costs two searches instead of a pass of JSON.
 */
import { decodeId } from './ids';
import { parseExact } from './json';

const HEAD = '{"jsonrpc":"2.0","id":';
const TAIL = ',"jsonrpc":"2.0","id":';
const RESULT = '"result":{';

/**
 * Exchanges the top-level id of a message. Go, Rust and Python children write it first, the TypeScript SDK writes it last; at both ends its
 * place is certain. Elsewhere an id of ours is exchanged where it stands exactly once; any other message is written again.
 *
 * @param json the message's text; @param from JSON text of the id in it; @param to JSON text of the new one.
 */
export function exchangeId(json: string, from: string, to: string): string {
  if (json.startsWith(HEAD) && json.startsWith(from, HEAD.length)) {
    const end = HEAD.length + from.length;
    const exchanged = HEAD + to + json.slice(end);
    // Of a member that stands twice the last one counts (RFC 8259, 4 leaves it open; every parser at hand does so).
    if (json.startsWith(',', end) && (!json.includes(from, end) || idTextIn(exchanged) === to)) return exchanged;
  }
  const tail = `${TAIL}${from}}`;
  if (json.endsWith(tail)) return `${json.slice(0, -from.length - 1)}${to}}`;
  const once = decodeId(from.slice(1, -1)) === undefined ? undefined : exchangeOnce(json, 'id', from, to);
  if (once !== undefined) return once;
  return rewrite(json, (message) => {
    message.id = parseExact(` ${to}`);
  });
}

function idTextIn(json: string): string {
  return JSON.stringify((parseExact(json) as { readonly id?: unknown }).id);
}

/**
 * Adds members at the head of an answer's result and exchanges its id, in a text of one of the two forms that children's SDKs write; undefined where it
 * has another.
 *
 * @param json the answer's text; @param from JSON text of the id in it; @param to JSON text of the new one; @param members of names that the result
 * has not.
 */
export function addToResult(
  json: string,
  from: string,
  to: string,
  members: Readonly<Record<string, unknown>>,
): string | undefined {
  const idFirst = `${HEAD}${from},${RESULT}`;
  const idLast = `${TAIL}${from}}`;
  let rest: string;
  if (json.startsWith(idFirst)) rest = json.slice(idFirst.length);
  else if (json.startsWith(`{${RESULT}`) && json.endsWith(`}${idLast}`)) {
    rest = `${json.slice(RESULT.length + 1, -idLast.length)}}`;
  } else return undefined;
  const added = JSON.stringify(members).slice(1, -1);
  const comma = added === '' || /^\s*\}/.test(rest) ? '' : ',';
  return `${HEAD}${to},${RESULT}${added}${comma}${rest}`;
}

/** Exchanges a string that stands exactly once in `json`; undefined when it does not, or when that is not the member `name`. */
export function exchangeOnce(json: string, name: string, from: string, to: string): string | undefined {
  const at = json.indexOf(from);
  if (at < 0 || json.indexOf(from, at + from.length) >= 0) return undefined;
  let before = at - 1;
  while (json[before] === ' ') before -= 1;
  if (json[before] !== ':') return undefined;
  before -= 1;
  while (json[before] === ' ') before -= 1;
  return json.endsWith(`"${name}"`, before + 1) ? json.slice(0, at) + to + json.slice(at + from.length) : undefined;
}

/** Writes a message again after `change`; numbers keep their spelling. */
export function rewrite(json: string, change: (message: Record<string, unknown>) => void): string {
  const message = parseExact(json) as Record<string, unknown>;
  change(message);
  return JSON.stringify(message);
}
