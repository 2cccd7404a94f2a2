/** The sealed link and the real launcher: what a child and its pod may do to a session, and what the driver then sees. */
import { expect } from 'chai';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChildCommand, openSealedLink, type SealedLinkOptions } from '../../src/backends/pod/sealed/link';
import { AppError } from '../../src/errors';
import { Collector, Container, eventually, launcherBinary, linkOptions } from '../support/launcher';

const MIB = 1024 * 1024;
const PATH = '/usr/bin:/bin';

const shell = (script: string, env: Record<string, string> = {}): ChildCommand => ({
  argv: ['/bin/sh', '-c', script],
  env: { PATH, ...env },
});

/** Resolves with the AppError that a promise rejects with. */
async function refusal(promise: Promise<unknown>): Promise<AppError> {
  try {
    await promise;
  } catch (error) {
    expect(error).to.be.instanceOf(AppError);
    return error as AppError;
  }
  throw new Error('it was expected to reject');
}

describe('launcher: sealed link', function () {
  this.timeout(60_000);
  const containers: Container[] = [];
  let folder: string;

  before(() => {
    launcherBinary();
    folder = mkdtempSync(join(tmpdir(), 'fmo-link-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  afterEach(async () => {
    await Promise.all(containers.splice(0).map((container) => container.kill()));
  });

  function boot(): Container {
    const container = new Container();
    containers.push(container);
    return container;
  }

  async function open(over: Partial<SealedLinkOptions> = {}, container = boot()) {
    const link = await openSealedLink(linkOptions({ connect: container.connector(), ...over }));
    return { container, link, got: new Collector(link) };
  }

  describe('the child', () => {
    it('has the environment and the working directory of the claim and nothing else', async () => {
      const { link, got } = await open({ claim: { argv: ['env'], env: { PATH, A: 'ä=b' }, cwd: '/' } });
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 0 });
      expect(got.stdout.trim().split('\n').sort()).to.deep.equal(['A=ä=b', `PATH=${PATH}`]);
      const other = await open({ claim: { argv: ['pwd'], env: { PATH }, cwd: '/usr' } });
      await other.link.exited;
      expect(other.got.stdout).to.equal('/usr\n');
    });

    it('is found on the PATH of its own environment', async () => {
      const { link } = await open({ claim: { argv: ['true'], env: { PATH } } });
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 0 });
      const error = await refusal(open({ claim: { argv: ['true'], env: { PATH: '/nowhere' } } }));
      expect(error.code).to.equal('BACKEND_CRASHED');
    });

    it('that cannot be started is BACKEND_CRASHED with the reason, and the container ends with 127 or 126', async () => {
      for (const [claim, reason, code] of [
        [{ argv: ['/no/such/program', 'x'], env: {} }, /cannot start "\/no\/such\/program": no such file/, 127],
        [{ argv: ['/etc/passwd'], env: {} }, /cannot start "\/etc\/passwd": permission denied/, 126],
        [{ argv: ['/bin/true'], env: {}, cwd: '/no/such/folder' }, /in "\/no\/such\/folder"/, 127],
      ] as const) {
        const container = boot();
        const error = await refusal(open({ claim }, container));
        expect(error.code).to.equal('BACKEND_CRASHED');
        expect(error.detail).to.match(reason);
        container.process.kill('SIGTERM');
        expect((await container.ended).code).to.equal(code);
      }
    });

    it('gives its exit code to the link and to the container', async () => {
      const { link, container } = await open({ claim: shell('exit 42') });
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 42 });
      expect(await container.ended).to.deep.equal({ code: 42, signal: null });
    });

    it('killed by a signal is told by name, and the container ends with 128 and the number', async () => {
      const { link, container, got } = await open({ claim: shell('echo $$; kill -9 $$') });
      expect(await link.exited).to.deep.equal({ kind: 'signaled', signal: 'SIGKILL' });
      expect(got.stdout).to.match(/^\d+\n$/);
      expect(await container.ended).to.deep.equal({ code: 137, signal: null });
    });

    it('that closes its stdout lives on, and its stderr still arrives', async () => {
      const { link, got } = await open({ claim: shell('echo out; exec >&-; read line; echo "$line" >&2; exit 3') });
      await got.reached(4);
      await link.write(Buffer.from('to stderr\n'));
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 3 });
      expect(got.stdout).to.equal('out\n');
      expect(got.stderr).to.equal('to stderr\n');
    });

    it('that closes its stdin loses what is written, and nothing else breaks', async () => {
      const written = join(folder, 'written');
      const { link, got } = await open({
        claim: shell(`exec <&-; echo closed; while [ ! -e ${written} ]; do sleep 0.01; done; echo end`),
      });
      await got.reached(7);
      for (let i = 0; i < 8; i++) await link.write(Buffer.alloc(MIB));
      writeFileSync(written, '');
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 0 });
      expect(got.stdout).to.equal('closed\nend\n');
    });

    it('is one process group, of which nothing is left when it has ended', async () => {
      const { link, got } = await open({ claim: shell('sleep 1000 & echo $!; exit 0') });
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 0 });
      const pid = got.stdout.trim();
      await eventually(() => !existsSync(`/proc/${pid}`));
    });

    it('may leave a process behind that holds its stdout: the exit does not wait for it', async () => {
      const { link, got } = await open({ claim: shell('setsid sh -c "echo \\$\\$; sleep 1000" & read line') });
      await eventually(() => got.stdout.endsWith('\n'));
      await link.write(Buffer.from('go\n'));
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 0 });
      process.kill(Number(got.stdout), 'SIGKILL');
    });

    it('leaves no zombies', async () => {
      const { link, got, container } = await open({
        claim: shell('for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 & ) ; done; read line; echo "$line"'),
      });
      const children = () =>
        readFileSync(`/proc/${container.process.pid}/task/${container.process.pid}/children`, 'utf8');
      await eventually(() => children().trim().split(' ').length === 1);
      await link.write(Buffer.from('on\n'));
      await link.exited;
      expect(got.stdout).to.equal('on\n');
    });
  });

  describe('shutdown', () => {
    it('gives EOF first, so that a child ends by itself with its last words', async () => {
      const { link, got } = await open({ claim: shell('cat; echo last; exit 5') });
      await link.write(Buffer.from('first\n'));
      expect(await link.shutdown(10_000)).to.deep.equal({ kind: 'exited', code: 5 });
      expect(got.stdout).to.equal('first\nlast\n');
      expect(await link.shutdown(1)).to.deep.equal({ kind: 'exited', code: 5 });
    });

    it('sends SIGTERM to a child that does not mind EOF', async () => {
      const { link } = await open({ claim: shell('trap "exit 9" TERM; while :; do sleep 0.01; done') });
      expect(await link.shutdown(1_500)).to.deep.equal({ kind: 'exited', code: 9 });
    });

    it('sends SIGKILL to a child that ignores SIGTERM and reads nothing, with its stdin window full', async () => {
      const { link, got } = await open({ claim: shell('trap "" TERM; echo ready; while :; do sleep 1; done') });
      await got.reached(6);
      const stuck = refusal(link.write(Buffer.alloc(4 * MIB)));
      expect(await link.shutdown(150)).to.deep.equal({ kind: 'signaled', signal: 'SIGKILL' });
      expect((await stuck).code).to.equal('LINK_CLOSED');
      expect((await refusal(link.write(Buffer.from('x')))).code).to.equal('LINK_CLOSED');
    });

    it('ends as lost where nobody carries its signals, each wait within its grace', async () => {
      const container = boot();
      const connect = container.connector();
      let up = true;
      const { link } = await open(
        {
          connect: (signal) => (up ? connect(signal) : Promise.reject(new AppError('BACKEND_UNAVAILABLE', 'Down.'))),
        },
        container,
      );
      up = false;
      for (const stream of container.streams) stream.close();
      expect((await link.shutdown(50)).kind).to.equal('lost');
    });
  });

  describe('the pod', () => {
    it('being deleted ends the child with SIGTERM', async () => {
      const { link, container, got } = await open({
        claim: shell('trap "exit 4" TERM; echo up; while :; do sleep 0.01; done'),
      });
      await got.reached(3);
      container.process.kill('SIGTERM');
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 4 });
      expect((await container.ended).code).to.equal(4);
    });

    it('being deleted kills a child that ignores SIGTERM, after the grace', async () => {
      const claim = shell('trap "" TERM; echo up; while :; do sleep 1; done');
      const { link, container, got } = await open({ claim, limits: { podGraceMs: 100 } });
      await got.reached(3);
      container.process.kill('SIGTERM');
      expect(await link.exited).to.deep.equal({ kind: 'signaled', signal: 'SIGKILL' });
      expect((await container.ended).code).to.equal(137);
    });

    it('killed as a whole ends the link as container-ended, with all that had arrived', async () => {
      const { link, container, got } = await open({ claim: shell('echo said; sleep 1000') });
      await got.reached(5);
      await container.kill();
      expect((await link.exited).kind).to.equal('container-ended');
    });

    it('that is warm prints nothing and ends at once when it is not needed', async () => {
      const container = boot();
      container.process.kill('SIGTERM');
      expect((await container.ended).code).to.be.oneOf([0, null]);
      expect(container.logged).to.equal('');
    });

    it('whose stdin is closed for good ends its child', async () => {
      const { link, container } = await open({ claim: shell('sleep 1000'), limits: { podGraceMs: 100 } });
      container.process.stdin?.end();
      expect((await link.exited).kind).to.equal('signaled');
      expect((await container.ended).code).to.equal(143);
    });

    it('has no readable byte of either output in its log', async () => {
      const secret = 'PRIVATE-FILE-CONTENT';
      const { link, container, got } = await open({ claim: shell('cat; echo "$TOKEN" >&2', { TOKEN: 'CAPABILITY' }) });
      await link.write(Buffer.from(`${secret}\n`));
      await link.shutdown(5_000);
      expect(got.stdout).to.contain(secret);
      expect(got.stderr).to.equal('CAPABILITY\n');
      expect(container.logged).to.match(/^[A-Za-z0-9+/\n]+$/);
      for (const word of [secret, 'CAPABILITY', 'FILE']) {
        expect(container.logged).not.to.contain(word);
        expect(Buffer.from(container.logged, 'base64').toString('latin1')).not.to.contain(word);
      }
    });
  });

  describe('a stream', () => {
    it('that is cut while the child ends still brings the last bytes and the exit', async () => {
      const container = boot();
      const connect = container.connector();
      let allowed = true;
      const { link, got } = await open(
        {
          claim: shell('read line; printf last; exit 6'),
          connect: (signal) =>
            allowed ? connect(signal) : Promise.reject(new AppError('BACKEND_UNAVAILABLE', 'Down.')),
        },
        container,
      );
      await link.write(Buffer.from('go\n'));
      allowed = false;
      for (const stream of container.streams) stream.close();
      const pid = container.process.pid;
      await eventually(() => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8') === '');
      allowed = true;
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 6 });
      expect(got.stdout).to.equal('last');
      expect(link.stats.broken).to.equal(1);
      expect(link.stats.reattached).to.equal(1);
    });

    it('that cannot be had again ends the link as lost within the deadline', async () => {
      const container = boot();
      const connect = container.connector();
      let first = true;
      const { link } = await open(
        {
          limits: { reattachDeadlineMs: 200 },
          connect: (signal) => {
            if (!first) return Promise.reject(new AppError('BACKEND_UNAVAILABLE', 'Down.', { detail: 'refused' }));
            first = false;
            return connect(signal);
          },
        },
        container,
      );
      for (const stream of container.streams) stream.close();
      expect(await link.exited).to.deep.equal({ kind: 'lost', detail: 'refused' });
    });

    it('whose lines are torn by a second writer loses nothing', async () => {
      const { link, got, container } = await open();
      const lines = Array.from({ length: 400 }, (_, i) => `{"id":${i},"pad":"${'x'.repeat((i * 37) % 900)}"}\n`);
      for (const [i, line] of lines.entries()) {
        if (i % 3 === 0) container.inject('half a line ');
        if (i % 7 === 0) container.inject(`${randomBytes(30).toString('base64')}\n\n`);
        if (i % 50 === 0) container.inject(Buffer.concat([randomBytes(50_000), Buffer.from('\n')]));
        await link.write(Buffer.from(line));
      }
      await got.reached(Buffer.byteLength(lines.join('')));
      expect(got.stdout).to.equal(lines.join(''));
      expect(link.stats.resent).to.be.greaterThan(0);
      expect(link.stats.broken).to.equal(0);
    });

    it('that swallows and garbles output without breaking loses nothing', async () => {
      const container = boot();
      let chunks = 0;
      container.garble = (chunk) => {
        chunks += 1;
        if (chunks % 5 === 0) return chunk.subarray(0, chunk.length / 2);
        if (chunks % 7 === 0) return Buffer.concat([Buffer.from('noise\n'), chunk]);
        if (chunks % 11 === 0) return Buffer.alloc(0);
        return chunk;
      };
      const { link, got } = await open({}, container);
      const lines = Array.from({ length: 30 }, (_, i) => `${i} ${'y'.repeat(i * 20)}\n`).join('');
      for (const line of lines.split(/(?<=\n)/)) {
        await link.write(Buffer.from(line));
        await got.reached(lines.indexOf(line) + line.length);
      }
      expect(got.stdout).to.equal(lines);
      expect(link.stats.badLines).to.be.greaterThan(0);
    });

    it('whose launcher stands still is cut, and taken up again once it goes on', async () => {
      const { link, got, container } = await open({ limits: { stallDeadlineMs: 300, welcomeDeadlineMs: 300 } });
      const { pid } = container.process;
      container.process.kill('SIGSTOP');
      // The signal is sent, not taken: a thread that still runs would answer.
      await eventually(() =>
        readdirSync(`/proc/${pid}/task`).every((task) =>
          / [tT] /.test(readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8')),
        ),
      );
      await link.write(Buffer.from('are you there?\n'));
      await eventually(() => link.stats.broken > 0);
      container.process.kill('SIGCONT');
      await got.reached(15);
      expect(got.stdout).to.equal('are you there?\n');
      expect((await link.shutdown(5_000)).kind).to.equal('exited');
    });
  });

  describe('a claim', () => {
    it('of another protocol version is BACKEND_REFUSED with the version that is spoken', async () => {
      const container = boot();
      const connect = container.connector();
      const error = await refusal(
        open(
          {
            connect: async (signal) => {
              const stream = await connect(signal);
              const write = stream.write.bind(stream);
              stream.write = (bytes) => write(otherVersion(bytes));
              return stream;
            },
          },
          container,
        ),
      );
      expect(error.code).to.equal('BACKEND_REFUSED');
      expect(error.detail).to.equal('version: this launcher speaks protocol version 1');
      expect((await container.ended).code).to.equal(65);
    });

    it('with an environment that cannot be one is BACKEND_REFUSED and says no value', async () => {
      const container = boot();
      const error = await refusal(open({ claim: { argv: ['/bin/true'], env: { 'A=B': 'hidden' } } }, container));
      expect(error.code).to.equal('BACKEND_REFUSED');
      expect(JSON.stringify(error)).not.to.contain('hidden');
      expect(container.logged).not.to.contain('hidden');
      expect((await container.ended).code).to.equal(65);
    });

    it('that is too large is BACKEND_REFUSED before anything is opened', async () => {
      const error = await refusal(open({ claim: { argv: ['/bin/true'], env: { A: 'x'.repeat(300_000) } } }));
      expect(error.code).to.equal('BACKEND_REFUSED');
    });

    it('that arrives torn is sent again', async () => {
      const container = boot();
      container.inject('FMO1 CLAIM bm90IGEgY2xhaW0 0123456789abcdef\nFMO1 CLAIM abc');
      const { link, got } = await open({}, container);
      await link.write(Buffer.from('x\n'));
      await got.reached(2);
    });

    it('can be made by somebody with another key only once: a wrong key gets no answer and nothing of the child', async () => {
      const { container } = await open();
      const error = await refusal(open({ limits: { welcomeDeadlineMs: 100, reattachDeadlineMs: 300 } }, container));
      expect(error.code).to.equal('BACKEND_START_DEADLINE');
    });

    it('that is given up by its signal leaves no stream open', async () => {
      const container = boot();
      container.process.kill('SIGSTOP');
      const aborter = new AbortController();
      const reason = new Error('not wanted any more');
      const opening = openSealedLink(linkOptions({ connect: container.connector(), signal: aborter.signal }));
      await eventually(() => container.streams.size === 1);
      aborter.abort(reason);
      expect(await opening.catch((error: unknown) => error)).to.equal(reason);
      expect(container.streams.size).to.equal(0);
    });
  });

  describe('fencing', () => {
    it('lets only the higher epoch reach the child, with both streams up, and tells the lower one', async () => {
      const key = randomBytes(32);
      const container = boot();
      const old = await open({ key, epoch: 4 }, container);
      await old.link.write(Buffer.from('old\n'));
      await old.got.reached(4);
      const fresh = await openSealedLink({
        ...linkOptions({ connect: container.connector(), key, epoch: 5 }),
        claim: undefined,
      });
      const got = new Collector(fresh);
      expect(await old.link.exited).to.deep.equal({ kind: 'fenced', epoch: 5 });
      expect((await refusal(old.link.write(Buffer.from('late\n')))).code).to.equal('LINK_CLOSED');
      await fresh.write(Buffer.from('fresh\n'));
      await eventually(() => got.stdout.endsWith('fresh\n'));
      expect(got.stdout).not.to.contain('late');
      expect(fresh.takeover).to.deep.equal({ stdinMidLine: false, stdoutMidLine: false });
    });

    it('drops what a stalled holder of a lower epoch sends later, and tells it', async () => {
      const key = randomBytes(32);
      const container = boot();
      const held: Buffer[] = [];
      let holdBack = false;
      const connect = container.connector();
      const old = await open(
        {
          key,
          epoch: 1,
          connect: async (signal) => {
            const stream = await connect(signal);
            const write = stream.write.bind(stream);
            stream.write = async (bytes) => {
              if (holdBack) held.push(bytes);
              else await write(bytes);
            };
            const take = stream.take.bind(stream);
            stream.take = (chunk) => (holdBack ? undefined : take(chunk));
            return stream;
          },
        },
        container,
      );
      holdBack = true;
      await old.link.write(Buffer.from('never\n'));
      const fresh = await openSealedLink({
        ...linkOptions({ connect: container.connector(), key, epoch: 2 }),
        claim: undefined,
      });
      const got = new Collector(fresh);
      holdBack = false;
      for (const bytes of held.splice(0)) container.inject(bytes);
      expect(await old.link.exited).to.deep.equal({ kind: 'fenced', epoch: 2 });
      await fresh.write(Buffer.from('only this\n'));
      await got.reached(10);
      expect(got.stdout).to.equal('only this\n');
    });

    it('gives a new holder the message whole that the old one had half', async () => {
      const key = randomBytes(32);
      const container = boot();
      const claim = shell('printf "one\\ntwo, first half"; read line; printf ", second half\\n"; cat');
      const old = await open({ key, claim }, container);
      await old.got.reached(19);
      await eventually(() => old.got.stdout.endsWith('half'));
      await old.link.write(Buffer.from('x\n'));
      await eventually(() => old.got.stdout.endsWith('\n'));
      old.link.detach();
      expect(await old.link.exited).to.deep.equal({ kind: 'detached' });
      const fresh = await openSealedLink({
        ...linkOptions({ connect: container.connector(), key, epoch: 2 }),
        claim: undefined,
      });
      const got = new Collector(fresh);
      await eventually(() => got.stdout.endsWith('second half\n'));
      expect('one\ntwo, first half, second half\n').to.contain(got.stdout);
      if (fresh.takeover?.stdoutMidLine === false)
        expect(got.stdout).to.match(/^(one\n)?two, first half, second half\n$/);
    });
  });

  describe('bounds', () => {
    it('stop a child whose output nobody takes, keep at most the windows here and there, and lose nothing', async () => {
      const window = 128 * 1024;
      const file = join(folder, 'progress');
      const options = linkOptions({
        connect: boot().connector(),
        limits: { outputWindowBytes: window },
        claim: shell(`i=0; while [ $i -lt 400 ]; do printf "%08191d\\n" $i; i=$((i+1)); echo $i > ${file}; done`),
      });
      const link = await openSealedLink(options);
      link.pause();
      const got = new Collector(link);
      const written = () => Number(readFileSync(file, { encoding: 'utf8', flag: 'a+' })) * 8192;
      await eventually(() => written() >= window / 2);
      // The launcher's window, what it has read and cannot place, and the pipe.
      expect(written()).to.be.at.most(window + 23 * 1024 + 64 * 1024 + 8192);
      expect(got.bytes).to.equal(0);
      link.resume();
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 0 });
      expect(got.bytes).to.equal(400 * 8192);
      expect(got.stdout.split('\n').map(Number).slice(0, 400)).to.deep.equal(Array.from({ length: 400 }, (_, i) => i));
    });

    it('hold up a writer whose child reads nothing, and lose nothing when it reads on', async () => {
      const go = join(folder, 'go');
      const { link, got } = await open({
        limits: { stdinWindowBytes: 128 * 1024 },
        claim: shell(`echo up; while [ ! -e ${go} ]; do sleep 0.01; done; wc -c`),
      });
      await got.reached(3);
      let written = 0;
      const writing = (async () => {
        for (; written < 64; written += 1) await link.write(Buffer.alloc(64 * 1024, 'z'));
      })();
      await eventually(() => written > 1);
      // Both windows' worth: the launcher's and the child's pipe.
      expect(written).to.be.at.most(4);
      writeFileSync(go, '');
      await writing;
      expect((await link.shutdown(10_000)).kind).to.equal('exited');
      expect(Number(got.stdout.slice(3))).to.equal(64 * 64 * 1024);
    });

    it('keep an ended child’s output for a paused reader', async () => {
      const { link, got } = await open({ claim: shell('printf "%0100000d" 7; exit 8') });
      link.pause();
      const early = await Promise.race([link.exited, eventually(() => link.stats.broken === 0).then(() => 'waiting')]);
      expect(early).to.equal('waiting');
      link.resume();
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 8 });
      expect(got.bytes).to.equal(100_000);
    });

    it('keep a consumer that throws to its own link', async () => {
      const container = boot();
      const link = await openSealedLink(linkOptions({ connect: container.connector() }));
      link.onData(() => {
        throw new Error('a defect');
      });
      await link.write(Buffer.from('x\n'));
      expect((await link.exited).kind).to.equal('lost');
    });
  });
});

/** The same bytes with a claim of protocol version 9, its checksum right. */
function otherVersion(bytes: Buffer): Buffer {
  return Buffer.from(
    bytes.toString('latin1').replace(/FMO1 CLAIM (\S+) \S+/, (_, payload: string) => {
      const checksum = createHash('sha256').update(`FMO9 ${payload}`).digest('hex').slice(0, 16);
      return `FMO9 CLAIM ${payload} ${checksum}`;
    }),
    'latin1',
  );
}
