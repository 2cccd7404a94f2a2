/** Keeps one attach stream under a conversation: opens it, greets, carries lines both ways, and opens another one when it breaks. */
import type { Clock, Timer } from '../../../clock';
import { AppError, toAppError } from '../../../errors';
import { type AttachTransport, type Connect, OutageError, type TransportClosed } from '../transport';
import type { SealedEvents, SealedExit, SealedLimits } from './contract';
import type { Conversation } from './conversation';
import { MAX_LINE } from './frame';
import { Lines } from './lines';

/** Milliseconds until an unanswered greeting is sent again: the rest of an older stream may have torn it. */
const GREET_AGAIN_MS = 250;
/** Milliseconds between attempts, doubled each time; each is shortened by a random part, so that many links do not come back at once. */
const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 2_000;
/** Milliseconds that the last acknowledgement has to leave before the stream is cut. */
const FAREWELL_MS = 1_000;

export interface ReattacherOptions {
  readonly connect: Connect;
  readonly clock: Clock;
  readonly limits: SealedLimits;
  readonly events: Required<SealedEvents>;
  readonly talk: Conversation;
  /** Whether a child is being started, and not taken over. */
  readonly starting: boolean;
  readonly onEnd: (exit: SealedExit) => void;
  /** The stream that carried the conversation is over, and no other one is up yet. */
  readonly onDown: () => void;
}

interface Stream {
  readonly transport: AttachTransport;
  welcomed: boolean;
  sending: boolean;
  greet: Timer | undefined;
  patience: Timer | undefined;
}

/** Errors of `connect` after which another attempt can succeed. */
const TRANSIENT: ReadonlySet<string> = new Set(['BACKEND_UNAVAILABLE', 'LINK_CLOSED', 'INTERNAL']);

export class Reattacher {
  private readonly o: ReattacherOptions;
  private readonly aborter = new AbortController();
  private stream: Stream | undefined;
  private deadline: Timer | undefined;
  private brokenAt: number | undefined;
  private waitingSince: number | undefined;
  private lastDetail = 'the launcher did not answer';
  private ended = false;
  private opened: { resolve(): void; reject(error: unknown): void } | undefined;

  constructor(options: ReattacherOptions) {
    this.o = options;
  }

  /** Resolves at the first Welcome. */
  start(): Promise<void> {
    this.startDeadline();
    return new Promise((resolve, reject) => {
      this.opened = { resolve, reject };
      void this.keepAttached();
    });
  }

  /** Whether a stream carries the conversation. */
  get isUp(): boolean {
    return this.stream?.welcomed === true;
  }

  /** Sends what the conversation has to say, if a stream can take it. */
  flush(): void {
    const stream = this.stream;
    if (stream === undefined || !stream.welcomed || stream.sending) return;
    void this.send(stream);
  }

  /** The stream that is up has its answer; `started` completes {@link start}. */
  welcomed(started: boolean): void {
    const stream = this.stream;
    if (stream === undefined || stream.welcomed) return;
    stream.welcomed = true;
    stream.greet?.cancel();
    stream.patience?.cancel();
    if (!started) return this.flush();
    this.deadline?.cancel();
    this.deadline = this.waitingSince = undefined;
    if (this.opened !== undefined) {
      this.opened.resolve();
      this.opened = undefined;
    } else if (this.brokenAt !== undefined) {
      this.o.events.onReattached(this.o.clock.now() - this.brokenAt);
    }
    this.brokenAt = undefined;
    this.flush();
  }

  /** Cuts the stream that is up; another one follows. */
  cut(detail: string): void {
    this.lastDetail = detail;
    this.stream?.transport.close();
  }

  /** Rejects {@link start}; once that has resolved, the link ends as lost. */
  refuse(error: AppError): void {
    if (this.opened === undefined) return this.o.onEnd({ kind: 'lost', detail: error.detail ?? error.code });
    this.opened.reject(error);
    this.opened = undefined;
  }

  /** No more streams; `farewell`: the one that is up may still carry the last acknowledgement. */
  end(farewell: boolean): void {
    this.ended = true;
    this.deadline?.cancel();
    this.aborter.abort();
    this.opened?.reject(new AppError('LINK_CLOSED', 'The session was closed while it started. Try again.'));
    this.opened = undefined;
    const stream = this.stream;
    if (stream === undefined) return;
    stream.greet?.cancel();
    stream.patience?.cancel();
    if (!farewell) {
      this.stream = undefined;
      return stream.transport.close();
    }
    const timer = this.o.clock.after(FAREWELL_MS, () => stream.transport.close());
    void stream.transport.closed.then(() => timer.cancel());
  }

