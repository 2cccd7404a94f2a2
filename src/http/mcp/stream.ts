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

/** One response as an event stream. What it carries is the caller's business: {@link PlainStream}, `ReplayStream`, the transport of 2024-11-05. */
export class EventStream {
  readonly #res: ServerResponse;
  readonly #streams: Streams;
  #lastWrite = 0;
  #begun = false;
  #drained: Promise<void> | undefined;

  constructor(res: ServerResponse, streams: Streams) {
    this.#res = res;
    this.#streams = streams;
  }

  /** Whether nothing can be written any more. */
  get closed(): boolean {
    return this.#res.destroyed || this.#res.writableEnded;
  }

  /** Tells once that the response is over, whoever ended it. At once where it is over already. */
  onClose(told: () => void): void {
    if (this.#res.closed || this.#res.destroyed) told();
    else this.#res.once('close', told);
  }

  /** Writes the headers; they go out with the first event, or at once where none is at hand (`flush`), so that the client knows it was heard. */
  begin(flush: boolean): void {
    if (this.#begun || this.closed) return; // a message was quicker, or the client went away
    this.#begun = true;
    this.#res.writeHead(200, SSE_HEADERS);
    if (flush) this.#res.flushHeaders();
    this.#lastWrite = performance.now();
    this.#streams.add(this);
    this.#res.once('close', () => this.#streams.delete(this));
  }

  /**
   * Writes whole events. Returns undefined, or a promise that resolves when the client has taken enough; it rejects with `STREAM_STALLED` when the
   * client has gone or reads nothing for `stallMs`.
   */
  write(events: string): Promise<void> | undefined {
    if (this.closed) return Promise.reject(gone());
    this.begin(false);
    this.#lastWrite = performance.now();
    if (this.#res.write(events)) return undefined;
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

/** A stream that cannot be resumed: its events have no ids, and what its client does not get is lost. */
export class PlainStream implements MessageSink {
  readonly #out: EventStream;

  constructor(out: EventStream) {
    this.#out = out;
  }

  /** See {@link MessageSink.send}. */
  send(_message: JsonRpcMessage, json: string): Promise<void> | undefined {
    return this.#out.write(event(json));
  }

  /** Ends the response. */
  end(): void {
    this.#out.end();
  }
}

/** One message as one event (WHATWG HTML, 9.2.6). `json` has no line end in it; see {@link MessageSink.send}. */
export function event(json: string, id?: string): string {
  return id === undefined ? `event: message\ndata: ${json}\n\n` : `event: message\nid: ${id}\ndata: ${json}\n\n`;
}

/**
 * Resolves on `event`. Rejects when the response closes before it, and cuts it when the client has taken no byte for `stallMs` (node's
 * socket time-out looks at the kernel's queue, so a slow reader that does read is not cut).
 */
export function settled(res: ServerResponse, event: 'drain' | 'finish', stallMs: number): Promise<void> {
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

/** The client of a stream is not there any more. */
export function gone(): AppError {
  return new AppError('STREAM_STALLED', 'The stream is gone.');
}
