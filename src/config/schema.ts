/** The configuration's sections, apart from servers. Documentation, JSON schema and environment variables are made from this. */
import { z } from 'zod';
import { auth } from './auth-schema';
import {
  baseUrl,
  boolean,
  bytes,
  choice,
  duration,
  envName,
  host,
  integer,
  label,
  labelValue,
  list,
  listenAddress,
  network,
  origin,
  path,
  text,
  texts,
} from './fields';
import { serverName } from './server-schema';

const http = z.strictObject({
  listen: listenAddress().prefault('127.0.0.1:8080').describe('Where MCP clients are served.'),
  publicUrl: baseUrl()
    .optional()
    .describe(
      'The URL under which clients reach the gateway, without a path. Needed unless it listens on loopback only; then: that address.',
    ),
  allowedHosts: list(host())
    .prefault([])
    .describe("Further names that may stand in the Host header, beside the public URL's (against DNS rebinding)."),
  allowedOrigins: list(origin()).prefault([]).describe('Origins of web pages that may use the gateway from a browser.'),
  insecureAllowAnyOrigin: boolean().prefault(false).describe('Lets every web page use the gateway from a browser.'),
  trustedProxies: list(network())
    .prefault([])
    .describe(
      'Reverse proxies whose X-Forwarded-For is believed. Without them all clients behind one proxy share its rate limits.',
    ),
  maxBodyBytes: bytes({ min: 1024 })
    .prefault('32Mi')
    .describe('The largest message of a client; a larger one is answered 413.'),
  maxBodyBytesInFlight: bytes({ min: 1024 })
    .prefault('256Mi')
    .describe('All messages of clients that are held at once; beyond that 503.'),
  headersTimeout: duration({ min: 1 }).prefault('15s').describe("Time for a request's headers to arrive."),
  bodyTimeout: duration({ min: 1 }).prefault('2m').describe("Time for a request's body to arrive."),
  idleTimeout: duration({ min: 1 })
    .prefault('75s')
    .describe('Time that an idle connection is kept; longer than the load balancer in front keeps it.'),
  jsonTimeout: duration({ min: 0.01 })
    .prefault('10s')
    .describe(
      'A call that is not answered after this is answered as an event stream, so that nothing in between takes it for dead.',
    ),
  primeAfter: duration({ min: 0.001 })
    .prefault('50ms')
    .describe(
      'The same for clients of 2025-11-25 and later: from then on the call goes on when its connection breaks, and its client fetches the answer.',
    ),
  replayKeep: duration({ min: 1 })
    .prefault('5m')
    .describe('How long the messages of a stream are kept for a client whose connection broke.'),
  replayStreamBytes: bytes({ min: 0 }).prefault('1Mi').describe('Messages of one stream that are kept at most.'),
  replaySessionBytes: bytes({ min: 0 }).prefault('4Mi').describe('Messages of one session that are kept at most.'),
  replayTotalBytes: bytes({ min: 0 }).prefault('64Mi').describe('Messages of all sessions that are kept at most.'),
  replayStreams: integer({ min: 1 }).prefault(64).describe('Streams that one session keeps at most.'),
  maxSseConnections: integer({ min: 0 })
    .prefault(200)
    .describe('Connections by the transport of 2024-11-05 (`/sse`) at once; 0: none are served.'),
  maxSseConnectionsPerUser: integer({ min: 1 }).prefault(10).describe('The same of one user.'),
  sseInitializeTimeout: duration({ min: 1 })
    .prefault('30s')
    .describe('Time for a client of the transport of 2024-11-05 to open its session.'),
  keepalive: duration({ min: 1, max: 60 })
    .prefault('15s')
    .describe('Silence on an event stream after which a comment is sent.'),
  stallTimeout: duration({ min: 1 })
    .prefault('1m')
    .describe('A client that reads nothing for this long, while something waits for it, is cut off.'),
  maxConnections: integer({ min: 1 }).prefault(10_000).describe('Connections at once; further ones are closed.'),
});

