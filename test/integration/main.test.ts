/** The program as a process: command line, exit statuses, signals, and what is left behind. */
import { expect } from 'chai';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { McpClient } from '../support/mcp';
import { childCommand } from '../support/peers';
import { freePort } from '../support/ports';
import { until } from '../support/until';

const ROOT = resolve(__dirname, '../..');
const TOKEN = '0123456789abcdef0123456789abcdef01234567';

interface Program {
  readonly process: ChildProcess;
  readonly exited: Promise<number | null>;
  readonly out: () => string;
  readonly err: () => string;
}

describe('the program', function () {
  this.timeout(120_000);
  let dir: string;
  let forge: Server;
  let forgeUrl: string;
  const running: Program[] = [];
  const clients: McpClient[] = [];

  before(async () => {
    forge = createServer((req, res) => {
      const known = req.headers.authorization === `token ${TOKEN}`;
      res.writeHead(known ? 200 : 401, { 'content-type': 'application/json' });
      res.end(
        JSON.stringify(req.url === '/api/v1/user' ? { id: 7, login: 'alice', is_admin: false } : { version: '11.0.0' }),
      );
    }).listen(0, '127.0.0.1');
    await once(forge, 'listening');
    forgeUrl = `http://127.0.0.1:${String((forge.address() as AddressInfo).port)}`;
  });
  after(() => {
    forge.closeAllConnections();
    forge.close();
  });

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'fmo-main-'));
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.close();
    for (const { process: child, exited } of running.splice(0)) {
      child.kill('SIGKILL');
      await exited;
    }
    await rm(dir, { recursive: true, force: true });
  });

  const run = (args: readonly string[], env: Record<string, string> = {}): Program => {
    const child = spawn(process.execPath, ['-r', 'ts-node/register/transpile-only', 'src/main.ts', ...args], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    const exited = once(child, 'close').then(([status]) => status as number | null);
    const program = { process: child, exited, out: () => out, err: () => err };
    running.push(program);
    return program;
  };

  /** A gateway that is ready. */
  const serve = async (settings: Record<string, unknown> = {}): Promise<Program & { url: string; ops: string }> => {
    const [port, ops] = [await freePort(), await freePort()];
    const file = join(dir, 'config.json');
    const config = {
      dataDir: join(dir, 'data'),
      auth: { mode: 'bearer' },
      http: { listen: `127.0.0.1:${String(port)}` },
      ops: { listen: `127.0.0.1:${String(ops)}` },
      ...settings,
      server: {
        ...{ command: [await childCommand('fixture-child')], forgejo: { url: forgeUrl }, stopGrace: '1s' },
        ...(settings.server as object | undefined),
      },
    };
    await writeFile(file, JSON.stringify(config));
    const program = run(['--config', file]);
    const opsUrl = `http://127.0.0.1:${String(ops)}`;
    await until(`the gateway to be ready: ${program.err()}`, async () => {
      if (program.process.exitCode !== null) throw new Error(program.err());
      return (await fetch(`${opsUrl}/readyz`)).status === 200;
    });
    return { ...program, url: `http://127.0.0.1:${String(port)}/mcp`, ops: opsUrl };
  };

  const connect = async (url: string): Promise<McpClient> => {
    const client = new McpClient(url, TOKEN);
    clients.push(client);
    await client.initialize();
    return client;
  };

  const alive = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };

  const pidOf = async (client: McpClient): Promise<number> =>
    (JSON.parse(await client.text('pid')) as { pid: number }).pid;

  it('exits with 0 after --help, --version, config schema and config docs', async () => {
    const programs = [run(['--help']), run(['--version']), run(['config', 'schema']), run(['config', 'docs'])];
    for (const program of programs) expect(await program.exited).to.equal(0);
    expect(programs[0]?.out()).to.contain('config check');
    expect(programs[1]?.out()).to.match(/^\d+\.\d+\.\d+\n$/);
    expect(JSON.parse(programs[2]?.out() ?? '')).to.have.property('properties');
    expect(programs[3]?.out()).to.match(/^# Configuration/);
  });

  it('exits with 2 for a wrong command line or configuration, and says what to do', async () => {
    const [wrong, check, start] = [run(['fly']), run(['config', 'check']), run([], { FMO_HTTP_LISTEN: 'x' })];
    expect([await wrong.exited, await check.exited, await start.exited]).to.deep.equal([2, 2, 2]);
    expect(wrong.err()).to.contain('There is no command "fly"').and.contain('--config FILE');
    expect(check.err()).to.contain('server.forgejo.url: is needed');
    expect(start.err()).to.contain('http.listen (FMO_HTTP_LISTEN): must be').and.contain('server.forgejo.url');
    expect(start.err()).to.not.contain('    at ');
    const good = run(['config', 'check'], { FMO_AUTH_MODE: 'bearer', FMO_SERVER_FORGEJO_URL: forgeUrl });
    expect(await good.exited).to.equal(0);
    expect(good.out()).to.contain('Servers: default');
  });

  it('exits with 2 when its port is taken, and leaves nothing running', async () => {
    const { port } = forge.address() as AddressInfo;
    const program = run([], {
      FMO_AUTH_MODE: 'bearer',
      FMO_SERVER_FORGEJO_URL: forgeUrl,
      FMO_DATA_DIR: join(dir, 'data'),
      FMO_HTTP_LISTEN: `127.0.0.1:${String(port)}`,
      FMO_OPS_LISTEN: '127.0.0.1:0',
    });
    expect(await program.exited).to.equal(2);
    expect(program.err()).to.contain('another program uses it');
  });

  it('answers a call in flight, ends every child and exits with 0 on SIGTERM', async () => {
    const program = await serve();
    const [one, two] = [await connect(program.url), await connect(program.url)];
    const pids = [await pidOf(one), await pidOf(two)];
    const call = one.text('slow', { ms: 1500 });
    await one.text('state'); // the call before it has reached the child
    program.process.kill('SIGTERM');
    await until('it not to be ready', async () => {
      const status = await fetch(`${program.ops}/readyz`).then(({ status: now }) => now);
      return status === 503;
    });
    expect(await call).to.be.a('string');
    expect(await program.exited).to.equal(0);
    expect(pids.map(alive)).to.deep.equal([false, false]);
    expect(program.err()).to.contain('gateway.stopped');
  });

  it('exits with 0 on SIGTERM while it still starts, behind a Kubernetes API that does not answer', async () => {
    const connections: Socket[] = [];
    const silent = createTcpServer((socket) => connections.push(socket)).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const server = `https://127.0.0.1:${String((silent.address() as AddressInfo).port)}`;
    const kubeconfig = join(dir, 'kubeconfig.json');
    const named = (value: object): object[] => [{ name: 'x', ...value }];
    await writeFile(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'x',
        clusters: named({ cluster: { server, 'insecure-skip-tls-verify': true } }),
        contexts: named({ context: { cluster: 'x', user: 'x' } }),
        users: named({ user: { token: 'token-of-the-test' } }),
      }),
    );
    try {
      const program = run([], {
        FMO_AUTH_MODE: 'bearer',
        FMO_SERVER_FORGEJO_URL: forgeUrl,
        FMO_SERVER_POD_IMAGE: 'image',
        FMO_DATA_DIR: join(dir, 'data'),
        FMO_BACKEND_KIND: 'pod',
        FMO_BACKEND_KUBECONFIG: kubeconfig,
        FMO_PROXY_LISTEN: '127.0.0.1:0',
        FMO_PROXY_URL: 'https://127.0.0.1:8443',
        FMO_HTTP_LISTEN: '127.0.0.1:0',
        FMO_OPS_LISTEN: '127.0.0.1:0',
      });
      await Promise.race([
        once(silent, 'connection'),
        program.exited.then(() => Promise.reject(new Error(program.err()))),
      ]);
      program.process.kill('SIGTERM');
      expect(await program.exited).to.equal(0);
      expect(program.err()).to.contain('gateway.stopped').and.not.contain('gateway.started');
    } finally {
      for (const socket of connections) socket.destroy();
      silent.close();
    }
  });

  it('gives a call that does not end its time, then answers it with an error and exits with 0', async () => {
    const program = await serve({ stop: { drainTimeout: '500ms' } });
    const client = await connect(program.url);
    const pid = await pidOf(client);
    const call = client.call('hang').then(
      ({ answer }) => answer?.error?.message ?? 'no error',
      (error: unknown) => `cut: ${String(error)}`,
    );
    await client.text('state');
    program.process.kill('SIGTERM');
    expect(await call).to.not.match(/^(cut|no error)/);
    expect(await program.exited).to.equal(0);
    expect(alive(pid)).to.equal(false);
  });

  it('exits with 1 at once on a second signal, and no child outlives it, not even one that is stopped', async () => {
    const program = await serve({ stop: { drainTimeout: '60s', timeout: '90s' } });
    const client = await connect(program.url);
    const pid = await pidOf(client);
    void client.call('hang').catch(() => undefined);
    await client.text('state');
    process.kill(pid, 'SIGSTOP');
    program.process.kill('SIGTERM');
    await until('it to stop', async () => program.err().includes('gateway.stopping'));
    program.process.kill('SIGINT');
    expect(await program.exited).to.equal(1);
    await until('the child to be gone', async () => !alive(pid));
  });

  it('removes the children of a run that was killed, and its sessions go on with others: 200', async () => {
    const killed = await serve();
    const client = await connect(killed.url);
    const pid = await pidOf(client);
    killed.process.kill('SIGKILL');
    await killed.exited;
    const next = await serve();
    await until('the orphan to be gone', async () => !alive(pid));
    const again = new McpClient(next.url, TOKEN);
    clients.push(again);
    again.sessionId = client.sessionId;
    expect(await again.text('echo', { text: 'x' })).to.equal('x');
    expect(await pidOf(again)).to.not.equal(pid);
  });

  it('goes on with its sessions after a stop in order, and answers 404 for those that cannot sleep', async () => {
    for (const stateful of [false, true]) {
      const stopped = await serve({ server: { stateful } });
      const client = await connect(stopped.url);
      stopped.process.kill('SIGTERM');
      expect(await stopped.exited).to.equal(0);
      const next = await serve({ server: { stateful } });
      const again = new McpClient(next.url, TOKEN);
      clients.push(again);
      again.sessionId = client.sessionId;
      const answer = await again.call('echo', { text: 'x' });
      expect(answer.status).to.equal(stateful ? 404 : 200);
      if (stateful) expect(answer.answer?.error?.code).to.equal(-32001);
      next.process.kill('SIGTERM');
      await next.exited;
    }
  });

  it('runs on when its log cannot be written', async () => {
    const program = await serve({ log: { level: 'debug' } });
    program.process.stderr?.destroy();
    const client = await connect(program.url);
    expect(await client.text('echo', { text: 'x' })).to.equal('x');
    program.process.kill('SIGTERM');
    await once(program.process, 'exit');
    expect(program.process.exitCode).to.equal(0);
  });
});
