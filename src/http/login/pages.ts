/** What the pages of a login share. */
import type { Departure } from '../../auth/login/contract';
import type { Cookies } from '../cookies';
import type { Incoming, Outgoing } from '../handler';
import type { BodyReader } from '../mcp/body';
import type { ConsentStep } from './consent';
import type { FinishStep } from './finish';

export interface LoginPages {
  readonly flow: ConsentStep & FinishStep;
  readonly cookies: Cookies;
  readonly bodies: BodyReader;
  /** Our own. */
  readonly origin: string;
  /** Counts a request before anything is done for it. @throws AppError `CLIENT_RATE`. */
  readonly admitAddress: (address: string) => void;
  /** Counts a way to the forge that is to begin. @throws AppError `CLIENT_RATE`. */
  readonly admitDeparture: (address: string) => void;
  /** Seconds for a way to the forge and back. */
  readonly tripLifetime: number;
}

const TICKET = 'trip_';
/** Tickets that a browser keeps: whoever sends it to us again and again must not fill its headers. */
const MAX_TICKETS = 10;

/** Gives the browser its ticket for the way back. Resolves with where it goes. */
export function leave(
  { cookies, tripLifetime }: Pick<LoginPages, 'cookies' | 'tripLifetime'>,
  req: Incoming,
  res: Outgoing,
  departure: Departure,
): string {
  const others = cookies.names(req, TICKET);
  for (const old of others.slice(0, Math.max(0, others.length + 1 - MAX_TICKETS))) cookies.clear(res, old);
  cookies.set(res, ticketCookie(departure.ticket.name), departure.ticket.secret, tripLifetime);
  return departure.url;
}

/** The cookie of a ticket. */
export function ticketCookie(name: string): string {
  return TICKET + name;
}
