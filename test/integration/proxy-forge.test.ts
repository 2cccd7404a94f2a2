/** The credential proxy before a real forge: what works, and every way out that is known to have worked there (docs/credential-proxy.md). */
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { cites } from '../requirements';
import { type Forge, startForge } from '../support/forge';
import { type ProxyFixture, startProxy } from '../support/proxy';

const form = (parts: string[], boundary = 'b0undary'): { body: Buffer; headers: Record<string, string> } => {
  const body = Buffer.from(
    `${parts.map((part) => `--${boundary}\r\n${part}\r\n`).join('')}--${boundary}--\r\n`,
    'latin1',
  );
  return {
    body,
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}`, 'content-length': String(body.length) },
  };
};
const FILE =
  'Content-Disposition: form-data; name="attachment"; filename="note.txt"\r\nContent-Type: text/plain\r\n\r\nhello';
const SUDO = 'Content-Disposition: form-data; name="sudo"\r\n\r\nbob';

describe('credential proxy before a real forge', function () {
  this.timeout(120_000);
  let forge: Forge;
  let proxy: ProxyFixture;
  const at = '/api/v1/repos/alice/private-notes';

  before(async () => {
    forge = await startForge();
    proxy = await startProxy({ forgejo: { apiUrl: forge.url }, token: forge.user('alice').tokens.full });
    proxy.addSession('restricted', {
      policy: { owners: ['Alice', 'shared'], repositories: ['alice/Private-Notes', 'shared/website'] },
    });
    proxy.addSession('reader', { access: 'read' });
  });
  after(async () => {
    await proxy?.close();
    await forge?.stop();
  });

  describe('ordinary work', () => {
    it('reads the user, a private file, and pages with links that lead back through the proxy', async () => {
      expect((await proxy.call('/api/v1/user')).json.login).to.equal('alice');
      const raw = await proxy.call(`${at}/raw/secret.md`);
      expect(raw.text).to.equal(forge.user('alice').secret);
      const page = await proxy.call('/api/v1/repos/search?limit=1');
      expect(page.headers['link']).to.include(`<${proxy.url}/api/v1/repos/search?`);
      expect(page.headers['link']).not.to.include(forge.url);
      expect(page.headers).not.to.have.property('set-cookie');
    });

    it('answers the version from the copy while the forge is away', async () => {
      const before = await proxy.call('/api/v1/version');
      forge.freeze();
      try {
        const during = await proxy.call('/api/v1/version');
        expect(during.status).to.equal(200);
        expect(during.json).to.deep.equal(before.json);
      } finally {
        forge.resume();
      }
    });

    it('creates and deletes a branch with a slash in its name, encoded or not', async () => {
      for (const branch of ['feature/one', 'feature%2Ftwo']) {
        const made = await proxy.call(`${at}/branches`, {
          method: 'POST',
          body: JSON.stringify({ new_branch_name: decodeURIComponent(branch) }),
        });
        expect(made.status).to.equal(201);
        expect((await proxy.call(`${at}/branches/${branch}`)).json.name).to.equal(decodeURIComponent(branch));
        expect((await proxy.call(`${at}/branches/${branch}`, { method: 'DELETE' })).status).to.equal(204);
      }
    });

    it('writes, changes and deletes a file, with a JSON body in the DELETE', async () => {
      const content = (text: string): string => Buffer.from(text).toString('base64');
      const made = await proxy.call(`${at}/contents/folder/100%25%20sure.txt`, {
        method: 'POST',
        body: JSON.stringify({ content: content('one'), message: 'make' }),
      });
      expect(made.status).to.equal(201);
      const gone = await proxy.call(`${at}/contents/folder/100%25%20sure.txt`, {
        method: 'DELETE',
        body: JSON.stringify({ sha: made.json.content.sha, message: 'remove' }),
      });
      expect(gone.status).to.equal(200);
    });

    it('lists the root folder with and without the trailing slash that some clients send', async () => {
      expect((await proxy.call(`${at}/contents`)).json).to.be.an('array');
      expect((await proxy.call(`${at}/contents/`)).json).to.be.an('array');
    });

    it('uploads an attachment and downloads it by the link in the answer', async () => {
      const issue = (await proxy.call(`${at}/issues`, { method: 'POST', body: '{"title":"with a file"}' })).json.number;
      const bytes = randomBytes(100_000);
      const boundary = 'x'.repeat(40);
      const body = Buffer.concat([
        Buffer.from(
          `--${boundary}\r\nContent-Disposition: form-data; name="attachment"; filename="d\\"ata.zip"\r\nContent-Type: application/zip\r\n\r\n`,
        ),
        bytes,
        Buffer.from(`\r\n--${boundary}--\r\n`),
      ]);
      for (const session of ['one', 'restricted']) {
        const made = await proxy.call(`${at}/issues/${issue}/assets`, {
          session,
          method: 'POST',
          body,
          headers: {
            'content-type': `multipart/form-data; boundary=${boundary}`,
            'content-length': String(body.length),
          },
        });
        expect(made.status, made.text).to.equal(201);
        expect(made.json.name).to.equal('d"ata.zip');
        const link = made.json.browser_download_url as string;
        expect(link.startsWith(`${proxy.url}/alice/private-notes/attachments/`)).to.equal(true);
        const got = await proxy.call(link.slice(proxy.url.length), { session });
        expect(got.status, got.text.slice(0, 200)).to.equal(200);
        expect(got.body.equals(bytes)).to.equal(true);
        const part = await proxy.call(link.slice(proxy.url.length), { session, headers: { range: 'bytes=10-19' } });
        expect(part.status).to.equal(206);
        expect(part.body.equals(bytes.subarray(10, 20))).to.equal(true);
      }
    });

    it('makes a release with an asset and downloads it by both of its links', async () => {
      const release = await proxy.call(`${at}/releases`, { method: 'POST', body: '{"tag_name":"v1.0","name":"one"}' });
      expect(release.status).to.equal(201);
      const made = await proxy.call(`${at}/releases/${release.json.id}/assets?name=a.bin`, {
        method: 'POST',
        body: 'binary',
        headers: { 'content-type': 'application/octet-stream' },
      });
      expect(made.status, made.text).to.equal(201);
      const link = (made.json.browser_download_url as string).slice(proxy.url.length);
      for (const path of [link, '/alice/private-notes/releases/download/v1.0/a.bin'])
        expect((await proxy.call(path)).text).to.equal('binary');
    });
  });

  describe('impersonation', () => {
    it('refuses the query parameter sudo with 400, however it is spelt', async () => {
      for (const query of [
        'sudo=bob',
        'SUDO=bob',
        '%73udo=bob',
        'a=1&su%64o=bob',
        'sudo%20=bob',
        'sudo+=bob',
        'a;sudo=bob',
        'sudo',
      ])
        expect((await proxy.call(`/api/v1/user?${query}`)).status, query).to.equal(400);
    });

    it('refuses the query parameters token and access_token with 400', async () => {
      const { full } = forge.user('bob').tokens;
      for (const key of ['token', 'access_token', 'Access_Token', 'acces%73_token'])
        expect((await proxy.call(`/api/v1/user?${key}=${full}`)).status, key).to.equal(400);
    });

    it('refuses the header Sudo with 400', async () => {
      expect((await proxy.call('/api/v1/user', { headers: { Sudo: 'bob' } })).status).to.equal(400);
    });

    it("acts as the session's user whatever reverse-proxy headers say", async () => {
      const answer = await proxy.call('/api/v1/user', {
        headers: { 'x-forwarded-user': 'bob', 'remote-user': 'bob', cookie: 'session=1', 'x-gitea-otp': '123456' },
      });
      expect(answer.json.login).to.equal('alice');
    });

    it('refuses a form field sudo before or after the file with 400, and nothing is uploaded', async () => {
      const issue = (await proxy.call(`${at}/issues`, { method: 'POST', body: '{"title":"target"}' })).json.number;
      for (const parts of [[SUDO, FILE], [FILE, SUDO], [FILE, FILE], [FILE.replace('"attachment"', '"sudo"')]]) {
        const answer = await proxy.call(`${at}/issues/${issue}/assets`, { method: 'POST', ...form(parts) });
        expect(answer.status, answer.text).to.equal(400);
      }
      expect((await proxy.call(`${at}/issues/${issue}/assets`)).json).to.deep.equal([]);
    });

    it('refuses a form where JSON is expected with 415, and an urlencoded body everywhere', async () => {
      const multipart = await proxy.call(`${at}/issues`, { method: 'POST', ...form([FILE]) });
      expect(multipart.status).to.equal(415);
      for (const path of [`${at}/issues`, '/api/v1/markdown/raw', `${at}/releases/1/assets`]) {
        const answer = await proxy.call(path, {
          method: 'POST',
          body: 'sudo=bob&title=x',
          headers: { 'content-type': 'application/x-www-form-urlencoded' },
        });
        expect(answer.status, path).to.equal(415);
      }
    });
  });

  describe('ways around the API', () => {
    it('refuses git push, git fetch and LFS with 403', async () => {
      for (const [method, path] of [
        ['GET', '/alice/private-notes.git/info/refs?service=git-receive-pack'],
        ['POST', '/alice/private-notes.git/git-receive-pack'],
        ['GET', '/alice/private-notes/info/refs?service=git-upload-pack'],
        ['POST', '/alice/private-notes.git/info/lfs/objects/batch'],
        ['GET', '/alice/private-notes'],
        ['GET', '/user/settings/applications'],
        ['POST', '/login/oauth/access_token'],
        ['GET', '/api/packages/alice/npm/x'],
        ['GET', '/v2/token'],
      ] as const)
        expect((await proxy.call(path, { method })).status, path).to.equal(403);
    });

    it('refuses the path that an HTTP client would normalise to git, byte for byte, with 400', async () => {
      for (const path of [
        '/api/v1/%2e%2e/%2e%2e/alice/private-notes.git/info/refs?service=git-receive-pack',
        '/api/v1/../../alice/private-notes.git/info/refs',
        '/api/v1/repos/alice/private-notes/raw/%2e%2e/%2E%2E/x',
        '/api/v1/repos/alice/private-notes/raw/..%2f..%2fx',
        '/api/v1//user',
        '/api/v1/user;/keys',
        '/api/v1\\user',
        '/api/v1/user%00',
        '/api/v1/user%2500',
        '/api/v1/repos/alice/private-notes/raw/%ff',
        '/api/v1/repos/alice/private-notes/raw/%252e%252e/x',
        `http://127.0.0.1:${forge.port}/api/v1/user`,
      ]) {
        const head = await proxy.raw(
          `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: token ${proxy.capability()}\r\nConnection: close\r\n\r\n`,
        );
        expect(head.slice(0, 12), path).to.equal('HTTP/1.1 400');
      }
    });

    it('refuses an encoded slash in owner, repository and numbers with 403', async () => {
      for (const path of [
        '/api/v1/repos/alice%2Fprivate-notes',
        '/api/v1/repos/alice/private-notes%2Fhooks',
        '/api/v1/repos/alice/private-notes/issues/1%2Fcomments',
        '/api/v1/repos/alice/private-notes/actions%2Frunners',
      ])
        expect((await proxy.call(path)).status, path).to.equal(403);
    });
  });

  describe('lasting credentials', () => {
    it('refuses GET and POST of runner registration tokens with 403', async () => {
      for (const base of ['/repos/alice/private-notes', '/user', '/orgs/shared', '/admin'])
        for (const method of ['GET', 'POST', 'HEAD']) {
          const answer = await proxy.call(`/api/v1${base}/actions/runners/registration-token`, { method });
          expect(answer.status, `${method} ${base}`).to.equal(403);
        }
    });

    const attempts: readonly [string, string, unknown][] = [
      ['an SSH key', '/user/keys', { title: 'k', key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHb' }],
      ['a GPG key', '/user/gpg_keys', { armored_public_key: 'x' }],
      ['an OAuth application', '/user/applications/oauth2', { name: 'x', redirect_uris: ['http://127.0.0.1/'] }],
      ['an access token', '/users/alice/tokens', { name: 'x', scopes: ['all'] }],
      ['an e-mail address', '/user/emails', { emails: ['x@forge.test'] }],
      ["a user's webhook", '/user/hooks', { type: 'gitea', config: { url: 'http://127.0.0.1/' } }],
      ["a repository's webhook", '/repos/alice/private-notes/hooks', { type: 'gitea' }],
      ["an organisation's webhook", '/orgs/shared/hooks', { type: 'gitea' }],
      ['a deploy key', '/repos/alice/private-notes/keys', { title: 'k', key: 'ssh-ed25519 AAAA' }],
      ['a push mirror', '/repos/alice/private-notes/push_mirrors', { remote_address: 'http://127.0.0.1/' }],
      ['a migration', '/repos/migrate', { clone_addr: 'http://127.0.0.1/x', repo_name: 'x' }],
      ['a transfer', '/repos/alice/private-notes/transfer', { new_owner: 'bob' }],
      ['a team', '/orgs/shared/teams', { name: 'x' }],
      ['a user, as an administrator', '/admin/users', { username: 'x' }],
    ];
    for (const [what, path, body] of attempts)
      it(`refuses to make ${what} with 403`, async () => {
        const answer = await proxy.call(`/api/v1${path}`, { method: 'POST', body: JSON.stringify(body) });
        expect(answer.status).to.equal(403);
        expect(answer.json.message).to.include('never available to an agent');
      });

    const changes: readonly [string, string][] = [
      ['PUT', '/repos/alice/private-notes/collaborators/bob'],
      ['PUT', '/repos/alice/private-notes/actions/secrets/X'],
      ['PUT', '/repos/alice/private-notes/teams/members'],
      ['PUT', '/teams/1/members/bob'],
      ['PUT', '/user/actions/secrets/X'],
      ['POST', '/orgs/shared/actions/variables/X'],
      ['PATCH', '/repos/alice/private-notes/hooks/git/update'],
      ['PATCH', '/user/applications/oauth2/1'],
    ];
    for (const [method, path] of changes)
      it(`refuses ${method} ${path} with 403`, async () => {
        expect((await proxy.call(`/api/v1${path}`, { method, body: '{}' })).status).to.equal(403);
      });
  });

  describe('whose capability', () => {
    it('answers 401 to no token, the real token, a made-up one, and basic authentication', async () => {
      for (const token of ['', forge.user('alice').tokens.full, `fmocap_${'A'.repeat(120)}`])
        expect((await proxy.call('/api/v1/user', { token })).status).to.equal(401);
      const basic = `Basic ${Buffer.from(`alice:${proxy.capability()}`).toString('base64')}`;
      expect((await proxy.call('/api/v1/user', { headers: { authorization: basic } })).status).to.equal(401);
    });

    it("answers 401 to the capability of a session's earlier child, and of a session that has ended", async () => {
      proxy.addSession('short');
      const capability = proxy.capability('short');
      expect((await proxy.call('/api/v1/user', { token: capability })).status).to.equal(200);
      proxy.addSession('short', { instance: 'process:another' });
      expect((await proxy.call('/api/v1/user', { token: capability })).status).to.equal(401);
      const current = proxy.capability('short');
      proxy.sessions.delete('short');
      expect((await proxy.call('/api/v1/user', { token: current })).status).to.equal(401);
    });

    it('answers 401 to a capability that is used from another address than its pod', async () => {
      expect(proxy.proxy.sourceState).to.equal('preserved');
      proxy.addSession('elsewhere', { ip: '10.1.2.3' });
      expect((await proxy.call('/api/v1/user', { session: 'elsewhere' })).status).to.equal(401);
    });
  });

  describe('owners and repositories', () => {
    const restricted = (path: string, call = {}) => proxy.call(path, { session: 'restricted', ...call });

    it('covers a repository in any case of its name, and refuses another with 403 and an explanation', async () => {
      expect((await restricted('/api/v1/repos/ALICE/private-NOTES')).status).to.equal(200);
      const answer = await restricted('/api/v1/repos/shared/handbook');
      expect(answer.status).to.equal(403);
      expect(answer.json.message).to.include('does not cover the repository shared/handbook');
    });

    it('answers alike for a repository that does not exist and one that it does not cover', async () => {
      const one = (await restricted('/api/v1/repos/shared/handbook')).text;
      const other = (await restricted('/api/v1/repos/shared/nothing-here')).text;
      expect(other).to.equal(one.replaceAll('handbook', 'nothing-here'));
    });

    it('filters listings to what it covers, and counts and pages what is left', async () => {
      const mine = await restricted('/api/v1/user/repos');
      expect(mine.json.map((repository: any) => repository.full_name)).to.have.members([
        'alice/private-notes',
        'shared/website',
      ]);
      expect(mine.headers['x-total-count']).to.equal('2');
      const second = await restricted('/api/v1/user/repos?page=2&limit=1');
      expect(second.json).to.have.length(1);
      const first = await restricted('/api/v1/user/repos?limit=1');
      expect(first.headers['link']).to.equal(`<${proxy.url}/api/v1/user/repos?page=2&limit=1>; rel="next"`);
      expect(first.json[0].full_name).not.to.equal(second.json[0].full_name);
      const search = await restricted('/api/v1/repos/search');
      expect(search.json.data.map((repository: any) => repository.full_name)).to.have.members([
        'alice/private-notes',
        'shared/website',
      ]);
      const issues = await restricted('/api/v1/repos/issues/search?type=issues');
      const found = new Set(issues.json.map((issue: any) => issue.repository.full_name));
      expect([...found]).to.have.members(['alice/private-notes', 'shared/website']);
      expect((await proxy.call('/api/v1/repos/issues/search?type=issues')).text).to.include('shared/handbook');
    });

    it('refuses a repository by number with 403 unless it is covered', async () => {
      const id = async (name: string): Promise<number> => (await proxy.call(`/api/v1/repos/${name}`)).json.id;
      expect((await restricted(`/api/v1/repositories/${await id('shared/handbook')}`)).status).to.equal(403);
      expect((await restricted(`/api/v1/repositories/${await id('shared/website')}`)).status).to.equal(200);
    });

    it('refuses what leads out of a covered repository with 403: forks, comparisons, pull requests and relations', async () => {
      const website = '/api/v1/repos/shared/website';
      const body = (value: unknown) => ({ method: 'POST', body: JSON.stringify(value) });
      expect((await restricted(`${website}/forks`, body({ organization: 'elsewhere' }))).status).to.equal(403);
      expect((await restricted(`${website}/compare/main...bob:main`)).status).to.equal(403);
      expect((await restricted(`${website}/compare/main...shared%2Fhandbook:main`)).status).to.equal(403);
      for (const head of ['bob:main', 'shared/handbook:main'])
        for (const key of ['head', 'HEAD', 'Head'])
          expect(
            (await restricted(`${website}/pulls`, body({ [key]: head, base: 'main', title: 'x' }))).status,
            head,
          ).to.equal(403);
      const other = { index: 1, owner: 'shared', repo: 'handbook' };
      for (const relation of ['dependencies', 'blocks'])
        expect((await restricted(`${website}/issues/1/${relation}`, body(other))).status).to.equal(403);
      const settings = { method: 'PATCH', body: '{"private":false}' };
      expect((await restricted('/api/v1/repos/alice/private-notes', settings)).status).to.equal(403);
      for (const path of ['/user/repos', '/orgs/shared/repos'])
        expect((await restricted(`/api/v1${path}`, body({ name: 'new' }))).status, path).to.equal(403);
    });

    it('hides an issue of another repository that a timeline quotes', async () => {
      const text = 'see shared/website#1';
      await proxy.call('/api/v1/repos/shared/handbook/issues', {
        method: 'POST',
        body: JSON.stringify({ title: 'chapter nine', body: text }),
      });
      const path = '/api/v1/repos/shared/website/issues/1/timeline';
      expect((await proxy.call(path)).text).to.include('chapter nine');
      expect((await restricted(path)).text).not.to.include('chapter nine');
    });

    it('fetches an attachment only by the link that the session itself got', async () => {
      const made = await proxy.call('/api/v1/repos/shared/handbook/issues/1/assets', {
        method: 'POST',
        ...form([FILE]),
      });
      const uuid = made.json.uuid as string;
      expect((await restricted(`/attachments/${uuid}`)).status).to.equal(403);
      expect((await restricted(`/shared/website/attachments/${uuid}`)).status).to.equal(403);
      const link = (made.json.browser_download_url as string).slice(proxy.url.length);
      expect((await restricted(link)).status).to.equal(403);
      expect((await restricted(link.replace('handbook', 'website'))).status).to.equal(403);
      expect((await proxy.call(link)).text).to.equal('hello');
      expect((await proxy.call(`/attachments/${uuid}`)).text).to.equal('hello');
    });

    it('follows a renamed repository where its new name is covered, and refuses with 403 where it is not', async () => {
      const make = (name: string) =>
        proxy.call('/api/v1/user/repos', {
          method: 'POST',
          body: JSON.stringify({ name, auto_init: true, private: true }),
        });
      const rename = (from: string, to: string) =>
        proxy.call(`/api/v1/repos/alice/${from}`, { method: 'PATCH', body: JSON.stringify({ name: to }) });
      for (const name of ['moved-in', 'moved-out']) expect((await make(name)).status).to.equal(201);
      expect((await rename('moved-in', 'kept')).status).to.equal(200);
      expect((await rename('moved-out', 'hidden')).status).to.equal(200);
      proxy.addSession('renamed', {
        policy: { owners: ['alice'], repositories: ['alice/moved-in', 'alice/kept', 'alice/moved-out'] },
      });
      const kept = await proxy.call('/api/v1/repos/alice/moved-in', { session: 'renamed' });
      expect(kept.json.full_name).to.equal('alice/kept');
      const out = await proxy.call('/api/v1/repos/alice/moved-out', { session: 'renamed' });
      expect(out.status).to.equal(403);
      expect(out.text).to.include('alice/hidden');
    });
  });

  describe('reading only', () => {
    it('reads, renders markdown with a POST, and refuses to write with 403 and an explanation', async () => {
      cites('2025-03-26/tools/5', '2024-11-05/tools/5');
      expect((await proxy.call(at, { session: 'reader' })).status).to.equal(200);
      const rendered = await proxy.call('/api/v1/markdown', {
        session: 'reader',
        method: 'POST',
        body: '{"Text":"*x*","Mode":"markdown"}',
      });
      expect(rendered.status, rendered.text).to.equal(200);
      expect(rendered.text).to.include('<em>x</em>');
      const refused = await proxy.call(`${at}/issues`, { session: 'reader', method: 'POST', body: '{"title":"x"}' });
      expect(refused.status).to.equal(403);
      expect(refused.json.message).to.include('may only read');
    });
  });

  it('answers 401 with an explanation and asks for the token again when the forge refuses it', async () => {
    const before = proxy.tokens;
    proxy.tokens = () => Promise.resolve('0'.repeat(40));
    try {
      const answer = await proxy.call('/api/v1/user');
      expect(answer.status).to.equal(401);
      expect(answer.json.message).to.include('connect again');
      expect(proxy.refused).to.include('grant-one');
    } finally {
      proxy.tokens = before;
    }
  });

  // Last, when all the others have written theirs.
  describe('the log', () => {
    it('writes neither tokens, capabilities, queries nor addresses to the log', () => {
      const log = proxy.log.join('\n');
      for (const secret of [
        forge.user('alice').tokens.full,
        'fmocap_',
        'fmo_proof',
        'sudo',
        'service=git',
        '127.0.0.1',
      ])
        expect(log.includes(secret), secret.slice(0, 8)).to.equal(false);
    });
  });
});
