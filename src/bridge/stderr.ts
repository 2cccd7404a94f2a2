/** The child's stderr as lines for the log: free text that nobody vouches for. */
import type { Clock } from '../clock';
import { redact, stripTerminal } from '../telemetry/redact';
import { LineSplitter } from './framing';

/** Bytes of one line; more is cut. */
const MAX_LINE = 8_192;

/** Lines in one window; a child in a loop must not fill the log. */
const WINDOW_MS = 10_000;
const LINES_PER_WINDOW = 200;

/** A secret that is cut in two no longer looks like one, so a cut line loses the word it was cut in. */
const LAST_WORD = /[^\s"'=:,;]*$/;

export class StderrLines {
  readonly #clock: Clock;
  readonly #emit: (line: string) => void;
  readonly #lines: LineSplitter;
  #windowEnds = -Infinity;
  #inWindow = 0;
  #suppressed = 0;

  constructor(clock: Clock, emit: (line: string) => void) {
    this.#clock = clock;
    this.#emit = emit;
    this.#lines = new LineSplitter(MAX_LINE, {
      line: (bytes, start, end) => this.#line(bytes.toString('utf8', start, end)),
      tooLong: (head, _tail, length) =>
        this.#line(`${head.toString('utf8').replace(LAST_WORD, '')}… (${String(length)} bytes)`),
    });
  }

  push(chunk: Buffer): void {
    this.#lines.push(chunk);
  }

  /** The child is gone: what it did not finish is a line as well. */
  end(): void {
    this.#lines.end();
    this.#tellSuppressed();
  }

  #line(raw: string): void {
    const now = this.#clock.now();
    if (now >= this.#windowEnds) {
      this.#tellSuppressed();
      this.#windowEnds = now + WINDOW_MS;
      this.#inWindow = 0;
    }
    this.#inWindow += 1;
    if (this.#inWindow > LINES_PER_WINDOW) {
      this.#suppressed += 1;
      return;
    }
    const line = redact(stripTerminal(raw)).trimEnd();
    if (line !== '') this.#emit(line);
  }

  #tellSuppressed(): void {
    if (this.#suppressed === 0) return;
    this.#emit(`(${String(this.#suppressed)} more lines within ${String(WINDOW_MS / 1000)} seconds were dropped)`);
    this.#suppressed = 0;
  }
}
