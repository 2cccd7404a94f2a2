/** The schema of MCPServer's `spec`: that of a server of the configuration, and what only a cluster can or must say. */
import { serverJsonSchema, type JsonSchema } from '../config/describe';
import { structural } from './from-settings';
import type { Rule, Structural } from './structural';

/** Rules that need more than one field, by the object that they stand at. */
const RULES: Readonly<Record<string, readonly Rule[]>> = {
  '': [
    {
      rule: '!(self.forgejo.urlEnv in self.env) && !self.forgejo.tokenEnv.exists(name, name in self.env)',
      message:
        'must not set the variables of forgejo.urlEnv and forgejo.tokenEnv: the gateway sets them for every session',
      fieldPath: '.env',
    },
    {
      rule: "self.isolation.namespace != 'PerUser' || self.pod.imagePullSecrets.size() == 0",
      message: 'must be empty with isolation.namespace PerUser: no Secret is in those namespaces',
      fieldPath: '.pod.imagePullSecrets',
    },
    {
      rule: "self.isolation.namespace != 'PerUser' || self.pool.min == 0 && (!has(self.pool.max) || self.pool.max == 0)",
      message:
        'cannot be with isolation.namespace PerUser: whose a pod will be is not known before it waits. Set min and max to 0',
      fieldPath: '.pool',
    },
  ],
  pod: [
    {
      rule: "self.launcher != 'inject' || has(self.launcherImage)",
      message: 'is needed with launcher "inject": the image that has the launcher',
      fieldPath: '.launcherImage',
    },
  ],
  pool: [{ rule: '!has(self.max) || self.max >= self.min', message: 'must be at least min', fieldPath: '.max' }],
  'pod.requests': [quantities('requests')],
  'pod.limits': [quantities('limits')],
};

/**
 * Fields that are needed here and not in a file, where the section that all servers have in common may say them, or no pod is made. Without a default
 * for `pod` its image cannot be forgotten.
 */
const REQUIRED: Readonly<Record<string, readonly string[]>> = { '': ['forgejo', 'pod'], pod: ['image'] };

/** A file with a secret is the gateway's own: a server of the cluster has the applications that the configuration has for its forge. */
const LEFT_OUT = new Set(['forgejo.applications']);

/** What is said of a field differently here. */
const DESCRIBED: Readonly<Record<string, string>> = {
  '': 'What to run for each session. It stands for itself: nothing is taken over from the section `server` of the configuration.',
  forgejo:
    'The forge. With `auth.mode` `oauth` it must be one that the configuration has a server of, whose OAuth applications and `apiUrl` are used.',
  'forgejo.apiUrl':
    "Base URL for the gateway's own calls to Forgejo's API. Default: the configuration's for this forge, else `url`.",
  pod: "The session's pod.",
  'pod.image': 'The child image, by digest where possible.',
  'pod.userNamespaces':
    'Runs the pod in a user namespace of its own: "auto", "on" or "off", in quotes. `auto`: where a test pod proves that the cluster can.',
  pool: 'Pods that wait for a session, so that its start is a handshake away.',
  isolation: 'How sessions are kept apart.',
  policy: 'What sessions may touch, at most: their users choose from it.',
};

/** The schema of `spec`. */
export function serverSpec(): Structural {
  return extended('', structural(without(serverJsonSchema(), '')));
}

function extended(path: string, node: Structural): Structural {
  const { default: value, properties, required, ...rest } = node;
  const rules = RULES[path];
  const description = DESCRIBED[path];
  const needed = [...(required ?? []), ...(REQUIRED[path] ?? [])];
  return {
    ...rest,
    ...(description === undefined ? {} : { description }),
    ...(value === undefined || needed.length > 0 ? {} : { default: value }),
    ...(needed.length === 0 ? {} : { required: needed }),
    ...(rules === undefined ? {} : { 'x-kubernetes-validations': rules }),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, child]) => [name, extended(below(path, name), child)]),
          ),
        }),
  };
}

function without(node: JsonSchema, path: string): JsonSchema {
  if (node.properties === undefined) return node;
  const kept = Object.entries(node.properties)
    .map(([name, child]) => [name, child, below(path, name)] as const)
    .filter(([, , at]) => !LEFT_OUT.has(at))
    .map(([name, child, at]) => [name, without(child, at)] as const);
  return { ...node, properties: Object.fromEntries(kept) };
}

function below(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function quantities(what: string): Rule {
  return {
    rule: 'self.all(name, isQuantity(self[name]))',
    message: `${what} must be quantities such as 100m or 64Mi`,
  };
}
