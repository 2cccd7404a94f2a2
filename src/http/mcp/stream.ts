/** Streams towards clients: server-sent events with back-pressure, a stall deadline and keepalive comments. */
import type { ServerResponse } from 'node:http';
import type { JsonRpcMessage, MessageSink } from '../../bridge/contract';
import { AppError } from '../../errors';

export interface StreamOptions {
  /** Milliseconds of silence after which a comment is sent, so that no proxy or client takes a stream for dead. */
  readonly keepaliveMs: number;
  /** Milliseconds that a client may take nothing at all while something waits for it. */
  readonly stallMs: number;
}

/** SSE must reach the client at once and unchanged: no proxy buffers, compresses or stores it. */
const SSE_HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
} as const;

/** Above this an answer is awaited until the client has taken it; below, node's own buffer is bound enough. */
const SMALL_BYTES = 65_536;

/** All open event streams; one ticker serves their keepalives. */
export class Streams {
  readonly options: StreamOptions;
  readonly #open = new Set<EventStream>();
  #ticker: NodeJS.Timeout | undefined;

  constructor(options: StreamOptions) {
    this.options = options;
  }

  /** Streams that are open now. */
  get size(): number {
    return this.#open.size;
  }

  add(stream: EventStream): void {
    this.#open.add(stream);
    // A third of the interval: a stream is never silent for more than 4/3 of it.
    this.#ticker ??= setInterval(() => {
      const now = performance.now();
      for (const each of this.#open) each.tick(now, (this.options.keepaliveMs * 2) / 3);
    }, this.options.keepaliveMs / 3).unref();
  }

  delete(stream: EventStream): void {
    this.#open.delete(stream);
    if (this.#open.size === 0) {
      clearInterval(this.#ticker);
      this.#ticker = undefined;
    }
  }
}

/** One response as an event stream.  */
export class EventStream implements MessageSink {
  readonly #res: ServerResponse;
  readonly #streams: Streams;
  #lastWrite = 0;
  #begun = false;
  #drained: Promise<void> | undefined;

  constructor(res: ServerResponse, streams: Streams) {
    this.#res = res;
    this.#streams = streams;
  }

