/** The stateless era in front of a child that speaks it: requests pass as they are, but for what a gateway must keep apart. */
import type { Clock } from '../../clock';
import type { JsonRpcMessage, JsonRpcRequest, JsonRpcResponse, MessageSink } from '../contract';
import { isObject } from '../json';
import { ASKING_METHODS, missingFor } from './capabilities';
import type { ChangeConsumer, Conversation, ConversationLink, Filter } from './contract';
import { CLIENT_CAPABILITIES, LOG_LEVEL, metaOf, SERVER_INFO, severityOf } from './meta';
import { ModernWatch } from './modern-watch';
import {
  CAPABILITY_MISSING,
  completed,
  completedAnswer,
  exactResult,
  failure,
  hand,
  INTERNAL,
  INVALID_PARAMS,
  isAnswer,
  METHOD_NOT_FOUND,
  modernError,
  success,
} from './results';
import type { StateSeal } from './state';

export interface ModernChildOptions {
  readonly clock: Clock;
  readonly seal: StateSeal;
  /** Whom request states are for. */
  readonly audience: string;
  /** `_meta` of requests of the gateway's own. */
  readonly meta: Readonly<Record<string, unknown>>;
  /** What the child answered to `server/discover`. */
  readonly discovered: Readonly<Record<string, unknown>>;
  /** The versions that are served, the newest first. */
  readonly versions: readonly string[];
  /** Seconds for which a request state is good. */
  readonly callTimeout: number;
}

/** Milliseconds for the child to have seen that a call was withdrawn. */
const SEEN_MS = 2_000;

export class ModernChild implements Conversation {
  readonly rest: MessageSink;
  readonly #link: ConversationLink;
  readonly #options: ModernChildOptions;
  readonly #serverInfo: unknown;
  readonly #watch: ModernWatch;
  #running = 0;
  #closed = false;
  /** Calls that were withdrawn, of which the child may not know yet. */
  #departing = 0;

  constructor(link: ConversationLink, options: ModernChildOptions) {
    this.#link = link;
    this.#options = options;
    const { _meta } = options.discovered;
    this.#serverInfo = isObject(_meta) ? _meta[SERVER_INFO] : undefined;
    this.#watch = new ModernWatch(options.clock, options.meta);
    // A log message that could be of several calls must reach none of them; changes come on the stream of their subscription.
    this.rest = {
      send: (message) => {
        this.#refuse(message);
        return undefined;
      },
    };
  }

  /** See {@link Conversation.busy}. */
  get busy(): boolean {
    return this.#running > 0;
  }

  /** See {@link Conversation.closed}. */
  get closed(): boolean {
    return this.#closed;
  }

