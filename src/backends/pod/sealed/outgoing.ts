/** The way to the child: what was written, cut into numbered frames, kept until the launcher releases it. */
import { FRAME_OVERHEAD, FrameType, MAX_BODY } from './frame';

/** A numbered frame without its envelope. */
export interface Numbered {
  readonly seq: number;
  readonly type: number;
  readonly body: Buffer;
}

interface Kept extends Numbered {
  readonly charge: number;
}

interface Waiting {
  readonly type: number;
  bytes: Buffer;
  readonly settle: { resolve(): void; reject(error: Error): void } | undefined;
}

const NOTHING = Buffer.alloc(0);

export class Outgoing {
  /** The newest frame that the launcher has. */
  received = 0;
  private window = 0;
  private kept: Kept[] = [];
  /** Sequence number of the first frame in `kept`. */
  private first = 1;
  private cursor = 1;
  private sent = 0;
  private charge = 0;
  private waiting: Waiting[] = [];
  private oldest: Numbered | undefined;
  private probed = false;

  /** Starts with the launcher's window, after frame `received` of another holder, whose frames still fill `queued` of it. */
  begin(received: number, queued: number, window: number): void {
    this.window = window;
    this.received = received;
    this.sent = received;
    this.cursor = received + 1;
    this.first = this.cursor;
    if (queued > 0) {
      this.first = received;
      this.keep({ seq: received, type: FrameType.Data, body: NOTHING, charge: queued });
    }
  }

  /** Adds bytes for stdin; resolves once all of them have entered the window. */
  write(bytes: Buffer): Promise<void> {
    if (bytes.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.waiting.push({ type: FrameType.Data, bytes, settle: { resolve, reject } });
      this.fill();
    });
  }

  /** Ends stdin after what was written. */
  end(): void {
    this.waiting.push({ type: FrameType.Eof, bytes: NOTHING, settle: undefined });
    this.fill();
  }

  /** Signals the child, ahead of bytes that found no room yet. */
  signal(number: number): void {
    this.keep({ seq: this.next(), type: FrameType.Signal, body: Buffer.of(number), charge: 0 });
  }

  /** Rejects what has not entered the window. */
  abandon(error: Error): void {
    const dropped = this.waiting;
    this.waiting = [];
    for (const one of dropped) one.settle?.reject(error);
  }

  /** The next frame to send, or undefined. Each call moves on. */
  take(): Numbered | undefined {
    if (this.oldest !== undefined) {
      const again = this.oldest;
      this.oldest = undefined;
      if (again.seq > this.received) {
        this.probed = true;
        return again;
      }
    }
    if (this.cursor >= this.next()) return undefined;
    const frame = this.kept[this.cursor - this.first];
    this.sent = Math.max(this.sent, this.cursor);
    this.cursor += 1;
    return frame;
  }

  /** Says whether frames are under way that the launcher has not confirmed. */
  get outstanding(): boolean {
    return this.received + 1 < this.cursor;
  }

  /** Says whether the launcher has all that was written. */
  get delivered(): boolean {
    return this.waiting.length === 0 && this.received + 1 >= this.next();
  }

  /** Takes the launcher's view. False: it claims what was never sent. */
  acknowledge(received: number, released: number): boolean {
    if (received > this.sent) return false;
    if (received > this.received) {
      this.received = received;
      if (this.probed) {
        // Streams keep their order: what was sent before the probe and is not there by now was lost.
        this.probed = false;
        this.cursor = received + 1;
      }
      this.cursor = Math.max(this.cursor, received + 1);
    }
    while (this.first <= released) {
      this.charge -= (this.kept.shift() as Kept).charge;
      this.first += 1;
    }
    this.fill();
    return true;
  }

  /** Sends everything again that the launcher does not have. True: there is something. */
  rewind(): boolean {
    this.probed = false;
    this.oldest = undefined;
    const again = this.outstanding;
    this.cursor = this.received + 1;
    return again;
  }

  /** Sends the oldest frame again that the launcher has not confirmed. */
  probe(): void {
    if (this.outstanding) this.oldest = this.kept[this.received + 1 - this.first];
  }

  private next(): number {
    return this.first + this.kept.length;
  }

  private keep(frame: Kept): void {
    this.kept.push(frame);
    this.charge += frame.charge;
  }

  /** Cuts what waits into frames, as far as the window has room, whether a stream is there to send them or not. */
  private fill(): void {
    for (let head = this.waiting[0]; head !== undefined; head = this.waiting[0]) {
      if (head.type === FrameType.Data) {
        const length = Math.min(head.bytes.length, MAX_BODY);
        const charge = length + FRAME_OVERHEAD;
        if (this.charge + charge > this.window) return;
        this.keep({ seq: this.next(), type: head.type, body: head.bytes.subarray(0, length), charge });
        head.bytes = head.bytes.subarray(length);
        if (head.bytes.length > 0) continue;
      } else {
        this.keep({ seq: this.next(), type: head.type, body: NOTHING, charge: 0 });
      }
      this.waiting.shift();
      head.settle?.resolve();
    }
  }
}
