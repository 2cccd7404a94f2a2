/** The pages in a real browser, over HTTP, with their headers, scripts turned off. */
import { expect } from 'chai';
import fc from 'fast-check';
import { execFile } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Connection, connectionsPage, readConnections } from '../../src/http/pages/connections';
import { type ConsentOffer, consentPage, readConsent } from '../../src/http/pages/consent';
import { errorPage } from '../../src/http/pages/error';
import { forwardPage } from '../../src/http/pages/forward';
import { markup } from '../../src/http/pages/html';
import { type Page, renderPage } from '../../src/http/pages/layout';
import { Chromium, type Tab } from '../support/chromium';
import { asParsed, CONNECTION, HOSTILE, hostile, LOOPBACK_OFFER, OFFER } from '../support/pages';

/** Where screenshots go, to be looked at; none are taken without it. */
const SHOTS = process.env.PAGES_SCREENSHOTS;

const LONG = 'x'.repeat(300);
const FORM = { action: '/form', csrf: 'c5rf-token' };
const LIMITED: ConsentOffer = {
  ...OFFER,
  policy: { access: 'write', owners: ['acme', 'alice'], repositories: ['acme/*', 'alice/notes'] },
};
const WORST: ConsentOffer = {
  ...LOOPBACK_OFFER,
  client: { id: LONG, name: `${HOSTILE[0]}${LONG}`, trust: 'registered' },
  redirectUri: `http://127.0.0.1:33418/${LONG}?next=https://good.example/${LONG}`,
  forge: `https://${'long-label-'.repeat(5)}x.${'long-label-'.repeat(5)}x.example`,
  policy: {
    access: 'write',
    owners: Array.from({ length: 30 }, (_, i) => `owner-${i}-${'y'.repeat(28)}`),
    repositories: ['*'],
  },
};
const WORST_CONNECTION: Connection = {
  ...CONNECTION,
  grant: 'grant-2',
  client: { id: `https://agent.example/${LONG}`, name: WORST.client.name },
  choice: { owners: ['*'], repositories: [`acme/${'z'.repeat(100)}`] },
};

const view = { login: 'alice', forge: OFFER.forge, connections: [CONNECTION] };
const WRONG = new URLSearchParams({ decision: 'allow', access: 'write', reach: 'list', names: 'bob/x\nno name\nacme' });
const wrong = readConsent(WRONG, LIMITED);

/** Every page in every state that looks different. */
const PAGES: Readonly<Record<string, () => Page>> = {
  consent: () => consentPage(LOOPBACK_OFFER, FORM),
  'consent-document': () => consentPage(OFFER, FORM),
  'consent-limited': () => consentPage(LIMITED, FORM),
  'consent-worst': () => consentPage(WORST, FORM),
  'consent-wrong': () => consentPage(LIMITED, FORM, wrong.decision === 'again' ? wrong : undefined),
  connections: () => connectionsPage({ ...view, notice: 'The change was saved.' }, FORM),
  'connections-worst': () => connectionsPage({ ...view, connections: [CONNECTION, WORST_CONNECTION] }, FORM),
  'connections-none': () => connectionsPage({ ...view, connections: [] }, FORM),
  error: () =>
    errorPage({ status: 503, code: 'OVERLOADED', message: 'Too many logins.', requestId: 'req-1', retryAfter: 30 }),
  'error-worst': () => errorPage({ status: 400, code: LONG, message: LONG, requestId: LONG }),
};