  /** Writes the headers; they go out with the first message, or at once where none is at hand (`flush`), so that the client knows it was heard. */
  begin(flush: boolean): void {
    if (this.#begun) return; // a message was quicker
    this.#begun = true;
    this.#res.writeHead(200, SSE_HEADERS);
    if (flush) this.#res.flushHeaders();
    this.#lastWrite = performance.now();
    this.#streams.add(this);
    this.#res.once('close', () => this.#streams.delete(this));
  }

  /** Writes one message as one event. See {@link MessageSink.send}: rejects with `STREAM_STALLED` when the client has gone or reads nothing for `stallMs`. */
  send(_message: JsonRpcMessage, json: string): Promise<void> | undefined {
    if (this.#res.destroyed || this.#res.writableEnded) return Promise.reject(gone());
    this.begin(false);
    this.#lastWrite = performance.now();
    if (this.#res.write(`event: message\ndata: ${json}\n\n`)) return undefined;
    this.#drained ??= settled(this.#res, 'drain', this.#streams.options.stallMs).finally(() => {
      this.#drained = undefined;
    });
    return this.#drained;
  }

  /** Sends a comment when nothing was sent for `silentMs`. A client that is behind has data to read and needs none. */
  tick(now: number, silentMs: number): void {
    if (now - this.#lastWrite < silentMs || this.#res.writableNeedDrain || this.#res.writableEnded) return;
    this.#lastWrite = now;
    this.#res.write(': keepalive\n\n');
  }

  /** Ends the response in an orderly way. */
  end(): void {
    this.#streams.delete(this);
    if (!this.#res.writableEnded) this.#res.end();
  }
}

/**
 * The answer to one POST that carries a request: plain JSON when the answer is the child's first word and comes soon, an event stream
 * otherwise, because JSON cannot carry what the child says in between, and a silent response is cut by proxies.
 */
export class PostSink implements MessageSink {
  readonly #res: ServerResponse;
  readonly #streams: Streams;
  readonly #headers: Readonly<Record<string, string>>;
  #stream: EventStream | undefined;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param jsonMs milliseconds until the response becomes an event stream at the latest.
   * @param headers for the response, unless the answer is an error (an `initialize` that failed has no session).
   */
  constructor(res: ServerResponse, streams: Streams, jsonMs: number, headers: Readonly<Record<string, string>> = {}) {
    this.#res = res;
    this.#streams = streams;
    this.#headers = headers;
    this.#timer = setTimeout(() => this.#open(true), jsonMs).unref();
  }

  /** See {@link MessageSink.send}. The answer ends the response. */
  send(message: JsonRpcMessage, json: string): Promise<void> | undefined {
    if (this.#res.destroyed || this.#res.writableEnded) return Promise.reject(gone());
    const last = !('method' in message); // the one response that belongs here; what else comes are requests and notifications
    if (this.#stream === undefined && last) return this.#answer(json, 'error' in message);
    const stream = this.#open(false);
    const taken = stream.send(message, json);
    if (last) stream.end();
    return taken;
  }

  /** Ends the response when no answer came: the call was cancelled, and a cancelled call has none (MCP 'Cancellation'). */
  finish(): void {
    clearTimeout(this.#timer);
    if (this.#res.destroyed || this.#res.writableEnded) return;
    this.#open(false).end();
  }

  /** Stops the timer; for when the response is answered by somebody else. */
  abandon(): void {
    clearTimeout(this.#timer);
  }

  /** Whether headers went out, so that an error must go out as a message. */
  get begun(): boolean {
    return this.#stream !== undefined || this.#res.headersSent;
  }

  #open(flush: boolean): EventStream {
    clearTimeout(this.#timer);
    if (this.#stream === undefined) {
      this.#stream = new EventStream(this.#res, this.#streams);
      for (const [name, value] of Object.entries(this.#headers)) this.#res.setHeader(name, value);
      if (!this.#res.destroyed) this.#stream.begin(flush);
    }
    return this.#stream;
  }

  #answer(json: string, failed: boolean): Promise<void> | undefined {
    clearTimeout(this.#timer);
    const length = Buffer.byteLength(json);
    this.#res.writeHead(200, {
      ...(failed ? {} : this.#headers),
      'Content-Type': 'application/json',
      'Content-Length': length,
      'Cache-Control': 'no-store',
    });
    this.#res.end(json);
    return length > SMALL_BYTES ? settled(this.#res, 'finish', this.#streams.options.stallMs) : undefined;
  }
}

/**
 * Resolves on `event`. Rejects when the response closes before it, and cuts it when the client has taken no byte for `stallMs` (node's
 * socket time-out looks at the kernel's queue, so a slow reader that does read is not cut).
 */
function settled(res: ServerResponse, event: 'drain' | 'finish', stallMs: number): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const { socket } = res;
    const done = (): void => {
      res.off(event, onEvent);
      res.off('close', onClose);
      res.off('timeout', onStall);
    };
    const onEvent = (): void => {
      done();
      if (event === 'drain') socket?.setTimeout(0); // on 'finish' node has set its keep-alive time-out already
      resolve();
    };
    const onClose = (): void => {
      done();
      reject(gone());
    };
    const onStall = (): void => {
      done();
      res.destroy();
      reject(new AppError('STREAM_STALLED', 'The client stopped reading its stream.'));
    };
    res.on(event, onEvent);
    res.on('close', onClose);
    res.on('timeout', onStall);
    socket?.setTimeout(stallMs);
  });
}

function gone(): AppError {
  return new AppError('STREAM_STALLED', 'The stream is gone.');
}
