/** What the registry is handed and what it offers. Pure: no HTTP, no Kubernetes, no clock of its own. */
import type { AuthContext, Scope, UserRef } from '../auth/context';
import type {
  Answer,
  CallOptions,
  Channel,
  JsonRpcNotification,
  JsonRpcRequest,
  JsonRpcResponse,
  MessageSink,
  StatelessChild,
  ToolFacts,
} from '../bridge/contract';
import type { Remembered } from '../bridge/memory';
import type { Conversation } from '../bridge/modern/contract';
import type { ClientFacts } from '../bridge/modern/meta';
import type { Subscriptions } from '../bridge/modern/subscriptions';
import type { ServerSpec } from '../config/server';

/** Why a session is over; a metric label and part of its record. */
export type EndReason =
  | 'deleted' // the client's DELETE
  | 'idle'
  | 'expired' // sessionTTL
  | 'lifetime' // maxLifetime
  | 'exited' // the child ended by itself
  | 'oom'
  | 'killed'
  | 'lost' // pod deleted, evicted, or its link could not be restored
  | 'refused' // there was no place for it: it never began
  | 'start-failed' // its child could not be started, or its opener went away before
  | 'initialize-failed'
  | 'revoked' // its grant is gone
  | 'user' // ended by its user on the page with the connections
  | 'stopped' // orderly stop of the gateway, of a session that cannot sleep
  | 'drained' // its server is being emptied
  | 'removed' // an administrator deleted its record
  | 'displaced' // slept, and was the oldest of too many
  | 'abandoned'; // left behind by an earlier run that did not stop in order

/** Why a session lives on without its child. */
export type SleepReason = 'idle' | 'lost' | 'stopped';

/** Where a session's child runs, in words that mean something to its driver only. */
export interface ChildPlace {
  /** Names this child and no later one. */
  readonly instance: string;
  readonly ip?: string;
  readonly namespace?: string;
  readonly name?: string;
}

export interface SpawnRequest {
  /** 40 hex digits of the SHA-256 of the session id; safe to log. */
  readonly session: string;
  readonly auth: AuthContext;
  readonly server: ServerSpec;
  /** Which child of its session this is: counts up, from 1. */
  readonly generation: number;
  /** See {@link SessionRecord.uid}. */
  readonly uid?: string;
  /** Told where the child runs, before it is spoken to; resolves once that is recorded. Rejects as the store does. */
  readonly placed: (place: ChildPlace) => Promise<void>;
}

/**
 * Starts a child and its bridge. Rejects with an AppError of the `BACKEND_*` family and leaves nothing behind.
 * The registry knows nothing of pods or processes: this function is all it has.
 */
export type SpawnFunc = (request: SpawnRequest, signal: AbortSignal) => Promise<Channel>;

/** A child of a session that this process has taken over. */
export interface AdoptRequest extends Pick<SpawnRequest, 'session' | 'auth' | 'server' | 'generation'> {
  readonly child: ChildPlace;
  /** The revision that was negotiated with it. */
  readonly protocolVersion: string;
}

/**
 * Takes over a session's child as it is. It is called once for a generation of a session. Rejects where that cannot be done, or with the signal's reason; the child
 * is as it was then.
 */
export type AdoptFunc = (request: AdoptRequest, signal: AbortSignal) => Promise<Channel>;

/** `starting`: a child of it is being started, the first one or another; `hibernated`: it has none, and gets one with its next message. */
export type RecordedState = 'starting' | 'active' | 'hibernated' | 'ended';

