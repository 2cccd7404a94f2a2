/**
 * Back-pressure: while too much of what the child said waits for the client's streams, the child is not read; and a child that floods its
 * stdout with what nobody gets is read slowly, so that it costs the other sessions nothing.
 */
import type { Clock, Timer } from '../clock';
import type { MessageSink } from './contract';

/** The side of a link that flow control needs. */
export interface Pausable {
  pause(): void;
  resume(): void;
  retain?(held: boolean): void;
}

/** Bytes (of text, near enough) that may wait for streams before the child is paused, and below which it is read on. */
const HIGH = 65_536;
const LOW = 16_384;

/** Bytes that nobody gets after which the child is left alone for a moment: 4 MiB a second at most. */
const WASTE_BYTES = 1_048_576;
const WASTE_PAUSE_MS = 250;

/** Once the session closes nothing is paused any more; a stream that has this much waiting counts as gone. */
const CLOSING_LIMIT = 1_048_576;

export class Flow {
  readonly #link: Pausable;
  readonly #clock: Clock;
  readonly #held = new Map<MessageSink, number>();
  #waiting = 0;
  /** Messages that wait. While there are any, nothing that the child said counts as taken. */
  #pending = 0;
  #wasted = 0;
  #rest: Timer | undefined;
  #paused = false;
  #closing = false;

  constructor(link: Pausable, clock: Clock) {
    this.#link = link;
    this.#clock = clock;
  }

  /** Whether a stream takes another message: always, until the session closes. */
  takes(sink: MessageSink): boolean {
    return !this.#closing || (this.#held.get(sink) ?? 0) < CLOSING_LIMIT;
  }

  /** Counts `bytes` as waiting until `sent` settles; then exactly one of `done` and `failed` is called. */
  hold(sink: MessageSink, bytes: number, sent: Promise<void>, done: () => void, failed: () => void): void {
    this.#held.set(sink, (this.#held.get(sink) ?? 0) + bytes);
    if (this.#pending === 0) this.#link.retain?.(true);
    this.#pending += 1;
    this.#waiting += bytes;
    this.#update();
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

  /** Counts bytes of the child that nobody gets: noise, and messages that were dropped. */
  waste(bytes: number): void {
    this.#wasted += bytes;
    if (this.#wasted < WASTE_BYTES || this.#closing) return;
    this.#wasted = 0;
    this.#rest ??= this.#clock.after(WASTE_PAUSE_MS, () => {
      this.#rest = undefined;
      this.#update();
    });
    this.#update();
  }

  /** The session closes: what the child still says is read whether or not somebody takes it, so that its end is seen. */
  close(): void {
    this.#closing = true;
    this.#rest?.cancel();
    this.#rest = undefined;
    this.#update();
  }

  #release(sink: MessageSink, bytes: number): void {
    const left = (this.#held.get(sink) ?? bytes) - bytes;
    if (left > 0) this.#held.set(sink, left);
    else this.#held.delete(sink);
    this.#waiting -= bytes;
    this.#pending -= 1;
    if (this.#pending === 0) this.#link.retain?.(false);
    this.#update();
  }

  #update(): void {
    const full = this.#waiting > (this.#paused ? LOW : HIGH);
    const pause = !this.#closing && (full || this.#rest !== undefined);
    if (pause === this.#paused) return;
    this.#paused = pause;
    if (pause) this.#link.pause();
    else this.#link.resume();
  }
}
