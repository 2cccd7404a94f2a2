/**
 * What is said over a sealed link, whatever stream carries it: numbers, acknowledgements, repair, fencing (docs/launcher-protocol.md,
 * 'Conversation'). It makes lines and takes lines, and knows no stream.
 */
import type { Clock, Timer } from '../../../clock';
import { AppError } from '../../../errors';
import type { Codec } from './codec';
import type { SealedEvents, SealedExit, SealedLimits, Takeover } from './contract';
import { type Frame, FrameType, isNumbered, parseExit, parseWelcome, FRAME_OVERHEAD, MAX_LINE } from './frame';
import { refusalIn } from './claim';
import { Incoming } from './incoming';
import { Outgoing } from './outgoing';
import { signalName } from './signals';

/** How long an acknowledgement waits for a frame to ride on. */
const ACK_DELAY_MS = 50;
/** The least time between two requests for the same frame. */
const NAK_PAUSE_MS = 100;
/** The first wait until the oldest unconfirmed frame is sent again; doubled each time. */
const PROBE_FIRST_MS = 200;
/** How often a paused link that holds bytes tells the launcher that it is still there. */
const HOLDING_MS = 5_000;
/** Bytes of lines that go into one write: the attach stream's largest sensible message. */
const BATCH = 64 * 1024;
const OUTPUTS: ReadonlySet<number> = new Set([FrameType.Stdout, FrameType.Stderr, FrameType.Exit]);
const NOTHING = Buffer.alloc(0);
const NEWLINE = Buffer.from('\n');

export interface ConversationOptions {
  readonly codec: Codec;
  readonly epoch: number;
  readonly claim: Buffer | undefined;
  readonly clock: Clock;
  readonly limits: SealedLimits;
  readonly events: Required<SealedEvents>;
  /** Something is due: call {@link Conversation.take}. */
  readonly send: () => void;
  /** The launcher has answered. `started`: its child runs, or has run; otherwise its Exit, which says why not, is on the way. */
  readonly onWelcome: (started: boolean) => void;
  readonly onStalled: () => void;
  readonly onEnd: (exit: SealedExit) => void;
  /** All that arrived was handed over. */
  readonly onDrained: () => void;
  /** The launcher has received more of what was written. */
  readonly onReceived: () => void;
  /** The launcher will never start this child; called before any Welcome or right after it. */
  readonly onRefused: (error: AppError) => void;
}

export class Conversation {
  readonly incoming = new Incoming();
  /** Where the child's streams stood at the first Welcome. */
  found: Takeover | undefined;
  private readonly o: ConversationOptions;
  private readonly outgoing = new Outgoing();
  private claim: Buffer | undefined;
  private number = 0;
  private seen = 0;
  private owed = 0;
  private ackDue = false;
  private nakDue = false;
  private nakFor = 0;
  private nakAt = -Infinity;
  private ackTimer: Timer | undefined;
  private probeTimer: Timer | undefined;
  private probeWait = PROBE_FIRST_MS;
  private progressAt = 0;
  private holdTimer: Timer | undefined;
  private ended = false;

  constructor(options: ConversationOptions) {
    this.o = options;
    this.claim = options.claim;
  }

  /** The first bytes on a stream, also when it is asked again: an end to what the last one left half-written, the claim while it may be needed, Hello. */
  greeting(): Buffer {
    const hello = this.line(FrameType.Hello, 0, NOTHING);
    return this.claim === undefined ? Buffer.concat([NEWLINE, hello]) : Buffer.concat([NEWLINE, this.claim, hello]);
  }

  /** The next bytes to send, or undefined. */
  take(): Buffer | undefined {
    const lines: Buffer[] = [];
    let size = 0;
    if (this.nakDue) {
      this.nakDue = false;
      lines.push(this.line(FrameType.Nak, 0, NOTHING));
    }
    while (size <= BATCH - MAX_LINE) {
      const frame = this.outgoing.take();
      if (frame === undefined) break;
      const line = this.line(frame.type, frame.seq, frame.body);
      lines.push(line);
      size += line.length;
    }
    if (this.ackDue) lines.push(this.line(FrameType.Ack, 0, NOTHING));
    if (lines.length === 0) return undefined;
    return lines.length === 1 ? lines[0] : Buffer.concat(lines);
  }

