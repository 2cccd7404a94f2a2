/** A real Forgejo MCP child behind the credential proxy, before a real forge: it works, and its agent is told what it may not do. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Forge, startForge } from '../support/forge';
import { childCommand, StdioServer } from '../support/peers';
import { type ProxyFixture, startProxy } from '../support/proxy';

describe('forgejo-mcp-rs behind the credential proxy', function () {
  this.timeout(1_800_000); // the first run on a machine builds it
  let forge: Forge;
  let proxy: ProxyFixture;
  let uploads: string;
  const children: StdioServer[] = [];
  const here = { owner: 'alice', repo: 'private-notes' };

  before(async () => {
    forge = await startForge();
    proxy = await startProxy({ forgejo: { apiUrl: forge.url }, token: forge.user('alice').tokens.full });
    proxy.addSession('limited', { policy: { owners: ['alice'], repositories: ['alice/private-notes'] } });
    proxy.addSession('reader', { access: 'read' });
    uploads = await mkdtemp(join(tmpdir(), 'fmo-uploads-'));
    await writeFile(join(uploads, 'asset.txt'), 'an asset');
  });
  after(async () => {
    await proxy?.close();
    await forge?.stop();
    await rm(uploads, { recursive: true, force: true });
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await child.end();
  });

  /** A child whose two tokens are two capabilities, as its own rules want it. */
  async function start(session: string): Promise<StdioServer> {
    const child = new StdioServer(await childCommand('forgejo-mcp-rs'), [], {
      FORGEJO_URL: proxy.url,
      FORGEJO_TOKEN_READ_ONLY: proxy.capability(session),
      FORGEJO_TOKEN_WRITE: proxy.capability(session),
      FORGEJO_UPLOAD_ROOT: uploads,
    });
    children.push(child);
    await child.initialize();
    await child.call('enable_write_mode');
    return child;
  }
  const told = async (child: StdioServer, name: string, args: object): Promise<string> =>
    JSON.stringify(await child.request('tools/call', { name, arguments: args }));

  it('says who it is, lists repositories, reads a private file', async () => {
    const child = await start('one');
    expect(await child.text('whoami')).to.include('"alice"');
    expect(await told(child, 'list_my_repos', {})).to.include('alice/private-notes');
    expect(await told(child, 'get_file_contents', { ...here, path: 'secret.md' })).to.include(
      forge.user('alice').secret.trim(),
    );
  });

  it('creates an issue, comments on it, makes a branch with a slash, writes a file, opens a pull request', async () => {
    const child = await start('one');
    expect(await told(child, 'create_issue', { ...here, title: 'from the child' })).to.include('from the child');
    expect(await told(child, 'comment_on_issue', { ...here, index: 1, body: 'a remark' })).to.include('a remark');
    expect(await told(child, 'create_branch', { ...here, new_branch: 'topic/one', old_ref: 'main' })).to.include(
      'topic/one',
    );
    const file = { ...here, path: 'docs/new file.md', content: 'text', message: 'write', branch: 'topic/one' };
    expect(await told(child, 'create_or_update_file', file)).to.include('docs/new file.md');
    const pull = await told(child, 'create_pull_request', {
      ...here,
      title: 'a change',
      head: 'topic/one',
      base: 'main',
    });
    expect(pull).to.include('a change');
    expect(await told(child, 'list_pull_requests', here)).to.include('a change');
  });

  it('uploads a release asset as a form', async () => {
    const child = await start('one');
    const release = JSON.parse(await child.text('create_release', { ...here, tag_name: 'v2', name: 'two' }));
    const asset = await told(child, 'upload_release_asset', {
      ...here,
      release_id: release.id,
      file_path: join(uploads, 'asset.txt'),
    });
    expect(asset, asset).to.include('asset.txt');
  });

  it('tells the agent why a push mirror, a key listing and a migration are refused', async () => {
    const child = await start('one');
    const mirror = { ...here, remote_address: 'https://evil.example/x.git', use_ssh: true };
    expect(await told(child, 'add_push_mirror', mirror)).to.include('never available to an agent');
    expect(await told(child, 'list_keys', {})).to.include('never available to an agent');
    const migration = { clone_addr: 'https://evil.example/x.git', repo_name: 'x' };
    expect(await told(child, 'migrate_repo', migration)).to.include('never available to an agent');
  });

  it('tells the agent that its policy does not cover a repository, and shows it only those it covers', async () => {
    const child = await start('limited');
    expect(await told(child, 'get_repo', { owner: 'shared', repo: 'handbook' })).to.include(
      'does not cover the repository shared/handbook',
    );
    const listed = await told(child, 'list_my_repos', {});
    expect(listed).to.include('alice/private-notes').and.not.include('shared/handbook');
    expect(await told(child, 'get_file_contents', { ...here, path: 'secret.md' })).to.include(
      'only alice may read this',
    );
    expect(await told(child, 'create_repo', { name: 'exfiltrate', private: false })).to.include('reaches beyond');
  });

  it('tells the agent that its session only reads', async () => {
    const child = await start('reader');
    expect(await told(child, 'create_issue', { ...here, title: 'x' })).to.include('may only read');
  });

  it('starts while the forge is away, and tells the agent so', async () => {
    await (await start('one')).call('version');
    await forge.kill();
    try {
      const child = await start('one');
      expect(await told(child, 'version', {})).to.include('1.26.0');
      expect(await told(child, 'whoami', {})).to.include('cannot be reached');
    } finally {
      await forge.restart();
    }
  });
});
