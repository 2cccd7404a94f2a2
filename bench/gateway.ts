/** The product and supergateway as local processes in front of the same child, for measuring. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { freePort } from '../test/support/ports';

const root = resolve(__dirname, '..');

export interface Running {
  readonly url: URL;
  readonly pid: number;
  stop(): Promise<void>;
}

async function ready(url: string, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline && child.exitCode === null) {
    const response = await fetch(url, { signal: AbortSignal.timeout(1000) }).catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.ok) return;
    await new Promise((next) => setTimeout(next, 50));
  }
  throw new Error(`${url} did not get ready`);
}

function running(child: ChildProcess, port: number, clean: () => Promise<void>): Running {
  return {
    url: new URL(`http://127.0.0.1:${port}/mcp`),
    pid: child.pid!,
    async stop() {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      const patience = setTimeout(() => child.kill('SIGKILL'), 20_000);
      await exited;
      clearTimeout(patience);
      await clean();
    },
  };
}

/** The product as it ships, compiled (`make build`), with the process driver. */
export async function startGateway(command: readonly string[], forge: string): Promise<Running> {
  const folder = await mkdtemp(join(tmpdir(), 'fmo-bench-'));
  const [port, ops] = [await freePort(), await freePort()];
  const file = join(folder, 'config.json');
  await writeFile(
    file,
    JSON.stringify({
      dataDir: folder,
      http: { listen: `127.0.0.1:${port}` },
      ops: { listen: `127.0.0.1:${ops}` },
      log: { level: 'warn' },
      auth: { mode: 'bearer' },
      backend: { kind: 'process' },
      sessions: { maxPerUser: 0, maxTotal: 0, opensPerMinute: 0, opensPerMinutePerUser: 0 },
      servers: [{ name: 'bench', command, forgejo: { url: forge } }],
    }),
  );
  const child = spawn(process.execPath, [join(root, 'dist/main.js'), '--config', file], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  await ready(`http://127.0.0.1:${ops}/readyz`, child);
  return running(child, port, () => rm(folder, { recursive: true }));
}

/** The npm bridge supergateway, stateful: one child a session, as here. */
export async function startSupergateway(command: readonly string[]): Promise<Running> {
  const port = await freePort();
  const child = spawn(
    process.execPath,
    [
      join(root, 'node_modules/supergateway/dist/index.js'),
      ...['--stdio', command.join(' '), '--outputTransport', 'streamableHttp', '--stateful', '--port', String(port)],
      ...['--logLevel', 'none', '--healthEndpoint', '/healthz'],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  await ready(`http://127.0.0.1:${port}/healthz`, child);
  return running(child, port, async () => undefined);
}
