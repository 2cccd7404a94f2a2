/** What is on in oidc-provider, which is no more than MCP clients need, and what is put right in it. */
import type { Configuration, interactionPolicy, Interaction, KoaContextWithOIDC } from 'oidc-provider';
import { errors, interactionPolicy as policies } from 'oidc-provider';
import { SCOPES } from '../resource/metadata';
import { adapterFactory, type AdapterParts } from './adapter';
import { asOAuthError } from './faults';
import { ROUTES } from './metadata';
import type { ProviderOptions } from './ports';

/** Consent, first and always: nothing that a browser remembers of an earlier login can take its place. */
function consentPolicy(): interactionPolicy.DefaultPolicy {
  const { base, Check, Prompt } = policies;
  const policy = base();
  policy.clear();
  const asked = new Check('consent_required', 'the user has to consent', 'consent_required', (ctx) => {
    if (ctx.oidc.result?.consent === undefined) return Check.REQUEST_PROMPT;
    // Suspended between the login and its end.
    if (ctx.oidc.account === undefined) throw new errors.AccessDenied('the user has to log in again');
    return Check.NO_NEED_TO_PROMPT;
  });
  // The name matters: SDKs send `prompt=consent`, and a prompt that is not known is an error.
  policy.add(new Prompt({ name: 'consent', requestable: true }, asked));
  return policy;
}

/** The configuration. The provider is built anew with it when the signing keys change. */
export function configuration(options: ProviderOptions, parts: AdapterParts): Configuration {
  const { urls, signing, lifetimes } = options;
  const secure = urls.base.startsWith('https:');
  const prefix = secure ? '__Secure-' : '';
  const cookie = { httpOnly: true, sameSite: 'lax', secure, signed: true } as const;
  return {
    adapter: adapterFactory(parts),
    clients: options.clients.map((client) => ({ ...client })),
    jwks: { keys: signing.keys.map(({ jwk }) => ({ ...jwk })) },
    routes: { ...ROUTES },
    scopes: [],
    responseTypes: ['code'],
    clientAuthMethods: ['none'],
    clientDefaults: {
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      id_token_signed_response_alg: 'ES256',
    },
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    pkce: { required: () => true },
    cookies: {
      keys: options.cookieKeys.map(({ secret }) => secret.toString('base64url')),
      names: { session: `${prefix}fmo_session`, interaction: `${prefix}fmo_login`, resume: `${prefix}fmo_resume` },
      long: cookie,
      short: cookie,
    },
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
      registration: {
        enabled: true,
        issueRegistrationAccessToken: false,
        idFactory: (ctx) => admitRegistration(ctx, options),
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => urls.default,
        getResourceServerInfo: (ctx, resource) => {
          // A grant is for one server, and the consent page shows one.
          if (Array.isArray(ctx.oidc.params?.resource))
            throw new errors.InvalidTarget('ask for one MCP server at a time');
          if (urls.canonical(resource) !== resource) throw new errors.InvalidTarget('there is no such MCP server here');
          return {
            scope: SCOPES.join(' '),
            audience: resource,
            accessTokenFormat: 'jwt',
            accessTokenTTL: lifetimes.accessToken,
            jwt: { sign: { alg: 'ES256', kid: signing.current.jwk.kid } },
          };
        },
      },
    },
    extraTokenClaims: (_ctx, token) => ('grantId' in token ? { gid: token.grantId } : {}),
    // Without this, refresh tokens are for those who ask for `offline_access`, and end with a browser session that there never is.
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: async () => false,
    rotateRefreshToken: true,
    ttl: {
      AccessToken: lifetimes.accessToken,
      AuthorizationCode: lifetimes.code,
      Grant: lifetimes.grant,
      Interaction: lifetimes.interaction,
      RefreshToken: lifetimes.refreshToken,
      Session: lifetimes.interaction,
    },
    clockTolerance: 0,
    interactions: {
      policy: consentPolicy(),
      url: (_ctx: KoaContextWithOIDC, interaction: Interaction) => options.interactionPath(interaction.uid),
    },
    // Only what this very login consented to; never what some session remembers.
    loadExistingGrant: async (ctx) => {
      const id = ctx.oidc.result?.consent?.grantId;
      return id === undefined ? undefined : ctx.oidc.provider.Grant.find(id);
    },
    findAccount: async (ctx, account, token) => {
      if (token !== undefined) nameResource(ctx, options);
      // At the end of a login the grant is named by what the interaction found, later by the code or the refresh token.
      const id = token !== undefined && 'grantId' in token ? token.grantId : ctx.oidc.result?.consent?.grantId;
      try {
        const grant = id === undefined ? undefined : await options.grants.find(id);
        if (grant !== undefined && (await options.suspended(grant))) return undefined;
      } catch (thrown) {
        throw asOAuthError(thrown);
      }
      return { accountId: account, claims: async () => ({ sub: account }) };
    },
    renderError: (ctx, out) => {
      const { error, error_description: description = '' } = out;
      const page = options.errorPage({
        status: ctx.status,
        error,
        description,
        requestId: ctx.res.getHeader('X-Request-Id')?.toString() ?? 'none',
      });
      ctx.body = page.body;
      ctx.set({ ...page.headers });
    },
  };
}

/** The body of a registration as the policy wants it, in place of the one that came; and the id that follows from it. */
function admitRegistration(ctx: KoaContextWithOIDC, { register }: ProviderOptions): string {
  try {
    const { clientId, metadata } = register(ctx.oidc.body);
    Object.assign(ctx.oidc, { body: { ...metadata } });
    return clientId;
  } catch (thrown) {
    throw asOAuthError(thrown);
  }
}

/**
 * A token request may name the resource in another way than the authorization request did (a slash more). This is the first place on the way
 * where it can be put right: the account is looked for just before the resource is compared.
 */
function nameResource(ctx: KoaContextWithOIDC, { urls }: ProviderOptions): void {
  const params = ctx.oidc.params as Record<string, unknown> | undefined;
  if (typeof params?.resource === 'string') params.resource = urls.canonical(params.resource) ?? params.resource;
}