  /** What {@link take} gave is on its way: from now on an answer is due. */
  sent(): void {
    if (this.ended || this.probeTimer !== undefined || !this.outgoing.outstanding) return;
    this.progressAt = this.o.clock.now();
    this.armProbe();
  }

  /** No stream carries the link: nothing can be waited for. */
  interrupted(): void {
    this.probeTimer?.cancel();
    this.probeTimer = undefined;
    this.probeWait = PROBE_FIRST_MS;
  }

  write(bytes: Buffer): Promise<void> {
    const entered = this.outgoing.write(bytes);
    this.o.send();
    return entered;
  }

  /** Whether the launcher has all that was written. */
  get delivered(): boolean {
    return this.outgoing.delivered;
  }

  endInput(): void {
    this.outgoing.end();
    this.o.send();
  }

  signal(number: number): void {
    if (this.ended || this.found === undefined) return;
    this.outgoing.signal(number);
    this.o.send();
  }

  pause(): void {
    if (this.ended) return;
    this.incoming.stdout.paused = true;
    this.holdTimer ??= this.o.clock.every(HOLDING_MS, () => {
      if (!this.incoming.holding) return;
      this.ackDue = true;
      this.o.send();
    });
  }

  resume(): void {
    this.incoming.stdout.paused = false;
    this.holdTimer?.cancel();
    this.holdTimer = undefined;
    this.deliver();
  }

  retain(held: boolean): void {
    this.incoming.retained = held;
    if (!held) this.deliver();
  }

  /** Hands over what can be handed over. */
  deliver(): void {
    this.owe(this.incoming.drain());
    this.o.onDrained();
    this.o.send();
  }

  /** Says and expects nothing more; bytes that arrived stay. */
  end(error: AppError): void {
    this.ended = true;
    this.ackTimer?.cancel();
    this.holdTimer?.cancel();
    this.interrupted();
    this.outgoing.abandon(error);
  }

  discard(): void {
    this.incoming.clear();
  }

  /** Takes one line from the launcher. */
  handle(line: Buffer): void {
    if (this.ended && this.found === undefined) return;
    const frame = this.o.codec.open(line);
    if (frame === 'bad') return this.badLine(line);
    if (frame === 'malformed') return this.breach('a malformed frame');
    if (frame.epoch > this.o.epoch) return this.o.onEnd({ kind: 'fenced', epoch: frame.epoch });
    // A lower epoch's frame was for the holder before us; ours begin with Welcome. An old number is a line played again.
    if (frame.epoch < this.o.epoch || frame.number <= this.seen) return;
    this.seen = frame.number;
    if (frame.type === FrameType.Welcome) return this.welcome(frame);
    if (this.found === undefined) return;
    if (!this.acknowledge(frame)) return;
    if (isNumbered(frame.type)) this.numbered(frame);
    else if (frame.type === FrameType.Nak) this.sendAgain();
    else if (frame.type === FrameType.Error) this.breach(`told by the launcher: ${frame.body.toString('latin1')}`);
  }

  /** Takes a line that is no frame of this link; of one over the bound only its length is known. */
  badLine(line: Buffer | number): void {
    if (typeof line !== 'number') {
      if (line.length === 0) return;
      const reason = this.found === undefined ? refusalIn(line) : undefined;
      if (reason !== undefined) {
        return this.o.onRefused(
          new AppError(
            'BACKEND_REFUSED',
            "The session's launcher refused to start the server. Tell your administrator.",
            {
              detail: reason,
            },
          ),
        );
      }
    }
    this.o.events.onBadLine(typeof line === 'number' ? line : line.length);
    this.askAgain();
  }

  private welcome(frame: Frame): void {
    const welcome = parseWelcome(frame.body);
    if (welcome === undefined) return this.breach('a malformed welcome');
    this.claim = undefined;
    if (this.found === undefined) {
      this.found = { stdinMidLine: welcome.stdinMidLine, stdoutMidLine: welcome.stdoutMidLine };
      this.outgoing.begin(frame.received, welcome.queued, welcome.stdinWindow);
      this.incoming.begin(welcome.first, welcome.stdoutMidLine, welcome.outputWindow);
    } else if (welcome.first > this.incoming.got + 1) {
      return this.breach('frames that were never received are gone');
    }
    if (!this.acknowledge(frame)) return;
    this.outgoing.rewind();
    this.o.onWelcome(!welcome.neverStarted);
  }

