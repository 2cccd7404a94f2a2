/** The official conformance suite's command for servers: its scenarios against an endpoint, and their score. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import type { Check as AnyCheck } from './conformance';

const PACKAGE = resolve(__dirname, '../../node_modules/@modelcontextprotocol/conformance');
const PROGRAM = join(PACKAGE, 'dist/index.js');
const DEADLINE_MS = 240_000;
const OUTPUT_KEPT = 8 * 1024;

export interface Check extends AnyCheck {
  readonly details?: { readonly message?: unknown };
}

/** A revision that the suite has requirements for. */
export type Revision = '2025-11-25' | '2026-07-28';

/** What came of one scenario. */
export interface Scenario {
  readonly name: string;
  /** Empty where the scenario came to no end. */
  readonly checks: readonly Check[];
  readonly passed: boolean;
}

export interface ServerVerdict {
  /** The suite's exit status. */
  readonly status: number | null;
  /** Those that the revision requires, in the suite's order; one that did not run has not passed. */
  readonly required: readonly Scenario[];
  /** What the suite runs beside them and does not score. */
  readonly others: readonly Scenario[];
  /** For example `30/30`. */
  readonly score: string;
  /** The end of what the suite printed. */
  readonly output: string;
}

/** Runs what a revision requires of servers. @param url of an endpoint on loopback that asks for no login. */
export async function conformanceServer(url: string, revision: Revision): Promise<ServerVerdict> {
  const wanted = await requirements(revision);
  const { status, scenarios, output } = await suite(['--url', url, '--requirements', revision]);
  const required = wanted.map(
    (name) => scenarios.find((one) => one.name === name) ?? { name, checks: [], passed: false },
  );
  return {
    status,
    required,
    others: scenarios.filter(({ name }) => !wanted.includes(name)),
    score: `${required.filter(({ passed }) => passed).length}/${wanted.length}`,
    output,
  };
}

/** Lines for people: each scenario with the score of its checks, and what the suite has against the server or to remark. */
export function report(scenarios: readonly Scenario[]): string[] {
  return scenarios.flatMap(({ name, checks }) => {
    const scored = checks.filter(({ status }) => status === 'SUCCESS' || status === 'FAILURE');
    const passed = scored.filter(({ status }) => status === 'SUCCESS');
    const remarks = checks.flatMap(({ id, status, errorMessage, details }) => {
      const text = errorMessage ?? (typeof details?.message === 'string' ? details.message : undefined);
      return status === 'SUCCESS' || text === undefined ? [] : [`  ${status} ${id}: ${text}`];
    });
    return [`${name}: ${passed.length} of ${scored.length} checks passed`, ...remarks];
  });
}

/** The names of a revision's scenarios for servers, as the package has them. */
async function requirements(revision: Revision): Promise<readonly string[]> {
  const file = await readFile(join(PACKAGE, 'requirements', `${revision}.yaml`), 'utf8');
  return (parse(file) as { server: string[] }).server;
}

async function suite(
  options: readonly string[],
): Promise<{ status: number | null; scenarios: Scenario[]; output: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'fmo-conformance-'));
  try {
    const run = spawn(process.execPath, [PROGRAM, 'server', ...options, '--output-dir', folder], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1' },
      signal: AbortSignal.timeout(DEADLINE_MS),
      killSignal: 'SIGKILL',
    });
    let output = '';
    const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-OUTPUT_KEPT));
    run.stdout.on('data', keep);
    run.stderr.on('data', keep);
    const [status] = (await once(run, 'close')) as [number | null];
    return { status, scenarios: await scenariosIn(folder), output };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Folders are named `server-<scenario>-<time>`, in the order in which they were run. */
async function scenariosIn(folder: string): Promise<Scenario[]> {
  const names = (await readdir(folder)).sort((a, b) => timeOf(a).localeCompare(timeOf(b)));
  return Promise.all(
    names.map(async (name) => {
      const file = await readFile(join(folder, name, 'checks.json'), 'utf8').catch(() => '[]');
      const checks = JSON.parse(file) as Check[];
      const passed =
        checks.some(({ status }) => status === 'SUCCESS') && !checks.some(({ status }) => status === 'FAILURE');
      return { name: name.slice('server-'.length, -timeOf(name).length - 1), checks, passed };
    }),
  );
}

/** As `2026-01-02T03-04-05-678Z`. */
function timeOf(name: string): string {
  return /\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(name)?.[0] ?? '';
}
