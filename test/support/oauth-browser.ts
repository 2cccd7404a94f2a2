/**
 * One person's browser without a screen, for the whole way of a login: the gateway's consent page, the page that goes on to the forge, the forge's
 * login and grant forms, and back to the client. It follows redirects and `Refresh`, keeps cookies by host and path, and runs no scripts.
 */
import type { Account } from '../../scripts/seed-forge';
import { CookieJar } from './cookie-jar';
import { forgeForm } from './forge-browser';

const DEADLINE_MS = 30_000;
const MAX_STEPS = 30;
/** Query parameters of a login that must not be told to anybody else. */
const SECRET_PARAMETERS = ['code', 'state'];

/** What the person chooses on the consent page and at the forge. */
export interface ConsentChoice {
  /** `write` if absent. */
  readonly access?: 'read' | 'write';
  /** Owners and repositories to keep it to; everywhere if absent. */
  readonly names?: readonly string[];
  /** Ticks 'do not ask me again', where that is offered. */
  readonly remember?: boolean;
  /** `allow` if absent. */
  readonly decision?: 'allow' | 'deny';
  /** False: presses the other button on the forge's own page. */
  readonly granted?: boolean;
}

/** Where the browser stands. */
export interface BrowserPage {
  readonly url: URL;
  readonly status: number;
  readonly html: string;
}

/** A form of a page, with the values that the page gave its hidden fields. */
export interface PageForm {
  readonly action: URL;
  readonly hidden: Readonly<Record<string, string>>;
}

interface Step {
  readonly url: URL;
  readonly form?: URLSearchParams;
}

export class OAuthBrowser {
  readonly cookies = new CookieJar();
  /** Codes and states that it carried. */
  readonly carried = new Set<string>();

  /** @param forge the forge's public URL. */
  constructor(
    private readonly forge: string,
    private readonly account: Account,
  ) {}

  /**
   * Follows an authorization URL of the gateway to its end.
   * @returns the client's redirect URI with what it is told, `code` or `error`. Throws with the steps that were made if it does not get there.
   */
  async authorize(url: URL, choice: ConsentChoice = {}): Promise<URL> {
    const redirect = new URL(url.searchParams.get('redirect_uri') ?? '');
    const isClient = (at: URL): boolean => at.origin === redirect.origin && at.pathname === redirect.pathname;
    const trail: string[] = [];
    let at = await this.follow({ url }, [url.origin], trail, choice, isClient);
    if (isConsent(at)) {
      const [form] = formsOf(at);
      const fields = new URLSearchParams({
        ...form.hidden,
        access: choice.access ?? 'write',
        reach: choice.names === undefined ? 'all' : 'list',
        names: (choice.names ?? []).join('\n'),
        ...(choice.remember === true ? { remember: 'yes' } : {}),
        decision: choice.decision ?? 'allow',
      });
      at = await this.follow({ url: form.action, form: fields }, [url.origin], trail, choice, isClient);
    }
    if (isClient(at.url)) return at.url;
    throw new Error(`the login ended at a page, “${titleOf(at)}”, after:\n${trail.join('\n')}`);
  }

  /** Opens a page of the gateway's, logging in at the forge on the way where it is sent there. */
  open(url: URL): Promise<BrowserPage> {
    return this.follow({ url }, [url.origin], [], {}, () => false);
  }

  /** Sends a form of a page, with further fields. */
  submit(form: PageForm, fields: Readonly<Record<string, string>> = {}): Promise<BrowserPage> {
    const filled = new URLSearchParams({ ...form.hidden, ...fields });
    return this.follow({ url: form.action, form: filled }, [form.action.origin], [], {}, () => false);
  }

  /** Goes on as far as a page that wants a decision, or the client. */
  private async follow(
    start: Step,
    origins: readonly string[],
    trail: string[],
    choice: ConsentChoice,
    isClient: (at: URL) => boolean,
  ): Promise<BrowserPage> {
    const known = [...origins, new URL(this.forge).origin];
    let step = start;
    for (let count = 0; count < MAX_STEPS; count++) {
      this.remember(step.url);
      if (isClient(step.url)) return { url: step.url, status: 0, html: '' };
      if (!known.includes(step.url.origin)) throw new Error(`sent to ${step.url.origin} after:\n${trail.join('\n')}`);
      const { answer, html } = await this.request(step);
      trail.push(`${step.form ? 'POST' : 'GET'} ${step.url.origin}${step.url.pathname}: ${answer.status}`);
      const page = { url: step.url, status: answer.status, html };
      const next = onward(step, answer) ?? (step.url.origin === known.at(-1) ? this.atForge(page, choice) : undefined);
      if (next === undefined) return page;
      step = next;
    }
    throw new Error(`redirected in a circle:\n${trail.join('\n')}`);
  }

  private atForge({ url, html }: BrowserPage, { granted }: ConsentChoice): Step | undefined {
    const form = forgeForm(html, this.account, granted);
    return form === undefined ? undefined : { url: new URL(form.action, url), form: form.fields };
  }

  private async request({ url, form }: Step): Promise<{ answer: Response; html: string }> {
    const answer = await fetch(url, {
      method: form === undefined ? 'GET' : 'POST',
      headers: {
        accept: 'text/html',
        cookie: this.cookies.header(url),
        // What browsers say of a form, and the gateway looks at.
        ...(form === undefined ? {} : { origin: url.origin, 'sec-fetch-site': 'same-origin' }),
      },
      ...(form === undefined ? {} : { body: form }),
      redirect: 'manual',
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    this.cookies.store(url, answer.headers);
    return { answer, html: await answer.text() };
  }

  private remember(url: URL): void {
    for (const name of SECRET_PARAMETERS) {
      const value = url.searchParams.get(name);
      if (value !== null) this.carried.add(value);
    }
  }
}

/** Where an answer sends the browser by itself; 307 and 308 take the form along. */
function onward({ url, form }: Step, answer: Response): Step | undefined {
  const location = answer.headers.get('location');
  if (location !== null) {
    const next = { url: new URL(location, url) };
    return (answer.status === 307 || answer.status === 308) && form !== undefined ? { ...next, form } : next;
  }
  const refresh = /^\s*\d+\s*;\s*url=(.+)$/i.exec(answer.headers.get('refresh') ?? '')?.[1];
  return refresh === undefined ? undefined : { url: new URL(refresh, url) };
}

/** The forms of a page, in its order. */
export function formsOf({ html, url }: BrowserPage): PageForm[] {
  return [...html.matchAll(/<form\b[^>]*\baction="([^"]*)"[^>]*>(.*?)<\/form>/gs)].map(
    ([, action = '', body = '']) => ({
      action: new URL(plain(action), url),
      hidden: Object.fromEntries(
        [...body.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)].map(([, name = '', value = '']) => [
          plain(name),
          plain(value),
        ]),
      ),
    }),
  );
}

function isConsent(page: BrowserPage): boolean {
  return page.status === 200 && page.html.includes('name="decision"') && formsOf(page).length > 0;
}

function titleOf({ html, status }: BrowserPage): string {
  return `${status} ${plain(/<title>([^<]*)<\/title>/.exec(html)?.[1] ?? html.slice(0, 200))}`;
}

/** Text of an attribute, without its escapes. */
function plain(text: string): string {
  return text
    .replace(/&#x([0-9a-f]+);/gi, (_, digits: string) => String.fromCodePoint(parseInt(digits, 16)))
    .replace(/&#(\d+);/g, (_, digits: string) => String.fromCodePoint(Number(digits)))
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&');
}