  private async keepAttached(): Promise<void> {
    let wait = RETRY_FIRST_MS;
    while (!this.ended) {
      try {
        const transport = await this.o.connect(this.aborter.signal);
        if (this.over()) return transport.close();
        const { closed, welcomed } = await this.carry(transport);
        if (this.over()) return;
        if (closed.kind === 'ended') return this.gone(closed.detail);
        if (welcomed) wait = RETRY_FIRST_MS;
        this.broke(closed.detail, welcomed);
      } catch (error) {
        if (this.over()) return;
        const known = toAppError(error);
        if (!this.mayPass(known)) return this.fail(known);
        this.lastDetail = known.detail ?? known.code;
        if (known instanceof OutageError) this.startDeadline();
      }
      await this.sleep(wait * Math.random());
      wait = Math.min(2 * wait, RETRY_MOST_MS);
    }
  }

  /** Not a property: it changes while something is awaited. */
  private over(): boolean {
    return this.ended;
  }

  /** Carries the conversation until the stream is over. */
  private async carry(transport: AttachTransport): Promise<{ closed: TransportClosed; welcomed: boolean }> {
    const { talk, clock, limits } = this.o;
    const stream: Stream = { transport, welcomed: false, sending: false, greet: undefined, patience: undefined };
    const lines = new Lines(
      MAX_LINE,
      (line) => this.stream === stream && talk.handle(line),
      (bytes) => talk.badLine(bytes),
    );
    this.stream = stream;
    transport.onData((chunk) => {
      if (this.stream !== stream) return;
      try {
        lines.push(chunk);
      } catch (error) {
        // A consumer that throws ends its own session and nothing else.
        this.o.onEnd({ kind: 'lost', detail: `a consumer failed: ${toAppError(error).detail ?? ''}` });
      }
      this.flush();
    });
    this.greet(stream);
    stream.patience = clock.after(limits.welcomeDeadlineMs, () => this.cut('the launcher did not answer'));
    const closed = await transport.closed;
    stream.greet?.cancel();
    stream.patience.cancel();
    if (this.stream === stream) this.stream = undefined;
    talk.interrupted();
    this.o.onDown();
    return { closed, welcomed: stream.welcomed };
  }

  private greet(stream: Stream): void {
    // A stream that cannot take it is over, and says so by itself.
    stream.transport.write(this.o.talk.greeting()).catch(() => undefined);
    stream.greet = this.o.clock.after(GREET_AGAIN_MS, () => this.greet(stream));
  }

  private async send(stream: Stream): Promise<void> {
    stream.sending = true;
    try {
      while (this.stream === stream) {
        const bytes = this.o.talk.take();
        if (bytes === undefined) break;
        const taken = stream.transport.write(bytes);
        this.o.talk.sent();
        await taken;
      }
    } catch {
      // The stream is over. What it did not carry is sent again on the next one.
    }
    stream.sending = false;
  }

  private broke(detail: string, welcomed: boolean): void {
    this.lastDetail = detail;
    if (!welcomed) return;
    this.brokenAt = this.o.clock.now();
    this.waitingSince = undefined;
    this.startDeadline();
    this.o.events.onBroken(detail);
  }

  /** A right that was there a moment ago is refused by an API server that is not done with its start. */
  private mayPass({ code }: AppError): boolean {
    return TRANSIENT.has(code) || (code === 'BACKEND_REFUSED' && this.opened === undefined);
  }

  /** Counts anew; the first time was when the stream broke, or at the start. */
  private startDeadline(): void {
    const { clock, limits } = this.o;
    const now = clock.now();
    this.waitingSince ??= now;
    const left = this.waitingSince + Math.max(limits.outageDeadlineMs, limits.reattachDeadlineMs) - now;
    this.deadline?.cancel();
    this.deadline = clock.after(Math.min(limits.reattachDeadlineMs, Math.max(0, left)), () => {
      this.fail(
        new AppError('BACKEND_START_DEADLINE', "The session's server did not answer in time. Try again.", {
          detail: this.lastDetail,
        }),
      );
    });
  }

  private gone(detail: string): void {
    if (this.opened === undefined) return this.o.onEnd({ kind: 'container-ended', detail });
    this.refuse(
      this.o.starting
        ? new AppError('BACKEND_CRASHED', "The session's server ended as it started. Tell your administrator.", {
            detail,
          })
        : new AppError('BACKEND_ENDED', "The session's server has ended. Start a new session.", { detail }),
    );
  }

  private fail(error: AppError): void {
    if (this.opened === undefined && error.code === 'BACKEND_ENDED') {
      return this.o.onEnd({ kind: 'container-ended', detail: error.detail ?? error.code });
    }
    this.refuse(error);
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.aborter.signal.removeEventListener('abort', wake);
        timer.cancel();
        resolve();
      };
      const timer = this.o.clock.after(ms, wake);
      this.aborter.signal.addEventListener('abort', wake);
    });
  }
}
