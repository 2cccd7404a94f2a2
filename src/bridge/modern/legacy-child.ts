/** The stateless era in front of a child that knows `initialize` only (MCP 2024-11-05 to 2025-11-25). */
import type { Clock } from '../../clock';
import type { ErrorCode } from '../../errors';
import type { JsonRpcId, JsonRpcMessage, JsonRpcRequest, MessageSink } from '../contract';
import { isObject, parseExact, without } from '../json';
import { Askers, type Question } from './askers';
import { ASKING_METHODS, asInputRequest, INPUT_METHODS, isInputResponse, missingFor } from './capabilities';
import type { ChangeConsumer, Conversation, ConversationLink, Filter } from './contract';
import { NOT_ASKED, translated, unanswered } from './legacy-answers';
import { LegacyWatch } from './legacy-watch';
import { LogLevel } from './log-level';
import { legacyMeta, LOG_LEVEL, metaOf, severityOf, type ClientFacts } from './meta';
import { Parked } from './parked';
import { completed, failure, hand, INVALID_PARAMS, isAnswer, success } from './results';
import { Running, type Finished } from './running';
import type { StateSeal } from './state';

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
  /** Calls that may wait for their clients, who may never come back; each is in flight at the child. */
  readonly maxParked: number;
}

/** Milliseconds for which further questions of the same call are waited for, so that they go out together. */
const GATHER_MS = 20;
/** Milliseconds for the child to have seen that a call was withdrawn. */
const SEEN_MS = 2_000;

const INVALID_STATE = 'The request state is not valid for this request. Send the request again without it.';
const STATE_GONE =
  'What waited for these answers is gone. Send the request again without its state; what it was to do may have happened.';

export class LegacyChild implements Conversation {
  readonly rest: MessageSink;
  readonly #link: ConversationLink;
  readonly #options: LegacyChildOptions;
  readonly #serverInfo: unknown;
  readonly #askers: Askers;
  readonly #parked: Parked;
  readonly #watch: LegacyWatch;
  readonly #level: LogLevel;
  readonly #running = new Map<string, Running>();
  #closed = false;

