/** What a login has on the wire: forms, pages for people, discovery, limits before the authorization server, and the way back from the forge. */
import { Router } from 'express';
import { expect } from 'chai';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Arrival, Refused } from '../../src/auth/login/trips';
import { AppError } from '../../src/errors';
import { beginExchange } from '../../src/http/exchange';
import { answerFailures } from '../../src/http/failure';
import { Cookies } from '../../src/http/cookies';
import { showConnections } from '../../src/http/connections/pages';
import { readForm } from '../../src/http/form';
import { type Handler, pathOf, queryOf } from '../../src/http/handler';
import { callback } from '../../src/http/login/callback';
import { showConsent, takeConsent } from '../../src/http/login/consent';
import { finish } from '../../src/http/login/finish';
import { BodyReader } from '../../src/http/mcp/body';
import { discovery } from '../../src/http/oauth/discovery';
import { oauthEndpoints } from '../../src/http/oauth/endpoints';
import { homePage } from '../../src/http/pages/home';
import { asksForPage, onlyFor, page } from '../../src/http/pages/send';
import { startApp } from '../support/gateway-app';
import { USER } from '../support/oauth';
import { textOf } from '../support/pages';
import { serverSpec } from '../support/server-spec';
import { keptLog } from '../support/silent-log';

const ORIGIN = 'https://mcp.example';
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const HTML = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';

