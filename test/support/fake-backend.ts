/** A backend in memory. Its children are functions: a script gets a child's three streams and does what a test wants of it. */
import type { Backend, BackendExit, BackendLink, BackendSpec } from '../../src/backends/contract';
import { abortable, startBudget } from '../../src/backends/budget';
import { exitOf } from '../../src/backends/exit';
import { systemClock } from '../../src/clock';
import { AppError } from '../../src/errors';
import { fixtureScript } from './fake-fixture';

/** A child as its script sees itself. */
export interface FakeChild {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Bytes from stdin as they come; ends with EOF or the child's own end. */
  readonly stdin: AsyncIterable<Buffer>;
  /** Aborts with SIGTERM or SIGKILL. */
  readonly signal: AbortSignal;
  /** Resolves when the reader takes more. */
  stdout(bytes: Buffer | string): Promise<void>;
  stderr(bytes: Buffer | string): void;
  exit(code: number | null, signal?: string): void;
}

/** Ends when the child is to exit with 0; what it throws is exit code 1. */
export type FakeScript = (child: FakeChild) => Promise<void>;

/** Bytes that a pipe holds each way. */
const PIPE = 64 * 1024;
const CLOSED = 'The session’s child has ended. Start a new session.';

export class FakeBackend implements Backend {
  readonly kind = 'fake';
  readonly links = new Set<FakeProcess>();
  /** What `open` rejects with, while it is set. */
  fault: AppError | undefined;
  readonly #script: FakeScript;
  readonly #stopped = new AbortController();
  readonly #opening = new Set<Promise<unknown>>();

  constructor(script: FakeScript = fixtureScript) {
    this.#script = script;
  }

