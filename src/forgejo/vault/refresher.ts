/**
 * Refreshes a set of tokens: one holder at a time over all processes, and nothing lost where one dies in between. The forge takes a refresh
 * token once and counts before it answers, so an attempt is recorded with compare-and-set before the forge is asked (RFC 6749, 6; RFC 9700, 4.14).
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Item } from '../../stores/sealed';
import type { ForgeTokens, ForgeUpstream } from '../login/contract';
import {
  MAX_REMEMBERED,
  mustLogIn,
  notNow,
  type Pending,
  type RefreshOutcome,
  type SuspendReason,
  type TokenSet,
  type VaultObserver,
  type VaultTimes,
} from './contract';
import { afterRefresh, asSpent, asSuspended, compare, stageOf, withPending } from './set';
import type { Sets } from './sets';
import { pause } from './wait';

/** How far the machines' clocks may be apart, in milliseconds, when the age of an attempt is read from its record. */
const SKEW = 60_000;

/** Times `takeover`: others may take over from each other, but not for ever while somebody waits. */
const PATIENCE = 3;

type Record = Item<TokenSet>;

/** What one attempt found: the set to use, or that the record has changed and must be looked at again. */
type Found = TokenSet | 'again';

export interface RefresherOptions {
  readonly sets: Sets;
  readonly upstream: ForgeUpstream;
  readonly clock: Clock;
  readonly times: VaultTimes;
  readonly observer: VaultObserver;
}

export class Refresher {
  readonly #options: RefresherOptions;
  /** This process among those that share the store. */
  readonly #holder = randomUUID();
  readonly #flights = new Map<string, Promise<TokenSet>>();
  /** Refreshes that pause after one without a verdict. Newest last. */
  readonly #resting = new Map<string, { readonly until: number; readonly delay: number; readonly error: AppError }>();

  constructor(options: RefresherOptions) {
    this.#options = options;
  }

  /**
   * The set, refreshed where it is due. One flight per set in this process; it goes on when nobody waits for it any more, and ends by itself.
   * @param refused an access token that the forge has refused although it should live: a set with it is refreshed in any case.
   * @throws AppError `AUTH_INVALID` where the user must log in again, `FORGE_TOKEN_UNAVAILABLE` and `FORGE_LOGIN_CONFIG` where there is no verdict,
   * `STORE_UNAVAILABLE`.
   */
  async run(id: string, refused?: string): Promise<TokenSet> {
    for (;;) {
      const present = this.#flights.get(id);
      const flight = present ?? this.#start(id, refused);
      const set = await flight;
      // Somebody else's flight may not have known that the token was refused.
      if (present === undefined || refused === undefined || set.tokens?.accessToken !== refused) return set;
    }
  }

  /** Whether a refresh of this set would be refused now, because the last one had no verdict. */
  resting(id: string): AppError | undefined {
    const rest = this.#resting.get(id);
    return rest !== undefined && rest.until > this.#options.clock.now() ? rest.error : undefined;
  }

  /** Forgets a pause: there are new tokens. */
  wake(id: string): void {
    this.#resting.delete(id);
  }

  /** Writes that the user must log in again, unless the set has changed in the meantime. */
  async suspend(id: string, item: Record, reason: SuspendReason): Promise<boolean> {
    const { sets, clock, observer } = this.#options;
    const written = await sets.replace(id, item, asSuspended(item.value, reason, clock.wall()));
    if (written === undefined) return false;
    observer.suspended(item.value.user, item.value.application, reason);
    return true;
  }

  /** Resolves when no flight is in the air. Never rejects. */
  async settled(): Promise<void> {
    while (this.#flights.size > 0) await Promise.allSettled(this.#flights.values());
  }

  #start(id: string, refused: string | undefined): Promise<TokenSet> {
    const flight = this.#fly(id, refused).finally(() => this.#flights.delete(id));
    this.#flights.set(id, flight);
    return flight;
  }

  async #fly(id: string, refused: string | undefined): Promise<TokenSet> {
    const { sets, clock, times } = this.#options;
    const rest = this.resting(id);
    if (rest !== undefined) throw rest;
    const attempt = randomUUID();
    const patience = clock.now() + times.takeover * PATIENCE;
    let seen = { attempt: '', at: 0 };
    let earlier = false;
    for (;;) {
      const item = await sets.current(id);
      if (item === undefined) throw mustLogIn('absent');
      const settled = await this.#settled(id, item, refused);
      if (settled === 'again') continue;
      if (settled !== undefined) return settled;

      let claimed = item;
      const { pending } = item.value;
      if (pending?.attempt !== attempt) {
        if (pending !== undefined && seen.attempt !== pending.attempt)
          seen = { attempt: pending.attempt, at: clock.now() };
        if (pending !== undefined && !this.#abandoned(pending, seen.at)) {
          if (clock.now() >= patience) throw notNow('another gateway does not finish its refresh', 5);
          await pause(clock, times.poll);
          continue;
        }
        earlier = pending !== undefined;
        const own = { attempt, holder: this.#holder, since: clock.wall() };
        const won = await sets.replace(id, item, withPending(item.value, own));
        if (won === undefined) continue;
        claimed = won;
      }
      const found = await this.#attempt(id, claimed, earlier, refused);
      if (found !== 'again') return found;
    }
  }