describe('a login on the wire', () => {
  const servers: Server[] = [];
  let log = keptLog();

  beforeEach(() => (log = keptLog()));
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });

  /** Serves steps as the application does, and asks it. */
  const serve = async (...steps: Handler[]): Promise<(path?: string, init?: RequestInit) => Promise<Response>> => {
    const routes = Router();
    routes.use(beginExchange({ log, observer: { request: () => undefined }, trustedProxies: undefined }));
    for (const step of steps) routes.use(step);
    const statuses = { unknownStatus: 410, endedStatus: 404 };
    routes.use(answerFailures({ log, statuses, challenge: () => undefined }));
    const handle = routes as unknown as (...given: [...Parameters<RequestListener>, () => void]) => void;
    const server = createServer((req, res) => handle(req, res, () => res.destroy()));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return (path = '/', init = {}) => fetch(`${base}${path}`, { redirect: 'manual', ...init });
  };

  describe('a form', () => {
    const bodies = new BodyReader({ maxBytes: 1_000_000, maxBytesInFlight: 2_000_000, timeoutMs: 5000 });
    const echo: Handler = async (req, res) => void res.end((await readForm(req, res, bodies, ORIGIN)).get('a'));
    const status = async (headers: Record<string, string>, body: string | URLSearchParams = 'a=b'): Promise<number> =>
      (await (await serve(echo))('/', { method: 'POST', headers, body })).status;

    it('is read when it was sent by our own page, or by what is no browser', async () => {
      const ask = await serve(echo);
      for (const headers of [{}, { origin: ORIGIN }, { origin: ORIGIN, 'sec-fetch-site': 'same-origin' }]) {
        const answer = await ask('/', { method: 'POST', headers: { ...FORM, ...headers }, body: 'a=%C3%A9+b' });
        expect(await answer.text()).to.equal('é b');
      }
    });

    it('of another site is refused with 403, whatever names it: another origin, none that can be told, or the browser', async () => {
      for (const headers of [
        { origin: 'https://evil.example' },
        { origin: 'null' },
        { origin: `${ORIGIN}.evil.example` },
        { origin: 'http://mcp.example' },
        { 'sec-fetch-site': 'cross-site' },
        { 'sec-fetch-site': 'same-site' },
        { origin: ORIGIN, 'sec-fetch-site': 'none' },
      ])
        expect(await status({ ...FORM, ...headers }), JSON.stringify(headers)).to.equal(403);
    });

    it('of another kind is refused with 415, and one that is too long with 413', async () => {
      expect(await status({ 'content-type': 'text/plain' })).to.equal(415);
      expect(await status({ 'content-type': 'application/json' })).to.equal(415);
      expect(await status(FORM, `a=${'x'.repeat(200_000)}`)).to.equal(413);
    });
  });

  describe('a page', () => {
    it('is for whoever names HTML, and for nobody else', () => {
      const asks = (accept?: string): boolean =>
        asksForPage({ headers: { accept } } as Parameters<typeof asksForPage>[0]);
      for (const accept of [HTML, 'text/html', 'TEXT/HTML;q=0.9', 'a/b , text/html'])
        expect(asks(accept), accept).to.equal(true);
      for (const accept of [undefined, '', '*/*', 'application/json, text/event-stream', 'text/html2', 'x-text/html'])
        expect(asks(accept), String(accept)).to.equal(false);
    });

    it('shows a fault with its status and request id, and tells the log what the reader is not told', async () => {
      const ask = await serve(page(log, () => Promise.reject(new Error('the secret reason'))));
      const answer = await ask('/', { headers: { 'x-request-id': 'req-7' } });
      const body = await answer.text();
      expect(answer.status).to.equal(500);
      expect(answer.headers.get('content-type')).to.equal('text/html; charset=utf-8');
      expect(textOf(body)).to.contain('req-7').and.not.contain('secret reason');
      expect(log.lines.join()).to.contain('secret reason');
    });

    it('says when to come back, has no body for HEAD, and sends on with 303 that nothing keeps', async () => {
      const busy = new AppError('CLIENT_RATE', 'Too many.', { retryAfter: 2.5 });
      const answer = await (await serve(page(log, () => Promise.reject(busy))))();
      expect([answer.status, answer.headers.get('retry-after')]).to.deep.equal([429, '3']);
      const home = homePage({ endpoint: `${ORIGIN}/mcp`, forge: 'https://forge.example' });
      expect(await (await (await serve(page(log, async () => home)))('/', { method: 'HEAD' })).text()).to.equal('');
      const on = await (await serve(page(log, async () => ({ location: '/connections' }))))();
      expect([on.status, on.headers.get('location'), on.headers.get('cache-control')]).to.deep.equal([
        303,
        '/connections',
        'no-store',
      ]);
    });

    it('refuses a method that it does not have with 405, and says which it has', async () => {
      const answer = await (await serve(onlyFor('GET')))('/', { method: 'PUT' });
      expect([answer.status, answer.headers.get('allow')]).to.deep.equal([405, 'GET']);
    });

    it('at the root says what to paste, and where the own connections are', () => {
      const { body } = homePage({ endpoint: `${ORIGIN}/mcp`, forge: 'https://forge.example' });
      expect(textOf(body)).to.contain(`${ORIGIN}/mcp`).and.contain('forge.example');
      expect(body).to.contain('href="/connections"');
    });

    it('of the own connections says what was done in words of its own, whatever stands in its address', async () => {
      const pages = {
        connections: {
          visitor: () => ({ user: USER, server: 'fixture', id: 'v' }),
          formToken: () => 't',
          of: async () => [],
        },
        cookies: new Cookies({ secure: false }),
        admitAddress: () => undefined,
      } as unknown as Parameters<typeof showConnections>[0];
      const ask = await serve(page(log, showConnections(pages)));
      expect(textOf(await (await ask('/connections?done=end')).text())).to.contain('The session is ended.');
      for (const word of ['', 'constructor', '__proto__', 'toString', '<b>']) {
        const answer = await ask(`/connections?done=${encodeURIComponent(word)}`);
        expect([answer.status, textOf(await answer.text())], word).to.deep.equal([
          200,
          textOf(await (await ask('/connections')).text()),
        ]);
      }
    });

    it('with a consent that the browser remembers counts the way to the forge before it begins: 429', async () => {
      const begun: unknown[] = [];
      const decision = { scopes: [], choice: { owners: [], repositories: [] }, remember: true };
      const step = (admitDeparture: () => void) =>
        showConsent({
          flow: {
            offer: async () => ({ uid: 'u' }),
            remembered: async () => ({ decision, account: 'a' }),
            allow: async (_offer: unknown, ...given: unknown[]) => (
              begun.push(given),
              { url: 'https://forge.example/', ticket: { name: 't', secret: 's' } }
            ),
          },
          cookies: new Cookies({ secure: false }),
          admitAddress: () => undefined,
          admitDeparture,
          tripLifetime: 60,
        } as unknown as Parameters<typeof showConsent>[0]);
      const full = (): void => {
        throw new AppError('CLIENT_RATE', 'Too many.', { retryAfter: 1 });
      };
      expect((await (await serve(page(log, step(full))))('/login/u')).status).to.equal(429);
      expect(begun).to.deep.equal([]);
      const on = await (
        await serve(
          page(
            log,
            step(() => undefined),
          ),
        )
      )('/login/u');
      expect([on.status, on.headers.get('location')]).to.deep.equal([303, 'https://forge.example/']);
      expect(begun).to.deep.equal([[decision, 'a']]);
    });

    it('of a login is counted before anything is done for it: 429', async () => {
      const pages = {
        flow: {},
        admitAddress: () => {
          throw new AppError('CLIENT_RATE', 'Too many.', { retryAfter: 1 });
        },
      } as unknown as Parameters<typeof finish>[0];
      for (const handle of [showConsent(pages), takeConsent(pages), finish(pages)])
        expect((await (await serve(page(log, handle)))('/login/u')).status).to.equal(429);
    });

    it('has all of its query behind the first question mark, and nothing of it in its path', () => {
      const req = { url: '/oauth/callback?code=a?b&state=s' } as Parameters<typeof queryOf>[0];
      expect([pathOf(req), ...queryOf(req)]).to.deep.equal(['/oauth/callback', ['code', 'a?b'], ['state', 's']]);
      expect([...queryOf({ url: '/oauth/callback' } as typeof req)]).to.deep.equal([]);
    });

    it('answers a person at a path that is none, and a program with JSON, without OAuth too', async () => {
      const app = await startApp();
      const ask = (accept: string): Promise<Response> =>
        fetch(`http://127.0.0.1:${app.port}/`, { headers: { accept } });
      const [person, program] = [await ask(HTML), await ask('application/json')];
      expect([person.status, program.status]).to.deep.equal([404, 404]);
      expect(textOf(await person.text())).to.contain('There is nothing here');
      expect(await program.json()).to.have.nested.property('error.data.code', 'NOT_FOUND');
      await app.close();
    });
  });

  it('discovery is open to pages of any origin, for GET alone, and passes everything else on', async () => {
    const find = (path: string): object | undefined => (path === '/.well-known/x' ? { a: 1 } : undefined);
    const ask = await serve(discovery(find), (_req, res) => void res.writeHead(299).end());
    const got = await ask('/.well-known/x?y');
    expect([got.status, got.headers.get('access-control-allow-origin'), await got.json()]).to.deep.equal([
      200,
      '*',
      { a: 1 },
    ]);
    const statuses = ['HEAD', 'OPTIONS', 'POST'].map(
      async (method) => (await ask('/.well-known/x', { method })).status,
    );
    expect(await Promise.all(statuses)).to.deep.equal([200, 204, 405]);
    expect((await ask('/.well-known/y')).status).to.equal(299);
    expect((await ask('/x')).status).to.equal(299);
  });

  it('the limits of the authorization server: a page for people, OAuth words for clients, and pre-flights are free', async () => {
    const endpoints = {
      serves: (path: string) => path !== '/other',
      handle: async (_req: unknown, res: { end(): unknown }) => void res.end(),
      admit: () => {
        throw new AppError('CLIENT_RATE', 'Too many.', { retryAfter: 7 });
      },
    };
    const ask = await serve(oauthEndpoints(endpoints, log), (_req, res) => void res.writeHead(299).end());
    const token = await ask('/token', { method: 'POST' });
    expect([
      token.status,
      token.headers.get('retry-after'),
      token.headers.get('access-control-allow-origin'),
    ]).to.deep.equal([429, '7', '*']);
    expect(await token.json()).to.deep.equal({ error: 'temporarily_unavailable', error_description: 'Too many.' });
    const authorize = await ask('/authorize?x');
    expect([authorize.status, authorize.headers.get('content-type')]).to.deep.equal([429, 'text/html; charset=utf-8']);
    expect((await ask('/token', { method: 'OPTIONS' })).status).to.equal(200);
    expect((await ask('/other')).status).to.equal(299);
  });

  describe('the way back from the forge', () => {
    const known = { server: serverSpec(), user: USER, application: 'read' } as const;
    const decision = { scopes: [], choice: { owners: [], repositories: [] }, remember: false };
    const said = new AppError('FORGE_LOGIN_DENIED', 'You said no.');
    const ask = async (end: () => Promise<Arrival | Refused>) => {
      const tickets: (string | undefined)[] = [];
      const back = callback({
        cookies: new Cookies({ secure: false }),
        ticketName: (state) => `of_${state}`,
        end: (_path, _query, ticket) => (tickets.push(ticket), end()),
        consented: async () => undefined,
        widened: async () => undefined,
        visited: () => ({ cookie: 'visit', seconds: 60 }),
        admitAddress: () => undefined,
      });
      const answer = await (
        await serve(page(log, back))
      )('/oauth/callback?state=s&code=c', { headers: { cookie: 'fmo_trip_of_s=secret' } });
      return { answer, tickets, cookies: answer.headers.getSetCookie() };
    };

    it('leads on to what it was for, and the ticket is gone whatever comes of it', async () => {
      const ways: readonly [Arrival | Refused, string][] = [
        [{ ...known, errand: { kind: 'consent', uid: 'u', decision } }, '/login/u/finish'],
        [{ errand: { kind: 'consent', uid: 'u', decision }, refused: said }, '/login/u/finish'],
        [{ ...known, errand: { kind: 'connections' } }, '/connections'],
        [{ ...known, errand: { kind: 'connections', late: true } }, '/connections?done=nothing'],
        [{ ...known, errand: { kind: 'widen', grant: 'g', account: 'a', ...decision } }, '/connections?done=change'],
      ];
      for (const [arrival, location] of ways) {
        const { answer, tickets, cookies } = await ask(async () => arrival);
        expect([answer.status, answer.headers.get('location')]).to.deep.equal([303, location]);
        expect(tickets).to.deep.equal(['secret']);
        expect(cookies[0]).to.match(/^fmo_trip_of_s=;.*Max-Age=0$/);
        expect(cookies.length, 'a visit').to.equal(location.startsWith('/connections') ? 2 : 1);
      }
    });

    it('shows what failed, and begins no visit', async () => {
      for (const end of [
        async () => ({ errand: { kind: 'connections' } as const, refused: said }),
        () => Promise.reject(said),
      ]) {
        const { answer, cookies } = await ask(end);
        expect(answer.status).to.equal(403);
        expect(textOf(await answer.text())).to.contain('You said no.');
        expect(cookies).to.have.length(1);
      }
    });
  });
});
