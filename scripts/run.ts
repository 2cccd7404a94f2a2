/**
 * `make run`: the product on this machine, without a cluster. In front of FORGEJO_URL where that is given (FORGEJO_API_URL where the API has
 * another address), else of a forge that it installs, starts and seeds. Users log in with a browser; AUTH=bearer takes access tokens instead.
 * PORT, OPS_PORT and FORGE_PORT choose other ports. Ends everything on Ctrl-C.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { howToMakeApplications, keepApplications } from './run/applications';
import { forgeAnswers, portsAreFree } from './run/checks';
import { bearerGuide, oauthGuide } from './run/guide';
import { startLocalForge } from './run/local-forge';
import { peer } from './run/peer';
import { healthy, Processes, root, say } from './run/processes';
import { OWN_VARIABLES, wishesOf } from './run/wishes';

const data = join(root, '.run/local');
const processes = new Processes();

/** The child: FORGEJO_MCP where it is given (a path to goern's forgejo-mcp), else one that the registries have. */
async function child(given: string | undefined): Promise<{ command: string[]; tokenEnv: string[] }> {
  if (given !== undefined)
    return { command: [resolve(given), '--transport', 'stdio'], tokenEnv: ['FORGEJO_ACCESS_TOKEN'] };
  return {
    command: [join(await peer('forgejo-mcp-rs'), 'forgejo-mcp-rs')],
    tokenEnv: ['FORGEJO_TOKEN_READ_ONLY', 'FORGEJO_TOKEN_WRITE'], // what it may do is decided by the login, not by the variable
  };
}

async function main(): Promise<void> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)
    process.on(signal, () => processes.interrupt());
  const wanted = wishesOf(process.env);
  const { auth, port, opsPort, forgePort, publicUrl } = wanted;
  const ops = `127.0.0.1:${opsPort}`;
  await portsAreFree({ PORT: port, OPS_PORT: opsPort, ...(wanted.forge === undefined && { FORGE_PORT: forgePort }) });
  if (wanted.forge !== undefined) await forgeAnswers(wanted.apiUrl ?? wanted.forge);
  if (auth === 'oauth' && wanted.forge !== undefined && wanted.applications === undefined)
    throw new Error(howToMakeApplications(wanted.forge, publicUrl));
  await mkdir(data, { recursive: true, mode: 0o700 });
  const { command, tokenEnv } = await child(wanted.child);
  const local =
    wanted.forge === undefined ? await startLocalForge(processes, join(data, 'forge'), forgePort) : undefined;
  const forge = wanted.forge ?? local!.url;
  const applications = auth === 'oauth' ? (wanted.applications ?? (await local!.applications(publicUrl))) : undefined;

  const config = {
    dataDir: join(data, 'gateway'),
    http: { listen: `127.0.0.1:${port}`, publicUrl },
    ops: { listen: ops },
    log: { level: 'warn' },
    auth: { mode: auth },
    backend: { kind: 'process' },
    servers: [
      {
        name: 'forgejo',
        command,
        forgejo: {
          url: forge,
          apiUrl: wanted.apiUrl ?? forge,
          tokenEnv,
          ...(applications && { applications: await keepApplications(join(data, 'applications'), applications) }),
        },
      },
    ],
  };
  const file = join(data, 'config.json');
  await writeFile(file, JSON.stringify(config, null, 2), { mode: 0o600 });
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OWN_VARIABLES.test(name)));
  processes.start(
    'the gateway',
    process.execPath,
    ['-r', 'ts-node/register/transpile-only', 'src/main.ts', '--config', file],
    env,
  );
  await healthy(`http://${ops}/readyz`, 'the gateway');
  const guide = auth === 'oauth' ? oauthGuide : bearerGuide;
  process.stdout.write(guide({ publicUrl, forge, users: local?.seed.users }));
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  void processes.stop(1);
});
