/** What the environment asks `make run` for. */
import { type ForgeApplications } from '../forge-applications';
import { givenApplications } from './applications';

export interface Wishes {
  readonly auth: 'oauth' | 'bearer';
  readonly port: number;
  readonly opsPort: number;
  /** Of the local forge. */
  readonly forgePort: number;
  readonly publicUrl: string;
  /** A forge that is there already; undefined for a local one. */
  readonly forge: string | undefined;
  /** Where that forge's API is, if not there. */
  readonly apiUrl: string | undefined;
  /** Path of a `forgejo-mcp` to use. */
  readonly child: string | undefined;
  readonly applications: ForgeApplications | undefined;
}

/** Variables that the gateway has no use for, secrets among them. */
export const OWN_VARIABLES = /^(FORGEJO_|AUTH$|(FORGE_|OPS_)?PORT$|PUBLIC_URL$)/;

/** Reads them. An empty variable is as none. Throws an `Error` for people where one cannot be meant. */
export function wishesOf(env: NodeJS.ProcessEnv): Wishes {
  const auth = env['AUTH'] || 'oauth';
  if (auth !== 'oauth' && auth !== 'bearer') throw new Error(`AUTH must be oauth or bearer, not ${auth}`);
  const port = portOf(env, 'PORT', 8080);
  return {
    auth,
    port,
    opsPort: portOf(env, 'OPS_PORT', 9090),
    forgePort: portOf(env, 'FORGE_PORT', 3000),
    publicUrl: urlOf(env, 'PUBLIC_URL') ?? `http://127.0.0.1:${port}`,
    forge: urlOf(env, 'FORGEJO_URL'),
    apiUrl: urlOf(env, 'FORGEJO_API_URL'),
    child: env['FORGEJO_MCP'] || undefined,
    applications: givenApplications(env),
  };
}

function portOf(env: NodeJS.ProcessEnv, name: string, fallback: number): number {
  const given = env[name] || String(fallback);
  const port = Number(given);
  if (!/^\d+$/.test(given) || port < 1 || port > 65_535) throw new Error(`${name} must be a port, not ${given}`);
  return port;
}

function urlOf(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const given = env[name] || undefined;
  if (given !== undefined && !(/^https?:\/\//i.test(given) && URL.canParse(given)))
    throw new Error(`${name} must be a URL such as https://forge.example.com, not ${given}`);
  return given?.replace(/\/+$/, '');
}
