/** One session: its states, who holds it, and what hangs on it. */
import type { AuthContext, UserRef } from '../auth/context';
import type { Channel, MessageSink } from '../bridge/contract';
import type { Memory } from '../bridge/memory';
import type { ServerSpec } from '../config/server';
import { userKey, type Place } from './caps';
import type { Times } from './expiry';
import type { ChildPlace, EndReason, Outlives, SessionRecord } from './ports';

/** Starting → active → ending → ended; a start that fails goes straight to ended. Of an active one the child may come and go. */
export type SessionState = 'starting' | 'active' | 'ending' | 'ended';

/** The same as it is counted: an active one without a child sleeps, and one that gets a child again starts. */
export type CountedState = 'starting' | 'active' | 'hibernated' | 'ending';

interface Stream {
  readonly sink: MessageSink;
  /** Takes it from the child that it is joined to. */
  leave: () => void;
  readonly over: (reason: EndReason | 'superseded') => void;
}

export interface SessionOptions {
  readonly record: SessionRecord;
  readonly auth: AuthContext;
  readonly server: ServerSpec;
  readonly outlives: Outlives;
  readonly memory: Memory;
  readonly state: 'starting' | 'active';
  /** Monotonic milliseconds. */
  readonly startedAt: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export class Session {
  readonly name: string;
  readonly outlives: Outlives;
  readonly memory: Memory;
  /** {@link SessionRecord.generation} when it came into this process. */
  readonly firstGeneration: number;
  server: ServerSpec;
  record: SessionRecord;
  auth: AuthContext;
  state: SessionState;
  /** Counts up with each child. */
  generation: number;
  /** The conversation with its child; undefined while it sleeps or starts. */
  channel: Channel | undefined;
  /** Where that child runs. */
  child: ChildPlace | undefined;
  /** Ends a start that is under way. */
  start = new AbortController();
  /** Why somebody other than its opener ended it while it started. */
  startEnded: EndReason | undefined;
  /** While it gets a child again. */
  waking: Promise<Channel> | undefined;
  /** While its child is taken over from another process; resolves with nothing where that failed, and never rejects. */
  adopting: Promise<Channel | undefined> | undefined;
  /** Set when its child is not to end with it here: another process has it, or is to have it. */
  leavesChild = false;
  /** Resolves when the child of before is gone; undefined where it is. */
  leaving: Promise<void> | undefined;
  /** Set when it turned out to be none of this process's any more: what is true of it only its record says. */
  isElsewhere = false;
  /** `Holders.doubts` when it was certain the last time that it is this process's. */
  doubts = 0;
  /** Set when nobody new may use the session: it ends when the last one lets go. */
  retired: EndReason | undefined;
  /** Set while its server is being emptied: it takes no new calls, and ends when those in flight are answered. */
  draining: object | undefined;
  /** As what it was counted last. */
  counted: CountedState | undefined;
  /** A place among the caps; held for as long as it has a child, or one is on its way in or out. */
  place: Place | undefined;
  /** Resolves when the session is over and its child is gone. */
  readonly gone: Promise<void>;
  #gone: () => void = () => undefined;
  readonly #now: () => number;
  readonly #startedAt: number;
  #lastActive: number;
  #holds = 0;
  #quiet: (() => void)[] = [];
  readonly #streams = new Set<Stream>();

  constructor(options: SessionOptions) {
    this.gone = new Promise((resolve) => {
      this.#gone = resolve;
    });
    this.record = options.record;
    this.name = options.record.name;
    this.generation = options.record.generation;
    this.firstGeneration = options.record.generation;
    this.auth = options.auth;
    this.server = options.server;
    this.outlives = options.outlives;
    this.memory = options.memory;
    this.state = options.state;
    this.#now = options.now;
    this.#startedAt = options.startedAt;
    this.#lastActive = options.now();
  }

  get times(): Times {
    const busy = this.busy || (this.channel?.asking ?? 0) > 0 || this.isComing;
    return { startedAt: this.#startedAt, lastActive: this.#lastActive, busy };
  }

  /** It starts or lives, and its end has not begun. */
  get isLive(): boolean {
    return this.state === 'active' || (this.state === 'starting' && !this.start.signal.aborted);
  }

  /** What it counts as now; undefined once it is over. */
  get countsAs(): CountedState | undefined {
    if (this.state === 'ended') return undefined;
    if (this.state !== 'active' || this.channel !== undefined) return this.state;
    return this.isComing ? 'starting' : 'hibernated';
  }

  /** It has no child yet, and one is on its way. */
  get isComing(): boolean {
    return this.waking !== undefined || this.adopting !== undefined;
  }

  /** Whether it can live on without this child. */
  get maySleep(): boolean {
    return (
      this.outlives !== 'nothing' &&
      this.retired === undefined &&
      !this.server.stateful &&
      this.memory.remembered !== undefined
    );
  }

  /** The revision that was negotiated. */
  get protocolVersion(): string | undefined {
    return this.memory.remembered?.protocolVersion ?? this.channel?.protocolVersion;
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
    const stream: Stream = { sink, leave: this.channel?.listen(sink) ?? nothing, over };
    this.#streams.add(stream);
    const [oldest] = this.#streams;
    if (this.#streams.size > max && oldest !== undefined) {
      this.#drop(oldest);
      oldest.over('superseded');
    }
    return { ended, stop: () => this.#drop(stream) };
  }

  /** It has this child from now on, and its GET streams hear it. */
  join(channel: Channel): void {
    this.channel = channel;
    for (const stream of this.#streams) stream.leave = channel.listen(stream.sink);
  }

  /** It has no child from now on; its GET streams stay open. Returns the channel of the child that it had. */
  part(): Channel | undefined {
    const { channel } = this;
    this.channel = undefined;
    this.child = undefined;
    for (const stream of this.#streams) {
      stream.leave();
      stream.leave = nothing;
    }
    return channel;
  }

  /** Gives its place among the caps back. */
  giveBack(): void {
    this.place?.();
    this.place = undefined;
  }

  /** The child is gone for good: gives the place among the caps back and lets go of everything that waits for the end. */
  finish(reason: EndReason): void {
    this.state = 'ended';
    this.giveBack();
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

function nothing(): void {
  // The stream is joined to no child.
}
