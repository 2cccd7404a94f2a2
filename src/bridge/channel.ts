/** One conversation: JSON-RPC between the streams of a session's client and its child's stdio. */
import type { BackendExit, BackendLink } from '../backends/contract';
import type { Clock, Timer } from '../clock';
import type { AppError } from '../errors';
import { Asks } from './asks';
import { Calls, type Call } from './calls';
import { Child } from './child';
import type {
  Answer,
  CallOptions,
  Channel,
  ChannelEnd,
  ChannelObserver,
  JsonRpcMessage,
  JsonRpcNotification,
  JsonRpcRequest,
  JsonRpcResponse,
  MessageSink,
  StatelessChild,
  ToolFacts,
} from './contract';
import { callDeadline, childBehind, childLost, failureOf, linkClosed, tooManyCalls } from './failures';
import { EarlyRequests } from './early';
import { Flow } from './flow';
import { fromLineStart, LineSplitter } from './framing';
import { decodeId, firstSequence } from './ids';
import { isObject } from './json';
import { Outbound } from './outbound';
import { Questions } from './questions';
import { Router } from './router';
import { StderrLines } from './stderr';
import { Strays } from './strays';
import { Tools } from './tools';

export interface ChannelOptions {
  readonly clock: Clock;
  readonly observer: ChannelObserver;
  /** Seconds for one call. */
  readonly callTimeout: number;
  /** Seconds for `initialize`, which a child that waits for its upstream may never answer. */
  readonly initializeTimeout: number;
  /** Bytes of the longest line that the child may write. */
  readonly maxLineBytes: number;
  readonly maxCallsInFlight: number;
  /** Which channel of its session this is, counted up from 1; at most 999,999. */
  readonly generation?: number;
  /** The revision that was negotiated, of a child that was taken over: it is not initialised again. */
  readonly negotiated?: string;
}

/** Requests of the child that may be open at once. */
const MAX_ASKS = 64;

/** Milliseconds between a write that failed and the news of the child's end, which says why. */
const END_GRACE_MS = 1_000;

/** The one revision that has batches. */
const BATCHES = '2025-03-26';

/** Starts the conversation over a child's link. Nothing else may read or write the link from then on. */
export function openChannel(link: BackendLink, options: ChannelOptions): Channel {
  return new StdioChannel(link, options);
}

class StdioChannel implements Channel {
  readonly ended: Promise<ChannelEnd>;
  readonly #link: BackendLink;
  readonly #options: ChannelOptions;
  readonly #observer: ChannelObserver;
  readonly #calls: Calls;
  readonly #asks: Asks;
  readonly #questions: Questions;
  readonly #tools: Tools;
  readonly #early: EarlyRequests;
  readonly #flow: Flow;
  readonly #strays: Strays | undefined;
  readonly #router: Router;
  readonly #out: Outbound;
  #state: 'open' | 'closing' | 'over' = 'open';
  #initializeFailed = false;
  #protocolVersion: string | undefined;
  #hasTools = false;
  /** `_meta` of our own questions to a child that wants it with every request. */
  #meta: Readonly<Record<string, unknown>> | undefined;
  #endGrace: Timer | undefined;