  async serve(link: ConversationLink, request: JsonRpcRequest, sink: MessageSink, signal: AbortSignal): Promise<void> {
    if (request.method === 'server/discover') {
      const { discovered, versions } = this.#options;
      const result = completed('server/discover', { ...discovered, supportedVersions: versions }, this.#serverInfo);
      await hand(sink, success(request.id, result));
      return;
    }
    const passed = this.#withChildState(request);
    if (passed === undefined) {
      const why = 'The request state is not valid for this request. Send the request again without it.';
      await hand(sink, failure(request.id, INVALID_PARAMS, why));
      return;
    }
    const severity = severityOf(metaOf(request)[LOG_LEVEL]);
    const heard: MessageSink = {
      send: (message, json, ours) => {
        if (isAnswer(message)) return hand(sink, this.#answered(request, message, json), ours);
        if ('id' in message) this.#refuse(message);
        else if (message.method !== 'notifications/message') return hand(sink, [message, json]);
        else if (this.#isWanted(message.params?.level, severity)) return hand(sink, [message, json]);
        return undefined;
      },
    };
    const gone = (): void => this.#departs();
    signal.addEventListener('abort', gone, { once: true });
    this.#running += 1;
    try {
      await link.call(passed, heard, { signal });
    } finally {
      this.#running -= 1;
      signal.removeEventListener('abort', gone);
    }
  }

  watch(link: ConversationLink, filter: Filter, changed: ChangeConsumer): Promise<Filter> {
    return this.#watch.set(link, filter, changed);
  }

  close(): void {
    this.#closed = true;
    this.#watch.close();
  }

  /** The channel hands a log message to a call where only one is at work; one that was withdrawn may be at work still. */
  #isWanted(level: unknown, severity: number | undefined): boolean {
    return severity !== undefined && this.#departing === 0 && (severityOf(level) ?? -1) >= severity;
  }

  #departs(): void {
    this.#departing += 1;
    void Promise.resolve()
      .then(() => this.#link.ask('server/discover', {}, SEEN_MS))
      .then(() => {
        this.#departing -= 1;
      });
  }

  /** A request with the child's own state in place of ours; undefined where ours is not good. */
  #withChildState(request: JsonRpcRequest): JsonRpcRequest | undefined {
    const { params } = request;
    if (params?.requestState === undefined || !ASKING_METHODS.has(request.method)) return request;
    const { audience, seal } = this.#options;
    const state =
      typeof params.requestState === 'string' ? seal.open(audience, request, params.requestState) : undefined;
    if (state?.child === undefined) return undefined;
    return { ...request, params: { ...params, requestState: state.child } };
  }

  #answered(request: JsonRpcRequest, message: JsonRpcResponse, json: string): readonly [JsonRpcMessage, string] {
    const { id, method } = request;
    if ('error' in message) {
      const error = modernError(message.error);
      return error === message.error ? [message, json] : failure(id, error.code, error.message, error.data);
    }
    const result = isObject(message.result) ? message.result : {};
    if (result.resultType === 'input_required') return this.#asking(request, exactResult(json) ?? result);
    return completedAnswer(method, message, json, id, this.#serverInfo);
  }

  /** The child asks the client something. Its state is ours to the client: only who was asked can answer. */
  #asking(request: JsonRpcRequest, result: Readonly<Record<string, unknown>>): readonly [JsonRpcMessage, string] {
    const { id, method } = request;
    if (!ASKING_METHODS.has(method)) return failure(id, INTERNAL, 'The server asks where it must not.');
    const requiredCapabilities = missingIn(result.inputRequests, metaOf(request)[CLIENT_CAPABILITIES]);
    if (requiredCapabilities !== undefined) {
      const text = 'This needs a capability that the client has not declared.';
      return failure(id, CAPABILITY_MISSING, text, { requiredCapabilities });
    }
    const { audience, seal, callTimeout } = this.#options;
    const { requestState } = result;
    const sealed =
      typeof requestState === 'string'
        ? { requestState: seal.seal(audience, request, callTimeout, { child: requestState }) }
        : {};
    return success(id, completed(method, { ...result, ...sealed }, this.#serverInfo));
  }

  /** A child of this era sends no requests (MCP 2026-07-28, 'stdio'); one that does gets an answer all the same. */
  #refuse(message: JsonRpcMessage): void {
    if (isAnswer(message) || !('id' in message)) return;
    const text = 'Servers of MCP 2026-07-28 send no requests. Answer with input_required.';
    const error = { code: METHOD_NOT_FOUND, message: text };
    this.#link.answer({ jsonrpc: '2.0', id: message.id, error }).catch(() => undefined); // its end says more
  }
}

/** The first capability that a child's questions need and the client has not declared. */
function missingIn(inputRequests: unknown, capabilities: unknown): Readonly<Record<string, unknown>> | undefined {
  if (!isObject(inputRequests)) return undefined;
  for (const asked of Object.values(inputRequests)) {
    if (!isObject(asked) || typeof asked.method !== 'string') continue;
    const params = isObject(asked.params) ? asked.params : {};
    const missing = missingFor(isObject(capabilities) ? capabilities : {}, asked.method, params);
    if (missing !== undefined) return missing;
  }
  return undefined;
}
