/** What the schema says of itself: a JSON schema, and a flat list of settings for the environment, `--help` and the documentation. */
import { z } from 'zod';
import { schema } from './schema';
import { serverName, serverSchema } from './server-schema';

/** The parts of a JSON schema that are read here. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly required?: readonly string[];
  readonly 'x-type'?: string;
  readonly [keyword: string]: unknown;
}

/** One setting. */
export interface Setting {
  /** Dotted, as messages name it: `http.publicUrl`. */
  readonly path: readonly string[];
  /** `FMO_HTTP_PUBLIC_URL`. */
  readonly variable: string;
  /** For people: `duration`, `list of url`. */
  readonly type: string;
  readonly default: unknown;
  readonly description: string;
}

/** The JSON schema of a configuration file (draft 2020-12). */
export function jsonSchema(): JsonSchema {
  const root = of(schema);
  const server = withoutRequired(of(serverSchema));
  const { $schema: _dialect, ...common } = server;
  const one: JsonSchema = {
    ...common,
    properties: {
      name: { ...withoutDialect(of(serverName)), description: 'The name: its path is `/servers/<name>/mcp`.' },
      ...server.properties,
    },
    required: ['name'],
  };
  return {
    title: 'forgejo-mcp-operator configuration',
    ...root,
    properties: {
      ...root.properties,
      server: {
        ...common,
        description: 'What all servers have in common. Alone, without `servers`, it is the one server `default`.',
      },
      servers: { type: 'array', items: one, description: 'The servers. What one does not say, it has from `server`.' },
    },
  };
}

/** The JSON schema of one server that stands for itself, with what is required of it. */
export function serverJsonSchema(): JsonSchema {
  return withoutDialect(of(serverSchema));
}

/** Every setting that the environment can set: all but those of single `servers`. */
export function settings(): Setting[] {
  const root = jsonSchema();
  const found: Setting[] = [];
  const walk = (node: JsonSchema, at: readonly string[]): void => {
    for (const [name, child] of Object.entries(node.properties ?? {})) {
      const path = [...at, name];
      if (child.properties !== undefined) walk(child, path);
      else if (!(at.length === 0 && name === 'servers')) {
        found.push({
          path,
          variable: variableOf(path),
          type: typeOf(child),
          default: child.default,
          description: child.description ?? '',
        });
      }
    }
  };
  walk(root, []);
  return found;
}

/** `http.publicUrl` is `FMO_HTTP_PUBLIC_URL`: the prefix, the path in capitals, an underscore between words. */
export function variableOf(path: readonly string[]): string {
  return `FMO_${path.map((name) => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_')}`;
}

function of(type: z.ZodType): JsonSchema {
  return z.toJSONSchema(type, { io: 'input' }) as JsonSchema;
}

/** A server may leave out what `server` says, so nothing is required of either alone. */
function withoutRequired(node: JsonSchema): JsonSchema {
  const { required: _required, ...rest } = node;
  if (rest.properties === undefined) return rest;
  return {
    ...rest,
    properties: Object.fromEntries(
      Object.entries(rest.properties).map(([name, child]) => [name, withoutRequired(child)]),
    ),
  };
}

function withoutDialect(node: JsonSchema): JsonSchema {
  const { $schema: _dialect, ...rest } = node;
  return rest;
}

function typeOf(node: JsonSchema): string {
  if (node['x-type'] !== undefined) return node['x-type'];
  if (node.items !== undefined) return `list of ${typeOf(node.items)}`;
  return typeof node.type === 'string' ? node.type : 'text';
}
