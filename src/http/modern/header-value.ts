/** Values of the body that clients repeat in headers (MCP 2026-07-28, 'Value Encoding'). */
import { isUtf8 } from 'node:buffer';

/** Visible ASCII, space and tab (RFC 9110, 5.5). */
const PLAIN = /^[\t\x20-\x7e]*$/;
const ENCODED = /^=\?base64\?(.*)\?=$/;

/** What a header's value stands for; undefined where the header is missing or cannot be read. */
export function decodeHeader(value: string | readonly string[] | undefined): string | undefined {
  if (typeof value !== 'string' || !PLAIN.test(value)) return undefined;
  const encoded = ENCODED.exec(value)?.[1];
  if (encoded === undefined) return value;
  const bytes = Buffer.from(encoded, 'base64');
  // What decoders forgive (missing padding, strange characters) is refused: two readers would read two values.
  return bytes.toString('base64') === encoded && isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}
