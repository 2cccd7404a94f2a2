/** A whole gateway with real children in bearer mode, and the forge behind it: a real one, or one that knows names only where nothing else is asked of it. */
import { type LocalGateway, startGateway } from './gateway';

/** What a gateway in bearer mode needs of a forge. */
export interface BearerForge {
  readonly url: string;
  /** A user, with a token that may do everything. */
  user(name: string): { readonly tokens: { readonly full: string } };
  stop(): Promise<void>;
}

/** Settings of a server but for its name and its forge. */
export type ServerSettings = Readonly<Record<string, unknown>> & { readonly command: readonly string[] };

export interface BearerGateway<F extends BearerForge> extends LocalGateway {
  readonly forge: F;
  /** The endpoint of a server. */
  urlOf(server: string): string;
  /** A user's token that may do everything. */
  tokenOf(user: string): string;
  /** Stops the gateway, and then its forge. */
  stop(): Promise<void>;
}

/**
 * Starts both.
 * @param servers by name; children have a second to end by themselves unless a server says otherwise.
 * @param settings of the gateway's but for `auth` and `servers`.
 */
export async function startBearerGateway<F extends BearerForge>(
  startForge: () => Promise<F>,
  servers: Readonly<Record<string, ServerSettings>>,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<BearerGateway<F>> {
  const forge = await startForge();
  const gateway = await startGateway({
    ...settings,
    auth: { mode: 'bearer' },
    servers: Object.entries(servers).map(([name, server]) => ({
      ...{ name, stopGrace: '1s', ...server },
      forgejo: { url: forge.url, ...(server['forgejo'] as object | undefined) },
    })),
  }).catch(async (thrown: unknown) => {
    await forge.stop();
    throw thrown;
  });
  return {
    ...gateway,
    forge,
    urlOf: (server) => `${gateway.gateway.url}/servers/${server}/mcp`,
    tokenOf: (user) => forge.user(user).tokens.full,
    stop: () => gateway.stop().finally(() => forge.stop()),
  };
}
