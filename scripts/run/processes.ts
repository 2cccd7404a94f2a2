/**
 * The programs that `make run` starts. When one of them ends, all do. Each has a process group of its own: a terminal sends Ctrl-C to everything in
 * its foreground group, and the gateway would take this program's signal after it for a second one, which means not to wait for calls in flight.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { resolve } from 'node:path';

export const root = resolve(__dirname, '../..');
const STOP_DEADLINE_MS = 50_000;
const READY_DEADLINE_MS = 60_000;

export const say = (text: string): void => void process.stderr.write(`${text}\n`);

export class Processes {
  private readonly children: ChildProcess[] = [];
  private stopping = false;

  /** Starts a program that must stay up. @param log the file for what it says; else it says it here. */
  start(name: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv, log?: string): void {
    const output = log === undefined ? 'inherit' : openSync(log, 'w', 0o600);
    const child = spawn(command, args, { env, cwd: root, detached: true, stdio: ['ignore', output, output] });
    if (typeof output === 'number') closeSync(output);
    child.once('exit', (code, signal) => {
      if (this.stopping) return;
      say(`${name} ended (${signal ?? code}); stopping${log === undefined ? '' : `. What it said is in ${log}`}`);
      void this.stop(1);
    });
    this.children.push(child);
  }

  /** What a signal asks for: to end everything, and the second one to do so at once. */
  interrupt(): void {
    if (this.stopping) for (const child of this.children) child.kill('SIGTERM');
    else {
      say('stopping; once more does not wait for calls in flight');
      void this.stop(0);
    }
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
