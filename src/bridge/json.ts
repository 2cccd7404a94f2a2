/**
 * JSON that survives the way through the gateway digit by digit (RFC 8259, 6).
 *
 * `JSON.parse` rounds integers beyond 2^53 and forgets how a number was spelt; ids that are snowflakes or nanoseconds would come back as
 * others. Only a text that holds such a number pays for keeping it.
 */

/** V8's raw JSON (ECMAScript proposal "JSON.parse source text access"), which the TypeScript library does not declare yet. */
interface RawJson {
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
}

const RAW = JSON as unknown as RawJson;

/**
 * A number that might not come back as it was: 16 digits and more, a fraction that ends in zero, an exponent, a negative zero. It looks
 * only where a value can begin, so that digests and base64 in strings seldom match; a match in a string costs time, never correctness.
 */
const UNUSUAL_NUMBER = /[:,[\s]-?(?:\d{16}|\d+(?:\.\d+)?[eE]|\d+\.(?:\d*0(?!\d)|\d{16})|0(?<=-0)(?![.\d]))/;

/**
 * Parses JSON; a number that `JSON.parse` would change becomes an opaque value that `JSON.stringify` writes as it was.
 * @throws SyntaxError when `text` is not JSON.
 */
export function parseExact(text: string): unknown {
  if (!UNUSUAL_NUMBER.test(text)) return JSON.parse(text);
  try {
    return RAW.parse(text, (_key, value, { source }) =>
      typeof value === 'number' && source !== undefined && String(value) !== source ? RAW.rawJSON(source) : value,
    );
  } catch (thrown) {
    // A reviver recurses where the parser does not: nesting that is too deep for it loses spelling, not the message.
    if (thrown instanceof RangeError) return JSON.parse(text);
    throw thrown;
  }
}

/** Whether a value may be a JSON-RPC id as MCP narrows it: a string or an integer (JSON-RPC 2.0, 4), in {@link parseExact}'s form as well. */
export function isId(value: unknown): value is string | number {
  if (typeof value === 'string') return true;
  if (typeof value === 'number') return Number.isInteger(value);
  return RAW.isRawJSON(value) && /^-?\d+(?:\.0+)?$/.test(JSON.stringify(value));
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !RAW.isRawJSON(value);
}

/** An object without some of its members. */
export function without(
  object: Readonly<Record<string, unknown>>,
  ...names: readonly string[]
): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
}
