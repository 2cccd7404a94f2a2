/** Values of the body that clients repeat in headers (MCP 2026-07-28, 'Value Encoding'). */
import { isUtf8 } from 'node:buffer';

/** Visible ASCII, space and tab (RFC 9110, 5.5). */
const PLAIN = /^[\t\x20-\x7e]*$/;
const ENCODED = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/;

/** What a header's value stands for; undefined where the header is missing or cannot be read. */
export function decodeHeader(value: string | readonly string[] | undefined): string | undefined {
  if (typeof value !== 'string' || !PLAIN.test(value)) return undefined;
  const encoded = ENCODED.exec(value)?.[1];
  if (encoded === undefined) return value;
  const bytes = Buffer.from(encoded, 'base64');
  // Padding may be left out, anything else that decoders forgive may not be: two readers would read two values.
  if (bytes.toString('base64').replace(/=+$/, '') !== encoded.replace(/=+$/, '') || !isUtf8(bytes)) return undefined;
  return bytes.toString('utf8');
}
