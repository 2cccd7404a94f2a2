/**
 * From a setting's JSON schema (`config/describe.ts`) to a structural schema. A setting is read from files and environments as well, so it takes a time as
 * a number and a boolean as text; in a custom resource each has one form, which is what kubectl shows.
 */
import type { JsonSchema } from '../config/describe';
import type { Rule, Structural } from './structural';

interface Form {
  readonly pattern: string;
  /** What is expected, as the configuration says it. */
  readonly what: string;
  readonly maxLength: number;
}

/** The kinds of text that have a form (RE2), by their `x-type`. What a form does not show, such as a range of times, the gateway checks. */
export const FORMS: Readonly<Record<string, Form>> = {
  duration: {
    pattern: String.raw`^(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d))+)$`,
    what: 'a time such as 30s, 5m or 1h30m',
    maxLength: 32,
  },
  bytes: {
    pattern: String.raw`^\d+(\.\d+)?(k|M|G|Ki|Mi|Gi)?$`,
    what: 'a size such as 512Ki, 4Mi or a number of bytes',
    maxLength: 32,
  },
  url: {
    pattern: String.raw`^https?://[^/?#@\s]+(/[^?#\s]*)?$`,
    what: 'a URL such as https://forgejo.example.org, without user, query or fragment',
    maxLength: 2048,
  },
  origin: {
    pattern: String.raw`^https?://[^/?#@\s]+/?$`,
    what: 'an origin such as https://inspector.example.org, without a path',
    maxLength: 512,
  },
  variable: {
    pattern: '^[A-Za-z_][A-Za-z0-9_]*$',
    what: 'the name of an environment variable',
    maxLength: 256,
  },
  owner: {
    pattern: String.raw`^(\*|[^\s/*]+)$`,
    what: 'the name of a user or an organisation, or * for any',
    maxLength: 256,
  },
  repository: {
    pattern: String.raw`^(\*|\*/\*|[^\s/*]+/(\*|[^\s/*]+))$`,
    what: 'owner/name, owner/* or *',
    maxLength: 512,
  },
  route: {
    pattern: String.raw`^[A-Z]+ /\S*$`,
    what: 'METHOD /path, as docs/credential-proxy.md lists them',
    maxLength: 512,
  },
};

/** Bounds that a custom resource needs, because rules cost by the most that there may be. */
const TEXT_MAX = 4096;
const LIST_MAX = 128;
const MAP_MAX = 128;

/** @throws Error for a schema that has no structural form; an oversight of ours. */
export function structural(node: JsonSchema): Structural {
  return { ...shape(node), ...described(node) };
}

function shape(node: JsonSchema): Structural {
  const kind = node['x-type'];
  const form = kind === undefined ? undefined : FORMS[kind];
  if (form !== undefined) {
    return {
      type: 'string',
      maxLength: form.maxLength,
      'x-kubernetes-validations': [matches(form)],
    };
  }
  if (kind === 'boolean') return { type: 'boolean' };
  if (kind === 'integer') return { type: 'integer', format: 'int64', ...range(node) };
  const words = wordsOf(node);
  if (words !== undefined) return { type: 'string', enum: words };
  if (node.items !== undefined) {
    return {
      type: 'array',
      maxItems: LIST_MAX,
      ...(typeof node.minItems === 'number' ? { minItems: node.minItems } : {}),
      items: structural(node.items),
      'x-kubernetes-list-type': 'atomic',
    };
  }
  if (kind === 'map') return map(node);
  if (node.properties !== undefined) return fields(node);
  if (node.type === 'string') {
    return {
      type: 'string',
      maxLength: TEXT_MAX,
      ...(typeof node.minLength === 'number' ? { minLength: node.minLength } : {}),
    };
  }
  throw new Error(`no structural schema for ${JSON.stringify(node)}`);
}

/** An object whose own fields are all optional is there by default, so that the defaults of its fields are. */
function fields({ properties = {}, required }: JsonSchema): Structural {
  const converted = Object.entries(properties).map(([name, child]) => [name, structural(child)] as const);
  return {
    type: 'object',
    ...(required === undefined || required.length === 0 ? { default: {} } : { required }),
    properties: Object.fromEntries(converted),
  };
}

/** Names to text; a map of anything stays as it is. */
function map({ additionalProperties }: JsonSchema): Structural {
  const values = additionalProperties as JsonSchema | undefined;
  if (values?.type !== 'string') return { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  return { type: 'object', maxProperties: MAP_MAX, additionalProperties: { type: 'string', maxLength: TEXT_MAX } };
}

function described({ description, default: value, properties }: JsonSchema): Structural {
  return {
    ...(description === undefined ? {} : { description }),
    ...(value === undefined || properties !== undefined ? {} : { default: value }),
  };
}

function range({ minimum, maximum }: JsonSchema): Structural {
  return {
    ...(typeof minimum === 'number' ? { minimum } : {}),
    ...(typeof maximum === 'number' ? { maximum } : {}),
  };
}

/** The words of a choice: one of the alternatives is a list of them, the other takes YAML 1.1's booleans. */
function wordsOf({ anyOf }: JsonSchema): readonly string[] | undefined {
  const alternatives = Array.isArray(anyOf) ? (anyOf as readonly JsonSchema[]) : [];
  return alternatives.find(({ enum: words }) => Array.isArray(words))?.enum as readonly string[] | undefined;
}

function matches({ pattern, what }: Form): Rule {
  return { rule: `self.matches(r'${pattern}')`, message: `must be ${what}` };
}