/** What is kept of a session beyond the process: no id, no token. */
export interface SessionRecord {
  readonly name: string;
  readonly server: string;
  readonly userIssuer: string;
  readonly userId: string;
  readonly mode: AuthContext['mode'];
  readonly grant: string;
  readonly client: string;
  /** What its bearer may do, of the scopes. */
  readonly scopes: readonly Scope[];
  readonly state: RecordedState;
  /** Which child it has, or had last; counts up. Whoever has a higher one than another is the one that is right. */
  readonly generation: number;
  /** The process that has it, in stores that several share; absent where none does. */
  readonly holder?: string;
  /** It is within the caps, and counts against them for as long as it has a child; in stores that several processes share. */
  readonly admitted?: boolean;
  /** The record's own identity, in stores that have one: what a child is to be removed with. */
  readonly uid?: string;
  readonly child?: ChildPlace;
  /** What another child of it is to be told; absent for one that cannot be replaced. */
  readonly remembered?: Remembered;
  /** Wall-clock milliseconds. */
  readonly createdAt: number;
  /** When it is over for good if nobody uses it; while it has a child of no meaning, because its times are in its holder's memory. */
  readonly expiresAt?: number;
  readonly endedAt?: number;
  readonly endReason?: EndReason;
}

/** What changes in a record while its session lives; `child` is taken out by a null, and so is `holder` by a process that gives the session up. */
export type SessionChange = Partial<
  Pick<SessionRecord, 'grant' | 'scopes' | 'state' | 'generation' | 'remembered' | 'expiresAt' | 'admitted'> & {
    readonly child: ChildPlace | null;
    readonly holder: null;
  }
>;

/** Where records are kept. Every method rejects with `STORE_UNAVAILABLE` when it cannot tell. One suite: `test/contract/session-store.ts`. */
export interface SessionStore {
  /** Records a new live session, as this process's own. Resolves with the record as it stands. */
  insert(record: SessionRecord): Promise<SessionRecord>;
  /** Marks a session of this process's own ended; idempotent, the first reason stays. */
  end(name: string, reason: EndReason, at: number): Promise<void>;
  /**
   * Records a change of a live session. Resolves with whether it took effect: false where the session has ended, was removed, or belongs to another process by now.
   */
  update(name: string, change: SessionChange): Promise<boolean>;
  /**
   * Makes a live session this process's own, and its generation one higher. Whether it may be taken, because it sleeps and is nobody's, or because its
   * holder is dead, the caller knows. Resolves with the new record, undefined where it has ended or is of another generation by now, so that of many who try at once
   * one succeeds.
   */
  claim(name: string, generation: number): Promise<SessionRecord | undefined>;
  /** A live read. */
  get(name: string): Promise<SessionRecord | undefined>;
  /** Readiness. */
  check(): Promise<void>;
  close(): Promise<void>;
  /** What is seen of the records of all processes; absent where no others share the store. */
  readonly view?: SessionView;
  /** What this process has to see to itself; absent where an operator does. */
  readonly upkeep?: SessionUpkeep;
}

/** What is seen of the records that several processes share: late, but all of it in the order in which it was written. */
export interface SessionView {
  /** Begins to look, and resolves once all that was recorded before is seen. Rejects with `STORE_UNAVAILABLE` when `signal` aborts before; it goes on trying all the same. */
  synced(signal: AbortSignal): Promise<void>;
  /** Calls `listener` with the name of each record that has ended, is gone, or has another holder. Whoever must know how it stands reads it. */
  onChange(listener: (name: string) => void): void;
  /** The live sessions of a user, oldest first. */
  ofUser(user: Pick<UserRef, 'issuer' | 'id'>): readonly SeenSession[];
  /** The live records, as they were seen last. */
  seen(): Iterable<SeenSession>;
  /** Those that were seen to be opened in the last minute. */
  opened(): Iterable<OpenedSession>;
  /** Calls `listener` when a record was seen. */
  onSeen(listener: () => void): void;
  /** Reads the live records: all that is written before this is called is in them. Rejects with `STORE_UNAVAILABLE`. */
  read(): Promise<Iterable<SeenSession>>;
  /** Ends a session, whoever has it: its holder sees that, and ends its child. Who may end it the caller has checked. Rejects with `STORE_UNAVAILABLE`. */
  end(name: string, reason: EndReason, at: number): Promise<void>;
}

