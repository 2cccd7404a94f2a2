/** A whole gateway before a real forge, made to be attacked: alice is the victim, bob the attacker. Both clients of the configuration redirect to https. */
import { type Forge, startForge } from './forge';
import { OAUTH_CLIENTS, RawClient, SteppedLogin, type Stepper } from './attacker';
import { type OAuthGateway, startOAuthGateway } from './oauth-gateway';
import { childCommand } from './peers';

export interface Attacked {
  readonly forge: Forge;
  readonly gateway: OAuthGateway;
  /** Of the gateway, without a path. */
  readonly base: string;
  /** Registers a client of its own. */
  client(name: string, redirect?: string): Promise<RawClient>;
  /** A client of the configuration, whose consent may be remembered. */
  trusted(redirect?: string): RawClient;
  login(user: string, client: RawClient, browser?: Stepper): SteppedLogin;
  stop(): Promise<void>;
}

/** @param oauth settings of `auth.oauth` beside the clients. */
export async function attacked(oauth: Readonly<Record<string, unknown>> = {}): Promise<Attacked> {
  const forge = await startForge({ users: ['alice', 'bob'] });
  const command = [await childCommand('fixture-child')];
  const gateway = await startOAuthGateway({
    forge,
    settings: {
      sessions: { maxPerUser: 100 },
      auth: { oauth: { clients: OAUTH_CLIENTS, ...oauth } },
      servers: [
        { name: 'fixture', command },
        { name: 'other', command },
      ],
    },
  }).catch(async (error: unknown) => {
    await forge.stop();
    throw error;
  });
  const base = gateway.gateway.url;
  return {
    forge,
    gateway,
    base,
    client: (name, redirect) => RawClient.register(base, name, redirect),
    trusted: (redirect = OAUTH_CLIENTS[0].redirectUris[0]) => new RawClient(base, OAUTH_CLIENTS[0].clientId, redirect),
    login: (user, client, browser) => new SteppedLogin(forge.url, forge.user(user), client, browser),
    async stop() {
      await gateway.stop();
      await forge.stop();
    },
  };
}
