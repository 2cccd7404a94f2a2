/** A session's record as an MCPSession, and back. Pure. */
import { LABEL_PREFIX, LABELS, labelValue } from '../../kube/labels';
import type { OwnerReference } from '../../kube/objects';
import { API_VERSION, MCP_SESSIONS } from '../../resources/group';
import type { MCPSession, MCPSessionState, MCPSessionStatus } from '../../resources/session';
import { userLabel } from '../../sessions/ids';
import type { ChildPlace, EndReason, RecordedState, SessionChange, SessionRecord } from '../../sessions/ports';

const STATES: Readonly<Record<RecordedState, MCPSessionState>> = {
  starting: 'Starting',
  active: 'Active',
  hibernated: 'Hibernated',
  ended: 'Ended',
};
/** A state, as the registry names it. */
export const RECORDED = Object.fromEntries(
  Object.entries(STATES).map(([recorded, state]) => [state, recorded]),
) as Readonly<Record<MCPSessionState, RecordedState>>;

/** The object of a new session. @param install a label's value. */
export function sessionObject(record: SessionRecord, install: string, owners: readonly OwnerReference[]): MCPSession {
  const { name, server, userIssuer, userId, client, mode } = record;
  return {
    apiVersion: API_VERSION,
    kind: MCP_SESSIONS.kind,
    metadata: {
      name,
      ...(owners.length === 0 ? {} : { ownerReferences: owners }),
      labels: {
        'app.kubernetes.io/name': 'forgejo-mcp',
        [LABELS.install]: install,
        [LABELS.component]: 'session',
        'app.kubernetes.io/part-of': LABEL_PREFIX,
        [LABELS.managedBy]: LABEL_PREFIX,
        [LABELS.server]: server,
        // Opaque: an administrator can end all sessions of one user by it, and nobody reads a login from it.
        [LABELS.user]: userLabel({ issuer: userIssuer, id: userId }),
        // What people know of a user; with several forges there may be one of that id at each.
        [LABELS.userId]: labelValue(userId),
        [LABELS.live]: 'true',
      },
    },
    spec: { server, user: { issuer: userIssuer, id: userId }, client, mode },
    status: statusOf(record),
  };
}

/** The object with a change of its session. @param wall wall-clock milliseconds. */
export function changed(object: MCPSession, change: SessionChange, wall: number): MCPSession {
  const { child, holder, ...rest } = change;
  const { child: before, holder: held, admitted: had = false, ...record } = recordOf(object);
  const state = rest.state ?? record.state;
  // Each child is admitted anew.
  const admitted = rest.admitted ?? (had && change.state !== 'starting' && state !== 'hibernated');
  const now = child === undefined ? before : (child ?? undefined);
  const startedAt = rest.state === 'active' ? moment(wall) : object.status.startedAt;
  return {
    ...object,
    metadata: { ...object.metadata, labels: { ...object.metadata.labels, [LABELS.live]: 'true' } },
    status: {
      ...statusOf({
        ...{ ...record, ...rest, admitted },
        ...(holder === null || held === undefined ? {} : { holder: held }),
        ...(now === undefined ? {} : { child: now }),
      }),
      ...(now === undefined || startedAt === undefined ? {} : { startedAt }),
    },
  };
}

/** The object of a session that has ended: what another child would have been told is nobody's business any more. */
export function ended(object: MCPSession, reason: EndReason, at: number): MCPSession {
  const {
    child: _child,
    remembered: _remembered,
    holder: _holder,
    expiresAt: _expiresAt,
    admitted: _admitted,
    ...record
  } = recordOf(object);
  const { [LABELS.live]: _live, ...labels } = object.metadata.labels ?? {};
  const metadata = { ...object.metadata, labels };
  return { ...object, metadata, status: statusOf({ ...record, state: 'ended', endedAt: at, endReason: reason }) };
}

export function recordOf({ metadata, spec, status }: MCPSession): SessionRecord {
  const { pod, initialize, protocolVersion, replay } = status;
  return {
    name: metadata.name,
    server: spec.server,
    userIssuer: spec.user.issuer,
    userId: spec.user.id,
    mode: spec.mode,
    grant: status.grant ?? '',
    client: spec.client,
    scopes: (status.scopes ?? []) as SessionRecord['scopes'],
    state: RECORDED[status.state],
    generation: status.epoch,
    ...(status.holder === undefined ? {} : { holder: status.holder }),
    ...(status.admitted === true ? { admitted: true } : {}),
    ...(metadata.uid === undefined ? {} : { uid: metadata.uid }),
    ...(pod === undefined ? {} : { child: childOf(pod) }),
    ...(initialize === undefined || protocolVersion === undefined
      ? {}
      : {
          remembered: {
            protocolVersion,
            initialize: JSON.parse(initialize) as Readonly<Record<string, unknown>>,
            ...(replay?.logLevel === undefined ? {} : { logLevel: replay.logLevel }),
            subscriptions: replay?.subscriptions ?? [],
          },
        }),
    createdAt: Date.parse(status.createdAt),
    ...(status.expiresAt === undefined ? {} : { expiresAt: Date.parse(status.expiresAt) }),
    ...(status.endedAt === undefined ? {} : { endedAt: Date.parse(status.endedAt) }),
    ...(status.reason === undefined ? {} : { endReason: status.reason as EndReason }),
  };
}

function statusOf(record: SessionRecord): MCPSessionStatus {
  const { child, remembered, expiresAt, endedAt, endReason, holder } = record;
  return {
    state: STATES[record.state],
    ...(endReason === undefined ? {} : { reason: endReason }),
    grant: record.grant,
    scopes: record.scopes,
    ...(remembered === undefined
      ? {}
      : {
          protocolVersion: remembered.protocolVersion,
          initialize: JSON.stringify(remembered.initialize),
          replay: {
            ...(remembered.logLevel === undefined ? {} : { logLevel: remembered.logLevel }),
            subscriptions: remembered.subscriptions,
          },
        }),
    ...(holder === undefined ? {} : { holder }),
    epoch: record.generation,
    ...(record.admitted === true ? { admitted: true } : {}),
    ...(child === undefined ? {} : { pod: podOf(child) }),
    createdAt: moment(record.createdAt),
    ...(expiresAt === undefined ? {} : { expiresAt: moment(expiresAt) }),
    ...(endedAt === undefined ? {} : { endedAt: moment(endedAt) }),
  };
}

function podOf({ instance, namespace = '', name = '', ip }: ChildPlace): NonNullable<MCPSessionStatus['pod']> {
  return { namespace, name, uid: instance, ...(ip === undefined ? {} : { ip }) };
}

function childOf({ namespace, name, uid, ip }: NonNullable<MCPSessionStatus['pod']>): ChildPlace {
  return { instance: uid, namespace, name, ...(ip === undefined ? {} : { ip }) };
}

function moment(ms: number): string {
  return new Date(ms).toISOString();
}
