/** An operator as a process of the test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface OperatorProcess {
  readonly opsUrl: string;
  /** What it logged. */
  readonly lines: string[];
  readonly exited: Promise<number | null>;
  signal(name: 'SIGTERM' | 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void;
  metrics(): Promise<string>;
  isLeading(): Promise<boolean>;
  ready(): Promise<number>;
}

const running = new Set<ChildProcess>();

/** Starts one with these settings and waits until it is up. */
export async function startOperator(settings: Readonly<Record<string, unknown>>): Promise<OperatorProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'fmo-operator-'));
  const file = join(folder, 'config.yaml');
  writeFileSync(file, JSON.stringify({ ops: { listen: '127.0.0.1:0', checkCache: '0s' }, ...settings }));
  const child = spawn(
    process.execPath,
    ['-r', 'ts-node/register/transpile-only', 'src/main.ts', 'operator', '--config', file],
    { cwd: join(__dirname, '../..'), stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH } },
  );
  running.add(child);
  const lines: string[] = [];
  const exited = once(child, 'exit').then(([code]) => {
    running.delete(child);
    rmSync(folder, { recursive: true, force: true });
    return code as number | null;
  });
  const opsUrl = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      lines.push(line);
      if (!line.includes('"operator.started"')) return;
      resolve((JSON.parse(line) as { ops: string }).ops);
    });
    void exited.then((code) => reject(new Error(`the operator ended with ${String(code)}:\n${lines.join('\n')}`)));
  });
  const metrics = async (): Promise<string> =>
    (await fetch(`${opsUrl}/metrics`, { signal: AbortSignal.timeout(5_000) })).text();
  return {
    opsUrl,
    lines,
    exited,
    metrics,
    signal: (name) => void child.kill(name),
    isLeading: async () => /^forgejo_mcp_operator_leader 1$/m.test(await metrics().catch(() => '')),
    ready: async () => (await fetch(`${opsUrl}/readyz`, { signal: AbortSignal.timeout(5_000) })).status,
  };
}

/** Kills those that are left. */
export async function killOperators(): Promise<void> {
  const left = [...running].map(async (child) => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  await Promise.all(left);
}
