/** Cuts a stream of bytes into lines of bounded length. */
const NEWLINE = 0x0a;

export class Lines {
  private parts: Buffer[] = [];
  private held = 0;
  private skipped = 0;

  /** `max`: bytes of a line at most, its newline included. `onLong` hears of each longer one, which is passed over, with its length. */
  constructor(
    private readonly max: number,
    private readonly onLine: (line: Buffer) => unknown,
    private readonly onLong: (bytes: number) => void,
  ) {}

  push(chunk: Buffer): void {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      this.finish(chunk.subarray(start, end));
      start = end + 1;
    }
    if (start < chunk.length) this.keep(chunk.subarray(start));
  }

  private keep(part: Buffer): void {
    if (this.skipped > 0 || this.held + part.length >= this.max) {
      this.skipped += this.held + part.length;
      this.parts = [];
      this.held = 0;
      return;
    }
    this.parts.push(part);
    this.held += part.length;
  }

  private finish(rest: Buffer): void {
    if (this.skipped > 0 || this.held + rest.length >= this.max) {
      const length = this.skipped + this.held + rest.length;
      this.reset();
      this.onLong(length);
      return;
    }
    const line = this.parts.length === 0 ? rest : Buffer.concat([...this.parts, rest]);
    this.reset();
    this.onLine(line);
  }

  private reset(): void {
    this.parts = [];
    this.held = 0;
    this.skipped = 0;
  }
}
