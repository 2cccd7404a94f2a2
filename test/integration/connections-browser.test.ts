/** 'Your connections' and the pages around it in a real browser, scripts turned off: the whole gateway, the real forge, sessions that run. */
import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Chromium } from '../support/chromium';
import { type Forge, startForge } from '../support/forge';
import { McpClient } from '../support/mcp';
import { type OAuthGateway, startOAuthGateway } from '../support/oauth-gateway';
import { peerFolder } from '../support/peers';
import { Person } from '../support/person';
import { until } from '../support/until';

describe('your connections in Chromium', function () {
  this.timeout(120_000);
  let forge: Forge;
  let gateway: OAuthGateway;
  let page: string;
  let browser: Chromium;
  let count = 0;
  let user: string;
  let person: Person;

  before(async function () {
    this.timeout(300_000); // a fresh machine installs the browser
    await promisify(execFile)(join(__dirname, '../browser/deps.sh'));
    forge = await startForge({ users: ['alice'] });
    gateway = await startOAuthGateway({
      forge,
      settings: {
        servers: [
          {
            name: 'forgejo',
            command: [join(await peerFolder('forgejo-mcp-rs'), 'forgejo-mcp-rs')],
            forgejo: { tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] },
          },
        ],
      },
    });
    page = `${gateway.gateway.url}/connections`;
    browser = await Chromium.start();
  });

  after(async () => {
    await browser?.close();
    await gateway?.stop();
    await forge?.stop();
  });

  beforeEach(async () => {
    count += 1;
    user = `person-${count}`;
    await forge.addUsers(user);
    person = new Person(await browser.open(), forge.url, forge.user(user));
  });

  const session = async (client: string, access: 'read' | 'write' = 'read'): Promise<McpClient> => {
    const { accessToken } = await gateway.login(user, { client, choice: { access } });
    const opened = new McpClient(gateway.url, accessToken);
    await opened.initialize();
    return opened;
  };
  const over = (client: McpClient): Promise<true> =>
    until('the session is over', async () => {
      const { status } = await client.request('ping');
      return (status === 401 || status === 404) && (true as const);
    });
  /** Of the first connection on the page. */
  const fact = (name: string): Promise<string> =>
    person.tab.evaluate(
      `[...document.querySelectorAll('.card dt')].find((e) => e.textContent === '${name}').nextElementSibling.innerText`,
    );

  it('shows who is asked for at the forge, what is connected and what runs, and ends one session', async () => {
    const [first, second] = [await session('Editor'), await session('Terminal agent', 'write')];
    await person.open(page);
    expect(person.tab.at).to.equal(page);
    const text = await person.text();
    for (const part of [user, 'Editor', 'Terminal agent', 'Sessions that run now']) expect(text).to.contain(part);
    await person.shoot('connections');
    await person.stay('.card:last-of-type .sessions button');
    expect(await person.text())
      .to.contain('The session is ended.')
      .and.contain('No session runs now.');
    await over(first);
    expect((await second.request('ping')).status).to.equal(200);
    expect(person.complaints()).to.deep.equal([]);
    await Promise.all([first.close(), second.close()]);
  });

  it('narrows a connection without the forge, for the session that runs, and widens it by way of the forge', async () => {
    const client = await session('Editor');
    await person.open(page);
    await person.tab.click('.card summary');
    await person.tab.arrive(() => true, 'the form');
    await person.shoot('connections-change');
    await person.choose({ press: ['reach-list'], type: ['names', `${user}/no such`] }, '.card');
    await person.stay('.card button.main');
    expect(await person.tab.evaluate('document.querySelector(".card textarea").value')).to.equal(`${user}/no such`);
    await person.shoot('connections-wrong');
    await person.tab.evaluate(`document.querySelector('.card textarea').value = 'shared'`);
    await person.stay('.card button.main');
    expect(await person.text()).to.contain('Saved.');
    expect(await fact('Where')).to.match(/^shared/);
    const secret = { owner: user, repo: 'private-notes', path: 'secret.md' };
    expect((await client.call('get_file_contents', secret)).text).to.not.contain(forge.user(user).secret.trim());

    await person.tab.click('.card summary');
    await person.choose({ press: ['access-write'] }, '.card');
    await person.leave('.card button.main');
    expect(person.tab.at).to.match(/\/connections\?done=change$/);
    expect(await person.text()).to.contain('Saved.');
    expect(await fact('May')).to.equal('read and change');
    expect(person.complaints().filter((one) => !/status of 400/.test(one))).to.deep.equal([]);
    await client.close();
  });

  it('ends a connection with its session, and a second press of the button does no harm', async () => {
    const client = await session('Editor');
    await person.open(page);
    await person.tab.click('.card > form button.danger', 2);
    await over(client);
    await person.open(page);
    expect(await person.text()).to.contain('Nothing is connected.');
    await person.shoot('connections-none');
    await client.close();
  });

  it('disconnects everything, once that is meant, and begins anew after it', async () => {
    const clients = [await session('Editor'), await session('Terminal agent')];
    await person.open(page);
    await person.tab.click('main > details summary');
    await person.tab.click('label[for="sure"]');
    await person.stay('main > details button');
    expect(await person.text()).to.contain('Everything is disconnected.');
    await person.shoot('connections-disconnected');
    await Promise.all(clients.map(over));
    await person.open(page);
    expect(await person.text()).to.contain('Nothing is connected.');
    expect(person.complaints()).to.deep.equal([]);
    for (const client of clients) await client.close();
  });

  it('does nothing for a form of a visit that is over: it leads by the forge to the page, and says so', async () => {
    const client = await session('Editor');
    await person.open(page);
    await person.tab.call('Network.deleteCookies', { name: 'fmo_visitor', url: page });
    await person.tab.click('.card > form button.danger');
    await person.tab.arrive((at) => at === `${page}?done=nothing`, 'the page, by way of the forge');
    await person.shoot('connections-late');
    expect(await person.text())
      .to.contain('nothing was changed')
      .and.contain('Editor');
    expect((await client.request('ping')).status).to.equal(200);
    expect(person.complaints()).to.deep.equal([]);
    await client.close();
  });

  it('is found from the page at the root, which says what to paste into a client', async () => {
    await person.open(gateway.gateway.url);
    expect(await person.text()).to.contain(gateway.url);
    await person.shoot('home');
    await person.tab.click('main a.button');
    await person.tab.arrive(() => person.atForge(), 'the forge');
    await person.passForge();
    expect(person.tab.at).to.equal(page);
    await person.open(`${gateway.gateway.url}/nothing`);
    expect(await person.text()).to.contain('There is nothing here');
    await person.shoot('not-found');
    expect(person.complaints()).to.deep.equal([]);
  });
});