  /** What needs no refresh: a set that is good, or one that is over. */
  async #settled(id: string, item: Record, refused: string | undefined): Promise<Found | undefined> {
    const { upstream, clock } = this.#options;
    const set = item.value;
    const stage = stageOf(set, upstream.clientId(set.application), clock.wall());
    if (stage === 'over') throw mustLogIn(set.suspended?.reason ?? 'application');
    const bad = set.tokens?.accessToken === refused;
    if (set.spent !== undefined) {
      if (stage === 'last' && !bad) return set;
      return this.#end(id, item, bad ? 'revoked' : set.spent);
    }
    return stage === 'fresh' && !bad ? set : undefined;
  }

  /** Whether an attempt's holder may be taken for dead. */
  #abandoned({ holder, since, released }: Pending, seenAt: number): boolean {
    const { clock, times } = this.#options;
    // An own one is of an earlier flight of this process, which is over.
    if (released === true || holder === this.#holder) return true;
    return clock.now() - seenAt >= times.takeover || clock.wall() - since >= times.takeover + SKEW;
  }

  async #attempt(id: string, claimed: Record, earlier: boolean, refused: string | undefined): Promise<Found> {
    const { upstream, clock, observer } = this.#options;
    const set = claimed.value;
    const tokens = set.tokens as ForgeTokens; // `#settled` has seen them
    const began = clock.now();
    const answer = await upstream.refresh(set.application, tokens.refreshToken);
    const tell = (outcome: RefreshOutcome): void =>
      observer.refreshed(set.application, outcome, (clock.now() - began) / 1000);
    const bad = refused === tokens.accessToken;
    switch (answer.kind) {
      case 'refreshed':
        tell(earlier ? 'recovered' : 'refreshed');
        this.#resting.delete(id);
        return this.#commit(id, claimed, answer.tokens);
      case 'used':
        tell('used');
        if (await this.#replaced(id, claimed)) return 'again';
        if (!earlier && !bad) observer.shared(set.application);
        return bad
          ? this.#end(id, claimed, 'revoked')
          : this.#spend(id, claimed, earlier ? 'lost' : 'shared', tokens.accessExpiresAt);
      case 'dead':
        tell('dead');
        if (await this.#replaced(id, claimed)) return 'again';
        return this.#end(id, claimed, 'revoked');
      case 'misconfigured':
        tell('misconfigured');
        // The forge refuses both the token and the application that it was given to: the application is gone.
        if (bad) return this.#end(id, claimed, 'revoked');
        await this.#release(id, claimed, earlier);
        throw this.#rest(id, answer.error);
      case 'unreachable':
        tell('unreachable');
        await this.#release(id, claimed, earlier || answer.reached);
        throw this.#rest(id, notNow(answer.error.detail ?? answer.error.code, answer.error.retryAfter ?? 1));
    }
  }

  /** A new login, or the late answer of a holder that was taken for dead, may be on its way: waits for it. */
  async #replaced(id: string, { value }: Record): Promise<boolean> {
    const { sets, clock, times } = this.#options;
    const until = clock.now() + times.grace;
    for (;;) {
      const item = await sets.current(id);
      if (item?.value.generation !== value.generation) return true;
      if (clock.now() >= until) return false;
      await pause(clock, times.poll);
    }
  }

  async #spend(id: string, item: Record, reason: 'lost' | 'shared', expiresAt: number): Promise<Found> {
    const { sets, clock } = this.#options;
    if (clock.wall() >= expiresAt) return this.#end(id, item, reason);
    return (await sets.replace(id, item, asSpent(item.value, reason)))?.value ?? 'again';
  }

  async #end(id: string, item: Record, reason: SuspendReason): Promise<'again'> {
    if (await this.suspend(id, item, reason)) throw mustLogIn(reason);
    return 'again';
  }

  /** Gives an attempt without a verdict up. `unclear`: the refresh token may be used; the next one who finds it used knows by whom. */
  async #release(id: string, item: Record, unclear: boolean): Promise<void> {
    const { sets } = this.#options;
    const { pending } = item.value;
    const after = unclear && pending !== undefined ? ({ ...pending, released: true } as const) : undefined;
    await sets.replace(id, item, withPending(item.value, after));
  }

  /**
   * Stores new tokens. The forge has given them, so nothing but a later set keeps them out: a store that is away is tried again, and a record that
   * has changed is compared by the forge's own counter.
   */
  async #commit(id: string, claimed: Record, tokens: ForgeTokens): Promise<TokenSet> {
    const { sets, clock, times } = this.#options;
    const until = clock.now() + times.commit;
    let item = claimed;
    for (;;) {
      try {
        const written = await sets.replace(id, item, afterRefresh(item.value, tokens));
        if (written !== undefined) return written.value;
        const present = await sets.current(id);
        if (present === undefined) throw mustLogIn('absent'); // forgotten in the meantime
        const { suspended, tokens: others } = present.value;
        if (suspended !== undefined) throw mustLogIn(suspended.reason);
        const unchanged = others?.refreshToken === item.value.tokens?.refreshToken;
        if (!unchanged && !((compare(tokens.position, others?.position) ?? 0) > 0)) return present.value;
        item = present;
      } catch (thrown) {
        if (!(thrown instanceof AppError) || thrown.code !== 'STORE_UNAVAILABLE' || clock.now() >= until) throw thrown;
        await pause(clock, times.poll);
      }
    }
  }

  #rest(id: string, error: AppError): AppError {
    const { clock, times } = this.#options;
    const [first, longest] = times.backoff;
    const before = this.#resting.get(id);
    const delay = before === undefined ? first : Math.min(before.delay * 2, longest);
    this.#resting.delete(id);
    this.#resting.set(id, { until: clock.now() + delay, delay, error });
    if (this.#resting.size > MAX_REMEMBERED) {
      const oldest = this.#resting.keys().next();
      if (!oldest.done) this.#resting.delete(oldest.value);
    }
    return error;
  }
}