const sessions = z.strictObject({
  driver: choice('sqlite', 'kubernetes')
    .prefault('sqlite')
    .describe(
      'Where sessions are recorded. `sqlite`: in a file, for one machine; `kubernetes`: as MCPSession objects in the namespace of the pods, which needs `backend.kind` `pod`.',
    ),
  maxPerUser: integer({ min: 0 })
    .prefault(10)
    .describe(
      'Sessions of one user that have a child at once, at all gateways together; those that sleep have none. 0: no limit.',
    ),
  maxTotal: integer({ min: 0 }).prefault(200).describe('The same of all users together; 0: no limit.'),
  maxHibernatedPerUser: integer({ min: 0 })
    .prefault(100)
    .describe(
      'Sessions of one user that sleep at a gateway, without a child; the one that was used the longest ago ends for a further one. 0: no limit.',
    ),
  maxHibernated: integer({ min: 0 }).prefault(10_000).describe('The same of all users together; 0: no limit.'),
  opensPerMinutePerUser: integer({ min: 0 })
    .prefault(60)
    .describe('Sessions that one user may open a minute, at all gateways together; 0: no limit.'),
  opensPerMinute: integer({ min: 0 }).prefault(600).describe('Sessions that may be opened a minute; 0: no limit.'),
  unknownStatus: integer({ min: 400, max: 499 })
    .prefault(410)
    .describe('HTTP status for a session id that was never minted here. Some clients start again on 404 only.'),
  endedStatus: integer({ min: 400, max: 499 })
    .prefault(404)
    .describe(
      'HTTP status for a session that has ended. The MCP specification demands 404, and clients start again on it.',
    ),
  binding: choice('adopt', 'strict')
    .prefault('adopt')
    .describe(
      '`strict`: a session works with the very login that opened it only; `adopt`: also after a new login of the same user and client.',
    ),
  sweepInterval: duration({ min: 0.1 }).prefault('30s').describe('How often idle and expired sessions are looked for.'),
  keyFile: path()
    .optional()
    .describe(
      'File with the keys that session ids are signed with. Default: `<dataDir>/session-ids.key`, made at first start.',
    ),
  maxStreams: integer({ min: 1 })
    .prefault(4)
    .describe('GET streams that one session may have open; the oldest is ended for a further one.'),
  keepRecords: duration({ min: 60 }).prefault('90d').describe('How long the record of an ended session is kept.'),
});

const backend = z.strictObject({
  kind: choice('process', 'pod')
    .prefault('process')
    .describe(
      '`pod`: a Kubernetes pod for every session; `process`: a local process, for one machine without a cluster.',
    ),
  runDir: path().optional().describe('`process`: where running children are recorded. Default: `<dataDir>/run`.'),
  namespace: label().prefault('forgejo-mcp-sessions').describe("`pod`: the sessions' namespace."),
  installId: labelValue()
    .prefault('forgejo-mcp')
    .describe('`pod`: the label value that marks the pods of this install; two installs in one namespace must differ.'),
  owner: label()
    .optional()
    .describe(
      "`pod`: a ConfigMap of the sessions' namespace that owns everything of sessions there, so that all of it goes with the ConfigMap. Default: nobody owns it.",
    ),
  serversNamespace: label()
    .optional()
    .describe(
      "`pod`: a namespace whose MCPServer resources are served as well, each as it is there at the moment. They have nothing of `server`; the applications of their Forgejo are those of the configuration's servers. Default: none.",
    ),
  kubeconfig: path()
    .optional()
    .describe(
      "`pod`: a kubeconfig file. Default: `KUBECONFIG`, else `~/.kube/config`, else the pod's own service account.",
    ),
  maxStarting: integer({ min: 1 }).prefault(32).describe('`pod`: pods that are being started at once.'),
  caEnv: list(envName())
    .prefault(['SSL_CERT_FILE'])
    .describe(
      "`pod`: the child's environment variables that name a file of trusted certificates; the credential proxy's is in it.",
    ),
});

