/** Structural schemas: the part of OpenAPI v3 that a CustomResourceDefinition may have (KEP-2337), with validations in CEL (KEP-2876). */

/** A validation. `message` says what to do. */
export interface Rule {
  readonly rule: string;
  readonly message: string;
  /** Names the field that a message is about, where the rule stands above it: `.launcherImage`. */
  readonly fieldPath?: string;
}

export interface Structural {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly format?: 'date-time' | 'int64';
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly items?: Structural;
  readonly properties?: Readonly<Record<string, Structural>>;
  readonly additionalProperties?: Structural;
  readonly required?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly Rule[];
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'map' | 'set';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-preserve-unknown-fields'?: true;
}

/** An object of which `required` must be there. */
export function object(
  properties: Readonly<Record<string, Structural>>,
  required: readonly string[] = [],
  more: Omit<Structural, 'type' | 'properties' | 'required'> = {},
): Structural {
  return { type: 'object', ...more, ...(required.length === 0 ? {} : { required }), properties };
}

/** Text of a bounded length: rules cost by the longest that there may be. */
export function text(description: string, maxLength: number, more: Omit<Structural, 'type'> = {}): Structural {
  return { type: 'string', description, maxLength, ...more };
}

/** A moment (RFC 3339). */
export function moment(description: string): Structural {
  return { type: 'string', format: 'date-time', description };
}

/** A number that is never negative. */
export function count(description: string): Structural {
  return { type: 'integer', format: 'int64', minimum: 0, description };
}
