/**
 * The table of sessions: open, use, listen, end. It knows nothing of HTTP, pods or processes; children come from a {@link SpawnFunc}, time
 * from a clock, records go to a store.
 */
import type { AuthContext, UserRef } from '../auth/context';
import type { Channel, ChannelEnd, MessageSink } from '../bridge/contract';
import type { Clock, Timer } from '../clock';
import type { ServerSpec } from '../config/server';
import { AppError } from '../errors';
import { bind, covers, type BindingPolicy } from './binding';
import { Caps, userKey, type CapOptions, type CapScope } from './caps';
import { CLOSE_SLACK_MS, closeDeadline, reasonOf } from './ending';
import { expired, idleIn, reapable } from './expiry';
import { Handle } from './handle';
import { sessionName, type SessionIds } from './ids';
import { Ledger } from './ledger';
import type {
  EndReason,
  SessionHandle,
  SessionObserver,
  SessionRecord,
  SessionStore,
  SessionStream,
  Sessions,
  SpawnFunc,
} from './ports';
import * as refusals from './refusals';
import { Session } from './session';
import { start } from './start';
import { within } from './within';

export interface RegistryOptions extends CapOptions {
  readonly spawn: SpawnFunc;
  readonly store: SessionStore;
  readonly clock: Clock;
  readonly ids: SessionIds;
  readonly observer: SessionObserver;
  readonly binding: BindingPolicy;
  /** Seconds between two sweeps for idle and expired sessions. */
  readonly sweepInterval: number;
  /** GET streams that one session may have open. */
  readonly maxStreams: number;
  /** Seconds for which the record of an ended session is kept. */
  readonly keepRecords: number;
}

/** Milliseconds between two removals of old records. */
const PURGE_EVERY_MS = 3_600_000;

/** Sessions that are looked at to say when a place will be free. */
const RETRY_SAMPLE = 256;

/** A live session as others may know it. */
export interface LiveSession {
  readonly record: SessionRecord;
  readonly auth: AuthContext;
  readonly server: ServerSpec;
}

type CountedState = 'starting' | 'active' | 'ending';

export class Registry implements Sessions {
  readonly #options: RegistryOptions;
  readonly #clock: Clock;
  readonly #caps: Caps;
  readonly #ledger: Ledger;
  readonly #sessions = new Map<string, Session>();
  /** The same sessions by id, once they are active: a look-up on every request, which hashing would make dearer. */
  readonly #byId = new Map<string, Session>();
  readonly #counts = { starting: 0, active: 0, ending: 0 };
  readonly #sweeper: Timer;
  #purgedAt: number;
  #stopping: Promise<void> | undefined;

