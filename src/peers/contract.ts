/**
 * What the rest of the gateway sees of the other replicas. A session is held by one replica; a request that reaches another one goes on to the holder, one
 * hop, over mutual TLS. Who takes a session over, and when, is the registry's: here is only told what happened to the request. Requests that are for no
 * recorded session go to a replica by its name.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

/**
 * What a forwarded request for a session is: a client's at an MCP endpoint, or a child's at the credential proxy. Where clients bring tokens of the forge, the holder
 * alone has them: a credential proxy that finds a capability of a session held elsewhere forwards the raw request on `forge`, with `body: 'stream'` and the
 * child's address, before it has read anything of its body; the holder's proxy then checks all that it would check of its own children, the address that the
 * replica saw (`Forwarded.clientAddress`) among it. The outcomes are a client's: after `not-holder` the record is read again, and `unanswered` is a 502.
 */
export type SessionChannel = 'mcp' | 'forge';

/**
 * What a forwarded request for a replica is, whatever that one holds; it is served there, or refused with `MISDIRECTED` by a replica that is about to end.
 *
 * - `stateless`: a client's of MCP 2026-07-28, for the replica whose child serves such requests.
 * - `sse`: a POST for a connection of the transport of 2024-11-05, for the replica that has its stream.
 * - `handover`: what a replica that stops does not take any more: a new session, or one for which nobody lives. The other one opens it, or takes it over.
 */
export type ReplicaChannel = 'stateless' | 'sse' | 'handover';

/** What a forwarded request is for. A replica that does not know it refuses it as one for a session which it does not hold. */
export type PeerChannel = SessionChannel | ReplicaChannel;

/** One replica as the record of a session and its Lease name it. */
export interface Target {
  /** The holder's name; see {@link Replicas.self}. */
  readonly name: string;
  /** `host:port` of its peer listener; see {@link Replicas.addressOf}. */
  readonly address: string;
}

/** A request that goes to another replica. */
export type Forward = SessionForward | ReplicaForward;

/** A request that goes to the holder of its session. */
export interface SessionForward extends AnyForward {
  readonly channel: SessionChannel;
  /** The session's name (40 hex digits), never its id. */
  readonly session: string;
  /** The epoch in which the holder is believed to hold it. */
  readonly epoch: number;
}

/** A request that goes to a replica by its name. */
export interface ReplicaForward extends AnyForward {
  readonly channel: ReplicaChannel;
}

interface AnyForward {
  readonly target: Target;
  /** The client's address as this replica sees it; it is what the holder's rate limits and source checks go by. */
  readonly clientAddress: string;
  /** The holder logs the request under the same id. */
  readonly requestId?: string;
  /**
   * The body where it was read already; `stream` where it is to be taken from the request, once the holder has said that it takes it. Without it
   * the request has none.
   */
  readonly body?: Uint8Array | 'stream';
  /** Called before anything of a streamed body is taken from the request: a client may be waiting for `100 Continue`. */
  readonly invite?: () => void;
  /**
   * Milliseconds from when the holder took the request, or the last piece of a streamed body, to the first byte of its answer; what the composition set unless
   * told otherwise.
   */
  readonly firstByteMs?: number;
}

/**
 * What became of a forwarded request. But for `forwarded`, nothing was sent to the client, and the response is the caller's to answer.
 *
 * - `forwarded`: the response is over, and nothing is left to do. The holder's answer was passed on whole; or the holder died within its answer, and
 *   the client's connection was cut so that the client resumes; or the client went away first.
 * - `not-holder`: the replica of that name does not hold the session in that epoch, does not know the channel, or is about to end (it said 421), and did
 *   nothing. Read the record again. A body that is streamed has not been touched.
 * - `not-there`: it did not take the request: it cannot be reached, let nobody in, or said nothing in time. Nothing has run there that would not be the same
 *   when it runs again (RFC 9110, 9.2.2), and a body that is streamed has not been touched. It says nothing of whether the replica lives: ask {@link Replicas.isAlive} before its session is taken over.
 * - `unanswered`: it took the request (or may have: a POST without a body has nothing that could be held back), and then went away or was silent for `firstByteMs`. The request may have run, may still run, and must not be run
 *   again; what answers it after a take-over is the launcher's unacknowledged output.
 */
export type Outcome = 'forwarded' | 'not-holder' | 'not-there' | 'unanswered';

