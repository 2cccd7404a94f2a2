/** An attach stream that is cut at every byte of a conversation with the real launcher: nothing lost, nothing twice. */
import { expect } from 'chai';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSealedLink } from '../../src/backends/pod/sealed/link';
import { Collector, Container, type Cut, launcherBinary, linkOptions } from '../support/launcher';

const MESSAGES = ['{"id":1}\n', `{"id":2,"text":"${'é☃'.repeat(20)}"}\n`, '\n', 'a half line', ' and its rest\n'];
const ALL = MESSAGES.join('');
const AT_ONCE = 16;

interface Measured {
  stdin: number;
  stdout: number;
}

describe('launcher: a stream cut at every byte', function () {
  this.timeout(110_000);
  let folder: string;

  before(() => {
    launcherBinary();
    folder = mkdtempSync(join(tmpdir(), 'fmo-cut-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** One whole conversation: each message echoed before the next, then EOF, a last word on stderr, and an exit code. */
  async function converse(name: string, cut: (attempt: number) => Cut, measure?: Measured): Promise<number> {
    const file = join(folder, name);
    const container = new Container();
    let streams = 0;
    const connect = container.connector((attempt) => {
      streams += 1;
      return cut(attempt);
    });
    try {
      const claim = { argv: ['/bin/sh', '-c', `tee ${file}; printf bye >&2; exit 7`], env: { PATH: '/usr/bin:/bin' } };
      const link = await openSealedLink(linkOptions({ connect, claim }));
      const got = new Collector(link);
      let sent = 0;
      for (const message of MESSAGES) {
        const bytes = Buffer.from(message);
        sent += bytes.length;
        await link.write(bytes);
        await got.reached(sent);
      }
      const exit = await link.shutdown(20_000);
      expect(exit, name).to.deep.equal({ kind: 'exited', code: 7 });
      expect(got.stdout, name).to.equal(ALL);
      expect(got.stderr, name).to.equal('bye');
      expect(readFileSync(file, 'utf8'), name).to.equal(ALL);
      container.process.kill('SIGTERM'); // as the pod's deletion does: the last acknowledgement may have been what was cut
      expect((await container.ended).code, name).to.equal(7);
      expect(link.stats.broken, name).to.be.at.most(streams - 1);
      if (measure !== undefined) {
        measure.stdin = container.fromGateway;
        measure.stdout = Buffer.concat(container.log).length;
      }
      return streams;
    } finally {
      await container.kill();
    }
  }

  async function everyByte(direction: keyof Cut): Promise<{ cuts: number; bytes: number }> {
    const whole: Measured = { stdin: 0, stdout: 0 };
    await converse('whole', () => ({}), whole);
    const offsets = Array.from({ length: whole[direction] }, (_, offset) => offset);
    const total = offsets.length;
    let cuts = 0;
    const worker = async () => {
      for (let offset = offsets.pop(); offset !== undefined; offset = offsets.pop()) {
        const at = offset;
        const streams = await converse(`${direction}-${at}`, (attempt) => (attempt === 0 ? { [direction]: at } : {}));
        if (streams > 1) cuts += 1;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return { cuts, bytes: total };
  }

  for (const direction of ['stdin', 'stdout'] as const) {
    it(`delivers everything once, wherever ${direction} is cut`, async () => {
      const { cuts, bytes } = await everyByte(direction);
      expect(bytes).to.be.greaterThan(500);
      // Acknowledgements ride on frames or not, by chance, so that a few of the last offsets may lie behind the end.
      expect(cuts).to.be.greaterThan(bytes * 0.8);
    });
  }

  it('delivers everything once over streams that each break after about two hundred bytes', async () => {
    const streams = await Promise.all(
      [173, 197, 223, 251].map((bytes) =>
        converse(`often-${bytes}`, (attempt) => (attempt % 2 === 0 ? { stdout: bytes } : { stdin: bytes })),
      ),
    );
    for (const count of streams) expect(count).to.be.greaterThan(2);
  });
});
