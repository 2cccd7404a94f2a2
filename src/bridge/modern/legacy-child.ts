/** The stateless era in front of a child that knows `initialize` only (MCP 2024-11-05 to 2025-11-25). */
import type { Clock, Timer } from '../../clock';
import type { JsonRpcFailure, JsonRpcMessage, JsonRpcNotification, JsonRpcRequest, MessageSink } from '../contract';
import { isObject, parseExact, without } from '../json';
import { Askers, type Question } from './askers';
import { ASKING_METHODS, INPUT_METHODS, isInputResponse, missingFor } from './capabilities';
import type { ChangeConsumer, Conversation, ConversationLink, Filter } from './contract';
import { legacyMeta, LOG_LEVEL, LOG_LEVELS, metaOf, severityOf, type ClientFacts } from './meta';
import {
  CAPABILITY_MISSING,
  completed,
  exactResult,
  failure,
  INVALID_PARAMS,
  isAnswer,
  modernError,
  success,
  URL_ELICITATION,
} from './results';
import { Running, type Finished } from './running';
import type { StateSeal } from './state';
import { LegacyWatch } from './legacy-watch';
import { urlQuestions } from './url-elicitation';

export interface LegacyChildOptions {
  readonly clock: Clock;
  readonly seal: StateSeal;
  /** Whom request states are for. */
  readonly audience: string;
  readonly client: ClientFacts;
  /** What the child answered to `initialize`. */
  readonly initialized: Readonly<Record<string, unknown>>;
  /** The versions that are served, the newest first. */
  readonly versions: readonly string[];
  /** Seconds for one call, the time included in which its client is asked. */
  readonly callTimeout: number;
}

/** Milliseconds for which further questions of the same call are waited for, so that they go out together. */
const GATHER_MS = 5;
/** Milliseconds for the child to take a log level. */
const LEVEL_MS = 5_000;
/** Calls whose clients were asked, or whose answer waits for a client to come back. */
const MAX_PARKED = 64;

export class LegacyChild implements Conversation {
  readonly rest: MessageSink;
  readonly #options: LegacyChildOptions;
  readonly #serverInfo: unknown;
  readonly #askers: Askers;
  readonly #watch: LegacyWatch;
  readonly #running = new Map<string, Running>();
  readonly #timers = new Set<Timer>();
  /** The channel as a link that lives as long as the child, for refusals. */
  #link: ConversationLink | undefined;
  /** The least severe level that the child was told. */
  #level: number | undefined;

