/** MCPServer: what to run for each MCP session. Its `spec` is a server of the configuration (`src/config/server-schema.ts`), defaults filled in. */
import type { KubeObject } from '../kube/objects';
import type { API_VERSION, MCP_SERVERS } from './group';
import { count, moment, object, type Structural, text } from './structural';

/** A condition as Kubernetes has them (KEP-1623). */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** One word in CamelCase, for programs. */
  readonly reason: string;
  /** For people: what is so, and what to do. */
  readonly message: string;
  /** The `metadata.generation` that it was said of. */
  readonly observedGeneration?: number;
  /** RFC 3339: when `status` changed last. */
  readonly lastTransitionTime: string;
}

/** The conditions of an MCPServer. `Accepted`: the gateways serve it; `Ready`: a session of it would start now; `Drained`: it is to have no sessions, and has none. */
export type MCPServerCondition = 'Accepted' | 'Ready' | 'Drained';

export interface MCPServerStatus {
  /** The `metadata.generation` that was looked at last. */
  readonly observedGeneration?: number;
  readonly conditions?: readonly Condition[];
  readonly sessions?: { readonly active: number; readonly hibernated: number; readonly starting: number };
  /** Pods that wait for a session: those that are ready, and how many there should be. */
  readonly pool?: { readonly ready: number; readonly desired: number };
}

export interface MCPServer extends KubeObject {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: typeof MCP_SERVERS.kind;
  /** As the configuration has it; read by `config/servers.ts`, which says what is wrong with it. */
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status?: MCPServerStatus;
}

const condition = object(
  {
    type: text(
      '`Accepted`: the gateways serve it. `Ready`: a session of it would start now. `Drained`: it is to have no sessions, and has none.',
      316,
      { minLength: 1 },
    ),
    status: { type: 'string', enum: ['True', 'False', 'Unknown'], description: 'Whether it is so.' },
    reason: text('Why, in one word.', 1024, { minLength: 1, pattern: '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$' }),
    message: text('Why, and what to do.', 32_768),
    observedGeneration: count('The generation of the server that this was said of.'),
    lastTransitionTime: moment('When the status changed last.'),
  },
  ['type', 'status', 'reason', 'message', 'lastTransitionTime'],
);

/** The schema of `status`. */
export const SERVER_STATUS: Structural = object(
  {
    observedGeneration: count('The generation of the server that was looked at last.'),
    conditions: {
      type: 'array',
      maxItems: 16,
      items: condition,
      description: 'What can be said of it.',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
    },
    sessions: object(
      {
        active: count('Sessions that have a child.'),
        hibernated: count('Sessions that get one with their next message.'),
        starting: count('Sessions whose child is being started.'),
      },
      [],
      { description: 'Its sessions, counted.' },
    ),
    pool: object({ ready: count('Pods that can be claimed.'), desired: count('Pods that there should be.') }, [], {
      description: 'Pods that wait for a session.',
    }),
  },
  [],
  { description: 'What the operator found. Nothing in it is configuration.' },
);
