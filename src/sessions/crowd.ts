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
  const asleep = [...sessions]
    .filter(({ countsAs, retired }) => countsAs === 'hibernated' && retired === undefined)
    .sort((a, b) => a.times.lastActive - b.times.lastActive);
  const key = userKey(sleeper.auth.user);
  const own = asleep.filter(({ auth }) => userKey(auth.user) === key);
  const ofUser = own.slice(0, excess(own.length, maxHibernatedPerUser));
  const rest = asleep.filter((session) => !ofUser.includes(session));
  return [...ofUser, ...rest.slice(0, excess(rest.length, maxHibernated))];
}

function excess(count: number, limit: number): number {
  return limit === 0 ? 0 : Math.max(0, count - limit);
}