  constructor(options: LegacyChildOptions) {
    this.#options = options;
    const { serverInfo, capabilities } = options.initialized;
    this.#serverInfo = isObject(serverInfo) ? serverInfo : undefined;
    this.#watch = new LegacyWatch(isObject(capabilities) ? capabilities : {});
    this.#askers = new Askers({
      clock: options.clock,
      found: (running, question) => this.#asked(running, question),
      lost: (question) => this.#refuse(question.key, 'It cannot be told which call asks this.'),
    });
    this.rest = { send: (message) => this.#heard(message) };
  }

  async serve(link: ConversationLink, request: JsonRpcRequest, sink: MessageSink, signal: AbortSignal): Promise<void> {
    this.#link = link;
    const { method } = request;
    const level = severityOf(metaOf(request)[LOG_LEVEL]);
    if (method === 'server/discover') {
      await sink.send(...success(request.id, this.#discovered()));
      return;
    }
    if (ASKING_METHODS.has(method) && request.params?.requestState !== undefined) {
      await this.#resume(request, sink, signal);
      return;
    }
    const running = new Running(method, ASKING_METHODS.has(method));
    if (running.mayAsk) await this.#askers.admit();
    if (level !== undefined) await this.#lowerLevel(link, level);
    if (signal.aborted) return;
    await this.#run(link, running, request, sink, signal);
  }

  watch(link: ConversationLink, filter: Filter, changed: ChangeConsumer): Promise<Filter> {
    this.#link = link;
    return this.#watch.set(link, filter, changed);
  }

  close(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#askers.close();
    this.#running.clear();
  }

  /** Starts a call at the child. Resolves when this request of the client's is answered. */
  #run(
    link: ConversationLink,
    running: Running,
    request: JsonRpcRequest,
    sink: MessageSink,
    signal: AbortSignal,
  ): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#attach(running, request, sink, signal, resolve);
      this.#running.set(running.id, running);
      if (running.mayAsk) this.#askers.add(running);
      const heard: MessageSink = { send: (message, json) => this.#said(running, message, json) };
      link.call(asLegacy(request), heard, { signal: running.abort.signal }).then(
        () => this.#over(running), // answered or withdrawn
        (thrown: Error) => {
          running.detach();
          this.#forget(running);
          reject(thrown);
        },
      );
    });
  }

  /** A client came back with answers. */
  async #resume(request: JsonRpcRequest, sink: MessageSink, signal: AbortSignal): Promise<void> {
    const { requestState, inputResponses } = request.params ?? {};
    const { audience, seal } = this.#options;
    const content = typeof requestState === 'string' ? seal.open(audience, request, requestState) : undefined;
    const running = content?.call === undefined ? undefined : this.#running.get(content.call);
    if (running === undefined || running.round !== content?.round || !running.parked) {
      const why =
        content === undefined
          ? 'The request state is not valid for this request. Send the request again without it.'
          : 'What waited for these answers is gone. Send the request again without its state; what it was to do may have happened.';
      await sink.send(...failure(request.id, INVALID_PARAMS, why));
      return;
    }
    if (inputResponses !== undefined && !isObject(inputResponses)) {
      await sink.send(...failure(request.id, INVALID_PARAMS, 'The field "inputResponses" must be an object.'));
      return;
    }
    await new Promise<void>((resolve) => {
      this.#attach(running, request, sink, signal, resolve);
      if (running.finished !== undefined) {
        void this.#answer(running, running.finished);
        return;
      }
      this.#answerQuestions(running, inputResponses ?? {});
      if (running.questions.size > 0) this.#park(running);
      else this.#askers.changed(running, false);
    });
  }

  /** Passes on what was answered; what was not, or not well, stays open and is asked again. */
  #answerQuestions(running: Running, responses: Readonly<Record<string, unknown>>): void {
    for (const [key, { method }] of [...running.questions]) {
      const given = responses[nameOf(key)];
      if (!isInputResponse(method, given)) continue;
      running.questions.delete(key);
      this.#link?.answer({ jsonrpc: '2.0', id: key, result: given }).catch(() => undefined); // its end says more
    }
  }

  #attach(running: Running, request: JsonRpcRequest, sink: MessageSink, signal: AbortSignal, done: () => void): void {
    const attached = running.attach(request, sink, done);
    signal.addEventListener(
      'abort',
      () => {
        // Closing the stream cancels the request, unless it was answered before (MCP 2026-07-28, 'Cancellation').
        if (running.attached !== attached) return;
        running.detach();
        running.abort.abort();
        attached.done();
      },
      { once: true },
    );
  }

  /** What the child said on a call's stream. The channel may take what belongs to another call for this one's; only answers and progress are sure. */
  #said(running: Running, message: JsonRpcMessage, json: string): Promise<void> | undefined {
    if (isAnswer(message)) {
      running.finished = { message, json };
      return running.parked ? undefined : this.#answer(running, running.finished);
    }
    if (message.method !== 'notifications/progress') return this.#heard(message);
    const { attached } = running;
    if (attached?.progressToken === undefined) return undefined;
    const exact = parseExact(json) as { params?: object };
    const params = { ...exact.params, progressToken: attached.progressToken };
    return attached.sink.send({ ...message, params }, JSON.stringify({ ...exact, params }));
  }

  /** What the child said to nobody in particular. */
  #heard(message: JsonRpcMessage): Promise<void> | undefined {
    if (isAnswer(message)) return undefined;
    const { method } = message;
    const params = message.params ?? {};
    if ('id' in message) this.#question({ key: String(message.id), method, params });
    else if (method === 'notifications/message') return this.#logged(message, params);
    else if (method === 'notifications/cancelled') this.#withdrawn(String(params.requestId));
    else this.#watch.heard(method, params);
    return undefined;
  }

  /** A log message says nothing of its call, and must reach no other: it is passed on when one call runs, and that one wants it. */
  #logged(message: JsonRpcNotification, params: Readonly<Record<string, unknown>>): Promise<void> | undefined {
    const [running, ...others] = [...this.#running.values()].filter(({ finished }) => finished === undefined);
    const attached = others.length === 0 ? running?.attached : undefined;
    const severity = severityOf(params.level);
    if (attached?.severity === undefined || severity === undefined || severity < attached.severity) return undefined;
    return attached.sink.send(message, JSON.stringify(message));
  }

  #question(question: Question): void {
    if (INPUT_METHODS.has(question.method)) this.#askers.ask(question);
    else this.#refuse(question.key, 'Clients of MCP 2026-07-28 do not answer this.', -32601);
  }

  /** A call asks its client something. */
  #asked(running: Running, { key, method, params }: Question): void {
    const missing = missingFor(this.#options.client.capabilities, method, params);
    if (missing !== undefined) {
      running.lacks(missing);
      this.#refuse(key, 'The client has not declared that it can do this.', -32601);
      return;
    }
    running.questions.set(key, { method, params: without(params, '_meta', 'task') });
    if (running.parked || running.gathering) return; // it goes out when the client comes back, or with the others
    running.gathering = true;
    this.#after(GATHER_MS, () => {
      running.gathering = false;
      if (!running.parked && running.questions.size > 0) this.#park(running);
    });
  }

  /** Answers the waiting request with the open questions. */
  #park(running: Running): void {
    const attached = running.detach();
    if (attached === undefined) return;
    running.round += 1;
    const { audience, seal, callTimeout } = this.#options;
    const inputRequests = Object.fromEntries([...running.questions].map(([key, asked]) => [nameOf(key), asked]));
    const requestState = seal.seal(audience, attached.request, callTimeout, { call: running.id, round: running.round });
    const result = completed(
      running.method,
      { resultType: 'input_required', inputRequests, requestState },
      this.#serverInfo,
    );
    deliver(attached.sink, ...success(attached.request.id, result));
    attached.done();
    this.#askers.changed(running, false);
    this.#dropOldest();
  }

  /** Answers the waiting request with what the child answered. */
  #answer(running: Running, { message, json }: Finished): Promise<void> | undefined {
    const attached = running.detach();
    if (attached === undefined) return undefined;
    const { id } = attached.request;
    const taken = attached.sink.send(
      ...this.#translated(running, message as JsonRpcFailure, json, attached.request, id),
    );
    taken?.catch(() => undefined); // a client that is gone needs no answer
    this.#forget(running);
    attached.done();
    return taken;
  }

  #translated(
    running: Running,
    message: JsonRpcFailure,
    json: string,
    request: JsonRpcRequest,
    id: JsonRpcRequest['id'],
  ): readonly [JsonRpcMessage, string] {
    const result = 'result' in message ? exactResult(json) : undefined;
    if (running.missing !== undefined && (result === undefined || result.isError === true)) {
      const text = 'This needs a capability that the client has not declared.';
      return failure(id, CAPABILITY_MISSING, text, { requiredCapabilities: running.missing });
    }
    if (result !== undefined) return success(id, completed(running.method, result, this.#serverInfo));
    if ('error' in message && message.error.code === URL_ELICITATION) return this.#visit(running, message, request);
    const error =
      'error' in message
        ? modernError(message.error)
        : { code: -32603, message: 'The server answered with no result.' };
    return failure(id, error.code, error.message, error.data);
  }

  /** The child wants its user to visit a page before the call is made again (2025-11-25, 'URL Elicitation Required Errors'). */
  #visit(running: Running, { error }: JsonRpcFailure, request: JsonRpcRequest): readonly [JsonRpcMessage, string] {
    const questions = running.mayAsk ? urlQuestions(error.data) : undefined;
    const missing = missingFor(this.#options.client.capabilities, 'elicitation/create', { mode: 'url' });
    if (missing !== undefined) {
      const text = 'This needs the user to visit a page, which the client has not declared that it can ask for.';
      return failure(request.id, CAPABILITY_MISSING, text, { requiredCapabilities: missing });
    }
    if (questions === undefined) return failure(request.id, -32603, error.message);
    const result = { resultType: 'input_required', inputRequests: questions };
    return success(request.id, completed(running.method, result, this.#serverInfo));
  }

  #withdrawn(key: string): void {
    if (this.#askers.withdraw(key)) return;
    for (const running of this.#running.values()) running.questions.delete(key);
  }

  /** The channel is done with a call: its answer was handed over, waits for its client, or will never come because the call was withdrawn. */
  #over(running: Running): void {
    this.#askers.changed(running, true);
    if (running.finished !== undefined && running.parked && this.#running.has(running.id)) {
      this.#after(this.#options.callTimeout * 1000, () => this.#running.delete(running.id));
      return;
    }
    running.detach()?.done();
    this.#forget(running);
  }

  #forget(running: Running): void {
    this.#running.delete(running.id);
    this.#askers.changed(running, true);
  }

  #dropOldest(): void {
    const parked = [...this.#running.values()].filter((running) => running.parked);
    const [oldest] = parked;
    if (parked.length <= MAX_PARKED || oldest === undefined) return;
    oldest.abort.abort();
    this.#forget(oldest);
  }

  /** The child logs for everybody at one level: the least severe one that anybody wanted; each message is looked at again. */
  async #lowerLevel(link: ConversationLink, level: number): Promise<void> {
    const { capabilities } = this.#options.initialized;
    if (!isObject(capabilities) || !isObject(capabilities.logging)) return;
    if (this.#level !== undefined && this.#level <= level) return;
    this.#level = level;
    await link.ask('logging/setLevel', { level: LOG_LEVELS[level] }, LEVEL_MS);
  }

  #discovered(): Readonly<Record<string, unknown>> {
    const { capabilities, instructions } = this.#options.initialized;
    return completed(
      'server/discover',
      {
        supportedVersions: this.#options.versions,
        capabilities: isObject(capabilities) ? without(capabilities, 'tasks') : {},
        ...(typeof instructions === 'string' ? { instructions } : {}),
      },
      this.#serverInfo,
    );
  }

  #refuse(key: string, message: string, code = -32000): void {
    this.#link?.answer({ jsonrpc: '2.0', id: key, error: { code, message } }).catch(() => undefined); // its end says more
  }

  #after(ms: number, run: () => void): void {
    const timer = this.#options.clock.after(ms, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }
}

/** A question's name for the client: its id at the channel is long and says more than a client needs. */
function nameOf(key: string): string {
  return `q${key.split('.')[1] ?? ''}`;
}

/** A request as the child may see it. */
function asLegacy(request: JsonRpcRequest): JsonRpcRequest {
  const params = without(request.params ?? {}, '_meta', 'inputResponses', 'requestState');
  const meta = legacyMeta(metaOf(request));
  return { ...request, params: meta === undefined ? params : { ...params, _meta: meta } };
}

function deliver(sink: MessageSink, message: JsonRpcMessage, json: string): void {
  sink.send(message, json)?.catch(() => undefined); // a client that is gone comes back with its state, or never
}