  constructor(link: ConversationLink, options: LegacyChildOptions) {
    const { clock, initialized, maxParked, callTimeout } = options;
    const capabilities = isObject(initialized.capabilities) ? initialized.capabilities : {};
    this.#link = link;
    this.#options = options;
    this.#serverInfo = isObject(initialized.serverInfo) ? initialized.serverInfo : undefined;
    this.#watch = new LegacyWatch(capabilities);
    this.#level = new LogLevel(capabilities);
    this.#askers = new Askers({
      clock,
      found: (running, question) => this.#asked(running, question),
      lost: ({ key }) => this.#reply(key, { error: { code: -32000, message: 'It cannot be told which call asks.' } }),
    });
    this.#parked = new Parked({
      clock,
      most: maxParked,
      keepMs: callTimeout * 1000,
      dropped: (running) => {
        running.abort.abort();
        this.#forget(running);
      },
    });
    this.rest = { send: (message, json) => this.#heard(message, json) };
  }

  /** See {@link Conversation.busy}. */
  get busy(): boolean {
    return this.#running.size > 0;
  }

  /** See {@link Conversation.closed}. */
  get closed(): boolean {
    return this.#closed;
  }

  async serve(link: ConversationLink, request: JsonRpcRequest, sink: MessageSink, signal: AbortSignal): Promise<void> {
    if (request.method === 'server/discover') {
      await hand(sink, success(request.id, this.#discovered()));
      return;
    }
    await this.#level.lower(link, severityOf(metaOf(request)[LOG_LEVEL]));
    if (ASKING_METHODS.has(request.method) && request.params?.requestState !== undefined) {
      await this.#resume(request, sink, signal);
      return;
    }
    const running = new Running(request);
    const entered = running.mayAsk ? await this.#askers.enter(running, signal) : !signal.aborted;
    if (entered) await this.#run(link, running, request, sink, signal);
  }

  watch(link: ConversationLink, filter: Filter, changed: ChangeConsumer): Promise<Filter> {
    return this.#watch.set(link, filter, changed);
  }

  close(): void {
    this.#closed = true;
    this.#parked.close();
    this.#askers.close();
    for (const { gathering } of this.#running.values()) gathering?.cancel();
    this.#running.clear(); // the channel settles what is in flight
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
      this.#running.set(running.id, running);
      this.#attach(running, request, sink, signal, resolve);
      const heard: MessageSink = { send: (message, json, ours) => this.#said(running, message, json, ours) };
      link.call(asLegacy(request), heard, { signal: running.abort.signal }).then(
        () => this.#over(running),
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
    const { requestState, inputResponses = {} } = request.params ?? {};
    const { audience, seal } = this.#options;
    const refuse = (why: string): Promise<void> => hand(sink, failure(request.id, INVALID_PARAMS, why));
    const content = typeof requestState === 'string' ? seal.open(audience, request, requestState) : undefined;
    if (content === undefined) return refuse(INVALID_STATE);
    if (!isObject(inputResponses)) return refuse('The field "inputResponses" must be an object.');
    const running = content.call === undefined ? undefined : this.#running.get(content.call);
    if (running === undefined || running.round !== content.round || !running.parked) return refuse(STATE_GONE);
    // From here on the state is used, also for a second one that comes with it before this one has been let through.
    running.resuming = true;
    this.#parked.delete(running);
    if (running.finished === undefined && !(await this.#askers.enter(running, signal))) {
      // It went away again before it was heard, so its state is as good as it was.
      running.resuming = false;
      this.#parked.add(running);
      if (running.finished !== undefined) this.#parked.keep(running);
      return undefined;
    }
    if (!this.#running.has(running.id)) return refuse(STATE_GONE);
    return new Promise<void>((resolve) => {
      this.#attach(running, request, sink, signal, resolve);
      if (running.finished !== undefined) {
        void this.#answer(running, running.finished);
        return;
      }
      this.#answerQuestions(running, inputResponses);
      if (running.questions.size > 0) this.#askClient(running);
    });
  }

  /** Passes on what was answered; what was not, or not well, stays open and is asked again. */
  #answerQuestions(running: Running, responses: Readonly<Record<string, unknown>>): void {
    for (const [key, { method }] of [...running.questions]) {
      const name = nameOf(key);
      const given = Object.hasOwn(responses, name) ? responses[name] : undefined;
      if (!isInputResponse(method, given)) continue;
      running.questions.delete(key);
      this.#reply(key, { result: given });
    }
  }

  #attach(running: Running, request: JsonRpcRequest, sink: MessageSink, signal: AbortSignal, done: () => void): void {
    const attached = running.attach(request, sink, done);
    const gone = (): void => {
      // Closing the stream cancels the request, unless it was answered before (MCP 2026-07-28, 'Cancellation').
      if (running.attached !== attached) return;
      running.detach();
      running.abort.abort();
      attached.done();
    };
    if (signal.aborted) gone();
    else signal.addEventListener('abort', gone, { once: true }); // it lives as long as the request
  }

  /** What the child said on a call's stream. The channel may take what belongs to another call for this one's; only answers and progress are sure. */
  #said(running: Running, message: JsonRpcMessage, json: string, ours?: ErrorCode): Promise<void> | undefined {
    if (isAnswer(message)) {
      running.finished = { message, json, ours };
      if (ours === 'CALL_DEADLINE') this.#departs();
      return running.attached === undefined ? undefined : this.#answer(running, running.finished);
    }
    if (message.method !== 'notifications/progress') return this.#heard(message, json);
    const { attached } = running;
    if (attached?.progressToken === undefined) return undefined;
    if (attached.progressToken === message.params?.progressToken) return hand(attached.sink, [message, json]);
    const exact = parseExact(json) as { params?: object };
    const params = { ...exact.params, progressToken: attached.progressToken };
    return hand(attached.sink, [{ ...message, params }, JSON.stringify({ ...exact, params })]);
  }

  /** What the child said to nobody in particular. */
  #heard(message: JsonRpcMessage, json: string): Promise<void> | undefined {
    if (isAnswer(message)) return undefined;
    const { method } = message;
    if (method === 'notifications/message') return this.#logged(message, json, message.params?.level);
    if (method === 'notifications/cancelled') {
      this.#withdrawn(String(message.params?.requestId));
      return undefined;
    }
    const exact = (parseExact(json) as { params?: unknown }).params;
    const params = isObject(exact) ? exact : {};
    if ('id' in message) this.#question({ key: String(message.id), method, params });
    else this.#watch.heard(method, params);
    return undefined;
  }

  /** A log message says nothing of its call, and must reach no other: it is passed on when one call runs, and that one wants it. */
  #logged(message: JsonRpcMessage, json: string, level: unknown): Promise<void> | undefined {
    if (this.#askers.departing) return undefined;
    const [running, ...others] = [...this.#running.values()].filter(({ finished }) => finished === undefined);
    const attached = others.length === 0 ? running?.attached : undefined;
    const severity = severityOf(level);
    if (attached?.severity === undefined || severity === undefined || severity < attached.severity) return undefined;
    return hand(attached.sink, [message, json]);
  }

  #question(question: Question): void {
    if (INPUT_METHODS.has(question.method)) this.#askers.ask(question);
    else this.#reply(question.key, { error: NOT_ASKED });
  }

  /** A call asks its client something. */
  #asked(running: Running, { key, method, params }: Question): void {
    const missing = missingFor(this.#options.client.capabilities, method, params);
    if (missing !== undefined) {
      running.lacks(missing);
      this.#reply(key, { error: NOT_ASKED });
      return;
    }
    running.questions.set(key, asInputRequest(method, params));
    if (running.attached === undefined) return; // it goes out when the client comes back
    running.gathering ??= this.#options.clock.after(GATHER_MS, () => {
      running.gathering = undefined;
      if (running.questions.size > 0) this.#askClient(running);
    });
  }

  /** Answers the waiting request with the open questions. */
  #askClient(running: Running): void {
    const attached = running.detach();
    if (attached === undefined) return;
    running.round += 1;
    const { audience, seal, callTimeout } = this.#options;
    const { request, sink, done } = attached;
    const inputRequests = Object.fromEntries([...running.questions].map(([key, asked]) => [nameOf(key), asked]));
    const requestState = seal.seal(audience, request, callTimeout, { call: running.id, round: running.round });
    const asked = { resultType: 'input_required', inputRequests, requestState };
    void hand(sink, success(request.id, completed(running.method, asked, this.#serverInfo)));
    done();
    this.#askers.park(running);
    this.#parked.add(running);
  }

  /** Answers the waiting request with what the child answered. */
  #answer(running: Running, finished: Finished): Promise<void> | undefined {
    const attached = running.detach();
    if (attached === undefined) return undefined;
    const { request, sink, done } = attached;
    const context = { client: this.#options.client, serverInfo: this.#serverInfo };
    const taken = hand(sink, translated(context, running, finished, request), finished.ours);
    this.#forget(running);
    done();
    return taken;
  }

  #withdrawn(key: string): void {
    if (this.#askers.withdraw(key)) return;
    for (const running of this.#running.values()) running.questions.delete(key);
  }

  /** The channel is done with a call: its answer was handed over, waits for its client, or will never come because the call was withdrawn. */
  #over(running: Running): void {
    if (running.finished === undefined) this.#departs();
    this.#askers.remove(running);
    this.#dropQuestions(running);
    if (running.finished !== undefined && this.#running.has(running.id)) {
      if (running.parked) this.#parked.keep(running);
      return; // its client will come back, or has and is on its way
    }
    running.detach()?.done();
    this.#forget(running);
  }

  #forget(running: Running): void {
    running.gathering?.cancel();
    this.#running.delete(running.id);
    this.#parked.delete(running);
    this.#askers.remove(running);
    this.#dropQuestions(running);
  }

  /** What a call that is over has asked needs no answer of its client any more, but one for the child, which may wait for it. */
  #dropQuestions(running: Running): void {
    for (const [key, { method }] of running.questions) this.#reply(key, unanswered(method));
    running.questions.clear();
  }

  /** A call was withdrawn, and the child may be at it still, until it answers what it was asked after that. */
  #departs(): void {
    this.#askers.depart(Promise.resolve().then(() => this.#link.ask('ping', {}, SEEN_MS)));
  }

  #discovered(): Readonly<Record<string, unknown>> {
    const { initialized, versions } = this.#options;
    const { capabilities, instructions } = initialized;
    return completed(
      'server/discover',
      {
        supportedVersions: versions,
        capabilities: isObject(capabilities) ? without(capabilities, 'tasks') : {},
        ...(typeof instructions === 'string' ? { instructions } : {}),
      },
      this.#serverInfo,
    );
  }

  /** Answers a question of the child. */
  #reply(id: JsonRpcId, answer: ReturnType<typeof unanswered>): void {
    this.#link.answer({ jsonrpc: '2.0', id, ...answer }).catch(() => undefined); // its end says more
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
