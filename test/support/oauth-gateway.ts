/** A whole gateway in this process that users log in to through a real forge, with its two applications made there. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureForgeApplications, type ForgeApplicationKind } from '../../scripts/forge-applications';
import type { Forge } from './forge';
import { type LocalGateway, startGateway } from './gateway';
import { Logins } from './logins';
import type { OAuthBrowser } from './oauth-browser';
import type { LoggedIn, LoginOptions } from './oauth-login';
import { freePort } from './ports';

export interface OAuthGateway extends LocalGateway {
  /** The MCP endpoint of a server; `/mcp` without a name. */
  urlOf(server?: string): string;
  /** A new browser of a user of the forge. */
  browser(user: string): OAuthBrowser;
  /** Logs in; at `/mcp` with a new browser unless said otherwise. */
  login(user: string, options?: Partial<LoginOptions>): Promise<LoggedIn>;
  /** An access token of the user's one login at this server, made when it is first asked for. */
  token(user: string, server?: string): Promise<string>;
  /** Tokens, codes, states and cookies of all these logins, and the applications' secrets. */
  secrets(): string[];
}

export interface OAuthGatewayOptions {
  readonly forge: Forge;
  /** As in a file. Every server is given the forge and the applications, beside what it says of them. */
  readonly settings: Readonly<Record<string, unknown>> & { readonly servers: readonly ServerSettings[] };
  /** Where the gateway listens, so that one can take another's place; a free port if absent. */
  readonly port?: number;
}

type ServerSettings = Readonly<Record<string, unknown>> & { readonly forgejo?: Readonly<Record<string, unknown>> };

/** Starts it. The port is chosen first, because the applications name the gateway's URL. */
export async function startOAuthGateway({ forge, settings, port }: OAuthGatewayOptions): Promise<OAuthGateway> {
  const listen = `127.0.0.1:${port ?? (await freePort())}`;
  const made = await ensureForgeApplications({ url: forge.url, admin: forge.admin, publicUrl: `http://${listen}` });
  const folder = await mkdtemp(join(tmpdir(), 'fmo-applications-'));
  const application = async (kind: ForgeApplicationKind) => {
    const clientSecretFile = join(folder, kind);
    await writeFile(clientSecretFile, made[kind].clientSecret, { mode: 0o600 });
    return { clientId: made[kind].clientId, clientSecretFile };
  };
  const forgejo = {
    url: forge.url,
    applications: { read: await application('read'), write: await application('write') },
  };
  const auth = { mode: 'oauth', ...(settings['auth'] as object | undefined) };
  const servers = settings.servers.map((server) => ({ ...server, forgejo: { ...forgejo, ...server.forgejo } }));
  const gateway = await startGateway({ ...settings, auth, servers }, listen).catch(async (error: unknown) => {
    await rm(folder, { recursive: true });
    throw error;
  });
  const logins = new Logins(forge.url, (user) => forge.user(user));
  const urlOf = (server?: string): string =>
    server === undefined ? gateway.url : `${gateway.gateway.url}/servers/${server}/mcp`;
  return {
    ...gateway,
    urlOf,
    browser: (user) => logins.browser(user),
    login: (user, options = {}) => logins.login(user, { url: gateway.url, ...options }),
    token: (user, server) => logins.token(user, urlOf(server)),
    secrets: () => [...logins.secrets(), made.read.clientSecret, made.write.clientSecret],
    async stop() {
      await gateway.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
