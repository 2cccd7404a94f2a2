/** What of OAuth mode depends on the public URL: issuer and resources, clients, and the pages of a login. */
import { ClientDocuments, DOCUMENT_DEFAULTS, type KeptDocument } from '../auth/clients/documents';
import { documentFetch, FETCH_DEFAULTS } from '../auth/clients/document-fetch';
import { addressGuard } from '../auth/clients/addresses';
import { normaliseClientMetadata } from '../auth/clients/metadata';
import { Rate } from '../auth/clients/rate';
import { DEFAULT_REDIRECT_POLICY, type RedirectPolicy } from '../auth/clients/redirect-uri';
import { register, type Registration, REGISTRATION_DEFAULTS, Registrations } from '../auth/clients/registrations';
import { publicDns } from '../auth/clients/resolver';
import { Connections, type UserSessions } from '../auth/connections/connections';
import type { Scope } from '../auth/context';
import { deriveKeys } from '../auth/keys/derive';
import type { SigningKeyRing } from '../auth/keys/ring';
import { RememberedConsents } from '../auth/login/consents';
import { CookieSeal } from '../auth/login/cookie-seal';
import { LoginFlow, type LoginOutcome } from '../auth/login/flow';
import { FormTokens } from '../auth/login/form-tokens';
import { ticketName, type TripRecord, Trips } from '../auth/login/trips';
import type { GrantRecord, Grants } from '../auth/provider/grants';
import { metadataAt, ROUTES } from '../auth/provider/metadata';
import { LIFETIMES } from '../auth/provider/ports';
import type { ProviderRecords } from '../auth/provider/records';
import { AuthorizationServer } from '../auth/provider/server';
import { OAuthAuthenticator } from '../auth/resource/authenticator';
import { resourceMetadata } from '../auth/resource/metadata';
import { ResourceUrls } from '../auth/resource/urls';
import { AccessTokenVerifier } from '../auth/resource/verifier';
import type { ServerCatalog } from '../catalog/contract';
import type { Clock } from '../clock';
import type { Config } from '../config/load';
import { AppError } from '../errors';
import type { Forges } from '../forgejo/forges';
import { rateKey } from '../http/address';
import { Cookies } from '../http/cookies';
import type { BodyReader } from '../http/mcp/body';
import { errorPage } from '../http/pages/error';
import type { RecordStore } from '../stores/contract';
import { collection, type SealingKey } from '../stores/sealed';
import { connectionsObserver, loginObserver, providerObserver } from '../telemetry/audit';
import type { Logger } from '../telemetry/log';
import type { Metrics } from '../telemetry/metrics';
import type { Served } from './identity';

