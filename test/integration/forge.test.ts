import { existsSync, readFileSync } from 'node:fs';

import { expect } from 'chai';

import { type Forge, startForge } from '../support/forge';

describe('the forge for tests', function () {
  this.timeout(900_000); // the first run on a machine builds it
  let forge: Forge;

  before(async () => {
    forge = await startForge();
  });
  after(() => forge.stop());

  const fileOf = (owner: string): string => `/repos/${owner}/private-notes/contents/secret.md`;
  const textOf = (body: { content: string }): string => Buffer.from(body.content, 'base64').toString();

  it('gives each user a private file of their own', async () => {
    for (const name of ['alice', 'bob']) {
      const user = forge.user(name);
      const answer = await forge.api(fileOf(name), { as: user.tokens.read });
      expect(answer.status).to.equal(200);
      expect(textOf(answer.body)).to.equal(user.secret);
    }
    expect(forge.user('alice').secret).not.to.equal(forge.user('bob').secret);
  });

  it('answers 404 for a private file of somebody else, whatever the token may do', async () => {
    const { read, write, full } = forge.user('bob').tokens;
    for (const token of [read, write, full]) {
      expect((await forge.api(fileOf('alice'), { as: token })).status).to.equal(404);
    }
  });

  it('shares a private repository of the organisation between its members, and a public one with everybody', async () => {
    for (const name of ['alice', 'bob']) {
      expect((await forge.api('/repos/shared/handbook', { as: forge.user(name).tokens.read })).status).to.equal(200);
    }
    const carol = await forge.api('/admin/users', {
      body: { username: 'carol', email: 'carol@forge.test', password: 'not-a-member-1', must_change_password: false },
    });
    expect(carol.status).to.equal(201);
    const as = { name: 'carol', password: 'not-a-member-1' };
    expect((await forge.api('/repos/shared/handbook', { as })).status).to.equal(404);
    expect((await forge.api('/repos/shared/website', { as })).status).to.equal(200);
  });

  it('answers 403 to a write with the read token and 201 with the write token', async () => {
    const body = { title: 'written by a token' };
    const { read, write } = forge.user('alice').tokens;
    expect((await forge.api('/repos/alice/private-notes/issues', { as: read, body })).status).to.equal(403);
    expect((await forge.api('/repos/alice/private-notes/issues', { as: write, body })).status).to.equal(201);
  });

  it('answers 403 to a token without the scope, and 401 to one that it does not know', async () => {
    const narrow = await forge.token('alice', ['read:user']);
    expect((await forge.api('/user', { as: narrow })).status).to.equal(200);
    expect((await forge.api(fileOf('alice'), { as: narrow })).status).to.equal(403);
    expect((await forge.api('/version', { as: '0'.repeat(40) })).status).to.equal(401);
  });

  it('adds users on demand and keeps the tokens of those who are there', async () => {
    const [alice, dave] = await forge.addUsers('alice', 'dave');
    expect(alice.tokens).to.deep.equal(forge.user('alice').tokens);
    expect((await forge.api('/user', { as: dave.tokens.full })).body.login).to.equal('dave');
    expect((await forge.api(fileOf('dave'), { as: dave.tokens.read })).status).to.equal(200);
  });

  it('keeps its data and tokens through a kill and a restart on the same port', async () => {
    const { url } = forge;
    await forge.kill();
    expect(await fetch(url).catch(() => 'refused')).to.equal('refused');
    await forge.restart();
    expect(forge.url).to.equal(url);
    expect((await forge.api(fileOf('bob'), { as: forge.user('bob').tokens.read })).status).to.equal(200);
  });

  it('answers nothing while it is frozen, and everything afterwards', async () => {
    const { url } = forge;
    forge.freeze();
    const silent = await fetch(`${url}/api/v1/version`, { signal: AbortSignal.timeout(300) }).catch(
      (error: Error) => error.name,
    );
    expect(silent).to.equal('TimeoutError');
    forge.resume();
    expect((await forge.api('/version')).status).to.equal(200);
  });

  it('leaves neither process nor data behind after stop, and takes further lines of app.ini', async () => {
    const second = await startForge({ users: ['erin'], ini: '[oauth2]\nACCESS_TOKEN_EXPIRATION_TIME = 15' });
    const { pid } = second;
    const data = /FORGE_DATA=([^\0]+)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))![1];
    expect(existsSync(data)).to.equal(true);
    expect((await second.api('/user', { as: second.user('erin').tokens.read })).status).to.equal(200);
    expect(() => second.user('alice')).to.throw('without a user alice');
    await second.stop();
    await second.stop();
    expect(existsSync(`/proc/${pid}`)).to.equal(false);
    expect(existsSync(data)).to.equal(false);
  });
});
