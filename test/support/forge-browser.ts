/** A browser without a screen, as far as logging in at the forge goes: cookies, redirects, the login form and the grant form. */
import type { Account } from '../../scripts/seed-forge';

const DEADLINE_MS = 30_000;
const MAX_STEPS = 12;

/** One person's browser. */
export class ForgeBrowser {
  private readonly cookies = new Map<string, string>();

  constructor(
    private readonly origin: string,
    private readonly account: Account,
  ) {}

  /**
   * Follows an authorization URL: logs in and grants where it is asked to.
   * @param granted false: presses the other button. @returns where the forge sends the browser in the end, outside of itself.
   */
  async authorize(url: URL, granted = true): Promise<URL> {
    let step: { url: URL; form?: URLSearchParams } = { url };
    for (let count = 0; count < MAX_STEPS; count++) {
      if (step.url.origin !== this.origin) return step.url;
      const answer = await this.request(step.url, step.form);
      const location = answer.headers.get('location');
      if (location !== null) {
        step = { url: new URL(location, step.url) };
        continue;
      }
      const page = await answer.text();
      if (page.includes('action="/user/login"')) {
        const form = new URLSearchParams({ user_name: this.account.name, password: this.account.password });
        const csrf = /name="_csrf" value="([^"]*)"/.exec(page)?.[1];
        if (csrf !== undefined) form.set('_csrf', csrf); // Forgejo 11 wants it
        step = { url: new URL('/user/login', this.origin), form };
      } else if (page.includes('action="/login/oauth/grant"')) {
        const form = new URLSearchParams({ granted: String(granted) });
        for (const [, name, value] of page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g))
          form.set(name, value.replaceAll('&#43;', '+').replaceAll('&amp;', '&'));
        step = { url: new URL('/login/oauth/grant', this.origin), form };
      } else throw new Error(`the forge answered ${answer.status} at ${step.url.pathname}, with neither form`);
    }
    throw new Error('the forge redirects in a circle');
  }

  private async request(url: URL, form: URLSearchParams | undefined): Promise<Response> {
    const answer = await fetch(url, {
      method: form === undefined ? 'GET' : 'POST',
      headers: { cookie: [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
      ...(form === undefined ? {} : { body: form }),
      redirect: 'manual',
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (name !== undefined) this.cookies.set(name, value);
    }
    return answer;
  }
}
