/**
 * Ids and progress tokens as the other side sees them. Two clients' requests may carry the same id, so each gets one of ours, and ours say
 * what they stand for: whoever holds the session when the answer comes finds its stream and its original id without a table.
 *
 *     i3fa.17.n42      kind, stream, sequence, original
 *     │││   │  └ n: the integer 42; s: a plain string; j: base64url of the JSON text; x: too long to carry
 *     │││   └ counts up in one channel
 *     │└┴ name of the stream; `0` where it has none
 *     └ i: a client's request; p: its progress token; t: the same of a task, valid beyond the answer; r: a request of the child;
 *       g: a request of the gateway itself
 *
 * They hold no character that JSON would escape, so they can be found in a line and exchanged in place.
 */
import { parseExact } from './json';

/**
 * The number before the first of a session's channel of this generation. A session may have one child after another, and what is late for the one
 * before must name nothing of the next.
 */
export function firstSequence(generation: number): number {
  return (generation - 1) * 1_000_000_000;
}

export type RewrittenKind = 'i' | 'p' | 't' | 'r' | 'g';

/** What a rewritten id stands for. */
export interface RewrittenId {
  readonly kind: RewrittenKind;
  readonly stream: string;
  readonly sequence: number;
  /** JSON text of the original; undefined where it was too long to carry. */
  readonly original: string | undefined;
}

/** What may stand as an id or a token (MCP 'Messages', 'Progress'), and its JSON text. */
export interface Original {
  readonly value: string | number;
  readonly text: string;
}

/** Longest JSON text of an original that is carried. */
const MAX_ORIGINAL = 192;

const PLAIN_STRING = /^"[0-9A-Za-z_-]{1,64}"$/;
const PLAIN_INTEGER = /^-?\d{1,20}$/;
const REWRITTEN = /^([iptrg])([0-9A-Za-z_-]{1,32})\.(\d{1,15})\.([nsjx])([0-9A-Za-z_-]*)$/;

/** Writes the id for `original`, the JSON text of an id or a token. */
export function encodeId(kind: RewrittenKind, stream: string, sequence: number, original: string): string {
  const head = `${kind}${stream}.${String(sequence)}.`;
  if (PLAIN_INTEGER.test(original)) return `${head}n${original}`;
  if (PLAIN_STRING.test(original)) return `${head}s${original.slice(1, -1)}`;
  if (original.length > MAX_ORIGINAL) return `${head}x`;
  return `${head}j${Buffer.from(original).toString('base64url')}`;
}

/** Reads an id of ours; undefined when it is none. */
export function decodeId(text: unknown): RewrittenId | undefined {
  const found = typeof text === 'string' ? REWRITTEN.exec(text) : null;
  if (found === null) return undefined;
  const [, kind, stream = '', sequence, tag, rest = ''] = found;
  return { kind: kind as RewrittenKind, stream, sequence: Number(sequence), original: originalOf(tag, rest) };
}

/**
 * What the original of an id stands for that nothing here confirms: whoever sent it may have made it up. Its text is JSON in one line. Undefined where it is neither a
 * string nor a number.
 */
export function vouched(original: string | undefined): Original | undefined {
  if (original === undefined || /[\r\n]/.test(original)) return undefined;
  try {
    const value: unknown = JSON.parse(original);
    if (typeof value !== 'string' && !(typeof value === 'number' && Number.isFinite(value))) return undefined;
    return { value, text: JSON.stringify(parseExact(` ${original}`)) };
  } catch {
    return undefined;
  }
}

function originalOf(tag: string | undefined, rest: string): string | undefined {
  if (tag === 'n') return rest;
  if (tag === 's') return `"${rest}"`;
  return tag === 'j' ? Buffer.from(rest, 'base64url').toString() : undefined;
}
