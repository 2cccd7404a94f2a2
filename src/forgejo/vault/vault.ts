/**
 * The users' tokens at the forge: one set per user and application, encrypted in the store and shared by all gateways. One set, because a second
 * login at the forge ends the refresh token of the first.
 */
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Collection } from '../../stores/sealed';
import type { Account, ApplicationName, ForgeUpstream, Login } from '../login/contract';
import {
  mustLogIn,
  notNow,
  type Owner,
  type SuspendReason,
  type TokenSet,
  VAULT_TIMES,
  type VaultObserver,
  type VaultTimes,
} from './contract';
import { Refresher } from './refresher';
import { afterLogin, setId, stageOf } from './set';
import { Sets } from './sets';
import { pause, within } from './wait';

const APPLICATIONS: readonly ApplicationName[] = ['read', 'write'];

export interface VaultOptions {
  /** Of the kind `forge-tokens`. */
  readonly sets: Collection<TokenSet>;
  readonly upstream: ForgeUpstream;
  readonly clock: Clock;
  readonly observer: VaultObserver;
  readonly times?: Partial<VaultTimes>;
}

/** What the forge says of a user now. */
export type ProbeAnswer =
  | { readonly verdict: 'ok'; readonly account: Account }
  | { readonly verdict: 'ended'; readonly reason: SuspendReason | 'absent' | 'application' }
  /** Nothing was found out; the user goes on. */
  | { readonly verdict: 'unknown'; readonly error: AppError };

export class Vault {
  readonly #options: VaultOptions;
  readonly #times: VaultTimes;
  readonly #sets: Sets;
  readonly #refresher: Refresher;
  readonly #probes = new Map<string, Promise<ProbeAnswer>>();

  constructor(options: VaultOptions) {
    this.#options = options;
    this.#times = { ...VAULT_TIMES, ...options.times };
    this.#sets = new Sets(options.sets, options.clock, this.#times.cache);
    this.#refresher = new Refresher({ ...options, sets: this.#sets, times: this.#times });
  }