  constructor(link: BackendLink, options: ChannelOptions) {
    const { clock, observer } = options;
    this.#link = link;
    this.#options = options;
    this.#observer = observer;
    this.#flow = new Flow(link, clock);
    this.#out = new Outbound(link);
    const deadlines = { call: options.callTimeout * 1000, initialize: options.initializeTimeout * 1000 };
    const sequence = firstSequence(options.generation ?? 1);
    this.#calls = new Calls(clock, deadlines, (call) => this.#deadline(call), sequence);
    this.#router = new Router(this.#calls, this.#flow, observer);
    this.#strays =
      options.negotiated === undefined
        ? undefined
        : new Strays({
            ...{ clock, router: this.#router, dropped: (why) => observer.dropped(why) },
            ...{ before: sequence, timeout: deadlines.call, batches: options.negotiated === BATCHES },
          });
    this.#questions = new Questions({
      clock,
      send: (json) => this.#reply(json),
      expired: (key) => this.#reply(cancellationText(key, 'deadline')),
    });
    this.#early = new EarlyRequests(clock);
    this.#tools = new Tools((params, ms) => this.ask('tools/list', params, ms), clock);
    const child = new Child({
      calls: this.#calls,
      observer,
      router: this.#router,
      maxLineBytes: options.maxLineBytes,
      asks: () => this.#asks,
      questions: this.#questions,
      strays: () => this.#strays,
      early: this.#early,
      waste: (bytes) => this.#flow.waste(bytes),
      reply: (json) => this.#reply(json),
      finish: (call, message, json) => this.#finish(call, message, json),
      toolsChanged: () => this.#tools.forget(),
    });
    this.#asks = new Asks(clock, MAX_ASKS, deadlines.call, (ask) => child.askExpired(ask), sequence);
    const lines = new LineSplitter(options.maxLineBytes, child);
    const stderr = new StderrLines(clock, (line) => observer.stderr(line));
    this.#protocolVersion = options.negotiated;
    this.#hasTools = options.negotiated !== undefined; // one that has none says so when it is asked
    if (link.takeover?.stdinMidLine === true) this.#out.send('').catch(() => undefined); // what is half there is no message
    const whole = fromLineStart(link.takeover?.stdoutMidLine === true);
    link.onData((bytes) => lines.push(whole(bytes)));
    link.onStderr((bytes) => stderr.push(bytes));
    this.ended = link.exited.then((exit) => {
      lines.end();
      stderr.end();
      return this.#over(exit);
    });
  }

  get inFlight(): number {
    return this.#calls.size;
  }

  get asking(): number {
    return this.#asks.size;
  }

  get protocolVersion(): string | undefined {
    return this.#protocolVersion;
  }

  call(request: JsonRpcRequest, sink: MessageSink, options: CallOptions = {}): Promise<void> {
    const { signal, endless = false } = options;
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    if (this.#calls.size >= this.#options.maxCallsInFlight) {
      return Promise.reject(tooManyCalls(this.#options.maxCallsInFlight));
    }
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const call = this.#calls.add(request, sink, resolve, endless);
      this.#out.send(requestText(request, call)).catch(() => this.#writeFailed());
      this.#early.opened(); // the call's stream can carry what waits
      signal?.addEventListener('abort', () => this.#withdraw(call), { once: true }); // it lives as long as the request
    });
  }

  async notify(notification: JsonRpcNotification): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    if (notification.method === 'notifications/cancelled') await this.#cancel(notification);
    else await this.#out.send(JSON.stringify(notification));
  }

  async answer(response: JsonRpcResponse): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    const key = response.id;
    const ask = typeof key === 'string' ? this.#asks.take(key) : undefined;
    const childId = ask?.childId ?? (typeof key === 'string' ? this.#strays?.askOf(key) : undefined);
    if (childId === undefined) {
      this.#observer.dropped(decodeId(key)?.kind === 'r' ? 'late-answer' : 'unknown-id');
      return;
    }
    const [member, value] = 'error' in response ? ['error', response.error] : ['result', response.result];
    await this.#out.send(`{"jsonrpc":"2.0","id":${childId},"${member}":${JSON.stringify(value)}}`);
  }

  ask(method: string, params: Readonly<Record<string, unknown>>, ms: number): Promise<Answer | undefined> {
    if (this.#refusal() !== undefined) return Promise.resolve(undefined);
    return this.#questions.ask(method, this.#meta === undefined ? params : { ...params, _meta: this.#meta }, ms);
  }

  begin(child: StatelessChild): void {
    this.#protocolVersion = child.protocolVersion;
    this.#hasTools = child.hasTools;
    this.#meta = child.meta;
  }

  async tool(name: string): Promise<ToolFacts | undefined> {
    if (!this.#hasTools || this.#refusal() !== undefined) return undefined; // a call would say why
    return this.#tools.find(name);
  }

  listen(sink: MessageSink): () => void {
    const leave = this.#router.listen(sink);
    this.#early.opened();
    return leave;
  }

  reclaim(stream: string, sink: MessageSink): Promise<boolean> | undefined {
    return this.#refusal() === undefined ? this.#strays?.reclaim(stream, sink) : undefined;
  }

  async close(): Promise<void> {
    if (this.#state === 'open') {
      this.#state = 'closing';
      this.#flow.close();
    }
    await this.#link.close();
    await this.ended;
  }

  release(): boolean {
    if (this.#state !== 'open' || this.#link.release === undefined) return false;
    this.#state = 'closing';
    this.#link.release(); // while streams still hold what they have not taken: that is for whoever comes next
    return true;
  }

  /** Why nothing new is taken; undefined when it is. */
  #refusal(): AppError | undefined {
    if (this.#state !== 'open') return linkClosed();
    return this.#out.full ? childBehind() : undefined;
  }

  /** MCP 'Cancellation': `initialize` is never cancelled, and a cancelled call is not answered. */
  async #cancel(notification: JsonRpcNotification): Promise<void> {
    const [call, ...others] = this.#calls.byClientId(JSON.stringify(notification.params?.requestId));
    if (call === undefined || call.initialize || others.length > 0) {
      this.#observer.dropped(call === undefined ? 'late-answer' : call.initialize ? 'unknown-id' : 'ambiguous');
      return;
    }
    const written = this.#out.send(
      JSON.stringify({ ...notification, params: { ...notification.params, requestId: call.key } }),
    );
    this.#calls.delete(call);
    this.#observe(call, 'cancelled');
    call.settle();
    await written;
  }

  /** The client wants no answer any more. */
  #withdraw(call: Call): void {
    if (!this.#calls.delete(call)) return;
    this.#observe(call, 'cancelled');
    this.#reply(cancellationText(call.key, 'The client went away.'));
    call.settle();
  }

  /** The child answered. An `initialize` that failed ends the conversation: there is no session to speak of. */
  #finish(call: Call, message: JsonRpcMessage, json: string): void {
    if (!this.#calls.delete(call)) return;
    this.#router.toCall(call, message, json, call.settle);
    this.#observe(call, 'error' in message ? 'failed' : 'answered'); // after the client was served
    if (!call.initialize) return;
    const result = 'result' in message ? message.result : undefined;
    if (!isObject(result) || typeof result.protocolVersion !== 'string') {
      this.#failInitialize();
      return;
    }
    this.#protocolVersion = result.protocolVersion;
    this.#hasTools = isObject(result.capabilities) && isObject(result.capabilities.tools);
  }

  #deadline(call: Call): void {
    const { callTimeout, initializeTimeout } = this.#options;
    this.#fail(call, 'deadline', callDeadline(call.initialize ? initializeTimeout : callTimeout));
    if (call.initialize) this.#failInitialize();
    else this.#reply(cancellationText(call.key, 'deadline'));
  }

  /**
   * The link takes nothing any more. The news of the child's end, which says why, gets a moment to arrive; after that the conversation is
   * over all the same, because a session that cannot be spoken to must not look alive.
   */
  #writeFailed(): void {
    if (this.#state === 'over') return;
    this.#endGrace ??= this.#options.clock.after(END_GRACE_MS, () => {
      for (const call of this.#calls.drain()) this.#fail(call, 'lost', childLost(undefined), 'lost');
      void this.close();
    });
  }

  /** Answers a call that was taken out of the table with an error of ours. */
  #fail(call: Call, outcome: 'deadline' | 'lost', error: AppError, reason?: BackendExit['reason']): void {
    this.#observe(call, outcome);
    const failure = failureOf(call.id, error, reason);
    this.#router.toCall(call, failure, JSON.stringify(failure), call.settle);
  }

  #observe(call: Call, outcome: Parameters<ChannelObserver['call']>[1]): void {
    this.#observer.call(call.label, outcome, (this.#options.clock.now() - call.began) / 1000);
  }

  /** Our own word to the child. One that does not read what it asks for gets no more of it. */
  #reply(json: string): void {
    if (this.#state === 'over') return;
    if (this.#out.full) this.#observer.dropped('overflow');
    else this.#out.send(json).catch(() => undefined); // its end is on the way and says more
  }

  #failInitialize(): void {
    this.#initializeFailed = true;
    void this.close();
  }

  #over(exit: BackendExit): ChannelEnd {
    this.#state = 'over';
    this.#flow.close();
    for (const call of this.#calls.drain()) this.#fail(call, 'lost', childLost(exit), exit.reason);
    this.#calls.stop();
    this.#endGrace?.cancel();
    this.#asks.clear();
    this.#early.clear();
    this.#questions.close();
    this.#strays?.close();
    this.#router.clear();
    return this.#initializeFailed ? { reason: 'initialize-failed', exit } : { reason: exit.reason, exit };
  }
}

/** A call as the child sees it: our id, our progress token, everything else the client's. */
function requestText(request: JsonRpcRequest, call: Call): string {
  let { params } = request;
  if (call.tokenKey !== undefined) {
    params = { ...params, _meta: { ...(params?._meta as object), progressToken: call.tokenKey } };
  }
  return params === undefined
    ? JSON.stringify({ jsonrpc: '2.0', id: call.key, method: request.method })
    : JSON.stringify({ jsonrpc: '2.0', id: call.key, method: request.method, params });
}

/** `notifications/cancelled` from us. */
export function cancellationText(id: string, reason: string): string {
  return JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id, reason } });
}
