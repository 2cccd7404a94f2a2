/** The way from the child: numbered frames in order, kept until their consumer has taken them. */
import { FRAME_OVERHEAD, FrameType, type Frame } from './frame';

type Consumer = (bytes: Buffer) => void;

interface Held {
  readonly seq: number;
  readonly body: Buffer;
}

const NEWLINE = 0x0a;

/** One of the child's two outputs. */
class Output {
  private consumer: Consumer | undefined;
  private held: Held[] = [];
  private at = 0;
  paused = false;

  consume(consumer: Consumer): void {
    this.consumer = consumer;
  }

  /** Says whether there is a consumer. */
  get consumed(): boolean {
    return this.consumer !== undefined;
  }

  push(frame: Held): void {
    this.held.push(frame);
  }

  /** Sequence number of the first frame that was not handed over, or undefined. */
  get waiting(): number | undefined {
    return this.held[this.at]?.seq;
  }

  /** Hands one frame over, if it can. */
  deliver(): Held | undefined {
    const frame = this.held[this.at];
    if (frame === undefined || this.paused || this.consumer === undefined) return undefined;
    this.at += 1;
    if (this.at === this.held.length || this.at >= 256) {
      this.held.splice(0, this.at);
      this.at = 0;
    }
    this.consumer(frame.body);
    return frame;
  }

  clear(): void {
    this.held = [];
    this.at = 0;
  }
}

export class Incoming {
  /** The newest frame that arrived in order. */
  got = 0;
  /** Frames up to here need not be kept by the launcher. */
  released = 0;
  /** Charge of frames that the launcher keeps at most. */
  window = 0;
  /** While it is set nothing more is released than the window needs: what was handed over is not safe yet. */
  retained = false;
  readonly stdout = new Output();
  readonly stderr = new Output();
  /** Charge of frames that arrived and are not released. */
  private charge = 0;
  private readonly charges: number[] = [];
  /** The newest frame up to which all was handed over and stdout stood at a line's end. */
  private lineEnd = 0;
  private midLine = false;
  private draining = false;

  /** Starts at frame `first`, with the launcher's window. */
  begin(first: number, midLine: boolean, window: number): void {
    this.window = window;
    this.got = first - 1;
    this.released = this.got;
    this.lineEnd = this.got;
    this.midLine = midLine;
  }

  /**
   * Takes a numbered frame's bytes. `next`: taken; `again`: was here before; `gap`: one before it is missing; `flood`: the launcher does
   * not keep to its window.
   */
  accept(frame: Frame): 'next' | 'again' | 'gap' | 'flood' {
    if (frame.seq <= this.got) return 'again';
    if (frame.seq > this.got + 1) return 'gap';
    const charge = frame.type === FrameType.Exit ? 0 : frame.body.length + FRAME_OVERHEAD;
    if (this.charge + charge > this.window) return 'flood';
    this.got = frame.seq;
    this.charge += charge;
    this.charges.push(charge);
    if (frame.type === FrameType.Stdout) this.stdout.push(frame);
    if (frame.type === FrameType.Stderr) this.stderr.push(frame);
    return 'next';
  }

  /** Hands over what can be handed over and returns the charge that this released. Calls from inside a consumer do nothing. */
  drain(): number {
    if (this.draining) return 0;
    this.draining = true;
    try {
      while (this.one()) this.mark();
    } finally {
      this.draining = false;
    }
    this.mark();
    return this.release();
  }

  /** Says whether bytes wait for their consumer; stderr that nobody ever asked for does not count. */
  get holding(): boolean {
    return this.stdout.waiting !== undefined || (this.stderr.consumed && this.stderr.waiting !== undefined);
  }

  clear(): void {
    this.stdout.clear();
    this.stderr.clear();
  }

  /** Hands over the oldest frame that can be; the two streams do not wait for one another. */
  private one(): boolean {
    const out = this.stdout.waiting ?? Infinity;
    const err = this.stderr.waiting ?? Infinity;
    if (err < out && this.stderr.deliver() !== undefined) return true;
    const frame = this.stdout.deliver();
    if (frame !== undefined) {
      this.midLine = frame.body[frame.body.length - 1] !== NEWLINE;
      return true;
    }
    return this.stderr.deliver() !== undefined;
  }

  private handedOver(): number {
    return Math.min(this.stdout.waiting ?? Infinity, this.stderr.waiting ?? Infinity, this.got + 1) - 1;
  }

  private mark(): void {
    if (!this.midLine && !this.retained) this.lineEnd = this.handedOver();
  }

  /**
   * Releases whole lines only, so that a holder that takes over gets a half-received message whole; but never keeps back more than a
   * quarter of the window, for a line may be longer than that.
   */
  private release(): number {
    let freed = 0;
    const upTo = this.handedOver();
    while (this.released < upTo && (this.released < this.lineEnd || this.charge > this.window / 4)) {
      const charge = this.charges.shift() as number;
      this.charge -= charge;
      freed += charge;
      this.released += 1;
    }
    return freed;
  }
}
