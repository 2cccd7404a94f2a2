/** One session: its states, who holds it, and what hangs on it. */
import type { AuthContext, UserRef } from '../auth/context';
import type { Channel, MessageSink } from '../bridge/contract';
import type { ServerSpec } from '../config/server';
import { userKey, type Place } from './caps';
import type { Times } from './expiry';
import type { EndReason, SessionRecord } from './ports';

/** Starting → active → ending → ended; a start that fails goes straight to ended. */
export type SessionState = 'starting' | 'active' | 'ending' | 'ended';

interface Stream {
  readonly leave: () => void;
  readonly over: (reason: EndReason | 'superseded') => void;
}

export interface SessionOptions {
  readonly record: SessionRecord;
  readonly auth: AuthContext;
  readonly server: ServerSpec;
  readonly place: Place;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export class Session {
  readonly name: string;
  readonly server: ServerSpec;
  /** Ends a start that is under way. */
  readonly start = new AbortController();
  /** Why somebody other than its opener ended it while it started. */
  startEnded: EndReason | undefined;
  record: SessionRecord;
  auth: AuthContext;
  state: SessionState = 'starting';
  channel: Channel | undefined;
  /** Set when nobody new may use the session: it ends when the last one lets go. */
  retired: EndReason | undefined;
  /** Resolves when the session is over and its child is gone. */
  readonly gone: Promise<void>;
  #gone: () => void = () => undefined;
  readonly #now: () => number;
  readonly #startedAt: number;
  #lastActive: number;
  readonly #place: Place;
  #holds = 0;
  #quiet: (() => void)[] = [];
  readonly #streams = new Set<Stream>();

  constructor(options: SessionOptions) {
    this.gone = new Promise((resolve) => {
      this.#gone = resolve;
    });
    this.record = options.record;
    this.name = options.record.name;
    this.auth = options.auth;
    this.server = options.server;
    this.#place = options.place;
    this.#now = options.now;
    this.#startedAt = options.now();
    this.#lastActive = this.#startedAt;
  }

  get times(): Times {
    return { startedAt: this.#startedAt, lastActive: this.#lastActive, busy: this.busy };
  }

  /** Its child may act: it starts or runs, and its end has not begun. */
  get isLive(): boolean {
    return this.state === 'active' || (this.state === 'starting' && !this.start.signal.aborted);
  }

  isOf(user: Pick<UserRef, 'issuer' | 'id'>): boolean {
    return userKey(this.auth.user) === userKey(user);
  }

  /** A request is being handled or a call is in flight. */
  get busy(): boolean {
    return this.#holds > 0;
  }

  /** Marks the session as in use; {@link leave} once for each. */
  enter(): void {
    this.#holds += 1;
  }

  leave(): void {
    this.#holds -= 1;
    this.#lastActive = this.#now();
    if (this.#holds > 0) return;
    for (const told of this.#quiet.splice(0)) told();
  }

  /** Resolves when nobody holds the session. */
  quiet(): Promise<void> {
    if (!this.busy) return Promise.resolve();
    return new Promise((resolve) => this.#quiet.push(resolve));
  }

  /** Adds a GET stream; with `max` open already the oldest one is ended, since it is the likeliest to be dead. */
  listen(
    sink: MessageSink,
    max: number,
  ): { readonly ended: Promise<EndReason | 'superseded'>; readonly stop: () => void } {
    let over: Stream['over'] = () => undefined;
    const ended = new Promise<EndReason | 'superseded'>((resolve) => {
      over = resolve;
    });
    const stream: Stream = { leave: this.channel?.listen(sink) ?? (() => undefined), over };
    this.#streams.add(stream);
    const [oldest] = this.#streams;
    if (this.#streams.size > max && oldest !== undefined) {
      this.#drop(oldest);
      oldest.over('superseded');
    }
    return { ended, stop: () => this.#drop(stream) };
  }

  /** The child is gone: gives the place among the caps back and lets go of everything that waits for the end. */
  finish(reason: EndReason): void {
    this.state = 'ended';
    this.#place();
    for (const stream of this.#streams) {
      this.#drop(stream);
      stream.over(reason);
    }
    this.#gone();
  }

  #drop(stream: Stream): void {
    this.#streams.delete(stream);
    stream.leave();
  }
}
