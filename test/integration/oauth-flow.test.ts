/** The authorization server and the resource server over HTTP on loopback, with a real oidc-provider and SQLite. */
import { expect } from 'chai';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { AppError } from '../../src/errors';
import { accountOf } from '../../src/auth/provider/grants';
import { cites } from '../requirements';
import {
  EVERYTHING,
  loopback,
  PlainClient,
  REDIRECT,
  USER,
  type Loopback,
  type LoopbackOptions,
} from '../support/oauth';

describe('oauth over HTTP', () => {
  let at: Loopback;
  let client: PlainClient;

  async function start(options: LoopbackOptions = {}): Promise<void> {
    at = await loopback(options);
    client = await new PlainClient(at.base).register();
  }

  afterEach(() => at.close());

  describe('the code flow', () => {
    beforeEach(() => start());

    it('leads from a registration to a call: code with state and iss, JWT for the resource, identity', async () => {
      cites(
        '2025-03-26/authorization/4',
        '2025-06-18/authorization/4',
        '2025-06-18/authorization/18',
        '2026-07-28/authorization/20',
      );
      const { url } = await client.browse(`/authorize?${client.query()}`);
      expect(`${url.origin}${url.pathname}`).to.equal(REDIRECT);
      expect(url.searchParams.get('state')).to.equal('the-state');
      expect(url.searchParams.get('iss')).to.equal(at.base);
      const { status, body } = await client.redeem(url.searchParams.get('code') ?? '');
      expect(status).to.equal(200);
      expect(body).to.include({ token_type: 'Bearer', expires_in: 600, scope: 'forgejo:read forgejo:write' });
      expect(body.refresh_token).to.be.a('string');
      expect(body).not.to.have.property('id_token');
      expect(decodeProtectedHeader(body.access_token)).to.deep.equal({
        alg: 'ES256',
        typ: 'at+jwt',
        kid: at.ring.keys[0]?.jwk.kid,
      });
      const claims = decodeJwt(body.access_token);
      expect(claims).to.include({ iss: at.base, aud: `${at.base}/mcp`, sub: accountOf(USER), client_id: client.id });
      expect(
        (await client.whoAmI(undefined, `/mcp?access_token=${body.access_token}`)).status,
        'never in the URL',
      ).to.equal(401);
      const who = await client.whoAmI(body.access_token);
      expect(who.status).to.equal(200);
      expect(JSON.parse(who.body)).to.deep.equal({
        mode: 'oauth',
        user: USER,
        grant: claims.gid,
        client: client.id,
        scopes: ['forgejo:read', 'forgejo:write'],
        granted: ['forgejo:read', 'forgejo:write'],
        choice: EVERYTHING,
      });
    });

    it('asks for consent again in the same browser: a second login has its own grant', async () => {
      const first = await client.browse(`/authorize?${client.query()}`);
      const second = await client.browse(`/authorize?${client.query()}`, first.jar);
      const grants = [];
      for (const { url } of [first, second]) {
        const { body } = await client.redeem(url.searchParams.get('code') ?? '');
        grants.push(decodeJwt(body.access_token).gid);
      }
      expect(new Set(grants).size).to.equal(2);
      expect([...first.jar.keys()].filter((name) => name.includes('session'))).to.deep.equal([]);
    });

    it('refuses prompt=none with consent_required, and no code is issued', async () => {
      const { url } = await client.browse(`/authorize?${client.query({ prompt: 'none' })}`);
      expect(url.searchParams.get('error')).to.equal('consent_required');
      expect(url.searchParams.get('iss')).to.equal(at.base);
      expect(url.searchParams.has('code')).to.equal(false);
    });

    it('takes what SDKs send: prompt=consent, openid and offline_access, a nonce', async () => {
      const changes = { prompt: 'login consent', scope: 'openid offline_access forgejo:read', nonce: 'n' };
      const { body } = await client.redeem(await client.code(changes));
      expect(body.scope).to.equal('forgejo:read');
      expect(body.refresh_token).to.be.a('string');
    });

    it('asks for both scopes where a client asks for none', async () => {
      const { body } = await client.redeem(await client.code({ scope: undefined }));
      expect(body.scope).to.equal('forgejo:read forgejo:write');
    });

    it('takes any port of a loopback redirect, as RFC 8252, 7.3 says [2025-06-18/authorization/50]', async () => {
      const changes = { redirect_uri: REDIRECT.replace('7777', '49152') };
      const { status } = await client.redeem(await client.code(changes), changes);
      expect(status).to.equal(200);
    });

    it('refuses a redirect URI that was not registered on a page: nothing is sent to it', async () => {
      cites(
        '2025-03-26/authorization/31',
        '2025-06-18/authorization/46',
        '2025-06-18/authorization/47',
        '2025-06-18/authorization/49',
      );
      for (const uri of ['http://127.0.0.1:7777/other', 'https://evil.example/callback', `${REDIRECT}?x=1`]) {
        const { url, status } = await client.browse(`/authorize?${client.query({ redirect_uri: uri })}`);
        expect(url.origin, uri).to.equal(at.base);
        expect(status, uri).to.equal(400);
      }
    });

    it('refuses PKCE plain, and a request without PKCE', async () => {
      cites('2025-03-26/authorization/35', '2025-11-25/authorization/76', '2025-11-25/authorization/77');
      for (const changes of [
        { code_challenge_method: 'plain' },
        { code_challenge_method: undefined },
        { code_challenge: undefined, code_challenge_method: undefined },
      ]) {
        const { url } = await client.browse(`/authorize?${client.query(changes)}`);
        expect(url.searchParams.get('error')).to.equal('invalid_request');
      }
    });

    it('refuses a code with another verifier, without one, and with another redirect URI', async () => {
      const code = await client.code();
      for (const changes of [
        { code_verifier: 'x'.repeat(43) },
        { code_verifier: undefined },
        { redirect_uri: 'http://127.0.0.1:7777/other' },
      ]) {
        const { status, body } = await client.redeem(code, changes);
        expect([status, body.error]).to.deep.equal([400, 'invalid_grant']);
      }
      expect((await client.redeem(code)).status, 'the code is still good').to.equal(200);
    });

    it('refuses a code and a refresh token of another client, without harm to their own', async () => {
      const code = await client.code();
      const stranger = await new PlainClient(at.base).register('stranger');
      expect(stranger.id).not.to.equal(client.id);
      expect((await stranger.redeem(code, { code_verifier: client.verifier })).body.error).to.equal('invalid_grant');
      const { body } = await client.redeem(code);
      expect((await stranger.refresh(body.refresh_token)).body.error).to.equal('invalid_grant');
      const form = new URLSearchParams({ token: body.refresh_token, client_id: stranger.id });
      await fetch(`${at.base}/revoke`, { method: 'POST', body: form });
      expect((await client.refresh(body.refresh_token)).status).to.equal(200);
      stranger.id = 'nobody';
      expect((await stranger.refresh(body.refresh_token)).body.error).to.equal('invalid_client');
    });

    it('refuses grants and response types that are off', async () => {
      expect((await client.token({ grant_type: 'client_credentials' })).body.error).to.equal('unsupported_grant_type');
      for (const type of ['id_token', 'token', 'code id_token', 'none']) {
        const { url } = await client.browse(`/authorize?${client.query({ response_type: type })}`);
        expect(`${url.search}${url.hash}`, type).to.include('error=unsupported_response_type').and.not.include('code=');
      }
      for (const path of ['/session/end', '/session/end/confirm', '/me', '/request', '/device', '/interaction/x']) {
        expect((await fetch(`${at.base}${path}`)).status, path).to.equal(404);
      }
    });

    it('issues one code for one login, however often the browser comes back with it', async () => {
      const jar = new Map<string, string>();
      const cookies = (): string => [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
      let path = `/authorize?${client.query()}`;
      for (let hop = 0; hop < 2; hop += 1) {
        const answer = await fetch(new URL(path, at.base), { redirect: 'manual', headers: { cookie: cookies() } });
        for (const line of answer.headers.getSetCookie()) {
          const [name = '', value = ''] = (line.split(';', 1)[0] ?? '').split(/=(.*)/s);
          jar.set(name, value);
        }
        path = answer.headers.get('location') ?? '';
      }
      const answers = await Promise.all(
        Array.from({ length: 10 }, () =>
          fetch(new URL(path, at.base), { redirect: 'manual', headers: { cookie: cookies() } }),
        ),
      );
      const codes = answers.filter((answer) => answer.headers.get('location')?.includes('code=') ?? false);
      expect(codes.length).to.equal(1);
    });

    it('shows an error page, not a redirect, when a login is finished in another browser', async () => {
      const answer = await fetch(`${at.base}/authorize?${client.query()}`, { redirect: 'manual' });
      const elsewhere = await fetch(new URL(answer.headers.get('location') ?? '', at.base));
      expect(elsewhere.status).to.equal(400);
    });
  });

  describe('two gateways on one store', () => {
    let other: Loopback;

    beforeEach(async () => {
      await start();
      other = await loopback({}, at);
    });

    afterEach(() => other.close());

    it('redeem a code once, and refresh to the same successor', async () => {
      const elsewhere = new PlainClient(other.base);
      Object.assign(elsewhere, { id: client.id, verifier: client.verifier });
      const both = [client, elsewhere];
      const { refresh } = await client.login();
      const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => both[index % 2]?.refresh(refresh)));
      expect(answers.map((answer) => answer?.status)).to.deep.equal(Array(20).fill(200));
      expect(new Set(answers.map((answer) => answer?.body.refresh_token)).size).to.equal(1);
      const code = await client.code();
      const resource = undefined;
      const redeemed = await Promise.all(
        Array.from({ length: 20 }, (_, index) => both[index % 2]?.redeem(code, { resource })),
      );
      expect(redeemed.filter((answer) => answer?.status === 200).length).to.equal(1);
    });

    it('share their keys: a token of one that rotated is good at the other, and a revoked one at neither', async () => {
      await other.ring.rotate();
      const elsewhere = new PlainClient(other.base);
      Object.assign(elsewhere, { id: client.id, verifier: client.verifier });
      const { refresh } = await client.login();
      const { body } = await elsewhere.refresh(refresh);
      at.clock.advance(2000);
      expect(decodeProtectedHeader(body.access_token).kid).not.to.equal(at.ring.keys[0]?.jwk.kid);
      expect((await client.whoAmI(body.access_token)).status).to.equal(200);
      await other.grants.revokeUser(USER);
      at.clock.advance(2000);
      expect((await client.whoAmI(body.access_token)).status).to.equal(401);
    });
  });

  describe('resources', () => {
    beforeEach(() => start());

    it('gives tokens for the resource that was asked for, and none for one that is not ours', async () => {
      cites('2025-06-18/authorization/18', '2025-06-18/authorization/33');
      const resource = `${at.base}/servers/other/mcp`;
      const { body } = await client.redeem(await client.code({ resource }), { resource });
      expect(decodeJwt(body.access_token).aud).to.equal(resource);
      expect((await client.whoAmI(body.access_token, '/servers/other/mcp')).status).to.equal(200);
      const refused = await client.whoAmI(body.access_token);
      expect(refused.status).to.equal(401);
      const { url } = await client.browse(`/authorize?${client.query({ resource: 'https://elsewhere.example/mcp' })}`);
      expect(url.searchParams.get('error')).to.equal('invalid_target');
    });

    it('knows the default server by both of its URLs, a trailing slash and the bare origin, in mixed use', async () => {
      for (const [asked, redeemed] of [
        ['/mcp/', '/mcp'],
        ['/', '/mcp/'],
        ['/servers/main/mcp', '/servers/main/mcp/'],
      ]) {
        const code = await client.code({ resource: `${at.base}${asked}` });
        const { status, body } = await client.redeem(code, { resource: `${at.base}${redeemed}` });
        expect(status, asked).to.equal(200);
        expect((await client.whoAmI(body.access_token)).status).to.equal(200);
        expect((await client.whoAmI(body.access_token, '/servers/main/mcp')).status).to.equal(200);
      }
    });

    it('refuses at the token endpoint another resource than was consented to', async () => {
      const { status, body } = await client.redeem(await client.code(), { resource: `${at.base}/servers/other/mcp` });
      expect([status, body.error]).to.deep.equal([400, 'invalid_target']);
    });

    it('refuses two servers in one request', async () => {
      const query = `${client.query()}&${new URLSearchParams({ resource: `${at.base}/servers/other/mcp` }).toString()}`;
      const { url } = await client.browse(`/authorize?${query}`);
      expect(url.searchParams.get('error')).to.equal('invalid_target');
    });

    it('takes the default server where no resource is named at all', async () => {
      const { body } = await client.redeem(await client.code({ resource: undefined }), { resource: undefined });
      expect(decodeJwt(body.access_token).aud).to.equal(`${at.base}/mcp`);
    });
  });

  describe('codes and refresh tokens under load', () => {
    beforeEach(() => start());

    it('redeems one code 20 times at once: one success, and what it got is dead', async () => {
      const code = await client.code();
      const answers = await Promise.all(Array.from({ length: 20 }, () => client.redeem(code)));
      const good = answers.filter(({ status }) => status === 200);
      expect(good.length).to.equal(1);
      expect(answers.filter(({ body }) => body.error === 'invalid_grant').length).to.equal(19);
      expect((await client.whoAmI(good[0]?.body.access_token)).status).to.equal(401);
      expect((await client.refresh(good[0]?.body.refresh_token)).body.error).to.equal('invalid_grant');
      expect((await at.records.refreshTokens.find()).length, 'nothing is left behind').to.equal(0);
      expect(at.revoked.length).to.equal(1);
    });

    it('revokes the grant when a code comes again later', async () => {
      const code = await client.code();
      const { body } = await client.redeem(code);
      expect((await client.redeem(code)).body.error).to.equal('invalid_grant');
      at.live.forget(String(decodeJwt(body.access_token).gid));
      expect((await client.whoAmI(body.access_token)).status).to.equal(401);
      expect(at.replays.length).to.be.above(0);
    });

    it('refreshes one token 20 times at once: all get the same successor, and one record is all there is', async () => {
      cites('2025-06-18/authorization/41');
      const { refresh } = await client.login();
      const answers = await Promise.all(Array.from({ length: 20 }, () => client.refresh(refresh)));
      expect(answers.map(({ status }) => status)).to.deep.equal(Array(20).fill(200));
      const successors = new Set<string>(answers.map(({ body }) => body.refresh_token));
      expect(successors.size).to.equal(1);
      const [next = ''] = successors;
      expect(next).not.to.equal(refresh);
      expect((await client.refresh(next)).status).to.equal(200);
      const families = await at.records.refreshTokens.find();
      expect(families.map(({ value }) => value.generation)).to.deep.equal([2]);
    });

    it('goes on for 50 generations with one record', async () => {
      cites('2025-03-26/authorization/29', '2025-03-26/authorization/36');
      let { refresh } = await client.login();
      for (let count = 0; count < 50; count += 1) {
        const { status, body } = await client.refresh(refresh);
        expect(status).to.equal(200);
        refresh = body.refresh_token;
      }
      const families = await at.records.refreshTokens.find();
      expect(families.length).to.equal(1);
      expect(families[0]?.value.used.length).to.be.at.most(64);
    });

    it('takes a used token again within 30 s, even when its successor was used', async () => {
      const { refresh } = await client.login();
      const next = (await client.refresh(refresh)).body.refresh_token;
      await client.refresh(next);
      at.clock.advance(29_000);
      const again = await client.refresh(refresh);
      expect(again.body.refresh_token).to.equal(next);
    });

    it('takes it for ever while its successor was never used: the answer may have been lost', async () => {
      const { refresh } = await client.login();
      const next = (await client.refresh(refresh)).body.refresh_token;
      at.clock.advance(7 * 86_400_000);
      expect((await client.refresh(refresh)).body.refresh_token).to.equal(next);
    });

    it('revokes the grant when a token is replayed after 30 s: the newest one dies with it', async () => {
      cites('2025-06-18/authorization/41');
      const { refresh, access } = await client.login();
      const next = (await client.refresh(refresh)).body.refresh_token;
      const newest = (await client.refresh(next)).body.refresh_token;
      at.clock.advance(31_000);
      const replay = await client.refresh(refresh);
      expect([replay.status, replay.body.error]).to.deep.equal([400, 'invalid_grant']);
      expect((await client.refresh(newest)).body.error).to.equal('invalid_grant');
      expect((await client.whoAmI(access)).status).to.equal(401);
      expect(at.revoked.length).to.equal(1);
    });

    it('refuses forged and foreign refresh tokens without harm to the real one', async () => {
      const { refresh } = await client.login();
      const forged = `${refresh.slice(0, -1)}${refresh.endsWith('A') ? 'B' : 'A'}`;
      for (const token of [forged, 'x'.repeat(64), '', refresh.slice(0, 40)]) {
        expect((await client.refresh(token)).status).to.equal(400);
      }
      expect((await client.refresh(refresh)).status).to.equal(200);
    });
  });

  describe('grants', () => {
    it('ends everything at once with the grant: codes, refresh tokens, access tokens', async () => {
      await start();
      const { refresh, access } = await client.login();
      const code = await client.code();
      await at.grants.revokeUser(USER);
      for (const id of at.revoked) at.live.forget(id);
      expect((await client.refresh(refresh)).body.error).to.equal('invalid_grant');
      expect((await client.redeem(code)).body.error).to.equal('invalid_grant');
      const who = await client.whoAmI(access);
      expect(who.status).to.equal(401);
      expect(who.challenge).to.include('error="invalid_token"');
    });

    it('lets a revoked grant be used for two seconds at most where only another process knows', async () => {
      await start();
      const { access } = await client.login();
      expect((await client.whoAmI(access)).status).to.equal(200);
      await at.grants.revokeUser(USER);
      at.clock.advance(2000);
      expect((await client.whoAmI(access)).status).to.equal(401);
    });

    it('ends with the revocation of its refresh token (RFC 7009)', async () => {
      await start();
      const { refresh, access } = await client.login();
      const body = new URLSearchParams({ token: refresh, client_id: client.id });
      expect((await fetch(`${at.base}/revoke`, { method: 'POST', body })).status).to.equal(200);
      expect((await client.refresh(refresh)).body.error).to.equal('invalid_grant');
      at.live.forget(at.revoked[0] ?? '');
      expect((await client.whoAmI(access)).status).to.equal(401);
    });

    it('lets the user allow less than was asked for, and carries a later upgrade with the next refresh', async () => {
      await start({ allow: ['forgejo:read'] });
      const { body } = await client.redeem(await client.code());
      expect(body.scope).to.equal('forgejo:read');
      const id = String(decodeJwt(body.access_token).gid);
      await at.grants.update(id, { scopes: ['forgejo:read', 'forgejo:write'] });
      const refreshed = await client.refresh(body.refresh_token);
      expect(refreshed.body.scope).to.equal('forgejo:read forgejo:write');
      await at.grants.update(id, { scopes: ['forgejo:read'] });
      at.live.forget(id);
      const who = await client.whoAmI(refreshed.body.access_token);
      expect(JSON.parse(who.body).scopes, 'narrowed at once').to.deep.equal(['forgejo:read']);
    });

    it('keeps a grant whose code nobody comes for ten minutes, and a redeemed one for 180 days', async () => {
      await start();
      await client.code();
      await client.login();
      expect((await at.grants.ofUser(USER)).map(({ redeemed }) => redeemed)).to.have.members([true, false]);
      at.clock.advance(601_000);
      expect((await at.grants.ofUser(USER)).map(({ redeemed }) => redeemed)).to.deep.equal([true]);
      at.clock.advance(180 * 86_400_000);
      expect(await at.grants.ofUser(USER)).to.deep.equal([]);
    });

    it('never grants more than was asked for, whatever the page sends: 400', async () => {
      await start({ allow: ['forgejo:read', 'forgejo:write'] });
      const { url, status } = await client.browse(`/authorize?${client.query({ scope: 'forgejo:read' })}`);
      expect([status, url.origin]).to.deep.equal([400, at.base]);
      expect(await at.grants.ofUser(USER)).to.deep.equal([]);
    });

    it('tells the client that the user said no', async () => {
      await start({ allow: [] });
      const { url } = await client.browse(`/authorize?${client.query()}`);
      expect(url.searchParams.get('error')).to.equal('access_denied');
      expect(url.searchParams.get('state')).to.equal('the-state');
    });
  });

  describe('faults', () => {
    beforeEach(() => start());

    it('answers 503 temporarily_unavailable when the store fails, and the refresh token is not used up', async () => {
      const { refresh } = await client.login();
      for (const [method, kind] of [
        ['get', 'oauth-refresh'],
        ['get', 'oauth-grant'],
        ['replace', 'oauth-refresh'],
      ]) {
        at.store.failing = (called, on) => called === method && on === kind;
        const { status, body, retryAfter } = await client.refresh(refresh);
        expect([status, body.error], `${method} ${kind}`).to.deep.equal([503, 'temporarily_unavailable']);
        expect(retryAfter).to.equal('3');
      }
      at.store.failing = () => false;
      at.clock.advance(60_000);
      expect((await client.refresh(refresh)).status).to.equal(200);
      expect(at.revoked).to.deep.equal([]);
    });

    it('survives a fault between the use of a token and its successor', async () => {
      const { refresh } = await client.login();
      let replaces = 0;
      at.store.failing = (called, on) => called === 'replace' && on === 'oauth-refresh' && (replaces += 1) === 2;
      expect((await client.refresh(refresh)).status).to.equal(503);
      at.clock.advance(86_400_000);
      expect((await client.refresh(refresh)).status).to.equal(200);
    });

    it('answers 503 when the store fails at the code, and the code can be redeemed afterwards', async () => {
      const code = await client.code();
      at.store.failing = (called, on) => called === 'replace' && on === 'oauth-code';
      expect((await client.redeem(code)).status).to.equal(503);
      at.store.failing = () => false;
      expect((await client.redeem(code)).status).to.equal(200);
    });

    it('answers 503 when the store fails after the code, and the code can be redeemed afterwards all the same', async () => {
      const code = await client.code();
      at.store.failing = (called, on) => called === 'create' && on === 'oauth-refresh';
      expect((await client.redeem(code)).status).to.equal(503);
      at.store.failing = () => false;
      at.vaultFault = new AppError('STORE_UNAVAILABLE', 'The vault is out of reach.');
      expect((await client.redeem(code)).status).to.equal(503);
      at.vaultFault = undefined;
      expect((await client.redeem(code)).status).to.equal(200);
      expect((await client.redeem(code)).body.error, 'once').to.equal('invalid_grant');
    });

    it('does not bring a code back that was replayed while its first redemption failed', async () => {
      const code = await client.code();
      at.store.failing = (called, on) => called === 'create' && on === 'oauth-refresh';
      await Promise.all(Array.from({ length: 5 }, () => client.redeem(code)));
      at.store.failing = () => false;
      expect((await client.redeem(code)).body.error).to.equal('invalid_grant');
      expect(at.revoked.length).to.equal(1);
    });

    it('shows a page with 503 when the store fails at /authorize', async () => {
      at.store.failing = (_called, on) => on === 'oauth-anonymous';
      const answer = await fetch(`${at.base}/authorize?${client.query()}`, {
        redirect: 'manual',
        headers: { accept: 'text/html' },
      });
      expect(answer.status).to.equal(503);
      expect(await answer.text()).to.include('temporarily_unavailable');
      expect(answer.headers.get('content-security-policy')).to.include("frame-ancestors 'none'");
    });

    it('never answers a store fault at the resource with 401', async () => {
      const { access } = await client.login();
      at.store.failing = (_called, on) => on === 'oauth-grant';
      const who = await client.whoAmI(access);
      expect(who.status).to.equal(503);
      expect(who.challenge).to.equal(null);
    });

    it('answers 503 when it cannot tell whether a user is suspended, and uses nothing up', async () => {
      const { refresh } = await client.login();
      at.vaultFault = new AppError('STORE_UNAVAILABLE', 'The vault is out of reach.');
      const { status, body } = await client.refresh(refresh);
      expect([status, body.error]).to.deep.equal([503, 'temporarily_unavailable']);
      at.vaultFault = undefined;
      at.clock.advance(60_000);
      expect((await client.refresh(refresh)).status).to.equal(200);
    });

    it('tells a client whose user was suspended while logging in: access_denied, no code', async () => {
      at.suspended.add(accountOf(USER));
      const { url } = await client.browse(`/authorize?${client.query()}`);
      expect(url.searchParams.get('error')).to.equal('access_denied');
      expect(url.searchParams.has('code')).to.equal(false);
    });

    it('refuses a suspended user with invalid_grant, and the token works when the user is back', async () => {
      cites('2025-03-26/authorization/38');
      const { refresh } = await client.login();
      at.suspended.add(accountOf(USER));
      expect((await client.refresh(refresh)).body.error).to.equal('invalid_grant');
      at.suspended.clear();
      at.clock.advance(60_000);
      expect((await client.refresh(refresh)).status).to.equal(200);
      expect(at.revoked).to.deep.equal([]);
    });
  });

  describe('clients', () => {
    const ID = 'https://client.example/oauth/metadata.json';
    const document = {
      client_id: ID,
      client_name: 'documented',
      redirect_uris: [REDIRECT],
      application_type: 'native' as const,
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'none' as const,
    };
    beforeEach(() => start({ documents: { [ID]: document } }));

    it('knows a client by the document at its id (CIMD)', async () => {
      cites('2025-11-25/authorization/5', '2025-11-25/authorization/30');
      client.id = ID;
      const { access } = await client.login();
      expect(JSON.parse((await client.whoAmI(access)).body).client).to.equal(ID);
    });

    it('refuses a redirect URI that the document does not name: 400 [2025-11-25/authorization/33]', async () => {
      client.id = ID;
      const redirect_uri = 'https://evil.example/callback';
      const { status, url } = await client.browse(`/authorize?${client.query({ redirect_uri })}`);
      expect([status, url.origin]).to.deep.equal([400, at.base]);
    });

    it('answers 503, not invalid_client, when a document cannot be had at the moment', async () => {
      client.id = ID;
      const { refresh } = await client.login();
      at.documentFault = new AppError('CLIENT_UNAVAILABLE', 'The client cannot be looked up now.');
      const { status, body } = await client.refresh(refresh);
      expect([status, body.error]).to.deep.equal([503, 'temporarily_unavailable']);
    });

    it('never fetches a document by itself: an unknown URL is an unknown client', async () => {
      client.id = 'https://127.0.0.1/secret';
      const { status, url } = await client.browse(`/authorize?${client.query()}`);
      expect([status, url.origin]).to.deep.equal([400, at.base]);
    });

    it('registers public clients without a management token [2025-03-26/authorization/19]', async () => {
      const answer = await fetch(`${at.base}/register`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', origin: 'https://app.example' },
        body: JSON.stringify({ redirect_uris: [REDIRECT] }),
      });
      const body = (await answer.json()) as Record<string, unknown>;
      expect(answer.status).to.equal(201);
      expect(answer.headers.get('access-control-allow-origin')).to.equal('*');
      expect(body).not.to.have.any.keys('client_secret', 'registration_access_token');
    });

    it('refuses a registration that the policy refuses: 400 with its name', async () => {
      for (const [uri, error] of [
        ['http://evil.example/callback', 'invalid_redirect_uri'],
        ['javascript:alert(1)', 'invalid_redirect_uri'],
      ]) {
        const answer = await fetch(`${at.base}/register`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ redirect_uris: [uri] }),
        });
        expect(answer.status, uri).to.equal(400);
        expect(((await answer.json()) as { error: string }).error, uri).to.equal(error);
      }
    });

    it('gives a client that registers again the same id', async () => {
      cites('2025-03-26/authorization/5', '2025-06-18/authorization/5');
      expect((await new PlainClient(at.base).register()).id).to.equal(client.id);
    });

    it('answers preflights of the token, registration and revocation endpoints', async () => {
      for (const path of ['/token', '/register', '/revoke', '/oauth/jwks']) {
        const answer = await fetch(`${at.base}${path}`, {
          method: 'OPTIONS',
          headers: { origin: 'https://app.example', 'access-control-request-method': 'POST' },
        });
        expect(answer.status, path).to.equal(204);
        expect(answer.headers.get('access-control-allow-origin'), path).to.equal('*');
      }
    });
  });

  it('bounds the logins under way: 503 beyond, and room again when they expire', async () => {
    await start({ maxInteractions: 3 });
    const ask = async (): Promise<number> =>
      (await fetch(`${at.base}/authorize?${client.query()}`, { redirect: 'manual' })).status;
    const statuses = await Promise.all(Array.from({ length: 8 }, ask));
    expect(statuses.filter((status) => status === 303).length).to.equal(3);
    expect(statuses.filter((status) => status === 503).length).to.equal(5);
    expect((await at.records.interactions.find()).length).to.equal(3);
    at.clock.advance(601_000);
    expect(await ask()).to.equal(303);
  });

  it('goes on over a rotation of the signing key: old and new tokens are good, until the old key retires', async () => {
    await start();
    const { access, refresh } = await client.login();
    await at.ring.rotate();
    const renewed = (await client.refresh(refresh)).body.access_token;
    expect(decodeProtectedHeader(renewed).kid).not.to.equal(decodeProtectedHeader(access).kid);
    expect((await client.whoAmI(access)).status).to.equal(200);
    expect((await client.whoAmI(renewed)).status).to.equal(200);
    const { keys } = (await (await fetch(`${at.base}/oauth/jwks`)).json()) as { keys: Record<string, unknown>[] };
    expect(keys.length).to.equal(2);
    expect(keys.every((key) => !('d' in key))).to.equal(true);
    at.clock.advance(3_600_000);
    await at.ring.rotate();
    expect((await client.whoAmI(access)).status).to.equal(401);
  });

  it('sets Secure, HttpOnly, SameSite=Lax cookies bound to their paths behind a proxy that ends TLS', async () => {
    cites('2025-06-18/authorization/42');
    await start({ publicUrl: 'https://mcp.example' });
    const query = client.query({ resource: 'https://mcp.example/mcp' });
    const answer = await fetch(`${at.base}/authorize?${query}`, { redirect: 'manual' });
    const path = answer.headers.get('location') ?? '';
    expect(path).to.match(/^\/login\/[A-Za-z0-9_-]+$/);
    const cookies = answer.headers.getSetCookie();
    expect(cookies.map((cookie) => cookie.split('=', 1)[0])).to.have.members([
      '__Secure-fmo_login',
      '__Secure-fmo_login.sig',
      '__Secure-fmo_resume',
      '__Secure-fmo_resume.sig',
    ]);
    for (const cookie of cookies) {
      expect(cookie)
        .to.match(/; secure(;|$)/i)
        .and.match(/; httponly(;|$)/i)
        .and.match(/; samesite=lax(;|$)/i);
      expect(cookie).to.match(/; path=\/(login|authorize)\/[A-Za-z0-9_-]+(;|$)/i);
    }
    const cookie = cookies.map((line) => line.split(';', 1)[0]).join('; ');
    const finished = await fetch(new URL(path, at.base), { redirect: 'manual', headers: { cookie } });
    const resume = new URL(finished.headers.get('location') ?? '');
    expect(resume.origin).to.equal('https://mcp.example');
    const back = await fetch(new URL(resume.pathname, at.base), { redirect: 'manual', headers: { cookie } });
    const location = new URL(back.headers.get('location') ?? '');
    expect(location.searchParams.get('iss')).to.equal('https://mcp.example');
    const { body } = await client.redeem(location.searchParams.get('code') ?? '', { resource: undefined });
    expect(decodeJwt(body.access_token)).to.include({ iss: 'https://mcp.example', aud: 'https://mcp.example/mcp' });
  });

  it('keeps tokens, codes and keys out of what it reports, and of the store in the clear', async () => {
    cites('2025-06-18/authorization/39');
    await start();
    const code = await client.code();
    const { body } = await client.redeem(code);
    const { body: next } = await client.refresh(body.refresh_token);
    const later = await client.code();
    await client.redeem(later);
    at.store.failing = (method) => method === 'replace';
    await client.refresh(next.refresh_token);
    at.store.failing = () => false;
    await client.redeem(later);
    const secrets = [code, later, body.access_token, body.refresh_token, next.refresh_token, at.ring.keys[0]?.jwk.d];
    const records = [];
    for (const kind of [
      'oauth-grant',
      'oauth-code',
      'oauth-refresh',
      'oauth-anonymous',
      'oauth-keys',
      'oauth-client',
    ]) {
      for (const record of await at.store.find(kind))
        records.push(JSON.stringify(record), record.value.toString('latin1'));
    }
    expect(records.length).to.be.above(6);
    const said = [...records, ...at.replays, ...at.faults].join('\n');
    for (const secret of secrets) expect(said).not.to.include(secret);
  });

  it('follows its issuer, not the Host header, X-Forwarded-* or an absolute request target', async () => {
    await start();
    const { url } = await client.browse(`/authorize?${client.query()}`);
    expect(url.searchParams.get('iss')).to.equal(at.base);
    const { request } = await import('node:http');
    const { port } = new URL(at.base);
    const location = await new Promise<string | undefined>((resolve, reject) => {
      const req = request(
        {
          port,
          host: '127.0.0.1',
          path: `/authorize?${client.query()}`,
          headers: {
            host: 'evil.example',
            'x-forwarded-host': 'evil.example',
            'x-forwarded-proto': 'https',
            forwarded: 'host=evil.example',
          },
        },
        (res) => {
          res.resume();
          resolve(`${res.headers.location ?? ''} ${(res.headers['set-cookie'] ?? []).join(' ')}`);
        },
      );
      req.on('error', reject);
      req.end();
    });
    expect(location)
      .to.match(/^\/login\//)
      .and.not.include('evil.example');
    const absolute = await new Promise<number | undefined>((resolve, reject) => {
      const path = `http://evil.example/authorize?${client.query()}`;
      const req = request({ port, host: '127.0.0.1', path }, (res) => {
        res.resume();
        resolve(res.statusCode);
      });
      req.on('error', reject);
      req.end();
    });
    expect(absolute).to.equal(404);
  });
});
