/** Access tokens for tests: each user logs in once at each server, by a browser of their own, and goes on with refreshed tokens. */
import type { Account } from '../../scripts/seed-forge';
import { OAuthBrowser } from './oauth-browser';
import { type LoggedIn, login, type LoginOptions } from './oauth-login';

/** Tests' access tokens live an hour; one that is handed out has ten minutes left at least. */
const FRESH_MS = 50 * 60_000;

interface Held {
  readonly login: LoggedIn;
  /** Monotonic milliseconds of the last token. */
  since: number;
}

export class Logins {
  private readonly held = new Map<string, Promise<Held>>();
  private readonly browsers: OAuthBrowser[] = [];
  private readonly made: LoggedIn[] = [];

  /** @param forge the forge's public URL. @param account throws for a user that is not there. */
  constructor(
    private readonly forge: string,
    private readonly account: (user: string) => Account,
  ) {}

  /** A browser that nobody has logged in with. */
  browser(user: string): OAuthBrowser {
    const browser = new OAuthBrowser(this.forge, this.account(user));
    this.browsers.push(browser);
    return browser;
  }

  /** A login of its own. @param options what is not said is as in {@link login}, with a new browser. */
  async login(user: string, options: Pick<LoginOptions, 'url'> & Partial<LoginOptions>): Promise<LoggedIn> {
    const made = await login({ browser: this.browser(user), ...options });
    this.made.push(made);
    return made;
  }

  /** An access token for an MCP endpoint, from the one login of this user there; many at once share it. */
  async token(user: string, url: string): Promise<string> {
    const key = `${user} ${url}`;
    const held = await (this.held.get(key) ?? this.hold(key, user, url));
    if (performance.now() - held.since < FRESH_MS) return held.login.accessToken;
    this.held.set(key, this.refreshed(held));
    return this.token(user, url);
  }

  /** Everything secret that these logins were given or carried: tokens, codes, states and cookies. */
  secrets(): string[] {
    return [
      ...this.made.flatMap(({ tokens }) => tokens),
      ...this.browsers.flatMap(({ carried, cookies }) => [...carried, ...cookies.seen]),
    ];
  }

  private hold(key: string, user: string, url: string): Promise<Held> {
    const held = this.login(user, { url }).then((made) => ({ login: made, since: performance.now() }));
    this.held.set(key, held);
    held.catch(() => this.held.delete(key)); // the next one tries again
    return held;
  }

  private async refreshed(held: Held): Promise<Held> {
    await held.login.refresh();
    return { login: held.login, since: performance.now() };
  }
}
