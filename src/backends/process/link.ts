/** A local child as a byte link: three pipes and a process group of its own. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import type { Clock, Timer } from '../../clock';
import { AppError } from '../../errors';
import type { BackendExit, BackendLink, StartPhase } from '../contract';
import { exitOf } from '../exit';

/** Milliseconds after the child's end in which its output must have closed; a descendant that left the group may hold it open for ever. */
const DRAIN_MS = 2_000;
const CLOSED_MESSAGE = 'The session’s child has ended. Start a new session.';
/** Bytes of each stream that are kept for a consumer that is not there yet. */
const EARLY_MAX = 64 * 1024;
const DONE = Promise.resolve();

export interface ProcessLinkOptions {
  readonly child: ChildProcessWithoutNullStreams;
  readonly pid: number;
  readonly clock: Clock;
  /** Seconds. */
  readonly stopGrace: number;
  readonly phases: Readonly<Partial<Record<StartPhase, number>>>;
}

export class ProcessLink implements BackendLink {
  readonly phases: Readonly<Partial<Record<StartPhase, number>>>;
  readonly exited: Promise<BackendExit>;
  readonly #options: ProcessLinkOptions;
  #settle!: (exit: BackendExit) => void;
  /** How the process ended, once it did; its output may still be under way. */
  #ended: { readonly code: number | null; readonly signal: string | null } | undefined;
  #over = false;
  #closing = false;
  #paused = false;
  #timer: Timer | undefined;
  #drained: (() => void)[] = [];
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #earlyStderr: Buffer[] = [];
  #earlyStderrBytes = 0;
  #consumed = false;
  /** The consumer until there is one: a little is kept, then the child waits. */
  readonly #keep = (bytes: Buffer): void => {
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes >= EARLY_MAX) this.#options.child.stdout.pause();
  };
  /** Diagnostics must never hold the child up: what is too much before anybody reads them is dropped. */
  readonly #keepStderr = (bytes: Buffer): void => {
    if (this.#earlyStderrBytes >= EARLY_MAX) return;
    this.#earlyStderr.push(bytes);
    this.#earlyStderrBytes += bytes.length;
  };

  constructor(options: ProcessLinkOptions) {
    this.#options = options;
    this.phases = options.phases;
    this.exited = new Promise((resolve) => (this.#settle = resolve));
    const { child } = options;
    // A child that closed its stdin is not gone: EPIPE is the write's fault, the end comes with 'exit'.
    child.stdin.on('error', () => this.#wake());
    child.stdin.on('drain', () => this.#wake());
    child.stdin.on('close', () => this.#wake());
    child.stdout.on('error', () => undefined);
    child.stderr.on('error', () => undefined);
    child.stdout.on('data', this.#keep);
    child.stderr.on('data', this.#keepStderr);
    child.once('exit', (code, signal) => this.#onExit(code, signal));
    child.once('close', () => this.#finish());
  }

  write(bytes: Buffer): Promise<void> {
    const { stdin } = this.#options.child;
    if (this.#over || this.#closing || this.#ended !== undefined || !stdin.writable) {
      return Promise.reject(new AppError('LINK_CLOSED', CLOSED_MESSAGE));
    }
    if (stdin.write(bytes)) return DONE;
    return new Promise((resolve, reject) => {
      this.#drained.push(() => {
        if (stdin.destroyed || this.#ended !== undefined) reject(new AppError('LINK_CLOSED', CLOSED_MESSAGE));
        else resolve();
      });
    });
  }

  onData(consumer: (bytes: Buffer) => void): void {
    const { stdout } = this.#options.child;
    stdout.off('data', this.#keep);
    stdout.on('data', consumer);
    this.#consumed = true;
    for (const bytes of this.#early.splice(0)) consumer(bytes);
    if (this.#paused) stdout.pause();
    else stdout.resume();
    if (stdout.closed) this.#finish();
  }

  onStderr(consumer: (bytes: Buffer) => void): void {
    const { stderr } = this.#options.child;
    stderr.off('data', this.#keepStderr);
    stderr.on('data', consumer);
    for (const bytes of this.#earlyStderr.splice(0)) consumer(bytes);
  }

  pause(): void {
    this.#paused = true;
    this.#options.child.stdout.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#options.child.stdout.resume();
  }

  async close(): Promise<void> {
    if (!this.#closing && !this.#over) {
      this.#closing = true;
      const { child, clock, stopGrace } = this.#options;
      // What is still in the pipe goes to the consumer: a child that cannot write does not end.
      this.resume();
      this.#dropEarly();
      child.stdin.end();
      this.#wake();
      if (this.#ended === undefined) {
        this.#timer = clock.after(stopGrace * 1000, () => {
          this.signal('SIGTERM');
          this.#timer = clock.after(stopGrace * 1000, () => this.signal('SIGKILL'));
        });
      }
    }
    await this.exited;
  }

  /** A link that is closed before anybody listened has nobody to hand its output to. */
  #dropEarly(): void {
    const { stdout } = this.#options.child;
    if (this.#consumed) return;
    this.#consumed = true;
    this.#early = [];
    stdout.off('data', this.#keep);
    stdout.resume();
    if (stdout.closed) this.#finish();
  }

  /** Sends a signal to the whole group, while its leader lives: afterwards its number may belong to somebody else. */
  signal(name: 'SIGTERM' | 'SIGKILL'): void {
    if (this.#ended !== undefined) return;
    killGroup(this.#options.pid, name);
  }

  /** The leader is gone: so is, from now on, everything in its group. Node reaped it in this very tick, so the number is still the group's. */
  #onExit(code: number | null, signal: string | null): void {
    killGroup(this.#options.pid, 'SIGKILL');
    this.#ended = { code, signal };
    this.#timer?.cancel();
    this.#wake();
    this.#watchDrain();
  }

  /** Output that nobody is kept from reading must end soon; a paused consumer is waited for. */
  #watchDrain(): void {
    const { child, clock } = this.#options;
    this.#timer = clock.after(DRAIN_MS, () => {
      if (this.#over) return;
      if (this.#paused || this.#early.length > 0) {
        this.#watchDrain();
        return;
      }
      child.stdin.destroy();
      child.stdout.destroy();
      child.stderr.destroy();
      this.#finish();
    });
  }

  #finish(): void {
    if (this.#over || this.#ended === undefined || this.#early.length > 0) return;
    this.#over = true;
    this.#timer?.cancel();
    this.#wake();
    const exit = exitOf(this.#ended.code, this.#ended.signal);
    this.#settle(this.#closing ? { ...exit, reason: 'closed' } : exit);
  }

  #wake(): void {
    const drained = this.#drained;
    this.#drained = [];
    for (const tell of drained) tell();
  }
}

/** Signals a process group; one that is gone is no fault. */
export function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: nobody is left. EPERM: nobody is left that is ours.
  }
}
