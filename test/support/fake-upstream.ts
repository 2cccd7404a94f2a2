/** A forge's OAuth provider in memory, with one counter per grant as Forgejo has it, and a store that fails when told to. */
import { AppError } from '../../src/errors';
import type {
  Account,
  ApplicationName,
  ForgeTokens,
  ForgeUpstream,
  Login,
  RefreshAnswer,
} from '../../src/forgejo/login/contract';
import type { SuspendReason } from '../../src/forgejo/vault/contract';
import type { Collection, Item } from '../../src/stores/sealed';
import type { FakeClock } from './fake-link';

export const ALICE = { issuer: 'https://forge.test', id: '3', login: 'alice' };

/** What becomes of the next refreshes. */
export type Mood =
  | 'well'
  /** Refreshes, and the answer is lost on its way. */
  | 'cut'
  /** Never reached. */
  | 'away'
  /** Reached, and did nothing. */
  | 'broken'
  | 'secret';

export class FakeUpstream implements ForgeUpstream {
  mood: Mood = 'well';
  /** Milliseconds that access tokens live. */
  lifetime = 15_000;
  /** Set: refreshes wait for it after they took effect. */
  gate: Promise<void> | undefined;
  blocked = false;
  applicationGone = false;
  /** False: tokens are opaque. */
  readable = true;
  /** Refreshes that were asked for, and those that went well. */
  asked = 0;
  refreshed = 0;
  accounts = 0;
  client = 'client-1';
  #grant = 1;
  #counter = 0;
  #live = new Map<string, number>();

  constructor(
    readonly clock: FakeClock,
    readonly application: ApplicationName = 'read',
  ) {}

  clientId(): string {
    return this.client;
  }

  /** Holds refreshes back from now on, after they took effect, until the returned function is called. */
  hold(): () => void {
    let open = (): void => undefined;
    this.gate = new Promise((resolve) => (open = resolve));
    return () => open();
  }

  /** A code exchange by the user. */
  login(): Login {
    const { application } = this;
    return { user: ALICE, isAdmin: false, application, clientId: this.client, tokens: this.#issue() };
  }

  /** Whether this is an access token that works now. */
  lives(accessToken: string): boolean {
    const until = this.#live.get(accessToken);
    return !this.applicationGone && until !== undefined && until > this.clock.now();
  }

  /** What a restore from a backup does. */
  restore(counter: number): void {
    this.#counter = counter;
  }

  /** The user revokes the grant: all tokens are dead. A later login makes another. */
  revoke(): void {
    this.#grant += 1;
    this.#counter = 0;
    this.#live.clear();
  }

  /** Somebody else uses the refresh token. */
  steal(): void {
    this.#counter += 1;
  }

  async refresh(_: ApplicationName, refreshToken: string): Promise<RefreshAnswer> {
    this.asked += 1;
    const answer = this.#answer(refreshToken);
    await this.gate;
    return answer;
  }

  async account(accessToken: string): Promise<Account> {
    this.accounts += 1;
    if (this.mood === 'away') throw away();
    if (!this.lives(accessToken)) throw new AppError('AUTH_INVALID', '401');
    if (this.blocked) throw new AppError('AUTH_REFUSED', '403');
    return { user: ALICE, isAdmin: false };
  }

  #answer(refreshToken: string): RefreshAnswer {
    if (this.mood === 'away') return { kind: 'unreachable', error: away(), reached: false };
    if (this.mood === 'broken') return { kind: 'unreachable', error: away(), reached: true };
    if (this.mood === 'secret' || this.applicationGone)
      return { kind: 'misconfigured', error: new AppError('FORGE_LOGIN_CONFIG', 'the secret is wrong') };
    const [grant, counter] = refreshToken.split('-').slice(1).map(Number);
    if (grant !== this.#grant) return { kind: 'dead' };
    if (counter !== this.#counter) return { kind: 'used' };
    const tokens = this.#issue();
    if (this.mood === 'cut') return { kind: 'unreachable', error: away(), reached: true };
    this.refreshed += 1;
    return { kind: 'refreshed', tokens };
  }

  #issue(): ForgeTokens {
    this.#counter += 1;
    const accessToken = `access-${this.#grant}-${this.#counter}`;
    this.#live.set(accessToken, this.clock.now() + this.lifetime);
    return {
      accessToken,
      accessExpiresAt: this.clock.wall() + this.lifetime,
      lifetime: this.lifetime,
      refreshToken: `refresh-${this.#grant}-${this.#counter}`,
      ...(this.readable
        ? {
            position: {
              grant: this.#grant,
              counter: this.#counter,
              issuedAt: Math.floor(this.clock.wall() / 1000),
            },
          }
        : {}),
    };
  }
}

function away(): AppError {
  return new AppError('UPSTREAM_TIMEOUT', 'late', { detail: 'TimeoutError', retryAfter: 5 });
}

/** A collection that loses calls, or the answers to them. */
export class FlakyCollection<T> implements Collection<T> {
  /** Calls that fail from now on, by name; `after` does what is asked and then fails. */
  failing: { readonly call: keyof Collection<T>; readonly after: boolean; times: number } | undefined;
  /** Called before every `replace`. */
  onReplace: (value: T) => void | Promise<void> = () => undefined;
  reads = 0;

  constructor(readonly inner: Collection<T>) {}

  get(id: string): Promise<Item<T> | undefined> {
    this.reads += 1;
    return this.#call('get', () => this.inner.get(id));
  }

  create(...args: Parameters<Collection<T>['create']>): Promise<Item<T> | undefined> {
    return this.#call('create', () => this.inner.create(...args));
  }

  async replace(...args: Parameters<Collection<T>['replace']>): Promise<Item<T> | undefined> {
    await this.onReplace(args[1]);
    return this.#call('replace', () => this.inner.replace(...args));
  }

  delete(target: Parameters<Collection<T>['delete']>[0]): Promise<boolean> {
    return this.#call('delete', () => this.inner.delete(target));
  }

  find(tag?: { readonly name: string; readonly value: string }): Promise<readonly Item<T>[]> {
    return this.inner.find(tag);
  }

  async #call<R>(call: keyof Collection<T>, work: () => Promise<R>): Promise<R> {
    const { failing } = this;
    const fails = failing !== undefined && failing.call === call && failing.times-- > 0;
    if (fails && !failing.after) throw new AppError('STORE_UNAVAILABLE', 'away');
    const result = await work();
    if (fails) throw new AppError('STORE_UNAVAILABLE', 'the answer was lost');
    return result;
  }
}

/** An observer of a vault that keeps what it is told. */
export function keptEvents() {
  const refreshes: string[] = [];
  const suspensions: SuspendReason[] = [];
  const shared: string[] = [];
  const observer = {
    refreshed: (_: string, outcome: string) => void refreshes.push(outcome),
    suspended: (_: unknown, __: string, reason: SuspendReason) => void suspensions.push(reason),
    shared: (application: string) => void shared.push(application),
  };
  return { refreshes, suspensions, shared, observer };
}
