/** The sessions of this process, by name and by id, and how many there are of each state. */
import type { UserRef } from '../auth/context';
import type { SessionObserver } from './ports';
import type { CountedState, Session } from './session';

export class Table {
  readonly #observer: Pick<SessionObserver, 'counts'>;
  readonly #sessions = new Map<string, Session>();
  /** Those that clients can name: a look-up on every request, which hashing the id would make dearer. */
  readonly #byId = new Map<string, Session>();
  readonly #counts: Record<CountedState, number> = { starting: 0, active: 0, hibernated: 0, ending: 0 };

  constructor(observer: Pick<SessionObserver, 'counts'>) {
    this.#observer = observer;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** All of them; some may go while they are looked at. */
  [Symbol.iterator](): IterableIterator<Session> {
    return this.#sessions.values();
  }

  add(session: Session): void {
    this.#sessions.set(session.name, session);
    this.moved(session);
  }

  /** From now on clients find it by its id, until it is over. */
  identify(session: Session, id: string): void {
    this.#byId.set(id, session);
    void session.gone.then(() => this.#byId.delete(id));
  }

  remove(session: Session): void {
    this.#sessions.delete(session.name);
    this.moved(session);
  }

  named(name: string): Session | undefined {
    return this.#sessions.get(name);
  }

  byId(id: string): Session | undefined {
    return this.#byId.get(id);
  }

  /** Those that live, of one user or of all; the oldest first. */
  live(user?: Pick<UserRef, 'issuer' | 'id'>): Session[] {
    return [...this.#sessions.values()].filter(
      (session) => session.isLive && (user === undefined || session.isOf(user)),
    );
  }

  /** A session may count as something else than before. */
  moved(session: Session): void {
    const { counted, countsAs } = session;
    if (counted === countsAs) return;
    if (counted !== undefined) this.#counts[counted] -= 1;
    if (countsAs !== undefined) this.#counts[countsAs] += 1;
    session.counted = countsAs;
    this.#observer.counts({ ...this.#counts });
  }
}
