/** What an attacker has: plain HTTP, one request at a time, with a browser whose cookies can be read and made; and a login that stops at every step. */
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { getGlobalDispatcher } from 'undici';
import type { Account } from '../../scripts/seed-forge';
import { CookieJar } from './cookie-jar';
import { ForgeBrowser } from './forge-browser';
import { type BrowserPage, formsOf, type PageForm } from './oauth-browser';
import { CLIENT_REDIRECT } from './oauth-login';

const DEADLINE_MS = 30_000;

/** Clients of a gateway's configuration; nothing is at their addresses. */
export const OAUTH_CLIENTS = [
  {
    clientId: 'trusted',
    name: 'Trusted',
    redirectUris: ['https://trusted.example/callback', 'https://trusted.example/other'],
  },
  { clientId: 'neighbour', name: 'Trusted', redirectUris: ['https://neighbour.example/callback'] },
] as const;

/** An answer, with where it sends a browser. */
export interface Answer extends BrowserPage {
  readonly headers: Headers;
  /** From `Location` or `Refresh`. */
  readonly next: URL | undefined;
}

export type Fields = Readonly<Record<string, string>>;

/** A browser that makes one request and stops. */
export class Stepper {
  readonly cookies = new CookieJar();

  get(url: URL | string, headers: Fields = {}): Promise<Answer> {
    return this.send('GET', new URL(url), headers);
  }

  /** Sends a form as a browser does from the site's own page, unless `headers` say otherwise; an empty header is left out. */
  post(url: URL | string, fields: Fields | string, headers: Fields = {}): Promise<Answer> {
    const own = { origin: new URL(url).origin, 'sec-fetch-site': 'same-origin', ...headers };
    const body = typeof fields === 'string' ? fields : new URLSearchParams(fields).toString();
    return this.send('POST', new URL(url), { 'content-type': 'application/x-www-form-urlencoded', ...own }, body);
  }

