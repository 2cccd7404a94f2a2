/**
 * The real launcher over pipes, with a stand-in for what kubelet and containerd do between its pipes and an attach stream: the container
 * outlives its streams, output while nobody is attached is lost, every stream sees all output, and all of them write the same stdin.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { SealedLink, SealedLinkOptions } from '../../src/backends/pod/sealed/link';
import type { AttachTransport, Connect, TransportClosed } from '../../src/backends/pod/transport';
import { systemClock } from '../../src/clock';
import { AppError } from '../../src/errors';

let built: string | undefined;

/** Path of the launcher, built once for each test process; Go's own cache makes the second one cheap. */
export function launcherBinary(): string {
  if (built === undefined) {
    const folder = mkdtempSync(join(tmpdir(), 'fmo-launcher-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    execFileSync(resolve(__dirname, '../../launcher/build.sh'), [folder], { stdio: ['ignore', 'ignore', 'inherit'] });
    built = join(folder, 'launcher');
  }
  return built;
}

/** How a container ended. */
export interface ContainerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Where one stream is to break, in bytes that it carried. */
export interface Cut {
  /** Bytes of stdin that still reach the launcher. */
  readonly stdin?: number;
  /** Bytes of stdout that still reach the gateway. */
  readonly stdout?: number;
}

/** A container with the launcher as its first process. */
export class Container {
  readonly process: ChildProcess;
  readonly ended: Promise<ContainerEnd>;
  /** Everything that the launcher ever wrote to stdout and stderr: what a node's log would hold. */
  readonly log: Buffer[] = [];
  readonly streams = new Set<Stream>();
  keepLog = true;
  /** Bytes that reached the launcher's stdin. */
  fromGateway = 0;
  /** What becomes of the launcher's output on its way to every stream. */
  garble: (chunk: Buffer) => Buffer = (chunk) => chunk;
  private over = false;

  constructor(argv: readonly string[] = [launcherBinary()]) {
    this.process = spawn(argv[0], argv.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { CONTAINER: 'yes' },
    });
    this.process.stdin?.on('error', () => undefined);
    this.process.stderr?.on('data', (chunk: Buffer) => this.log.push(chunk));
    this.process.stdout?.on('data', (chunk: Buffer) => {
      if (this.keepLog) this.log.push(chunk);
      const passed = this.garble(chunk);
      for (const stream of this.streams) stream.take(passed);
    });
    this.ended = new Promise((settle) =>
      this.process.once('close', (code, signal) => {
        this.over = true;
        for (const stream of [...this.streams]) stream.finish({ kind: 'ended', detail: 'the container has finished' });
        settle({ code, signal });
      }),
    );
  }

  /** Opens streams to this container; each call may break where `cut` says, asked anew for every stream. */
  connector(cut: (attempt: number) => Cut = () => ({})): (...args: Parameters<Connect>) => Promise<Stream> {
    let attempt = 0;
    return async () => {
      if (this.over) throw new AppError('BACKEND_ENDED', 'The container has finished.');
      return new Stream(this, cut(attempt++));
    };
  }

  /** Writes to the launcher's stdin as a second, foreign attach would. */
  inject(bytes: Buffer | string): void {
    this.process.stdin?.write(bytes);
  }

  /** Everything in the log, as text. */
  get logged(): string {
    return Buffer.concat(this.log).toString('latin1');
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended;
  }
}

export class Stream implements AttachTransport {
  readonly closed: Promise<TransportClosed>;
  private settle: (closed: TransportClosed) => void = () => undefined;
  private consumer: ((bytes: Buffer) => void) | undefined;
  private early: Buffer[] = [];
  private over = false;
  private fromGateway = 0;
  private toGateway = 0;

  constructor(
    private readonly container: Container,
    private readonly cut: Cut,
  ) {
    this.closed = new Promise((resolve) => (this.settle = resolve));
    container.streams.add(this);
  }

  write(bytes: Buffer): Promise<void> {
    if (this.over) return Promise.reject(new AppError('LINK_CLOSED', 'The stream is over.'));
    const left = (this.cut.stdin ?? Infinity) - this.fromGateway;
    const passed = bytes.subarray(0, left);
    this.fromGateway += passed.length;
    this.container.fromGateway += passed.length;
    const taken = new Promise<void>((resolve) => this.container.process.stdin?.write(passed, () => resolve()));
    if (passed.length === bytes.length) return taken;
    this.finish({ kind: 'broken', detail: 'cut on its way in' });
    return Promise.reject(new AppError('LINK_CLOSED', 'The stream was cut.'));
  }

  onData(consumer: (bytes: Buffer) => void): void {
    this.consumer = consumer;
    for (const chunk of this.early.splice(0)) consumer(chunk);
  }

  pause(): void {
    this.container.process.stdout?.pause();
  }

  resume(): void {
    this.container.process.stdout?.resume();
  }

  close(): void {
    this.finish({ kind: 'broken', detail: 'closed here' });
  }

  /** Bytes from the container. */
  take(chunk: Buffer): void {
    const left = (this.cut.stdout ?? Infinity) - this.toGateway;
    const passed = chunk.subarray(0, left);
    this.toGateway += passed.length;
    if (passed.length > 0) {
      if (this.consumer === undefined) this.early.push(passed);
      else this.consumer(passed);
    }
    if (passed.length < chunk.length) this.finish({ kind: 'broken', detail: 'cut on its way out' });
  }

  finish(closed: TransportClosed): void {
    if (this.over) return;
    this.over = true;
    this.container.streams.delete(this);
    this.settle(closed);
  }
}

/** All that a link hands over, and promises for it. */
export class Collector {
  readonly data: Buffer[] = [];
  readonly errors: Buffer[] = [];
  bytes = 0;
  private wanted: { bytes: number; resolve(): void } | undefined;

  constructor(link: SealedLink, keep = true) {
    link.onData((bytes) => {
      if (keep) this.data.push(bytes);
      this.bytes += bytes.length;
      if (this.wanted !== undefined && this.bytes >= this.wanted.bytes) this.wanted.resolve();
    });
    link.onStderr((bytes) => this.errors.push(bytes));
  }

  /** Resolves once so many bytes of stdout were handed over in all. */
  reached(bytes: number): Promise<void> {
    if (this.bytes >= bytes) return Promise.resolve();
    return new Promise((resolve) => (this.wanted = { bytes, resolve }));
  }

  get stdout(): string {
    return Buffer.concat(this.data).toString();
  }

  get stderr(): string {
    return Buffer.concat(this.errors).toString();
  }
}

/** Options that a test of a link needs; all of them can be replaced. */
export function linkOptions(over: Partial<SealedLinkOptions> & Pick<SealedLinkOptions, 'connect'>): SealedLinkOptions {
  return {
    key: randomBytes(32),
    epoch: 1,
    claim: { argv: ['/bin/cat'], env: {} },
    clock: systemClock,
    signal: new AbortController().signal,
    ...over,
  };
}

/** Waits for a condition of the outside world that sends no event; the deadline makes it fail, never hang. */
export async function eventually(holds: () => boolean, ms = 20_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
