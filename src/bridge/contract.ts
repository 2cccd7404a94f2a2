/** The bridge's outward face: JSON-RPC over one child's byte link (MCP revisions 2024-11-05 to 2025-11-25, stdio transport). */
import type { BackendExit } from '../backends/contract';
import type { ErrorCode } from '../errors';

/** JSON-RPC 2.0 as MCP narrows it: ids are strings or integers, never null. */
export type JsonRpcId = string | number;

export interface JsonRpcRequest {
  readonly jsonrpc: '2.0';
  readonly id: JsonRpcId;
  readonly method: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

export interface JsonRpcNotification {
  readonly jsonrpc: '2.0';
  readonly method: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

export interface JsonRpcSuccess {
  readonly jsonrpc: '2.0';
  readonly id: JsonRpcId;
  readonly result: unknown;
}

export interface JsonRpcFailure {
  readonly jsonrpc: '2.0';
  /** Null only where the request's id could not be read (JSON-RPC 2.0, 5). */
  readonly id: JsonRpcId | null;
  readonly error: { readonly code: number; readonly message: string; readonly data?: unknown };
}

export type JsonRpcResponse = JsonRpcSuccess | JsonRpcFailure;
export type JsonRpcMessage = JsonRpcRequest | JsonRpcNotification | JsonRpcResponse;

/** One stream towards the client: the body of one POST, or a GET stream. */
export interface MessageSink {
  /**
   * The stream's name, `[0-9A-Za-z_-]{1,32}`, where it has one that outlives this process (a resumable stream). It goes into the ids
   * that the child sees, so that whoever holds the session later still finds the stream an answer belongs to.
   */
  readonly stream?: string;

  /**
   * True while the stream has no client that reads it: what is sent is kept for its return, within bounds. What belongs to no call goes to a stream
   * that is read where there is one.
   */
  readonly away?: boolean;

  /**
   * Takes one message.
   *
   * `json` is the message's exact text, in one line, without a raw CR or LF: send this, it is what the child wrote but for ids and tokens,
   * number by number and escape by escape; `message` is for looking at. Writing `message` out again would cost a pass and lose digits.
   *
   * `ours` is the code of an answer that the bridge itself gave, because the child could not; undefined for what the child said, whatever
   * codes that may name.
   *
   * Returns undefined, or a promise that resolves when the stream can take more: the bridge stops reading the child while much waits.
   * Rejects once the stream is gone (the client went away, or it stalled past its deadline); the bridge then drops what is left for it.
   */
  send(message: JsonRpcMessage, json: string, ours?: ErrorCode): Promise<void> | undefined;
}

/** An argument of a tool that clients repeat in a header (MCP 2026-07-28, 'Custom Headers from Tool Parameters'). */
export interface MirroredArgument {
  /** The header's name behind `Mcp-Param-`, as the tool writes it. */
  readonly header: string;
  /** Where the argument stands: member names from the arguments' root. */
  readonly path: readonly string[];
}

/** What is known of a tool. */
export interface ToolFacts {
  /**
   * Whether the child says that the tool changes nothing (`readOnlyHint`); undefined where it does not tell. A hint: for telling people early, not
   * for letting anything pass.
   */
  readonly readOnly: boolean | undefined;
  readonly mirrored: readonly MirroredArgument[];
}

/** How a call is made, where it is not as usual. */
export interface CallOptions {
  /** Cancels the call at the child when it aborts; it is not answered then. */
  readonly signal?: AbortSignal;
  /** No deadline, and no sign of use: a stream that stays open as long as somebody listens. */
  readonly endless?: boolean;
}

/** What a child answered to a question of the gateway's own: one of the two. */
export interface Answer {
  readonly result?: unknown;
  readonly error?: unknown;
}

/** A child that needs no `initialize`, because every request says what it needs (MCP 2026-07-28). */
export interface StatelessChild {
  readonly protocolVersion: string;
  readonly hasTools: boolean;
  /** `_meta` of the gateway's own questions. */
  readonly meta: Readonly<Record<string, unknown>>;
}

/** Why a channel is over. */
export interface ChannelEnd {
  readonly reason: BackendExit['reason'] | 'initialize-failed';
  readonly exit?: BackendExit;
}

/** A conversation with one child. */
export interface Channel {
  /**
   * Sends a client's request and routes what belongs to it (progress, server-to-client requests, logging) to `sink`, the answer last.
   * Resolves when the answer was handed to the sink, or dropped because the sink is gone (a disconnect is not a cancellation: the call runs
   * on), or when the client cancelled the call: a cancelled call has no answer (MCP 'Cancellation') and nothing is sent.
   *
   * A child that is lost, or does not answer within `callTimeout`, is an answer too: a JSON-RPC error in the sink, and for the deadline a
   * `notifications/cancelled` to the child (never for `initialize`).
   * Rejects only before anything was sent: `CALLS_TOO_MANY`, `LINK_CLOSED`.
   */
  call(request: JsonRpcRequest, sink: MessageSink, options?: CallOptions): Promise<void>;

