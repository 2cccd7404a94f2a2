/** The process driver with real children. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ProcessBackend } from '../../src/backends/process/driver';
import { identify } from '../../src/backends/process/identity';
import { backendContract, never, refusal, specOf } from '../contract/backend';
import { LinkClient } from '../support/link-client';
import { serverSpec } from '../support/server-spec';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

const root = join(__dirname, '..', '..');
const directory = mkdtempSync(join(tmpdir(), 'fmo-process-'));
let child = '';

/** Processes that run the fixture, wherever they are: only this test's, because the program is a copy of its own. */
function running(): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const [program] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const alive = identify(Number(pid)) !== undefined;
      if (alive && program === child) found.push(pid);
    } catch {
      // It went away while we looked.
    }
  }
  return found;
}

before(function () {
  this.timeout(300_000);
  const folder = execFileSync(join(root, 'test/peers/get.sh'), ['fixture-child'], { encoding: 'utf8' }).trim();
  child = join(directory, 'fixture-child');
  execFileSync('cp', [join(folder, 'fixture-child'), child]);
});
after(() => rmSync(directory, { recursive: true, force: true }));

const runs = join(directory, 'run');
const backend = (): ProcessBackend => new ProcessBackend({ runDirectory: runs, log: keptLog() });

/** A gateway of its own that opens a child and is killed. */
async function abandon(): Promise<void> {
  const script = join(directory, 'gateway.ts');
  writeFileSync(
    script,
    `import { ProcessBackend } from '${root}/src/backends/process/driver';
     import { keptLog } from '${root}/test/support/silent-log';
     import { serverSpec } from '${root}/test/support/server-spec';
     import { specOf, never } from '${root}/test/contract/backend';
     void new ProcessBackend({ runDirectory: ${JSON.stringify(runs)}, log: keptLog() })
       .open(specOf(serverSpec({ command: [${JSON.stringify(child)}], env: { FIXTURE_START: 'ignore-eof' } })), never())
       .then(() => process.stdout.write('open'));
     setInterval(() => undefined, 1000);`,
  );
  const gateway = spawn(process.execPath, ['-r', 'ts-node/register/transpile-only', script], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => gateway.stdout.once('data', resolve));
  gateway.kill('SIGKILL');
  await new Promise((resolve) => gateway.once('exit', resolve));
  expect(running()).to.have.length(1);
}

backendContract('process', async () => ({
  backend,
  server: (changes = {}) => serverSpec({ command: [child], ...changes }),
  leftovers: async () => running(),
  abandon,
  many: 20,
}));

