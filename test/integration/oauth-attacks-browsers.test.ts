/** RFC 9700, 4.7 and MCP 'session fixation': what an attacker can have a victim's browser open, or put into it. At the whole gateway before a real forge. */
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { request } from 'undici';
import { attacked, type Attacked } from '../support/attacked';
import {
  type Answer,
  asksForConsent,
  consentFields,
  formOf,
  rawGet,
  type RawClient,
  Stepper,
} from '../support/attacker';
import { type OAuthGateway, startOAuthGateway } from '../support/oauth-gateway';
import { childCommand } from '../support/peers';

describe('OAuth attacks: login CSRF and fixation', function () {
  this.timeout(120_000);
  let site: Attacked;
  let client: RawClient;

  before(async () => {
    site = await attacked();
    client = await site.client('browsers');
  });

  after(async () => site?.stop());

  /** An answer that gave nothing away and led nowhere. */
  const isLost = ({ status, next, html }: Answer, what = ''): void => {
    expect(status, what).to.equal(400);
    expect(next, what).to.equal(undefined);
    expect(html, what).to.not.contain('bob').and.not.contain('alice');
  };

  describe('the way back from the forge', () => {
    it("an attacker's callback URL in the victim's browser: 400, and the victim is not logged in as the attacker", async () => {
      const victim = site.login('alice', client);
      await victim.begin(); // has cookies of a login of its own
      const callback = await site.login('bob', client).callback();
      isLost(await victim.browser.get(callback));
      isLost(await new Stepper().get(callback));
      const page = await victim.browser.get(`${site.base}/connections`);
      expect(page.next?.origin).to.equal(site.forge.url);
    });

    it("it stays good in the attacker's own browser: a stranger who knows the URL ends nothing", async () => {
      const attacker = site.login('bob', client);
      const callback = await attacker.callback();
      isLost(await new Stepper().get(callback));
      expect((await attacker.finish(callback))?.searchParams.has('code')).to.equal(true);
    });

    it("an attacker's way to the page of connections does not end in the victim's browser", async () => {
      const attacker = site.login('bob', client);
      const { next } = await attacker.browser.get(`${site.base}/connections`);
      const callback = await attacker.forge(next!);
      const victim = new Stepper();
      isLost(await victim.get(callback));
      expect(victim.cookies.header(new URL(site.base))).to.equal('');
    });

    it('a callback that comes twice goes on once', async () => {
      const login = site.login('alice', client);
      const callback = await login.callback();
      expect(await login.finish(callback)).to.be.an.instanceOf(URL);
      isLost(await login.browser.get(callback));
    });

    it('of 20 at once, all with the right ticket, one goes on', async () => {
      const login = site.login('alice', client);
      const callback = await login.callback();
      const cookie = login.browser.cookies.header(callback);
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => new Stepper().get(callback, { cookie })), //
      );
      const good = answers.filter(({ status }) => status === 303);
      expect(good.map(({ next }) => next?.pathname.replace(/^\/login\/[^/]+/, '/login/*'))).to.deep.equal([
        '/login/*/finish',
      ]);
      for (const answer of answers.filter((one) => !good.includes(one))) isLost(answer);
    });

    it("the ticket of another way of the same browser, under this state's name, does not do", async () => {
      const login = site.login('alice', client);
      const first = await login.callback();
      const second = await site.login('alice', client, login.browser).callback();
      const tickets = ticketsOf(login.browser, first);
      expect(tickets).to.have.length(2);
      const [one, two] = tickets.map(({ name }) => name);
      const swapped = tickets.map(({ value }, i) => `${i === 0 ? two : one}=${value}`).join('; ');
      isLost(await new Stepper().get(first, { cookie: swapped }));
      isLost(await new Stepper().get(second, { cookie: swapped }));
      for (const callback of [second, first]) expect((await login.browser.get(callback)).status).to.equal(303);
    });

    it('HEAD, POST and other methods at the callback use nothing up', async () => {
      const login = site.login('alice', client);
      const callback = await login.callback();
      for (const method of ['HEAD', 'POST', 'PUT', 'DELETE', 'PATCH']) {
        expect((await login.browser.send(method, callback)).status, method).to.equal(405);
      }
      expect((await login.browser.send('OPTIONS', callback)).status).to.equal(204);
      expect(await login.finish(callback)).to.be.an.instanceOf(URL);
    });

    it('a state or code that comes twice, or with another name, is refused', async () => {
      for (const change of [
        (url: URL) => url.searchParams.append('state', 'x'),
        (url: URL) => (url.search = `state=x&${url.searchParams.toString()}`),
        (url: URL) => url.searchParams.append('code', 'x'),
        (url: URL) => url.searchParams.append('error', 'x'),
        (url: URL) => url.searchParams.delete('code'),
        (url: URL) => (url.search = url.search.replace('state=', 'state[]=')),
        (url: URL) => (url.search = url.search.replace('state=', 'STATE=')),
      ]) {
        const login = site.login('alice', client);
        const callback = await login.callback();
        change(callback);
        isLost(await login.browser.get(callback), change.toString());
      }
    });

    it('parameters that are longer than a request line are refused: 431', async () => {
      const { statusCode, body } = await request(`${site.base}/oauth/callback?state=${'x'.repeat(20_000)}`);
      await body.dump();
      expect(statusCode).to.equal(431);
    });
  });

  describe("an attacker's login", () => {
    it("its URLs in the victim's browser show no consent page and end nothing: 400", async () => {
      const attacker = site.login('bob', client);
      const page = await attacker.begin();
      const victim = site.login('alice', client);
      await victim.begin();
      for (const url of [page.url, new URL(`${page.url.href}/finish`), new URL(`${page.url.href}?ask`)]) {
        isLost(await victim.browser.get(url), url.pathname);
      }
      isLost(await victim.browser.get(page.url.href.replace('/login/', '/authorize/')));
      isLost(await victim.browser.post(formOf(page).action, consentFields(page)));
    });

    it("a cookie of it that was tossed over all logins does not show it in the victim's: 400", async () => {
      const attacker = site.login('bob', await site.client('the attacker’s client'));
      const page = await attacker.begin();
      const tossed = attacker.browser.cookies.header(page.url);
      const victim = await site.login('alice', client).begin();
      isLost(await new Stepper().get(victim.url, { cookie: tossed }));
      isLost(await new Stepper().get(`${victim.url.href}/finish`, { cookie: tossed }));
      isLost(await new Stepper().post(formOf(victim).action, consentFields(page), { cookie: tossed }));
    });

    it('cookie values without their signature, or with that of another value, are as good as none', async () => {
      const login = site.login('alice', client);
      const page = await login.begin();
      const [signature = '', value = ''] = login.browser.cookies.header(page.url).split('; ').sort();
      expect(signature).to.match(/^fmo_login\.sig=/);
      const other = site.login('alice', client);
      const otherPage = await other.begin();
      const [, otherValue = ''] = other.browser.cookies.header(otherPage.url).split('; ').sort();
      for (const cookie of [
        value,
        `${value}; fmo_login.sig=x`,
        `${otherValue}; ${signature}`,
        `${value}; ${signature}x`,
      ]) {
        isLost(await new Stepper().get(page.url, { cookie }), cookie);
      }
      expect(asksForConsent(await new Stepper().get(page.url, { cookie: `${value}; ${signature}` }))).to.equal(true);
    });

    it('the end of a login is not reached without the way to the forge, nor twice', async () => {
      const login = site.login('alice', client);
      const page = await login.begin();
      const end = `${page.url.href}/finish`;
      isLost(await login.browser.get(end));
      const callback = await login.forge(await login.consent(page));
      isLost(await login.browser.get(end));
      const { next } = await login.browser.get(callback);
      expect((await login.browser.get(next!)).status).to.equal(303);
      isLost(await login.browser.get(next!));
    });

    it('of 20 ends of a login at once one gives a code', async () => {
      const login = site.login('alice', client);
      const { next } = await login.browser.get(await login.callback());
      const cookie = login.browser.cookies.header(next!);
      const answers = await Promise.all(Array.from({ length: 20 }, () => new Stepper().get(next!, { cookie })));
      expect(answers.filter(({ status }) => status === 303)).to.have.length(1);
    });
  });

  // Last: the forge's applications know one gateway at a time.
  describe('a gateway of its own', () => {
    let running: OAuthGateway | undefined;
    const gateway = async (settings: Readonly<Record<string, unknown>> = {}): Promise<OAuthGateway> => {
      const servers = [{ name: 'fixture', command: [await childCommand('fixture-child')] }];
      running = await startOAuthGateway({ forge: site.forge, settings: { ...settings, servers } });
      return running;
    };

    afterEach(() => running?.stop());

    it('a guessed state is refused, however often, and from 600 of one address on with 429', async () => {
      const own = await gateway();
      const answers = await Promise.all(
        Array.from({ length: 700 }, () =>
          request(`${own.gateway.url}/oauth/callback?code=x&state=${randomBytes(24).toString('base64url')}`, {
            headers: { accept: 'text/html', cookie: 'fmo_trip_x=y' },
          }).then(async ({ statusCode, headers, body }) => {
            await body.dump();
            return { statusCode, retryAfter: headers['retry-after'] };
          }),
        ),
      );
      expect(answers.filter(({ statusCode }) => statusCode === 400).length).to.be.within(600, 660);
      const limited = answers.filter(({ statusCode }) => statusCode === 429);
      expect(limited.length).to.be.greaterThan(39);
      for (const { retryAfter } of limited) expect(Number(retryAfter)).to.be.greaterThan(0);
    });

    it('with https all cookies are Secure and HttpOnly, own ones __Host- and the path-bound ones __Secure-', async () => {
      const own = await gateway({
        http: { publicUrl: 'https://mcp.example' },
        auth: { oauth: { clients: [{ clientId: 'c', name: 'C', redirectUris: ['https://c.example/'] }] } },
      });
      const query = client.query({ client_id: 'c', redirect_uri: 'https://c.example/', resource: undefined });
      const cookies: string[] = [];
      for (const path of [`/authorize?${query}`, '/connections']) {
        const { headers } = await rawGet(own.gateway.url, path, { host: 'mcp.example' });
        cookies.push(...[headers['set-cookie'] ?? []].flat());
      }
      expect(cookies.length).to.be.greaterThan(2);
      for (const cookie of cookies) {
        expect(cookie)
          .to.match(/; ?secure/i)
          .and.match(/; ?httponly/i)
          .and.match(/; ?samesite=lax/i)
          .and.not.match(/domain=/i);
        expect(cookie).to.match(
          /^__Host-fmo_[^;]*;(?=.*path=\/;)|^__Secure-fmo_[^;]*;(?=.*path=\/(login|authorize)\/)/i,
        );
      }
    });
  });
});

/** The tickets in a browser. */
function ticketsOf(browser: Stepper, url: URL): { name: string; value: string }[] {
  return browser.cookies
    .header(url)
    .split('; ')
    .filter((cookie) => cookie.startsWith('fmo_trip_'))
    .map((cookie) => {
      const [name = '', value = ''] = cookie.split('=');
      return { name, value };
    });
}
