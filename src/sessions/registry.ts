/**
 * The registry: open, use, listen, end; how sessions sleep and wake is in `sleep.ts`. It knows nothing of HTTP, pods or processes; children come
 * from a {@link SpawnFunc}, time from a clock, records go to a store.
 */
import type { AuthContext, UserRef } from '../auth/context';
import type { Channel, ChannelEnd, MessageSink } from '../bridge/contract';
import { Memory } from '../bridge/memory';
import type { Clock, Timer } from '../clock';
import type { ServerSpec } from '../config/server';
import { AppError } from '../errors';
import { established, recordOf } from './bound';
import { displaced } from './crowd';
import { depart } from './departure';
import { Drain } from './drain';
import { reasonOf } from './ending';
import { expired, reapable } from './expiry';
import { Handle, type Opening } from './handle';
import { sessionName } from './ids';
import { Ledger } from './ledger';
import { Lookup } from './lookup';
import type { RegistryOptions } from './options';
import { Places } from './places';
import type {
  ChildPlace,
  EndReason,
  OpenOptions,
  SessionHandle,
  SessionRecord,
  SessionStream,
  Sessions,
  SleepReason,
} from './ports';
import * as refusals from './refusals';
import { Session } from './session';
import { Sleep } from './sleep';
import { start } from './start';
import { Table } from './table';

export type { RegistryOptions } from './options';

/** Milliseconds between two rounds over old records. */
const TIDY_EVERY_MS = 600_000;

/** A live session as others may know it. */
export interface LiveSession {
  readonly record: SessionRecord;
  readonly auth: AuthContext;
  readonly server: ServerSpec;
}

export class Registry implements Sessions {
  readonly #options: RegistryOptions;
  readonly #clock: Clock;
  readonly #table: Table;
  readonly #ledger: Ledger;
  readonly #places: Places;
  readonly #lookup: Lookup;
  readonly #sleep: Sleep;
  readonly #drain: Drain;
  readonly #sweeper: Timer;
  #tidiedAt: number;
  #stopping: Promise<void> | undefined;

