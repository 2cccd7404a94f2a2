/** A child's link in memory, and a clock that a test drives. */
import type { BackendExit, BackendLink, Takeover } from '../../src/backends/contract';
import type { JsonRpcMessage, MessageSink } from '../../src/bridge/contract';
import type { Clock, Timer } from '../../src/clock';
import { AppError } from '../../src/errors';

/** Time that passes only when told to. */
export class FakeClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; run: () => void; every: number | undefined }>();

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now;
  }

  after(ms: number, run: () => void): Timer {
    return this.#add(ms, run, undefined);
  }

  every(ms: number, run: () => void): Timer {
    return this.#add(ms, run, ms);
  }

  /** Lets `ms` pass; timers run in their order, each at its time. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      if (next.every === undefined) this.#timers.delete(next);
      else next.at += next.every;
      next.run();
    }
    this.#now = until;
  }

  #add(ms: number, run: () => void, every: number | undefined): Timer {
    const timer = { at: this.#now + ms, run, every };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }
}

/** A message that the fake child was sent. */
export type Sent = Record<string, unknown> & { id: string; method: string; params: Record<string, unknown> };

/** A child that says what the test makes it say. */
export class FakeLink implements BackendLink {
  readonly phases = {};
  readonly exited: Promise<BackendExit>;
  /** What was written to the child, message by message. */
  readonly sent: Sent[] = [];
  /** Called for every message that the child gets. */
  onMessage: (message: Sent) => void = () => undefined;
  paused = false;
  pauses = 0;
  closes = 0;
  releases = 0;
  retained = false;
  /** Set before the link is used: it was taken over. */
  takeover: Takeover | undefined;
  /** Set: writes wait until it resolves. */
  gate: Promise<void> | undefined;
  /** Set: writes are refused although the child is not known to be gone. */
  broken = false;
  /** Not set: `close` leaves the child running until the test lets it exit. */
  exitOnClose = true;
  #gone = false;
  #exit!: (exit: BackendExit) => void;
  #data: (bytes: Buffer) => void = () => undefined;
  #stderr: (bytes: Buffer) => void = () => undefined;

  constructor() {
    this.exited = new Promise((resolve) => {
      this.#exit = resolve;
    });
  }

  async write(bytes: Buffer): Promise<void> {
    if (this.#gone || this.broken) throw new AppError('LINK_CLOSED', 'gone');
    for (const line of bytes.toString().split('\n')) {
      if (line === '') continue;
      const message = JSON.parse(line) as Sent;
      this.sent.push(message);
      this.onMessage(message);
    }
    await this.gate;
  }

  onData(consumer: (bytes: Buffer) => void): void {
    this.#data = consumer;
  }

  onStderr(consumer: (bytes: Buffer) => void): void {
    this.#stderr = consumer;
  }

  pause(): void {
    this.paused = true;
    this.pauses += 1;
  }

  resume(): void {
    this.paused = false;
  }

  async close(): Promise<void> {
    this.closes += 1;
    if (this.exitOnClose) this.exit({ reason: 'closed' });
    await this.exited;
  }

  retain(held: boolean): void {
    this.retained = held;
  }

  /** Lets go of the child, which nobody hears from then on. */
  release(): void {
    this.releases += 1;
    this.exit({ reason: 'closed' });
  }

  /** The child writes bytes to stdout. */
  push(bytes: Buffer | string): void {
    this.#data(typeof bytes === 'string' ? Buffer.from(bytes) : bytes);
  }

  /** The child writes a message. */
  say(message: object): void {
    this.push(`${JSON.stringify(message)}\n`);
  }

  /** The child answers a request. */
  reply(to: Sent, result: unknown = {}): void {
    this.say({ jsonrpc: '2.0', id: to.id, result });
  }

  stderr(bytes: Buffer | string): void {
    this.#stderr(typeof bytes === 'string' ? Buffer.from(bytes) : bytes);
  }

  exit(exit: BackendExit): void {
    this.#gone = true;
    this.#exit(exit);
  }

  /** Whether the child has not ended. */
  get running(): boolean {
    return !this.#gone;
  }

  /** The last message that the child got. */
  get last(): Sent {
    const last = this.sent.at(-1);
    if (last === undefined) throw new Error('nothing was sent');
    return last;
  }
}

/** A client's stream that keeps what it gets. */
export class FakeSink implements MessageSink {
  readonly messages: Record<string, any>[] = [];
  readonly texts: string[] = [];
  /** Set: the stream is gone. */
  gone = false;
  /** Set: `send` waits until it resolves. */
  gate: Promise<void> | undefined;
  readonly stream?: string;

  constructor(stream?: string) {
    if (stream !== undefined) this.stream = stream;
  }

  send(message: JsonRpcMessage, json: string): Promise<void> | undefined {
    if (this.gone) return Promise.reject(new AppError('STREAM_STALLED', 'gone'));
    this.messages.push(JSON.parse(json) as Record<string, unknown>);
    this.texts.push(json);
    void message;
    return this.gate;
  }

  get last(): Record<string, any> {
    const last = this.messages.at(-1);
    if (last === undefined) throw new Error('nothing came');
    return last;
  }
}

/** Lets everything run that waits for nothing but its turn. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
}
