/** Everything that can go wrong with a stream at once, by chance and repeatable: cuts, torn and swallowed bytes, a second writer, slow readers, takeovers. */
import { expect } from 'chai';
import { createHash, randomBytes } from 'node:crypto';
import { openSealedLink, type SealedLink } from '../../src/backends/pod/sealed/link';
import { Container, launcherBinary, linkOptions } from '../support/launcher';

const CONVERSATIONS = 24;
const BYTES = 200_000;

/** A small generator of numbers (mulberry32), so that a failure can be had again by its seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

describe('launcher: chaos', function () {
  this.timeout(120_000);

  before(() => void launcherBinary());

  async function converse(seed: number): Promise<{ broken: number; resent: number }> {
    const random = numbers(seed);
    const container = new Container();
    container.keepLog = false;
    container.garble = (chunk) => {
      switch (random(60)) {
        case 0:
          return chunk.subarray(0, random(chunk.length));
        case 1:
          return Buffer.concat([
            chunk.subarray(0, chunk.length >> 1),
            Buffer.from('noise\n'),
            chunk.subarray(chunk.length >> 1),
          ]);
        default:
          return chunk;
      }
    };
    // Streams live longer with each attempt, so that every conversation comes to its end.
    const connect = container.connector((attempt) => {
      const life = 200 + random(2_000) * (attempt + 1) ** 2;
      return random(2) === 0 ? { stdin: life } : { stdout: life };
    });
    const limits = { stdinWindowBytes: 64 * 1024, outputWindowBytes: 64 * 1024, welcomeDeadlineMs: 1_000 };
    const sent = createHash('sha256');
    const got = createHash('sha256');
    let length = 0;
    let all: (() => void) | undefined;
    try {
      const link: SealedLink & { stats: { broken: number; resent: number } } = await openSealedLink(
        linkOptions({ connect, limits }),
      );
      link.onStderr(() => undefined);
      link.onData((bytes) => {
        got.update(bytes);
        length += bytes.length;
        if (random(20) === 0) {
          link.pause();
          setTimeout(() => link.resume(), random(10));
        }
        if (length >= BYTES) all?.();
      });
      const everything = new Promise<void>((resolve) => (all = resolve));
      for (let left = BYTES; left > 0;) {
        const line = randomBytes(Math.min(left, 1 + random(random(10) === 0 ? 60_000 : 400)));
        left -= line.length;
        sent.update(line);
        if (random(8) === 0) container.inject(random(2) === 0 ? 'torn' : `${randomBytes(20).toString('base64')}\n`);
        await link.write(line);
      }
      await everything;
      expect(length, `seed ${seed}`).to.equal(BYTES);
      expect(await link.shutdown(20_000), `seed ${seed}`).to.deep.equal({ kind: 'exited', code: 0 });
      expect(got.digest('hex'), `seed ${seed}`).to.equal(sent.digest('hex'));
      return link.stats;
    } finally {
      await container.kill();
    }
  }

  it(`${CONVERSATIONS} conversations over bad streams bring every byte once`, async () => {
    const seeds = Array.from({ length: CONVERSATIONS }, (_, i) => i + 1);
    let broken = 0;
    let resent = 0;
    const worker = async () => {
      for (let seed = seeds.pop(); seed !== undefined; seed = seeds.pop()) {
        const stats = await converse(seed);
        broken += stats.broken;
        resent += stats.resent;
      }
    };
    await Promise.all(Array.from({ length: 6 }, worker));
    expect(broken).to.be.greaterThan(CONVERSATIONS);
    expect(resent).to.be.greaterThan(CONVERSATIONS);
  });

  it('a session that is handed from epoch to epoch brings every whole line, and none of them twice to the same holder', async () => {
    const key = randomBytes(32);
    const container = new Container();
    const claim = { argv: ['/usr/bin/seq', '-w', '1', '40000'], env: {} };
    const seen = new Set<string>();
    try {
      for (let epoch = 1; ; epoch++) {
        const link = await openSealedLink(
          linkOptions({
            connect: container.connector(),
            key,
            epoch,
            claim: epoch === 1 ? claim : undefined,
            limits: { outputWindowBytes: 64 * 1024 },
          }),
        );
        const mine = new Set<string>();
        let text = '';
        const enough = new Promise<void>((resolve) =>
          link.onData((bytes) => {
            text += bytes.toString();
            if (text.length > 40_000) resolve();
          }),
        );
        await Promise.race([link.exited, enough]);
        link.detach();
        const last = (await link.exited).kind === 'exited'; // its end may have come with the last bytes
        // A holder that goes takes its half line along; the next one gets it whole.
        const lines = text.split('\n').slice(link.takeover?.stdoutMidLine === true ? 1 : 0, -1);
        for (const line of lines) {
          expect(mine.has(line), line).to.equal(false);
          mine.add(line);
          seen.add(line);
        }
        if (last) break;
      }
      expect(seen.size).to.equal(40_000);
    } finally {
      await container.kill();
    }
  });
});