const proxy = z.strictObject({
  listen: listenAddress()
    .optional()
    .describe(
      'Where the credential proxy listens. Default: a free port of 127.0.0.1 with `process`, 0.0.0.0:8443 with `pod`.',
    ),
  url: baseUrl()
    .optional()
    .describe(
      "The credential proxy's URL as children reach it: with `pod` its Service's. A name in it is looked up once, at start, because pods have no DNS. Default: where it listens.",
    ),
  keyFile: path()
    .optional()
    .describe(
      "File with the key that children's tokens are signed with. Default: `<dataDir>/capability.key`, made at first start.",
    ),
  tls: choice('auto', 'on')
    .prefault('auto')
    .describe(
      'TLS between children and the credential proxy, by a certificate that is made at start. `auto`: with `pod`.',
    ),
  insecureNoTls: boolean()
    .prefault(false)
    .describe('No TLS with `pod` either: whoever reads the network between nodes sees what children read and write.'),
  sourceCheck: choice('auto', 'require')
    .prefault('auto')
    .describe(
      "Whether a call must come from its child's own address. `auto`: from the first child on that is seen with its own; `require`: always.",
    ),
  insecureNoSourceCheck: boolean()
    .prefault(false)
    .describe("Takes a child's calls from any address: a token that leaks from one pod then works from others."),
  helpUrl: baseUrl().optional().describe('A page that explains refusals; children and agents are shown it.'),
  requestsPerSession: integer({ min: 1 }).prefault(64).describe('Requests of one session at once.'),
  maxBodyBytes: bytes({ min: 1024 }).prefault('1Gi').describe('The largest upload of a child.'),
  maxHeldBodyBytes: bytes({ min: 4 * 1024 * 1024 })
    .prefault('64Mi')
    .describe(
      'All requests of children that are held at once because a restricting policy looks into them; beyond that 503. The longest one is 4 MiB, which is the least.',
    ),
  connectTimeout: duration({ min: 0.1 }).prefault('5s').describe('Time to reach Forgejo.'),
  answerTimeout: duration({ min: 0.1 })
    .prefault('60s')
    .describe('Time for Forgejo to begin its answer, and between parts of it.'),
});

const store = z.strictObject({
  driver: choice('sqlite', 'kubernetes')
    .prefault('sqlite')
    .describe(
      'Where logins are kept. `sqlite`: in the file with the sessions, for one machine; `kubernetes`: as encrypted Secrets that every gateway of an install shares, in a cluster that is found as for `pod` (`backend.kubeconfig`). Where sessions are recorded is `sessions.driver`.',
    ),
  path: path().optional().describe('The database file. Default: `<dataDir>/sessions.sqlite`.'),
  namespace: label()
    .optional()
    .describe('`kubernetes`: the namespace of the Secrets that logins are kept in; one where nothing else is.'),
});

const ops = z.strictObject({
  listen: listenAddress()
    .prefault('127.0.0.1:9090')
    .describe('Where /metrics, /healthz and /readyz are served. Not for the Internet.'),
  checkTimeout: duration({ min: 0.1 })
    .prefault('3s')
    .describe('Time for each check of /readyz; shorter than whoever asks waits for the answer.'),
  checkCache: duration().prefault('5s').describe('How long the result of a check is used.'),
  outageGrace: duration()
    .prefault('10m')
    .describe(
      'How long a gateway that was ready stays ready while the Kubernetes API does not answer: all gateways of an install share it, so that leaving their Service would help nobody. One that is refused is not ready at once.',
    ),
});

const log = z.strictObject({
  level: choice('debug', 'info', 'warn', 'error')
    .prefault('info')
    .describe('The least severe lines to write. `debug` has a line for every request.'),
  destination: choice('stderr', 'stdout').prefault('stderr').describe('Where lines are written, one JSON object each.'),
});

const stop = z.strictObject({
  readinessDelay: duration({ max: 60 })
    .prefault('0s')
    .describe('Time between not being ready and refusing new sessions, for load balancers to notice.'),
  drainTimeout: duration().prefault('20s').describe('Time for calls in flight to be answered.'),
  timeout: duration({ min: 1 })
    .prefault('45s')
    .describe('Time for the whole stop; then the program exits with status 1.'),
});

