/** The resource server's parts: URLs, metadata, verification against attacks, live grants, challenges. */
import { createHmac, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { importJWK, SignJWT, type JWTHeaderParameters, type JWTPayload } from 'jose';
import { AppError } from '../../src/errors';
import type { AuthContext } from '../../src/auth/context';
import { makeSigningKey, publicJwk, type SigningKey } from '../../src/auth/keys/signing';
import { accountOf } from '../../src/auth/provider/grants';
import { authorizationServerMetadata, metadataAt } from '../../src/auth/provider/metadata';
import { tidyAuthorizationRequest } from '../../src/auth/provider/authorize';
import { OAuthAuthenticator } from '../../src/auth/resource/authenticator';
import { LiveGrants, type LiveGrant } from '../../src/auth/resource/live-grants';
import { resourceMetadata } from '../../src/auth/resource/metadata';
import { ResourceUrls } from '../../src/auth/resource/urls';
import { AccessTokenVerifier } from '../../src/auth/resource/verifier';
import { cites } from '../requirements';
import { FakeClock } from '../support/fake-link';
import { USER } from '../support/oauth';
import { serverSpec } from '../support/server-spec';

const BASE = 'https://mcp.example';
const urls = new ResourceUrls(BASE, (name) => ['main', 'other'].includes(name), 'main');

async function codeOf(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (thrown) {
    return thrown instanceof AppError ? thrown.code : String(thrown);
  }
  return 'none';
}

const WAYS = { registration: true, documents: true };

describe('resource URLs', () => {
  it('has one name for each server, and the default one answers to two', () => {
    expect(urls.of('main')).to.equal(`${BASE}/mcp`);
    expect(urls.of('other')).to.equal(`${BASE}/servers/other/mcp`);
    expect(urls.audiences('main')).to.deep.equal([`${BASE}/mcp`, `${BASE}/servers/main/mcp`]);
    expect(urls.audiences('other')).to.deep.equal([`${BASE}/servers/other/mcp`]);
  });

  it('understands what clients call them: slashes, host case, the bare origin [2025-06-18/authorization/21]', () => {
    for (const name of [BASE, `${BASE}/`, `${BASE}/mcp/`, 'HTTPS://MCP.example:443/mcp', `${BASE}/servers/main/mcp`]) {
      expect(urls.canonical(name), name).to.equal(`${BASE}/mcp`);
    }
  });

  it('knows nothing else', () => {
    for (const name of [
      'http://mcp.example/mcp',
      'https://mcp.example.evil.example/mcp',
      'https://evil.example/mcp',
      `${BASE}:8443/mcp`,
      `${BASE}/mcp?x=1`,
      `${BASE}/mcp#x`,
      `${BASE}/mcp//`,
      `${BASE}/MCP`,
      `${BASE}/servers/none/mcp`,
      'https://user@mcp.example/mcp',
      'mcp',
      '',
    ]) {
      expect(urls.canonical(name), name).to.equal(undefined);
    }
  });

  it('knows the URLs of the transport of 2024-11-05, which are the same resources', () => {
    for (const [path, resource] of [
      ['/sse', '/mcp'],
      ['/servers/other/sse', '/servers/other/mcp'],
    ] as const) {
      expect(urls.canonical(`${BASE}${path}`)).to.equal(`${BASE}${resource}`);
      const document = resourceMetadata(urls, `/.well-known/oauth-protected-resource${path}`);
      expect(document?.resource, 'what the client compares with the URL that it has').to.equal(`${BASE}${path}`);
    }
    expect(urls.audiences('main').join(' ')).to.not.contain('/sse');
  });

  it('refuses a public URL with a path, and a default server that is none', () => {
    expect(() => new ResourceUrls(`${BASE}/gateway`, (name) => ['main'].includes(name), 'main')).to.throw(RangeError);
    expect(() => new ResourceUrls(BASE, (name) => ['main'].includes(name), 'other')).to.throw(RangeError);
  });
});

describe('metadata documents', () => {
  it('has a protected resource document for each path, naming that path, and the default one at the root (RFC 9728)', () => {
    cites('2025-06-18/authorization/6', '2025-06-18/authorization/19', '2025-11-25/authorization/12');
    const at = (path: string): string | undefined =>
      resourceMetadata(urls, `/.well-known/oauth-protected-resource${path}`)?.resource;
    expect(at('')).to.equal(`${BASE}/mcp`);
    expect(at('/mcp')).to.equal(`${BASE}/mcp`);
    expect(at('/servers/main/mcp')).to.equal(`${BASE}/servers/main/mcp`);
    expect(at('/servers/other/mcp')).to.equal(`${BASE}/servers/other/mcp`);
    expect(at('/servers/none/mcp')).to.equal(undefined);
    expect(at('-other')).to.equal(undefined);
    expect(resourceMetadata(urls, '/mcp')).to.equal(undefined);
  });

  it('names the issuer byte by byte as the authorization server does, at every well-known form', () => {
    cites(
      '2025-06-18/authorization/10',
      '2025-06-18/authorization/11',
      '2025-06-18/authorization/8',
      '2025-11-25/authorization/8',
      '2025-03-26/authorization/15',
      '2025-03-26/authorization/16',
      '2026-07-28/authorization-authorization-server-discovery/10',
    );
    const issuer = authorizationServerMetadata(urls, WAYS).issuer;
    expect(issuer).to.equal(BASE);
    expect(resourceMetadata(urls, '/.well-known/oauth-protected-resource')?.authorization_servers).to.deep.equal([
      issuer,
    ]);
    const oauth = '/.well-known/oauth-authorization-server';
    const openid = '/.well-known/openid-configuration';
    for (const path of [
      oauth,
      openid,
      `${oauth}/mcp`,
      `${openid}/servers/other/mcp`,
      `/mcp${oauth}`,
      `/mcp${openid}`,
    ]) {
      expect(metadataAt(urls, path, WAYS), path).to.deep.equal(authorizationServerMetadata(urls, WAYS));
    }
    expect(metadataAt(urls, `${oauth}/servers/none/mcp`, WAYS)).to.equal(undefined);
  });

  it('says what MCP clients look for: S256, CIMD, registration, iss, no secrets', () => {
    cites(
      '2025-11-25/authorization/76',
      '2025-11-25/authorization/82',
      '2026-07-28/authorization/21',
      '2025-03-26/authorization/35',
    );
    expect(authorizationServerMetadata(urls, WAYS)).to.deep.include({
      code_challenge_methods_supported: ['S256'],
      client_id_metadata_document_supported: true,
      registration_endpoint: `${BASE}/register`,
      authorization_response_iss_parameter_supported: true,
      token_endpoint_auth_methods_supported: ['none'],
      scopes_supported: ['forgejo:read', 'forgejo:write'],
    });
  });

  it('has every endpoint of the authorization server behind TLS where the public URL is', () => {
    cites('2025-03-26/authorization/30', '2025-06-18/authorization/43');
    const endpoints = Object.entries(authorizationServerMetadata(urls, WAYS)).filter(([name]) =>
      /(_endpoint|_uri)$/.test(name),
    );
    expect(endpoints.map(([name]) => name)).to.include.members([
      'authorization_endpoint',
      'token_endpoint',
      'jwks_uri',
    ]);
    for (const [name, url] of endpoints) expect(url, name).to.match(/^https:\/\//);
  });
});

describe('an authorization request', () => {
  it('keeps what it must not understand in another way: twice the same parameter, and request objects', () => {
    const query = {
      client_id: ['a', 'b'],
      scope: ['forgejo:read', 'x'],
      request: 'jwt',
      request_uri: 'urn:x',
      nonce: 'n',
    };
    expect(tidyAuthorizationRequest(query, urls)).to.deep.equal({
      client_id: ['a', 'b'],
      scope: ['forgejo:read', 'x'],
      request: 'jwt',
      request_uri: 'urn:x',
      resource: `${BASE}/mcp`,
    });
  });

  it('has our scopes only, all of them where none was asked for', () => {
    const scope = (asked?: string): unknown =>
      tidyAuthorizationRequest(asked === undefined ? {} : { scope: asked }, urls).scope;
    expect(scope()).to.equal('forgejo:read forgejo:write');
    expect(scope('openid profile')).to.equal('forgejo:read forgejo:write');
    expect(scope('openid forgejo:write')).to.equal('forgejo:write');
  });

  it('keeps a resource that is not ours, to be refused', () => {
    const resource = 'https://evil.example/mcp';
    expect(tidyAuthorizationRequest({ resource }, urls).resource).to.equal(resource);
  });
});

describe('access tokens', () => {
  const clock = new FakeClock();
  const audiences = urls.audiences('main');
  let keys: SigningKey[];
  let verifier: AccessTokenVerifier;
  let resolved: number;

  beforeEach(async () => {
    keys = [await makeSigningKey(clock.wall())];
    resolved = 0;
    const find = (kid: string): ReturnType<typeof publicJwk> | undefined => {
      const key = keys.find(({ jwk }) => jwk.kid === kid);
      return key === undefined ? undefined : publicJwk(key);
    };
    verifier = new AccessTokenVerifier({
      issuer: BASE,
      clock,
      maxCached: 3,
      keys: {
        find,
        resolve: async (kid) => {
          resolved += 1;
          return find(kid);
        },
      },
    });
  });

  const seconds = (): number => Math.floor(clock.wall() / 1000);
  const claims = (): JWTPayload => ({
    iss: BASE,
    aud: `${BASE}/mcp`,
    sub: accountOf(USER),
    client_id: 'client',
    gid: 'grant',
    scope: 'forgejo:read forgejo:write',
    jti: randomBytes(8).toString('hex'),
    iat: seconds(),
    exp: seconds() + 600,
  });

  async function sign(
    changes: Record<string, unknown> = {},
    header: Partial<JWTHeaderParameters> = {},
    key = keys[0],
  ): Promise<string> {
    if (key === undefined) throw new Error('no key');
    const payload: Record<string, unknown> = { ...claims(), ...changes };
    for (const [name, value] of Object.entries(payload)) if (value === undefined) delete payload[name];
    return new SignJWT(payload)
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.jwk.kid, ...header })
      .sign(await importJWK({ ...key.jwk }, 'ES256'));
  }

  const raw = (header: object, payload: object, signature = ''): string =>
    `${[header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.${signature}`;

  async function refused(token: string, of = audiences): Promise<void> {
    expect(await codeOf(() => verifier.verify(token, of))).to.equal('AUTH_INVALID');
  }

  it('takes a good one, for both URLs of the default server', async () => {
    const found = await verifier.verify(await sign(), audiences);
    expect(found).to.deep.equal({
      account: accountOf(USER),
      grant: 'grant',
      client: 'client',
      audience: `${BASE}/mcp`,
      scopes: new Set(['forgejo:read', 'forgejo:write']),
      expiresAt: (seconds() + 600) * 1000,
    });
    await verifier.verify(await sign({ aud: `${BASE}/servers/main/mcp` }), audiences);
  });

  it('refuses alg none, with and without a signature', async () => {
    const kid = keys[0]?.jwk.kid;
    for (const alg of ['none', 'None', 'NONE', '']) {
      await refused(raw({ alg, typ: 'at+jwt', kid }, claims()));
      await refused(raw({ alg, typ: 'at+jwt', kid }, claims(), 'AAAA'));
    }
  });

  it('refuses HS256 with the public key as the secret, in every form of that key', async () => {
    const [key] = keys;
    if (key === undefined) throw new Error('no key');
    const jwk = publicJwk(key);
    const pem = createPublicKey({ key: { ...jwk }, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
    const head = raw({ alg: 'HS256', typ: 'at+jwt', kid: jwk.kid }, claims()).slice(0, -1);
    for (const secret of [pem, JSON.stringify(jwk), Buffer.from(jwk.x, 'base64url'), '']) {
      await refused(`${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`);
    }
  });

  it('refuses keys that the token brings along: jwk, jku, x5u, x5c, another kid', async () => {
    const foreign = await makeSigningKey(clock.wall());
    await refused(await sign({}, { kid: keys[0]?.jwk.kid ?? '' }, foreign));
    await refused(await sign({}, {}, foreign));
    await refused(await sign({}, { jwk: { ...publicJwk(foreign) } }, foreign));
    await refused(await sign({}, { jku: 'https://evil.example/jwks', x5u: 'https://evil.example/x' }, foreign));
    await refused(await sign({}, { kid: '../../keys' }, foreign));
    await refused(await sign({}, { kid: undefined as unknown as string }));
  });

  it('refuses another curve or algorithm under a known kid', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const header = { alg: 'ES384', typ: 'at+jwt', kid: keys[0]?.jwk.kid ?? '' };
    await refused(await new SignJWT(claims()).setProtectedHeader(header).sign(privateKey));
  });

  it('refuses another issuer, also one that differs by a slash', async () => {
    for (const iss of ['https://evil.example', `${BASE}/`, undefined, [BASE]]) await refused(await sign({ iss }));
  });

  it('refuses another audience: of another server, of nobody, or several at once', async () => {
    cites('2025-06-18/authorization/29', '2025-06-18/authorization/54');
    for (const aud of [
      `${BASE}/servers/other/mcp`,
      BASE,
      `${BASE}/mcp/`,
      undefined,
      '',
      [`${BASE}/mcp`, 'https://evil.example'],
    ]) {
      await refused(await sign({ aud }));
    }
    await refused(await sign(), urls.audiences('other'));
  });

  it('refuses another typ: an ID token, a plain JWT, none', async () => {
    for (const typ of ['JWT', 'id_token', 'dpop+jwt', 'logout+jwt', undefined]) {
      await refused(await sign({}, { typ: typ as string }));
    }
  });

  it('refuses a token that misses a claim, or has one of another type', async () => {
    for (const name of ['sub', 'exp', 'iat', 'client_id', 'gid', 'scope'])
      await refused(await sign({ [name]: undefined }));
    for (const change of [{ gid: 7 }, { client_id: ['a'] }, { scope: ['forgejo:write'] }, { exp: '9999999999' }]) {
      await refused(await sign(change));
    }
  });

  it('refuses an expired one, from its second on, also one that was good before', async () => {
    cites('2025-06-18/authorization/28', '2025-03-26/authorization/24');
    const token = await sign({ exp: seconds() + 10 });
    await verifier.verify(token, audiences);
    clock.advance(10_000);
    await refused(token);
    await refused(await sign({ exp: seconds() }));
    await refused(await sign({ nbf: seconds() + 60 }));
  });

  it('refuses what was changed after it was signed, and rubbish', async () => {
    cites('2025-06-18/authorization/28', '2025-03-26/authorization/24');
    const [head = '', body = '', signature = ''] = (await sign()).split('.');
    const wider = Buffer.from(JSON.stringify({ ...claims(), gid: 'another' })).toString('base64url');
    for (const token of [
      `${head}.${wider}.${signature}`,
      `${head}.${body}.`,
      `${head}.${body}`,
      `${head}.${body}.${signature}.x`,
      'x',
      '..',
    ]) {
      await refused(token);
    }
  });

  it('refuses critical extensions that nobody here knows', async () => {
    await refused(raw({ alg: 'ES256', typ: 'at+jwt', kid: keys[0]?.jwk.kid, crit: ['exp'], exp: 1 }, claims(), 'AAAA'));
  });

  it('remembers verified tokens, a bounded number of them, for every audience anew', async () => {
    const token = await sign();
    await verifier.verify(token, audiences);
    await verifier.verify(token, audiences);
    expect(resolved).to.equal(1);
    await refused(token, urls.audiences('other'));
    for (let count = 0; count < 10; count += 1) await verifier.verify(await sign(), audiences);
    expect(verifier.size).to.equal(3);
  });

  it('goes on with old keys after a rotation, and forgets a retired key at once', async () => {
    const old = await sign();
    await verifier.verify(old, audiences);
    keys.unshift(await makeSigningKey(clock.wall()));
    await verifier.verify(await sign(), audiences);
    await verifier.verify(old, audiences);
    keys.pop();
    await refused(old);
  });

  it('gives scopes that it knows only', async () => {
    const { scopes } = await verifier.verify(await sign({ scope: 'forgejo:read admin forgejo:sudo' }), audiences);
    expect([...scopes]).to.deep.equal(['forgejo:read']);
  });
});

describe('live grants', () => {
  const grant: LiveGrant = {
    id: 'grant',
    user: USER,
    client: { id: 'client' },
    resource: `${BASE}/mcp`,
    scopes: ['forgejo:read', 'forgejo:write'],
    policy: { owners: ['alice'], repositories: ['alice/notes'] },
  };
  let clock: FakeClock;
  let stored: LiveGrant | undefined;
  let asked: number;
  let live: LiveGrants;

  beforeEach(() => {
    clock = new FakeClock();
    stored = grant;
    asked = 0;
    live = new LiveGrants({
      clock,
      maxAge: 2000,
      max: 5,
      find: async () => {
        asked += 1;
        return stored;
      },
    });
  });

  it('asks once for a hundred requests at once, and again after two seconds', async () => {
    await Promise.all(Array.from({ length: 100 }, () => live.find('grant')));
    expect(asked).to.equal(1);
    stored = undefined;
    clock.advance(1999);
    expect(await live.find('grant')).to.equal(grant);
    clock.advance(1);
    expect(await live.find('grant')).to.equal(undefined);
  });

  it('asks at once where it must be fresh, and when it was told to forget', async () => {
    await live.find('grant');
    stored = undefined;
    expect(await live.find('grant', { fresh: true })).to.equal(undefined);
    stored = grant;
    live.forget('grant');
    expect(await live.find('grant')).to.equal(grant);
  });

  it('does not join a question that the store has sat on for two seconds', async () => {
    const answers: ((grant: LiveGrant | undefined) => void)[] = [];
    const slow = new LiveGrants({
      clock,
      maxAge: 2000,
      max: 5,
      find: () => new Promise<LiveGrant | undefined>((resolve) => void answers.push(resolve)),
    });
    const first = slow.find('grant');
    const joined = slow.find('grant');
    clock.advance(2000);
    const second = slow.find('grant');
    expect(answers.length).to.equal(2);
    answers[1]?.(undefined);
    expect(await second).to.equal(undefined);
    answers[0]?.(grant);
    expect([await first, await joined]).to.deep.equal([grant, grant]);
    expect(await slow.find('grant'), 'the newer answer stays').to.equal(undefined);
  });

  it('is bounded, and remembers no fault', async () => {
    for (let count = 0; count < 50; count += 1) await live.find(`grant ${count}`);
    expect(live.size).to.equal(5);
    const failing = new LiveGrants({
      clock,
      maxAge: 2000,
      max: 5,
      find: async () => {
        throw new AppError('STORE_UNAVAILABLE', 'out of reach');
      },
    });
    expect(await codeOf(() => failing.find('grant'))).to.equal('STORE_UNAVAILABLE');
    expect(failing.size).to.equal(0);
  });

  describe('challenges', () => {
    const both = 'scope="forgejo:read forgejo:write"';
    const document = `resource_metadata="${BASE}/.well-known/oauth-protected-resource`;
    let authenticator: OAuthAuthenticator;
    let scopes: ('forgejo:read' | 'forgejo:write')[];
    let client: string;

    beforeEach(() => {
      scopes = ['forgejo:read', 'forgejo:write'];
      client = 'client';
      authenticator = new OAuthAuthenticator({
        urls,
        liveGrant: (id, how) => live.find(id, how),
        verifier: {
          verify: async () => ({
            account: accountOf(USER),
            grant: 'grant',
            client,
            audience: `${BASE}/mcp`,
            scopes: new Set(scopes),
            expiresAt: clock.wall() + 1000,
          }),
        },
      });
    });

    async function challenge(
      authorization: string | undefined,
      name = 'main',
      path = '/mcp',
    ): Promise<[string, string | undefined]> {
      try {
        await authenticator.authenticate({ authorization, address: '192.0.2.1' }, serverSpec({ name }));
      } catch (thrown) {
        const error = thrown as AppError;
        return [`${error.status} ${error.code}`, authenticator.challenge(error, { server: name, path })];
      }
      return ['none', undefined];
    }

    it('401 without a token names metadata and both scopes, and no error', async () => {
      cites(
        '2026-07-28/authorization/49',
        '2025-06-18/authorization/12',
        '2025-11-25/authorization/12',
        '2025-03-26/authorization/10',
        '2025-11-25/authorization/14',
      );
      expect(await challenge(undefined)).to.deep.equal(['401 AUTH_MISSING', `Bearer ${document}/mcp", ${both}`]);
    });

    it('401 with a token that is no good says invalid_token', async () => {
      cites('2025-03-26/authorization/25', '2025-03-26/authorization/26', '2025-03-26/authorization/33');
      stored = undefined;
      expect(await challenge('Bearer aaa.bbb.ccc')).to.deep.equal([
        '401 AUTH_INVALID',
        `Bearer error="invalid_token", ${document}/mcp", ${both}`,
      ]);
      for (const header of ['Basic eDp5', 'Bearer', 'Bearer a b', `Bearer ${'x'.repeat(5000)}`]) {
        expect((await challenge(header))[0], header.slice(0, 10)).to.equal('401 AUTH_INVALID');
      }
    });

    it('names the metadata of the path that the client asked for', async () => {
      expect((await challenge(undefined, 'other'))[1]).to.include(`${document}/servers/other/mcp"`);
      expect((await challenge(undefined, 'main', '/servers/main/mcp'))[1]).to.include(`${document}/servers/main/mcp"`);
      expect((await challenge(undefined, 'main', '/evil"'))[1]).to.include(`${document}/mcp"`);
    });

    it('403 insufficient_scope names both scopes, so that a step-up loses none', () => {
      cites(
        '2025-03-26/authorization/33',
        '2025-11-25/authorization/60',
        '2025-11-25/authorization/61',
        '2026-07-28/authorization/53',
      );
      const error = new AppError('AUTH_SCOPE', 'somebody else threw it');
      expect(error.status).to.equal(403);
      expect(authenticator.challenge(error, { server: 'other', path: '/mcp' })).to.equal(
        `Bearer error="insufficient_scope", ${document}/servers/other/mcp", ${both}`,
      );
    });

    it('403 where nothing is left of what the token was for', async () => {
      scopes = ['forgejo:write'];
      stored = { ...grant, scopes: ['forgejo:read'] };
      expect((await challenge('Bearer a'))[0]).to.equal('403 AUTH_SCOPE');
    });

    it('refuses a token whose grant is of another user, client or server', async () => {
      for (const changed of [
        { ...grant, user: { ...USER, id: '43' } },
        { ...grant, user: { ...USER, issuer: 'https://other.example' } },
        { ...grant, client: { id: 'another' } },
        { ...grant, resource: `${BASE}/servers/other/mcp` },
      ]) {
        stored = changed;
        live.forget('grant');
        expect((await challenge('Bearer a'))[0]).to.equal('401 AUTH_INVALID');
      }
    });

    it('names the default server where a request was refused before its server was known', () => {
      const error = new AppError('AUTH_MISSING', 'Log in first.');
      expect(authenticator.challenge(error, { path: '/nowhere' })).to.equal(`Bearer ${document}/mcp", ${both}`);
    });

    it('gives the scopes that both token and grant have, all that the grant has, and its choice', async () => {
      stored = { ...grant, scopes: ['forgejo:read'] };
      const context = await authenticator.authenticate(
        { authorization: 'Bearer a', address: '192.0.2.1' },
        serverSpec({ name: 'main' }),
      );
      expect(context).to.deep.equal({
        mode: 'oauth',
        user: USER,
        grant: 'grant',
        client: 'client',
        scopes: new Set(['forgejo:read']),
        granted: new Set(['forgejo:read']),
        choice: grant.policy,
      });
      scopes = ['forgejo:read'];
      stored = grant;
      live.forget('grant');
      const narrow = await authenticator.authenticate(
        { authorization: 'Bearer a', address: '192.0.2.1' },
        serverSpec({ name: 'main' }),
      );
      expect([...narrow.scopes]).to.deep.equal(['forgejo:read']);
      expect([...(narrow.granted ?? [])]).to.deep.equal(grant.scopes);
    });

    describe('what outlasts a request', () => {
      const main = serverSpec({ name: 'main' });
      const authenticated = (): Promise<AuthContext> =>
        authenticator.authenticate({ authorization: 'Bearer a', address: '192.0.2.1' }, main);

      it('is confirmed by the store, whatever is remembered', async () => {
        const context = await authenticated();
        await authenticator.confirm(context, main);
        expect(asked, 'a read of its own').to.equal(2);
        stored = undefined;
        expect((await authenticated()).grant, 'is still remembered').to.equal('grant');
        expect(await codeOf(() => authenticator.confirm(context, main))).to.equal('AUTH_INVALID');
        expect(await codeOf(authenticated), 'what was found is remembered').to.equal('AUTH_INVALID');
      });

      it('is refused where the record is of another user, client or server', async () => {
        const context = await authenticated();
        for (const changed of [
          { ...grant, user: { ...USER, id: '43' } },
          { ...grant, client: { id: 'another' } },
          { ...grant, resource: `${BASE}/servers/other/mcp` },
        ]) {
          stored = changed;
          expect(await codeOf(() => authenticator.confirm(context, main))).to.equal('AUTH_INVALID');
        }
      });

      it('is unknown, and not refused, while the store is away', async () => {
        const away = new OAuthAuthenticator({
          urls,
          verifier: { verify: () => Promise.reject(new Error('not asked')) },
          liveGrant: () => Promise.reject(new AppError('STORE_UNAVAILABLE', 'out of reach')),
        });
        const context = await authenticated();
        expect(await codeOf(() => away.confirm(context, main))).to.equal('STORE_UNAVAILABLE');
      });
    });

    it('challenges nobody for a fault of the store', () => {
      expect(authenticator.challenge(new AppError('STORE_UNAVAILABLE', 'out of reach'), { path: '/mcp' })).to.equal(
        undefined,
      );
    });
  });
});
