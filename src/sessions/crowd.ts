/** How many sessions may sleep. They cost a few kilobytes each, and no client says that it has forgotten one. Pure. */
import { userKey } from './caps';
import type { Session } from './session';

export interface CrowdOptions {
  /** Sleeping sessions of one user; 0: no limit. */
  readonly maxHibernatedPerUser: number;
  /** Sleeping sessions of all users together; 0: no limit. */
  readonly maxHibernated: number;
}

/** Which sessions end because one more of this user sleeps: those that were used the longest ago, of the user first. */
export function displaced(
  sessions: Iterable<Session>,
  sleeper: Session,
  { maxHibernatedPerUser, maxHibernated }: CrowdOptions,
): readonly Session[] {
  const asleep = [...sessions].filter(({ countsAs, retired }) => countsAs === 'hibernated' && retired === undefined);
  const key = userKey(sleeper.auth.user);
  const own = asleep.filter(({ auth }) => userKey(auth.user) === key);
  const ofUser = oldest(own, excess(own.length, maxHibernatedPerUser));
  const rest = ofUser.length === 0 ? asleep : asleep.filter((session) => !ofUser.includes(session));
  return [...ofUser, ...oldest(rest, excess(rest.length, maxHibernated))];
}

/** Sorts only where there are too many: many may fall asleep at one sweep. */
function oldest(sessions: readonly Session[], count: number): readonly Session[] {
  if (count === 0) return [];
  return [...sessions].sort((a, b) => a.times.lastActive - b.times.lastActive).slice(0, count);
}

function excess(count: number, limit: number): number {
  return limit === 0 ? 0 : Math.max(0, count - limit);
}
