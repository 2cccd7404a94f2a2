/** Which session a request names, and whether its bearer may use it. */
import type { AuthContext } from '../auth/context';
import type { Clock } from '../clock';
import type { ServerSpec } from '../config/server';
import type { AppError } from '../errors';
import { bind, covers, type BindingPolicy, type Bound } from './binding';
import { bearerOf, boundOf, revived } from './bound';
import { HeldElsewhere } from './elsewhere';
import type { Holders } from './holders';
import { sessionName, type SessionIds } from './ids';
import type { Ledger } from './ledger';
import type { ChildPlace, EndReason, SessionRecord } from './ports';
import * as refusals from './refusals';
import type { Session } from './session';
import type { Table } from './table';

/** Milliseconds by which a read may have begun before it was asked for. Nobody can have heard of a session that was not recorded by then. */
const SAME_MOMENT_MS = 10;

export interface LookupOptions {
  readonly table: Table;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly ids: SessionIds;
  readonly binding: BindingPolicy;
  readonly holders: Holders;
  /** Takes a session's child over from the process before; false where that cannot be tried. */
  readonly adopt: (session: Session, child: ChildPlace) => boolean;
  /** Removes what the process before left of a session's child. Resolves when it is gone; never rejects. */
  readonly discard: (child: ChildPlace) => Promise<void>;
  /** A session of this process has ended elsewhere, for that reason, or is another's by now. */
  readonly lost: (name: string, ended: EndReason | undefined) => void;
  /** Ends a session that was taken over and cannot go on. */
  readonly end: (session: Session, reason?: EndReason) => void;
  /** Whether a session's time is up for whoever asks now. */
  readonly isOver: (session: Session) => boolean;
  readonly isStopping: () => boolean;
  /** Whether the server of that name is to have no sessions. */
  readonly drains: (server: string) => boolean;
}

export class Lookup {
  readonly #options: LookupOptions;
  /** Those that are being brought back from their records. */
  readonly #reviving = new Map<string, Promise<Session>>();
  /** Records that are being read, and since when. */
  readonly #reading = new Map<
    string,
    { readonly began: number; readonly record: Promise<SessionRecord | undefined> }
  >();

  constructor(options: LookupOptions) {
    this.#options = options;
  }

  /** Resolves when no session is on its way here any more. Never rejects. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#reviving.values());
  }

  /** Finds the session that a request names, or says why not: 500, 400, then 410, 404 and 403 in this order. */
  async find(auth: AuthContext | undefined, server: ServerSpec, id: string | undefined): Promise<Session> {
    if (auth === undefined) throw refusals.noAuthContext();
    if (id === undefined || id === '') throw refusals.idMissing();
    const here = this.#options.table.byId(id);
    // On every request: a session that is here for certain is found without waiting for anything.
    const session = here !== undefined && this.#isOurs(here) ? here : await this.#unsure(here, auth, server, id);
    if (session.state !== 'active' || this.#options.isOver(session)) throw this.#endedNow();
    this.#check(session.auth, session.server.name, auth, server);
    if (!covers(session.auth, auth)) throw refusals.tokenNarrower();
    this.#follow(session, auth);
    if (session.channel === undefined && session.waking === undefined) session.server = server; // its next child is one of today's
    return session;
  }

  #isOurs(session: Session): boolean {
    const { isSure, doubts } = this.#options.holders;
    return !session.isElsewhere && isSure && session.doubts === doubts;
  }