  /**
   * Sends a client's notification. `notifications/cancelled` is rewritten to the child's id and ends the call; it is dropped when that call
   * is over, when it is the `initialize`, and when two calls in flight carry the same id, because nobody can tell which one is meant.
   * Rejects with `LINK_CLOSED`, or with `CALLS_TOO_MANY` while the child does not read what was sent already.
   */
  notify(notification: JsonRpcNotification): Promise<void>;

  /** Sends the client's answer to a request of the child; an answer to a request that is not open is dropped and counted. Rejects as {@link notify}. */
  answer(response: JsonRpcResponse): Promise<void>;

  /** Adds a GET stream: what belongs to no call goes to the newest live one. Call the returned function when the stream is over. */
  listen(sink: MessageSink): () => void;

  /**
   * The client of a stream that another process opened has come here for the rest of it. Resolves with whether the answer was handed over, once it was, or none can
   * come; undefined where none is awaited, because the child was not taken over, or too long ago.
   */
  reclaim(stream: string, sink: MessageSink): Promise<boolean> | undefined;

  /**
   * What the child says of a tool; undefined where it does not tell. The first time, after a change of the list, and now and then after a list that
   * failed, the child is asked, which no client sees and which takes a few seconds at most. Never rejects.
   */
  tool(name: string): Promise<ToolFacts | undefined>;

  /**
   * Asks the child something that no client sees and waits at most `ms` milliseconds. Resolves with undefined where no answer came or none can
   * come. Never rejects.
   */
  ask(method: string, params: Readonly<Record<string, unknown>>, ms: number): Promise<Answer | undefined>;

  /** Begins the conversation with a child that needs no `initialize`. */
  begin(child: StatelessChild): void;

  /** Calls without an answer yet. */
  readonly inFlight: number;

  /** Requests of the child that wait for the client's answer. */
  readonly asking: number;

  /** Negotiated by the `initialize` answer, or what {@link begin} was told; undefined before. */
  readonly protocolVersion: string | undefined;

  /** Resolves exactly once, after every call in flight was answered; never rejects. */
  readonly ended: Promise<ChannelEnd>;

  /** Ends the child (EOF first) and answers what is in flight. Never rejects. */
  close(): Promise<void>;

  /**
   * Lets go of the child and leaves it as it is, for another process, as soon as it has what was sent to it, or that has taken too long. Nothing more is taken; what is in
   * flight then is answered as lost. False where it cannot be left: then nothing has happened.
   */
  release(): boolean;
}

/**
 * Why a message was dropped. `no-stream`: the client has no stream open; `stream-gone`: its stream closed; `unknown-id`: it names nothing
 * that was ever asked; `late-answer`: what it names is over; `ambiguous`: it names two things; `too-long`: a line over the server's
 * `maxLineBytes`; `overflow`: the child asks for more than it reads.
 */
export type DropReason =
  'no-stream' | 'stream-gone' | 'unknown-id' | 'late-answer' | 'ambiguous' | 'too-long' | 'overflow';

/** What the bridge tells its observer; for metrics and the log. Never a payload, never an id. */
export interface ChannelObserver {
  /** A call is over after `seconds`; `method` is one that MCP names, or `other`; `failed`: the child's own JSON-RPC error. */
  call(method: string, outcome: 'answered' | 'failed' | 'cancelled' | 'deadline' | 'lost', seconds: number): void;
  /** The child wrote a line on stdout that is not a JSON-RPC message. */
  noise(bytes: number): void;
  /** A message was dropped, and why. */
  dropped(why: DropReason): void;
  /** A defect of ours while a message was handled; the message is dropped, the session goes on. For the log. */
  fault(thrown: unknown): void;
  /** A whole line of the child's stderr, redacted and without terminal escapes. */
  stderr(line: string): void;
}
