/** Servers: what can be said of each, and how many sessions it has, in its status. Written only where it differs from what is there. */
import { isDeepStrictEqual } from 'node:util';
import type { Condition, MCPServerCondition, MCPServerStatus } from '../resources/server';
import type { ServerFacts, ServerTimes } from './facts';
import type { Pools } from './pool/pools';
import type { World } from './world';

/** Milliseconds between an event of a session and the counts of its server being written: a burst of sessions is one write. */
export const COUNT_MS = 2_000;

/** Why a server is not served. */
export interface Fault {
  /** One word in CamelCase. */
  readonly reason: string;
  /** For people, with what to do. */
  readonly message: string;
}

/** What is wrong with a server's `spec`; undefined where nothing is. */
export type Validate = (name: string, spec: Readonly<Record<string, unknown>>) => Fault | undefined;

/** One look at one server. */
export async function reconcileServer(
  world: World,
  validate: Validate,
  pools: Pick<Pools, 'counts'>,
  name: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { servers, sessions, replicas, clock, install } = world.options;
  const server = servers.get(name);
  if (server === undefined) return undefined;
  // Counts of what is not known yet would be wrong.
  if (!sessions.isSynced) return COUNT_MS;
  const sessionsOf = counts(world, name);
  const fault = validate(name, server.spec);
  const status = {
    observedGeneration: server.generation,
    conditions: conditions(
      server,
      {
        fault,
        gateways: replicas.living(install),
        left: sessionsOf.active + sessionsOf.hibernated + sessionsOf.starting,
      },
      new Date(clock.wall()),
    ),
    sessions: sessionsOf,
    pool: fault === undefined ? poolOf(server, pools.counts(name)) : null,
  };
  const { observedGeneration, conditions: present, sessions: counted, pool = null } = server.status;
  if (isDeepStrictEqual(status, { observedGeneration, conditions: present, sessions: counted, pool })) return undefined;
  const isDone = await world.write(
    (limits) => world.serverObjects.patchStatus(name, status, server.resourceVersion, limits),
    signal,
  );
  if (isDone) world.did('status-written', { server: name });
  return isDone ? undefined : COUNT_MS;
}

/** What is null in a merge patch is taken away. What is not known yet stays as a former leader had it. */
function poolOf({ status }: ServerFacts, counted: ReturnType<Pools['counts']>): MCPServerStatus['pool'] | null {
  if (counted === 'unknown') return status.pool ?? null;
  return counted === undefined ? null : { ready: counted.ready, desired: counted.desired };
}

function counts(world: World, server: string): NonNullable<MCPServerStatus['sessions']> {
  let [active, hibernated, starting] = [0, 0, 0];
  for (const session of world.options.sessions.all()) {
    if (session.server !== server) continue;
    if (session.state === 'Active') active++;
    else if (session.state === 'Hibernated') hibernated++;
    else if (session.state === 'Starting') starting++;
  }
  return { active, hibernated, starting };
}

interface Said {
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
}

/** All conditions of a server. Those of others stay; the time of ours changes with their status only. */
export function conditions(
  { generation, status, times }: Pick<ServerFacts, 'generation' | 'status' | 'times'>,
  { fault, gateways, left }: { readonly fault: Fault | undefined; readonly gateways: number; readonly left: number },
  now: Date,
): readonly Condition[] {
  const ours: Readonly<Record<MCPServerCondition, Said>> = {
    Accepted:
      fault === undefined
        ? { status: 'True', reason: 'Valid', message: 'The gateways serve it.' }
        : { status: 'False', reason: fault.reason, message: fault.message.slice(0, MESSAGE_MAX) },
    Ready: ready(fault !== undefined, times, gateways),
    Drained: drained(times.drain, left),
  };
  const before = status.conditions ?? [];
  return [
    ...before.filter(({ type }) => !(type in ours)),
    ...Object.entries(ours).map(([type, said]) => {
      const present = before.find((one) => one.type === type);
      const isSame = present?.status === said.status;
      // Kubernetes' Time has whole seconds.
      const lastTransitionTime = isSame ? present.lastTransitionTime : now.toISOString().replace(/\.\d+Z$/, 'Z');
      return { type, ...said, observedGeneration: generation, lastTransitionTime };
    }),
  ];
}

/** Characters of a condition's message. */
const MESSAGE_MAX = 4_096;

function ready(isRefused: boolean, { paused, drain }: ServerTimes, gateways: number): Said {
  if (isRefused) return { status: 'False', reason: 'NotAccepted', message: 'It is not served: see Accepted.' };
  if (drain) {
    return { status: 'False', reason: 'Draining', message: 'It opens no sessions until drain is set to false.' };
  }
  if (paused) {
    return { status: 'False', reason: 'Paused', message: 'It opens no new sessions until paused is set to false.' };
  }
  if (gateways === 0) {
    return { status: 'False', reason: 'NoGateway', message: 'No gateway lives: look at the gateway’s pods.' };
  }
  return { status: 'True', reason: 'Serving', message: 'A session of it would start now.' };
}

/** @param left sessions of it that have not ended. */
function drained(drain: boolean, left: number): Said {
  if (!drain) return { status: 'False', reason: 'NotDraining', message: 'Set drain to true to end all its sessions.' };
  if (left === 0) return { status: 'True', reason: 'Drained', message: 'No session of it is left.' };
  const message = `Sessions that are left: ${String(left)}. Those in use end when their calls are answered, at the latest after the gateways' drain time.`;
  return { status: 'False', reason: 'Draining', message };
}
