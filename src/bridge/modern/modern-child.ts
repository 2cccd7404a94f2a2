/** The stateless era in front of a child that speaks it: requests pass as they are, but for what a gateway must keep apart. */
import type { JsonRpcFailure, JsonRpcMessage, JsonRpcRequest, MessageSink } from '../contract';
import { isObject } from '../json';
import { ASKING_METHODS } from './capabilities';
import type { ChangeConsumer, Conversation, ConversationLink, Filter } from './contract';
import { LOG_LEVEL, metaOf, SERVER_INFO, severityOf } from './meta';
import { ModernWatch } from './modern-watch';
import { completed, exactResult, failure, INVALID_PARAMS, isAnswer, modernError, success } from './results';
import type { StateSeal } from './state';

export interface ModernChildOptions {
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

export class ModernChild implements Conversation {
  readonly rest: MessageSink;
  readonly #options: ModernChildOptions;
  readonly #serverInfo: unknown;
  readonly #watch: ModernWatch;
  #link: ConversationLink | undefined;

  constructor(options: ModernChildOptions) {
    this.#options = options;
    const { _meta } = options.discovered;
    this.#serverInfo = isObject(_meta) ? _meta[SERVER_INFO] : undefined;
    this.#watch = new ModernWatch(options.meta);
    // A log message that could be of several calls must reach none of them; changes come on the stream of their subscription.
    this.rest = {
      send: (message) => {
        this.#refuse(message);
        return undefined;
      },
    };
  }

  async serve(link: ConversationLink, request: JsonRpcRequest, sink: MessageSink, signal: AbortSignal): Promise<void> {
    this.#link = link;
    if (request.method === 'server/discover') {
      const { discovered, versions } = this.#options;
      const result = completed('server/discover', { ...discovered, supportedVersions: versions }, this.#serverInfo);
      await sink.send(...success(request.id, result));
      return;
    }
    const passed = this.#withChildState(request);
    if (passed === undefined) {
      const why = 'The request state is not valid for this request. Send the request again without it.';
      await sink.send(...failure(request.id, INVALID_PARAMS, why));
      return;
    }
    const severity = severityOf(metaOf(request)[LOG_LEVEL]);
    const heard: MessageSink = {
      send: (message, json, ours) => {
        if (isAnswer(message)) return sink.send(...this.#answered(request, message as JsonRpcFailure, json), ours);
        if ('id' in message) this.#refuse(message);
        else if (message.method !== 'notifications/message') return sink.send(message, json);
        else if (severity !== undefined && (severityOf(message.params?.level) ?? -1) >= severity)
          return sink.send(message, json);
        return undefined;
      },
    };
    await link.call(passed, heard, { signal });
  }

  watch(link: ConversationLink, filter: Filter, changed: ChangeConsumer): Promise<Filter> {
    this.#link = link;
    return this.#watch.set(link, filter, changed);
  }

  close(): void {
    this.#watch.close();
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

  #answered(request: JsonRpcRequest, message: JsonRpcFailure, json: string): readonly [JsonRpcMessage, string] {
    const { id, method } = request;
    if ('error' in message) {
      const error = modernError(message.error);
      return error === message.error ? [message, json] : failure(id, error.code, error.message, error.data);
    }
    const result = exactResult(json);
    if (result === undefined) return failure(id, -32603, 'The server answered with no result.');
    return success(id, completed(method, this.#withOurState(request, result), this.#serverInfo));
  }

  #withOurState(request: JsonRpcRequest, result: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
    if (typeof result.requestState !== 'string') return result;
    const { audience, seal, callTimeout } = this.#options;
    return { ...result, requestState: seal.seal(audience, request, callTimeout, { child: result.requestState }) };
  }

  /** A child of this era sends no requests (MCP 2026-07-28, 'stdio'); one that does gets an answer all the same. */
  #refuse(message: JsonRpcMessage): void {
    if (isAnswer(message) || !('id' in message)) return;
    const error = { code: -32601, message: 'Servers of MCP 2026-07-28 send no requests. Answer with input_required.' };
    this.#link?.answer({ jsonrpc: '2.0', id: message.id, error }).catch(() => undefined); // its end says more
  }
}
