/** What stands in a session's record, and a session as it stands there. Pure. */
import type { AuthContext } from '../auth/context';
import { Memory } from '../bridge/memory';
import type { ServerSpec } from '../config/server';
import type { SessionChange, SessionRecord } from './ports';
import { Session } from './session';

type Bearer = Pick<SessionRecord, 'mode' | 'grant' | 'client' | 'scopes'>;

/** The part of a record that says whose the session is, beside the user. */
export function boundOf({ mode, grant, client, scopes }: AuthContext): Bearer {
  return { mode, grant, client, scopes: [...scopes].sort() };
}

/** The record of a session that is about to be opened. @param createdAt wall-clock milliseconds. */
export function recordOf(name: string, server: string, auth: AuthContext, createdAt: number): SessionRecord {
  const { issuer, id } = auth.user;
  const who = { userIssuer: issuer, userId: id, ...boundOf(auth) };
  return { name, server, ...who, state: 'starting', generation: 1, createdAt };
}

/** The bearer whom a record names, as far as it says. @param login the user's, which is in no record. */
export function bearerOf(record: SessionRecord, login: string): AuthContext {
  const { mode, userIssuer, userId, grant, client, scopes } = record;
  return { mode, user: { issuer: userIssuer, id: userId, login }, grant, client, scopes: new Set(scopes) };
}

/** What is recorded once the child took `initialize`: enough for another child to take its place. */
export function established({ memory, child, outlives }: Session): SessionChange {
  const { remembered } = memory;
  return {
    state: 'active',
    ...(child === undefined ? {} : { child }),
    ...(remembered === undefined || outlives !== 'gateway' ? {} : { remembered }),
  };
}

/** What is recorded of a session whose child another process is to take over; undefined where none could. */
export function givenUp({ state, outlives, memory, channel, child, retired }: Session): SessionChange | undefined {
  const { remembered } = memory;
  if (state !== 'active' || outlives !== 'gateway' || retired !== undefined || remembered === undefined)
    return undefined;
  if (channel === undefined || child === undefined) return undefined;
  return { state: 'active', child, remembered };
}

/** A session from its record: asleep, for this process. @param now monotonic milliseconds; @param wall wall-clock milliseconds. */
export function revived(
  record: SessionRecord,
  auth: AuthContext,
  server: ServerSpec,
  now: () => number,
  wall: number,
): Session {
  return new Session({
    ...{ record, auth, server, now },
    outlives: 'gateway',
    state: 'active',
    startedAt: now() - Math.max(0, wall - record.createdAt),
    memory: new Memory(record.remembered),
  });
}
