/** The few facts of a pod that the driver decides by. A watch's raw JSON and a typed list both fit in; nothing else is kept in memory. */
import { LABELS } from '../../kube/labels';
import { LINK_KEY } from './names';

/** One container, as its status shows it. */
export interface ContainerState {
  readonly waiting?: { readonly reason: string; readonly message: string };
  readonly running: boolean;
  readonly terminated?: {
    /** Absent where the status does not tell. */
    readonly code?: number;
    readonly signal?: number;
    readonly reason: string;
    readonly message: string;
  };
}

export interface PodState {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly run: string | undefined;
  /** Its labels, as {@link LABELS} has them. */
  readonly component: string | undefined;
  readonly server: string | undefined;
  readonly template: string | undefined;
  /** Wall-clock milliseconds; 0 where it does not say. */
  readonly createdAt: number;
  /** See {@link LINK_KEY}. */
  readonly linkKey: string | undefined;
  readonly phase: string;
  readonly reason: string | undefined;
  readonly message: string | undefined;
  readonly ip: string | undefined;
  /** A deletion was asked for. */
  readonly deleting: boolean;
  /** The API server keeps `hostUsers: false` only where it knows user namespaces. */
  readonly userNamespace: boolean;
  readonly scheduled: boolean;
  /** The runtime has made the pod's sandbox, its network and user namespace included (KEP-3085). */
  readonly sandbox: boolean;
  /** Why the scheduler could not place it; cleared once it did. */
  readonly unschedulable: string | undefined;
  /** The cluster itself ended it: eviction, preemption, drain (KEP-3329). */
  readonly disrupted: string | undefined;
  /** The session's container; absent until the kubelet reported it. */
  readonly child: ContainerState | undefined;
  readonly init: ContainerState | undefined;
}

type Json = Record<string, unknown>;

/**
 * Projects a pod. Undefined for what is no pod with a name and a UID.
 * Statuses come from a kubelet and are trusted no further than their types: every field is checked.
 */
export function podState(value: unknown): PodState | undefined {
  const pod = object(value);
  const metadata = object(pod.metadata);
  const spec = object(pod.spec);
  const status = object(pod.status);
  const name = text(metadata.name);
  const uid = text(metadata.uid);
  if (name === undefined || uid === undefined) return undefined;
  const labels = object(metadata.labels);
  const conditions = list(status.conditions).map(object);
  const scheduled = conditions.find((condition) => condition.type === 'PodScheduled');
  const sandbox = conditions.find((condition) => condition.type === 'PodReadyToStartContainers');
  const disrupted = conditions.find(
    (condition) => condition.type === 'DisruptionTarget' && condition.status === 'True',
  );
  return {
    name,
    uid,
    resourceVersion: text(metadata.resourceVersion) ?? '',
    run: text(labels[LABELS.run]),
    component: text(labels[LABELS.component]),
    server: text(labels[LABELS.server]),
    template: text(labels[LABELS.template]),
    createdAt: moment(metadata.creationTimestamp),
    linkKey: text(object(metadata.annotations)[LINK_KEY]),
    phase: text(status.phase) ?? 'Unknown',
    reason: text(status.reason),
    message: text(status.message),
    ip: text(status.podIP),
    deleting: metadata.deletionTimestamp !== undefined && metadata.deletionTimestamp !== null,
    userNamespace: spec.hostUsers === false,
    scheduled: scheduled?.status === 'True' || text(spec.nodeName) !== undefined,
    sandbox: sandbox?.status === 'True',
    unschedulable:
      scheduled?.status === 'False' ? (text(scheduled.message) ?? text(scheduled.reason) ?? 'no reason') : undefined,
    disrupted: disrupted === undefined ? undefined : (text(disrupted.reason) ?? 'no reason'),
    child: container(status.containerStatuses),
    init: container(status.initContainerStatuses),
  };
}

/** Our pods have one container and at most one init container. */
function container(statuses: unknown): ContainerState | undefined {
  const first = list(statuses)[0];
  if (first === undefined) return undefined;
  const state = object(object(first).state);
  const waiting = state.waiting === undefined ? undefined : object(state.waiting);
  const terminated = state.terminated === undefined ? undefined : object(state.terminated);
  return {
    running: state.running !== undefined && state.running !== null,
    ...(waiting === undefined
      ? {}
      : { waiting: { reason: text(waiting.reason) ?? '', message: text(waiting.message) ?? '' } }),
    ...(terminated === undefined
      ? {}
      : {
          terminated: {
            ...(typeof terminated.exitCode === 'number' ? { code: terminated.exitCode } : {}),
            ...(typeof terminated.signal === 'number' && terminated.signal > 0 ? { signal: terminated.signal } : {}),
            reason: text(terminated.reason) ?? '',
            message: text(terminated.message) ?? '',
          },
        }),
  };
}

function object(value: unknown): Json {
  return value !== null && typeof value === 'object' ? (value as Json) : {};
}

/** Client-node's typed answers have Dates where the wire has text. */
function moment(value: unknown): number {
  const at = value instanceof Date ? value.getTime() : Date.parse(text(value) ?? '');
  return Number.isNaN(at) ? 0 : at;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
