/** Logging in with a real browser, scripts turned off: the whole gateway, the real forge, and a client that waits for the browser. */
import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Chromium } from '../support/chromium';
import { type Forge, startForge } from '../support/forge';
import { LoopbackClient } from '../support/loopback-client';
import { PlainClient } from '../support/oauth';
import { type OAuthGateway, startOAuthGateway } from '../support/oauth-gateway';
import { peerFolder } from '../support/peers';
import { Person } from '../support/person';

const PORTAL = { clientId: 'portal', name: 'Team portal', redirectUris: ['https://portal.example/callback'] };

describe('logging in with Chromium', function () {
  this.timeout(120_000);
  let forge: Forge;
  let gateway: OAuthGateway;
  let base: string;
  let browser: Chromium;
  let alice: Person;
  let client: LoopbackClient;

  before(async function () {
    this.timeout(300_000); // a fresh machine installs the browser
    await promisify(execFile)(join(__dirname, '../browser/deps.sh'));
    forge = await startForge({ users: ['alice', 'bob', 'carol', 'dora'] });
    gateway = await startOAuthGateway({
      forge,
      settings: {
        auth: { oauth: { clients: [PORTAL] } },
        servers: [{ name: 'forgejo', command: [join(await peerFolder('forgejo-mcp-rs'), 'forgejo-mcp-rs')] }],
      },
    });
    base = gateway.gateway.url;
    browser = await Chromium.start();
  });

  after(async () => {
    await browser?.close();
    await gateway?.stop();
    await forge?.stop();
  });

  beforeEach(async () => {
    alice = await person('alice');
    client = await LoopbackClient.start(base, 'Terminal agent');
  });

  afterEach(() => client.close());

  const person = async (name: string): Promise<Person> => new Person(await browser.open(), forge.url, forge.user(name));

  const allow = (who: Person): Promise<void> => who.leave('button[value="allow"]');
  const isConsent = (at: string): boolean => /\/login\/[\w-]+$/.test(at);

  it('leads from the address that a client opens, by the consent page and the forge, to the client with a code that is good', async () => {
    await alice.open(client.authorizationUrl);
    expect(isConsent(alice.tab.at)).to.equal(true);
    expect(await alice.text())
      .to.contain('Terminal agent')
      .and.contain(client.redirectUri);
    await alice.shoot('consent');
    await allow(alice);
    expect(client.isHere(alice.tab.at), alice.tab.at).to.equal(true);
    expect(client.came).to.have.length(1);
    expect(Object.fromEntries(client.came[0])).to.include({ iss: base, state: 'the-state' });
    expect((await client.redeem()).status).to.equal(200);
    // What the check against forms of other sites relies on: Referrer-Policy same-origin leaves it in.
    expect(alice.tab.sent.map(({ Origin }) => Origin)).to.include(base);
    expect(alice.complaints()).to.deep.equal([]);
  });

  it('tells the client of a no on the consent page, without the forge, and of a no at the forge', async () => {
    const carol = await person('carol'); // the forge asks only whoever it has not asked before
    await carol.open(client.authorizationUrl);
    await carol.leave('button[value="deny"]');
    await carol.open(client.authorizationUrl);
    await carol.tab.click('button[value="allow"]');
    await carol.tab.arrive(() => carol.atForge(), 'the forge');
    await carol.passForge(false);
    expect(client.came.map((answer) => answer.get('error'))).to.deep.equal(['access_denied', 'access_denied']);
    expect(client.isHere(carol.tab.at)).to.equal(true);
    expect(carol.complaints()).to.deep.equal([]);
  });

  it('keeps what was typed into a form that was wrong, says what was, and takes it once it is right', async () => {
    await alice.open(client.authorizationUrl);
    await alice.choose({ press: ['reach-list'], type: ['names', 'alice\nnot a name'] });
    await alice.stay('button[value="allow"]');
    expect(await alice.tab.evaluate('document.querySelector("textarea").value')).to.equal('alice\nnot a name');
    expect(await alice.tab.evaluate('document.querySelectorAll(".error").length')).to.be.above(0);
    await alice.shoot('consent-wrong');
    await alice.tab.evaluate('document.querySelector("textarea").value = "alice/private-notes"');
    await allow(alice);
    expect((await client.redeem()).status).to.equal(200);
    expect(alice.complaints().filter((one) => !/status of 400/.test(one))).to.deep.equal([]);
  });

  it('shows an error page, in words, for a login that is over and for one that another browser began', async () => {
    await alice.open(client.authorizationUrl);
    const { at } = alice.tab;
    await allow(alice);
    for (const who of [alice, await person('bob')]) {
      await who.open(at);
      expect(await who.text())
        .to.contain('expired, or was begun in another browser')
        .and.contain('What to do');
      expect(await who.has('form')).to.equal(false);
    }
    await alice.shoot('error');
    await alice.open(`${base}/oauth/callback?code=x&state=y`);
    expect(await alice.text()).to.contain('This login cannot go on');
    expect(client.came).to.have.length(1);
  });

  it('remembers a consent to a client of the configuration, as the user has changed it since, until it is revoked', async () => {
    const portal = new PlainClient(base);
    portal.id = PORTAL.clientId;
    const url = `${base}/authorize?${portal.query({ redirect_uri: PORTAL.redirectUris[0] })}`;
    const back = async (): Promise<string> => {
      expect(alice.tab.at).to.match(/^https:\/\/portal\.example\/callback\?code=/);
      const code = new URL(alice.tab.at).searchParams.get('code') ?? '';
      const { status, body } = await portal.redeem(code, { redirect_uri: PORTAL.redirectUris[0] });
      expect(status).to.equal(200);
      return body.scope;
    };
    await alice.open(url);
    await alice.shoot('consent-portal');
    await alice.choose({ press: ['access-write', 'remember'] });
    await allow(alice);
    expect(await back()).to.equal('forgejo:read forgejo:write');
    await alice.open(url);
    expect(await back()).to.equal('forgejo:read forgejo:write');

    await alice.open(`${base}/connections`);
    // Both logins are there, each with its own grant; the browser remembers the newer one, which stands first.
    await alice.tab.click('.card summary');
    await alice.choose({ press: ['access-read'] }, '.card');
    await alice.stay('.card button.main');
    await alice.open(url);
    expect(await back()).to.equal('forgejo:read');

    for (let left = 3; left > 0; left -= 1) {
      await alice.open(`${base}/connections`);
      await alice.stay('.card > form button.danger');
    }
    await alice.open(url);
    expect(isConsent(alice.tab.at), alice.tab.at).to.equal(true);
    expect(alice.complaints().filter((one) => !/ERR_NAME_NOT_RESOLVED/.test(one))).to.deep.equal([]);
  });

  it('takes the Back button and a second press without harm: each code is good once, and the last choice counts', async () => {
    const dora = await person('dora'); // the forge asks only whoever it has not asked before
    await dora.open(client.authorizationUrl);
    await dora.tab.click('button[value="allow"]');
    await dora.tab.arrive(() => dora.atForge(), 'the forge');
    await dora.tab.back();
    expect(isConsent(dora.tab.at), dora.tab.at).to.equal(true);
    await dora.choose({ press: ['access-write'] });
    await dora.tab.click('button[value="allow"]', 2);
    await dora.tab.arrive(() => dora.atForge(), 'the forge');
    await dora.passForge();
    expect(client.isHere(dora.tab.at), dora.tab.at).to.equal(true);
    const { status, body } = await client.redeem();
    expect({ status, scope: body.scope }).to.deep.equal({ status: 200, scope: 'forgejo:read forgejo:write' });
    expect((await client.redeem()).status).to.equal(400);

    // The page on which the forge asked is there again, and leads back with a state that is over.
    await dora.tab.back();
    await dora.passForge();
    await dora.tab.arrive((now) => now.startsWith(base), 'the gateway');
    expect(await dora.text()).to.contain('This login cannot go on');
    expect(client.came).to.have.length(1);
  });

  it('keeps the logins of two tabs apart, whichever ends first', async () => {
    const other = await LoopbackClient.start(base, 'Editor');
    const beside = new Person(await alice.tab.beside(), forge.url, forge.user('alice'));
    await alice.open(client.authorizationUrl);
    await beside.open(other.authorizationUrl);
    await alice.choose({ press: ['access-write'] });
    await beside.tab.call('Page.bringToFront');
    await allow(beside);
    await alice.tab.call('Page.bringToFront');
    await allow(alice);
    const answers = await Promise.all([client.redeem(), other.redeem()]);
    expect(answers.map(({ body }) => body.scope)).to.deep.equal(['forgejo:read forgejo:write', 'forgejo:read']);
    expect([...alice.complaints(), ...beside.complaints()]).to.deep.equal([]);
    other.close();
  });

  it('can be done with the keyboard alone', async () => {
    const { tab } = alice;
    const focused = (): Promise<string> =>
      tab.evaluate('document.activeElement.id || document.activeElement.value || ""');
    const reach = async (what: string): Promise<void> => {
      for (let count = 0; count < 20 && (await focused()) !== what; count += 1) await tab.press('Tab', 9);
      expect(await focused()).to.equal(what);
    };
    await alice.open(client.authorizationUrl);
    await reach('access-read');
    await tab.press('ArrowDown', 40);
    expect(await focused()).to.equal('access-write');
    await reach('reach-all');
    await tab.press('ArrowDown', 40);
    await reach('names');
    await tab.type('alice');
    await reach('allow');
    await tab.press('Enter', 13, '\r');
    await tab.arrive(() => alice.atForge(), 'the forge');
    await alice.passForge();
    expect((await client.redeem()).body.scope).to.equal('forgejo:read forgejo:write');
  });
});
