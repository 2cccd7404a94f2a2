/**
 * `make run`: the product on this machine, without a cluster. In front of FORGEJO_URL where that is given (FORGEJO_API_URL where the API has
 * another address), else of a forge that it installs, starts and seeds. Ends everything on Ctrl-C.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { type Seed, seedForge } from './seed-forge';

const root = resolve(__dirname, '..');
const data = join(root, '.run/local');
const port = Number(process.env['PORT'] ?? 8080);
const forgePort = Number(process.env['FORGE_PORT'] ?? 3000);
const children: ChildProcess[] = [];

const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function peer(name: string): Promise<string> {
  const { stdout } = await promisify(execFile)(join(root, 'test/peers/get.sh'), [name], { maxBuffer: 1 << 20 });
  return stdout.trim();
}

/** Starts a program that must stay up: when it ends, everything does. */
function start(
  name: string,
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  quiet: boolean,
): ChildProcess {
  const child = spawn(command, args, {
    env,
    cwd: root,
    stdio: ['ignore', quiet ? 'ignore' : 'inherit', quiet ? 'ignore' : 'inherit'],
  });
  child.once('exit', (code, signal) => {
    if (stopping) return;
    say(`${name} ended (${signal ?? code}); stopping`);
    void stop(1);
  });
  children.push(child);
  return child;
}

let stopping = false;
/** Ends the children in the reverse order of their start, and then this program. */
async function stop(code: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  for (const child of children.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const patience = setTimeout(() => child.kill('SIGKILL'), 50_000);
    await exited;
    clearTimeout(patience);
  }
  process.exit(code);
}

/** Waits until a URL answers 200; a program that ends meanwhile stops everything by itself. */
async function healthy(url: string, what: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.ok) return;
    await new Promise((next) => setTimeout(next, 100));
  }
  throw new Error(`${what} did not get ready within a minute`);
}

/** The local forge and its users; they are the same at every start. */
async function localForge(): Promise<{ url: string; seed: Seed }> {
  say('forge: a local one (give FORGEJO_URL for yours); the first time it is built, which takes some minutes');
  const home = await peer('forge');
  const folder = join(data, 'forge');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const url = `http://127.0.0.1:${forgePort}`;
  start(
    'the forge',
    join(root, 'test/peers/forge/run.sh'),
    ['serve'],
    {
      PATH: process.env['PATH'],
      FORGE_HOME: home,
      FORGE_DATA: folder,
      FORGE_HTTP_PORT: String(forgePort),
    },
    true,
  );
  await healthy(`${url}/api/healthz`, 'the forge');
  const file = join(folder, 'seed.json');
  const previous = await readFile(file, 'utf8').then(
    (text) => JSON.parse(text) as Seed,
    () => undefined,
  );
  const admin = { name: 'forge-admin', password: await readFile(join(folder, 'admin-password'), 'utf8') };
  const seed = await seedForge({ url, admin, previous });
  await writeFile(file, JSON.stringify(seed), { mode: 0o600 });
  return { url, seed };
}

/** The child: FORGEJO_MCP where it is given (a path to goern's forgejo-mcp), else one that the registries have. */
async function child(): Promise<{ command: string[]; tokenEnv: string[] }> {
  const given = process.env['FORGEJO_MCP'];
  if (given !== undefined)
    return { command: [resolve(given), '--transport', 'stdio'], tokenEnv: ['FORGEJO_ACCESS_TOKEN'] };
  return { command: [join(await peer('forgejo-mcp-rs'), 'forgejo-mcp-rs')], tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] };
}

async function main(): Promise<void> {
  process.on('SIGINT', () => void stop(0));
  process.on('SIGTERM', () => void stop(0));
  await mkdir(data, { recursive: true, mode: 0o700 });
  const given = process.env['FORGEJO_URL']?.replace(/\/+$/, '');
  const { command, tokenEnv } = await child();
  const local = given === undefined ? await localForge() : undefined;
  const forge = given ?? local!.url;
  const publicUrl = process.env['PUBLIC_URL'] ?? `http://127.0.0.1:${port}`;
  const config = {
    dataDir: join(data, 'gateway'),
    http: { listen: `127.0.0.1:${port}`, publicUrl },
    ops: { listen: '127.0.0.1:9090' },
    log: { level: 'warn' },
    backend: { kind: 'process' },
    servers: [
      { name: 'forgejo', command, forgejo: { url: forge, apiUrl: process.env['FORGEJO_API_URL'] ?? forge, tokenEnv } },
    ],
  };
  const file = join(data, 'config.json');
  await writeFile(file, JSON.stringify(config, null, 2), { mode: 0o600 });
  const { FORGEJO_URL: _url, FORGEJO_MCP: _child, FORGEJO_API_URL: _api, ...env } = process.env;
  start(
    'the gateway',
    process.execPath,
    ['-r', 'ts-node/register/transpile-only', 'src/main.ts', '--config', file],
    env,
    false,
  );
  await healthy('http://127.0.0.1:9090/readyz', 'the gateway');

  const alice = local?.seed.users['alice'];
  const token = alice?.tokens.full ?? `<a token made at ${forge}/user/settings/applications>`;
  process.stdout.write(
    [
      '',
      `MCP endpoint   ${publicUrl}/mcp`,
      `forge          ${forge}`,
      ...(alice === undefined
        ? []
        : [`user           alice, whose private repository alice/private-notes nobody else can read`]),
      `token          ${token}`,
      '',
      'Paste this into a terminal for Claude Code:',
      `  claude mcp add --transport http forgejo ${publicUrl}/mcp --header "Authorization: Bearer ${token}"`,
      '',
      'Ctrl-C ends it.',
      '',
    ].join('\n'),
  );
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  void stop(1);
});
