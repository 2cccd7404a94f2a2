/** oidc-provider's storage (its `Adapter`), as a factory over what each kind of record needs. */
import Provider, { type Adapter, type AdapterPayload } from 'oidc-provider';
import { asOAuthError } from './faults';
import type { Codes } from './codes';
import { accountOf, type GrantRecord, type Grants } from './grants';
import type { Interactions } from './interactions';
import type { FindDocument, RegisteredClients } from './ports';
import type { RefreshTokens } from './refresh-tokens';

export interface AdapterParts {
  readonly grants: Grants;
  readonly codes: Codes;
  readonly refreshTokens: RefreshTokens;
  readonly interactions: Interactions;
  readonly registered: RegisteredClients;
  readonly findDocument: FindDocument;
}

/** Makes the adapter for a model by its name. */
export function adapterFactory(parts: AdapterParts): (model: string) => Adapter {
  const { grants, codes, refreshTokens, interactions, registered, findDocument } = parts;
  const revokeByGrantId = async (grant: string): Promise<void> => void (await grants.revoke(grant));
  const models: Readonly<Record<string, Adapter>> = {
    Grant: adapter({
      find: async (id) => grantPayload(await grants.find(id)),
      destroy: revokeByGrantId,
    }),
    AuthorizationCode: adapter({
      find: (id) => codes.find(id),
      upsert: (id, payload, expiresIn = 0) => codes.save(id, payload, expiresIn),
      consume: (id) => codes.consume(id, Provider.ctx),
      destroy: (id) => codes.destroy(id),
      revokeByGrantId,
    }),
    RefreshToken: adapter({
      find: (id) => refreshTokens.find(id),
      upsert: (id, payload, expiresIn = 0) => refreshTokens.save(id, payload, expiresIn),
      consume: (id) => refreshTokens.consume(id),
      destroy: (id) => refreshTokens.destroy(id),
      revokeByGrantId,
    }),
    Interaction: adapter({
      find: (id) => interactions.find(id),
      upsert: (id, payload, expiresIn = 0) => interactions.save(id, payload, expiresIn),
      destroy: (id) => interactions.destroy(id),
    }),
    Client: adapter({
      // Documents are found here too, so that oidc-provider never fetches one by itself.
      find: (id) => (/^https?:/i.test(id) ? findDocument(id) : registered.find(id)),
      upsert: (id, payload) => registered.save(id, payload),
    }),
    // There is no browser session here: the login is at Forgejo, and a remembered one would issue codes without a page.
    Session: adapter({ find: nothing, findByUid: nothing, upsert: noop, destroy: noop }),
    // Access tokens are JWTs and are stored nowhere; their grant decides. Registrations cannot be managed, so they have no tokens.
    AccessToken: adapter({ find: nothing, revokeByGrantId }),
    RegistrationAccessToken: adapter({ find: nothing, destroy: noop }),
  };
  // Models of features that are off are asked for by name only; a call would be a fault.
  return (model) => models[model] ?? adapter({});
}

const nothing = async (): Promise<undefined> => undefined;
const noop = async (): Promise<void> => undefined;

/** A whole adapter of the few methods that a model uses; any other is refused. What they throw is told in OAuth's words. */
function adapter(methods: Partial<Adapter>): Adapter {
  const call = <K extends keyof Adapter>(name: K): Adapter[K] => {
    const method = methods[name] as ((...args: unknown[]) => Promise<unknown>) | undefined;
    return (async (...args: unknown[]) => {
      if (method === undefined) throw new TypeError(`this model has no ${name}`);
      try {
        return await method(...args);
      } catch (thrown) {
        throw asOAuthError(thrown);
      }
    }) as Adapter[K];
  };
  return {
    upsert: call('upsert'),
    find: call('find'),
    findByUserCode: call('findByUserCode'),
    findByUid: call('findByUid'),
    consume: call('consume'),
    destroy: call('destroy'),
    revokeByGrantId: call('revokeByGrantId'),
  };
}

function grantPayload(grant: GrantRecord | undefined): AdapterPayload | undefined {
  if (grant === undefined) return undefined;
  return {
    kind: 'Grant',
    jti: grant.id,
    accountId: accountOf(grant.user),
    clientId: grant.client.id,
    resources: { [grant.resource]: grant.scopes.join(' ') },
    iat: Math.floor(grant.createdAt / 1000),
    exp: Math.floor(grant.expiresAt / 1000),
  };
}
