/** Logging in at the real forge by script: the whole code flow, and every way in which it fails. */
import { expect } from 'chai';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent } from 'undici';
import { systemClock } from '../../src/clock';
import type { AppError } from '../../src/errors';
import type { Application, Login } from '../../src/forgejo/login/contract';
import { ForgeLogin } from '../../src/forgejo/login/login';
import { type Forge, type ForgeApplication, startForge } from '../support/forge';
import { ForgeBrowser } from '../support/forge-browser';
import { freePort } from '../support/ports';

const CALLBACK = 'http://127.0.0.1:9/callback';
const READ = ['read:user', 'read:repository'];
const WRITE = ['read:user', 'write:repository', 'openid'];

describe('login at the forge', function () {
  this.timeout(60_000);
  let forge: Forge;
  let agent: Agent;
  let read: ForgeApplication;
  let write: ForgeApplication;

  const login = (
    change: {
      readonly url?: string;
      readonly apiUrl?: string;
      readonly read?: Partial<Application>;
      readonly timeoutMs?: number;
    } = {},
  ): ForgeLogin =>
    new ForgeLogin({
      url: change.url ?? forge.url,
      apiUrl: change.apiUrl ?? forge.url,
      applications: { read: { ...read, scopes: READ, ...change.read }, write: { ...write, scopes: WRITE } },
      dispatcher: agent,
      clock: systemClock,
      timeoutMs: change.timeoutMs ?? 10_000,
    });
  const browser = (name = 'alice'): ForgeBrowser => new ForgeBrowser(forge.url, forge.user(name));
  const logIn = async (by: ForgeLogin, application: 'read' | 'write' = 'read', name = 'alice'): Promise<Login> => {
    const { url, begun } = await by.begin(application, CALLBACK);
    return by.finish(begun, (await browser(name).authorize(url)).searchParams);
  };
  const failure = async (work: Promise<unknown>): Promise<AppError> => {
    try {
      await work;
    } catch (error) {
      return error as AppError;
    }
    throw new Error('it went well');
  };
  /** Everything that a log could get hold of. */
  const spilled = (error: AppError): string =>
    `${error.stack} ${error.detail} ${JSON.stringify(error)} ${String((error.cause as Error)?.stack)}`;

  before(async () => {
    agent = new Agent();
    forge = await startForge({ ini: '[oauth2]\nACCESS_TOKEN_EXPIRATION_TIME = 60' });
    read = await forge.application('gateway-read', CALLBACK);
    write = await forge.application('gateway-write', CALLBACK);
  });
  after(async () => {
    await agent.destroy();
    await forge.stop();
  });

  it('asks with PKCE S256, a state and the scopes of the application, and no nonce without openid', async () => {
    const { url, begun } = await login().begin('read', CALLBACK);
    expect(url.origin + url.pathname).to.equal(`${forge.url}/login/oauth/authorize`);
    const query = Object.fromEntries(url.searchParams);
    expect(query).to.deep.include({
      client_id: read.clientId,
      redirect_uri: CALLBACK,
      response_type: 'code',
      scope: 'read:user read:repository',
      code_challenge_method: 'S256',
      state: begun.state,
    });
    expect(query['code_challenge']).to.match(/^[A-Za-z0-9_-]{43}$/);
    expect(query).not.to.have.property('nonce');
    expect(url.href).not.to.contain(begun.verifier);
  });

  it('says who logged in, with tokens that are worth the scopes and no more', async () => {
    const found = await logIn(login());
    const { body } = await forge.api('/users/alice');
    expect(found.user).to.deep.equal({ issuer: forge.url, id: String(body.id), login: 'alice' });
    expect(found.isAdmin).to.equal(false);
    expect(found.clientId).to.equal(read.clientId);
    expect(found.tokens.lifetime).to.equal(60_000);
    expect(found.tokens.accessExpiresAt - Date.now()).to.be.within(50_000, 60_000);
    expect(found.tokens.position).to.include.keys('grant', 'counter', 'issuedAt', 'expiresAt');
    const { accessToken: as } = found.tokens;
    expect((await forge.api('/repos/alice/private-notes', { as })).status).to.equal(200);
    expect((await forge.api('/user/repos', { as, body: { name: 'forbidden' } })).status).to.equal(403);
  });

  it('checks nonce and subject where openid is asked for', async () => {
    const by = login();
    const { url, begun } = await by.begin('write', CALLBACK);
    expect(url.searchParams.get('nonce')).to.equal(begun.nonce).and.to.be.a('string');
    const { searchParams } = await browser().authorize(url);
    const foreign = await failure(by.finish({ ...begun, nonce: 'of-another-login' }, searchParams));
    expect(foreign).to.include({ code: 'FORGE_LOGIN_INVALID', status: 400 });
    expect((await logIn(by, 'write')).user.login).to.equal('alice');
  });

  it('tells a site administrator', async () => {
    const by = login();
    const { url, begun } = await by.begin('read', CALLBACK);
    const { searchParams } = await new ForgeBrowser(forge.url, forge.admin).authorize(url);
    expect(await by.finish(begun, searchParams)).to.deep.include({ isAdmin: true });
  });

  it('raises the counter with every login and every refresh', async () => {
    const by = login();
    const first = await logIn(by);
    const second = await logIn(by);
    expect(second.tokens.position!.grant).to.equal(first.tokens.position!.grant);
    expect(second.tokens.position!.counter).to.equal(first.tokens.position!.counter + 1);
    expect((await by.refresh('read', first.tokens.refreshToken)).kind).to.equal('used');
    const third = await by.refresh('read', second.tokens.refreshToken);
    if (third.kind !== 'refreshed') throw new Error(third.kind);
    expect(third.tokens.position!.counter).to.equal(second.tokens.position!.counter + 1);
    expect((await by.refresh('read', 'unreadable')).kind).to.equal('used');
  });

  it('goes on at an issuer that is configured with a trailing slash', async () => {
    expect((await logIn(login({ url: `${forge.url}/` }))).user.issuer).to.equal(forge.url);
  });

  it('sends browsers to the public URL and itself to the one for the API', async () => {
    const direct: string[] = [];
    const api = createServer((request, response) => {
      direct.push(`${request.method} ${request.url?.split('?')[0]}`);
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { 'content-type': type, authorization, accept } = request.headers;
        const headers = Object.entries({ 'content-type': type, authorization, accept }).filter((one) => one[1]);
        void fetch(`${forge.url}${request.url?.replace('/inside', '')}`, {
          method: request.method!,
          headers: headers as [string, string][],
          ...(request.method === 'POST' ? { body: Buffer.concat(chunks) } : {}),
        }).then(async (answer) => {
          response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' });
          response.end(await answer.text());
        });
      });
    }).listen(0, '127.0.0.1');
    try {
      await new Promise((resolve) => api.once('listening', resolve));
      const by = login({ apiUrl: `http://127.0.0.1:${(api.address() as AddressInfo).port}/inside` });
      const { url, begun } = await by.begin('read', CALLBACK);
      expect(url.origin).to.equal(forge.url);
      const found = await by.finish(begun, (await browser().authorize(url)).searchParams);
      expect(found.user.issuer).to.equal(forge.url);
      expect((await by.refresh('read', found.tokens.refreshToken)).kind).to.equal('refreshed');
      expect(direct).to.deep.equal([
        'GET /inside/.well-known/openid-configuration',
        'POST /inside/login/oauth/access_token',
        'GET /inside/api/v1/user',
        'POST /inside/login/oauth/access_token',
      ]);
    } finally {
      api.closeAllConnections();
      api.close();
    }
  });

  it('refuses a forge that names another public URL', async () => {
    const error = await failure(login({ url: 'http://127.0.0.1:1', apiUrl: forge.url }).begin('read', CALLBACK));
    expect(error).to.include({ code: 'CONFIG_INVALID' });
    expect(error.detail).to.contain(forge.url);
  });

  it('says 403 to somebody who presses cancel', async () => {
    const by = login();
    const { url, begun } = await by.begin('read', CALLBACK);
    const { searchParams } = await browser('bob').authorize(url, false);
    const error = await failure(by.finish(begun, searchParams));
    expect(error).to.include({ code: 'FORGE_LOGIN_DENIED', status: 403 });
  });

  it('refuses another state, another verifier and a code that was used, with 400 and without a word of them', async () => {
    const by = login();
    const { url, begun } = await by.begin('read', CALLBACK);
    const { searchParams } = await browser().authorize(url);
    const other = await by.begin('read', CALLBACK);
    const errors = [
      await failure(by.finish(other.begun, searchParams)),
      await failure(by.finish({ ...begun, verifier: other.begun.verifier }, searchParams)),
    ];
    await by.finish(begun, searchParams);
    errors.push(await failure(by.finish(begun, searchParams)));
    for (const error of errors) {
      expect(error).to.include({ code: 'FORGE_LOGIN_INVALID', status: 400 });
      for (const secret of [searchParams.get('code')!, begun.verifier, begun.state, read.clientSecret])
        expect(spilled(error)).not.to.contain(secret);
    }
  });

  it("takes a wrong secret for the gateway's own fault, at a code and at a refresh", async () => {
    const good = await logIn(login());
    const wrong = login({ read: { clientSecret: 'gto_wrong-secret' } });
    const { url, begun } = await wrong.begin('read', CALLBACK);
    const { searchParams } = await browser().authorize(url);
    const error = await failure(wrong.finish(begun, searchParams));
    expect(error).to.include({ code: 'FORGE_LOGIN_CONFIG', status: 502 });
    expect(spilled(error)).not.to.contain('gto_wrong-secret');
    const answer = await wrong.refresh('read', good.tokens.refreshToken);
    expect(answer.kind).to.equal('misconfigured');
    expect(spilled((answer as { error: AppError }).error)).not.to.contain(good.tokens.refreshToken);
    expect((await login().refresh('read', good.tokens.refreshToken)).kind).to.equal('refreshed');
  });

  it('tells a blocked account (403) from a token that is none (401)', async () => {
    const by = login();
    await forge.addUsers('carol');
    const { tokens } = await logIn(by, 'read', 'carol');
    const patch = (prohibit_login: boolean): Promise<unknown> =>
      forge.api('/admin/users/carol', { method: 'PATCH', body: { login_name: 'carol', source_id: 0, prohibit_login } });
    await patch(true);
    expect(await failure(by.account(tokens.accessToken))).to.include({ code: 'AUTH_REFUSED', status: 403 });
    expect((await by.refresh('read', tokens.refreshToken)).kind).to.equal('refreshed');
    await patch(false);
    expect((await by.account(tokens.accessToken)).user.login).to.equal('carol');
    expect(await failure(by.account('nonsense'))).to.include({ code: 'AUTH_INVALID', status: 401 });
    const narrow = await forge.token('alice', ['read:repository']);
    expect(await failure(by.account(narrow))).to.include({ code: 'AUTH_SCOPE' });
  });

  it('has no verdict while the forge is away, does not answer, or is none', async () => {
    const by = login();
    const { tokens } = await logIn(by);
    const away = login({ apiUrl: `http://127.0.0.1:${await freePort()}` });
    expect(await failure(away.begin('read', CALLBACK))).to.include({ code: 'UPSTREAM_UNREACHABLE' });
    expect(await away.refresh('read', tokens.refreshToken)).to.include({ kind: 'unreachable', reached: false });

    const hasty = login({ timeoutMs: 500 });
    await hasty.begin('read', CALLBACK);
    forge.freeze();
    try {
      const silent = await hasty.refresh('read', tokens.refreshToken);
      expect(silent).to.include({ kind: 'unreachable', reached: true });
      expect((silent as { error: AppError }).error).to.include({ code: 'UPSTREAM_TIMEOUT' });
      expect(spilled((silent as { error: AppError }).error)).not.to.contain(tokens.refreshToken);
      expect(await failure(hasty.account(tokens.accessToken))).to.include({ code: 'UPSTREAM_TIMEOUT' });
    } finally {
      forge.resume();
    }
  });
});
