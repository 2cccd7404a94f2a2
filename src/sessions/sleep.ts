/** Sessions without a child: how they come to sleep, and how they wake. */
import type { Channel } from '../bridge/contract';
import { restore } from '../bridge/memory';
import type { Clock } from '../clock';
import type { AppError } from '../errors';
import type { Place } from './caps';
import type { Table } from './table';
import { closeDeadline } from './ending';
import { over } from './expiry';
import type { Ledger } from './ledger';
import type { AdoptFunc, ChildPlace, SessionChange, SessionObserver, SleepReason, SpawnFunc } from './ports';
import * as refusals from './refusals';
import type { Session } from './session';
import { start } from './start';
import { within } from './within';

/** Milliseconds for a child to be taken over. A stream of its former holder that nobody reads can hold up all others. */
const ADOPT_MS = 10_000;

export interface SleepOptions {
  readonly spawn: SpawnFunc;
  readonly adopt?: AdoptFunc;
  /** Removes a child to which nothing here speaks. Resolves when it is gone; never rejects. */
  readonly discard: (child: ChildPlace) => Promise<void>;
  /** Takes a place for a child that is there already. */
  readonly hold: (session: Session) => Place;
  /** Ends a session that cannot go on. */
  readonly end: (session: Session) => void;
  readonly clock: Clock;
  readonly ledger: Ledger;
  readonly observer: SessionObserver;
  readonly table: Table;
  /** Takes a place among the caps. @throws AppError where there is none. */
  readonly take: (session: Session) => Place;
  /** Takes it among those of all processes as well, once that is recorded. */
  readonly enter: (session: Session, record: () => Promise<void>) => Promise<void>;
  /** Why no session may wake; undefined where one may. */
  readonly refusal: () => AppError | undefined;
  /** Told of a session's new child, to look after its end. */
  readonly joined: (session: Session, channel: Channel) => void;
}

export class Sleep {
  readonly #options: SleepOptions;

  constructor(options: SleepOptions) {
    this.#options = options;
  }

