/** Stories and bytes against the program itself, with real children: a smaller share, because each session is a process. */
import fc from 'fast-check';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import { freePort } from '../support/ports';
import { until } from '../support/until';
import { story } from './acts';
import { fuzz, TIMEOUT_MS } from './budget';
import { conversation, SESSION } from './bytes';
import { readAnswers, talk } from './socket';
import { Teller } from './teller';

const ROOT = resolve(__dirname, '../..');
/** Megabytes of its heap: one that leaks ends. */
const HEAP_MB = 96;
/** Descriptors beyond those of the beginning: connections that the forge's pool keeps. */
const DESCRIPTORS = 16;
const LOG_KEPT = 64 * 1024;

describe('the program, whatever clients do', function () {
  this.timeout(TIMEOUT_MS);
  let dir: string;
  let forge: NameForge;
  let program: ChildProcess;
  let port: number;
  let log = '';

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'fmo-fuzz-'));
    forge = await startNameForge();
    const ops = await freePort();
    port = await freePort();
    const settings = {
      dataDir: dir,
      auth: { mode: 'bearer' },
      http: {
        listen: `127.0.0.1:${port}`,
        headersTimeout: '2s',
        bodyTimeout: '1s',
        jsonTimeout: '0.05s',
        keepalive: '1s',
        maxBodyBytes: 262_144,
      },
      ops: { listen: `127.0.0.1:${ops}` },
      sessions: { maxPerUser: 0, maxTotal: 0, opensPerMinute: 0, opensPerMinutePerUser: 0, sweepInterval: '0.2s' },
      server: {
        command: [await childCommand('fixture-child')],
        forgejo: { url: forge.url },
        idleTimeout: '2s', // ends those whose opener never read their id
        stopGrace: '1s',
        callTimeout: '5s',
      },
    };
    const file = join(dir, 'config.json');
    await writeFile(file, JSON.stringify(settings));
    const options = [`--max-old-space-size=${HEAP_MB}`, '-r', 'ts-node/register/transpile-only'];
    program = spawn(process.execPath, [...options, 'src/main.ts', '--config', file], {
      cwd: ROOT,
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    program.stderr?.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-LOG_KEPT)));
    await until('it is ready', async () => (await fetch(`http://127.0.0.1:${ops}/readyz`)).ok, 60_000);
  });

  after(async () => {
    if (program.exitCode === null && program.signalCode === null) {
      program.kill('SIGTERM');
      await once(program, 'exit', { signal: AbortSignal.timeout(60_000) });
    }
    await forge.stop();
    await rm(dir, { recursive: true });
  });

  /** It runs, and nobody met a fault that was not foreseen. */
  const alive = (): void => {
    const defect = log
      .split('\n')
      .find((line) => /"INTERNAL"|unhandled|uncaught/i.test(line) && /"stack"|ed (rejection|exception)/i.test(line));
    if (defect !== undefined) throw new Error(defect);
    if (program.exitCode !== null || program.signalCode !== null) {
      throw new Error(`it ended: ${program.exitCode ?? program.signalCode}; its log:\n${log.slice(-4000)}`);
    }
  };

  const descriptors = async (): Promise<number> => (await readdir(`/proc/${program.pid}/fd`)).length;
  const children = async (): Promise<string> => {
    alive();
    return (await readFile(`/proc/${program.pid}/task/${program.pid}/children`, 'utf8')).trim();
  };

  it('stays up, answers as it should, and gives back children and descriptors', async () => {
    let before: number | undefined;
    await fuzz('the program', {
      share: 0.15,
      input: fc.tuple(story, fc.array(conversation, { maxLength: 3 })),
      async run([told, conversations]) {
        const teller = new Teller({ port, path: '/mcp', bearer: (user) => user });
        const all = await Promise.allSettled([
          teller.tell(told),
          ...conversations.map(async (one) => {
            const fill = (bytes: Buffer): Buffer =>
              Buffer.from(bytes.toString('latin1').replaceAll(SESSION, 'none'), 'latin1');
            readAnswers((await talk(port, one, fill)).bytes);
          }),
        ]);
        alive();
        for (const one of all) if (one.status === 'rejected') throw one.reason as Error;
      },
      async settled() {
        await until('its children are gone', async () => (await children()) === '', 30_000);
        before ??= await descriptors();
        const most = before + DESCRIPTORS;
        await until('its descriptors are given back', async () => (await descriptors()) <= most, 30_000);
        alive();
      },
    });
  });
});
