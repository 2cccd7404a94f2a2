/** The few facts of an object that the loops decide by. They are read from the API's own JSON, cached or live, and every field is checked: an object may be another version's. */
import { judge } from '../backends/pod/judge';
import { podState } from '../backends/pod/pod-state';
import { isReady, WARM } from '../backends/pod/warm';
import { parseDuration } from '../config/units';
import { LABELS } from '../kube/labels';
import type { Projection } from '../kube/reflector';
import type { Condition, MCPServerStatus } from '../resources/server';
import type { MCPSessionState } from '../resources/session';

const STATES: ReadonlySet<string> = new Set<MCPSessionState>(['Starting', 'Active', 'Hibernated', 'Ended']);

/** An MCPSession. Moments are wall-clock milliseconds. */
export interface SessionFacts extends Projection {
  readonly server: string;
  /** Undefined where it is none that we know: it is left alone. */
  readonly state: MCPSessionState | undefined;
  /** The replica that holds it; empty where none does. */
  readonly holder: string;
  readonly epoch: number;
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string } | undefined;
  /** Its `initialize` was answered, and another child can be told what this one was. */
  readonly replayable: boolean;
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly deleting: boolean;
}

/** A pod of the install. */
export interface PodFacts extends Projection {
  /** `session`, `warm`, `canary`, or something else that is not ours to judge. */
  readonly component: string;
  readonly session: string;
  readonly server: string;
  /** The run of the gateway that made or took it; of the operator's where nobody took it. */
  readonly run: string;
  /** Its containers will not run again. */
  readonly over: boolean;
  readonly deleting: boolean;
  /** Of one that waits for a session. */
  readonly warm?: WarmFacts;
}

/** What is known of a pod that waits for a session. */
export interface WarmFacts {
  readonly template: string;
  /** Wall-clock milliseconds. */
  readonly createdAt: number;
  /** It can be taken. */
  readonly ready: boolean;
  /** Why it will not come up, or runs no more; undefined where neither is so. For a log. */
  readonly fault?: string;
}

/** A Lease. */
export interface LeaseFacts extends Projection {
  readonly holder: string;
  /** Milliseconds. */
  readonly duration: number;
  readonly install: string;
}

/** An MCPServer. Times are milliseconds. */
export interface ServerFacts extends Projection {
  readonly generation: number;
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status: MCPServerStatus;
  readonly times: ServerTimes;
}

/** What a server says of its sessions' times. */
export interface ServerTimes {
  readonly idle: number;
  readonly ttl: number;
  /** 0: no limit. */
  readonly maxLifetime: number;
  readonly start: number;
  readonly stateful: boolean;
  readonly paused: boolean;
  readonly drain: boolean;
}

/** Of a server that is not there (any more): the defaults of `config/server-schema.ts`. */
export const DEFAULT_TIMES: ServerTimes = {
  idle: 5 * 60_000,
  ttl: 24 * 3_600_000,
  maxLifetime: 0,
  start: 2 * 60_000,
  stateful: false,
  paused: false,
  drain: false,
};

/** Seconds of a Lease that does not say. */
const LEASE_SECONDS = 15;

type Json = Readonly<Record<string, unknown>>;

export function sessionFacts(value: unknown): SessionFacts | undefined {
  const about = projection(value);
  if (about === undefined) return undefined;
  const { spec, status, metadata } = parts(value);
  const state = text(status.state);
  const pod = object(status.pod);
  const [namespace, name, uid] = [text(pod.namespace), text(pod.name), text(pod.uid)];
  return {
    ...about,
    server: text(spec.server),
    state: STATES.has(state) ? (state as MCPSessionState) : undefined,
    holder: text(status.holder),
    epoch: number(status.epoch, 0),
    pod: uid === '' ? undefined : { namespace, name, uid },
    replayable: text(status.initialize) !== '' && text(status.protocolVersion) !== '',
    createdAt: moment(status.createdAt) ?? moment(metadata.creationTimestamp) ?? 0,
    expiresAt: moment(status.expiresAt),
    endedAt: moment(status.endedAt),
    deleting: isDeleting(metadata),
  };
}

