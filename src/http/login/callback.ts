/** Back from a forge, at the address that is registered there. */
import type { Errand } from '../../auth/login/contract';
import type { Arrival, Refused } from '../../auth/login/trips';
import type { Cookies } from '../cookies';
import { exchangeOf } from '../exchange';
import { pathOf, queryOf } from '../handler';
import type { PageHandler } from '../pages/send';
import { ticketCookie } from './pages';

export interface CallbackOptions {
  readonly cookies: Cookies;
  /** The name of the ticket for a state. */
  readonly ticketName: (state: string) => string;
  /** Ends a way. @throws AppError as `Trips.end`. */
  readonly end: (path: string, query: URLSearchParams, ticket: string | undefined) => Promise<Arrival | Refused>;
  readonly consented: (arrival: Arrival | Refused) => Promise<void>;
  readonly widened: (arrival: Arrival) => Promise<void>;
  /** The visit that begins: a cookie's value, and the seconds for which it is good. */
  readonly visited: (arrival: Arrival) => { readonly cookie: string; readonly seconds: number };
  readonly admitAddress: (address: string) => void;
}

/** The cookie of a visit to the page with the connections. */
export const VISITOR_COOKIE = 'visitor';

/**
 * Exchanges the code, and goes on to what the way was for: the end of a login (whose own cookie is bound to its path, so it is not looked at here), or
 * the page with the connections.
 */
export function callback(options: CallbackOptions): PageHandler {
  const { cookies } = options;
  return async (req, res) => {
    options.admitAddress(exchangeOf(res).address);
    const query = queryOf(req);
    const ticket = ticketCookie(options.ticketName(query.get('state') ?? ''));
    const secret = cookies.get(req, ticket);
    if (secret !== undefined) cookies.clear(res, ticket);
    const arrival = await options.end(pathOf(req), query, secret);
    if (arrival.errand.kind === 'consent') {
      await options.consented(arrival); // that the user said no, too: the client is told
      return { location: `/login/${arrival.errand.uid}/finish` };
    }
    if ('refused' in arrival) throw arrival.refused;
    if (arrival.errand.kind === 'widen') await options.widened(arrival);
    const { cookie, seconds } = options.visited(arrival);
    cookies.set(res, VISITOR_COOKIE, cookie, seconds);
    return { location: `/connections${afterwards(arrival.errand)}` };
  };
}

/** Tells the page with the connections what was done on the way, for its notice. */
function afterwards(errand: Errand): string {
  if (errand.kind === 'widen') return '?done=change';
  return errand.kind === 'connections' && errand.late === true ? '?done=nothing' : '';
}