  async open(spec: BackendSpec, signal: AbortSignal): Promise<BackendLink> {
    const opening = this.#open(spec, signal);
    this.#opening.add(opening);
    return opening.finally(() => this.#opening.delete(opening));
  }

  async removeOrphans(): Promise<number> {
    return 0;
  }

  async check(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.fault !== undefined) throw this.fault;
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.allSettled(this.#opening);
    await Promise.all([...this.links].map((link) => link.close()));
  }

  async #open(spec: BackendSpec, signal: AbortSignal): Promise<BackendLink> {
    signal.throwIfAborted();
    if (this.#stopped.signal.aborted) throw new AppError('BACKEND_UNAVAILABLE', 'The gateway is stopping.');
    if (this.fault !== undefined) throw this.fault;
    const budget = startBudget(systemClock, spec.server.startTimeout, signal, this.#stopped.signal);
    try {
      const secrets = await abortable(spec.secrets({ instance: `fake:${spec.session}` }), budget.signal);
      if (spec.server.command[0] === '/does-not-exist') {
        throw new AppError(
          'BACKEND_CRASHED',
          'The session’s child could not be started: correct the server’s `command`.',
        );
      }
      const link = new FakeProcess(this.#script, spec, { ...spec.server.env, ...secrets });
      this.links.add(link);
      void link.exited.then(() => this.links.delete(link));
      return link;
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      if (budget.late) throw new AppError('BACKEND_START_DEADLINE', 'The session’s child did not come up.');
      throw thrown;
    } finally {
      budget.end();
    }
  }
}

/** One child and its link. */
export class FakeProcess implements BackendLink {
  readonly phases = { create: 0 };
  readonly exited: Promise<BackendExit>;
  readonly #grace: number;
  #settle!: (exit: BackendExit) => void;
  readonly #input = new Pipe();
  readonly #output = new Pipe();
  readonly #killed = new AbortController();
  #early: Buffer[] = [];
  #stderr: ((bytes: Buffer) => void) | undefined;
  #closing = false;
  #ended: BackendExit | undefined;

  constructor(script: FakeScript, spec: BackendSpec, env: Readonly<Record<string, string>>) {
    this.#grace = spec.server.stopGrace * 1000;
    this.exited = new Promise((resolve) => (this.#settle = resolve));
    const child: FakeChild = {
      argv: spec.server.command,
      env,
      stdin: this.#input.read(),
      signal: this.#killed.signal,
      stdout: (bytes) => this.#output.write(Buffer.from(bytes)),
      stderr: (bytes) => this.#tell(Buffer.from(bytes)),
      exit: (code, signal) => this.#end(exitOf(code, signal ?? null)),
    };
    this.#output.onEnd = () => this.#finish();
    // As a process does: it starts after whoever started it has gone on.
    setImmediate(() => {
      script(child).then(
        () => child.exit(0),
        () => child.exit(1),
      );
    });
  }

  write(bytes: Buffer): Promise<void> {
    if (this.#closing || this.#ended !== undefined) return Promise.reject(new AppError('LINK_CLOSED', CLOSED));
    return this.#input.write(bytes);
  }

  onData(consumer: (bytes: Buffer) => void): void {
    this.#output.consume(consumer);
  }

  onStderr(consumer: (bytes: Buffer) => void): void {
    this.#stderr = consumer;
    for (const bytes of this.#early.splice(0)) consumer(bytes);
  }

  pause(): void {
    this.#output.pause(true);
  }

  resume(): void {
    this.#output.pause(false);
  }

  async close(): Promise<void> {
    if (!this.#closing && this.#ended === undefined) {
      this.#closing = true;
      this.#output.pause(false);
      this.#input.end();
      const term = systemClock.after(this.#grace, () => this.#killed.abort('SIGTERM'));
      const kill = systemClock.after(2 * this.#grace, () => this.#end({ reason: 'killed', signal: 'SIGKILL' }));
      await this.exited;
      term.cancel();
      kill.cancel();
    }
    await this.exited;
  }

  /** Kills the child from outside. */
  kill(signal = 'SIGKILL'): void {
    this.#end(exitOf(null, signal));
  }

  #tell(bytes: Buffer): void {
    if (this.#stderr === undefined) this.#early.push(bytes);
    else this.#stderr(bytes);
  }

  #end(exit: BackendExit): void {
    if (this.#ended !== undefined) return;
    this.#ended = this.#closing ? { ...exit, reason: 'closed' } : exit;
    this.#killed.abort('SIGKILL');
    this.#input.end();
    this.#output.end();
  }

  #finish(): void {
    if (this.#ended !== undefined) this.#settle(this.#ended);
  }
}

/** A bounded pipe: a writer waits while it is full. */
class Pipe {
  onEnd: () => void = () => undefined;
  readonly #parts: Buffer[] = [];
  #size = 0;
  #ended = false;
  #paused = false;
  #over = false;
  #consumer: ((bytes: Buffer) => void) | undefined;
  #room: (() => void)[] = [];
  #news: (() => void) | undefined;

  async write(bytes: Buffer): Promise<void> {
    if (this.#ended) return;
    this.#parts.push(bytes);
    this.#size += bytes.length;
    this.#flow();
    if (this.#size > PIPE) await new Promise<void>((resolve) => this.#room.push(resolve));
  }

  end(): void {
    this.#ended = true;
    for (const tell of this.#room.splice(0)) tell();
    this.#flow();
  }

  pause(paused: boolean): void {
    this.#paused = paused;
    this.#flow();
  }

  consume(consumer: (bytes: Buffer) => void): void {
    this.#consumer = consumer;
    this.#flow();
  }

  async *read(): AsyncGenerator<Buffer, void> {
    for (;;) {
      const part = this.#take();
      if (part !== undefined) yield part;
      else if (this.#ended) return;
      else await new Promise<void>((resolve) => (this.#news = resolve));
    }
  }

  #take(): Buffer | undefined {
    const part = this.#parts.shift();
    if (part === undefined) return undefined;
    this.#size -= part.length;
    if (this.#size <= PIPE) for (const tell of this.#room.splice(0)) tell();
    return part;
  }

  #flow(): void {
    this.#news?.();
    this.#news = undefined;
    if (this.#consumer !== undefined) {
      while (!this.#paused) {
        const part = this.#take();
        if (part === undefined) break;
        this.#consumer(part);
      }
    }
    if (this.#ended && this.#parts.length === 0 && !this.#over) {
      this.#over = true;
      this.onEnd();
    }
  }
}
