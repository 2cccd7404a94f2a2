/** RFC 9700, 4.8 to 4.14 and MCP 'session hijacking': stolen, forged and replayed tokens and session ids, at the whole gateway before a real forge. */
import { expect } from 'chai';
import { generateKeyPairSync } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose';
import { cites } from '../requirements';
import { attacked, type Attacked } from '../support/attacked';
import { rawGet, type RawClient, SteppedLogin } from '../support/attacker';
import { readKept } from '../support/kept';
import { McpClient } from '../support/mcp';
import { type OAuthGateway, startOAuthGateway } from '../support/oauth-gateway';
import { childCommand } from '../support/peers';
import { until } from '../support/until';

interface Tokens {
  readonly access: string;
  readonly refresh: string;
}

describe('OAuth attacks: tokens and sessions', function () {
  this.timeout(120_000);
  let site: Attacked;
  const opened: McpClient[] = [];

  before(async () => {
    site = await attacked({ refreshOverlap: '1s' });
  });

  after(async () => {
    for (const client of opened) await client.close();
    await site?.stop();
  });

  const bearer = (token: string | undefined, url = site.gateway.url): McpClient => {
    const client = new McpClient(url, token);
    opened.push(client);
    return client;
  };
  const statusOf = async (token: string | undefined, url?: string): Promise<number> =>
    (await bearer(token, url).request('initialize')).status;
  const tokens = async (user: string, client: RawClient, changes: Record<string, string> = {}): Promise<Tokens> => {
    const { body } = await client.redeem(
      await site.login(user, client).code(changes, changes['scope'] === 'forgejo:read' ? { access: 'read' } : {}),
      changes,
    );
    return { access: body.access_token as string, refresh: body.refresh_token as string };
  };

  describe('a token that is not for here', () => {
    it('of the audience of another server is refused: 401 invalid_token', async () => {
      cites('2025-06-18/authorization/29', '2025-06-18/authorization/54', '2025-06-18/authorization/33');
      const resource = `${site.base}/servers/other/mcp`;
      const { access } = await tokens('alice', await site.client('audience'), { resource });
      expect(decodeJwt(access).aud).to.equal(resource);
      const answer = await bearer(access).request('initialize');
      expect(answer.status).to.equal(401);
      expect(answer.headers['www-authenticate']).to.contain('error="invalid_token"');
    });

    it('of the forge is refused: 401, and no session id helps [2025-06-18/authorization/34]', async () => {
      const session = bearer((await tokens('alice', await site.client('forge token'))).access);
      await session.initialize();
      for (const token of [site.forge.user('alice').tokens.full, 'x', 'x'.repeat(5000)]) {
        const client = bearer(token);
        client.sessionId = session.sessionId;
        expect((await client.request('ping')).status).to.equal(401);
      }
      await session.end();
    });

    it('that was signed by another issuer with its own key, under our key id or its own, is refused: 401', async () => {
      const { access } = await tokens('alice', await site.client('issuer'));
      const { kid } = decodeProtectedHeader(access);
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const jwk = publicKey.export({ format: 'jwk' });
      const claims = decodeJwt(access);
      for (const header of [{ kid }, { kid: 'other' }, {}, { kid, jwk }, { kid, jku: 'http://127.0.0.1:9/jwks' }]) {
        const forged = await new SignJWT(claims)
          .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', ...header } as never)
          .sign(privateKey);
        expect(await statusOf(forged), JSON.stringify(header)).to.equal(401);
      }
      expect(await statusOf(access)).to.equal(200);
    });

    it('with alg none, HS256 over the public key, or another alg is refused: 401', async () => {
      cites('2025-06-18/authorization/28');
      const { access } = await tokens('alice', await site.client('alg'));
      const [head = '', payload = '', signature = ''] = access.split('.');
      const jwks = await (await fetch(`${site.base}/oauth/jwks`)).text();
      const header = (changes: object): string => {
        const changed = { ...(JSON.parse(Buffer.from(head, 'base64url').toString()) as object), ...changes };
        return Buffer.from(JSON.stringify(changed)).toString('base64url');
      };
      const keys = (JSON.parse(jwks) as { keys: object[] }).keys;
      const hmac = await new SignJWT(decodeJwt(access))
        .setProtectedHeader({ ...decodeProtectedHeader(access), alg: 'HS256' })
        .sign(Buffer.from(JSON.stringify(keys[0])));
      for (const forged of [
        `${header({ alg: 'none' })}.${payload}.`,
        `${header({ alg: 'none' })}.${payload}.${signature}`,
        `${header({ alg: 'ES384' })}.${payload}.${signature}`,
        `${header({ alg: 'RS256' })}.${payload}.${signature}`,
        `${head}.${payload}.`,
        `${head}.${payload}`,
        `${head}.${Buffer.from(JSON.stringify({ ...decodeJwt(access), sub: 'x' })).toString('base64url')}.${signature}`,
        hmac,
      ]) {
        expect(await statusOf(forged), forged.slice(0, 60)).to.equal(401);
      }
    });

    it('in the query, the body or a cookie counts for nothing: 401', async () => {
      cites('2025-03-26/authorization/21', '2025-03-26/authorization/23', '2025-03-26/authorization/20');
      const { access } = await tokens('alice', await site.client('query'));
      for (const name of ['access_token', 'token', 'bearer', 'authorization']) {
        expect(await statusOf(undefined, `${site.gateway.url}?${name}=${access}`), name).to.equal(401);
        expect((await rawGet(site.base, '/mcp', { cookie: `${name}=${access}` })).status).to.equal(401);
      }
      const { status } = await bearer(undefined).post({ jsonrpc: '2.0', id: 1, method: 'ping', access_token: access });
      expect(status).to.equal(401);
    });

    it('as a refresh token, and a refresh token as an access token, is refused', async () => {
      const client = await site.client('swapped');
      const { access, refresh } = await tokens('alice', client);
      expect((await client.refresh(access)).body.error).to.equal('invalid_grant');
      expect(await statusOf(refresh)).to.equal(401);
    });
  });

  describe('a refresh token', () => {
    it('of another client is refused, and stays good for its own: 400, then 200', async () => {
      const [victim, attacker] = [await site.client('own'), await site.client('foreign')];
      const { refresh } = await tokens('alice', victim);
      expect((await attacker.refresh(refresh)).body.error).to.equal('invalid_grant');
      expect((await victim.refresh(refresh)).status).to.equal(200);
    });

    it('gives no more scopes and no other server than were granted', async () => {
      const client = await site.client('narrow');
      const { refresh } = await tokens('alice', client, { scope: 'forgejo:read' });
      const more = await client.refresh(refresh, { scope: 'forgejo:read forgejo:write' });
      if (more.status === 200) expect(more.body.scope).to.equal('forgejo:read');
      const other = await client.refresh(refresh, { resource: `${site.base}/servers/other/mcp` });
      expect(other.status).to.equal(400);
    });

    it('that is replayed after the overlap ends the grant and its running session within seconds', async () => {
      const client = await site.client('replay');
      const { access, refresh } = await tokens('alice', client);
      const session = bearer(access);
      await session.initialize();
      const second = (await client.refresh(refresh)).body.refresh_token as string;
      const third = (await client.refresh(second)).body.refresh_token as string;
      // Asking for the first one is what a thief does; until the overlap is over it gives what it gave before.
      await until('the overlap is over', async () => (await client.refresh(refresh)).status === 400);
      await until('the session has ended', async () => (await session.request('ping')).status === 401);
      await until('its child is gone', async () => (await site.gateway.metric('forgejo_mcp_sessions')) === 0);
      expect((await client.refresh(third)).body.error).to.equal('invalid_grant');
    });
  });

  describe('a stolen session id', () => {
    let session: McpClient;
    let client: RawClient;
    before(async () => {
      client = await site.client('victim');
      session = bearer((await tokens('alice', client)).access);
      await session.initialize();
    });
    const stolen = async (token: string | undefined): Promise<number[]> => {
      const thief = bearer(token);
      thief.sessionId = session.sessionId;
      const call = await thief.request('tools/list');
      const stream = await rawGet(site.base, '/mcp', {
        accept: 'text/event-stream',
        'mcp-session-id': session.sessionId ?? '',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      });
      return [call.status, stream.status, await thief.end()];
    };

    it('with the bearer of another user gives 403, and ends nothing', async () => {
      cites(
        '2025-11-25/elicitation/20',
        '2025-11-25/elicitation/21',
        '2025-11-25/tasks/64',
        '2025-11-25/tasks/68',
        '2025-11-25/tasks/69',
        '2025-11-25/elicitation/31',
      );
      expect(await stolen((await tokens('bob', client)).access)).to.deep.equal([403, 403, 403]);
    });

    it('with the bearer of another client of the same user gives 404, and ends nothing', async () => {
      const other = await site.client('another client');
      expect(await stolen((await tokens('alice', other)).access)).to.deep.equal([404, 404, 404]);
    });

    it('without a bearer gives 401, and ends nothing', async () => {
      cites('2025-03-26/authorization/22', '2025-06-18/authorization/52');
      expect(await stolen(undefined)).to.deep.equal([401, 401, 401]);
    });

    it('is still its user’s after all that', async () => {
      expect((await session.request('tools/list')).status).to.equal(200);
      await session.end();
    });
  });

  describe('who logs in, and where', () => {
    it('a site administrator is refused after the login at the forge: no code, and none of those tokens is kept', async () => {
      const client = await site.client('admin');
      const login = new SteppedLogin(site.forge.url, site.forge.admin, client);
      const callback = await login.callback();
      const answer = await login.browser.get(callback);
      expect(answer.status).to.equal(403);
      expect(answer.next).to.equal(undefined);
      expect(answer.html).to.contain('administrator');
      const { tokenSets } = await readKept(site.gateway.dataDir);
      expect(tokenSets.map(({ user }) => user.login))
        .to.include('alice')
        .and.not.include(site.forge.admin.name);
      const end = await login.browser.get(`${site.base}/connections`);
      const page = await login.browser.get(await login.forge(end.next!));
      expect([page.status, page.next]).to.deep.equal([403, undefined]);
    });

    it("a token of another gateway's key is refused, although both have one forge and its users: 401", async () => {
      const { access } = await tokens('alice', await site.client('other gateway'));
      const other: OAuthGateway = await startOAuthGateway({
        forge: site.forge,
        settings: { servers: [{ name: 'fixture', command: [await childCommand('fixture-child')] }] },
      });
      expect(await statusOf(access, other.url)).to.equal(401);
      await other.stop();
    });
  });
});
