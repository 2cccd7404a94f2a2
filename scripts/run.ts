/**
 * `make run`: the product on this machine, without a cluster. In front of FORGEJO_URL where that is given (FORGEJO_API_URL where the API has
 * another address), else of a forge that it installs, starts and seeds. Users log in with a browser; AUTH=bearer takes access tokens instead.
 * Ends everything on Ctrl-C.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { givenApplications, howToMakeApplications, keepApplications } from './run/applications';
import { bearerGuide, oauthGuide } from './run/guide';
import { startLocalForge } from './run/local-forge';
import { peer } from './run/peer';
import { healthy, Processes, root, say } from './run/processes';

const data = join(root, '.run/local');
const OPS = '127.0.0.1:9090';
/** What the gateway has no use for, secrets among them. */
const OWN_VARIABLES = /^(FORGEJO_|AUTH$|FORGE_PORT$|PUBLIC_URL$)/;

const processes = new Processes();

/** What the environment asks for. */
function wishes(env: NodeJS.ProcessEnv) {
  const auth = env['AUTH'] ?? 'oauth';
  if (auth !== 'oauth' && auth !== 'bearer') throw new Error(`AUTH must be oauth or bearer, not ${auth}`);
  const port = Number(env['PORT'] ?? 8080);
  const withoutSlash = (url: string | undefined): string | undefined => url?.replace(/\/+$/, '');
  return {
    auth,
    port,
    forgePort: Number(env['FORGE_PORT'] ?? 3000),
    publicUrl: withoutSlash(env['PUBLIC_URL']) ?? `http://127.0.0.1:${port}`,
    forge: withoutSlash(env['FORGEJO_URL']),
    apiUrl: withoutSlash(env['FORGEJO_API_URL']),
    child: env['FORGEJO_MCP'],
    applications: givenApplications(env),
  } as const;
}

/** The child: FORGEJO_MCP where it is given (a path to goern's forgejo-mcp), else one that the registries have. */
async function child(given: string | undefined): Promise<{ command: string[]; tokenEnv: string[] }> {
  if (given !== undefined)
    return { command: [resolve(given), '--transport', 'stdio'], tokenEnv: ['FORGEJO_ACCESS_TOKEN'] };
  return { command: [join(await peer('forgejo-mcp-rs'), 'forgejo-mcp-rs')], tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] };
}

async function main(): Promise<void> {
  process.on('SIGINT', () => void processes.stop(0));
  process.on('SIGTERM', () => void processes.stop(0));
  const wanted = wishes(process.env);
  const { auth, publicUrl } = wanted;
  if (auth === 'oauth' && wanted.forge !== undefined && wanted.applications === undefined)
    throw new Error(howToMakeApplications(wanted.forge, publicUrl));
  await mkdir(data, { recursive: true, mode: 0o700 });
  const { command, tokenEnv } = await child(wanted.child);
  const local =
    wanted.forge === undefined ? await startLocalForge(processes, join(data, 'forge'), wanted.forgePort) : undefined;
  const forge = wanted.forge ?? local!.url;
  const applications = auth === 'oauth' ? (wanted.applications ?? (await local!.applications(publicUrl))) : undefined;

  const config = {
    dataDir: join(data, 'gateway'),
    http: { listen: `127.0.0.1:${wanted.port}`, publicUrl },
    ops: { listen: OPS },
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
  await healthy(`http://${OPS}/readyz`, 'the gateway');
  const guide = auth === 'oauth' ? oauthGuide : bearerGuide;
  process.stdout.write(guide({ publicUrl, forge, users: local?.seed.users }));
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  void processes.stop(1);
});
