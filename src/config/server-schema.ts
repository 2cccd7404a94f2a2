/** The settings of one server: the section `server` (what all have in common), each of `servers`, and each file of `serversDir`. */
import { z } from 'zod';
import {
  baseUrl,
  boolean,
  bytes,
  choice,
  duration,
  envName,
  integer,
  label,
  list,
  origin,
  owner,
  path,
  repository,
  route,
  text,
  texts,
} from './fields';

/** An OAuth application; `scopes` is what it asks for unless the configuration says otherwise. */
function application(doing: string, scopes: readonly [string, ...string[]]) {
  return z.strictObject({
    clientId: text().describe(`Client id of the OAuth application for ${doing}.`),
    clientSecretFile: path().describe('File with its client secret and nothing else.'),
    scopes: list(text())
      .min(1, { error: 'must not be empty: Forgejo takes that for full access' })
      .prefault([...scopes])
      .describe('What it asks Forgejo for, as scopes of Forgejo. A user who has granted it once is not asked again.'),
  });
}

const applications = z.strictObject({
  read: application('sessions that only read', [
    'read:user',
    'read:repository',
    'read:issue',
    'read:organization',
    'read:notification',
    'read:misc',
  ]),
  write: application('sessions that change things as well; another one than for reading', [
    'read:user',
    'write:repository',
    'write:issue',
    'read:organization',
    'write:notification',
    'read:misc',
  ]),
});

const forgejo = z.strictObject({
  url: baseUrl().describe("Forgejo's public base URL, as browsers see it."),
  apiUrl: baseUrl()
    .optional()
    .describe(
      "Base URL for the gateway's own calls to Forgejo's API, for example its Service in the cluster. Default: `url`.",
    ),
  storageOrigins: list(origin())
    .prefault([])
    .describe('Origins of object storage that downloads may be redirected to. They are fetched without credentials.'),
  urlEnv: envName().prefault('FORGEJO_URL').describe("The child's environment variable for Forgejo's URL."),
  tokenEnv: list(envName())
    .prefault(['FORGEJO_ACCESS_TOKEN'])
    .describe(
      "The child's environment variables for its token. It is given one that works for this session only, never the user's.",
    ),
  insecureAllowSiteAdmins: boolean()
    .prefault(false)
    .describe(
      "Lets site administrators use the server. Their tokens can act as any user, so an agent's mistake is everybody's.",
    ),
  applications: applications
    .optional()
    .describe(
      'The two OAuth applications that users log in with, made in Forgejo. Needed with `auth.mode` `oauth`; the same for all servers of one Forgejo.',
    ),
});

const policy = z.strictObject({
  access: choice('read', 'write').prefault('write').describe('`read`: sessions can only read; `write`: also change.'),
  owners: list(owner())
    .prefault(['*'])
    .describe('Users and organisations whose repositories may be touched; `*` for any.'),
  repositories: list(repository())
    .prefault(['*'])
    .describe('Repositories that may be touched: `owner/name`, `owner/*` or `*`.'),
  insecureAllowRoutes: list(route())
    .prefault([])
    .describe(
      'API routes, as `METHOD /path/{x}`, that are refused to every child (keys, hooks, secrets, administration) and are opened here all the same.',
    ),
});

/** Pods of one server's pool at most. */
const POOL_MAX = 1000;

const tolerations = list(z.record(z.string(), z.unknown(), { error: 'must be a map' }).meta({ 'x-type': 'map' }));

const pod = z.strictObject({
  image: text().optional().describe('The child image, by digest where possible. Needed with `backend.kind` `pod`.'),
  imagePullPolicy: choice('IfNotPresent', 'Always', 'Never')
    .prefault('IfNotPresent')
    .describe("Kubernetes' pull policy."),
  imagePullSecrets: list(text()).prefault([]).describe("Names of pull Secrets in the sessions' namespace."),
  userNamespaces: choice('auto', 'on', 'off')
    .prefault('auto')
    .describe(
      'Runs the pod in a user namespace of its own. `auto`: where a test pod at start proves that the cluster can.',
    ),
  runtimeClassName: text().optional().describe('RuntimeClass, for example gVisor or Kata.'),
  priorityClassName: text().optional().describe('PriorityClass.'),
  nodeSelector: texts().prefault({}).describe('Labels that the node must have.'),
  tolerations: tolerations.prefault([]).describe('Tolerations, as in a pod.'),
  requests: texts().prefault({ cpu: '20m', memory: '32Mi' }).describe('Resource requests.'),
  limits: texts().prefault({ cpu: '1', memory: '256Mi' }).describe('Resource limits.'),
  labels: texts().prefault({}).describe('Further labels of the pod.'),
  annotations: texts().prefault({}).describe('Further annotations of the pod.'),
  launcher: choice('builtin', 'inject')
    .prefault('builtin')
    .describe('`builtin`: the image has the launcher at `/launcher`; `inject`: an init container copies it in.'),
  launcherImage: text().optional().describe('The image that has the launcher, for `inject`.'),
});

