/** What the registry is handed and what it offers. Pure: no HTTP, no Kubernetes, no clock of its own. */
import type { AuthContext } from '../auth/context';
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
  | 'start-failed' // its child could not be started, or its opener went away before
  | 'initialize-failed'
  | 'revoked' // its grant is gone
  | 'user' // ended by its user on the page with the connections
  | 'stopped' // orderly stop of the gateway
  | 'abandoned'; // left behind by an earlier run that did not stop in order

export interface SpawnRequest {
  /** 40 hex digits of the SHA-256 of the session id; safe to log. */
  readonly session: string;
  readonly auth: AuthContext;
  readonly server: ServerSpec;
}

/**
 * Starts a child and its bridge. Rejects with an AppError of the `BACKEND_*` family and leaves nothing behind.
 * The registry knows nothing of pods or processes: this function is all it has.
 */
export type SpawnFunc = (request: SpawnRequest, signal: AbortSignal) => Promise<Channel>;

/** What is kept of a session beyond the process: no id, no token. */
export interface SessionRecord {
  readonly name: string;
  readonly server: string;
  readonly userIssuer: string;
  readonly userId: string;
  readonly grant: string;
  readonly client: string;
  /** Wall-clock milliseconds. */
  readonly createdAt: number;
  readonly endedAt?: number;
  readonly endReason?: EndReason;
}

/** Where records are kept. Every method rejects with `STORE_UNAVAILABLE` when it cannot tell. One suite: `test/contract/session-store.ts`. */
export interface SessionStore {
  /** Records a new live session. */
  insert(record: SessionRecord): Promise<void>;
  /** Marks a session ended; idempotent, the first reason stays. */
  end(name: string, reason: EndReason, at: number): Promise<void>;
  /** Records that a live session belongs to another grant of the same user and client from now on; ignored once it has ended. */
  rebind(name: string, grant: string): Promise<void>;
  /** A live read. */
  get(name: string): Promise<SessionRecord | undefined>;
  /** Marks every session that is recorded as live as `abandoned`; called once at start. Resolves with how many there were. */
  abandonAll(at: number): Promise<number>;
  /** Removes records that ended before `before`. */
  purge(before: number): Promise<number>;
  /** Readiness. */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** A session in use by one request. While it is held the session is not idle and is not reaped; release it exactly once. */
export interface SessionHandle {
  /** The secret id for the `Mcp-Session-Id` header. */
  readonly id: string;
  readonly name: string;
  readonly protocolVersion: string | undefined;
  /** Resolves when the session is over and its child is gone. */
  readonly ended: Promise<void>;
  call(request: JsonRpcRequest, sink: MessageSink, options?: CallOptions): Promise<void>;
  notify(notification: JsonRpcNotification): Promise<void>;
  answer(response: JsonRpcResponse): Promise<void>;
  /** What the child says of a tool; see {@link Channel.tool}. */
  tool(name: string): Promise<ToolFacts | undefined>;
  /** See {@link Channel.ask}. */
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

/** The registry as the HTTP layer sees it. Errors are AppErrors; the order of refusals is the design's: 401, 410, 404, 403. */
export interface Sessions {
  /**
   * Mints an id, records, admits by the caps and spawns. The caller then dispatches `initialize` with `handle.call`.
   * A session whose `initialize` is answered with an error, or whose opener gave up, ends by itself.
   * Errors: `AUTH_CONTEXT_ABSENT`, `DRAINING`, `SPAWN_RATE`, `SESSION_CAP_*` (all with retryAfter), `BACKEND_*`, `STORE_UNAVAILABLE`.
   */
  open(auth: AuthContext | undefined, server: ServerSpec, signal: AbortSignal): Promise<SessionHandle>;
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

/** Sessions for clients that know of none (MCP 2026-07-28). */
export interface StatelessSessions {
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
  counts(states: Readonly<Record<'starting' | 'active' | 'ending', number>>): void;
}