const replicas = z.strictObject({
  address: text()
    .optional()
    .describe(
      'Where the other gateways of the install reach this one: `host:port`, usually the address of its pod. Needed with `sessions.driver` `kubernetes`, together with `operator.namespace`.',
    ),
  listen: listenAddress().prefault('0.0.0.0:8444').describe('Where requests that other gateways send on are taken.'),
  certificates: path()
    .optional()
    .describe(
      'Folder with `ca.crt`, `tls.crt` and `tls.key`, with which gateways believe each other; they may come and change while it runs, and until there are some the gateway is not ready. Without it nothing is sent on or taken.',
    ),
});

const perUser = z.strictObject({
  enabled: boolean()
    .prefault(false)
    .describe(
      'Lets servers have a namespace for each user (`isolation.namespace` `PerUser`): the operator makes them.',
    ),
  owner: text()
    .optional()
    .describe('A ClusterRole that owns these namespaces: they go with it. Needed with `enabled`.'),
  idle: duration({ min: 1 })
    .prefault('10m')
    .describe('A namespace in which no session has had a pod for this long is removed, with all that is in it.'),
  labels: texts()
    .prefault({})
    .describe('Further labels of these namespaces. Their Pod Security level is always `restricted`.'),
  objects: list(z.record(z.string(), z.unknown(), { error: 'must be a map' }).meta({ 'x-type': 'map' }))
    .prefault([])
    .describe(
      'What each of these namespaces has, as manifests without a namespace, made from the first to the last before any session is let in: RoleBindings, NetworkPolicies, a ResourceQuota, a LimitRange.',
    ),
});

const operator = z.strictObject({
  namespace: label()
    .optional()
    .describe(
      "The namespace of the release: that of the MCPServers, of the gateways' Leases and of the operator's own. Needed for `operator`.",
    ),
  lease: label()
    .prefault('forgejo-mcp-operator')
    .describe('The Lease of the operator that leads; two installs in one namespace must differ.'),
  leaseDuration: duration({ min: 3 })
    .prefault('15s')
    .describe('An operator that has not renewed for this long is replaced by another.'),
  renewDeadline: duration({ min: 1 })
    .prefault('10s')
    .describe('One that could not renew for this long stops by itself; at least 2 s shorter than leaseDuration.'),
  retryPeriod: duration({ min: 0.1 }).prefault('2s').describe('Time between two renewals.'),
  workers: integer({ min: 1, max: 64 }).prefault(8).describe('Sessions, and pods, that are worked on at once.'),
  maxWarmPods: integer({ min: 0, max: 10_000 })
    .prefault(50)
    .describe('Pods of all pools together, at most: what waits for sessions must leave room for them.'),
  certificateSecret: label()
    .optional()
    .describe(
      'A Secret of that namespace, which must be there, for the certificates with which gateways believe each other; the operator makes and rotates them. Without it none are made.',
    ),
  perUser: perUser.prefault({}),
});

/** The whole configuration but `server`, `servers` and the files of `serversDir`. */
export const schema = z.strictObject({
  dataDir: path()
    .prefault('/var/lib/forgejo-mcp-operator')
    .describe('Folder for keys and the database. Its files are readable by this user only.'),
  serversDir: path()
    .optional()
    .describe('Folder of YAML files, one server each: `metadata.name` and `spec`, as in an MCPServer resource.'),
  defaultServer: serverName
    .optional()
    .describe('The server that is at `/mcp` as well. Default: the one named `default`, else the first.'),
  http: http.prefault({}),
  auth: auth.prefault({}),
  sessions: sessions.prefault({}),
  backend: backend.prefault({}),
  proxy: proxy.prefault({}),
  store: store.prefault({}),
  ops: ops.prefault({}),
  log: log.prefault({}),
  stop: stop.prefault({}),
  replicas: replicas.prefault({}),
  operator: operator.prefault({}),
});

export type Settings = z.output<typeof schema>;
