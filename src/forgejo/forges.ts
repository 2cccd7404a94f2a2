/** The forges of all servers: logging in at each, and its users' tokens. Servers with the same public URL have one forge. */
import type { Dispatcher } from 'undici';
import type { ApplicationName, UserRef } from '../auth/context';
import type { BegunLogin, ForgeLogins } from '../auth/login/contract';
import type { Clock } from '../clock';
import type { ForgejoSpec, ServerSpec } from '../config/server';
import { AppError } from '../errors';
import type { Collection } from '../stores/sealed';
import type { Application } from './login/contract';
import { ForgeLogin } from './login/login';
import type { Owner, TokenSet, VaultObserver, VaultTimes } from './vault/contract';
import { type ProbeAnswer, Vault } from './vault/vault';

export interface ForgesOptions {
  /** The servers that name the forges, each with its applications. */
  readonly servers: readonly ServerSpec[];
  /** All that there are now; each is of one of those forges. */
  readonly present: () => readonly ServerSpec[];
  /** The client secret of an application, read from its file. */
  readonly secrets: ReadonlyMap<string, string>;
  /** Of the kind `forge-tokens`. */
  readonly sets: Collection<TokenSet>;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  /** Milliseconds for one request to a forge. */
  readonly timeoutMs: number;
  readonly observer: VaultObserver;
  readonly times?: Partial<VaultTimes>;
}

interface Known {
  readonly login: ForgeLogin;
  readonly vault: Vault;
}

export class Forges implements ForgeLogins {
  readonly #known = new Map<string, Known>();
  readonly #present: ForgesOptions['present'];

  /** @throws AppError `CONFIG_INVALID` as {@link ForgeLogin}. */
  constructor(options: ForgesOptions) {
    this.#present = options.present;
    for (const { forgejo } of options.servers) {
      if (!this.#known.has(forgejo.url)) this.#known.set(forgejo.url, make(forgejo, options));
    }
  }

  /** See {@link ForgeLogins.begin}. */
  async begin(
    { forgejo }: ServerSpec,
    application: ApplicationName,
    redirectUri: string,
  ): ReturnType<ForgeLogins['begin']> {
    return this.#at(forgejo.url).login.begin(application, redirectUri);
  }

  /**
   * See {@link ForgeLogins.finish}. From the exchange on the tokens of an earlier login are worth nothing, so the new ones are kept also where the login is refused
   * here; but those of an administrator whom no server takes are not, nor what there was before: they can do anything, and serve nobody.
   */
  async finish({ forgejo }: ServerSpec, begun: BegunLogin, query: URLSearchParams): Promise<UserRef> {
    const { login, vault } = this.#at(forgejo.url);
    const found = await login.finish(begun, query);
    await (found.isAdmin && !this.#takesAdmins(forgejo.url) ? vault.forget(found.user) : vault.store(found));
    if (found.isAdmin && !forgejo.insecureAllowSiteAdmins) {
      throw new AppError(
        'AUTH_REFUSED',
        'Site administrators may not use this server, because their access can act as anybody. Log in to Forgejo with an ordinary account.',
      );
    }
    return found.user;
  }

  async has(user: UserRef, application: ApplicationName): Promise<boolean> {
    return !(await this.suspended(user, application));
  }

  /** Whether the user must log in again before this application's tokens work; a user of a forge that is no more must. */
  async suspended(user: Owner, application: ApplicationName): Promise<boolean> {
    return (await this.#known.get(user.issuer)?.vault.suspended(user, application)) ?? true;
  }

  async forget(user: Owner): Promise<void> {
    await this.#known.get(user.issuer)?.vault.forget(user);
  }

  /** See {@link Vault.token}. */
  async token(user: Owner, application: ApplicationName, signal?: AbortSignal): Promise<string> {
    return this.#at(user.issuer).vault.token(user, application, signal);
  }

  /**
   * See {@link Vault.probe}. A user who has become an administrator since, and whom no server takes as one, is out as after {@link finish}: the tokens are
   * deleted. Never rejects.
   */
  async probe(user: Owner, application: ApplicationName, signal?: AbortSignal): Promise<ProbeAnswer> {
    const known = this.#known.get(user.issuer);
    if (known === undefined) return { verdict: 'ended', reason: 'absent' };
    const answer = await known.vault.probe(user, application, signal);
    if (answer.verdict !== 'ok' || !answer.account.isAdmin || this.#takesAdmins(user.issuer)) return answer;
    // Where the store cannot be reached the next probe deletes them; the caller sees an administrator meanwhile.
    return known.vault.forget(user).then(
      () => ({ verdict: 'ended', reason: 'absent' }),
      () => answer,
    );
  }

  /** See {@link Vault.settled}. */
  async settled(): Promise<void> {
    await Promise.all([...this.#known.values()].map(({ vault }) => vault.settled()));
  }

  /** Whether any server of a forge takes site administrators. */
  #takesAdmins(url: string): boolean {
    return this.#present().some(({ forgejo }) => forgejo.url === url && forgejo.insecureAllowSiteAdmins);
  }

  #at(url: string): Known {
    const known = this.#known.get(url);
    if (known === undefined)
      throw new AppError('AUTH_INVALID', 'This login is for a Forgejo that is not served any more.');
    return known;
  }
}

function make(forgejo: ForgejoSpec, options: ForgesOptions): Known {
  const { applications, url, apiUrl } = forgejo;
  if (applications === undefined) throw new AppError('CONFIG_INVALID', `forgejo.applications is needed for ${url}.`);
  const application = (name: ApplicationName): Application => {
    const { clientId, clientSecretFile, scopes } = applications[name];
    return { clientId, scopes, clientSecret: options.secrets.get(clientSecretFile) ?? '' };
  };
  const { dispatcher, clock, timeoutMs, sets, observer, times } = options;
  const login = new ForgeLogin({
    url,
    apiUrl,
    applications: { read: application('read'), write: application('write') },
    dispatcher,
    clock,
    timeoutMs,
  });
  return {
    login,
    vault: new Vault({ sets, upstream: login, clock, observer, ...(times === undefined ? {} : { times }) }),
  };
}