/** Sends requests on to other replicas. */
export interface Peers {
  /** This replica's name. */
  readonly self: string;
  /**
   * Sends a request on and passes its answer back: bodies are streamed both ways with back-pressure, events as they come, trailers too. A connection that
   * breaks on one side is broken on the other.
   *
   * Rejects with the signal's reason where it aborts before the answer began (after it, the client's connection is cut); with `MISDIRECTED` where the
   * request came from a replica itself, because there is one hop only; and with `OVERLOADED` where too many requests are with that replica.
   */
  forward(request: IncomingMessage, response: ServerResponse, forward: Forward, signal: AbortSignal): Promise<Outcome>;
  /** A replica is dead: what is with it ends now as if its connections had broken, instead of waiting for a machine that answers nothing. */
  cut(name: string): void;
  /** Cuts everything and closes all connections. */
  close(): void;
}

/** Where a request came from that a replica has sent on. Only the peer listener can say this of a request: see `forwarded.ts`. */
export type Forwarded = ForwardedFrom &
  (Pick<SessionForward, 'channel' | 'session' | 'epoch'> | Pick<ReplicaForward, 'channel'>);

interface ForwardedFrom {
  /** The replica's name as it gave it: its certificate proves that it is one of ours, not which one. */
  readonly from: string;
  /** Empty where the replica did not know it. */
  readonly clientAddress: string;
}

/** What the peer listener hands requests to. */
export interface PeerService {
  /**
   * Whether this replica holds a session in exactly this epoch now; called for every request of a {@link SessionChannel} before anything else, and quick. A request for a session that is
   * given up between this and its use ends in the handler with `MISDIRECTED`.
   */
  holds(session: string, epoch: number): boolean;
  /** What serves requests, as the public listener and the credential proxy would; a channel without one is refused. */
  readonly handlers: Readonly<Partial<Record<PeerChannel, RequestListener>>>;
}

/** The listener that other replicas reach. */
export interface PeerListener {
  readonly port: number;
  /** Connections that answer nothing now end with their next answer. New requests are still answered, so that whoever has an old record is told 421. */
  drain(): void;
  /** Takes no new connection, lets what is under way end for `ms`, then cuts it. Resolves when every connection is gone; never rejects. */
  close(ms: number): Promise<void>;
}

/** Who the other replicas of this install are, and whether they live. */
export interface Replicas {
  /** This run of this gateway, and its Lease: `gateway-<run>`, never used again. It is what records name as a session's holder. */
  readonly self: string;
  /**
   * The address of a replica's peer listener. One that was seen is known at once, because a run keeps its address; for any other the Lease is read.
   * Undefined where there is no such replica (any more). Rejects with `STORE_UNAVAILABLE` where the cluster cannot say.
   */
  addressOf(name: string): Promise<string | undefined>;
  /**
   * Those that have not left and were not found dead, this one among them; see {@link isAlive} for what is certain. The same in all replicas but for the
   * moments in which news travel. Bounded, quick, and asks nobody: where the cluster is away it stays as it was.
   */
  living(): readonly string[];
  /**
   * Whether a replica lives, by our own monotonic clock: its Lease has changed, as seen from here, within its duration. False only after a live read that
   * found the Lease gone, or unchanged for all that time. One that is seen for the first time is given its whole duration.
   * Rejects with `STORE_UNAVAILABLE` where the cluster cannot say: that is no death.
   */
  isAlive(name: string): Promise<boolean>;
  /**
   * Whether the others must still believe that this replica lives: its last renewal is younger than the Lease's duration. Where it is not, another may have
   * taken its sessions: stop using them, and read their epochs again. By the monotonic clock, so it is right at once after a process was stopped and continued.
   */
  readonly isSure: boolean;
  /** Calls `told` once for each replica that is found dead or has left. Returns what ends it. */
  onGone(told: (name: string) => void): () => void;
  /** Calls `told` when the Lease could be renewed again after this replica was not sure any more. Returns what ends it. */
  onSureAgain(told: () => void): () => void;
  /** Makes the Lease, learns of the others, and goes on renewing. Rejects with `STORE_UNAVAILABLE` where that is not possible in time. */
  start(signal: AbortSignal): Promise<void>;
  /** Leaves in order: stops renewing and deletes the Lease, so that the others need not wait. Call it once this replica's sessions are given up. Never rejects. */
  stop(): Promise<void>;
}

/** Told of what happens between replicas; for metrics. Called synchronously: must not throw and must be quick. */
export interface PeerObserver {
  /** A request was sent on; `cut`: its answer broke off, on whichever side. */
  forwarded(channel: PeerChannel, outcome: Outcome | 'cut', seconds: number): void;
  /** The listener refused: `tls` a handshake (no certificate, another CA, expired), `name` another name in it, `holder` a session that is not held here. */
  refused(why: 'tls' | 'name' | 'holder'): void;
}
