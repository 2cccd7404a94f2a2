/** What the authorization server is handed, so that it knows neither HTTP routes nor pages, Forgejo or the store's driver. */
import type { Clock } from '../../clock';
import type { SealingKey } from '../../stores/sealed';
import type { SigningKeyRing } from '../keys/ring';
import type { ResourceUrls } from '../resource/urls';
import type { GrantRecord, Grants } from './grants';
import type { ProviderRecords } from './records';

/** Client metadata as it is in a registration or in a client's own document (RFC 7591, 2), normalised before it comes here. */
export type ClientMetadata = Readonly<Record<string, unknown>>;

/** Dynamically registered clients, behind ids that are no URLs. */
export interface RegisteredClients {
  /** @throws AppError `STORE_UNAVAILABLE`. */
  find(clientId: string): Promise<ClientMetadata | undefined>;
  /** Called once for a registration; the same id comes again with the same metadata. @throws AppError `STORE_UNAVAILABLE`, `OVERLOADED`. */
  save(clientId: string, metadata: ClientMetadata): Promise<void>;
}

/**
 * The policy of dynamic registration (RFC 7591): what a registration's body becomes, and the id that it gets.
 * @throws AppError `CLIENT_METADATA_INVALID`, `CLIENT_REDIRECT_INVALID`, with a message for the client.
 */
export type Register = (body: unknown) => { readonly clientId: string; readonly metadata: ClientMetadata };

/**
 * The client behind an id that is a URL (Client ID Metadata Documents), fetched with every guard that this needs and normalised. Rejects with
 * `AppError`: a status of 503 means 'cannot tell now', and is answered so.
 */
export type FindDocument = (clientId: string) => Promise<ClientMetadata | undefined>;

/** An error for a person's browser. */
export interface ErrorPage {
  readonly status: number;
  /** The OAuth code (RFC 6749, 4.1.2.1). */
  readonly error: string;
  readonly description: string;
  /** By which the log knows the request. */
  readonly requestId: string;
}

/** The page made of it. */
export interface RenderedPage {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Seconds, all of them. */
export interface Lifetimes {
  readonly accessToken: number;
  /** From the last refresh. */
  readonly refreshToken: number;
  /** From the login. */
  readonly grant: number;
  readonly code: number;
  /** From `/authorize` to the end of the login at Forgejo. */
  readonly interaction: number;
  /** For which a refresh token that was used is taken again: real clients race. */
  readonly refreshOverlap: number;
}

/** What fits real clients; facts and reasons are in the architecture notes. */
export const LIFETIMES: Lifetimes = {
  accessToken: 600,
  refreshToken: 30 * 86_400,
  grant: 180 * 86_400,
  code: 60,
  interaction: 600,
  refreshOverlap: 30,
};

/** Events for the log, metrics and audit; never with a token. */
export interface ProviderObserver {
  /** A code or a refresh token was shown again after its time; with the right client, its grant is revoked for it. */
  replayed(what: 'code' | 'refresh-token', grant: string): void;
  /** A request ended in a fault of ours; `detail` is for the log. */
  fault(detail: string): void;
}

export interface ProviderOptions {
  readonly urls: ResourceUrls;
  readonly signing: SigningKeyRing;
  /** For cookies, the first one signs; see `deriveKeys`. */
  readonly cookieKeys: readonly SealingKey[];
  /** For refresh tokens, the first one makes; see `deriveKeys`. */
  readonly refreshKeys: readonly SealingKey[];
  readonly records: ProviderRecords;
  readonly grants: Grants;
  readonly clock: Clock;
  readonly lifetimes: Lifetimes;
  /** Logins under way that may be kept at once by this gateway. */
  readonly maxInteractions: number;
  /** Clients from the configuration. */
  readonly clients: readonly (ClientMetadata & { readonly client_id: string })[];
  readonly registered: RegisteredClients;
  readonly register: Register;
  readonly findDocument: FindDocument;
  /** A user has logged in with this client: from now on it must live as long as what it was granted. @throws AppError `STORE_UNAVAILABLE`. */
  readonly loggedIn: (clientId: string) => Promise<void>;
  /**
   * Whether a user must log in again before anything is issued for this grant. Its refresh token is then refused without being used up.
   * @throws AppError `STORE_UNAVAILABLE`.
   */
  readonly suspended: (grant: GrantRecord) => Promise<boolean>;
  /** The path of the page that a login goes on with. The interaction's cookie is bound to it. */
  readonly interactionPath: (uid: string) => string;
  readonly errorPage: (page: ErrorPage) => RenderedPage;
  readonly observer: ProviderObserver;
}