  private acknowledge(frame: Frame): boolean {
    const before = this.outgoing.received;
    if (!this.outgoing.acknowledge(frame.received, frame.released)) {
      this.breach('an acknowledgement of what was never sent');
      return false;
    }
    if (this.outgoing.received > before) {
      this.progressAt = this.o.clock.now();
      this.probeWait = PROBE_FIRST_MS;
      this.o.onReceived();
    }
    return true;
  }

  private numbered(frame: Frame): void {
    if (!OUTPUTS.has(frame.type)) return this.breach('a numbered frame of a type that is not the launcher’s');
    switch (this.incoming.accept(frame)) {
      case 'again':
        this.ackDue = true; // its acknowledgement was lost
        return;
      case 'gap':
        return this.askAgain();
      case 'flood':
        return this.breach('more output than its window');
      case 'next':
        this.owe(frame.body.length + FRAME_OVERHEAD);
    }
    if (frame.type === FrameType.Exit) return this.exit(frame);
    this.owe(this.incoming.drain());
  }

  private exit(frame: Frame): void {
    const exit = parseExit(frame.body);
    if (exit === undefined) return this.breach('a malformed exit');
    this.ackDue = true;
    this.incoming.drain();
    if (exit.kind === 'start-failed') {
      return this.o.onRefused(
        new AppError('BACKEND_CRASHED', "The server's program cannot be started. Tell your administrator.", {
          detail: exit.text,
        }),
      );
    }
    this.o.onEnd(
      exit.kind === 'exited'
        ? { kind: 'exited', code: exit.value }
        : { kind: 'signaled', signal: signalName(exit.value) },
    );
  }

  private sendAgain(): void {
    if (this.outgoing.rewind()) this.o.events.onResent();
  }

  private breach(what: string): void {
    this.o.onEnd({ kind: 'lost', detail: `the launcher broke the protocol: ${what}` });
  }

  /** Counts towards the next acknowledgement: at once for a quarter of the window, else after a delay, unless a frame carries it before. */
  private owe(charge: number): void {
    if (charge === 0 || this.ended) return;
    this.owed += charge;
    if (this.owed >= this.incoming.window / 4) {
      this.ackDue = true;
      return;
    }
    this.ackTimer ??= this.o.clock.after(ACK_DELAY_MS, () => {
      this.ackTimer = undefined;
      if (this.owed === 0) return;
      this.ackDue = true;
      this.o.send();
    });
  }

  private askAgain(): void {
    if (this.found === undefined) return;
    const now = this.o.clock.now();
    const missing = this.incoming.got + 1;
    if (this.nakFor === missing && now - this.nakAt < NAK_PAUSE_MS) return;
    this.nakFor = missing;
    this.nakAt = now;
    this.nakDue = true;
  }

  /** Waits for an answer: sends the oldest frame again ever more rarely, and gives the stream up at the stall deadline. */
  private armProbe(): void {
    const before = this.outgoing.received;
    const left = this.progressAt + this.o.limits.stallDeadlineMs - this.o.clock.now();
    this.probeTimer = this.o.clock.after(Math.min(this.probeWait, left), () => {
      this.probeTimer = undefined;
      if (!this.outgoing.outstanding) return;
      if (this.o.clock.now() - this.progressAt >= this.o.limits.stallDeadlineMs) return this.o.onStalled();
      const silent = this.outgoing.received === before;
      if (silent) {
        this.probeWait *= 2;
        this.outgoing.probe();
        this.o.events.onResent();
      }
      this.armProbe();
      if (silent) this.o.send();
    });
  }

  /** Seals one frame. Every line carries what an acknowledgement would, so none is owed any more. */
  private line(type: number, seq: number, body: Buffer): Buffer {
    this.number += 1;
    this.owed = 0;
    this.ackDue = false;
    const { got: received, released } = this.incoming;
    return this.o.codec.seal({ epoch: this.o.epoch, number: this.number, type, received, released, seq, body });
  }
}
