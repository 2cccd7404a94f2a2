/** Bearer mode: a Forgejo access token, checked against a stand-in for the forge. */
import { expect } from 'chai';
import { createHmac, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { Agent } from 'undici';
import { BearerAuthenticator, type BearerOptions } from '../../src/auth/bearer/authenticator';
import { BearerContext } from '../../src/auth/bearer/context';
import { createWhoAmI } from '../../src/auth/bearer/forge-user';
import { Fingerprints } from '../../src/auth/bearer/fingerprint';
import { HeldTokens } from '../../src/auth/bearer/held-tokens';
import type { AuthContext } from '../../src/auth/context';
import { AppError, type ErrorCode } from '../../src/errors';
import { rateKey } from '../../src/http/address';
import { FakeClock } from '../support/fake-link';
import { serverSpec } from '../support/server-spec';

const TOKEN = '0123456789abcdef0123456789abcdef01234567';
const ALICE = { id: 7, login: 'alice', is_admin: false };

type Answer = (req: IncomingMessage, res: ServerResponse) => void;
const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  (_req, res) => {
    res.writeHead(status, { 'content-type': 'application/json', ...headers });
    res.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

describe('bearer authentication', () => {
  let forge: Server;
  let url: string;
  let answer: Answer;
  let asked: { path: string; authorization: string | undefined }[];
  let clock: FakeClock;
  let agent: Agent;
  let outcomes: string[];

  beforeEach(async () => {
    asked = [];
    outcomes = [];
    clock = new FakeClock();
    agent = new Agent();
    answer = json(200, ALICE);
    forge = createServer((req, res) => {
      asked.push({ path: req.url ?? '', authorization: req.headers.authorization });
      answer(req, res);
    }).listen(0, '127.0.0.1');
    await once(forge, 'listening');
    url = `http://127.0.0.1:${String((forge.address() as AddressInfo).port)}`;
  });

  afterEach(async () => {
    await agent.destroy();
    forge.closeAllConnections();
    forge.close();
    await once(forge, 'close');
  });

  const make = (changes: Partial<BearerOptions> = {}, timeoutMs = 5_000): BearerAuthenticator =>
    new BearerAuthenticator({
      key: Buffer.alloc(32, 1),
      whoAmI: createWhoAmI({ dispatcher: agent, timeoutMs }),
      clock,
      observer: {
        checked: (outcome, cached) => void outcomes.push(`${outcome}${cached ? ' cached' : ''}`),
        forge() {},
      },
      okMs: 60_000,
      refusedMs: 5_000,
      maxCached: 100,
      failures: { burst: 3, perMinute: 6, maxAddresses: 10, keyOf: rateKey },
      ...changes,
    });
  const server = (changes: { insecureAllowSiteAdmins?: boolean } = {}) => {
    const spec = serverSpec();
    return { ...spec, forgejo: { ...spec.forgejo, apiUrl: url, url: 'https://forge.example', ...changes } };
  };
  const check = (who: BearerAuthenticator, token = TOKEN, address = '192.0.2.1'): Promise<AuthContext> =>
    who.authenticate({ authorization: `Bearer ${token}`, address }, server());
  const codeOf = async (promise: Promise<unknown>): Promise<ErrorCode | 'none'> =>
    promise.then(
      () => 'none' as const,
      (error: unknown) => {
        expect(error).to.be.instanceOf(AppError);
        expect(inspect(error, { depth: 9 })).to.not.contain(TOKEN);
        return (error as AppError).code;
      },
    );

  it('asks the forge whose token it is and names the user by issuer and numeric id', async () => {
    const context = await check(make());
    expect(context).to.deep.include({ mode: 'bearer', client: 'bearer' });
    expect(context.user).to.deep.equal({ issuer: 'https://forge.example', id: '7', login: 'alice' });
    expect([...context.scopes]).to.have.members(['forgejo:read', 'forgejo:write']);
    expect(asked).to.deep.equal([{ path: '/api/v1/user', authorization: `token ${TOKEN}` }]);
  });

  it('binds to the token: the same token is the same grant, another token or key another one', async () => {
    const who = make();
    const grant = (await check(who)).grant;
    expect(grant).to.match(/^[0-9a-f]{64}$/);
    expect((await check(who)).grant).to.equal(grant);
    expect((await check(who, `${TOKEN}0`)).grant).to.not.equal(grant);
    expect((await check(make({ key: Buffer.alloc(32, 2) }))).grant).to.not.equal(grant);
  });

  it('never mistakes one token for another on one connection', async () => {
    const who = make();
    const connection = {};
    const go = (token: string) =>
      who.authenticate({ authorization: `Bearer ${token}`, address: '', connection }, server());
    const first = await go(TOKEN);
    expect((await go(TOKEN)).grant).to.equal(first.grant);
    const other = await go(`${TOKEN}0`);
    expect(other.grant).to.not.equal(first.grant);
    expect(BearerContext.tokenOf(other)).to.equal(`${TOKEN}0`);
    const elsewhere = { ...server(), forgejo: { ...server().forgejo, apiUrl: `${url}/` } };
    const same = await who.authenticate({ authorization: `Bearer ${TOKEN}0`, address: '', connection }, elsewhere);
    expect(same.grant).to.not.equal(other.grant);
    answer = json(401, {});
    clock.advance(60_001);
    expect(await codeOf(go(TOKEN))).to.equal('AUTH_INVALID');
    expect(await codeOf(who.authenticate({ authorization: undefined, address: '', connection }, server()))).to.equal(
      'AUTH_MISSING',
    );
  });

  it('fingerprints by HMAC-SHA-256 (RFC 2104) and refuses a short key', () => {
    for (const length of [32, 48, 64, 65, 200]) {
      const key = randomBytes(length);
      const wanted = createHmac('sha256', key).update(`https://a.example\0${TOKEN}`).digest('hex');
      expect(new Fingerprints(key).of('https://a.example', TOKEN)).to.equal(wanted);
    }
    expect(() => new Fingerprints(randomBytes(31))).to.throw(RangeError);
  });

  it('hides the token from logs, JSON and inspection of the context', async () => {
    const context = await check(make());
    expect(inspect(context, { depth: 9, showHidden: true }) + JSON.stringify(context)).to.not.contain(TOKEN);
    expect(BearerContext.tokenOf(context)).to.equal(TOKEN);
    expect(BearerContext.tokenOf({ ...context })).to.equal(undefined);
  });

  it('remembers a good token for 60 s and a refused one for 5 s', async () => {
    const who = make();
    await check(who);
    clock.advance(59_000);
    await check(who);
    expect(asked).to.have.length(1);
    clock.advance(1_001);
    answer = json(401, {});
    expect(await codeOf(check(who))).to.equal('AUTH_INVALID');
    expect(await codeOf(check(who))).to.equal('AUTH_INVALID');
    expect(asked).to.have.length(2);
    clock.advance(5_001);
    answer = json(200, ALICE);
    await check(who);
    expect(asked).to.have.length(3);
    expect(outcomes).to.deep.equal(['ok', 'ok cached', 'invalid', 'invalid cached', 'ok']);
  });

  it('asks once for many requests with the same token at the same time', async () => {
    const who = make();
    const contexts = await Promise.all(Array.from({ length: 50 }, () => check(who)));
    expect(new Set(contexts.map(({ grant }) => grant)).size).to.equal(1);
    expect(asked).to.have.length(1);
  });

  it('remembers no more tokens than it may', async () => {
    const who = make({ maxCached: 10 });
    for (let i = 0; i < 30; i += 1) await check(who, `${TOKEN}${String(i)}`);
    expect(who.size).to.equal(10);
  });

  it('says AUTH_MISSING without a token and AUTH_INVALID for what is no bearer token, without asking', async () => {
    const who = make();
    const go = (authorization: string | undefined) =>
      codeOf(who.authenticate({ authorization, address: '192.0.2.1' }, server()));
    expect(await go(undefined)).to.equal('AUTH_MISSING');
    expect(await go('')).to.equal('AUTH_MISSING');
    for (const header of [
      'Bearer',
      'Bearer ',
      'Basic YTpi',
      `token ${TOKEN}`,
      'Bearer a b',
      'Bearer ä',
      `Bearer ${'x'.repeat(9000)}`,
    ]) {
      expect(await go(header), header.slice(0, 30)).to.equal('AUTH_INVALID');
    }
    expect(asked).to.have.length(0);
    expect((await who.authenticate({ authorization: `bEARER  ${TOKEN}`, address: '' }, server())).user.id).to.equal(
      '7',
    );
  });

  for (const [status, body, code] of [
    [401, { message: 'invalid' }, 'AUTH_INVALID'],
    [403, { message: 'token does not have at least one of required scope(s), required=[read:user]' }, 'AUTH_SCOPE'],
    [403, { message: 'This account is prohibited from signing in' }, 'AUTH_REFUSED'],
    [200, { ...ALICE, prohibit_login: true }, 'AUTH_REFUSED'],
    [200, { ...ALICE, active: false }, 'AUTH_REFUSED'],
    [200, { ...ALICE, id: -2 }, 'AUTH_REFUSED'],
    [200, { ...ALICE, is_admin: true }, 'AUTH_REFUSED'],
    [200, 'no JSON', 'AUTH_UNAVAILABLE'],
    [200, { login: 'x' }, 'AUTH_UNAVAILABLE'],
    [302, '', 'AUTH_UNAVAILABLE'],
    [404, {}, 'AUTH_UNAVAILABLE'],
    [429, {}, 'AUTH_UNAVAILABLE'],
    [500, {}, 'AUTH_UNAVAILABLE'],
    [502, '<html>', 'AUTH_UNAVAILABLE'],
    [200, JSON.stringify({ ...ALICE, padding: 'x'.repeat(100_000) }), 'AUTH_UNAVAILABLE'],
  ] as const) {
    it(`says ${code} when the forge answers ${String(status)} ${JSON.stringify(body).slice(0, 60)}`, async () => {
      answer = json(status, body);
      expect(await codeOf(check(make()))).to.equal(code);
    });
  }

  it('lets a site administrator in where the server says so, and nowhere else', async () => {
    answer = json(200, { ...ALICE, is_admin: true });
    const who = make();
    const go = (allowed: boolean) =>
      codeOf(
        who.authenticate(
          { authorization: `Bearer ${TOKEN}`, address: '' },
          server({ insecureAllowSiteAdmins: allowed }),
        ),
      );
    expect(await go(true)).to.equal('none');
    expect(await go(false)).to.equal('AUTH_REFUSED');
    expect(asked).to.have.length(1);
  });

  it('says AUTH_UNAVAILABLE with a time to retry when the forge is down, and asks again at once', async () => {
    const who = make();
    answer = (req) => req.socket.destroy();
    const error = await check(who).catch((thrown: unknown) => thrown as AppError);
    expect(error).to.include({ code: 'AUTH_UNAVAILABLE', retryAfter: 5, status: 503 });
    answer = json(200, ALICE);
    await check(who);
  });

  it('passes on when the forge says to retry', async () => {
    answer = json(503, {}, { 'retry-after': '42' });
    const error = await check(make()).catch((thrown: unknown) => thrown as AppError);
    expect(error).to.include({ code: 'AUTH_UNAVAILABLE', retryAfter: 42 });
  });

  it('says AUTH_UNAVAILABLE when the forge does not answer in time', async () => {
    answer = () => undefined;
    expect(await codeOf(check(make({}, 50)))).to.equal('AUTH_UNAVAILABLE');
  });

  it('holds an address back after too many wrong tokens, but neither others nor a token that was good', async () => {
    const who = make();
    await check(who);
    answer = json(401, {});
    for (let i = 0; i < 3; i += 1) expect(await codeOf(check(who, `wrong${String(i)}`))).to.equal('AUTH_INVALID');
    const held = await check(who, 'wrong9').catch((thrown: unknown) => thrown as AppError);
    expect(held).to.include({ code: 'AUTH_RATE', status: 503, retryAfter: 10 });
    expect(await codeOf(check(who, 'wrong9', '192.0.2.2'))).to.equal('AUTH_INVALID');
    answer = json(200, ALICE);
    await check(who);
    who.forget((await check(who)).grant);
    clock.advance(10_000);
    answer = json(401, {});
    expect(await codeOf(check(who, 'wrong9'))).to.equal('AUTH_INVALID');
    expect(await codeOf(check(who, 'wrong8'))).to.equal('AUTH_RATE');
  });

  it('asks about a bounded number of tokens at once, and makes a flood of wrong ones wait longer', async () => {
    const who = make();
    answer = json(401, {});
    const codes = await Promise.all(Array.from({ length: 600 }, (_, i) => codeOf(check(who, `flood${String(i)}`))));
    expect(codes.filter((code) => code === 'AUTH_INVALID')).to.have.length(512);
    expect(codes.filter((code) => code === 'AUTH_UNAVAILABLE')).to.have.length(88);
    const held = await check(who, 'one-more').catch((thrown: unknown) => thrown as AppError);
    expect(held).to.include({ code: 'AUTH_RATE', retryAfter: 40 });
  });

  it('counts one wrong token that is sent over and over only when the forge is asked', async () => {
    const who = make();
    answer = json(401, {});
    for (let i = 0; i < 20; i += 1) expect(await codeOf(check(who, 'stale'))).to.equal('AUTH_INVALID');
    expect(await codeOf(check(who, 'another'))).to.equal('AUTH_INVALID');
  });

  it('challenges as RFC 6750 says', () => {
    const who = make();
    expect(who.challenge(new AppError('AUTH_MISSING', ''))).to.equal('Bearer realm="forgejo-mcp"');
    expect(who.challenge(new AppError('AUTH_INVALID', ''))).to.contain('error="invalid_token"');
    expect(who.challenge(new AppError('AUTH_SCOPE', ''))).to.contain('error="insufficient_scope", scope="read:user"');
    expect(who.challenge(new AppError('AUTH_UNAVAILABLE', ''))).to.equal(undefined);
    expect(who.challenge(new AppError('SESSION_FORBIDDEN', ''))).to.equal(undefined);
  });

  describe('tokens of live sessions', () => {
    it('are held while a session lives, and forgotten with the last one', async () => {
      const context = await check(make());
      const held = new HeldTokens(() => undefined);
      expect(await codeOf(held.token(context.grant))).to.equal('FORGE_TOKEN_UNAVAILABLE');
      const [first, second] = [held.retain(context), held.retain(context)];
      expect(await held.token(context.grant)).to.equal(TOKEN);
      first();
      first();
      expect(await held.token(context.grant)).to.equal(TOKEN);
      second();
      expect(held.size).to.equal(0);
      expect(await codeOf(held.token(context.grant))).to.equal('FORGE_TOKEN_UNAVAILABLE');
    });

    it('are asked about again after the forge refused one elsewhere', async () => {
      const who = make();
      const held = new HeldTokens((grant) => who.forget(grant));
      const context = await check(who);
      held.refused(context.grant);
      answer = json(401, {});
      expect(await codeOf(check(who))).to.equal('AUTH_INVALID');
    });

    it('are not made up for an identity of another mode', async () => {
      const context = { ...(await check(make())) };
      expect(() => new HeldTokens(() => undefined).retain(context)).to.throw(AppError);
    });
  });
});