export interface LoginsOptions {
  readonly config: Config;
  readonly catalog: ServerCatalog;
  readonly publicUrl: string;
  readonly bodies: BodyReader;
  readonly store: RecordStore;
  readonly masters: readonly SealingKey[];
  readonly ring: SigningKeyRing;
  readonly kept: ProviderRecords;
  readonly grants: Grants;
  /** A grant that lives, of a user whose tokens at the forge are good. */
  readonly usable: (id: string, fresh?: { readonly fresh?: boolean }) => Promise<GrantRecord | undefined>;
  readonly forget: (grant: string) => void;
  readonly forges: Forges;
  readonly sessions: UserSessions;
  readonly scopes: readonly Scope[];
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Requests of one address: pages of logins (a login has five), and tokens. All people of an office may share an address. */
const PAGES = { burst: 600, perMinute: 300, maxKeys: 10_000 };
/** Logins, and ways to the forge, that one address may begin: in the ten minutes that each is kept, fewer than there may be in all by default. */
const BEGINNINGS = { burst: 200, perMinute: 60, maxKeys: 10_000 };
const TOKENS = { burst: 600, perMinute: 600, maxKeys: 10_000 };
/** Access tokens whose signature is not checked again. */
const VERIFIED_MAX = 10_000;
const CALLBACK = '/oauth/callback';

/** @throws AppError `CONFIG_INVALID` for a client of the configuration that cannot be one. */
export function serveLogins(options: LoginsOptions): Served {
  const { config, catalog, publicUrl, bodies, store, masters, ring, grants, usable, forges, metrics, log, clock } =
    options;
  const { oauth } = config.auth;
  const findServer = (name: string) => catalog.find(name);
  const urls = new ResourceUrls(publicUrl, (name) => findServer(name) !== undefined, config.defaultServer);
  const redirects = { ...DEFAULT_REDIRECT_POLICY, schemes: oauth.redirectSchemes };
  const clients = clientsOf(config, redirects);

  const registrations = new Registrations(
    { ...REGISTRATION_DEFAULTS, redirects, keyOf: rateKey },
    collection<Registration>(store, 'oauth-client', masters),
    clock,
  );
  const documents = new ClientDocuments(
    {
      ...DOCUMENT_DEFAULTS,
      redirects,
      fetch: documentFetch(
        { ...FETCH_DEFAULTS, guard: addressGuard(oauth.refusedNetworks), resolve: publicDns },
        clock,
      ),
    },
    collection<KeptDocument>(store, 'oauth-document', masters),
    clock,
    log,
  );
  const server = new AuthorizationServer({
    urls,
    signing: ring,
    cookieKeys: deriveKeys(masters, 'provider-cookies'),
    refreshKeys: deriveKeys(masters, 'refresh-tokens'),
    records: options.kept,
    grants,
    clock,
    lifetimes: {
      ...LIFETIMES,
      accessToken: oauth.accessTokenLifetime,
      refreshToken: oauth.refreshTokenLifetime,
      grant: oauth.grantLifetime,
      interaction: oauth.loginTimeout,
      refreshOverlap: oauth.refreshOverlap,
    },
    maxInteractions: oauth.maxLogins,
    clients,
    registered: {
      find: async (id) => (oauth.registration ? registrations.find(id) : undefined),
      save: (id, metadata) => registrations.save(id, metadata),
    },
    register: (body) => {
      if (!oauth.registration) {
        throw new AppError('CLIENT_METADATA_INVALID', 'Clients cannot register here. Ask the administrator.');
      }
      const { clientId, metadata } = register(body, redirects);
      return { clientId, metadata: { ...metadata } };
    },
    findDocument: async (id) => (oauth.clientDocuments ? { ...(await documents.find(id)) } : undefined),
    loggedIn: async (id) => {
      await documents.keep(id);
      await registrations.loggedIn(id);
    },
    suspended: ({ user, application }) => forges.suspended(user, application),
    interactionPath: (uid) => `/login/${uid}`,
    errorPage: ({ status, error, description, requestId }) =>
      errorPage({ status, code: error, message: description, requestId }),
    observer: providerObserver(metrics, log),
  });

  const observer = loginObserver(metrics, log);
  const seal = new CookieSeal(deriveKeys(masters, 'own-cookies'));
  const forms = new FormTokens(deriveKeys(masters, 'form-tokens'));
  const trips = new Trips({
    trips: collection<TripRecord>(store, 'oauth-trip', masters),
    forges,
    findServer,
    redirectUri: ({ forgejo }) => urls.base + callbackPath(config, forgejo.url),
    clock,
    lifetime: oauth.loginTimeout,
    max: oauth.maxLogins,
    observer,
  });
  const flow = new LoginFlow({
    server,
    urls,
    findServer,
    configured: new Set(clients.map(({ client_id: id }) => id)),
    trips,
    outcomes: collection<LoginOutcome>(store, 'oauth-outcome', masters),
    consents: new RememberedConsents(seal, grants, () => clock.wall()),
    forms,
    clock,
    observer,
  });
  const connections = new Connections({
    grants,
    forges,
    trips,
    sessions: options.sessions,
    urls,
    findServer,
    seal,
    forms,
    clock,
    lifetime: oauth.connectionsLifetime,
    forget: options.forget,
    observer: connectionsObserver(metrics, log),
  });

  const pages = new Rate(PAGES, clock);
  const logins = new Rate(BEGINNINGS, clock);
  const departures = new Rate(BEGINNINGS, clock);
  const tokens = new Rate(TOKENS, clock);
  const admitPage = (address: string): void => refuseAbove(pages.take(rateKey(address)));
  const cookies = new Cookies({ secure: urls.base.startsWith('https:') });
  const ways = { registration: oauth.registration, documents: oauth.clientDocuments };
  const common = {
    cookies,
    bodies,
    origin: urls.base,
    admitAddress: admitPage,
    admitDeparture: (address: string) => refuseAbove(departures.take(rateKey(address))),
    tripLifetime: oauth.loginTimeout,
  };
  return {
    authenticator: new OAuthAuthenticator({
      urls,
      verifier: new AccessTokenVerifier({ issuer: urls.base, keys: ring, clock, maxCached: VERIFIED_MAX }),
      liveGrant: usable,
    }),
    login: {
      documents: (path) => metadataAt(urls, path, ways) ?? resourceMetadata(urls, path),
      endpoints: {
        serves: (path) => server.serves(path),
        handle: (req, res) => server.handle(req, res),
        admit: (path, address) => {
          if (path === ROUTES.registration) registrations.admit(address);
          else if (path === ROUTES.authorization) refuseAbove(logins.take(rateKey(address)));
          else if (path.startsWith(ROUTES.authorization)) admitPage(address);
          else refuseAbove(tokens.take(rateKey(address)));
        },
      },
      pages: { ...common, flow },
      callback: {
        cookies,
        ticketName,
        end: (path, query, ticket) => trips.end(path, query, ticket),
        consented: (arrival) => flow.arrived(arrival),
        widened: (arrival) => connections.widened(arrival),
        visited: (arrival) => connections.open(arrival),
        admitAddress: admitPage,
      },
      connections: {
        ...common,
        connections,
        findServer: (name) => findServer(name ?? config.defaultServer),
        scopes: options.scopes,
      },
      home: { endpoint: urls.default, forge: findServer(config.defaultServer)?.forgejo.url ?? '' },
    },
  };
}

/** The default server's forge has the plain path; every other one is named by the first server that it has. */
function callbackPath({ servers, defaultServer }: Config, forge: string): string {
  const own = servers.filter(({ forgejo }) => forgejo.url === forge);
  const isDefault = own.some(({ name }) => name === defaultServer);
  return isDefault ? CALLBACK : `${CALLBACK}/${own[0]?.name ?? ''}`;
}

/** Clients of the configuration, checked by the same rules as all others. */
function clientsOf({ auth: { oauth } }: Config, redirects: RedirectPolicy) {
  return oauth.clients.map(({ clientId, name, redirectUris }) => {
    try {
      const metadata = { client_name: name, redirect_uris: redirectUris };
      return { ...normaliseClientMetadata(metadata, { kind: 'registration' }, redirects), client_id: clientId };
    } catch (thrown) {
      const why = thrown instanceof AppError ? thrown.message : 'it cannot be read';
      throw new AppError('CONFIG_INVALID', `auth.oauth.clients: ${clientId}: ${why}`, { cause: thrown });
    }
  });
}

function refuseAbove(wait: number): void {
  if (wait === 0) return;
  throw new AppError('CLIENT_RATE', 'Too many requests came from this address. Try again later.', { retryAfter: wait });
}
