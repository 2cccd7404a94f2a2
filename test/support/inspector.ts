/** The MCP inspector's command line: one run of it is one request, in a session of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { peerFolder } from './peers';

const DEADLINE_MS = 60_000;

/** What a run of it came to. */
export interface Inspection {
  /** The exit code, or the signal's name. */
  readonly exit: number | string;
  /** What it printed as JSON; undefined where it printed nothing. */
  readonly printed: any;
  readonly stderr: string;
}

export interface InspectorRun {
  readonly done: Promise<Inspection>;
  signal(signal: NodeJS.Signals): void;
}

/**
 * Starts it.
 * @param more its options, as `--method tools/list`. @param token goes on the command line, as it does for its users.
 */
export async function inspector(url: string, token: string, ...more: string[]): Promise<InspectorRun> {
  const program = join(await peerFolder('inspector'), 'node_modules/.bin/mcp-inspector');
  const home = await mkdtemp(join(tmpdir(), 'fmo-inspector-'));
  const options = ['--transport', 'http', '--format', 'json', '--header', `Authorization: Bearer ${token}`];
  // Its own environment is only what it is given; process.execPath is the Node of the tests, which it needs.
  const child = spawn(process.execPath, [program, '--cli', url, ...options, ...more], {
    env: { PATH: process.env['PATH'], HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const run = async (): Promise<Inspection> => {
    const patience = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    clearTimeout(patience);
    await rm(home, { recursive: true, force: true });
    return { exit: code ?? signal!, printed: stdout === '' ? undefined : JSON.parse(stdout), stderr };
  };
  return { done: run(), signal: (signal) => void child.kill(signal) };
}

/** Runs it to its end. */
export async function inspect(url: string, token: string, ...more: string[]): Promise<Inspection> {
  return (await inspector(url, token, ...more)).done;
}

/** Options for one call of a tool. */
export const calling = (name: string, args: object = {}): string[] => [
  ...['--method', 'tools/call', '--tool-name', name, '--tool-args-json', JSON.stringify(args)],
];
