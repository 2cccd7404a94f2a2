/** Arguments of tools that clients repeat in headers (MCP 2026-07-28, 'Custom Headers from Tool Parameters'). */
import type { MirroredArgument } from './contract';
import { isObject } from './json';

/** RFC 9110, 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
const PRIMITIVE: ReadonlySet<unknown> = new Set(['string', 'integer', 'boolean']);
/** Bounds of what a tool can make us walk and keep. */
const MAX_DEPTH = 16;
const MAX_MEMBERS = 4096;

/**
 * The arguments that a tool's input schema marks with `x-mcp-header`, found along `properties` alone. A schema with a mark that breaks the rules
 * (not a header's name, twice the same one, not a primitive) has none: clients must not use such a tool, so there is nothing to hold a header against.
 */
export function mirroredArguments(inputSchema: unknown): readonly MirroredArgument[] {
  const found: MirroredArgument[] = [];
  const names = new Set<string>();
  let members = 0;
  const walk = (schema: unknown, path: readonly string[]): boolean => {
    if (!isObject(schema) || path.length > MAX_DEPTH) return true;
    const header = schema['x-mcp-header'];
    if (header !== undefined) {
      if (path.length === 0 || typeof header !== 'string' || !TOKEN.test(header)) return false;
      if (names.has(header.toLowerCase()) || !PRIMITIVE.has(schema.type)) return false;
      names.add(header.toLowerCase());
      found.push({ header, path });
    }
    if (!isObject(schema.properties)) return true;
    return Object.entries(schema.properties).every(([name, member]) => {
      members += 1;
      return members > MAX_MEMBERS || walk(member, [...path, name]);
    });
  };
  return walk(inputSchema, []) ? found : [];
}
