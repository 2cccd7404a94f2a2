/**
 * A client's login from the consent page to the code: consent first, then the forge, then the grant. Nothing that a browser or the forge remembers takes
 * the place of the consent (confused deputy: MCP 'Security Best Practices').
 */
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../clock';
import type { ServerSpec } from '../../config/server';
import type { Collection } from '../../stores/sealed';
import type { ApplicationName, Scope, UserRef } from '../context';
import { accountOf, type GrantRecord } from '../provider/grants';
import { lost } from '../lost';
import type { AuthorizationServer } from '../provider/server';
import type { ResourceUrls } from '../resource/urls';
import type { ConsentsCookie, RememberedConsents } from './consents';
import type { ConsentDecision, Departure, Errand, LoginObserver, LoginOffer, RememberedConsent } from './contract';
import type { FormTokens } from './form-tokens';
import type { Arrival, Refused, Trips } from './trips';

type Request = Parameters<AuthorizationServer['pendingLogin']>[0];
type Response = Parameters<AuthorizationServer['pendingLogin']>[1];

/** What waits for the browser at the end of its login; its id is the login's. */
export type LoginOutcome = LoginPassed | { readonly denied: true };

export interface LoginPassed {
  readonly user: UserRef;
  readonly application: ApplicationName;
  readonly decision: ConsentDecision;
  /** Whose remembered consent it was. */
  readonly account?: string;
}

export interface LoginFlowOptions {
  readonly server: Pick<AuthorizationServer, 'pendingLogin' | 'finish' | 'deny'>;
  readonly urls: ResourceUrls;
  readonly findServer: (name: string) => ServerSpec | undefined;
  /** Ids of clients from the configuration. */
  readonly configured: ReadonlySet<string>;
  readonly trips: Trips;
  readonly outcomes: Collection<LoginOutcome>;
  readonly consents: RememberedConsents;
  readonly forms: FormTokens;
  readonly clock: Clock;
  readonly observer: LoginObserver;
}

/** Milliseconds between coming back from the forge and the end of the login: one redirect. */
const OUTCOME_MS = 120_000;
/** The form of the consent page, for {@link FormTokens}. */
const FORM = 'consent';

export class LoginFlow {
  readonly #options: LoginFlowOptions;

  constructor(options: LoginFlowOptions) {
    this.#options = options;
  }

  /** The login that this browser is in the middle of. @throws AppError `INVALID_REQUEST` where there is none, `STORE_UNAVAILABLE`. */
  async offer(req: Request, res: Response): Promise<LoginOffer> {
    const { server: provider, urls, findServer, configured } = this.#options;
    const { uid, client, redirectUri, resource, scopes } = await provider.pendingLogin(req, res);
    const server = findServer(urls.serverAt(resource.slice(urls.base.length)) ?? '');
    if (server === undefined) throw lost();
    const { id } = client;
    const trust = configured.has(id) ? 'configured' : /^https:/i.test(id) ? 'document' : 'registered';
    const { homePage, ...named } = client;
    return {
      uid,
      client: { ...named, trust, ...(trust === 'document' && homePage !== undefined ? { homePage } : {}) },
      redirectUri,
      server,
      resource,
      scopes,
      mayRemember: trust !== 'registered' && redirectUri.startsWith('https:'),
    };
  }

  /** The token for the consent page's form. */
  formToken({ uid }: LoginOffer): string {
    return this.#options.forms.make(FORM, uid);
  }

  checkForm({ uid }: LoginOffer, presented: string | undefined): boolean {
    return this.#options.forms.verify(FORM, uid, presented);
  }

  /**
   * What this browser's user has consented to in just this before, for {@link allow}; undefined where the page must be shown.
   * @throws AppError `STORE_UNAVAILABLE`.
   */
  async remembered(offer: LoginOffer, cookie: string | undefined): Promise<RememberedConsent | undefined> {
    const grant = await this.#options.consents.find(offer, cookie);
    if (grant === undefined) return undefined;
    const decision = rememberedDecision(offer, grant);
    return decision.scopes.length === 0 ? undefined : { decision, account: accountOf(grant.user) };
  }

