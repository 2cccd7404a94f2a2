/** Makes fields fit for a log: no secret by name or by look, no endless text, no object whose inside nobody knows. */
import { redact, stripTerminal } from './redact';
import type { LogFields } from './log';

const MAX_TEXT = 4096;
const MAX_DEPTH = 4;
const MAX_ITEMS = 64;

/** Fields that are secret whatever they hold. */
const SECRET_NAME = /token|secret|passw|authorization|cookie|credential|private.?key|^key$/i;

/** Names of sessions are 40 hex digits, as Forgejo's tokens are; these fields hold names only. */
const SESSION_NAME = /^[0-9a-f]{40}$/;

/** A copy that may be logged. Errors are cut down to name, code, message and stack, because HTTP clients hang whole requests on theirs. */
export function scrub(fields: LogFields | undefined): Record<string, unknown> {
  const clean: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields ?? {})) {
    if (value !== undefined) clean[name] = field(name, value, 0);
  }
  return clean;
}

function field(name: string, value: unknown, depth: number): unknown {
  if (name === 'session' && typeof value === 'string' && SESSION_NAME.test(value)) return value;
  if (SECRET_NAME.test(name) && typeof value !== 'number' && typeof value !== 'boolean') return '[redacted]';
  return any(value, depth);
}

function any(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case 'string':
      return text(value);
    case 'number':
    case 'boolean':
    case 'undefined':
      return value;
    case 'bigint':
      return value.toString();
    case 'symbol':
    case 'function':
      return `[${typeof value}]`;
    case 'object':
      return object(value, depth);
  }
}

function object(value: object | null, depth: number): unknown {
  if (value === null) return null;
  if (value instanceof Error) {
    const { code } = value as { code?: unknown };
    return {
      name: value.name,
      code: typeof code === 'string' ? text(code) : undefined,
      message: text(value.message),
      stack: text(value.stack ?? ''),
    };
  }
  if (ArrayBuffer.isView(value)) return `[${String(value.byteLength)} bytes]`;
  if (depth >= MAX_DEPTH) return '[deeper]';
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item: unknown) => any(item, depth + 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return `[${value.constructor.name}]`;
  const clean: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(value).slice(0, MAX_ITEMS))
    clean[text(name)] = field(name, inner, depth + 1);
  return clean;
}

function text(value: string): string {
  const cut = value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}... (${String(value.length)} characters)` : value;
  // Line breaks are JSON's to escape; a stack trace needs them.
  return cut
    .split('\n')
    .map((line) => redact(stripTerminal(line)))
    .join('\n');
}
