/** MCP 'confused deputy' and RFC 9700, 4.16: what must not pass without the user's own answer. At the whole gateway before a real forge. */
import { expect } from 'chai';
import { cites } from '../requirements';
import { attacked, type Attacked } from '../support/attacked';
import {
  type Answer,
  asksForConsent,
  consentFields,
  type Fields,
  formOf,
  RawClient,
  Stepper,
  type SteppedLogin,
} from '../support/attacker';
import { formsOf } from '../support/oauth-browser';

const REMEMBER = { remember: 'yes' };

describe('OAuth attacks: consent', function () {
  this.timeout(120_000);
  let site: Attacked;

  before(async () => {
    site = await attacked();
  });

  after(async () => site?.stop());

  /** A login whose consent the browser remembers. */
  const remembered = async (user = 'alice', fields: Fields = {}, changes: Fields = {}): Promise<SteppedLogin> => {
    const login = site.login(user, site.trusted());
    await login.client.redeem(await login.code(changes, { ...REMEMBER, ...fields }));
    return login;
  };

  /** The answer to a login's first page: the forge, where the consent counts; else the page. */
  const isAsked = (answer: Answer, what = ''): void => {
    expect(asksForConsent(answer), what).to.equal(true);
    expect(answer.next, what).to.equal(undefined);
  };
  const isSkipped = (answer: Answer): void => expect(answer.next?.origin).to.equal(site.forge.url) as unknown as void;

  /** Ends the newest grants of a user on the page with the connections. */
  const connectionsOf = async (login: SteppedLogin): Promise<Answer> => {
    const { next } = await login.browser.get(`${site.base}/connections`);
    const back = next === undefined ? undefined : await login.browser.get(await login.forge(next));
    return login.browser.get(back?.next ?? `${site.base}/connections`);
  };

  describe('a remembered consent', () => {
    it('counts for the same client, redirect URI, resource and scopes of the same browser and user, and is asked again with ?ask', async () => {
      const login = await remembered();
      const again = await login.begin();
      isSkipped(again);
      expect((await login.finish(await login.forge(again.next!)))?.searchParams.has('code')).to.equal(true);
      isAsked(await login.browser.get(`${(await login.begin()).url.href}?ask`));
    });

    it('is never offered to a client that registered itself, and sending the field all the same does nothing', async () => {
      cites('2025-06-18/authorization/51');
      const client = await site.client('Trusted', 'https://trusted.example/callback');
      const login = site.login('alice', client);
      const page = await login.begin();
      expect(page.html).to.not.contain('name="remember"');
      await login.code({}, REMEMBER);
      isAsked(await login.begin());
    });

    it('is not offered to a client of the same name that an attacker registered, nor to a neighbour of that name', async () => {
      const { browser } = await remembered();
      const registered = await site.client('Trusted', 'https://evil.example/callback');
      isAsked(await site.login('alice', registered, browser).begin(), 'registered');
      const neighbour = new RawClient(site.base, 'neighbour', 'https://neighbour.example/callback');
      isAsked(await site.login('alice', neighbour, browser).begin(), 'neighbour');
    });

    it('does not count for another redirect URI of the same client', async () => {
      const { browser } = await remembered();
      isAsked(await site.login('alice', site.trusted('https://trusted.example/other'), browser).begin());
    });

    it('does not count for another server, more scopes, or fewer', async () => {
      const login = await remembered('alice', { access: 'read' }, { scope: 'forgejo:read' });
      isSkipped(await login.begin({ scope: 'forgejo:read' }));
      isAsked(await login.begin({ scope: 'forgejo:read forgejo:write' }), 'more');
      isAsked(await login.begin({ scope: 'forgejo:write' }), 'others');
      isAsked(await login.begin({ scope: undefined }), 'all');
      isAsked(await login.begin({ scope: 'forgejo:read', resource: `${site.base}/servers/other/mcp` }), 'server');
    });

    it('never gives more than the user allowed when it was asked for more', async () => {
      const login = await remembered('alice', { access: 'read', reach: 'list', names: 'alice/private-notes' });
      const code = await login.code();
      const { body } = await login.client.redeem(code);
      expect(body.scope).to.equal('forgejo:read');
      expect((await connectionsOf(login)).html).to.contain('alice/private-notes');
    });

    it('does not count for another user at the forge: the page is shown after all, and no code is issued before', async () => {
      const { browser } = await remembered('alice');
      const bob = site.login('bob', site.trusted(), browser);
      const callback = await bob.callback();
      const { next } = await browser.get(callback);
      const end = await browser.get(next!);
      expect(end.next?.pathname).to.match(/^\/login\//);
      expect(end.next?.searchParams.has('ask')).to.equal(true);
      isAsked(await browser.get(end.next!));
    });

    it('ends with its grant: revoked on the page of connections, the next login asks', async () => {
      const login = await remembered();
      const page = await connectionsOf(login);
      for (const form of formsOf(page).filter(({ hidden }) => hidden['do'] === 'revoke')) {
        expect((await login.browser.post(form.action, form.hidden)).status).to.equal(303);
      }
      isAsked(await login.begin());
    });

    it('ends with its grant even while the browser is at the forge: the page is shown after all', async () => {
      const login = await remembered();
      const callback = await login.callback();
      const page = await connectionsOf(login);
      for (const form of formsOf(page).filter(({ hidden }) => hidden['do'] === 'revoke')) {
        await login.browser.post(form.action, form.hidden);
      }
      const { next } = await login.browser.get(callback);
      const end = await login.browser.get(next!);
      isAsked(await login.browser.get(end.next!));
    });

    it('is not in another browser', async () => {
      await remembered();
      isAsked(await site.login('alice', site.trusted()).begin());
    });

    it("in an attacker's browser gives the attacker nothing of the victim's: it is bob who logs in, so he is asked", async () => {
      const victim = await remembered('alice');
      const url = new URL(site.base);
      const stolen = victim.browser.cookies.header(url);
      const attacker = site.login('bob', site.trusted());
      const asked = await attacker.browser.get(attacker.client.authorizeUrl());
      const own = attacker.browser.cookies.header(asked.next!);
      const shown = await attacker.browser.get(asked.next!, { cookie: `${own}; ${stolen}` });
      isSkipped(shown);
      const back = await attacker.browser.get(await attacker.forge(shown.next!));
      const end = await attacker.browser.get(back.next!, { cookie: `${own}; ${stolen}` });
      expect(end.next?.searchParams.has('ask')).to.equal(true);
    });

    it('in a cookie that was altered, cut, or sealed for something else counts for nothing', async () => {
      const login = await remembered();
      await connectionsOf(login);
      const jar = login.browser.cookies.header(new URL(site.base)).split('; ');
      const valueOf = (name: string): string =>
        jar.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
      const [good, visitor] = [valueOf('fmo_consents'), valueOf('fmo_visitor')];
      expect(good.length * visitor.length).to.be.greaterThan(1000);
      const flipped = [0, 6, 20, 60, good.length - 3].map(
        (at) => `${good.slice(0, at)}${good[at] === 'A' ? 'B' : 'A'}${good.slice(at + 1)}`,
      );
      for (const value of [
        ...flipped,
        good.slice(0, -1),
        `${good}AAAA`,
        visitor,
        '',
        '[]',
        '__proto__',
        'A'.repeat(5000),
      ]) {
        const fresh = site.login('alice', site.trusted());
        const { next } = await fresh.browser.get(fresh.client.authorizeUrl());
        const own = fresh.browser.cookies.header(next!);
        isAsked(await fresh.browser.get(next!, { cookie: `${own}; fmo_consents=${value}` }), value.slice(0, 30));
        isSkipped(await fresh.browser.get(next!, { cookie: `${own}; fmo_consents=${good}` }));
      }
      // The other way round as well: a consent opens no page of connections.
      const page = await new Stepper().get(`${site.base}/connections`, { cookie: `fmo_visitor=${good}` });
      expect(page.next?.origin).to.equal(site.forge.url);
    });
  });

  describe('without any memory', () => {
    it('the forge is never reached before the user has answered: no state, no ticket, no way', async () => {
      cites('2025-06-18/authorization/51');
      const login = site.login('alice', await site.client('first'));
      const page = await login.begin();
      isAsked(page);
      expect(login.browser.cookies.header(new URL(site.base))).to.not.contain('fmo_trip');
      expect(page.html).to.not.contain('state=').and.not.contain('/login/oauth/authorize');
    });

    it('a second login of the same client and user in the same browser asks again', async () => {
      const login = site.login('alice', await site.client('second'));
      await login.code();
      isAsked(await login.begin());
      expect((await login.begin({ prompt: 'none' })).next?.searchParams.get('error')).to.equal('consent_required');
    });

    it('the page says whose words the name are, shows the redirect URI in full, and has no markup of a client', async () => {
      cites('2025-11-25/authorization/91');
      const name = '<script>alert(1)</script><b>Claude</b>';
      const redirect = 'https://evil.example/callback?a=%22%3E%3Cscript%3E';
      const page = await site.login('alice', await site.client(name, redirect)).begin();
      expect(page.html).to.not.contain('<script').and.not.contain('<b>Claude');
      expect(page.html).to.contain('evil.example');
    });
  });

  describe('an answer that the user did not give (CSRF)', () => {
    let login: SteppedLogin;
    let page: Answer;
    before(async () => {
      login = site.login('alice', await site.client('csrf'));
      page = await login.begin();
    });

    const isRefused = (answer: Answer, status = 403): void => {
      expect(answer.status).to.equal(status);
      expect(answer.next).to.equal(undefined);
    };

    for (const [what, headers] of [
      ['from another origin', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }],
      ['from another origin by an old browser', { origin: 'https://evil.example', 'sec-fetch-site': '' }],
      ['from a sandboxed frame', { origin: 'null' }],
      ['from a sibling site', { origin: '', 'sec-fetch-site': 'same-site' }],
      ['from another site without an origin', { origin: '', 'sec-fetch-site': 'cross-site' }],
      ['typed into the address bar', { origin: '', 'sec-fetch-site': 'none' }],
      ['of another scheme', { origin: 'https://127.0.0.1' }],
    ] as const) {
      it(`${what} is refused: 403`, async () => {
        isRefused(await login.browser.post(page.url, consentFields(page), headers));
      });
    }

    it('with no token, an empty one, one of another login, or a cut one is refused: 403', async () => {
      const other = await site.login('bob', await site.client('csrf')).begin();
      const { csrf, ...rest } = consentFields(page);
      expect(csrf).to.have.length.greaterThan(30);
      const foreign = consentFields(other)['csrf'] ?? '';
      for (const fields of [
        rest,
        { ...rest, csrf: '' },
        { ...rest, csrf: foreign },
        { ...rest, csrf: csrf?.slice(1) ?? '' },
      ]) {
        isRefused(await login.browser.post(page.url, fields));
      }
      isRefused(
        await login.browser.post(page.url, `csrf=${foreign}&csrf=${csrf}&decision=allow&access=write&reach=all`),
      );
    });

    it('as another content type than a form is refused: 415', async () => {
      const body = JSON.stringify(consentFields(page));
      for (const type of ['text/plain', 'application/json', 'multipart/form-data; boundary=x']) {
        isRefused(await login.browser.post(page.url, body, { 'content-type': type }), 415);
      }
    });

    it('by GET decides nothing', async () => {
      const query = new URLSearchParams(consentFields(page)).toString();
      const answer = await login.browser.get(`${page.url.href}?${query}`);
      isAsked(answer);
      expect(login.browser.cookies.header(page.url)).to.not.contain('fmo_trip');
    });

    it('without the cookie of the login is refused: 400', async () => {
      isRefused(await new Stepper().post(page.url, consentFields(page)), 400);
    });

    it('of more than was asked for is cut to what was asked for', async () => {
      const reading = site.login('alice', await site.client('reader'));
      const code = await reading.code({ scope: 'forgejo:read' }, { access: 'write' }).catch(() => undefined);
      if (code !== undefined) expect((await reading.client.redeem(code)).body.scope).to.equal('forgejo:read');
    });

    it('and the real one goes on after all of them', async () => {
      expect((await login.consent(page)).origin).to.equal(site.forge.url);
      expect(formOf(page).action.pathname).to.equal(page.url.pathname);
    });
  });

  it('no page can be framed, kept, sniffed, or run a script (clickjacking)', async () => {
    const login = site.login('alice', await site.client('framed'));
    const pages = [
      await login.begin(),
      await login.browser.post((await login.begin()).url, {}),
      await connectionsOf(login),
      await new Stepper().get(`${site.base}/login/none`),
      await new Stepper().get(`${site.base}/oauth/callback`),
      await new Stepper().get(`${site.base}/authorize`),
      await new Stepper().get(`${site.base}/authorize/none`),
      await new Stepper().get(`${site.base}/connections?server=none`),
    ];
    for (const { url, headers, html } of pages) {
      const policy = headers.get('content-security-policy') ?? '';
      expect(policy, url.pathname).to.contain("default-src 'none'").and.contain("frame-ancestors 'none'");
      expect(policy, url.pathname)
        .to.contain("base-uri 'none'")
        .and.not.contain('script-src')
        .and.not.contain('unsafe');
      expect(headers.get('x-frame-options'), url.pathname).to.equal('DENY');
      expect(headers.get('x-content-type-options'), url.pathname).to.equal('nosniff');
      expect(headers.get('cache-control'), url.pathname).to.equal('no-store');
      expect(headers.get('access-control-allow-origin'), url.pathname).to.be.oneOf([null, site.base]);
      expect(headers.get('access-control-allow-credentials'), url.pathname).to.equal(null);
      expect(html, url.pathname).to.not.match(/<script|\son[a-z]+=/i);
    }
  });
});
