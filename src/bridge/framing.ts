/** Newline framing over bytes (MCP 'stdio': messages are delimited by newlines and hold none). */

export interface LineConsumer {
  /** A whole line, without its newline and a carriage return before it. The bytes are valid during the call only. */
  line(bytes: Buffer, start: number, end: number): void;
  /** A line longer than the limit has ended: its first and last bytes, and how long it was. */
  tooLong(head: Buffer, tail: Buffer, length: number): void;
}

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** What is kept of both ends of a line that is too long: enough to find the id in. */
export const ENDS_BYTES = 4096;

/** Capacity that is kept between lines; one that grew beyond it is given back. */
const KEPT_BYTES = 16_384;

/**
 * Cuts a stream of bytes into lines. Chunks may be cut anywhere, inside a UTF-8 sequence too, because nothing is decoded before a line is
 * whole. A line within one chunk is never copied. Memory is bounded by twice `maxLine`, however many chunks a line comes in; what is
 * beyond `maxLine` is thrown away up to the next newline.
 */
export class LineSplitter {
  readonly #maxLine: number;
  readonly #consumer: LineConsumer;
  #held = Buffer.alloc(0);
  #length = 0;
  /** Set while a line that is too long is skipped. */
  #skipped: { head: Buffer; tail: Buffer; length: number } | undefined;

  constructor(maxLine: number, consumer: LineConsumer) {
    this.#maxLine = maxLine;
    this.#consumer = consumer;
  }

  /** Bytes of memory held for an unfinished line. */
  get capacity(): number {
    return this.#held.length + (this.#skipped === undefined ? 0 : 2 * ENDS_BYTES);
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, start)) {
      if (this.#length === 0 && this.#skipped === undefined && at - start <= this.#maxLine)
        this.#emit(chunk, start, at);
      else this.#finish(chunk, start, at);
      start = at + 1;
    }
    if (start < chunk.length) this.#keep(chunk, start, chunk.length);
  }

  /** The stream is over: a last line without a newline is a line. */
  end(): void {
    if (this.#length > 0 || this.#skipped !== undefined) this.#finish(this.#held, 0, 0);
  }

  #emit(bytes: Buffer, start: number, end: number): void {
    const last = end > start && bytes[end - 1] === CARRIAGE_RETURN ? end - 1 : end;
    if (last > start) this.#consumer.line(bytes, start, last);
  }

  /** The newline of a line that began in an earlier chunk, or that is too long. */
  #finish(chunk: Buffer, start: number, end: number): void {
    this.#keep(chunk, start, end);
    const skipped = this.#skipped;
    if (skipped !== undefined) {
      this.#skipped = undefined;
      this.#consumer.tooLong(skipped.head, skipped.tail, skipped.length);
      return;
    }
    const line = this.#held;
    const length = this.#length;
    this.#length = 0;
    if (line.length > KEPT_BYTES) this.#held = Buffer.alloc(0);
    this.#emit(line, 0, length);
  }

  #keep(chunk: Buffer, start: number, end: number): void {
    const skipped = this.#skipped;
    if (skipped !== undefined) {
      skipped.length += end - start;
      skipped.tail = lastBytes(skipped.tail, chunk, start, end);
      return;
    }
    const length = this.#length + end - start;
    if (length > this.#maxLine) {
      const held = this.#held.subarray(0, this.#length);
      const rest = chunk.subarray(start, end);
      const head = Buffer.concat([held.subarray(0, ENDS_BYTES), rest.subarray(0, ENDS_BYTES)]).subarray(0, ENDS_BYTES);
      const tail = lastBytes(held.subarray(Math.max(0, held.length - ENDS_BYTES)), chunk, start, end);
      this.#skipped = { head, tail, length };
      this.#held = Buffer.alloc(0);
      this.#length = 0;
      return;
    }
    if (length > this.#held.length) {
      // Doubling keeps the copying linear; slow allocation, because a pooled slice would pin its whole pool.
      const grown = Buffer.allocUnsafeSlow(Math.min(Math.max(length, 2 * this.#held.length, 1024), this.#maxLine));
      this.#held.copy(grown, 0, 0, this.#length);
      this.#held = grown;
    }
    chunk.copy(this.#held, this.#length, start, end);
    this.#length = length;
  }
}

function lastBytes(before: Buffer, chunk: Buffer, start: number, end: number): Buffer {
  const part = chunk.subarray(Math.max(start, end - ENDS_BYTES), end);
  const kept = before.subarray(Math.max(0, before.length + part.length - ENDS_BYTES));
  return Buffer.concat([kept, part]);
}

/** Passes bytes on from the first line's start; where they do not begin with one (`midLine`), the rest of that line is left out. */
export function fromLineStart(midLine: boolean): (bytes: Buffer) => Buffer {
  let skips = midLine;
  return (bytes) => {
    if (!skips) return bytes;
    const end = bytes.indexOf(0x0a);
    skips = end === -1;
    return skips ? bytes.subarray(bytes.length) : bytes.subarray(end + 1);
  };
}