/** Pods that wait for a session. Only a cluster with an operator has them. */
const pool = z.strictObject({
  min: integer({ min: 0, max: POOL_MAX })
    .prefault(0)
    .describe(
      'Pods that are kept waiting for a session, so that its start is a handshake away; 0: none unless sessions come.',
    ),
  max: integer({ min: 0, max: POOL_MAX })
    .optional()
    .describe('As many may wait while sessions come faster than pods start. Default: `min`.'),
  maxAge: duration({ min: 60 })
    .prefault('1h')
    .describe('A pod that nobody took for about this long is replaced by a new one.'),
});

const isolation = z.strictObject({
  namespace: choice('Shared', 'PerUser')
    .prefault('Shared')
    .describe(
      "Where sessions' pods are. `Shared`: in the sessions' namespace; `PerUser`: in one for each user, which the operator makes and removes (`operator.perUser`).",
    ),
});

/** Everything that can be said of a server but its name. */
export const serverSchema = z.strictObject({
  command: list(text())
    .min(1, { error: 'must name the program to run' })
    .prefault(['/forgejo-mcp', '--transport', 'stdio'])
    .describe("The child's program and arguments. No secrets: they would be seen."),
  env: texts()
    .prefault({})
    .describe("Plain environment for the child. No secrets: they would stand in the pod's specification."),
  // The URL has no default: with nothing said of the forge, it is the URL that is missed.
  forgejo: forgejo.prefault({} as z.input<typeof forgejo>),
  policy: policy.prefault({}),
  pod: pod.prefault({}),
  pool: pool.prefault({}),
  isolation: isolation.prefault({}),
  protocolEra: choice('auto', 'legacy', 'modern')
    .prefault('auto')
    .describe(
      'Which MCP the child speaks to clients without sessions. `auto`: it is asked at its start; `legacy`: one with `initialize`, and the gateway translates; `modern`: 2026-07-28.',
    ),
  idleTimeout: duration({ min: 1 })
    .prefault('5m')
    .describe(
      'The child of a session without a call for this long is removed; the session sleeps, and its next message starts another child (`stateful`: it ends).',
    ),
  sessionTTL: duration({ min: 1 })
    .prefault('24h')
    .describe('A session is gone for good this long after its last activity.'),
  maxLifetime: duration()
    .prefault('0')
    .describe('A session is ended this long after its start, busy or not; 0: no limit.'),
  startTimeout: duration({ min: 1 }).prefault('2m').describe('Time for a child to come up, image pull included.'),
  callTimeout: duration({ min: 1 }).prefault('10m').describe('Time for one call.'),
  stopGrace: duration({ min: 0.1 })
    .prefault('5s')
    .describe('Time between end of input and SIGTERM, and between SIGTERM and SIGKILL.'),
  maxLineBytes: bytes({ min: 65_536 }).prefault('64Mi').describe('The longest message that the child may write.'),
  maxCallsInFlight: integer({ min: 1 }).prefault(64).describe('Calls that one session may have in flight.'),
  maxSessions: integer({ min: 0 })
    .prefault(0)
    .describe('Sessions of this server at once, at all gateways together; 0: no limit of its own.'),
  stateful: boolean()
    .prefault(false)
    .describe(
      'The child keeps something that another one could not take over: the session ends where it would otherwise be woken on a new child.',
    ),
  paused: boolean().prefault(false).describe('No new sessions of this server are opened; those that are open go on.'),
  drain: boolean()
    .prefault(false)
    .describe(
      'No new sessions of this server are opened, and those that there are end: at once, or when their calls are answered, within `stop.drainTimeout`.',
    ),
});

/** The name of a server: its path is `/servers/<name>/mcp`. */
export const serverName = label(63);

export type ServerSettings = z.output<typeof serverSchema>;
