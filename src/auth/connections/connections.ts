/** A user's connections: the own grants, what runs because of them, and changing or ending each. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../clock';
import type { ServerSpec } from '../../config/server';
import { AppError } from '../../errors';
import type { Choice, Scope, UserRef } from '../context';
import type { CookieSeal } from '../login/cookie-seal';
import type { Departure, ForgeLogins } from '../login/contract';
import { applicationFor } from '../login/flow';
import type { FormTokens } from '../login/form-tokens';
import type { Arrival, Trips } from '../login/trips';
import { accountOf, type GrantChange, type GrantRecord, type Grants } from '../provider/grants';
import type { ResourceUrls } from '../resource/urls';

/** A user who has logged in at the forge to see the page. */
export interface Visitor {
  readonly user: UserRef;
  /** The server whose forge it was. */
  readonly server: string;
  /** Names this visit; random. */
  readonly id: string;
}

/** A session that runs, as its user may know it. */
export interface RunningSession {
  readonly name: string;
  readonly server: string;
  readonly grant: string;
  /** Wall-clock milliseconds. */
  readonly startedAt: number;
}

/** The sessions of all gateways. */
export interface UserSessions {
  of(user: UserRef): readonly RunningSession[];
  /** Resolves when it is gone; at once where there is none of that name. */
  end(name: string): Promise<void>;
  /** Ends all sessions of a user. */
  endUser(user: UserRef): Promise<void>;
}

/** A grant with its server and its sessions. */
export interface UserConnection {
  readonly grant: GrantRecord;
  readonly server: ServerSpec;
  readonly sessions: readonly RunningSession[];
}

/** What is told of changes; for audit. */
export interface ConnectionsObserver {
  changed(grant: GrantRecord): void;
  revoked(user: UserRef, grant: string): void;
  disconnected(user: UserRef, grants: number): void;
}

export interface ConnectionsOptions {
  readonly grants: Grants;
  readonly forges: ForgeLogins;
  readonly trips: Trips;
  readonly sessions: UserSessions;
  readonly urls: ResourceUrls;
  readonly findServer: (name: string) => ServerSpec | undefined;
  readonly seal: CookieSeal;
  readonly forms: FormTokens;
  readonly clock: Clock;
  /** Seconds for which a visit is good. */
  readonly lifetime: number;
  /** A grant is not any more what was remembered of it. */
  readonly forget: (grant: string) => void;
  readonly observer: ConnectionsObserver;
}

/** The form of the page, for {@link FormTokens}. */
const FORM = 'connections';

export class Connections {
  readonly #options: ConnectionsOptions;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** The way to the forge of a server, for somebody whom nobody knows yet, or no longer: `late`. @throws AppError as `Trips.begin`. */
  depart(server: ServerSpec, late = false): Promise<Departure> {
    return this.#options.trips.begin(server, 'read', { kind: 'connections', late });
  }

  /** Begins the visit of a user who is back from the forge: the cookie's value, and the seconds for which it is good. */
  open({ user, server }: Arrival): { readonly cookie: string; readonly seconds: number } {
    const { seal, clock, lifetime } = this.#options;
    const visitor: Visitor = { user, server: server.name, id: randomBytes(16).toString('base64url') };
    return { cookie: seal.seal('visitor', visitor, clock.wall() + lifetime * 1000), seconds: lifetime };
  }

  /** Whose visit a cookie is; undefined where it is none, or over. */
  visitor(cookie: string | undefined): Visitor | undefined {
    return this.#options.seal.open('visitor', cookie, this.#options.clock.wall()) as Visitor | undefined;
  }

  formToken({ id }: Visitor): string {
    return this.#options.forms.make(FORM, id);
  }

  checkForm({ id }: Visitor, presented: string | undefined): boolean {
    return this.#options.forms.verify(FORM, id, presented);
  }

  /** The visitor's connections, newest first; those of servers that are no more are left out. @throws AppError `STORE_UNAVAILABLE`. */
  async of({ user }: Visitor): Promise<readonly UserConnection[]> {
    const { grants, sessions, urls, findServer } = this.#options;
    const running = sessions.of(user);
    const found = (await grants.ofUser(user)).filter(({ redeemed }) => redeemed);
    return found.reverse().flatMap((grant) => {
      const server = findServer(urls.serverAt(grant.resource.slice(urls.base.length)) ?? '');
      if (server === undefined) return [];
      return [{ grant, server, sessions: running.filter((session) => session.grant === grant.id) }];
    });
  }

  /**
   * Changes what a grant may do, from the next call on. Resolves with the way to the forge where more is wanted than the tokens that are there can do.
   * @throws AppError as `Trips.begin`; `INVALID_REQUEST` where the grant has ended meanwhile, `STORE_UNAVAILABLE`.
   */
  async change(connection: UserConnection, scopes: readonly Scope[], choice: Choice): Promise<Departure | undefined> {
    const { grant, server } = connection;
    const { forges, trips } = this.#options;
    const change: GrantChange = { scopes, policy: choice };
    if (applicationFor(scopes) === 'read' || grant.application === 'write') {
      await this.#update(grant.id, change);
      return undefined;
    }
    if (await forges.has(grant.user, 'write')) {
      await this.#update(grant.id, { ...change, application: 'write' });
      return undefined;
    }
    return trips.begin(server, 'write', {
      kind: 'widen',
      grant: grant.id,
      account: accountOf(grant.user),
      scopes,
      choice,
    });
  }

  /**
   * The user is back from the forge with tokens that can do more: widens the grant.
   * @throws AppError `FORGE_LOGIN_INVALID` where somebody else has logged in; `INVALID_REQUEST` where the grant has ended meanwhile, `STORE_UNAVAILABLE`.
   */
  async widened({ errand, user }: Arrival): Promise<void> {
    if (errand.kind !== 'widen' || errand.account !== accountOf(user)) {
      throw new AppError(
        'FORGE_LOGIN_INVALID',
        'You logged in at Forgejo as somebody else than this connection belongs to. Nothing was changed.',
      );
    }
    const { grant, scopes, choice } = errand;
    await this.#update(grant, { scopes, policy: choice, application: 'write' });
  }

  /** Ends a connection and everything that runs because of it. */
  async revoke({ user }: Visitor, id: string): Promise<void> {
    const { grants, observer } = this.#options;
    const grant = await grants.find(id);
    if (grant === undefined || accountOf(grant.user) !== accountOf(user)) return;
    if (await grants.revoke(id)) observer.revoked(user, id);
  }

  /** Ends one of the visitor's sessions. */
  async end({ user }: Visitor, session: string): Promise<void> {
    const { sessions } = this.#options;
    if (sessions.of(user).some(({ name }) => name === session)) await sessions.end(session);
  }

  /** Ends everything of the visitor's, and forgets the tokens for the forge. */
  async disconnect({ user }: Visitor): Promise<void> {
    const { grants, forges, sessions, observer } = this.#options;
    const count = await grants.revokeUser(user);
    await Promise.all([sessions.endUser(user), forges.forget(user)]);
    observer.disconnected(user, count);
  }

  async #update(id: string, change: GrantChange): Promise<void> {
    const { grants, forget, observer } = this.#options;
    const grant = await grants.update(id, change);
    forget(id);
    if (grant === undefined) {
      throw new AppError('INVALID_REQUEST', 'This connection has ended meanwhile, so nothing was changed.');
    }
    observer.changed(grant);
  }
}