  /** A session that this process does not have, or of which only its record says whether it still has it. */
  async #unsure(here: Session | undefined, auth: AuthContext, server: ServerSpec, id: string): Promise<Session> {
    const { holders, ledger } = this.#options;
    if (here !== undefined && !here.isElsewhere) {
      const { doubts } = holders; // a doubt that comes while the record is read is one of its own
      await ledger.look(here.name, holders.self);
      if (here.state === 'active' && !here.isElsewhere) {
        here.doubts = doubts;
        return here;
      }
    }
    return this.#revive(auth, server, id);
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
   * A session that this process does not have: another one has it or had it, or it has ended. Which of them only the store can tell (503 when it cannot).
   */
  async #revive(auth: AuthContext, server: ServerSpec, id: string): Promise<Session> {
    const { ids, table, clock } = this.#options;
    if (!ids.verify(id)) throw refusals.unknown();
    const name = sessionName(id);
    const record = await this.#read(name);
    const meanwhile = table.byId(id);
    if (meanwhile !== undefined && !meanwhile.isElsewhere) return meanwhile;
    if (record === undefined || isExpired(record, clock.wall())) throw this.#endedNow();
    const bearer = bearerOf(record, auth.user.login);
    this.#check(bearer, record.server, auth, server);
    await this.#checkHolder(record);
    if (this.#options.isStopping()) throw refusals.draining();
    const running = this.#reviving.get(name);
    if (running !== undefined) return running;
    const reviving = this.#claim(record, bearer, server, id).finally(() => this.#reviving.delete(name));
    this.#reviving.set(name, reviving);
    return reviving;
  }

  /** A live read, which all share that ask at the same moment: many may wait for the same session. */
  #read(name: string): Promise<SessionRecord | undefined> {
    const { ledger, clock } = this.#options;
    const began = clock.now();
    const running = this.#reading.get(name);
    if (running !== undefined && began - running.began <= SAME_MOMENT_MS) return running.record;
    const reading = { began, record: ledger.live(name) };
    this.#reading.set(name, reading);
    const done = (): void => {
      if (this.#reading.get(name) === reading) this.#reading.delete(name);
    };
    reading.record.then(done, done);
    return reading.record;
  }

  /** @throws HeldElsewhere where somebody who lives has the session. */
  async #checkHolder(record: SessionRecord): Promise<void> {
    const { holder } = record;
    const { holders } = this.#options;
    if (holder === undefined || holder === holders.self || !(await holders.isAlive(holder))) return;
    throw new HeldElsewhere(record, holder);
  }

  /** Makes a session this process's own, with its child where that can be had; otherwise nothing of it stays. */
  async #claim(
    { name, generation }: SessionRecord,
    bearer: AuthContext,
    server: ServerSpec,
    id: string,
  ): Promise<Session> {
    const { ledger, table, clock, holders } = this.#options;
    const { doubts } = holders;
    const record = await ledger.claim(name, generation);
    if (record === undefined) {
      const now = await ledger.live(name);
      if (now !== undefined) await this.#checkHolder(now); // somebody was quicker: the request is for them
      throw refusals.takenElsewhere();
    }
    if (this.#options.isStopping()) {
      await this.#giveUp(name);
      throw refusals.draining();
    }
    const session = revived(record, bearer, server, () => clock.now(), clock.wall());
    session.doubts = doubts;
    table.add(session);
    table.identify(session, id);
    const { child, state } = record;
    const isDrained = this.#options.drains(server.name);
    if (child !== undefined && state === 'active' && !isDrained && this.#options.adopt(session, child)) return session;
    if (child !== undefined) {
      session.leaving = this.#options.discard(child).then(() => {
        session.leaving = undefined;
      });
    }
    if (isDrained) this.#options.end(session, 'drained');
    else if (!session.maySleep) this.#options.end(session);
    return session;
  }

  /** Gives a session back that was claimed while the process began to stop, which lets go only of what it had by then: whoever comes next has it as it is. */
  async #giveUp(name: string): Promise<void> {
    const change = { holder: null };
    await this.#options.ledger.write(name, change).catch(() => this.#options.ledger.update(name, change));
  }

  /** While the gateway stops nobody is told that a session has ended: clients start again on that, and would be refused. */
  #endedNow(): AppError {
    return this.#options.isStopping() ? refusals.draining() : refusals.ended();
  }
}

function isExpired({ state, expiresAt = Infinity }: SessionRecord, wall: number): boolean {
  return state === 'hibernated' && expiresAt <= wall;
}

function sameScopes(a: AuthContext, b: AuthContext): boolean {
  return a.scopes.size === b.scopes.size && [...a.scopes].every((scope) => b.scopes.has(scope));
}