  /** The sweeps begin at once; {@link stop} ends them. */
  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#table = new Table(options.observer);
    this.#ledger = new Ledger(options.store, options.clock, (name, ended) => this.#lost(name, ended));
    const end = (session: Session, reason: EndReason = 'lost'): void => void this.#end(session, reason);
    const common = { ...options, table: this.#table, ledger: this.#ledger, end };
    this.#places = new Places(common);
    this.#lookup = new Lookup({
      ...common,
      isOver: (session) => this.#isOver(session),
      isStopping: () => this.#stopping !== undefined,
      lost: (name, ended) => this.#lost(name, ended),
      adopt: (session, child) => this.#sleep.adopt(session, child),
    });
    this.#sleep = new Sleep({
      ...common,
      take: (session) => this.#places.take(session.name, session.auth, session.server, false),
      enter: (session, record) => this.#places.enter(session, false, record),
      hold: (session) => this.#places.hold(session.auth, session.server),
      refusal: () => (this.#stopping === undefined ? undefined : refusals.draining()),
      joined: (session, channel) => this.#look(session, channel),
    });
    this.#drain = new Drain({ ...options, end: (session) => end(session, 'drained') });
    options.store.view?.onChange((name) => this.#changed(name));
    this.#tidiedAt = this.#clock.now();
    this.#sweeper = this.#clock.every(options.sweepInterval * 1000, () => this.#sweep());
  }

  /** Sessions of this process, those that sleep among them. */
  get size(): number {
    return this.#table.size;
  }

  async open(
    auth: AuthContext | undefined,
    server: ServerSpec,
    signal: AbortSignal,
    options: OpenOptions = {},
  ): Promise<SessionHandle> {
    try {
      return await this.#open(auth, server, signal, options);
    } catch (thrown) {
      if (thrown instanceof AppError) this.#options.observer.refused(thrown.code);
      throw thrown;
    }
  }

  async use(auth: AuthContext | undefined, server: ServerSpec, id: string | undefined): Promise<SessionHandle> {
    return this.#handle(await this.#lookup.find(auth, server, id), id as string);
  }

  async listen(
    auth: AuthContext | undefined,
    server: ServerSpec,
    id: string | undefined,
    sink: MessageSink,
  ): Promise<SessionStream> {
    const session = await this.#lookup.find(auth, server, id);
    return session.listen(sink, this.#options.maxStreams);
  }

  async end(
    auth: AuthContext | undefined,
    server: ServerSpec,
    id: string | undefined,
    reason: EndReason = 'deleted',
  ): Promise<void> {
    await this.#end(await this.#lookup.find(auth, server, id), reason);
  }

  /** The session of that name while it lives, whether or not it has a child now; undefined from the moment it ends. */
  live(name: string): LiveSession | undefined {
    const session = this.#table.named(name);
    return session?.isLive === true ? session : undefined;
  }

  /** The live sessions of a user, those that sleep among them, oldest first. */
  sessionsOf(user: Pick<UserRef, 'issuer' | 'id'>): readonly LiveSession[] {
    return this.#table.live(user);
  }

  /** The grants that live sessions are bound to, each once. */
  grants(): readonly string[] {
    return [...new Set(this.#table.live().map(({ auth }) => auth.grant))];
  }

  /** To be told of each server that changes: its sessions may have to end. */
  serverChanged(name: string): void {
    for (const session of this.#table) if (session.server.name === name) this.#drain.look(session);
  }

  /** Whether this process has a session with this very child or sleep of it. */
  holds(name: string, generation: number): boolean {
    const session = this.#table.named(name);
    return session?.isLive === true && session.generation === generation;
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
    const session = this.#table.named(name);
    if (session === undefined) return false;
    await this.#end(session, reason);
    return true;
  }

  /**
   * Stops in an orderly way: nothing new is taken (`DRAINING`), starts are given up, the children of idle sessions end at once, of busy ones when their calls
   * are answered or after `callsMs`. Sessions that can live on without their child sleep until another process has them, the others end; all of it is
   * recorded. Never rejects; resolves the same for every caller.
   */
  stop(callsMs: number): Promise<void> {
    this.#stopping ??= this.#stop(callsMs);
    return this.#stopping;
  }

  async #open(
    auth: AuthContext | undefined,
    server: ServerSpec,
    signal: AbortSignal,
    { outlives = 'gateway' }: OpenOptions,
  ): Promise<SessionHandle> {
    if (auth === undefined) throw refusals.noAuthContext();
    if (this.#stopping !== undefined) throw refusals.draining();
    if (server.drain) throw refusals.serverDraining();
    if (server.paused) throw refusals.paused();
    signal.throwIfAborted();
    const began = this.#clock.now();
    const id = this.#options.ids.mint();
    const name = sessionName(id);
    const place = this.#places.take(name, auth, server, true);
    const record = recordOf(name, server.name, auth, this.#clock.wall());
    const now = (): number => this.#clock.now();
    const session = new Session({
      ...{ record, auth, server, outlives, now, startedAt: began, state: 'starting' },
      memory: new Memory(),
    });
    session.place = place;
    session.doubts = this.#options.holders.doubts;
    this.#table.add(session);
    let isRecorded = false;
    let failed: EndReason = 'start-failed';
    const starting = {
      session,
      spawn: this.#options.spawn,
      clock: this.#clock,
      record: async () => {
        await this.#places.enter(session, true, async () => {
          isRecorded = true;
          session.record = await this.#ledger.insert(record);
          failed = 'refused';
        });
        failed = 'start-failed';
      },
      placed: (child: ChildPlace) => this.#ledger.write(session.name, { child }),
      up: (channel: Channel) => this.#activate(session, channel, id, signal, began),
      failed: () => this.#remove(session, session.startEnded ?? failed),
    };
    try {
      return await start(starting, signal);
    } catch (thrown) {
      if (isRecorded) this.#record(session, session.startEnded ?? failed);
      throw thrown;
    }
  }

  /** The child runs; from here on the session lives until somebody ends it. */
  #activate(session: Session, channel: Channel, id: string, signal: AbortSignal, began: number): SessionHandle {
    session.state = 'active';
    session.join(channel);
    this.#table.identify(session, id);
    this.#table.moved(session);
    this.#look(session, channel);
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
    const opening = {
      established: () => this.#ledger.write(session.name, established(session)),
      lost: () => {
        delivered = false;
      },
    };
    return this.#handle(session, id, { released, opening });
  }

  #look(session: Session, channel: Channel): void {
    void channel.ended.then((end) => this.#childEnded(session, channel, end));
  }

  #handle(session: Session, id: string, own: { released?: () => void; opening?: Opening } = {}): Handle {
    const { released, opening } = own;
    return new Handle({
      session,
      id,
      isDraining: () => this.#stopping !== undefined,
      wake: () => this.#sleep.wake(session),
      released: () => {
        released?.();
        this.#endRetired(session);
      },
      ...(opening === undefined ? {} : { opening }),
    });
  }

  /** Whether a session's time is up for whoever asks now. Those who hold it keep it until they let go. */
  #isOver(session: Session): boolean {
    const reason = expired(session.server, session.times, this.#clock.now());
    if (reason !== undefined) this.#retire(session, reason);
    return session.retired !== undefined;
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
      this.#record(session, reason);
      void this.#close(session, reason).then(() => this.#options.observer.ended(session.record, reason));
    }
    return session.gone;
  }

  async #endAll(reason: EndReason, which: (session: Session) => boolean): Promise<void> {
    const sessions = [...this.#table].filter(which);
    await Promise.all(sessions.map((session) => this.#end(session, reason)));
  }

  /** Ends what child there is; the session is over for this process then. */
  async #close(session: Session, reason: EndReason): Promise<void> {
    session.state = 'ending';
    this.#table.moved(session);
    session.start.abort(reason === 'stopped' ? refusals.draining() : refusals.ended());
    await this.#sleep.end(session);
    this.#remove(session, reason);
  }

  /** The child is gone. A session that can live on without it sleeps; else, where nobody ended the session, this does. */
  #childEnded(session: Session, channel: Channel, end: ChannelEnd): void {
    if (session.state !== 'active' || session.channel !== channel) return;
    const reason = reasonOf(end);
    if (reason === 'lost' && session.maySleep) {
      this.#hibernate(session, 'lost');
      return;
    }
    this.#record(session, reason);
    this.#remove(session, reason);
    this.#options.observer.ended(session.record, reason);
  }

  /** Somebody changed a record. Of a session of this process's that may be its end. */
  #changed(name: string): void {
    if (this.#table.named(name)?.isLive !== true) return;
    // Where the store cannot be asked, the next write tells.
    this.#ledger.look(name, this.#options.holders.self).catch(() => undefined);
  }

  /** The session is none of this process's any more: it has ended, or what becomes of it others have recorded. */
  #lost(name: string, ended: EndReason | undefined): void {
    const session = this.#table.named(name);
    if (session !== undefined && ended !== undefined) void this.#end(session, ended);
    if (session?.state !== 'active') return;
    session.isElsewhere = session.leavesChild = true;
    void this.#close(session, 'lost');
  }

  /** Its child ends, and the session sleeps; where too many sleep, others end. */
  #hibernate(session: Session, why: SleepReason): void {
    void this.#sleep.hibernate(session, why);
    for (const one of displaced(this.#table, session, this.#options)) this.#retire(one, 'displaced');
  }

  #record(session: Session, reason: EndReason): void {
    const at = this.#clock.wall();
    session.record = { ...session.record, state: 'ended', endedAt: at, endReason: reason };
    this.#ledger.end(session.name, reason, at);
  }

  #remove(session: Session, reason: EndReason): void {
    session.finish(reason);
    this.#table.remove(session);
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const session of this.#table) {
      this.#drain.look(session);
      if (session.state !== 'active') continue;
      const reason = reapable(session.server, session.times, now);
      if (reason === undefined) continue;
      if (reason !== 'idle' || !session.maySleep) this.#retire(session, reason);
      else if (session.channel !== undefined) this.#hibernate(session, 'idle');
    }
    this.#places.sweep(now);
    if (now - this.#tidiedAt < TIDY_EVERY_MS) return;
    this.#tidiedAt = now;
    const wall = this.#clock.wall();
    void this.#ledger.tidy(wall, wall - this.#options.keepRecords * 1000);
  }

  #stop(callsMs: number): Promise<void> {
    this.#sweeper.cancel();
    const parts = { table: this.#table, ledger: this.#ledger, lookup: this.#lookup, sleep: this.#sleep };
    const end = (session: Session): Promise<void> => this.#end(session, 'stopped');
    const close = (session: Session): Promise<void> => this.#close(session, 'stopped');
    return depart({ ...this.#options, ...parts, end, close }, callsMs);
  }
}
