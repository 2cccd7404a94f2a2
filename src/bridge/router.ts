/**
 * Which of the client's streams carries what the child says (MCP 'Streamable HTTP': every message goes on exactly one stream).
 *
 * stdio does not correlate what the child says with calls, so: a progress token names its call; with exactly one call in flight it is
 * that call's; otherwise it goes to the newest live GET stream, else to the newest call in flight, else to a GET stream whose client may return.
 */
import type { Call, Calls } from './calls';
import type { ChannelObserver, DropReason, JsonRpcMessage, MessageSink } from './contract';
import { ourCode } from './failures';
import type { Flow } from './flow';

export class Router {
  readonly #calls: Calls;
  readonly #flow: Flow;
  readonly #observer: ChannelObserver;
  /** GET streams, the newest last. */
  readonly #listening = new Set<MessageSink>();

  constructor(calls: Calls, flow: Flow, observer: ChannelObserver) {
    this.#calls = calls;
    this.#flow = flow;
    this.#observer = observer;
  }

  /** Adds a GET stream; the returned function takes it away. */
  listen(sink: MessageSink): () => void {
    this.#listening.add(sink);
    return () => this.#listening.delete(sink);
  }

  /** Forgets the GET streams. */
  clear(): void {
    this.#listening.clear();
  }

  /** Hands a call what belongs to it; `done` is called once, whether or not it could be handed over. */
  toCall(call: Call, message: JsonRpcMessage, json: string, done?: () => void): void {
    const failed = (): void => {
      call.gone = true;
      this.#observer.dropped('stream-gone');
      done?.();
    };
    // The answer is offered to a stream that took no more as well: one that can be resumed may keep it.
    if (call.gone && 'method' in message) failed();
    else this.hand(call.sink, message, json, done, failed);
  }

  /**
   * Hands a message that names no call to the stream that fits best, and to the next one when that stream turns out to be gone.
   * @param concernsServer true for what tells of the server as a whole: no call's stream is preferred for it.
   * @param handed told of every stream that was tried.
   * @param lost told once, when no stream is left.
   */
  toAny(
    message: JsonRpcMessage,
    json: string,
    concernsServer: boolean,
    handed: (sink: MessageSink) => void,
    lost: (why: DropReason) => void,
  ): void {
    const tried = new Set<MessageSink>();
    const next = (): void => {
      const sink = this.#pick(concernsServer, tried);
      if (sink === undefined) {
        lost(tried.size === 0 ? 'no-stream' : 'stream-gone');
        return;
      }
      tried.add(sink);
      handed(sink);
      this.hand(sink, message, json, undefined, () => {
        this.#listening.delete(sink);
        next();
      });
    };
    next();
  }

  /** Hands a message to one stream. Exactly one of `done` and `failed` is called. */
  hand(sink: MessageSink, message: JsonRpcMessage, json: string, done = nothing, failed = nothing): void {
    if (!this.#flow.takes(sink)) {
      failed();
      return;
    }
    let sent: Promise<void> | undefined;
    try {
      sent = sink.send(message, json, ourCode(message));
    } catch {
      failed();
      return;
    }
    if (sent === undefined) done();
    else this.#flow.hold(sink, json.length, sent, done, failed);
  }

  #pick(concernsServer: boolean, tried: ReadonlySet<MessageSink>): MessageSink | undefined {
    const only = concernsServer ? undefined : this.#calls.only();
    if (only !== undefined && !only.gone && !tried.has(only.sink)) return only.sink;
    let newest: MessageSink | undefined;
    let away: MessageSink | undefined;
    for (const sink of this.#listening) {
      if (tried.has(sink)) continue;
      if (sink.away === true) away = sink;
      else newest = sink;
    }
    if (newest !== undefined) return newest;
    const call = this.#calls.newest(tried)?.sink;
    return call === undefined || (call.away === true && away !== undefined) ? away : call;
  }
}

function nothing(): void {
  // The default for a caller that need not know.
}
