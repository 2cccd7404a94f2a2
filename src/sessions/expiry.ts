/** When a session is over by time alone. Pure. */
import type { ServerSpec } from '../config/server';
import type { EndReason } from './ports';

/** The times of a session, monotonic milliseconds. */
export interface Times {
  readonly startedAt: number;
  /** When it was last used; of no meaning while it is busy. */
  readonly lastActive: number;
  /** Somebody holds it: a request is being handled or a call is in flight. An open GET stream is not activity. */
  readonly busy: boolean;
}

export type Limits = Pick<ServerSpec, 'idleTimeout' | 'sessionTTL' | 'maxLifetime'>;

/**
 * Why a session's time is up for good, from this very moment on: `lifetime` whether busy or not, `expired` after `sessionTTL` without use;
 * undefined when it is not. 0 is no limit.
 */
export function expired(limits: Limits, times: Times, now: number): 'lifetime' | 'expired' | undefined {
  if (isOver(limits.maxLifetime, times.startedAt, now)) return 'lifetime';
  return !times.busy && isOver(limits.sessionTTL, times.lastActive, now) ? 'expired' : undefined;
}

/** Why the reaper ends a session, or, where it may sleep, ends its child; idleness counts at its sweeps only, so a late request still finds its session. */
export function reapable(limits: Limits, times: Times, now: number): EndReason | undefined {
  const reason = expired(limits, times, now);
  if (reason !== undefined) return reason;
  return !times.busy && isOver(limits.idleTimeout, times.lastActive, now) ? 'idle' : undefined;
}

/** Seconds until a session that stays unused is idle for long enough; undefined when it never is. */
export function idleIn(limits: Limits, times: Times, now: number): number | undefined {
  if (limits.idleTimeout <= 0) return undefined;
  return Math.max(0, limits.idleTimeout - (times.busy ? 0 : (now - times.lastActive) / 1000));
}

/** Milliseconds until a session that stays unused is over for good; undefined where it never is. */
export function over(limits: Limits, times: Times, now: number): number | undefined {
  const ends = [
    ...(limits.sessionTTL > 0 ? [times.lastActive + limits.sessionTTL * 1000] : []),
    ...(limits.maxLifetime > 0 ? [times.startedAt + limits.maxLifetime * 1000] : []),
  ];
  return ends.length === 0 ? undefined : Math.max(0, Math.min(...ends) - now);
}

function isOver(seconds: number, since: number, now: number): boolean {
  return seconds > 0 && now - since >= seconds * 1000;
}