  /**
   * The session's child; one is started where it sleeps, and all who ask meanwhile wait for the same one. Rejects as a start does, or with `WAKE_FAILED`; the
   * session sleeps on then, and whoever asks next tries again.
   */
  wake(session: Session): Promise<Channel> {
    if (session.channel !== undefined) return Promise.resolve(session.channel);
    if (session.waking !== undefined) return session.waking;
    if (session.adopting !== undefined) return session.adopting.then((channel) => channel ?? this.wake(session));
    const began = this.#options.clock.now();
    session.start = new AbortController();
    session.waking = this.#wake(session).then(
      (channel) => {
        session.waking = undefined;
        session.join(channel);
        this.#moved(session, { state: 'active', child: session.child ?? null });
        this.#options.joined(session, channel);
        this.#options.observer.woken(session.record, (this.#options.clock.now() - began) / 1000);
        return channel;
      },
      (thrown: unknown) => {
        session.waking = undefined;
        if (session.state === 'active') this.#moved(session, this.asleep(session));
        throw thrown;
      },
    );
    this.#options.table.moved(session);
    return session.waking;
  }

  /**
   * Takes over the child that another process left, or still believes to have: it is told nothing, because it knows all. One that cannot be had in time is removed, and
   * the session sleeps, or ends where it cannot. False, and nothing is done, where there is no way to take it over.
   */
  adopt(session: Session, child: ChildPlace): boolean {
    const { adopt, clock, hold, table, joined, observer, end } = this.#options;
    const { remembered } = session.memory;
    if (adopt === undefined || remembered === undefined) return false;
    session.start = new AbortController();
    session.place = hold(session);
    const { name, auth, server, generation } = session;
    const request = { session: name, auth, server, generation, child, protocolVersion: remembered.protocolVersion };
    const late = new AbortController();
    const timer = clock.after(ADOPT_MS, () => late.abort(refusals.startDeadline(ADOPT_MS / 1000)));
    session.adopting = adopt(request, AbortSignal.any([session.start.signal, late.signal])).then(
      (channel) => {
        timer.cancel();
        session.adopting = undefined;
        session.child = child;
        session.join(channel);
        table.moved(session);
        joined(session, channel);
        observer.handedOver(session.record, 'adopted');
        return channel;
      },
      () => {
        timer.cancel();
        session.adopting = undefined;
        observer.handedOver(session.record, 'replaced');
        session.leaving = this.#replace(session, child).then(() => {
          session.leaving = undefined;
          if (!session.maySleep) end(session);
        });
        table.moved(session);
        return undefined;
      },
    );
    table.moved(session);
    return true;
  }

  /** The session lives on without its child, which is ended. Resolves when that is gone; never rejects. */
  hibernate(session: Session, why: SleepReason): Promise<void> {
    const lost = why === 'lost' ? session.child : undefined;
    const leaving = this.#putToSleep(session, session.part(), lost).then((isRecorded) => {
      session.leaving = undefined;
      if (!isRecorded && session.waking === undefined && session.state === 'active')
        this.#moved(session, this.asleep(session));
    });
    session.leaving = leaving;
    this.#options.table.moved(session);
    this.#options.observer.hibernated(session.record, why);
    return leaving;
  }

  /** Ends what child it has, or is on its way in or out, and gives its place back; resolves when that is gone, or given up. Never rejects. */
  async end(session: Session): Promise<void> {
    // A start was given up, and what came of it is ended.
    if (session.waking !== undefined) await session.waking.catch(() => undefined);
    if (session.adopting !== undefined) await session.adopting;
    if (session.leaving !== undefined) await session.leaving;
    await this.#close(session, session.part());
  }

  async #wake(session: Session): Promise<Channel> {
    const { clock, ledger, spawn, take, enter, refusal } = this.#options;
    await session.leaving; // one child at a time: what the last one did is done
    const refused = session.state === 'active' ? refusal() : refusals.ended();
    if (refused !== undefined) throw refused;
    const { remembered } = session.memory;
    if (remembered === undefined) throw refusals.ended();
    const place = take(session);
    session.place = place;
    session.generation += 1;
    const { generation } = session;
    const channel = await start(
      {
        session,
        spawn,
        clock,
        record: () => enter(session, () => ledger.write(session.name, { state: 'starting', generation, child: null })),
        placed: (child) => ledger.write(session.name, { child }),
        up: (up) => up,
        failed: place,
      },
      session.start.signal,
    );
    try {
      const ms = session.server.startTimeout * 1000;
      await within(clock, ms, restore(channel, remembered), () => refusals.startDeadline(session.server.startTimeout));
      session.start.signal.throwIfAborted();
    } catch (thrown) {
      session.child = undefined;
      session.leaving = this.#close(session, channel).then(() => {
        session.leaving = undefined;
      });
      session.start.signal.throwIfAborted();
      throw thrown;
    }
    return channel;
  }

  /**
   * Ends a child whose session sleeps from now on. Where another process could take the child over the record comes first: one that came while the child ends would
   * have a child that exits, and the session with it. Resolves with whether it was recorded.
   *
   * @param lost a child that cannot be spoken to, perhaps because another process has it: it is removed where the record says that none can.
   */
  async #putToSleep(session: Session, channel: Channel | undefined, lost?: ChildPlace): Promise<boolean> {
    const { adopt, discard, clock } = this.#options;
    const isRecorded = adopt !== undefined && (await this.#recordSleep(session));
    if (lost !== undefined && isRecorded && !session.leavesChild)
      await within(clock, closeDeadline(session.server), discard(lost), refusals.draining).catch(() => undefined);
    await this.#close(session, channel);
    return isRecorded;
  }

  /** False where the store cannot be told, or the session is none of this process's any more. */
  async #recordSleep(session: Session): Promise<boolean> {
    try {
      await this.#options.ledger.write(session.name, this.asleep(session));
      return true;
    } catch {
      return false;
    }
  }

  /** Removes a child that could not be had. The record first: where it says that the session is another process's by now, so is the child. */
  async #replace(session: Session, child: ChildPlace): Promise<void> {
    const { ledger, discard } = this.#options;
    const change = session.maySleep ? this.asleep(session) : { child: null };
    try {
      if (session.state === 'active') await ledger.write(session.name, change);
      if (!session.leavesChild) await discard(child);
    } catch {
      // It is left for whoever has it, or for the operator, who leaves it alone as long as the record names it.
      if (!session.leavesChild) ledger.update(session.name, change);
    }
    session.giveBack();
  }

  /** A child that does not end in time is given up: its place is free again. */
  async #close(session: Session, channel: Channel | undefined): Promise<void> {
    const { clock } = this.#options;
    const isLeft = session.leavesChild && channel?.release() === true;
    const closed: Promise<unknown> = isLeft ? channel.ended : (channel?.close() ?? Promise.resolve());
    await within(clock, closeDeadline(session.server), closed, refusals.draining).catch(() => undefined);
    session.giveBack();
  }

  /** What is recorded of a session that sleeps. */
  asleep(session: Session): SessionChange {
    const { clock } = this.#options;
    const { remembered } = session.memory;
    const left = over(session.server, session.times, clock.now());
    return {
      state: 'hibernated',
      generation: session.generation,
      child: null,
      ...(remembered === undefined ? {} : { remembered }),
      ...(left === undefined ? {} : { expiresAt: Math.round(clock.wall() + left) }),
    };
  }

  #moved(session: Session, change: SessionChange): void {
    this.#options.table.moved(session);
    this.#options.ledger.update(session.name, change);
  }
}
