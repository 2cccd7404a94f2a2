/** One text for values that mean the same: members in order, nothing between tokens. */
import { hash } from 'node:crypto';
import { isObject } from '../json';

/** The canonical text of a JSON value (in the manner of RFC 8785, but numbers keep their spelling). */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item)).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? 'null';
  const members = Object.keys(value)
    .filter((name) => value[name] !== undefined)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`);
  return `{${members.join(',')}}`;
}

/** A digest of a JSON value, 43 characters. */
export function digestOf(value: unknown): string {
  return hash('sha256', canonical(value), 'base64url');
}