  /** The sweeps begin at once; {@link stop} ends them. */
  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#caps = new Caps(options, this.#clock.now());
    this.#ledger = new Ledger(options.store, options.clock);
    this.#purgedAt = this.#clock.now();
    this.#sweeper = this.#clock.every(options.sweepInterval * 1000, () => this.#sweep());
  }

  /** Sessions that hold a place: starting, active and ending. */
  get size(): number {
    return this.#sessions.size;
  }

  async open(auth: AuthContext | undefined, server: ServerSpec, signal: AbortSignal): Promise<SessionHandle> {
    try {
      return await this.#open(auth, server, signal);
    } catch (thrown) {
      if (thrown instanceof AppError) this.#options.observer.refused(thrown.code);
      throw thrown;
    }
  }

  async use(auth: AuthContext | undefined, server: ServerSpec, id: string | undefined): Promise<SessionHandle> {
    const { session, channel } = await this.#find(auth, server, id);
    return this.#handle(session, channel, id as string);
  }

  async listen(
    auth: AuthContext | undefined,
    server: ServerSpec,
    id: string | undefined,
    sink: MessageSink,
  ): Promise<SessionStream> {
    const { session } = await this.#find(auth, server, id);
    return session.listen(sink, this.#options.maxStreams);
  }

  async end(
    auth: AuthContext | undefined,
    server: ServerSpec,
    id: string | undefined,
    reason: EndReason = 'deleted',
  ): Promise<void> {
    const { session } = await this.#find(auth, server, id);
    await this.#end(session, reason);
  }

  /** The session of that name while its child may act: starting or active; undefined from the moment it ends. */
  live(name: string): LiveSession | undefined {
    const session = this.#sessions.get(name);
    return session?.isLive === true ? session : undefined;
  }

  /** The live sessions of a user, oldest first. */
  sessionsOf(user: Pick<UserRef, 'issuer' | 'id'>): readonly LiveSession[] {
    return [...this.#sessions.values()].filter((session) => session.isLive && session.isOf(user));
  }

  /** The grants that live sessions are bound to, each once. */
  grants(): readonly string[] {
    const live = [...this.#sessions.values()].filter(({ isLive }) => isLive);
    return [...new Set(live.map(({ auth }) => auth.grant))];
  }

  /** Ends every session of a grant that is gone. Resolves when their children are. */
  endGrant(grant: string): Promise<void> {
    return this.#endAll('revoked', ({ auth }) => auth.grant === grant);
  }

  /** Ends every session of a user. Resolves when their children are gone. */
  endUser(user: Pick<UserRef, 'issuer' | 'id'>, reason: EndReason): Promise<void> {
    return this.#endAll(reason, (session) => session.isOf(user));
  }

  /** Ends the session of that name. Resolves when its child is gone, with false where there is no such session. Who may end it the caller has checked. */
  async endNamed(name: string, reason: EndReason): Promise<boolean> {
    const session = this.#sessions.get(name);
    if (session === undefined) return false;
    await this.#end(session, reason);
    return true;
  }

  /**
   * Stops in an orderly way: nothing new is taken (`DRAINING`), starts are given up, idle sessions end at once, busy ones when their calls
   * are answered or after `callsMs`, and every end is recorded. Never rejects; resolves the same for every caller.
   */
  stop(callsMs: number): Promise<void> {
    this.#stopping ??= this.#stop(callsMs);
    return this.#stopping;
  }

  async #open(auth: AuthContext | undefined, server: ServerSpec, signal: AbortSignal): Promise<SessionHandle> {
    if (auth === undefined) throw refusals.noAuthContext();
    if (this.#stopping !== undefined) throw refusals.draining();
    if (server.paused) throw refusals.paused();
    signal.throwIfAborted();
    const began = this.#clock.now();
    const place = this.#caps.take(userKey(auth.user), server, began, (scope) => this.#freeIn(scope));
    const id = this.#options.ids.mint();
    const record: SessionRecord = {
      name: sessionName(id),
      server: server.name,
      userIssuer: auth.user.issuer,
      userId: auth.user.id,
      grant: auth.grant,
      client: auth.client,
      createdAt: this.#clock.wall(),
    };
    const session = new Session({ record, auth, server, place, now: () => this.#clock.now() });
    this.#sessions.set(session.name, session);
    this.#count('starting', 1);
    const starting = {
      session,
      spawn: this.#options.spawn,
      clock: this.#clock,
      ledger: this.#ledger,
      up: (channel: Channel) => this.#activate(session, channel, id, signal, began),
      failed: () => this.#remove(session, session.startEnded ?? 'start-failed', 'starting'),
    };
    try {
      return await start(starting, signal);
    } catch (thrown) {
      this.#record(session, session.startEnded ?? 'start-failed');
      throw thrown;
    }
  }

  /** The child runs; from here on the session lives until somebody ends it. */
  #activate(session: Session, channel: Channel, id: string, signal: AbortSignal, began: number): SessionHandle {
    session.channel = channel;
    session.state = 'active';
    this.#byId.set(id, session);
    void session.gone.then(() => this.#byId.delete(id));
    this.#count('starting', -1);
    this.#count('active', 1);
    void channel.ended.then((end) => this.#childEnded(session, end));
    this.#options.observer.opened(session.record, (this.#clock.now() - began) / 1000);
    // Until initialize was answered nobody but the opener knows the id: when it lets go before, the session is nobody's.
    let delivered = true;
    const giveUp = (): void => {
      if (channel.protocolVersion === undefined || !delivered) void this.#end(session, 'initialize-failed');
    };
    signal.addEventListener('abort', giveUp, { once: true });
    const released = (): void => {
      signal.removeEventListener('abort', giveUp);
      giveUp();
    };
    const lost = (): void => {
      delivered = false;
    };
    return this.#handle(session, channel, id, released, lost);
  }

  #handle(session: Session, channel: Channel, id: string, released?: () => void, lost?: () => void): Handle {
    return new Handle({
      session,
      channel,
      id,
      isDraining: () => this.#stopping !== undefined,
      released: () => {
        released?.();
        this.#endRetired(session);
      },
      ...(lost === undefined ? {} : { lost }),
    });
  }

  /** Finds the session that a request names, or says why not: 500, 400, then 410, 404 and 403 in this order. */
  async #find(
    auth: AuthContext | undefined,
    server: ServerSpec,
    id: string | undefined,
  ): Promise<{ session: Session; channel: Channel }> {
    if (auth === undefined) throw refusals.noAuthContext();
    if (id === undefined || id === '') throw refusals.idMissing();
    const session = this.#byId.get(id);
    if (session === undefined) return this.#refuseUnfound(id);
    const { channel } = session;
    if (session.state !== 'active' || channel === undefined || this.#isOver(session)) throw this.#endedNow();
    const binding = bind(session.auth, auth, this.#options.binding);
    if (binding === 'forbidden') throw refusals.forbidden();
    if (binding === 'ended' || session.server.name !== server.name) throw refusals.ended();
    if (!covers(session.auth, auth)) throw refusals.tokenNarrower();
    this.#follow(session, auth);
    return { session, channel };
  }

  /** An id that names no session of this process. That it has ended is only said after the store was asked (503 when it cannot tell). */
  async #refuseUnfound(id: string): Promise<never> {
    if (!this.#options.ids.verify(id)) throw refusals.unknown();
    await this.#ledger.get(sessionName(id));
    throw this.#endedNow();
  }

  /** While the gateway stops nobody is told that a session has ended: clients start again on that, and would be refused. */
  #endedNow(): AppError {
    return this.#stopping === undefined ? refusals.ended() : refusals.draining();
  }

  /** Whether a session's time is up for whoever asks now. Those who hold it keep it until they let go. */
  #isOver(session: Session): boolean {
    const reason = expired(session.server, session.times, this.#clock.now());
    if (reason !== undefined) this.#retire(session, reason);
    return session.retired !== undefined;
  }

  /** From now on the session is this bearer's: its scopes and choice hold, and its grant, where it is a later login. */
  #follow(session: Session, auth: AuthContext): void {
    const adopted = session.auth.grant !== auth.grant;
    session.auth = auth;
    if (!adopted) return;
    session.record = { ...session.record, grant: auth.grant };
    this.#ledger.rebind(session.name, auth.grant);
  }

  #retire(session: Session, reason: EndReason): void {
    session.retired ??= reason;
    this.#endRetired(session);
  }

  #endRetired(session: Session): void {
    if (session.retired !== undefined && !session.busy) void this.#end(session, session.retired);
  }

  /** Ends a session once; every caller waits for the same end. Never rejects. */
  #end(session: Session, reason: EndReason): Promise<void> {
    if (session.state === 'starting') {
      if (!session.start.signal.aborted) session.startEnded = reason;
      session.start.abort(reason === 'stopped' ? refusals.draining() : refusals.ended());
    } else if (session.state === 'active') {
      session.state = 'ending';
      this.#count('active', -1);
      this.#count('ending', 1);
      this.#record(session, reason);
      void this.#close(session, reason);
    }
    return session.gone;
  }

  async #endAll(reason: EndReason, which: (session: Session) => boolean): Promise<void> {
    const sessions = [...this.#sessions.values()].filter(which);
    await Promise.all(sessions.map((session) => this.#end(session, reason)));
  }

  async #close(session: Session, reason: EndReason): Promise<void> {
    const closed = session.channel?.close() ?? Promise.resolve();
    await within(this.#clock, closeDeadline(session.server), closed, refusals.draining).catch(() => undefined); // given up: its place is free again
    this.#finish(session, reason, 'ending');
  }

  /** The child is gone. Where nobody ended the session, this does. */
  #childEnded(session: Session, end: ChannelEnd): void {
    if (session.state !== 'active') return;
    const reason = reasonOf(end);
    this.#record(session, reason);
    this.#finish(session, reason, 'active');
  }

  #finish(session: Session, reason: EndReason, from: 'active' | 'ending'): void {
    this.#remove(session, reason, from);
    this.#options.observer.ended(session.record, reason);
  }

  #record(session: Session, reason: EndReason): void {
    const at = this.#clock.wall();
    session.record = { ...session.record, endedAt: at, endReason: reason };
    this.#ledger.end(session.name, reason, at);
  }

  #remove(session: Session, reason: EndReason, from: CountedState): void {
    this.#sessions.delete(session.name);
    this.#count(from, -1);
    session.finish(reason);
  }

  #count(state: CountedState, by: number): void {
    this.#counts[state] += by;
    this.#options.observer.counts({ ...this.#counts });
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const session of this.#sessions.values()) {
      if (session.state !== 'active') continue;
      const reason = reapable(session.server, session.times, now);
      if (reason !== undefined) this.#retire(session, reason);
    }
    this.#caps.sweep(now);
    if (now - this.#purgedAt < PURGE_EVERY_MS) return;
    this.#purgedAt = now;
    void this.#ledger.purge(this.#clock.wall() - this.#options.keepRecords * 1000);
  }

  /** Seconds until the reaper may free a place in a scope: the next sweep after its first session is idle for long enough. */
  #freeIn(scope: CapScope): number {
    const now = this.#clock.now();
    let soonest = Infinity;
    let looked = 0;
    for (const session of this.#sessions.values()) {
      if (scope.user !== undefined && userKey(session.auth.user) !== scope.user) continue;
      if (scope.server !== undefined && session.server.name !== scope.server) continue;
      looked += 1;
      if (looked > RETRY_SAMPLE) break;
      if (session.state === 'ending') return 1;
      soonest = Math.min(soonest, idleIn(session.server, session.times, now) ?? Infinity);
    }
    const { sweepInterval } = this.#options;
    return soonest === Infinity ? sweepInterval : Math.max(1, Math.ceil(soonest / sweepInterval) * sweepInterval);
  }

  async #stop(callsMs: number): Promise<void> {
    this.#sweeper.cancel();
    const sessions = [...this.#sessions.values()];
    await Promise.all(
      sessions.map(async (session) => {
        if (session.busy) await within(this.#clock, callsMs, session.quiet(), refusals.draining).catch(() => undefined); // time is up
        const deadline = closeDeadline(session.server) + CLOSE_SLACK_MS; // a start that is given up has no deadline of its own
        await within(this.#clock, deadline, this.#end(session, 'stopped'), refusals.draining).catch(() => undefined);
      }),
    );
    await this.#ledger.stop();
  }
}