  /** The user allows it, or has: the way to the forge. @param account whose remembered consent it is. @throws AppError as `Trips.begin`. */
  async allow(offer: LoginOffer, decision: ConsentDecision, account?: string): Promise<Departure> {
    return this.#options.trips.begin(offer.server, applicationFor(decision.scopes), {
      kind: 'consent',
      uid: offer.uid,
      decision: { ...decision, remember: decision.remember && offer.mayRemember },
      ...(account === undefined ? {} : { account }),
    });
  }

  /** The user does not. Resolves with where to send the browser, so that the client is told. */
  async deny(req: Request, res: Response, offer: LoginOffer): Promise<string> {
    this.#options.observer.denied({ client: offer.client.id, server: offer.server.name, scopes: offer.scopes });
    return this.#options.server.deny(req, res, 'access_denied', 'The user did not allow it.');
  }

  /** A browser is back from the forge: keeps what came of it for {@link finish}, which this login's cookie reaches. */
  async arrived(arrival: Arrival | Refused): Promise<void> {
    const { errand } = arrival;
    if (errand.kind !== 'consent') throw lost();
    const { outcomes } = this.#options;
    const { uid } = errand;
    const outcome = outcomeOf(arrival, errand);
    const options = { expiresAt: this.#soon() };
    if ((await outcomes.create(uid, outcome, options)) !== undefined) return;
    // The user went back and consented again: the later one counts.
    const before = await outcomes.get(uid);
    if (before === undefined || (await outcomes.replace(before, outcome, options)) === undefined) throw lost();
  }

  /**
   * Ends a login. Resolves with where the browser goes on, and with what it is to remember from now on. A consent that was remembered for somebody else
   * than who logged in, or that does not hold any more, counts for nothing: `again`.
   * @throws AppError `INVALID_REQUEST` where nothing is there to end.
   */
  async finish(
    req: Request,
    res: Response,
    cookie: string | undefined,
  ): Promise<{ readonly location: string; readonly consents?: ConsentsCookie } | 'again'> {
    const { server, outcomes, consents, observer } = this.#options;
    const offer = await this.offer(req, res);
    const item = await outcomes.get(offer.uid);
    if (item === undefined || !(await outcomes.delete(item))) throw lost();
    if ('denied' in item.value) return { location: await this.deny(req, res, offer) };
    const { user, application, decision, account } = item.value;
    if (account !== undefined) {
      // Who it is, is known only now; and the grant may have been ended or changed while the browser was at the forge.
      const grant = await consents.find(offer, cookie);
      if (grant === undefined || accountOf(grant.user) !== accountOf(user)) return 'again';
      if (!isDeepStrictEqual(rememberedDecision(offer, grant), decision)) return 'again';
    }
    const { scopes, choice } = decision;
    const { grant, location } = await server
      .finish(req, res, { user, scopes, policy: choice, application })
      .catch(async (thrown: unknown) => {
        // A fault of ours: the user loads the page again, and need not go to the forge for it once more.
        await outcomes.create(offer.uid, item.value, { expiresAt: this.#soon() }).catch(() => undefined);
        throw thrown;
      });
    observer.consented({
      client: offer.client.id,
      server: offer.server.name,
      scopes,
      user,
      grant: grant.id,
      remembered: account !== undefined,
    });
    return decision.remember && offer.mayRemember
      ? { location, consents: consents.remember(offer, grant, cookie) }
      : { location };
  }

  /** Wall-clock milliseconds until which an outcome waits. */
  #soon(): number {
    return this.#options.clock.wall() + OUTCOME_MS;
  }
}

function outcomeOf(arrival: Arrival | Refused, errand: Errand & { readonly kind: 'consent' }): LoginOutcome {
  if ('refused' in arrival) return { denied: true };
  const { user, application } = arrival;
  const { decision, account } = errand;
  return { user, application, decision, ...(account === undefined ? {} : { account }) };
}

/** What a remembered grant says to a request. */
function rememberedDecision(offer: LoginOffer, { scopes, policy }: GrantRecord): ConsentDecision {
  return { scopes: scopes.filter((scope) => offer.scopes.includes(scope)), choice: policy, remember: true };
}

/** The application at the forge whose tokens can do what was granted, and no more. */
export function applicationFor(scopes: readonly Scope[]): ApplicationName {
  return scopes.includes('forgejo:write') ? 'write' : 'read';
}
