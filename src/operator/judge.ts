/**
 * What is to be done about a session and about a pod: pure rules, so that a table can test them. They are asked twice, with what the caches say and, before
 * anything is done, with what the API says now.
 */
import type { EndReason } from '../sessions/ports';
import { isReplicaName } from '../peers/names';
import type { PodFacts, ServerTimes, SessionFacts } from './facts';
import { isOperatorName } from './names';

export type SessionVerdict =
  /** `again`: milliseconds after which to look again; none: an event will tell. */
  | { readonly act: 'nothing'; readonly again?: number }
  | {
      readonly act: 'end';
      readonly reason: Extract<EndReason, 'expired' | 'lifetime' | 'start-failed' | 'lost' | 'drained'>;
    }
  /** It has no pod and no holder from now on, and lives. */
  | { readonly act: 'hibernate' }
  /** The record has been kept long enough. */
  | { readonly act: 'remove' };

export interface SessionSight {
  readonly session: SessionFacts;
  readonly times: ServerTimes;
  /** Milliseconds for which its holder is known to be dead; undefined: it lives, or that cannot be said. */
  readonly holderDeadFor: number | undefined;
  /** Whether the pod that its record names is still there and may run. */
  readonly hasPod: boolean;
  /** Wall-clock milliseconds. */
  readonly wall: number;
  /** Milliseconds. */
  readonly keepRecords: number;
}

/** Sessions whose holder lives are its own business, whatever their state says. */
export function judgeSession({
  session,
  times,
  holderDeadFor,
  hasPod,
  wall,
  keepRecords,
}: SessionSight): SessionVerdict {
  const { state, expiresAt, createdAt } = session;
  if (session.deleting || state === undefined) return { act: 'nothing' };
  if (state === 'Ended') return at((session.endedAt ?? createdAt) + keepRecords, wall, { act: 'remove' });
  if (state === 'Hibernated') {
    // Somebody wakes it.
    if (session.holder !== '' && holderDeadFor === undefined) return { act: 'nothing' };
    if (times.drain) return { act: 'end', reason: 'drained' };
    return expiresAt === undefined ? { act: 'nothing' } : at(expiresAt, wall, { act: 'end', reason: 'expired' });
  }
  if (holderDeadFor === undefined) return { act: 'nothing' };
  if (times.drain) return { act: 'end', reason: 'drained' };
  if (expiresAt !== undefined && expiresAt <= wall) return { act: 'end', reason: 'expired' };
  if (times.maxLifetime > 0 && createdAt + times.maxLifetime <= wall) return { act: 'end', reason: 'lifetime' };
  const sleeps = session.replayable && !times.stateful;
  // One that was being woken sleeps on: its client knows it, and its next message wakes it.
  if (state === 'Starting') return sleeps ? { act: 'hibernate' } : { act: 'end', reason: 'start-failed' };
  const over: SessionVerdict = sleeps ? { act: 'hibernate' } : { act: 'end', reason: 'lost' };
  return hasPod ? at(times.idle, holderDeadFor, over) : over;
}

/** The verdict once `now` has come to `when`, and a look at that time before. */
function at(when: number, now: number, verdict: SessionVerdict): SessionVerdict {
  return when <= now ? verdict : { act: 'nothing', again: when - now };
}

/** Until when a session is kept that sleeps from now on. Wall-clock milliseconds. */
export function sleepsUntil({ createdAt }: Pick<SessionFacts, 'createdAt'>, times: ServerTimes, wall: number): number {
  const lifetime = times.maxLifetime === 0 ? Infinity : createdAt + times.maxLifetime;
  return Math.min(wall + times.ttl, lifetime);
}

export interface PodSight {
  readonly pod: PodFacts;
  /** The session that it is labelled with; undefined where there is no such record. */
  readonly session: SessionFacts | undefined;
  readonly times: ServerTimes;
  /** Whether the gateway that made it lives, and the one that holds its session. */
  readonly makerLives: boolean;
  readonly holderLives: boolean;
  /** Milliseconds for which it is known that no session has it. */
  readonly unclaimedFor: number;
}

/** Milliseconds that a pod is left for which nobody can come any more. A moment, because what is seen of it and of its session comes by two watches. */
const NOBODY_MS = 10_000;
/** The same where a gateway lives that should remove it by itself: it has this long for it. */
const GATEWAY_MS = 60_000;
/** A pod that proves a feature of the cluster is over within a minute or two. */
const CANARY_MS = 600_000;

/** Whether a session's record has the pod. */
export function isClaimed(pod: PodFacts, session: SessionFacts | undefined): boolean {
  return session?.pod?.uid === pod.uid && (session.state === 'Starting' || session.state === 'Active');
}

/**
 * How many milliseconds from now a pod is to be deleted that no session has; 0 or less: now. Undefined: it is not ours to delete.
 *
 * A session's pod is made while its record says `Starting`, or `Hibernated` on the way there, and the record names it later. So where the gateway that made
 * it or that holds its session lives, it is left for as long as a start may take.
 */
export function orphanIn(sight: PodSight): number | undefined {
  const { pod, session, times, makerLives, holderLives, unclaimedFor } = sight;
  if (!pod.deleting && pod.component === 'canary' && isOperatorName(pod.run)) return CANARY_MS - unclaimedFor;
  // A gateway that records its sessions in a file of its own has no Lease, and its pods no session here: they are its own business.
  if (pod.deleting || !isReplicaName(pod.run)) return undefined;
  if (pod.component === 'canary') return (makerLives ? CANARY_MS : NOBODY_MS) - unclaimedFor;
  if (pod.component !== 'session' || isClaimed(pod, session)) return undefined;
  const isOver = session === undefined || session.state === 'Ended';
  if (!makerLives && (isOver || !holderLives)) return NOBODY_MS - unclaimedFor;
  return GATEWAY_MS + (isOver ? 0 : times.start) - unclaimedFor;
}
