/** The answer to one POST that carries requests. */
import type { ServerResponse } from 'node:http';
import type { JsonRpcMessage, MessageSink } from '../../bridge/contract';
import type { ReplayStream } from './replay';
import type { SessionStreams } from './session-streams';
import { EventStream, gone, PlainStream, settled, type Streams } from './stream';

/** Above this an answer is awaited until the client has taken it; below, node's own buffer is bound enough. */
const SMALL_BYTES = 65_536;

/** Answers of a batch that are collected for one JSON array; with more the response becomes an event stream. */
const MAX_COLLECTED = 1_048_576;

export interface PostSinkOptions {
  readonly streams: Streams;
  /** Milliseconds until the response becomes an event stream at the latest. */
  readonly jsonMs: number;
  /** For the response, unless the answer is an error (an `initialize` that failed has no session). */
  readonly headers?: Readonly<Record<string, string>>;
  /** The session's streams, where this one may be resumed. */
  readonly replay?: SessionStreams;
  /** How many requests of a batch are to be answered, with an array where JSON will do; undefined for a single request. */
  readonly batch?: number;
  /** The status for an answer that is the whole response; 200 unless told otherwise. */
  readonly status?: (answer: JsonRpcMessage) => number;
}

/**
 * Plain JSON when the answer is the child's first word and comes soon, an event stream otherwise, because JSON cannot carry what the child
 * says in between, and a silent response is cut by proxies. An event stream outlives its connection where it may be resumed; see {@link ReplayStream}.
 */
export class PostSink implements MessageSink {
  readonly stream?: string;
  readonly #res: ServerResponse;
  readonly #options: PostSinkOptions;
  #out: PlainStream | ReplayStream | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Answers that are still to come. */
  #expected: number;
  #collected: { message: JsonRpcMessage; json: string }[] | undefined;
  #collectedBytes = 0;

  constructor(res: ServerResponse, options: PostSinkOptions) {
    this.#res = res;
    this.#options = options;
    this.#expected = options.batch ?? 1;
    if (options.replay !== undefined) this.stream = options.replay.name('p');
    this.#timer = setTimeout(() => this.#open(true), options.jsonMs).unref();
  }

  /** See {@link MessageSink.away}. */
  get away(): boolean {
    return this.#out === undefined || !('away' in this.#out) ? this.#res.destroyed : this.#out.away;
  }

  /** See {@link MessageSink.send}. The last answer ends the response. */
  send(message: JsonRpcMessage, json: string): Promise<void> | undefined {
    const answer = !('method' in message); // what else comes are requests and notifications
    if (answer) this.#expected -= 1;
    if (this.#out === undefined) {
      if (this.#res.destroyed || this.#res.writableEnded) return Promise.reject(gone()); // it can be found by nobody
      if (answer && this.#options.batch === undefined)
        return this.#json(json, 'error' in message, this.#options.status?.(message));
      if (answer && this.#collect(message, json)) return this.#expected > 0 ? undefined : this.#jsonArray();
    }
    const out = this.#open(false);
    const taken = out.send(message, json);
    if (this.#expected === 0) out.end();
    return taken;
  }

  /** Ends the response when answers are missing: their calls were cancelled, and a cancelled call has none (MCP 'Cancellation'). */
  finish(): void {
    clearTimeout(this.#timer);
    if (this.#out !== undefined) {
      this.#out.end();
    } else if (!this.#res.destroyed && !this.#res.writableEnded) {
      if ((this.#collected?.length ?? 0) > 0)
        void this.#jsonArray()?.catch(() => undefined); // then the client is gone
      else this.#plain(false).end();
    }
  }

  /** Stops the timer; for when the response is answered by somebody else. */
  abandon(): void {
    clearTimeout(this.#timer);
  }

  /** Whether headers went out, so that an error must go out as a message. */
  get begun(): boolean {
    return this.#out !== undefined || this.#res.headersSent;
  }

  #open(flush: boolean): PlainStream | ReplayStream {
    clearTimeout(this.#timer);
    if (this.#out !== undefined) return this.#out;
    const out = this.#begin(flush);
    this.#out = out;
    for (const { message, json } of this.#collected?.splice(0) ?? []) {
      void out.send(message, json)?.catch(() => undefined); // its own loss is told where it can be resumed
    }
    return out;
  }

  #begin(flush: boolean): PlainStream | ReplayStream {
    const { replay, streams } = this.#options;
    if (replay === undefined || this.stream === undefined || this.#res.destroyed) return this.#plain(flush);
    this.#setHeaders();
    const out = replay.open(this.stream, 'call');
    out.attach(new EventStream(this.#res, streams), undefined, flush);
    return out;
  }

  #plain(flush: boolean): PlainStream {
    const out = new EventStream(this.#res, this.#options.streams);
    this.#setHeaders();
    if (!this.#res.destroyed) out.begin(flush);
    return new PlainStream(out);
  }

  #setHeaders(): void {
    if (this.#res.headersSent) return;
    for (const [name, value] of Object.entries(this.#options.headers ?? {})) this.#res.setHeader(name, value);
  }

  /** Keeps an answer for the array; false where there is no room for it. */
  #collect(message: JsonRpcMessage, json: string): boolean {
    if (this.#collectedBytes + json.length > MAX_COLLECTED) return false;
    (this.#collected ??= []).push({ message, json });
    this.#collectedBytes += json.length;
    return true;
  }

  #jsonArray(): Promise<void> | undefined {
    return this.#json(`[${(this.#collected ?? []).map(({ json }) => json).join(',')}]`, false);
  }

  #json(json: string, failed: boolean, status = 200): Promise<void> | undefined {
    clearTimeout(this.#timer);
    const length = Buffer.byteLength(json);
    this.#res.writeHead(status, {
      ...(failed ? {} : this.#options.headers),
      'Content-Type': 'application/json',
      'Content-Length': length,
      'Cache-Control': 'no-store',
    });
    this.#res.end(json);
    return length > SMALL_BYTES ? settled(this.#res, 'finish', this.#options.streams.options.stallMs) : undefined;
  }
}
