/** The two CustomResourceDefinitions (apiextensions.k8s.io/v1), as `make crds` writes them. */
import type { Resource } from '../kube/objects';
import { CATEGORY, GROUP, MCP_SERVERS, MCP_SESSIONS, VERSION } from './group';
import { SERVER_STATUS } from './server';
import { serverSpec } from './server-spec';
import { SESSION_SPEC, SESSION_STATUS } from './session';
import { object, type Structural } from './structural';

interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'boolean' | 'date';
  readonly jsonPath: string;
  /** Columns above 0 are shown with `-o wide`. */
  readonly priority?: number;
}

interface Parts {
  readonly resource: Resource;
  readonly singular: string;
  readonly shortName: string;
  readonly columns: readonly Column[];
  readonly schema: Structural;
  readonly subresources?: { readonly status: object };
}

/** A CustomResourceDefinition, plain. */
export interface Definition {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

const AGE: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };
const condition = (type: string): Column => ({
  name: type,
  type: 'string',
  jsonPath: `.status.conditions[?(@.type=="${type}")].status`,
});

function servers(): Parts {
  return {
    resource: MCP_SERVERS,
    singular: 'mcpserver',
    shortName: 'mcps',
    columns: [
      { name: 'Forgejo', type: 'string', jsonPath: '.spec.forgejo.url' },
      condition('Accepted'),
      condition('Ready'),
      { name: 'Paused', type: 'boolean', jsonPath: '.spec.paused' },
      { name: 'Active', type: 'integer', jsonPath: '.status.sessions.active' },
      { name: 'Hibernated', type: 'integer', jsonPath: '.status.sessions.hibernated' },
      { name: 'Pool', type: 'integer', jsonPath: '.status.pool.ready' },
      { ...condition('Drained'), priority: 1 },
      { name: 'Image', type: 'string', jsonPath: '.spec.pod.image', priority: 1 },
      { name: 'Access', type: 'string', jsonPath: '.spec.policy.access', priority: 1 },
      AGE,
    ],
    subresources: { status: {} },
    schema: object({ spec: serverSpec(), status: SERVER_STATUS }, ['spec'], {
      description: 'What to run for each MCP session. Clients reach it at /servers/<name>/mcp.',
      'x-kubernetes-validations': [
        {
          rule: "self.metadata.name.matches(r'^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",
          message: 'the name is a part of a URL and a label: at most 63 lower-case letters, digits and hyphens',
        },
      ],
    }),
  };
}

function sessions(): Parts {
  return {
    resource: MCP_SESSIONS,
    singular: 'mcpsession',
    shortName: 'mcpsess',
    columns: [
      { name: 'Server', type: 'string', jsonPath: '.spec.server' },
      { name: 'User', type: 'string', jsonPath: '.spec.user.id' },
      { name: 'State', type: 'string', jsonPath: '.status.state' },
      { name: 'Reason', type: 'string', jsonPath: '.status.reason' },
      { name: 'Pod', type: 'string', jsonPath: '.status.pod.name' },
      { name: 'Client', type: 'string', jsonPath: '.spec.client', priority: 1 },
      { name: 'Holder', type: 'string', jsonPath: '.status.holder', priority: 1 },
      { name: 'Epoch', type: 'integer', jsonPath: '.status.epoch', priority: 1 },
      { name: 'Expires', type: 'string', jsonPath: '.status.expiresAt', priority: 1 },
      AGE,
    ],
    schema: object({ spec: SESSION_SPEC, status: SESSION_STATUS }, ['spec', 'status'], {
      description: 'One MCP session of a user, as the gateways record it. Delete it to end the session.',
      'x-kubernetes-validations': [
        {
          rule: "self.metadata.name.matches(r'^[0-9a-f]{40}$')",
          message: 'the name is 40 hex digits of the digest of the session id: only the gateway makes sessions',
        },
      ],
    }),
  };
}

function definition({ resource, singular, shortName, columns, schema, subresources }: Parts): Definition {
  const { plural, kind } = resource;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: 'Namespaced',
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames: [shortName], categories: [CATEGORY] },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          ...(subresources === undefined ? {} : { subresources }),
          additionalPrinterColumns: columns,
          schema: { openAPIV3Schema: whole(schema) },
        },
      ],
    },
  };
}

/** The schema of a whole object: the API server itself knows what metadata is. */
function whole(schema: Structural): Structural {
  const { properties = {}, ...rest } = schema;
  return {
    ...rest,
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      ...properties,
    },
  };
}

/** Both definitions, by the name of their file. */
export function definitions(): Readonly<Record<string, Definition>> {
  return { 'mcpservers.yaml': definition(servers()), 'mcpsessions.yaml': definition(sessions()) };
}
