/**
 * Every metric of the product. One prefix, base units, labels with few values that are known beforehand; `docs/metrics.md` is made from
 * this file, and a test fails on drift.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { Tally } from './tally';

const PREFIX = 'forgejo_mcp_';

/** Seconds: a call through the bridge takes a millisecond, one that waits for Forgejo a second, one that waits for a person minutes. */
const CALL_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
/** Seconds: a process starts in tens of milliseconds, a pod in half a second, one whose image is pulled in a minute. */
const START_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 120];
/** Seconds: requests to Forgejo. */
const FORGE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Makes all metrics in a registry of their own. Process and Node metrics keep the names that dashboards expect. */
export function createMetrics() {
  const registry = new Registry();
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> =>
    new Counter({ name: `${PREFIX}${name}`, help, labelNames: [...labelNames], registers: [registry] });
  const tally = <L extends string>(name: string, help: string, labelNames: readonly L[]): Tally<L> => {
    const counts = new Tally(labelNames);
    new Counter({
      name: `${PREFIX}${name}`,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect() {
        counts.drain(this);
      },
    });
    return counts;
  };
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> =>
    new Gauge({ name: `${PREFIX}${name}`, help, labelNames: [...labelNames], registers: [registry] });
  const histogram = <L extends string>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: readonly L[] = [],
  ): Histogram<L> =>
    new Histogram({ name: `${PREFIX}${name}`, help, labelNames: [...labelNames], buckets, registers: [registry] });

  return {
    registry,

    build: gauge('build_info', 'Always 1; the version is in the labels.', ['version', 'node', 'backend']),
    ready: gauge('ready', 'Whether a check of /readyz passes (1) or not (0).', ['check']),

    sessions: gauge('sessions', 'Sessions by state.', ['state']),
    opens: counter('session_opens_total', 'Sessions opened.', ['server']),
    openSeconds: histogram(
      'session_open_duration_seconds',
      'Time to open a session, from its admission to a running child.',
      START_BUCKETS,
      ['server'],
    ),
    refusals: counter('session_refusals_total', 'Sessions and requests that the registry refused, by error code.', [
      'code',
    ]),
    hibernations: counter(
      'session_hibernations_total',
      'Sessions whose child went and that live on without one, by why.',
      ['server', 'why'],
    ),
    wakeSeconds: histogram(
      'session_wake_duration_seconds',
      'Time until a sleeping session had a child again that was told what the one before knew.',
      START_BUCKETS,
      ['server'],
    ),
    handovers: counter(
      'session_handovers_total',
      'Sessions that went from one gateway to another with a child, by how: given-up and adopted with it, replaced where it could not be had.',
      ['server', 'how'],
    ),
    peerForwards: counter(
      'peer_forwards_total',
      'Requests that were sent on to another gateway, by what became of them.',
      ['channel', 'outcome'],
    ),
    peerForwardSeconds: histogram(
      'peer_forward_duration_seconds',
      'Time of requests that were sent on, their streams included.',
      START_BUCKETS,
      ['channel'],
    ),
    peerRefusals: counter('peer_refusals_total', 'What other gateways were refused, by why.', ['why']),
    ends: counter('session_ends_total', 'Sessions that ended, by reason.', ['server', 'reason']),

    poolClaims: counter(
      'pool_claims_total',
      'Pods that were wanted of a pool; hit: one was taken, miss: none was there and one was made, lost: another was quicker and a further one was tried.',
      ['server', 'outcome'],
    ),
    startSeconds: histogram('backend_start_duration_seconds', 'Time to start a child, by phase.', START_BUCKETS, [
      'phase',
    ]),
    startFailures: counter('backend_start_failures_total', 'Children that could not be started, by error code.', [
      'code',
    ]),
    backendExits: counter('backend_exits_total', 'Children that are gone, by why.', ['reason']),
    orphans: counter('backend_orphans_removed_total', 'Children of earlier runs that were found and removed.'),
    attachDrops: counter('attach_drops_total', 'Attach streams that broke while their session lived.'),
    attachRestoreSeconds: histogram(
      'attach_restore_duration_seconds',
      'Time until a broken attach stream was restored, with nothing lost.',
      START_BUCKETS,
    ),
    linkBytes: tally(
      'link_bytes_total',
      'Bytes between the gateway and children; out: to their stdin, in: from their stdout.',
      ['direction'],
    ),

    calls: tally('calls_total', 'JSON-RPC calls of clients that are over, by MCP method and outcome.', [
      'method',
      'outcome',
    ]),
    callSeconds: histogram('call_duration_seconds', 'Time of a JSON-RPC call, by outcome.', CALL_BUCKETS, ['outcome']),
    noise: counter(
      'child_noise_lines_total',
      "Lines on a child's stdout that are no JSON-RPC message and were skipped.",
    ),
    noiseBytes: counter('child_noise_bytes_total', 'Bytes in those lines.'),
    stderr: counter('child_stderr_lines_total', "Lines on children's stderr."),
    dropped: counter('messages_dropped_total', 'Messages that could not be delivered, by why.', ['why']),

    httpRequests: tally(
      'http_requests_total',
      'HTTP requests of clients, by method and status; 499: the client went away unanswered.',
      ['method', 'status'],
    ),
    httpSeconds: histogram(
      'http_request_duration_seconds',
      'Time of an HTTP request until its response was written whole.',
      CALL_BUCKETS,
      ['method'],
    ),
    httpStreams: gauge('http_streams', 'Event streams to clients that are open.'),
    httpBodyBytes: gauge('http_body_bytes', "Bytes of clients' messages that are held now."),

    authChecks: tally('auth_checks_total', 'Checks of credentials, by outcome and whether the forge was asked.', [
      'outcome',
      'cached',
    ]),
    authForgeSeconds: histogram(
      'auth_forge_duration_seconds',
      'Time of the forge to answer whose token it is.',
      FORGE_BUCKETS,
    ),

    logins: counter('logins_total', 'Logins of users at the forge, by what for and outcome.', ['errand', 'outcome']),
    grants: counter('grants_total', "Changes of users' consents to clients.", ['change']),
    forgeRefreshes: counter(
      'forge_refreshes_total',
      "Refreshes of users' tokens at the forge, by application and outcome.",
      ['application', 'outcome'],
    ),
    forgeRefreshSeconds: histogram(
      'forge_refresh_duration_seconds',
      "Time of a refresh of a user's tokens.",
      FORGE_BUCKETS,
    ),
    forgeSuspensions: counter('forge_suspensions_total', 'Users who must log in again at the forge, by why.', [
      'reason',
    ]),

    proxyRequests: counter('proxy_requests_total', "Children's requests at the credential proxy.", [
      'method',
      'class',
      'outcome',
      'status',
    ]),
    proxyRefusals: counter(
      'proxy_refusals_total',
      'Requests that the credential proxy refused or failed, by error code and reason of the policy.',
      ['code', 'reason'],
    ),
    proxySeconds: histogram(
      'proxy_request_duration_seconds',
      'Time of a request at the credential proxy.',
      FORGE_BUCKETS,
      ['class'],
    ),
    proxyBytes: counter('proxy_bytes_total', 'Bytes through the credential proxy; in: from children, out: to them.', [
      'direction',
    ]),
    proxyInFlight: gauge('proxy_requests_in_flight', 'Requests at the credential proxy now.'),
    proxyHeldBytes: gauge(
      'proxy_held_body_bytes',
      "Bytes of children's requests that the credential proxy holds now to check them.",
    ),

    operatorLeads: gauge('operator_leader', 'Whether this operator leads (1) or stands by (0).'),
    queueDepth: gauge('operator_queue_depth', 'Keys of a loop of the operator that wait to be worked on.', ['loop']),
    reconciles: counter('operator_reconciles_total', 'Looks of the operator at one thing, by loop and outcome.', [
      'loop',
      'outcome',
    ]),
    reconcileSeconds: histogram(
      'operator_reconcile_duration_seconds',
      'Time of such a look, with what was done about it.',
      FORGE_BUCKETS,
      ['loop'],
    ),
    poolPods: gauge(
      'pool_pods',
      'Pods of a pool, by state; ready: they can be taken, starting: not yet, desired: how many there should be.',
      ['server', 'state'],
    ),
    operatorActions: counter('operator_actions_total', 'What the operator changed in the cluster.', ['action']),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;

/** Adds what prom-client knows of the process and of Node (`process_*`, `nodejs_*`). Starts an event-loop monitor. */
export function collectProcessMetrics({ registry }: Metrics): void {
  collectDefaultMetrics({ register: registry });
}
