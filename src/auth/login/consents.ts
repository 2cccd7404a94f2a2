/**
 * Consents that a browser remembers (RFC 8252, 8.6): each names the grant that it made, so that whoever ends or narrows the grant on the page with the connections
 * has ended or narrowed what is remembered.
 */
import type { GrantRecord, Grants } from '../provider/grants';
import { accountOf } from '../provider/grants';
import type { CookieSeal } from './cookie-seal';
import type { LoginOffer } from './contract';

interface Entry {
  readonly account: string;
  readonly client: string;
  readonly redirect: string;
  readonly resource: string;
  /** What was asked for, in our order. */
  readonly scopes: string;
  readonly grant: string;
}

/** Entries in one browser: so many fit into a cookie with the longest of everything but client ids, and those are looked at. */
const MAX_ENTRIES = 6;
/** Characters of a cookie's value, its name and attributes not counted (RFC 6265, 6.1: 4096 bytes). */
const MAX_COOKIE = 3800;
/** Seconds: browsers keep a cookie for 400 days at most. */
const LIFETIME = 180 * 86_400;

/** What a browser is to keep. */
export interface ConsentsCookie {
  readonly value: string;
  readonly seconds: number;
}

export class RememberedConsents {
  readonly #seal: CookieSeal;
  readonly #grants: Pick<Grants, 'find'>;
  readonly #wall: () => number;

  constructor(seal: CookieSeal, grants: Pick<Grants, 'find'>, wall: () => number) {
    this.#seal = seal;
    this.#grants = grants;
    this.#wall = wall;
  }

  /** The grant that this browser's user made for exactly this request; undefined where there is none, or it has ended. @throws AppError `STORE_UNAVAILABLE`. */
  async find(offer: LoginOffer, cookie: string | undefined): Promise<GrantRecord | undefined> {
    if (!offer.mayRemember) return undefined;
    const wanted = partsOf(offer);
    const entry = this.#read(cookie).find((one) => matches(one, wanted));
    const grant = entry === undefined ? undefined : await this.#grants.find(entry.grant);
    if (grant === undefined || grant.client.id !== offer.client.id || grant.resource !== offer.resource)
      return undefined;
    return accountOf(grant.user) === entry?.account ? grant : undefined;
  }

  /** The cookie's new value with this grant in it, the oldest entries left out where it would be too long. */
  remember(offer: LoginOffer, grant: GrantRecord, cookie: string | undefined): ConsentsCookie {
    const wanted = partsOf(offer);
    const fresh: Entry = { ...wanted, account: accountOf(grant.user), grant: grant.id };
    const others = this.#read(cookie).filter((one) => !matches(one, wanted));
    for (let kept = Math.min(others.length, MAX_ENTRIES - 1); ; kept -= 1) {
      const value = this.#seal.seal('consents', [fresh, ...others.slice(0, kept)], this.#wall() + LIFETIME * 1000);
      if (value.length <= MAX_COOKIE || kept === 0) return { value, seconds: LIFETIME };
    }
  }

  #read(cookie: string | undefined): readonly Entry[] {
    return (this.#seal.open('consents', cookie, this.#wall()) as readonly Entry[] | undefined) ?? [];
  }
}

function partsOf({ client, redirectUri, resource, scopes }: LoginOffer): Omit<Entry, 'account' | 'grant'> {
  return { client: client.id, redirect: redirectUri, resource, scopes: scopes.join(' ') };
}

function matches(entry: Entry, wanted: Omit<Entry, 'account' | 'grant'>): boolean {
  return (
    entry.client === wanted.client &&
    entry.redirect === wanted.redirect &&
    entry.resource === wanted.resource &&
    entry.scopes === wanted.scopes
  );
}
