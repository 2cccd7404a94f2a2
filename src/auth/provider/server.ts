/** The authorization server (OAuth 2.1) as the rest of the gateway sees it: a handler for its routes, and the two ends of a login. */
import type Provider from 'oidc-provider';
import { errors } from 'oidc-provider';
import { AppError } from '../../errors';
import type { ApplicationName, Choice, Scope, UserRef } from '../context';
import { SCOPES } from '../resource/metadata';
import { lost } from '../lost';
import { Codes } from './codes';
import { accountOf, type GrantRecord } from './grants';
import { Interactions } from './interactions';
import { ROUTES } from './metadata';
import type { ProviderOptions } from './ports';
import { createProvider, type ProviderParts } from './provider';
import { RefreshIds } from './refresh-ids';
import { RefreshTokens } from './refresh-tokens';

/** Node's request and response, as oidc-provider takes them: this folder knows nothing of how they are served. */
type Request = Parameters<Provider['interactionDetails']>[0];
type Response = Parameters<Provider['interactionDetails']>[1];
type Handle = (req: Request, res: Response) => Promise<void>;

/** A login under way, as the consent page shows it. */
export interface PendingLogin {
  /** Names the login in URLs; the cookie, not this, proves whose it is. */
  readonly uid: string;
  readonly client: {
    readonly id: string;
    readonly name: string;
    /** Only where the client's document vouches for it. */
    readonly homePage?: string;
  };
  /** In full: the user decides by it. */
  readonly redirectUri: string;
  readonly resource: string;
  readonly scopes: readonly Scope[];
}

/** What came of a login. */
export interface LoginResult {
  readonly user: UserRef;
  /** At least one; no more than were asked for. */
  readonly scopes: readonly Scope[];
  readonly policy: Choice;
  readonly application: ApplicationName;
}

export class AuthorizationServer {
  readonly #options: ProviderOptions;
  readonly #parts: ProviderParts;
  #built: { readonly version: string; readonly provider: Provider; readonly handle: Handle } | undefined;

  constructor(options: ProviderOptions) {
    const { records, grants, clock, lifetimes, observer, maxInteractions: max } = options;
    const ids = new RefreshIds(options.refreshKeys);
    this.#options = options;
    this.#parts = {
      ids,
      grants,
      codes: new Codes({
        codes: records.codes,
        grants,
        clock,
        replayed: (grant) => observer.replayed('code', grant),
      }),
      refreshTokens: new RefreshTokens({
        families: records.refreshTokens,
        grants,
        ids,
        clock,
        overlap: lifetimes.refreshOverlap,
        replayed: (grant) => observer.replayed('refresh-token', grant),
      }),
      interactions: new Interactions({ interactions: records.interactions, clock, max }),
      registered: options.registered,
      findDocument: options.findDocument,
    };
    // A configuration that oidc-provider refuses fails the start, not the first login.
    this.#current();
  }

  /** Logins of this gateway that are under way. */
  get pending(): number {
    return this.#parts.interactions.size;
  }

  /** Whether a path is one of the authorization server's own. */
  serves(path: string): boolean {
    return Object.values<string>(ROUTES).includes(path) || /^\/authorize\/[A-Za-z0-9_-]+$/.test(path);
  }

  /** Answers a request for a path that it {@link serves}; 404 for every other, although oidc-provider would have more. Never rejects. */
  async handle(req: Request, res: Response): Promise<void> {
    const path = (req.url ?? '').split('?', 1)[0] ?? '';
    if (!this.serves(path)) {
      res.statusCode = 404;
      (res as { end(): unknown }).end();
      return;
    }
    await this.#current().handle(req, res);
  }

  /**
   * The login that this browser is in the middle of.
   * @throws AppError `INVALID_REQUEST` where there is none: it expired, or was begun in another browser; `STORE_UNAVAILABLE`.
   */
  async pendingLogin(req: Request, res: Response): Promise<PendingLogin> {
    const { provider } = this.#current();
    const { uid, params } = await asAppError(() => provider.interactionDetails(req, res));
    // The cookie alone says which login it is. One that somebody else could set for more paths than its own must not bring in another.
    const path = (req.url ?? '').split('?', 1)[0] ?? '';
    if (!`${path}/`.startsWith(`${this.#options.interactionPath(uid)}/`)) throw lost();
    const { client_id: clientId, redirect_uri: redirectUri, resource, scope } = params as Record<string, string>;
    const client = await asAppError(() => provider.Client.find(clientId ?? ''));
    if (clientId === undefined || redirectUri === undefined || resource === undefined || client === undefined) {
      throw lost();
    }
    return {
      uid,
      client: {
        id: clientId,
        name: client.clientName ?? clientId,
        ...(client.clientUri === undefined ? {} : { homePage: client.clientUri }),
      },
      redirectUri,
      resource,
      scopes: SCOPES.filter((one) => scope?.split(' ').includes(one)),
    };
  }

  /**
   * Ends a login well: records the grant. Resolves with it, and with the address at which the code is issued, to which the browser is to be sent.
   * @throws AppError as {@link pendingLogin}; `INVALID_REQUEST` for scopes that were not asked for, or none.
   */
  async finish(
    req: Request,
    res: Response,
    result: LoginResult,
  ): Promise<{ readonly grant: GrantRecord; readonly location: string }> {
    const login = await this.pendingLogin(req, res);
    const scopes = SCOPES.filter((scope) => result.scopes.includes(scope));
    if (scopes.length === 0 || scopes.some((scope) => !login.scopes.includes(scope))) {
      throw new AppError('INVALID_REQUEST', 'Choose at least one of the permissions that were asked for.');
    }
    await this.#options.loggedIn(login.client.id);
    const grant = await this.#options.grants.create({
      user: result.user,
      client: { id: login.client.id, name: login.client.name },
      resource: login.resource,
      scopes,
      policy: result.policy,
      application: result.application,
    });
    const location = await this.#result(req, res, {
      login: { accountId: accountOf(result.user), remember: false },
      consent: { grantId: grant.id },
    });
    return { grant, location };
  }

  /**
   * Ends a login badly: the client is told why (RFC 6749, 4.1.2.1). Resolves with the address that the browser is to be sent to.
   * @throws AppError as {@link pendingLogin}.
   */
  async deny(
    req: Request,
    res: Response,
    error: 'access_denied' | 'temporarily_unavailable',
    description: string,
  ): Promise<string> {
    return this.#result(req, res, { error, error_description: description });
  }

  #result(req: Request, res: Response, result: Record<string, unknown>): Promise<string> {
    const { provider } = this.#current();
    return asAppError(() => provider.interactionResult(req, res, result, { mergeWithLastSubmission: false }));
  }

  /** oidc-provider takes its keys when it is built; it is built anew when the ring has others. */
  #current(): { readonly provider: Provider; readonly handle: Handle } {
    const { version } = this.#options.signing;
    if (this.#built?.version !== version) {
      const provider = createProvider(this.#options, this.#parts);
      this.#built = { version, provider, handle: provider.callback() };
    }
    return this.#built;
  }
}

/** Errors of oidc-provider's own functions as the gateway's. */
async function asAppError<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (thrown) {
    if (thrown instanceof errors.SessionNotFound) throw lost();
    if (thrown instanceof Error && thrown.cause instanceof AppError) throw thrown.cause;
    throw thrown;
  }
}