describe('pages in Chromium', function () {
  this.timeout(60_000);
  let browser: Chromium;
  let server: Server;
  let other: Server;
  let origin: string;
  let elsewhere: string;
  let tab: Tab;
  let posted: URLSearchParams[];
  /** What a POST is answered with. */
  let answer: Page | string;
  /** A page besides those of the table. */
  let extra: Page;

  const listen = async (one: Server): Promise<string> => {
    await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(one.address() as AddressInfo).port}`;
  };

  before(async function () {
    this.timeout(300_000); // a fresh machine installs it
    await promisify(execFile)(join(__dirname, '../browser/deps.sh'));
    browser = await Chromium.start();
    other = createServer((_req, res) => res.end('elsewhere'));
    elsewhere = await listen(other);
    server = createServer((req, res) => {
      const send = (page: Page): void => void res.writeHead(page.status, page.headers).end(page.body);
      if (req.method === 'POST') {
        let body = '';
        req.setEncoding('utf8').on('data', (part: string) => (body += part));
        req.on('end', () => {
          posted.push(new URLSearchParams(body));
          if (typeof answer === 'string') res.writeHead(303, { Location: answer }).end();
          else send(answer);
        });
        return;
      }
      const name = (req.url ?? '').slice(1);
      if (name === 'favicon.ico') res.writeHead(204).end();
      else send(name === 'extra' ? extra : (PAGES[name] ?? PAGES['error'])());
    });
    origin = await listen(server);
  });

  after(async () => {
    await browser?.close();
    for (const one of [server, other]) {
      one?.closeAllConnections();
      one?.close();
    }
  });

  beforeEach(async () => {
    posted = [];
    answer = PAGES['connections-none']();
    tab = await browser.open();
  });

  const shoot = async (name: string): Promise<void> => {
    if (SHOTS === undefined) return;
    await mkdir(SHOTS, { recursive: true });
    await writeFile(join(SHOTS, `${name}.png`), await tab.screenshot());
  };

  for (const name of Object.keys(PAGES)) {
    it(`${name}: is styled, readable in light and dark, as wide as 320 px, and breaks no policy`, async () => {
      const grounds: string[] = [];
      for (const scheme of ['light', 'dark'] as const) {
        await tab.show(800, scheme);
        await tab.goto(`${origin}/${name}`);
        await shoot(`${name}-${scheme}`);
        grounds.push(await tab.evaluate('getComputedStyle(document.body).backgroundColor'));
        expect(await tab.evaluate(FAINT), `${scheme}: text of too little contrast`).to.deep.equal([]);
        await tab.show(320, scheme);
        await tab.evaluate(`document.querySelectorAll('details').forEach((one) => { one.open = true; })`);
        expect(await tab.evaluate('document.documentElement.scrollWidth'), scheme).to.be.at.most(320);
        await shoot(`${name}-${scheme}-320`);
      }
      expect(grounds[0]).not.to.equal(grounds[1]);
      expect(await tab.evaluate('document.scripts.length + document.querySelectorAll("[style]").length')).to.equal(0);
      expect(tab.complaints.filter((one) => !/status of (?:400|503)/.test(one))).to.deep.equal([]);
    });
  }

  it('gives every hostile text back from a real parser as it went in', async () => {
    const texts = [...HOSTILE, ...fc.sample(hostile, 300)];
    const items = texts.map(
      (text) => markup`<li title="${text}">${text}</li><textarea>
${text}</textarea>`,
    );
    extra = renderPage({ status: 200, title: HOSTILE[0], content: markup`<ul>${items}</ul>` });
    await tab.goto(`${origin}/extra`);
    const seen = await tab.evaluate<string[][]>(
      `[[document.title], [...document.querySelectorAll('li')].flatMap((e) => [e.title, e.textContent]), [...document.querySelectorAll('textarea')].map((e) => e.defaultValue)]`,
    );
    expect(seen[0]).to.deep.equal([`${HOSTILE[0]} · Forgejo MCP`]);
    expect(seen[1]).to.deep.equal(texts.flatMap((text) => [asParsed(text), asParsed(text)]));
    expect(seen[2]).to.deep.equal(texts.map(asParsed));
    expect(await tab.evaluate('document.querySelectorAll("script, img, svg, b").length')).to.equal(0);
  });

  it('sends a choice made with mouse and keyboard, and the form reads it', async () => {
    await tab.goto(`${origin}/consent-limited`);
    expect(await tab.evaluate('document.querySelector("textarea").offsetHeight')).to.equal(0);
    await tab.click('label[for="access-write"]');
    await tab.click('label[for="reach-list"]');
    await tab.click('textarea');
    await tab.type('acme\nalice/notes');
    await tab.click('label[for="remember"]');
    await tab.follow('button[value="allow"]');
    expect(posted).to.have.length(1);
    expect(posted[0].get('csrf')).to.equal('c5rf-token');
    expect(readConsent(posted[0], LIMITED)).to.deep.equal({
      decision: 'allow',
      scopes: ['forgejo:read', 'forgejo:write'],
      choice: { owners: ['acme', 'alice'], repositories: ['acme/*', 'alice/notes'] },
      remember: true,
    });
    expect(tab.complaints).to.deep.equal([]);
  });

  it('gives back what was typed when a form was wrong, with the list in sight', async () => {
    const typed = 'bob/x\n</textarea><b>\nacme';
    await tab.goto(`${origin}/consent-limited`);
    await tab.click('label[for="reach-list"]');
    await tab.click('textarea');
    await tab.type(typed);
    await tab.click('label[for="reach-all"]');
    await tab.follow('button[value="allow"]');
    const read = readConsent(posted[0], LIMITED);
    if (read.decision !== 'again') throw new Error('expected errors');
    extra = consentPage(LIMITED, FORM, read);
    await tab.goto(`${origin}/extra`);
    expect(await tab.evaluate('document.querySelector("textarea").value')).to.equal(typed);
    expect(await tab.evaluate('document.querySelector("textarea").offsetHeight')).to.be.above(40);
  });

  it('denies by the Enter key in a field, and shows where the focus is', async () => {
    await tab.goto(`${origin}/consent`);
    await tab.press('Tab', 9);
    expect(await tab.evaluate('document.activeElement.id')).to.equal('access-read');
    expect(await tab.evaluate('getComputedStyle(document.activeElement).outlineStyle')).to.equal('solid');
    await tab.call('Input.dispatchKeyEvent', {
      type: 'keyDown',
      key: 'Enter',
      code: 'Enter',
      windowsVirtualKeyCode: 13,
      text: '\r',
    });
    await tab.until(() => posted.length === 1, 'the form');
    expect(readConsent(posted[0], LOOPBACK_OFFER)).to.deep.equal({ decision: 'deny' });
  });

  it('ends one session and one connection by their own buttons', async () => {
    await tab.goto(`${origin}/connections`);
    await tab.follow('.sessions li:nth-child(2) button');
    await tab.goto(`${origin}/connections`);
    await tab.follow('.card > form button.danger');
    expect(posted.map((form) => readConnections(form, [CONNECTION]))).to.deep.equal([
      { do: 'end', grant: 'grant-1', session: 'b'.repeat(40) },
      { do: 'revoke', grant: 'grant-1' },
    ]);
  });

  it('goes on to another site after a form, where a redirect is stopped', async () => {
    await tab.goto(`${origin}/consent`);
    answer = `${elsewhere}/redirected`;
    await tab.click('button[value="allow"]');
    await tab.until(() => tab.complaints.some((one) => one.includes('form-action')), 'the refusal');
    expect(await tab.evaluate('location.origin')).to.equal(origin);

    answer = forwardPage(`${elsewhere}/forwarded?a=b&c=d`);
    await tab.goto(`${origin}/consent`);
    await tab.click('button[value="allow"]');
    await tab.until(() => tab.at === `${elsewhere}/forwarded?a=b&c=d`, 'the other site');
  });
});

/** Texts whose contrast to what is behind them is below 4.5 (WCAG 2.2, 1.4.3). */
const FAINT = `(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.body.querySelectorAll('*')]
    .filter((one) => one.offsetHeight > 0 && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== ''))
    .filter((one) => {
      const [a, b] = [light(numbers(getComputedStyle(one).color)), light(ground(one))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
    })
    .map((one) => one.outerHTML.slice(0, 120));
})()`;
