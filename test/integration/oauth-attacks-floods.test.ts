/** What strangers can make the gateway keep or do before anybody has logged in: registrations, logins under way, ways to the forge, forms. */
import { expect } from 'chai';
import { attacked, type Attacked } from '../support/attacked';
import { register, Stepper } from '../support/attacker';
import { storeBytes } from '../support/kept';
import { CLIENT_REDIRECT } from '../support/oauth-login';

const MAX_LOGINS = 20;

describe('OAuth attacks: floods', function () {
  this.timeout(120_000);
  let site: Attacked;

  before(async () => {
    site = await attacked({ maxLogins: MAX_LOGINS });
  });

  after(async () => site?.stop());

  it('logins that nobody ends are bounded: 503 with Retry-After beyond, and nothing is kept of those', async () => {
    const client = site.trusted();
    const answers = await Promise.all(Array.from({ length: 60 }, () => new Stepper().get(client.authorizeUrl())));
    expect(answers.filter(({ status }) => status === 303)).to.have.length(MAX_LOGINS);
    for (const { headers, next } of answers.filter(({ status }) => status !== 303)) {
      expect(Number(headers.get('retry-after'))).to.be.greaterThan(0);
      expect(next).to.equal(undefined);
    }
    expect(answers.filter(({ status }) => status === 503)).to.have.length(60 - MAX_LOGINS);
    const before = (await storeBytes(site.gateway.dataDir)).length;
    await Promise.all(Array.from({ length: 200 }, () => new Stepper().get(client.authorizeUrl())));
    expect((await storeBytes(site.gateway.dataDir)).length).to.equal(before);
  });

  it('ways to the forge of strangers are bounded: 503 with Retry-After beyond, on the page of connections too', async () => {
    const answers = await Promise.all(
      Array.from({ length: 60 }, () => new Stepper().get(`${site.base}/connections`)), //
    );
    expect(answers.filter(({ next }) => next?.origin === site.forge.url)).to.have.length(MAX_LOGINS);
    const refused = answers.filter(({ status }) => status === 503);
    expect(refused).to.have.length(60 - MAX_LOGINS);
    for (const { headers } of refused) {
      expect(Number(headers.get('retry-after'))).to.be.greaterThan(0);
      expect(headers.getSetCookie()).to.deep.equal([]);
    }
  });

  it('registrations of one address are limited: 429 with Retry-After, and the store does not grow', async () => {
    const attempt = (n: number) => register(site.base, { client_name: `flood ${n}`, redirect_uris: [CLIENT_REDIRECT] });
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => attempt(n)));
    const limited = answers.filter(({ status }) => status === 429);
    expect(answers.filter(({ status }) => status === 201).length).to.be.within(20, 40);
    expect(limited.length).to.be.greaterThan(50);
    for (const { headers, body } of limited) {
      expect(Number(headers.get('retry-after'))).to.be.greaterThan(0);
      expect(body.error).to.equal('temporarily_unavailable');
    }
    const before = (await storeBytes(site.gateway.dataDir)).length;
    await Promise.all(Array.from({ length: 200 }, (_, n) => attempt(1000 + n)));
    expect((await storeBytes(site.gateway.dataDir)).length).to.equal(before);
  });

  it('a form that is too large is refused before it is read: 413, also in pieces', async () => {
    for (const path of ['/login/none', '/connections']) {
      const { status } = await new Stepper().post(`${site.base}${path}`, `names=${'x'.repeat(200_000)}`);
      expect(status, path).to.equal(413);
      const pieces = new ReadableStream({
        start(controller) {
          for (let i = 0; i < 20; i++) controller.enqueue(new TextEncoder().encode('x'.repeat(10_000)));
          controller.close();
        },
      });
      const answer = await fetch(`${site.base}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: pieces,
        duplex: 'half',
      });
      expect(answer.status, path).to.equal(413);
      await answer.arrayBuffer();
    }
  });

  it('/connections tells a stranger and another site nothing: no user, no names, no form, the same for everybody', async () => {
    const known = await new Stepper().get(`${site.base}/connections`, { 'sec-fetch-site': 'cross-site' });
    const again = await new Stepper().get(`${site.base}/connections`, { origin: 'https://evil.example' });
    expect([known.status, again.status]).to.deep.equal([503, 403]);
    for (const { html, headers } of [known, again]) {
      expect(html).to.not.match(/alice|bob|<form/);
      expect(headers.get('access-control-allow-origin')).to.equal(null);
    }
  });
});
