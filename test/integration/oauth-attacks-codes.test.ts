/** RFC 9700, 4.4 to 4.5: mix-up, code injection, code replay and PKCE downgrade, at the whole gateway before a real forge. */
import { expect } from 'chai';
import { cites } from '../requirements';
import { attacked, type Attacked } from '../support/attacked';
import { RawClient } from '../support/attacker';
import { McpClient } from '../support/mcp';
import { until } from '../support/until';

describe('OAuth attacks: mix-up, codes and PKCE', function () {
  this.timeout(120_000);
  let site: Attacked;

  before(async () => {
    site = await attacked();
  });

  after(async () => site?.stop());

  describe('mix-up (RFC 9207)', () => {
    it('every answer names its issuer, byte for byte: a code, and each error', async () => {
      const client = await site.client('mix-up');
      const good = site.login('alice', client);
      const denied = site.login('alice', client);
      const page = await denied.begin();
      const refusal = await denied.consent(page, { decision: 'deny' });
      const answers = [
        await good.finish(await good.callback()),
        await denied.finish(refusal),
        (await site.login('alice', client).begin({ prompt: 'none' })).next,
        (await site.login('alice', client).begin({ resource: 'https://evil.example/mcp' })).next,
        (await site.login('alice', client).begin({ code_challenge: undefined })).next,
        (await site.login('alice', client).begin({ response_type: 'token' })).next,
      ];
      for (const answer of answers) {
        expect(answer?.href).to.match(/^http:\/\/127\.0\.0\.1:7777\/callback[?#]/);
        // What asks for a token in the browser is refused where it would look for one (OAuth 2.0 Multiple Response Types, 2.1).
        const told = new URLSearchParams(answer?.search || answer?.hash.slice(1));
        expect(told.get('iss'), answer?.href).to.equal(site.base);
        expect(told.get('state'), answer?.href).to.equal(client.state);
      }
      const metadata = await fetch(`${site.base}/.well-known/oauth-authorization-server`);
      expect(await metadata.json()).to.include({
        issuer: site.base,
        authorization_response_iss_parameter_supported: true,
      });
    });

    it("another server's issuer at the forge's callback is refused: no code is exchanged", async () => {
      const login = site.login('alice', await site.client('mix-up'));
      const callback = await login.callback();
      callback.searchParams.set('iss', 'https://evil.example');
      const answer = await login.browser.get(callback);
      expect(answer.status).to.equal(400);
      expect(answer.next).to.equal(undefined);
    });
  });

  describe('code injection', () => {
    it("a victim's code is worth nothing to another client, with or without its verifier: 400", async () => {
      cites('2025-03-26/authorization/34', '2025-06-18/authorization/36');
      const victim = await site.client('victim');
      const attacker = await site.client('attacker');
      const code = await site.login('alice', victim).code();
      for (const code_verifier of [attacker.verifier, victim.verifier]) {
        const { status, body } = await attacker.redeem(code, { code_verifier });
        expect([status, body.error]).to.deep.equal([400, 'invalid_grant']);
      }
    });

    it("a victim's code does not go with the verifier of the attacker's own login at the same client: 400", async () => {
      const victim = await site.client('shared');
      const attacker = new RawClient(site.base, victim.id);
      const code = await site.login('alice', victim).code();
      expect((await attacker.redeem(code)).body.error).to.equal('invalid_grant');
    });

    it('a code does not go with another redirect URI or resource than it was asked for with: 400', async () => {
      const client = await site.client('bound');
      const login = site.login('alice', client);
      const elsewhere = await client.redeem(await login.code(), { redirect_uri: 'http://127.0.0.1:7777/other' });
      expect(elsewhere.body.error).to.equal('invalid_grant');
      const code = await site.login('alice', client).code();
      const other = await client.redeem(code, { resource: `${site.base}/servers/other/mcp` });
      expect([other.status, other.body.error]).to.deep.equal([400, 'invalid_target']);
    });

    it('a code of the forge that the attacker got is worth nothing at the token endpoint: 400', async () => {
      const client = await site.client('upstream');
      const callback = await site.login('bob', client).callback();
      const { body } = await client.redeem(callback.searchParams.get('code') ?? '');
      expect(body.error).to.equal('invalid_grant');
    });

    it("the forge's code of another login does not go with the state of the own one: the verifiers differ, 400", async () => {
      const client = await site.client('injected');
      const victim = await site.login('alice', client).callback();
      const attacker = site.login('bob', client);
      const own = await attacker.callback();
      own.searchParams.set('code', victim.searchParams.get('code') ?? '');
      const answer = await attacker.browser.get(own);
      expect(answer.status).to.equal(400);
      expect(answer.html).to.not.contain('alice');
      // The way is used up: not even the right code leads on now.
      expect((await attacker.browser.get(own)).status).to.equal(400);
    });
  });

  describe('code replay', () => {
    it('a code that comes 20 times at once gives tokens once at most, and those die with their session', async () => {
      const client = await site.client('replayed');
      const code = await site.login('alice', client).code();
      const answers = await Promise.all(Array.from({ length: 20 }, () => client.redeem(code)));
      const good = answers.filter(({ status }) => status === 200);
      expect(good.length).to.be.at.most(1);
      for (const { body } of good) {
        const bearer = new McpClient(site.gateway.url, body.access_token as string);
        expect((await bearer.request('initialize')).status).to.equal(401);
        expect((await client.refresh(body.refresh_token as string)).body.error).to.equal('invalid_grant');
        await bearer.close();
      }
    });

    it('a code that is replayed later ends the running session of the tokens that it gave', async () => {
      cites('2025-06-18/authorization/36');
      const client = await site.client('replayed later');
      const code = await site.login('alice', client).code();
      const { body } = await client.redeem(code);
      const session = new McpClient(site.gateway.url, body.access_token as string);
      await session.initialize();
      expect((await client.redeem(code)).body.error).to.equal('invalid_grant');
      await until('the session has ended', async () => (await session.request('ping')).status === 401);
      await until('its child is gone', async () => (await site.gateway.metric('forgejo_mcp_sessions')) === 0);
      await session.close();
    });
  });

  describe('PKCE downgrade', () => {
    for (const [what, changes] of [
      ['without a challenge', { code_challenge: undefined, code_challenge_method: undefined }],
      ['with a method and no challenge', { code_challenge: undefined }],
      ['with plain', { code_challenge_method: 'plain' }],
      ['without a method, which would be plain', { code_challenge_method: undefined }],
      ['with a method in another case', { code_challenge_method: 's256' }],
      ['with an empty challenge', { code_challenge: '' }],
      ['with a challenge that is no digest', { code_challenge: 'short' }],
    ] as const) {
      it(`a request ${what} is refused: invalid_request at the client, no login page`, async () => {
        const client = await site.client('downgraded');
        const { next } = await site.login('alice', client).begin(changes);
        expect(next?.searchParams.get('error')).to.equal('invalid_request');
        expect(next?.searchParams.get('iss')).to.equal(site.base);
      });
    }

    it('a challenge that comes twice is refused on a page: no code', async () => {
      const client = await site.client('doubled');
      const answer = await site
        .login('alice', client)
        .browser.get(`${client.authorizeUrl().href}&code_challenge=${'a'.repeat(43)}`);
      expect(answer.next?.searchParams.get('error') ?? answer.status).to.be.oneOf(['invalid_request', 400]);
      expect(answer.next?.pathname ?? '').to.not.match(/^\/login/);
    });

    for (const [what, code_verifier] of [
      ['no verifier', undefined],
      ['an empty verifier', ''],
      ['the challenge in place of the verifier', 'challenge'],
    ] as const) {
      it(`a code with ${what} gives nothing: 400`, async () => {
        const client = await site.client('unproven');
        const code = await site.login('alice', client).code();
        const shown = code_verifier === 'challenge' ? client.challenge : code_verifier;
        const { status, body } = await client.redeem(code, { code_verifier: shown });
        expect(status).to.equal(400);
        expect(body.error).to.be.oneOf(['invalid_grant', 'invalid_request']);
      });
    }
  });

  describe('response mode', () => {
    for (const response_mode of ['fragment', 'form_post', 'web_message', 'jwt', 'QUERY']) {
      it(`“${response_mode}” is refused by query: the code never lands where the client does not look`, async () => {
        const client = await site.client('modes');
        const answer = await site.login('alice', client).begin({ response_mode });
        expect(answer.next?.searchParams.get('error')).to.equal('unsupported_response_mode');
        expect(answer.next?.hash).to.equal('');
        expect(answer.html).to.not.contain('<script');
      });
    }
  });
});
