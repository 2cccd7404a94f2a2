/**
 * A request target read once, strictly. A path that two readers could read differently is refused here, so that what the policy matched is what
 * the forge serves (RFC 3986, 2.1 and 6.2.2; RFC 9112, 3.2.1).
 */
import { AppError } from '../../errors';

/** One path segment after exactly one percent-decode. */
export interface Segment {
  readonly value: string;
  /** It held an encoded slash. */
  readonly slashed: boolean;
}

/** A request target that only has one reading. `path` and `query` are the very bytes that came. */
export interface Target {
  readonly path: string;
  /** Without the question mark; undefined where there was none. */
  readonly query: string | undefined;
  readonly segments: readonly Segment[];
}

const MAX_TARGET = 16_384;
const MAX_PARAMETERS = 200;
/** Gitea and Forgejo take these from the query in place of the Authorization header, or to act as somebody else. */
const FORBIDDEN_KEYS = new Set(['sudo', 'token', 'access_token', 'private_token', '_method']);
const utf8 = new TextDecoder('utf-8', { fatal: true });

function refuse(what: string): never {
  throw new AppError('REQUEST_REFUSED', `The credential proxy refused the request: ${what}.`);
}

/** Percent-decodes once. Undefined where a percent sign is not followed by two hex digits or the bytes are not UTF-8. */
function decodeOnce(text: string): string | undefined {
  if (!text.includes('%')) return text;
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return undefined;
  const bytes = Buffer.alloc(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '%') {
      bytes[length++] = Number.parseInt(text.slice(i + 1, i + 3), 16);
      i += 2;
    } else bytes[length++] = text.charCodeAt(i);
  }
  try {
    return utf8.decode(bytes.subarray(0, length));
  } catch {
    return undefined;
  }
}

function readSegment(raw: string): Segment {
  const value = decodeOnce(raw);
  if (value === undefined) return refuse('its path is not valid percent-encoded UTF-8');
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f-\u009f]/.test(value)) return refuse('its path holds control characters');
  if (value.includes('\\')) return refuse('its path holds a backslash');
  if (/%[0-9A-Fa-f]{2}/.test(value)) return refuse('its path is percent-encoded twice');
  const parts = value.split('/');
  if (parts.some((part) => part === '.' || part === '..')) return refuse('its path holds dot segments');
  if (parts.length > 1 && parts.includes('')) return refuse('its path holds empty segments');
  return { value, slashed: parts.length > 1 };
}

function checkQuery(query: string): void {
  if (query.includes(';')) refuse('its query holds a semicolon, which some servers read as a separator');
  const pairs = query.split('&');
  if (pairs.length > MAX_PARAMETERS) refuse('its query has too many parameters');
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    const key = decodeOnce((equals === -1 ? pair : pair.slice(0, equals)).replaceAll('+', ' '));
    const value = equals === -1 ? '' : decodeOnce(pair.slice(equals + 1));
    if (key === undefined || value === undefined) refuse('its query is not valid percent-encoded UTF-8');
    else if (FORBIDDEN_KEYS.has(key.trim().toLowerCase()))
      refuse(`the query parameter "${key.trim().toLowerCase()}" would act as another user or with another token`);
  }
}

/**
 * Reads a request target in origin form. An empty last segment (a trailing slash) is kept as a segment of its own.
 * Throws `REQUEST_REFUSED` for every other form, dot segments, `//`, backslashes, semicolons in path or query, control characters, double or broken
 * percent-encoding, and for the query keys that change whose request it is.
 */
export function readTarget(target: string): Target {
  if (target.length > MAX_TARGET) refuse('its URL is too long');
  if (!target.startsWith('/')) refuse('its target is not a path');
  if (!/^[\x21-\x7e]*$/.test(target)) refuse('its URL holds characters that must be percent-encoded');
  if (target.includes('#')) refuse('its target holds a fragment');
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  const query = mark === -1 ? undefined : target.slice(mark + 1);
  if (path.includes('//')) refuse('its path holds empty segments');
  if (path.includes('\\')) refuse('its path holds a backslash');
  if (path.includes(';')) refuse('its path holds a semicolon');
  const segments = path.slice(1).split('/').map(readSegment);
  if (query !== undefined && query !== '') checkQuery(query);
  return { path, query, segments };
}
