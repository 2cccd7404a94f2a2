/** A browser without a screen, as far as logging in at the forge goes: cookies, redirects, the login form and the grant form. */
import type { Account } from '../../scripts/seed-forge';
import { CookieJar } from './cookie-jar';

const DEADLINE_MS = 30_000;
const MAX_STEPS = 12;

/** What is sent from a page of the forge's: its login form, or its grant form. */
export interface ForgeForm {
  /** A path of the forge's. */
  readonly action: string;
  readonly fields: URLSearchParams;
}

/**
 * Fills in whichever of the two forms a page of the forge's has.
 * @param granted false: presses the other button of the grant form. @returns undefined for any other page.
 */
export function forgeForm(page: string, account: Account, granted = true): ForgeForm | undefined {
  if (page.includes('action="/user/login"')) {
    const fields = new URLSearchParams({ user_name: account.name, password: account.password });
    const csrf = /name="_csrf" value="([^"]*)"/.exec(page)?.[1];
    if (csrf !== undefined) fields.set('_csrf', csrf); // Forgejo 11 wants it
    return { action: '/user/login', fields };
  }
  if (page.includes('action="/login/oauth/grant"')) {
    const fields = new URLSearchParams({ granted: String(granted) });
    for (const [, name, value] of page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g))
      fields.set(name, value.replaceAll('&#43;', '+').replaceAll('&amp;', '&'));
    return { action: '/login/oauth/grant', fields };
  }
  return undefined;
}

/** One person's browser. */
export class ForgeBrowser {
  private readonly cookies = new CookieJar();

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
      const form = forgeForm(await answer.text(), this.account, granted);
      if (form === undefined)
        throw new Error(`the forge answered ${answer.status} at ${step.url.pathname}, with neither form`);
      step = { url: new URL(form.action, this.origin), form: form.fields };
    }
    throw new Error('the forge redirects in a circle');
  }

  private async request(url: URL, form: URLSearchParams | undefined): Promise<Response> {
    const answer = await fetch(url, {
      method: form === undefined ? 'GET' : 'POST',
      headers: { cookie: this.cookies.header(url) },
      ...(form === undefined ? {} : { body: form }),
      redirect: 'manual',
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    this.cookies.store(url, answer.headers);
    return answer;
  }
}