describe('process driver', () => {
  const server = (changes: Parameters<typeof serverSpec>[0] = {}): ReturnType<typeof serverSpec> =>
    serverSpec({ command: [child], ...changes });

  it('gives each child a process group of its own', async () => {
    const driver = backend();
    const client = new LinkClient(await driver.open(specOf(server()), never()));
    const told = JSON.parse(await client.text('pid')) as { pid: number; pgid: number; cwd: string };
    expect(told.pgid).to.equal(told.pid);
    expect(told.cwd).to.equal('/');
    await driver.stop();
  });

  it('takes along what is left of the group when the child itself dies', async () => {
    const driver = backend();
    const client = new LinkClient(await driver.open(specOf(server()), never()));
    const left = Number(await client.text('orphan', { ms: 600_000 }));
    expect(identify(left)).to.not.equal(undefined);
    await client.send('crash', { signal: 9 });
    await client.link.exited;
    await until('the descendant is gone', async () => identify(left) === undefined);
    await driver.stop();
  });

  it('tells the end although a descendant that left the group holds the output open', async () => {
    const driver = backend();
    const client = new LinkClient(await driver.open(specOf(server()), never()));
    const left = Number(await client.text('orphan', { ms: 600_000, session: true }));
    await client.send('exit', { code: 4 });
    expect(await client.link.exited).to.deep.include({ reason: 'exited', code: 4 });
    process.kill(left, 'SIGKILL');
    await driver.stop();
  });

  it('keeps what a child said that had ended before anybody listened, and tells its end afterwards', async () => {
    const driver = backend();
    const link = await driver.open(
      specOf(server({ command: ['sh', '-c', 'echo early; echo diagnosis >&2; exit 5'] })),
      never(),
    );
    const [record] = readdirSync(runs);
    await until('the child has ended', async () => identify(Number.parseInt(record ?? '', 10)) === undefined);
    const heard: string[] = [];
    link.onStderr((bytes) => heard.push(bytes.toString()));
    link.onData((bytes) => heard.push(bytes.toString()));
    expect(await link.exited).to.deep.equal({ reason: 'exited', code: 5 });
    expect(heard.sort()).to.deep.equal(['diagnosis\n', 'early\n']);
    await driver.stop();
  });

  it('stops reading a child that says too much before anybody listens, and loses nothing', async () => {
    const driver = backend();
    const link = await driver.open(specOf(server({ command: ['head', '-c', '3000000', '/dev/zero'] })), never());
    await new Promise((resolve) => setTimeout(resolve, 300));
    let size = 0;
    link.onData((bytes) => (size += bytes.length));
    expect((await link.exited).reason).to.equal('exited');
    expect(size).to.equal(3_000_000);
    await driver.stop();
  });

  it('closes a link that nobody ever listened to', async () => {
    const driver = backend();
    const link = await driver.open(specOf(server({ command: ['sh', '-c', 'echo early; exec cat'] })), never());
    await link.close();
    expect(await link.exited).to.deep.equal({ reason: 'closed', code: 0 });
    const ended = await driver.open(specOf(server({ command: ['sh', '-c', 'echo early'] })), never());
    const [record] = readdirSync(runs);
    await until('the child has ended', async () => identify(Number.parseInt(record ?? '', 10)) === undefined);
    await ended.close();
    expect((await ended.exited).code).to.equal(0);
    await driver.stop();
  });

  it('finds a program by name on the PATH, and says what to do when it is not there', async () => {
    const driver = backend();
    const link = await driver.open(specOf(server({ command: ['cat'] })), never());
    const bytes = new Promise<Buffer>((resolve) => link.onData(resolve));
    await link.write(Buffer.from('hello\n'));
    expect((await bytes).toString()).to.equal('hello\n');
    const error = await refusal(driver.open(specOf(server({ command: ['no-such-program'] })), never()));
    expect(error.code).to.equal('BACKEND_CRASHED');
    expect(error.message).to.match(/install it/);
    await driver.stop();
  });

  it('answers BACKEND_CRASHED for a file that may not be executed and for a script without its interpreter', async () => {
    const driver = backend();
    const text = join(directory, 'text');
    writeFileSync(text, 'no program', { mode: 0o644 });
    const denied = await refusal(driver.open(specOf(server({ command: [text] })), never()));
    expect([denied.code, denied.detail]).to.deep.equal(['BACKEND_CRASHED', `${text}: EACCES`]);
    const script = join(directory, 'script');
    writeFileSync(script, '#!/no/such/interpreter\n', { mode: 0o755 });
    const broken = await refusal(driver.open(specOf(server({ command: [script] })), never()));
    expect(broken.code).to.equal('BACKEND_CRASHED');
    expect(broken.message).to.match(/interpreter/);
    await driver.stop();
  });

  it('never kills a process that has the number of a former child', async () => {
    const stranger = spawn('sleep', ['600'], { detached: true });
    const gone = { pid: 999_999_999, started: 'never' };
    writeFileSync(
      join(runs, `${stranger.pid}.json`),
      JSON.stringify({ child: { pid: stranger.pid, started: 'another start' }, gateway: gone }),
    );
    const driver = backend();
    expect(await driver.removeOrphans()).to.equal(0);
    expect(identify(stranger.pid!)).to.not.equal(undefined);
    expect(readdirSync(runs)).to.be.empty;
    stranger.kill('SIGKILL');
    await driver.stop();
  });

  it('leaves the children of a gateway that still runs alone', async () => {
    const other = backend();
    const client = new LinkClient(await other.open(specOf(server()), never()));
    const driver = backend();
    expect(await driver.removeOrphans()).to.equal(0);
    expect(await client.text('echo', { text: 'still here' })).to.equal('still here');
    await Promise.all([driver.stop(), other.stop()]);
  });

  it('removes a record that cannot be read', async () => {
    writeFileSync(join(runs, '12345.json'), '{');
    const driver = backend();
    expect(await driver.removeOrphans()).to.equal(0);
    expect(readdirSync(runs)).to.be.empty;
    await driver.stop();
  });

  it('answers BACKEND_UNAVAILABLE when its run directory cannot be written', async () => {
    const file = join(directory, 'a-file');
    writeFileSync(file, '');
    const driver = new ProcessBackend({ runDirectory: join(file, 'run'), log: keptLog() });
    expect((await refusal(driver.check(never()))).code).to.equal('BACKEND_UNAVAILABLE');
    expect((await refusal(driver.open(specOf(server()), never()))).code).to.equal('BACKEND_UNAVAILABLE');
    expect(running()).to.be.empty;
  });
});
