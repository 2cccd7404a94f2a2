/** A conversation with a child in the stateless era (MCP 2026-07-28): every request stands for itself, whatever era the child speaks. */
import type {
  Answer,
  CallOptions,
  JsonRpcRequest,
  JsonRpcResponse,
  MessageSink,
  StatelessChild,
  ToolFacts,
} from '../contract';

/** What a conversation needs of the session that it runs in, for the time of one request. */
export interface ConversationLink {
  call(request: JsonRpcRequest, sink: MessageSink, options?: CallOptions): Promise<void>;
  notify(notification: { readonly jsonrpc: '2.0'; readonly method: string }): Promise<void>;
  answer(response: JsonRpcResponse): Promise<void>;
  ask(method: string, params: Readonly<Record<string, unknown>>, ms: number): Promise<Answer | undefined>;
  begin(child: StatelessChild): void;
  tool(name: string): Promise<ToolFacts | undefined>;
}

/** Which changes somebody wants to hear of (MCP 2026-07-28, 'Notification Filter'). */
export interface Filter {
  readonly toolsListChanged: boolean;
  readonly promptsListChanged: boolean;
  readonly resourcesListChanged: boolean;
  readonly resources: ReadonlySet<string>;
}

/** One child's side of a conversation. */
export interface Conversation {
  /**
   * Serves one request. Progress and log messages of it go to `sink`, the answer last. Resolves when the answer was handed over, or when `signal`
   * aborted, which cancels the request at the child.
   * Rejects, before anything was sent to the child or the client, as {@link ConversationLink.call} does.
   */
  serve(link: ConversationLink, request: JsonRpcRequest, sink: MessageSink, signal: AbortSignal): Promise<void>;

  /**
   * Makes the child tell of these changes and of no others. Resolves with those that it does tell of.
   * @param changed is given every notification of a change, as the child wrote it, without the child's own subscription id.
   */
  watch(link: ConversationLink, filter: Filter, changed: ChangeConsumer): Promise<Filter>;

  /** Where what belongs to no call arrives. */
  readonly rest: MessageSink;

  /** Whether a call runs, or waits for its client to come back. */
  readonly busy: boolean;

  /** Whether the child is gone. */
  readonly closed: boolean;

  /** The child is gone: forgets what waits for clients. */
  close(): void;
}

/** Takes a notification of a change: its method and its params. */
export type ChangeConsumer = (method: string, params: Readonly<Record<string, unknown>>) => void;
