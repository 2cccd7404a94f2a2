/** The consent page: the first step of every login. */
import type { ConsentDecision, Departure, LoginOffer, RememberedConsent } from '../../auth/login/contract';
import { exchangeOf } from '../exchange';
import { readForm, staleForm } from '../form';
import { type Incoming, type Outgoing, queryOf } from '../handler';
import { CSRF_FIELD, consentPage, type ConsentOffer, readConsent } from '../pages/consent';
import { forwardPage } from '../pages/forward';
import type { PageHandler } from '../pages/send';
import { leave, type LoginPages } from './pages';

/** The consent step as this layer sees it. */
export interface ConsentStep {
  offer(req: Incoming, res: Outgoing): Promise<LoginOffer>;
  formToken(offer: LoginOffer): string;
  checkForm(offer: LoginOffer, presented: string | undefined): boolean;
  remembered(offer: LoginOffer, cookie: string | undefined): Promise<RememberedConsent | undefined>;
  allow(offer: LoginOffer, decision: ConsentDecision, account?: string): Promise<Departure>;
  deny(req: Incoming, res: Outgoing, offer: LoginOffer): Promise<string>;
}

/** The cookie with the consents that a browser remembers. */
export const CONSENTS_COOKIE = 'consents';
/** Asks for the page whatever the browser remembers. */
const ASK = 'ask';

/** Shows the page, or goes straight to the forge where this browser remembers the answer. */
export function showConsent(pages: LoginPages): PageHandler {
  return async (req, res) => {
    const { flow, cookies } = pages;
    pages.admitAddress(exchangeOf(res).address);
    const offer = await flow.offer(req, res);
    const asked = queryOf(req).has(ASK);
    const remembered = asked ? undefined : await flow.remembered(offer, cookies.get(req, CONSENTS_COOKIE));
    if (remembered === undefined) return consentPage(shownOf(offer), targetOf(pages, offer));
    pages.admitDeparture(exchangeOf(res).address);
    return { location: leave(pages, req, res, await flow.allow(offer, remembered.decision, remembered.account)) };
  };
}

/**
 * Takes the answer. The browser goes on by a navigation of its own: a redirect would be held against the page's `form-action`.
 */
export function takeConsent(pages: LoginPages): PageHandler {
  return async (req, res) => {
    const { flow, bodies, origin } = pages;
    pages.admitAddress(exchangeOf(res).address);
    const form = await readForm(req, res, bodies, origin);
    const offer = await flow.offer(req, res);
    if (!flow.checkForm(offer, form.get(CSRF_FIELD) ?? undefined)) throw staleForm();
    const answer = readConsent(form, shownOf(offer));
    switch (answer.decision) {
      case 'deny':
        return forwardPage(await flow.deny(req, res, offer));
      case 'again':
        return consentPage(shownOf(offer), targetOf(pages, offer), answer);
      case 'allow':
        pages.admitDeparture(exchangeOf(res).address);
        return forwardPage(leave(pages, req, res, await flow.allow(offer, answer)));
    }
  };
}

/** The address at which a login is asked for again, whatever is remembered. */
export function askAgain(uid: string): string {
  return `/login/${uid}?${ASK}`;
}

function targetOf({ flow }: LoginPages, offer: LoginOffer): { readonly action: string; readonly csrf: string } {
  return { action: `/login/${offer.uid}`, csrf: flow.formToken(offer) };
}

function shownOf({ client, redirectUri, server, scopes, mayRemember }: LoginOffer): ConsentOffer {
  const { policy, forgejo, name } = server;
  return { client, redirectUri, server: name, scopes, mayRemember, policy, forge: forgejo.url };
}
