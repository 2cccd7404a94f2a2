/** Clients that register themselves (RFC 7591). Whoever they are, they are strangers until somebody has logged in with them. */
import { hash } from 'node:crypto';
import type { ClientMetadata as ProviderMetadata } from 'oidc-provider';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Collection, Item } from '../../stores/sealed';
import { type ClientMetadata, normaliseClientMetadata } from './metadata';
import { Rate, type RateOptions } from './rate';
import { checkRedirectUri, type RedirectPolicy, withoutLoopbackPort } from './redirect-uri';

const PREFIX = 'dcr_';
const ID = /^dcr_[A-Za-z0-9_-]{43}$/;

/** Tries of a write that lost against another process. */
const TRIES = 4;

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Metadata as oidc-provider hands it over for a registration, and wants it back. */
export type RegisteredMetadata = Omit<ProviderMetadata, 'client_id'>;

/** What is kept of a registration. Times are wall-clock milliseconds. */
export interface Registration {
  readonly metadata: RegisteredMetadata;
  /** Of the last login with this client; none until then. */
  readonly lastLogin?: number;
}

export interface RegistrationOptions {
  /** How long a client lives that nobody has logged in with. Milliseconds. */
  readonly unusedMs: number;
  /** How long it lives after a login; at least as long as a grant, which is useless without its client. Milliseconds. */
  readonly usedMs: number;
  /** Registrations from one address, new ones or not. */
  readonly perAddress: RateOptions;
  /** Clients that were not known before, in all. */
  readonly fresh: Omit<RateOptions, 'maxKeys'>;
  /** What was registered under another policy, and is not taken by this one, is as good as not there. */
  readonly redirects: RedirectPolicy;
  /** Maps an address to what is counted, for example an IPv6 network. */
  readonly keyOf: (address: string) => string;
}

/** At most 3080 unused clients in one gateway's 24 hours, however many addresses they come from. */
export const REGISTRATION_DEFAULTS = {
  unusedMs: DAY,
  usedMs: 190 * DAY,
  perAddress: { burst: 30, perMinute: 10, maxKeys: 10_000 },
  fresh: { burst: 200, perMinute: 2 },
} as const satisfies Partial<RegistrationOptions>;

/**
 * The id of a registration: a digest of its normalised metadata, so that a client that registers again is the same client, and no record is
 * added. The order of members and redirect URIs and the ports of loopback addresses make no other client.
 */
export function registeredClientId(metadata: ClientMetadata): string {
  const redirects = [...new Set(metadata.redirect_uris.map(withoutLoopbackPort))].sort();
  const members = Object.entries({ ...metadata, redirect_uris: redirects }).sort(([a], [b]) => (a < b ? -1 : 1));
  return `${PREFIX}${hash('sha256', JSON.stringify(members), 'base64url')}`;
}

/** Whether an id is one of a registration; others need no look into the store. */
export function isRegisteredClientId(clientId: string): boolean {
  return ID.test(clientId);
}

/**
 * What a registration's body becomes, and the id that follows from it.
 * @throws AppError as {@link normaliseClientMetadata} does.
 */
export function register(
  body: unknown,
  policy: RedirectPolicy,
): { readonly clientId: string; readonly metadata: ClientMetadata } {
  const metadata = normaliseClientMetadata(body, { kind: 'registration' }, policy);
  return { clientId: registeredClientId(metadata), metadata };
}

export class Registrations {
  readonly #options: RegistrationOptions;
  readonly #store: Collection<Registration>;
  readonly #clock: Clock;
  readonly #perAddress: Rate;
  readonly #fresh: Rate;

  constructor(options: RegistrationOptions, store: Collection<Registration>, clock: Clock) {
    this.#options = options;
    this.#store = store;
    this.#clock = clock;
    this.#perAddress = new Rate(options.perAddress, clock);
    this.#fresh = new Rate({ ...options.fresh, maxKeys: 1 }, clock);
  }

  /**
   * Counts a registration from an address; to be asked before anything of it is read.
   * @throws AppError `CLIENT_RATE` with the seconds to wait.
   */
  admit(address: string): void {
    const wait = this.#perAddress.take(this.#options.keyOf(address));
    if (wait > 0) throw tooMany('Too many registrations came from this address. Try again later.', wait);
  }

  /**
   * Records a registration. One that is there already stays as it is, with its logins; an unused one lives anew.
   * @throws AppError `CLIENT_RATE` when too many new clients register, `STORE_UNAVAILABLE`.
   */
  async save(clientId: string, metadata: RegisteredMetadata): Promise<void> {
    const known = await this.#store.get(clientId);
    if (known !== undefined) {
      await this.#renew(known);
      return;
    }
    const wait = this.#fresh.take('');
    if (wait > 0) throw tooMany('Too many new clients are registering. Try again later.', wait);
    const made = await this.#store.create(clientId, { metadata }, this.#unused());
    if (made === undefined) this.#fresh.giveBack('');
  }

  /** The client of a registration that has not expired, and that the policy still takes. */
  async find(clientId: string): Promise<ProviderMetadata | undefined> {
    if (!isRegisteredClientId(clientId)) return undefined;
    const metadata = (await this.#store.get(clientId))?.value.metadata;
    return metadata === undefined || !this.#isTaken(metadata) ? undefined : { ...metadata, client_id: clientId };
  }

  /** A user has logged in with this client: from now on it lives as long as what it was granted can. Written once a day at most. */
  async loggedIn(clientId: string): Promise<void> {
    if (!isRegisteredClientId(clientId)) return;
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const item = await this.#store.get(clientId);
      const now = this.#clock.wall();
      if (item === undefined || now - (item.value.lastLogin ?? -Infinity) < DAY) return;
      const value = { ...item.value, lastLogin: now };
      if ((await this.#store.replace(item, value, { expiresAt: now + this.#options.usedMs })) !== undefined) return;
    }
    throw new AppError('STORE_UNAVAILABLE', 'The login cannot be recorded now. Try again in a moment.', {
      detail: 'a registration changed under every try to record a login with it',
      retryAfter: 1,
    });
  }

  async delete(clientId: string): Promise<void> {
    await this.#store.delete(clientId);
  }

  #isTaken({ redirect_uris: uris }: RegisteredMetadata): boolean {
    try {
      for (const uri of uris as readonly unknown[]) checkRedirectUri(uri, this.#options.redirects);
      return true;
    } catch {
      return false;
    }
  }

  /** Only past half of its life, so that registering in a loop writes nothing; and never shortens the life of a client that is in use. */
  async #renew(item: Item<Registration>): Promise<void> {
    const { unusedMs } = this.#options;
    const left = (item.expiresAt ?? Infinity) - this.#clock.wall();
    if (item.value.lastLogin === undefined && left < unusedMs / 2) {
      // Where another process wrote first, it renewed it as well, or recorded a login, which is better.
      await this.#store.replace(item, item.value, this.#unused());
    }
  }

  #unused(): { expiresAt: number } {
    return { expiresAt: this.#clock.wall() + this.#options.unusedMs };
  }
}

function tooMany(message: string, retryAfter: number): AppError {
  return new AppError('CLIENT_RATE', message, { retryAfter });
}
