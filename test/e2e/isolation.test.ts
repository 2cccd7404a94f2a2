import { expect } from 'chai';
import { installed, type Installed } from '../support/installed';
import { type McpClient, textOf } from '../support/mcp';
import { standIn } from '../support/stand-in';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';

/** What the issue calls 'from inside a session's pod', asked of a child that answers truthfully. */
describe('a session pod', () => {
  let app: Installed;
  let alice: McpClient;
  let bob: McpClient;

  before(async function () {
    this.timeout(600_000);
    app = await installed();
    [alice, bob] = await Promise.all([app.client('alice', 'fixture'), app.client('bob', 'fixture')]);
    await Promise.all([alice.initialize(), bob.initialize()]);
  });

  after(async () => {
    await Promise.allSettled([alice.end(), bob.end()]);
    await Promise.all([alice.close(), bob.close()]);
  });

  it('holds no token of its user in its environment, its files or /proc', async function () {
    this.timeout(120_000);
    // Both are JSON web tokens, and nothing else in a pod is: this is how the header of one begins.
    const begin = Buffer.from('{"alg":').toString('base64').slice(0, 9);
    expect(alice.token?.startsWith(begin)).to.equal(true);
    const environment = await alice.json<Record<string, string>>('env');
    expect(JSON.stringify(environment)).not.to.contain(begin);
    const found = await alice.json<{ found?: string[] } | string[]>(
      'grep',
      {
        roots: ['/proc', '/run', '/etc', '/tmp', '/dev', '/var', '/home', '/child', '/launcher'],
        needleBase64: Buffer.from(begin).toString('base64'),
      },
      { timeout: 100_000 },
    );
    const files = Array.isArray(found) ? found : (found.found ?? []);
    expect(files, 'files that hold the token').to.deep.equal([]);
  });

  it('cannot read the memory, environment or descriptors of the launcher that holds its key', async () => {
    for (const path of ['/proc/1/environ', '/proc/1/mem', '/proc/1/fd/0', '/proc/1/maps']) {
      const { answer } = await alice.call('readfile', { path, max: 64 });
      expect(answer?.error ?? answer?.result?.isError, path).to.be.ok;
    }
  });

  it('runs as an unprivileged user with no capability, no service account and a read-only root', async () => {
    const status = await alice.text('readfile', { path: '/proc/self/status' });
    expect(status).to.match(/^CapEff:\s+0+$/m);
    expect(status).to.match(/^CapBnd:\s+0+$/m);
    expect(status).to.match(/^NoNewPrivs:\s+1$/m);
    expect(status).to.match(/^Seccomp:\s+2$/m);
    const { answer } = await alice.call('writefile', { path: '/x', text: 'x' });
    expect(answer?.error ?? answer?.result?.isError, 'writing to the root').to.be.ok;
    const token = await alice.call('readfile', { path: '/var/run/secrets/kubernetes.io/serviceaccount/token' });
    expect(token.answer?.error ?? token.answer?.result?.isError, 'service account token').to.be.ok;
  });

  it('has no route to another pod, the API server, the metadata address or the Internet', async function () {
    this.timeout(120_000);
    await bob.call('listen', { port: 4444 });
    const bobPod = await app.podOf(bob);
    const metadata = await standIn('169.254.169.254', 80);
    const internet = await standIn('203.0.113.9', 443);
    try {
      expect(await metadata.reachableFromNode(), 'the stand-in for the metadata address listens').to.equal(true);
      expect(await internet.reachableFromNode(), 'the stand-in for the Internet listens').to.equal(true);
      const apiServer = (
        await app.kubectl('get', 'service', 'kubernetes', '-n', 'default', '-o', 'jsonpath={.spec.clusterIP}')
      ).trim();
      const targets = {
        'another pod': `${bobPod.ip}:4444`,
        'the API server': `${apiServer}:443`,
        'the API server on the node': `${app.nodeIp}:6443`,
        'the kubelet': `${app.nodeIp}:10250`,
        'the forge itself': `${app.forgeClusterIp}:3000`,
        "the gateway's own port": `${app.gatewayClusterIp}:8080`,
        'the metadata address': '169.254.169.254:80',
        'the Internet': '203.0.113.9:443',
      };
      for (const [name, address] of Object.entries(targets)) {
        const { outcome } = await alice.json<{ outcome: string }>('connect', { address, ms: 1500 });
        expect(outcome, name).not.to.be.oneOf(['connected', 'refused']);
      }
    } finally {
      await metadata.remove();
      await internet.remove();
    }
  });

  it('reaches the forge through the credential proxy with its capability, as its own user', async () => {
    const { FORGEJO_URL: url, FORGEJO_ACCESS_TOKEN: capability } = await alice.json<Record<string, string>>('env');
    const { status, body } = await alice.json('http', {
      url: `${url}/api/v1/user`,
      headers: { Authorization: `token ${capability}` },
    });
    expect(status).to.equal(200);
    expect(JSON.parse(body).login).to.equal('alice');
  });

  it('gets 401 with the capability of another pod, and of a session that has ended', async () => {
    const { FORGEJO_URL: url, FORGEJO_ACCESS_TOKEN: capability } = await alice.json<Record<string, string>>('env');
    const use = (who: McpClient, token: string | undefined) =>
      who.json<{ status: number }>('http', { url: `${url}/api/v1/user`, headers: { Authorization: `token ${token}` } });
    expect((await use(bob, capability)).status, "another pod's").to.equal(401);

    const brief = await app.client('alice', 'fixture');
    await brief.initialize();
    const ended = (await brief.json<Record<string, string>>('env')).FORGEJO_ACCESS_TOKEN;
    expect((await use(brief, ended)).status).to.equal(200);
    expect(await brief.end()).to.be.oneOf([200, 204]);
    await brief.close();
    expect((await use(alice, ended)).status, "an ended session's").to.equal(401);
  });

  it('leaves no readable byte of what the child said in the log files of the node', async () => {
    const secret = `sentinel-${randomBytes(12).toString('hex')}`;
    const client = await app.client('alice', 'fixture');
    await client.initialize();
    expect(await client.text('echo', { text: secret })).to.equal(secret);
    await client.text('stderr', { text: `${secret} on stderr\n`, times: 3 });
    const pod = await app.podOf(client);
    const bytes = podLogs(app, pod.name);
    expect(bytes.length, 'the node has a log of the pod').to.be.greaterThan(100);
    expect(bytes.includes(secret)).to.equal(false);
    expect(bytes.includes('jsonrpc')).to.equal(false);
    const viaApi = await app.kubectl('logs', '-n', app.sessionsNamespace, pod.name);
    expect(viaApi).not.to.contain(secret);
    await client.end();
    await client.close();
  });

  it("cannot read another user's private repository through its own session", async () => {
    const { FORGEJO_URL: url, FORGEJO_ACCESS_TOKEN: capability } = await bob.json<Record<string, string>>('env');
    const { status } = await bob.json<{ status: number }>('http', {
      url: `${url}/api/v1/repos/alice/private-notes`,
      headers: { Authorization: `token ${capability}` },
    });
    expect(status).to.equal(404);
    expect(textOf((await bob.call('echo', { text: 'still here' })).answer)).to.equal('still here');
  });
});

function podLogs(app: Installed, pod: string): Buffer {
  const folders = readdirSync(app.podLogs).filter((name) => name.includes(`_${pod}_`));
  const read = (path: string): Buffer[] =>
    statSync(path).isDirectory() ? readdirSync(path).flatMap((name) => read(join(path, name))) : [readFileSync(path)];
  return Buffer.concat(folders.flatMap((folder) => read(join(app.podLogs, folder))));
}
