/** A user's sessions, whichever gateway has them, for the page of connections. */
import type { UserSessions } from '../auth/connections/connections';
import type { Clock } from '../clock';
import type { SessionView } from '../sessions/ports';
import type { Registry } from '../sessions/registry';

/**
 * @param view of the records that other gateways share; undefined where this is the only one.
 * @param self names this gateway in them.
 */
export function userSessions(
  registry: () => Pick<Registry, 'sessionsOf' | 'endNamed' | 'endUser'>,
  view: Pick<SessionView, 'ofUser' | 'end'> | undefined,
  self: string,
  clock: Pick<Clock, 'wall'>,
): UserSessions {
  return {
    of(user) {
      const own = registry()
        .sessionsOf(user)
        .map(({ record, auth, server }) => ({
          name: record.name,
          server: server.name,
          grant: auth.grant,
          startedAt: record.createdAt,
        }));
      // One of this gateway's that it does not have any more has ended, and is soon seen to have.
      const others = (view?.ofUser(user) ?? []).filter(({ holder }) => holder !== self);
      const seen = others.map(({ name, server, grant, createdAt }) => ({ name, server, grant, startedAt: createdAt }));
      return [...own, ...seen].sort((a, b) => a.startedAt - b.startedAt);
    },
    async end(name) {
      if (!(await registry().endNamed(name, 'user'))) await view?.end(name, 'user', clock.wall());
    },
    async endUser(user) {
      await registry().endUser(user, 'user');
      if (view !== undefined)
        await Promise.all(view.ofUser(user).map(({ name }) => view.end(name, 'user', clock.wall())));
    },
  };
}