  async send(method: string, url: URL, headers: Fields = {}, body?: string): Promise<Answer> {
    const cookie = this.cookies.header(url);
    const sent = Object.entries({ accept: 'text/html', ...(cookie === '' ? {} : { cookie }), ...headers });
    const answer = await fetch(url, {
      method,
      headers: Object.fromEntries(sent.filter(([, value]) => value !== '')),
      ...(body === undefined ? {} : { body }),
      redirect: 'manual',
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    this.cookies.store(url, answer.headers);
    const refresh = /^\s*\d+\s*;\s*url=(.+)$/i.exec(answer.headers.get('refresh') ?? '')?.[1];
    const target = answer.headers.get('location') ?? refresh;
    return {
      url,
      status: answer.status,
      headers: answer.headers,
      html: await answer.text(),
      next: target === undefined || target === null ? undefined : new URL(target, url),
    };
  }
}

/** Changes to a request: `undefined` leaves a parameter out. */
export type Changes = Readonly<Record<string, string | undefined>>;

export interface TokenReply {
  readonly status: number;
  readonly body: any;
}

/** A public client as the attacker or the victim has one. */
export class RawClient {
  readonly verifier = randomBytes(32).toString('base64url');
  readonly state = randomBytes(16).toString('base64url');

  /** @param base of the gateway, without a path. */
  constructor(
    readonly base: string,
    readonly id: string,
    readonly redirect = CLIENT_REDIRECT,
  ) {}

  /** Registers it. Each name and redirect URI is a client of its own. */
  static async register(base: string, name: string, redirect = CLIENT_REDIRECT): Promise<RawClient> {
    const { status, body } = await register(base, { client_name: name, redirect_uris: [redirect] });
    if (status !== 201) throw new Error(`registration: ${status} ${JSON.stringify(body)}`);
    return new RawClient(base, body.client_id as string, redirect);
  }

  get challenge(): string {
    return createHash('sha256').update(this.verifier).digest('base64url');
  }

  authorizeUrl(changes: Changes = {}): URL {
    return new URL(`/authorize?${this.query(changes)}`, this.base);
  }

  query(changes: Changes = {}): string {
    return encode({
      response_type: 'code',
      client_id: this.id,
      redirect_uri: this.redirect,
      state: this.state,
      code_challenge: this.challenge,
      code_challenge_method: 'S256',
      resource: `${this.base}/mcp`,
      scope: 'forgejo:read forgejo:write',
      ...changes,
    });
  }

  redeem(code: string, changes: Changes = {}): Promise<TokenReply> {
    return this.token({
      grant_type: 'authorization_code',
      code,
      redirect_uri: this.redirect,
      code_verifier: this.verifier,
      resource: `${this.base}/mcp`,
      ...changes,
    });
  }

  refresh(token: string, changes: Changes = {}): Promise<TokenReply> {
    return this.token({ grant_type: 'refresh_token', refresh_token: token, ...changes });
  }

  private async token(form: Changes): Promise<TokenReply> {
    const body = encode({ client_id: this.id, ...form });
    const answer = await fetch(`${this.base}/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body,
    });
    return { status: answer.status, body: await answer.json() };
  }
}

export async function register(base: string, metadata: object): Promise<TokenReply & { readonly headers: Headers }> {
  const answer = await fetch(`${base}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(metadata),
  });
  return { status: answer.status, headers: answer.headers, body: await answer.json() };
}

/** A login that goes on only when it is told to. */
export class SteppedLogin {
  readonly browser: Stepper;
  private readonly atForge: ForgeBrowser;

  /** @param forge its public URL. @param account who sits in front of the browser. */
  constructor(
    forge: string,
    account: Account,
    readonly client: RawClient,
    browser?: Stepper,
  ) {
    this.browser = browser ?? new Stepper();
    this.atForge = new ForgeBrowser(forge, account);
  }

  /** As far as the answer to `/login/<uid>`: the consent page, or the way to the forge where the consent is remembered. */
  async begin(changes: Changes = {}): Promise<Answer> {
    const sent = await this.browser.get(this.client.authorizeUrl(changes));
    if (sent.status !== 303 || sent.next?.origin !== this.client.base) return sent;
    return this.browser.get(sent.next);
  }

  /** Answers the consent page. Resolves with the forge's authorization URL. */
  async consent(page: Answer, fields: Fields = {}): Promise<URL> {
    const answer = await this.browser.post(formOf(page).action, consentFields(page, fields));
    if (answer.next === undefined) throw new Error(`the consent led nowhere: ${answer.status}`);
    return answer.next;
  }

  /** Logs in at the forge. Resolves with the callback's URL, which was not opened yet. */
  forge(url: URL): Promise<URL> {
    return this.atForge.authorize(url);
  }

  /** Opens the callback and what follows, as far as the client's redirect URI; undefined where it ends at a page. */
  async finish(callback: URL): Promise<URL | undefined> {
    let at: URL | undefined = callback;
    for (let hops = 0; hops < 6 && at !== undefined; hops++) {
      if (at.href.startsWith(this.client.redirect)) return at;
      if (at.origin !== this.client.base) return undefined;
      at = (await this.browser.get(at)).next;
    }
    return undefined;
  }

  /** The callback's URL of a whole login that has not been opened. */
  async callback(changes: Changes = {}, fields: Fields = {}): Promise<URL> {
    const page = await this.begin(changes);
    return this.forge(page.next ?? (await this.consent(page, fields)));
  }

  /** All of it. Resolves with the code. */
  async code(changes: Changes = {}, fields: Fields = {}): Promise<string> {
    const back = await this.finish(await this.callback(changes, fields));
    const code = back?.searchParams.get('code');
    if (code === null || code === undefined) throw new Error(`no code: ${back?.search ?? 'a page'}`);
    return code;
  }
}

/** A GET of the very path, which `fetch` would tidy up, with any `Host`. */
export async function rawGet(
  origin: string,
  path: string,
  headers: Fields = {},
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly html: string }> {
  const {
    statusCode,
    headers: answered,
    body,
  } = await getGlobalDispatcher().request({
    origin,
    path,
    method: 'GET',
    headers,
  });
  return { status: statusCode, headers: answered, html: await body.text() };
}

/** The form of a consent page. */
export function formOf(page: BrowserPage): PageForm {
  const [form] = formsOf(page);
  if (form === undefined) throw new Error(`${page.url.pathname} has no form: ${page.status}`);
  return form;
}

/** The fields of an answer to the consent page: allow, write, everywhere. */
export function consentFields(page: BrowserPage, fields: Fields = {}): Fields {
  return { ...formOf(page).hidden, access: 'write', reach: 'all', names: '', decision: 'allow', ...fields };
}

/** Whether a page asks for consent. */
export function asksForConsent({ status, html }: BrowserPage): boolean {
  return status === 200 && html.includes('name="decision"');
}

function encode(changes: Changes): string {
  const given = Object.entries(changes).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return new URLSearchParams(given).toString();
}
