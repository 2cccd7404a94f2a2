/** What becomes of a process's sessions when it stops. */
import type { Clock } from '../clock';
import { givenUp } from './bound';
import { CLOSE_SLACK_MS, closeDeadline } from './ending';
import type { Ledger } from './ledger';
import type { Lookup } from './lookup';
import type { AdoptFunc, SessionObserver } from './ports';
import * as refusals from './refusals';
import type { Session } from './session';
import type { Sleep } from './sleep';
import type { Table } from './table';
import { within } from './within';

export interface DepartureOptions {
  readonly table: Table;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly observer: SessionObserver;
  /** Present where another process can take children over. */
  readonly adopt?: AdoptFunc;
  readonly lookup: Lookup;
  readonly sleep: Sleep;
  /** Ends a session for good; resolves when its child is gone. */
  readonly end: (session: Session) => Promise<void>;
  /** Ends what a session has here, and takes it out of the table. */
  readonly close: (session: Session) => Promise<void>;
}

/** Lets every session go, those in use when their calls are answered or after `callsMs`, and writes down what is not recorded yet. Never rejects. */
export async function depart(options: DepartureOptions, callsMs: number): Promise<void> {
  const { table, ledger, lookup, clock } = options;
  await Promise.all(
    [...table].map(async (session) => {
      if (session.busy) await within(clock, callsMs, session.quiet(), refusals.draining).catch(() => undefined); // time is up
      const deadline = closeDeadline(session.server) + CLOSE_SLACK_MS; // a start that is given up has no deadline of its own
      await within(clock, deadline, leave(options, session), refusals.draining).catch(() => undefined);
    }),
  );
  await within(clock, CLOSE_SLACK_MS, lookup.settled(), refusals.draining).catch(() => undefined);
  await ledger.stop();
}

/** A session whose child another process can have is given up with it, one that can go on with another child sleeps, the others end. */
async function leave(options: DepartureOptions, session: Session): Promise<void> {
  const { adopt, ledger, observer, sleep, end, close } = options;
  if (session.adopting !== undefined) await session.adopting;
  const given = adopt === undefined ? undefined : givenUp(session);
  if (given === undefined && (session.state !== 'active' || !session.maySleep || session.outlives !== 'gateway')) {
    await end(session);
    return;
  }
  const change = given ?? sleep.asleep(session);
  session.leavesChild = given !== undefined;
  await close(session);
  ledger.update(session.name, { ...change, holder: null });
  if (given === undefined) observer.hibernated(session.record, 'stopped');
  else observer.handedOver(session.record, 'given-up');
}
