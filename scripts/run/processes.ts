/** The programs that `make run` starts. When one of them ends, all do. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';

export const root = resolve(__dirname, '../..');
const STOP_DEADLINE_MS = 50_000;
const READY_DEADLINE_MS = 60_000;

export const say = (text: string): void => void process.stderr.write(`${text}\n`);

export class Processes {
  private readonly children: ChildProcess[] = [];
  private stopping = false;

  /** Starts a program that must stay up. @param quiet true: what it says is dropped. */
  start(name: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv, quiet = false): void {
    const child = spawn(command, args, {
      env,
      cwd: root,
      stdio: ['ignore', quiet ? 'ignore' : 'inherit', quiet ? 'ignore' : 'inherit'],
    });
    child.once('exit', (code, signal) => {
      if (this.stopping) return;
      say(`${name} ended (${signal ?? code}); stopping`);
      void this.stop(1);
    });
    this.children.push(child);
  }

  /** Ends the children in the reverse order of their start, and then this program. */
  async stop(code: number): Promise<void> {
    if (this.stopping) return;
    this.stopping = true;
    for (const child of this.children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      const patience = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
      await exited;
      clearTimeout(patience);
    }
    process.exit(code);
  }
}

/** Waits until a URL answers 200; a program that ends meanwhile stops everything by itself. */
export async function healthy(url: string, what: string): Promise<void> {
  const deadline = Date.now() + READY_DEADLINE_MS;
  while (Date.now() < deadline) {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.ok) return;
    await new Promise((next) => setTimeout(next, 100));
  }
  throw new Error(`${what} did not get ready within a minute`);
}