/** What is kept of a record that was seen. */
export interface SeenSession extends Pick<
  SessionRecord,
  'name' | 'server' | 'userIssuer' | 'userId' | 'grant' | 'state' | 'generation' | 'holder' | 'admitted' | 'createdAt'
> {
  /** Of two writes, of whatever records, the later one has the higher. */
  readonly order: bigint;
}

/** A session that was opened: it had a place, and may have ended. */
export type OpenedSession = Pick<SessionRecord, 'name' | 'userIssuer' | 'userId' | 'createdAt'>;

/** What becomes of records of which no process thinks any more. */
export interface SessionUpkeep {
  /**
   * Puts right what a run left behind that did not stop in order; called once at start. Sessions whose child can be replaced sleep, until `expiresAt`, the
   * others are `abandoned`.
   */
  recover(at: number, expiresAt: number): Promise<Recovered>;
  /** Marks sleeping sessions whose time was up before `at` as `expired`. Resolves with how many. */
  expire(at: number): Promise<number>;
  /** Removes records that ended before `before`. */
  purge(before: number): Promise<number>;
}

/** How many sessions of an earlier run there were. */
export interface Recovered {
  readonly hibernated: number;
  readonly abandoned: number;
}

/**
 * A session in use by one request. While it is held the session is not idle and is not reaped; release it exactly once. One that sleeps is woken by the
 * first message that its child is to hear; what then goes wrong rejects as {@link Sessions.open} does, or with `WAKE_FAILED`, and the next message tries again.
 */
export interface SessionHandle {
  /** The secret id for the `Mcp-Session-Id` header. */
  readonly id: string;
  readonly name: string;
  /** Which child of the session it had when it came into this process; see {@link SessionRecord.generation}. */
  readonly firstGeneration: number;
  readonly protocolVersion: string | undefined;
  /** Resolves when the session is over and its child is gone; one that sleeps is not over. */
  readonly ended: Promise<void>;
  call(request: JsonRpcRequest, sink: MessageSink, options?: CallOptions): Promise<void>;
  notify(notification: JsonRpcNotification): Promise<void>;
  answer(response: JsonRpcResponse): Promise<void>;
  /** See {@link Channel.reclaim}; the session is in use meanwhile. A child that is being taken over is waited for, and no other one is started. */
  reclaim(stream: string, sink: MessageSink): Promise<Reclaimed | undefined>;
  /** What the child says of a tool; see {@link Channel.tool}. Rejects as {@link call} where the session has no child and gets none. */
  tool(name: string): Promise<ToolFacts | undefined>;
  /** See {@link Channel.ask}. Never rejects, whatever became of the session. */
  ask(method: string, params: Readonly<Record<string, unknown>>, ms: number): Promise<Answer | undefined>;
  /** See {@link Channel.begin}. */
  begin(child: StatelessChild): void;
  /** A session whose opener lets go before `initialize` was answered well ends: nobody else knows its id. */
  release(): void;
}

/** A GET stream; not activity. */
export interface SessionStream {
  /**
   * Resolves when the session is over, or with `superseded` when the session's client opened more streams than a session may have and this
   * is the oldest; the HTTP layer then ends the response.
   */
  readonly ended: Promise<EndReason | 'superseded'>;
  stop(): void;
}

/** A stream of another process whose client came here. */
export interface Reclaimed {
  /** See {@link Channel.reclaim}. */
  readonly answered: Promise<boolean>;
}

export type Outlives = 'gateway' | 'child' | 'nothing';

/** How a session is opened, where it is not as usual. */
export interface OpenOptions {
  /**
   * What a session lives longer than. `gateway`: it sleeps when it is idle, also over a restart; `child`: it sleeps, but ends with this process, because its
   * client cannot find it again; `nothing`: it ends with its child, because nobody knows of it.
   */
  readonly outlives?: Outlives;
}

