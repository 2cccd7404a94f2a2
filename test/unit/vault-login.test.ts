/** Logging in at a forge that answers as no good forge would: what each answer means, and that nothing secret is in an error. */
import { expect } from 'chai';
import { MockAgent } from 'undici';
import { type Clock, systemClock } from '../../src/clock';
import { AppError } from '../../src/errors';
import type { RefreshAnswer } from '../../src/forgejo/login/contract';
import { ForgeLogin } from '../../src/forgejo/login/login';
import { checkScopes } from '../../src/forgejo/login/scopes';
import { tokensOf } from '../../src/forgejo/login/tokens';
import { FakeClock, settle } from '../support/fake-link';

const PUBLIC = 'https://forge.test/git';
const API = 'http://forge.internal:3000';
const JSON_TYPE = { headers: { 'content-type': 'application/json' } };
const SECRETS = ['gto_secret-of-read', 'old-refresh-token', 'leaked-access-token', 'leaked-refresh-token'];

const jwt = (claims: object): string => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`;

describe('vault: login at a forge that misbehaves', () => {
  let mock: MockAgent;
  let login: ForgeLogin;

  const application = (name: string): { clientId: string; clientSecret: string; scopes: string[] } => ({
    clientId: `id-of-${name}`,
    clientSecret: `gto_secret-of-${name}`,
    scopes: ['read:user'],
  });
  const make = (clock: Clock = systemClock): ForgeLogin =>
    new ForgeLogin({
      url: PUBLIC,
      apiUrl: API,
      applications: { read: application('read'), write: application('write') },
      dispatcher: mock,
      clock,
      timeoutMs: 2000,
    });
  const metadata = (change: object = {}): void => {
    mock
      .get(API)
      .intercept({ path: '/.well-known/openid-configuration' })
      .reply(
        200,
        {
          issuer: `${PUBLIC}/`,
          authorization_endpoint: `${PUBLIC}/login/oauth/authorize`,
          token_endpoint: `${PUBLIC}/login/oauth/access_token`,
          ...change,
        },
        JSON_TYPE,
      );
  };
  const token = (status: number, body: string | object, headers: object = JSON_TYPE): void => {
    mock.get(API).intercept({ path: '/login/oauth/access_token', method: 'POST' }).reply(status, body, headers);
  };
  const refresh = (): Promise<RefreshAnswer> => login.refresh('read', 'old-refresh-token');
  const quiet = (answer: RefreshAnswer): void => {
    if (!('error' in answer)) return;
    const { error } = answer;
    const all = `${error.stack} ${error.detail} ${JSON.stringify(error)} ${String((error.cause as Error)?.stack)}`;
    for (const secret of SECRETS) expect(all).not.to.contain(secret);
  };

  beforeEach(() => {
    mock = new MockAgent();
    mock.disableNetConnect();
    login = make();
  });
  afterEach(() => mock.close());

  const MEANINGS: readonly [string, number, string | object, Partial<RefreshAnswer>][] = [
    ['unauthorized_client: the token was used', 400, { error: 'unauthorized_client' }, { kind: 'used' }],
    [
      'unauthorized_client for our secret: our configuration',
      400,
      { error: 'unauthorized_client', error_description: 'invalid client secret' },
      { kind: 'misconfigured' },
    ],
    ['invalid_grant: the grant is gone', 400, { error: 'invalid_grant' }, { kind: 'dead' }],
    [
      'invalid_grant for a database that would not count: no verdict',
      400,
      { error: 'invalid_grant', error_description: 'cannot increase the grant counter' },
      { kind: 'unreachable', reached: true },
    ],
    ['invalid_client: our configuration', 400, { error: 'invalid_client' }, { kind: 'misconfigured' }],
    ['invalid_client by 401', 401, { error: 'invalid_client' }, { kind: 'misconfigured' }],
    ['invalid_request: no verdict', 400, { error: 'invalid_request' }, { kind: 'unreachable', reached: true }],
    ['500: no verdict', 500, { error: 'invalid_grant' }, { kind: 'unreachable', reached: true }],
    ['502 of a proxy: no verdict', 502, '<html>leaked-access-token', { kind: 'unreachable', reached: true }],
    ['429: no verdict', 429, {}, { kind: 'unreachable', reached: true }],
    ['404 as text: no verdict', 404, 'not here', { kind: 'unreachable', reached: true }],
    ['a redirect: no verdict', 302, '', { kind: 'unreachable', reached: true }],
    [
      '200 without a refresh token: no verdict',
      200,
      { access_token: 'leaked-access-token', token_type: 'bearer' },
      { kind: 'unreachable', reached: true },
    ],
    [
      '200 with another token type: no verdict',
      200,
      { access_token: 'leaked-access-token', refresh_token: 'leaked-refresh-token', token_type: 'mac' },
      { kind: 'unreachable', reached: true },
    ],
    [
      '200 that was cut off: no verdict',
      200,
      '{"access_token":"leaked-access-token","refresh_',
      { kind: 'unreachable', reached: true },
    ],
    ['200 of 70 KiB: no verdict', 200, `"${'x'.repeat(70_000)}"`, { kind: 'unreachable', reached: true }],
  ];
  for (const [what, status, body, meaning] of MEANINGS) {
    it(`a refresh: ${what}`, async () => {
      metadata();
      token(
        status,
        body,
        status === 401 ? { headers: { ...JSON_TYPE.headers, 'www-authenticate': 'Basic' } } : JSON_TYPE,
      );
      const answer = await refresh();
      expect(answer).to.include(meaning);
      quiet(answer);
    });
  }

  it('sends id and secret in the body, as Forgejo needs it, to the URL for the API', async () => {
    metadata();
    let sent: { body?: unknown; headers?: unknown } = {};
    mock
      .get(API)
      .intercept({ path: '/login/oauth/access_token', method: 'POST' })
      .reply(
        200,
        (request) => {
          sent = request;
          return { access_token: 'a', refresh_token: 'r', token_type: 'Bearer', expires_in: 15 };
        },
        JSON_TYPE,
      );
    expect((await refresh()).kind).to.equal('refreshed');
    expect(Object.fromEntries(new URLSearchParams(String(sent.body)))).to.deep.equal({
      grant_type: 'refresh_token',
      refresh_token: 'old-refresh-token',
      client_id: 'id-of-read',
      client_secret: 'gto_secret-of-read',
    });
    expect(JSON.stringify(sent.headers).toLowerCase()).not.to.contain('authorization');
  });

  it('knows a refresh that never left from one that may have arrived', async () => {
    metadata();
    const fail = (code: string): void => {
      mock
        .get(API)
        .intercept({ path: '/login/oauth/access_token', method: 'POST' })
        .replyWithError(Object.assign(new Error('old-refresh-token'), { code }));
    };
    for (const [code, reached] of [
      ['ECONNREFUSED', false],
      ['ENOTFOUND', false],
      ['UND_ERR_CONNECT_TIMEOUT', false],
      ['ECONNRESET', true],
      ['UND_ERR_SOCKET', true],
    ] as const) {
      fail(code);
      const answer = await refresh();
      expect(answer, code).to.include({ kind: 'unreachable', reached });
      quiet(answer);
    }
  });

  it('reads the metadata once for both applications, and again after it failed', async () => {
    mock.get(API).intercept({ path: '/.well-known/openid-configuration' }).reply(503, 'later');
    expect(await refresh()).to.include({ kind: 'unreachable', reached: false });
    metadata();
    const urls = await Promise.all([
      login.begin('read', 'https://gateway.test/callback'),
      login.begin('write', 'https://gateway.test/callback'),
    ]);
    expect(urls.map(({ url }) => url.searchParams.get('client_id'))).to.deep.equal(['id-of-read', 'id-of-write']);
    expect(urls[0].url.href).to.match(/^https:\/\/forge\.test\/git\/login\/oauth\/authorize\?/);
    mock.assertNoPendingInterceptors();
  });

  it('reads the metadata again after an hour, and goes on with the old ones while that fails', async () => {
    const clock = new FakeClock();
    login = make(clock);
    const path = async (): Promise<string> => (await login.begin('read', 'https://gateway.test/callback')).url.pathname;
    metadata();
    expect(await path()).to.equal('/git/login/oauth/authorize');
    clock.advance(3_600_000);
    mock.get(API).intercept({ path: '/.well-known/openid-configuration' }).reply(503, 'later');
    expect(await path()).to.equal('/git/login/oauth/authorize');
    await settle();
    expect(await path()).to.equal('/git/login/oauth/authorize');
    mock.assertNoPendingInterceptors();
    clock.advance(30_000);
    metadata({ authorization_endpoint: `${PUBLIC}/moved` });
    await path();
    await settle();
    expect(await path()).to.equal('/git/moved');
  });

  for (const [what, change] of [
    ['of another issuer', { issuer: 'https://evil.test' }],
    ['that sends browsers elsewhere', { authorization_endpoint: 'https://evil.test/git/login' }],
    ['that sends them to a host with a longer name', { authorization_endpoint: 'https://forge.test.evil/git/login' }],
    ['without a token endpoint', { token_endpoint: undefined }],
  ] as const) {
    it(`uses no metadata ${what}`, async () => {
      metadata(change);
      const error = await login.begin('read', 'https://gateway.test/callback').catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(AppError);
      expect((error as AppError).code).to.be.oneOf(['CONFIG_INVALID', 'UPSTREAM_INVALID']);
    });
  }

  it('sends no secret to a token endpoint elsewhere', async () => {
    metadata({ token_endpoint: 'https://evil.test/token' });
    const answer = await refresh();
    expect(answer).to.include({ kind: 'unreachable' });
    quiet(answer);
  });

  it('takes a 403 without a message of the API, and a 401 page of a proxy, for what they are', async () => {
    const user = (status: number, body: string | object): void => {
      mock.get(API).intercept({ path: '/api/v1/user' }).reply(status, body, JSON_TYPE);
    };
    const ask = (): Promise<string> =>
      login.account('leaked-access-token').then(
        () => 'ok',
        (error: AppError) => error.code,
      );
    const asked: [number, string | object, string][] = [
      [200, { id: 3, login: 'alice' }, 'ok'],
      [200, { id: '3', login: 'alice' }, 'UPSTREAM_INVALID'],
      [200, 'null', 'UPSTREAM_INVALID'],
      [401, 'no', 'AUTH_INVALID'],
      [403, '<html>blocked by the firewall', 'UPSTREAM_INVALID'],
      [403, { message: 'This account is prohibited from signing in' }, 'AUTH_REFUSED'],
      [403, { message: 'token does not have at least one of required scope(s)' }, 'AUTH_SCOPE'],
      [404, {}, 'UPSTREAM_INVALID'],
      [503, {}, 'UPSTREAM_UNREACHABLE'],
    ];
    for (const [status, body, code] of asked) {
      user(status, body);
      expect(await ask(), `${status} ${JSON.stringify(body)}`).to.equal(code);
    }
  });

  it('asks again whose login it is where that got no answer, because the code is used up', async () => {
    metadata();
    token(200, { access_token: 'a', refresh_token: 'r', token_type: 'bearer', expires_in: 15 });
    mock.get(API).intercept({ path: '/api/v1/user' }).reply(502, '');
    mock.get(API).intercept({ path: '/api/v1/user' }).reply(200, { id: 3, login: 'alice', is_admin: true }, JSON_TYPE);
    const { begun } = await login.begin('read', 'https://gateway.test/callback');
    const found = await login.finish(begun, new URLSearchParams({ code: 'c', state: begun.state }));
    expect(found).to.deep.include({ user: { issuer: PUBLIC, id: '3', login: 'alice' }, isAdmin: true });
    mock.assertNoPendingInterceptors();
  });

  it('never asks for scopes that the forge would take for full access', () => {
    const refused = [
      [],
      ['openid', 'profile'],
      ['public-only'],
      ['read:user', 'all'],
      ['read:user', 'sudo'],
      ['read:user', 'write:admin'],
      ['read:user', 'read:repo'],
      ['read:user', 'read:repository read:issue'],
      ['read:repository'],
    ];
    for (const scopes of refused)
      expect(() => checkScopes(scopes), scopes.join(' '))
        .to.throw(AppError)
        .with.property('code', 'CONFIG_INVALID');
    checkScopes(['read:user', 'read:repository', 'openid', 'public-only']);
  });

  it('refuses one application for both', () => {
    const both = { read: application('one'), write: application('one') };
    const options = { url: PUBLIC, apiUrl: API, dispatcher: mock, clock: systemClock, timeoutMs: 1000 };
    expect(() => new ForgeLogin({ ...options, applications: both })).to.throw(AppError);
  });

  it('reads position and life out of a token answer, and does without', () => {
    const answer = { access_token: 'a', token_type: 'bearer', expires_in: 15 };
    const claims = { gnt: 4, tt: 1, cnt: 7, iat: 1_700_000_000, exp: 1_702_000_000 };
    expect(tokensOf({ ...answer, refresh_token: jwt(claims) }, 1000)).to.deep.include({
      accessExpiresAt: 16_000,
      lifetime: 15_000,
      position: { grant: 4, counter: 7, issuedAt: 1_700_000_000, expiresAt: 1_702_000_000 },
    });
    for (const odd of [
      'opaque',
      'a.b.c',
      `a.${Buffer.from('null').toString('base64url')}.c`,
      jwt({ gnt: '4' }),
      jwt([]),
    ])
      expect(tokensOf({ ...answer, refresh_token: odd }, 0), odd).not.to.have.property('position');
    expect(() => tokensOf({ ...answer, refresh_token: 'with space' }, 0)).to.throw(AppError);
    expect(() => tokensOf({ ...answer, access_token: 'a\nb', refresh_token: 'r' }, 0)).to.throw(AppError);
    expect(tokensOf({ access_token: 'a', token_type: 'bearer', refresh_token: 'r' }, 0).lifetime).to.equal(300_000);
  });
});
