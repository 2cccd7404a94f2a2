/** Which session a request names, and whether its bearer may use it. */
import type { AuthContext } from '../auth/context';
import type { Clock } from '../clock';
import type { ServerSpec } from '../config/server';
import type { AppError } from '../errors';
import { bind, covers, type BindingPolicy, type Bound } from './binding';
import { bearerOf, boundOf, revived } from './bound';
import { sessionName, type SessionIds } from './ids';
import type { Ledger } from './ledger';
import type { SessionRecord } from './ports';
import * as refusals from './refusals';
import type { Session } from './session';
import type { Table } from './table';

export interface LookupOptions {
  readonly table: Table;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly ids: SessionIds;
  readonly binding: BindingPolicy;
  /** Whether a session's time is up for whoever asks now. */
  readonly isOver: (session: Session) => boolean;
  readonly isStopping: () => boolean;
}

export class Lookup {
  readonly #options: LookupOptions;
  /** Those that are being brought back from their records. */
  readonly #reviving = new Map<string, Promise<Session>>();

  constructor(options: LookupOptions) {
    this.#options = options;
  }

  /** Finds the session that a request names, or says why not: 500, 400, then 410, 404 and 403 in this order. */
  async find(auth: AuthContext | undefined, server: ServerSpec, id: string | undefined): Promise<Session> {
    if (auth === undefined) throw refusals.noAuthContext();
    if (id === undefined || id === '') throw refusals.idMissing();
    const session = this.#options.table.byId(id) ?? (await this.#revive(auth, server, id));
    if (session.state !== 'active' || this.#options.isOver(session)) throw this.#endedNow();
    this.#check(session.auth, session.server.name, auth, server);
    if (!covers(session.auth, auth)) throw refusals.tokenNarrower();
    this.#follow(session, auth);
    if (session.channel === undefined && session.waking === undefined) session.server = server; // its next child is one of today's
    return session;
  }

  #check(bound: Bound, boundServer: string, auth: AuthContext, server: ServerSpec): void {
    const binding = bind(bound, auth, this.#options.binding);
    if (binding === 'forbidden') throw refusals.forbidden();
    if (binding === 'ended' || boundServer !== server.name) throw refusals.ended();
  }

  /** From now on the session is this bearer's: its scopes and choice hold, and its grant, where it is a later login. */
  #follow(session: Session, auth: AuthContext): void {
    const isSame = session.auth.grant === auth.grant && sameScopes(session.auth, auth);
    session.auth = auth;
    if (isSame) return;
    const { grant, scopes } = boundOf(auth);
    session.record = { ...session.record, grant, scopes };
    this.#options.ledger.update(session.name, { grant, scopes });
  }

  /**
   * A session that this process does not have: it slept when the one before stopped, or has ended. Which of them only the store can tell (503 when it
   * cannot).
   */
  async #revive(auth: AuthContext, server: ServerSpec, id: string): Promise<Session> {
    const { ids, ledger, table, clock } = this.#options;
    if (!ids.verify(id)) throw refusals.unknown();
    const name = sessionName(id);
    const record = await ledger.live(name);
    const meanwhile = table.byId(id);
    if (meanwhile !== undefined) return meanwhile;
    if (record?.state !== 'hibernated' || (record.expiresAt ?? Infinity) <= clock.wall()) throw this.#endedNow();
    if (this.#options.isStopping()) throw refusals.draining();
    const bearer = bearerOf(record, auth.user.login);
    this.#check(bearer, record.server, auth, server);
    const running = this.#reviving.get(name);
    if (running !== undefined) return running;
    const reviving = this.#claim(record, bearer, server, id).finally(() => this.#reviving.delete(name));
    this.#reviving.set(name, reviving);
    return reviving;
  }

  /** Makes a sleeping session this process's own. */
  async #claim(
    { name, generation }: SessionRecord,
    bearer: AuthContext,
    server: ServerSpec,
    id: string,
  ): Promise<Session> {
    const { ledger, table, clock } = this.#options;
    const record = await ledger.claim(name, generation);
    if (record === undefined) throw refusals.takenElsewhere();
    const session = revived(record, bearer, server, () => clock.now(), clock.wall());
    table.add(session);
    table.identify(session, id);
    return session;
  }

  /** While the gateway stops nobody is told that a session has ended: clients start again on that, and would be refused. */
  #endedNow(): AppError {
    return this.#options.isStopping() ? refusals.draining() : refusals.ended();
  }
}

function sameScopes(a: AuthContext, b: AuthContext): boolean {
  return a.scopes.size === b.scopes.size && [...a.scopes].every((scope) => b.scopes.has(scope));
}
