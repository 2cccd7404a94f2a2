/** The official conformance suite's command for authorization servers, with a scripted browser in place of the person whom it waits for. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Browse } from './oauth-application';

const PROGRAM = resolve(__dirname, '../../node_modules/@modelcontextprotocol/conformance/dist/index.js');
const DEADLINE_MS = 60_000;

export interface AuthorizationRun {
  readonly issuer: string;
  readonly clientId: string;
  /** Of loopback; the client's redirect URI is `/callback` there. */
  readonly port: number;
  /** RFC 8707. */
  readonly resource?: string;
  /** Follows the URL that it prints as far as the redirect URI. */
  readonly browse: Browse;
}

/** One check of the suite's. */
export interface Check {
  readonly id: string;
  readonly status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'SKIPPED' | 'INFO';
  readonly errorMessage?: string;
}

export interface Verdict {
  readonly status: number | null;
  readonly checks: readonly Check[];
}

/** Runs all its scenarios. What it prints is not passed on: there are codes in it. */
export async function conformanceAuthorization(run: AuthorizationRun): Promise<Verdict> {
  const folder = await mkdtemp(join(tmpdir(), 'fmo-conformance-'));
  try {
    const { issuer, clientId, port, resource } = run;
    const options = ['--url', issuer, '--client-id', clientId, '--port', String(port), '--output-dir', folder];
    const further = resource === undefined ? [] : ['--resource', resource];
    const suite = spawn(process.execPath, [PROGRAM, 'authorization', ...options, ...further], {
      stdio: ['ignore', 'pipe', 'inherit'],
      signal: AbortSignal.timeout(DEADLINE_MS),
      killSignal: 'SIGKILL',
    });
    const closed = once(suite, 'close') as Promise<[number | null]>;
    await Promise.all([closed, login(suite.stdout, run.browse)]).finally(() => suite.kill());
    const [status] = await closed;
    return { status, checks: await checksIn(folder) };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Goes where the suite sends a person, and back to its callback. It prints the URL, and then that it listens. */
async function login(output: NodeJS.ReadableStream, browse: Browse): Promise<void> {
  let text = '';
  let done = false;
  for await (const chunk of output) {
    text += String(chunk);
    if (done || !text.includes('Callback server started')) continue;
    done = true;
    const url = /^https?:\S+[?&]code_challenge=\S+$/m.exec(text)?.[0];
    if (url === undefined) throw new Error('the suite printed no authorization URL');
    const answer = await fetch(await browse(new URL(url)));
    if (!answer.ok) throw new Error(`the suite's callback answered ${answer.status}`);
  }
}

async function checksIn(folder: string): Promise<Check[]> {
  const files = await Promise.all(
    (await readdir(folder)).sort().map((scenario) => readFile(join(folder, scenario, 'checks.json'), 'utf8')),
  );
  return files.flatMap((file) => JSON.parse(file) as Check[]);
}
