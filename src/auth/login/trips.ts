/**
 * Ways of browsers to a forge and back. What must be known on the way back (the PKCE verifier, what it was for) stays here; the browser has a ticket
 * that the way back is bound to, so that nobody can be led back with somebody else's code (RFC 9700, 4.7: login CSRF). Each way ends once.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../clock';
import type { ServerSpec } from '../../config/server';
import { AppError, toAppError } from '../../errors';
import type { Collection } from '../../stores/sealed';
import type { ApplicationName, UserRef } from '../context';
import { Underway } from '../underway';
import { lost } from '../lost';
import type { BegunLogin, Departure, Errand, ForgeLogins, LoginObserver } from './contract';

/** What is kept of a way; its id is the `state`. */
export interface TripRecord {
  readonly server: string;
  readonly begun: BegunLogin;
  /** Digest of the ticket's secret. */
  readonly ticket: string;
  readonly errand: Errand;
}

export interface TripsOptions {
  readonly trips: Collection<TripRecord>;
  readonly forges: ForgeLogins;
  /** A server by its name; undefined where there is none any more. */
  readonly findServer: (name: string) => ServerSpec | undefined;
  /**
   * Where a server's forge sends browsers back to, as it is registered there. Each forge has its own: one that is told another's code must not have it
   * redeemed here (RFC 9700, 4.4.2.2; Forgejo does not say who it is, RFC 9207).
   */
  readonly redirectUri: (server: ServerSpec) => string;
  readonly clock: Clock;
  /** Seconds for a way. */
  readonly lifetime: number;
  /** Ways that may be under way at once from this gateway. */
  readonly max: number;
  readonly observer: LoginObserver;
}

/** Who came back, and for what. */
export interface Arrival {
  readonly server: ServerSpec;
  readonly user: UserRef;
  readonly application: ApplicationName;
  readonly errand: Errand;
}

/** Somebody came back who had let nobody in: not at the forge. */
export interface Refused {
  readonly errand: Errand;
  readonly refused: AppError;
}

const SECRET_BYTES = 32;

/** The name by which a browser keeps the ticket of a state. */
export function ticketName(state: string): string {
  return hash('sha256', `ticket\0${state}`, 'hex').slice(0, 16);
}

export class Trips {
  readonly #options: TripsOptions;
  readonly #underway: Underway;

  constructor(options: TripsOptions) {
    this.#options = options;
    this.#underway = new Underway(options.max, options.clock);
  }

  /** Begins a way. @throws AppError as {@link ForgeLogins.begin}; `OVERLOADED`, `STORE_UNAVAILABLE`. */
  async begin(server: ServerSpec, application: ApplicationName, errand: Errand): Promise<Departure> {
    const { trips, forges, redirectUri, clock, lifetime, observer } = this.#options;
    const expiresAt = clock.wall() + lifetime * 1000;
    const secret = randomBytes(SECRET_BYTES).toString('base64url');
    const place = digestOf(secret);
    this.#underway.admit(place, expiresAt);
    try {
      const { url, begun } = await forges.begin(server, application, redirectUri(server));
      const record: TripRecord = { server: server.name, begun, ticket: place, errand };
      await trips.create(begun.state, record, { expiresAt });
      return { url: url.href, ticket: { name: ticketName(begun.state), secret } };
    } catch (thrown) {
      this.#underway.leave(place);
      observer.failed(errand.kind, codeOf(thrown));
      throw thrown;
    }
  }

  /**
   * Ends a way: the browser is back at this path of ours, with this query. A browser without the ticket ends nothing. That the user said no at the forge is an answer.
   * @throws AppError `INVALID_REQUEST` for a way that is over, unknown, or another browser's; as {@link ForgeLogins.finish}.
   */
  async end(path: string, query: URLSearchParams, ticket: string | undefined): Promise<Arrival | Refused> {
    const { forges, findServer, observer } = this.#options;
    const trip = ticket === undefined ? undefined : await this.#take(query.getAll('state'), ticket);
    const server = trip === undefined ? undefined : findServer(trip.server);
    if (trip === undefined || server === undefined || new URL(trip.begun.redirectUri).pathname !== path) {
      observer.failed(trip?.errand.kind ?? 'unknown', 'INVALID_REQUEST');
      throw lost();
    }
    const { begun, errand } = trip;
    try {
      const user = await forges.finish(server, begun, query);
      observer.loggedIn(user, begun.application, errand.kind);
      return { server, user, application: begun.application, errand };
    } catch (thrown) {
      observer.failed(errand.kind, codeOf(thrown));
      if (thrown instanceof AppError && thrown.code === 'FORGE_LOGIN_DENIED') return { errand, refused: thrown };
      throw thrown;
    }
  }

  /** What is kept of the way that a browser with this ticket comes back from: of two requests with the same state one gets it. */
  async #take([state = '', ...more]: readonly string[], ticket: string): Promise<TripRecord | undefined> {
    const { trips } = this.#options;
    const item = more.length > 0 || state === '' ? undefined : await trips.get(state);
    if (item === undefined || !same(digestOf(ticket), item.value.ticket)) return undefined;
    if (!(await trips.delete(item))) return undefined;
    this.#underway.leave(digestOf(ticket));
    return item.value;
  }
}

function codeOf(thrown: unknown): string {
  return toAppError(thrown).code;
}

function digestOf(secret: string): string {
  return hash('sha256', secret, 'hex');
}

function same(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
