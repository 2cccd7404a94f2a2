/** Children as local processes: for one machine without a cluster. No isolation beyond what the machine's user gives. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { type Clock, systemClock } from '../../clock';
import { AppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import { abortable, type Budget, startBudget } from '../budget';
import type { Backend, BackendLink, BackendSpec } from '../contract';
import { identify, type ProcessIdentity, runs } from './identity';
import { killGroup, ProcessLink } from './link';
import { findProgram, notRunnable } from './program';
import { ChildRecords } from './records';

/** Milliseconds between SIGTERM and SIGKILL for what an earlier run left behind, and how often it is looked at meanwhile. */
const ORPHAN_GRACE_MS = 3_000;
const ORPHAN_LOOK_MS = 50;
/** Faults of the machine, not of the program: it is short of something, and a later try may go well. */
const SHORT_OF: ReadonlySet<string> = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE']);

export interface ProcessBackendOptions {
  /** Where records of running children are kept; made where it is not there, for this user only. */
  readonly runDirectory: string;
  readonly log: Logger;
  readonly clock?: Clock;
}

export class ProcessBackend implements Backend {
  readonly kind = 'process';
  readonly #records: ChildRecords;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #links = new Set<ProcessLink>();
  readonly #stopped = new AbortController();
  #opening = new Set<Promise<unknown>>();
  /** A process that ends without {@link stop} leaves no child behind, not even one that heeds nothing. */
  readonly #killAll = (): void => {
    for (const link of this.#links) link.signal('SIGKILL');
  };

  constructor(options: ProcessBackendOptions) {
    this.#records = new ChildRecords(options.runDirectory);
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
    process.on('exit', this.#killAll);
  }

  open(spec: BackendSpec, signal: AbortSignal): Promise<BackendLink> {
    const opening = this.#open(spec, signal);
    this.#opening.add(opening);
    const done = (): boolean => this.#opening.delete(opening);
    opening.then(done, done);
    return opening;
  }

  async #open(spec: BackendSpec, signal: AbortSignal): Promise<BackendLink> {
    signal.throwIfAborted();
    if (this.#stopped.signal.aborted) throw stopping();
    const budget = startBudget(this.#clock, spec.server.startTimeout, signal, this.#stopped.signal);
    try {
      return await this.#start(spec, budget);
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      if (this.#stopped.signal.aborted) throw stopping();
      if (budget.late) throw tooLate(spec.server.startTimeout);
      throw thrown;
    } finally {
      budget.end();
    }
  }

  async #start(spec: BackendSpec, budget: Budget): Promise<BackendLink> {
    const began = this.#clock.now();
    const { server, session } = spec;
    const [program = '', ...args] = server.command;
    const secrets = await abortable(spec.secrets({ ip: '127.0.0.1', instance: `process:${session}` }), budget.signal);
    const env = { ...server.env, ...secrets };
    const file = await findProgram(program, env.PATH ?? process.env.PATH ?? '');
    budget.signal.throwIfAborted();
    this.#record(() => this.#records.prepare());
    const created = this.#clock.now();

    const child = await started(file, args, env);
    const { pid } = child;
    if (pid === undefined) throw notRunnable(program, 'ESRCH');
    const ended = this.#clock.now();
    const link = new ProcessLink({
      child,
      pid,
      clock: this.#clock,
      stopGrace: server.stopGrace,
      phases: { create: (created - began) / 1000, run: (ended - created) / 1000 },
    });
    this.#links.add(link);
    void link.exited.then(() => {
      this.#links.delete(link);
      this.#records.remove(pid);
    });
    try {
      this.#record(() => this.#records.add(pid));
      budget.signal.throwIfAborted();
    } catch (thrown) {
      link.signal('SIGKILL');
      await link.exited;
      throw thrown;
    }
    this.#log.debug('process.started', { session, pid });
    return link;
  }

  async removeOrphans(): Promise<number> {
    this.#records.prepare();
    const orphans = this.#records.all().filter((record) => !runs(record.gateway));
    const removed = await Promise.all(
      orphans.map(async ({ child }) => {
        const found = identify(child.pid);
        // Another process may have the number by now: its start time, or that it leads no group of its own, gives it away.
        const alive = found?.started === child.started && found.group === child.pid;
        if (alive) {
          killGroup(child.pid, 'SIGTERM');
          await this.#gone(child);
          if (runs(child)) killGroup(child.pid, 'SIGKILL');
          this.#log.info('process.orphan-removed', { pid: child.pid });
        }
        this.#records.remove(child.pid);
        return alive;
      }),
    );
    return removed.filter(Boolean).length;
  }

  async check(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#record(() => this.#records.prepare());
    if (this.#stopped.signal.aborted) throw stopping();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.allSettled(this.#opening);
    await Promise.all([...this.#links].map((link) => link.close()));
    process.off('exit', this.#killAll);
  }

  /** Does something with the records; a full disk or a lost directory becomes an error that says so. */
  #record(run: () => void): void {
    try {
      run();
    } catch (thrown) {
      throw new AppError(
        'BACKEND_UNAVAILABLE',
        'The gateway cannot write to its run directory. Ask your administrator to check its disk and permissions.',
        { detail: (thrown as NodeJS.ErrnoException).code ?? 'unknown fault', retryAfter: 15 },
      );
    }
  }

  /** A process that is not our own child tells nobody of its end: it is looked at until its grace is over. */
  async #gone(child: ProcessIdentity): Promise<void> {
    const until = this.#clock.now() + ORPHAN_GRACE_MS;
    while (runs(child) && this.#clock.now() < until) {
      await new Promise<void>((resolve) => this.#clock.after(ORPHAN_LOOK_MS, resolve));
    }
  }
}

/** Starts the program in a session and process group of its own, with nothing inherited. Rejects with an AppError. */
function started(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<ChildProcessWithoutNullStreams> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      detached: true,
      cwd: '/',
      env: { ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    child.once('spawn', () => resolve(child));
    child.once('error', (error: NodeJS.ErrnoException) => {
      // The file itself was found before, so what is missing is what runs it.
      const code = error.code === 'ENOENT' ? 'EINTERPRETER' : (error.code ?? 'EIO');
      reject(SHORT_OF.has(code) ? shortOf(code) : notRunnable(file, code));
    });
  });
}

function shortOf(code: string): AppError {
  return new AppError(
    'BACKEND_UNAVAILABLE',
    'The gateway’s machine cannot start another process just now. Try again in a moment.',
    { detail: code, retryAfter: 5 },
  );
}

function tooLate(seconds: number): AppError {
  return new AppError(
    'BACKEND_START_DEADLINE',
    `The session’s child did not come up within ${seconds} seconds. Try again; if it stays, ask your administrator to look at the gateway’s log.`,
    { retryAfter: 5 },
  );
}

function stopping(): AppError {
  return new AppError('BACKEND_UNAVAILABLE', 'The gateway is stopping. Try again in a moment.', { retryAfter: 5 });
}