/** The registry as the HTTP layer sees it. Errors are AppErrors; the order of refusals is the design's: 401, 410, 404, 403. */
export interface Sessions {
  /**
   * Mints an id, records, admits by the caps and spawns. The caller then dispatches `initialize` with `handle.call`.
   * A session whose `initialize` is answered with an error, or whose opener gave up, ends by itself.
   * Errors: `AUTH_CONTEXT_ABSENT`, `DRAINING`, `SERVER_PAUSED`, `SERVER_DRAINING`, `SPAWN_RATE`, `SESSION_CAP_*` (all with retryAfter), `BACKEND_*`, `STORE_UNAVAILABLE`.
   */
  open(
    auth: AuthContext | undefined,
    server: ServerSpec,
    signal: AbortSignal,
    options?: OpenOptions,
  ): Promise<SessionHandle>;
  /** Errors: `AUTH_CONTEXT_ABSENT`, `SESSION_ID_MISSING`, `SESSION_UNKNOWN`, `SESSION_ENDED`, `SESSION_FORBIDDEN`, `AUTH_SCOPE`, `STORE_UNAVAILABLE`. */
  use(auth: AuthContext | undefined, server: ServerSpec, id: string | undefined): Promise<SessionHandle>;
  /** Opens a GET stream. Errors as {@link use}. */
  listen(
    auth: AuthContext | undefined,
    server: ServerSpec,
    id: string | undefined,
    sink: MessageSink,
  ): Promise<SessionStream>;
  /** DELETE, unless another reason is given: ends the session and resolves when its child is gone. Errors as {@link use}. */
  end(auth: AuthContext | undefined, server: ServerSpec, id: string | undefined, reason?: EndReason): Promise<void>;
}

/** What one request of the stateless era is served with; release it, and not the handle, exactly once. */
export interface StatelessUse {
  readonly handle: SessionHandle;
  readonly conversation: Conversation;
  readonly subscriptions: Subscriptions;
  /** @param isGone the child was found to be gone, even where the news of it are still on their way: the next request is served by another one. */
  release(isGone?: boolean): void;
}

/** Where a request of the stateless era belongs. */
export interface StatelessPlace {
  /** Stands for all requests that share its child. */
  readonly key: string;
  /** The process whose child waits for it, where its state says so. */
  readonly at?: string;
}

/** Sessions for clients that know of none (MCP 2026-07-28). */
export interface StatelessSessions {
  /** Where a request belongs, where several processes serve. Starts nothing. Errors: `AUTH_CONTEXT_ABSENT`. */
  place(
    auth: AuthContext | undefined,
    server: ServerSpec,
    client: ClientFacts,
    request: JsonRpcRequest,
  ): StatelessPlace;
  /**
   * Finds the session that serves such requests of such a client, or opens one.
   * @param confirm called before a session is opened, which outlasts the request, and now and then while somebody listens to changes without one:
   * rejects with `AUTH_INVALID` when the login does not stand any more.
   * Errors: as {@link Sessions.open}.
   */
  use(
    auth: AuthContext | undefined,
    server: ServerSpec,
    client: ClientFacts,
    confirm: () => Promise<unknown>,
  ): Promise<StatelessUse>;
}

/** What the registry tells its observer; for metrics, the log and audit. Names, never ids. */
export interface SessionObserver {
  opened(session: SessionRecord, seconds: number): void;
  refused(code: string): void;
  ended(session: SessionRecord, reason: EndReason): void;
  hibernated(session: SessionRecord, why: SleepReason): void;
  /** A sleeping session has a child again. */
  woken(session: SessionRecord, seconds: number): void;
  /** `given-up`: with its child, for others; `adopted`: taken over with its child; `replaced`: taken over, and its child could not be had. */
  handedOver(session: SessionRecord, how: 'given-up' | 'adopted' | 'replaced'): void;
  /** `active`: with a child. */
  counts(states: Readonly<Record<'starting' | 'active' | 'hibernated' | 'ending', number>>): void;
}
