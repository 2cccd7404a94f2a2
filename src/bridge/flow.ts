/** Back-pressure from the client's streams to the child: while too much waits for a stream, the child is not read. */
import type { MessageSink } from './contract';

/** The side of a link that flow control needs. */
export interface Pausable {
  pause(): void;
  resume(): void;
}

/** Bytes (of text, near enough) that may wait for streams before the child is paused, and below which it is read on. */
const HIGH = 65_536;
const LOW = 16_384;

/** Once the session closes nothing is paused any more; a stream that has this much waiting counts as gone. */
const CLOSING_LIMIT = 1_048_576;

export class Flow {
  readonly #link: Pausable;
  readonly #held = new Map<MessageSink, number>();
  #waiting = 0;
  #paused = false;
  #closing = false;

  constructor(link: Pausable) {
    this.#link = link;
  }

  /** Whether a stream takes another message: always, until the session closes. */
  takes(sink: MessageSink): boolean {
    return !this.#closing || (this.#held.get(sink) ?? 0) < CLOSING_LIMIT;
  }

  /** Counts `bytes` as waiting until `sent` settles. */
  hold(sink: MessageSink, bytes: number, sent: Promise<void>, done: () => void, failed: () => void): void {
    this.#held.set(sink, (this.#held.get(sink) ?? 0) + bytes);
    this.#waiting += bytes;
    if (this.#waiting > HIGH && !this.#paused && !this.#closing) {
      this.#paused = true;
      this.#link.pause();
    }
    sent.then(
      () => {
        this.#release(sink, bytes);
        done();
      },
      () => {
        this.#release(sink, bytes);
        failed();
      },
    );
  }

  /** The session closes: what the child still says is read whether or not somebody takes it, so that its end is seen. */
  close(): void {
    this.#closing = true;
    this.#resume();
  }

  #release(sink: MessageSink, bytes: number): void {
    const left = (this.#held.get(sink) ?? 0) - bytes;
    if (left > 0) this.#held.set(sink, left);
    else this.#held.delete(sink);
    this.#waiting -= bytes;
    if (this.#waiting <= LOW) this.#resume();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#link.resume();
  }
}