  /**
   * The user's access token, refreshed ahead of its end. While it lives a refresh is waited for by nobody.
   * @throws AppError `AUTH_INVALID` where the user must log in again; `FORGE_TOKEN_UNAVAILABLE`, `FORGE_LOGIN_CONFIG` or `STORE_UNAVAILABLE` where there
   * is none at the moment. With `signal`, its reason once it is aborted.
   */
  async token(user: Owner, application: ApplicationName, signal?: AbortSignal): Promise<string> {
    const id = setId(user, application);
    const set = await this.#look(id, application);
    if (set === undefined) throw mustLogIn('absent');
    switch (stageOf(set, this.#options.upstream.clientId(application), this.#options.clock.wall())) {
      case 'fresh':
      case 'last':
        return tokenOf(set);
      case 'due':
        if (this.#refresher.resting(id) === undefined) this.#refresher.run(id).catch(() => undefined); // told to the observer
        return tokenOf(set);
      case 'over':
        throw mustLogIn(set.suspended?.reason ?? 'application');
      case 'expired':
      case 'ended':
        return tokenOf(await this.#refreshed(id, undefined, signal));
    }
  }

  /**
   * Keeps the tokens of a login, and so un-suspends the user. A set of a later login or refresh stays.
   * @throws AppError `STORE_UNAVAILABLE`: the login is lost, the user logs in again.
   */
  async store(login: Login): Promise<void> {
    const { clock } = this.#options;
    const id = setId(login.user, login.application);
    const until = clock.now() + this.#times.commit;
    for (;;) {
      try {
        const item = await this.#sets.current(id);
        const set = afterLogin(item?.value, login);
        if (set === undefined) return;
        const written = item === undefined ? await this.#sets.create(id, set) : await this.#sets.replace(id, item, set);
        if (written !== undefined) return this.#refresher.wake(id);
      } catch (thrown) {
        if (!(thrown instanceof AppError) || thrown.code !== 'STORE_UNAVAILABLE' || clock.now() >= until) throw thrown;
        await pause(clock, this.#times.poll);
      }
    }
  }

  /** Whether the user must log in again before anything works; without an application: whether that goes for both. */
  async suspended(user: Owner, application?: ApplicationName): Promise<boolean> {
    const asked = application === undefined ? APPLICATIONS : [application];
    const sets = await Promise.all(asked.map((one) => this.#look(setId(user, one), one)));
    return sets.every((set, index) => this.#over(set, asked[index]));
  }

  /** Deletes the user's tokens. The forge has no way to revoke them: the grant there is the user's to delete. */
  async forget(user: Owner): Promise<void> {
    await Promise.all(APPLICATIONS.map((application) => this.#sets.delete(setId(user, application))));
  }

  /**
   * Asks the forge for the user's account and draws the consequences: a refused token is refreshed or ends the login, a blocked account ends it. Ask
   * every 30 s for users with live sessions, because a blocked account shows nowhere else. Never rejects.
   */
  probe(user: Owner, application: ApplicationName, signal?: AbortSignal): Promise<ProbeAnswer> {
    const id = setId(user, application);
    let probe = this.#probes.get(id);
    if (probe === undefined) {
      probe = this.#probe(user, application, id)
        .catch((thrown: unknown) => this.#verdict(id, application, thrown))
        .finally(() => this.#probes.delete(id));
      this.#probes.set(id, probe);
    }
    const late = (): AppError => notNow('the forge was not asked in time', 1);
    return within(probe, this.#options.clock, this.#times.wait * 2, signal, late).catch((thrown: unknown) => ({
      verdict: 'unknown',
      error: thrown instanceof AppError ? thrown : late(),
    }));
  }

  /** Resolves when no refresh runs here any more: each ends by itself, in `takeover` at the latest unless it waits for another gateway. Never rejects. */
  settled(): Promise<void> {
    return this.#refresher.settled();
  }

  async #probe(user: Owner, application: ApplicationName, id: string): Promise<ProbeAnswer> {
    const token = await this.token(user, application);
    try {
      return { verdict: 'ok', account: await this.#account(user, token) };
    } catch (thrown) {
      if (!(thrown instanceof AppError)) throw thrown;
      if (thrown.code === 'AUTH_INVALID') {
        const renewed = tokenOf(await this.#refreshed(id, token, undefined));
        return { verdict: 'ok', account: await this.#account(user, renewed) };
      }
      if (thrown.code === 'AUTH_REFUSED') await this.#block(id, token);
      throw thrown;
    }
  }

  async #account(user: Owner, token: string): Promise<Account> {
    const account = await this.#options.upstream.account(token);
    if (account.user.id !== user.id || account.user.issuer !== user.issuer)
      throw new AppError('UPSTREAM_INVALID', 'Forgejo names another user than the one who logged in.');
    return account;
  }

  /** The verdict on the account holds for the tokens that it was asked with: a login in between stays. */
  async #block(id: string, token: string): Promise<void> {
    for (;;) {
      const item = await this.#sets.current(id);
      if (item?.value.tokens?.accessToken !== token) return;
      if (await this.#refresher.suspend(id, item, 'blocked')) return;
    }
  }

  /** What a probe that failed says: only what the store says now ends a login. */
  async #verdict(id: string, application: ApplicationName, thrown: unknown): Promise<ProbeAnswer> {
    const error = thrown instanceof AppError ? thrown : notNow('unexpected', 1);
    if (error.code !== 'AUTH_INVALID' && error.code !== 'AUTH_REFUSED') return { verdict: 'unknown', error };
    try {
      const set = await this.#look(id, application);
      if (!this.#over(set, application)) return { verdict: 'unknown', error };
      return { verdict: 'ended', reason: set === undefined ? 'absent' : (set.suspended?.reason ?? 'application') };
    } catch {
      return { verdict: 'unknown', error };
    }
  }

  /** The set; that there is none, or that it is over, is said only after a live read, for the user may have logged in at another gateway. */
  async #look(id: string, application: ApplicationName): Promise<TokenSet | undefined> {
    const set = await this.#sets.recent(id);
    return this.#over(set, application) ? (await this.#sets.current(id))?.value : set;
  }

  #over(set: TokenSet | undefined, application: ApplicationName): boolean {
    const { upstream, clock } = this.#options;
    if (set === undefined) return true;
    return ['over', 'ended'].includes(stageOf(set, upstream.clientId(application), clock.wall()));
  }

  #refreshed(id: string, refused: string | undefined, signal: AbortSignal | undefined): Promise<TokenSet> {
    const flight = this.#refresher.run(id, refused);
    return within(flight, this.#options.clock, this.#times.wait, signal, () => notNow('the refresh takes long', 2));
  }
}

function tokenOf(set: TokenSet): string {
  if (set.tokens === undefined) throw mustLogIn('absent');
  return set.tokens.accessToken;
}