export function podFacts(value: unknown): PodFacts | undefined {
  const about = projection(value);
  if (about === undefined) return undefined;
  const { status, metadata } = parts(value);
  const labels = object(metadata.labels);
  const phase = text(status.phase);
  return {
    ...about,
    component: text(labels[LABELS.component]),
    session: text(labels[LABELS.session]),
    server: text(labels[LABELS.server]),
    run: text(labels[LABELS.run]),
    over: phase === 'Succeeded' || phase === 'Failed',
    deleting: isDeleting(metadata),
    ...(labels[LABELS.component] === WARM ? warmFacts(value) : {}),
  };
}

function warmFacts(value: unknown): Pick<PodFacts, 'warm'> {
  const state = podState(value);
  if (state === undefined) return {};
  const { template = '', createdAt } = state;
  const verdict = judge(state);
  const fault = verdict.kind === 'failed' ? (verdict.error.detail ?? verdict.error.code) : undefined;
  return { warm: { template, createdAt, ready: isReady(state), ...(fault === undefined ? {} : { fault }) } };
}

export function leaseFacts(value: unknown): LeaseFacts | undefined {
  const about = projection(value);
  if (about === undefined) return undefined;
  const { spec, metadata } = parts(value);
  return {
    ...about,
    holder: text(spec.holderIdentity),
    duration: number(spec.leaseDurationSeconds, LEASE_SECONDS) * 1000,
    install: text(object(metadata.labels)[LABELS.install]),
  };
}

export function serverFacts(value: unknown): ServerFacts | undefined {
  const about = projection(value);
  if (about === undefined) return undefined;
  const { spec, status, metadata } = parts(value);
  return {
    ...about,
    generation: number(metadata.generation, 0),
    spec,
    status: { ...(status as MCPServerStatus), conditions: conditions(status.conditions) },
    times: {
      idle: duration(spec.idleTimeout, DEFAULT_TIMES.idle),
      ttl: duration(spec.sessionTTL, DEFAULT_TIMES.ttl),
      maxLifetime: duration(spec.maxLifetime, DEFAULT_TIMES.maxLifetime),
      start: duration(spec.startTimeout, DEFAULT_TIMES.start),
      stateful: spec.stateful === true,
      paused: spec.paused === true,
      drain: spec.drain === true,
    },
  };
}

function projection(value: unknown): Projection | undefined {
  const { metadata } = parts(value);
  const [name, uid, resourceVersion] = [text(metadata.name), text(metadata.uid), text(metadata.resourceVersion)];
  return name === '' || uid === '' ? undefined : { name, uid, resourceVersion };
}

function parts(value: unknown): { metadata: Json; spec: Json; status: Json } {
  const { metadata, spec, status } = object(value);
  return { metadata: object(metadata), spec: object(spec), status: object(status) };
}

function conditions(value: unknown): readonly Condition[] {
  return Array.isArray(value)
    ? (value as unknown[]).filter((one): one is Condition => text(object(one).type) !== '')
    : [];
}

function isDeleting({ deletionTimestamp }: Json): boolean {
  return deletionTimestamp !== undefined && deletionTimestamp !== null;
}

function object(value: unknown): Json {
  return value !== null && typeof value === 'object' ? (value as Json) : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function number(value: unknown, otherwise: number): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : otherwise;
}

/** Client-node's typed answers have Dates where the wire has text. */
function moment(value: unknown): number | undefined {
  const at = value instanceof Date ? value.getTime() : Date.parse(text(value));
  return Number.isNaN(at) ? undefined : at;
}

function duration(value: unknown, otherwise: number): number {
  const seconds = typeof value === 'string' || typeof value === 'number' ? parseDuration(value) : undefined;
  return seconds === undefined ? otherwise : seconds * 1000;
}
