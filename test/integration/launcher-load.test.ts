/** Much through one sealed link and the real launcher: whole, with flat memory at both ends. The figures are printed, only bounds are asserted. */
import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createHash } from 'node:crypto';
import { openSealedLink } from '../../src/backends/pod/sealed/link';
import { Collector, Container, launcherBinary, linkOptions } from '../support/launcher';

const MIB = 1024 * 1024;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes in use after a collection, buffers included. */
async function inUse(): Promise<number> {
  // Buffers are freed by finalizers, which run after the collection that found them.
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function kilobytes(pid: number | undefined, name: string): number {
  return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

const median = (all: number[]) => all.sort((a, b) => a - b)[all.length >> 1] ?? 0;

describe('launcher: under load', function () {
  this.timeout(120_000);
  let container: Container;

  before(() => void launcherBinary());
  beforeEach(() => {
    container = new Container();
    container.keepLog = false;
  });
  afterEach(() => container.kill());

  it('100 MiB in messages of 1 MiB, there and back, arrive whole with flat memory at both ends', async () => {
    const link = await openSealedLink(linkOptions({ connect: container.connector() }));
    const message = Buffer.alloc(MIB, 'm');
    message[MIB - 1] = 0x0a;
    const sent = createHash('sha256');
    const received = createHash('sha256');
    let bytes = 0;
    let arrived: { goal: number; resolve(): void } | undefined;
    link.onStderr(() => undefined);
    link.onData((chunk) => {
      received.update(chunk);
      bytes += chunk.length;
      if (arrived !== undefined && bytes >= arrived.goal) arrived.resolve();
    });
    const figures: number[] = [];
    const begun = performance.now();
    for (let i = 1; i <= 100; i++) {
      message.write(String(i).padStart(8, '0'));
      sent.update(message);
      // The link does not copy, so a buffer that is used again is written only when the last one has come back.
      const back = new Promise<void>((resolve) => (arrived = { goal: i * MIB, resolve }));
      await link.write(message);
      await back;
      if (i === 20 || i === 60 || i === 100) figures.push(await inUse());
    }
    const seconds = (performance.now() - begun) / 1000;
    expect(received.digest('hex')).to.equal(sent.digest('hex'));
    expect(Math.max(...figures) - Math.min(...figures)).to.be.lessThan(6 * MIB);
    const resident = kilobytes(container.process.pid, 'VmHWM');
    expect(resident).to.be.lessThan(5 * 1024 + 1024);
    console.log(
      `      ${(100 / seconds).toFixed(0)} MiB/s each way, launcher ${resident} kB at most, gateway in use ${figures.map((f) => (f / MIB).toFixed(1)).join(', ')} MiB`,
    );
    expect((await link.shutdown(10_000)).kind).to.equal('exited');
  });

  it('64 MiB of output while the reader pauses again and again arrive whole, and a window bounds what is kept', async () => {
    const window = 256 * 1024;
    const claim = { argv: ['/usr/bin/seq', '-w', '1', '7500000'], env: {} };
    const link = await openSealedLink(
      linkOptions({ connect: container.connector(), claim, limits: { outputWindowBytes: window } }),
    );
    link.onStderr(() => undefined);
    let bytes = 0;
    let wrong = 0;
    let next = 1;
    let rest = '';
    let most = 0;
    link.onData((chunk) => {
      bytes += chunk.length;
      if (bytes % 50 === 0) {
        link.pause();
        setImmediate(() => link.resume());
      }
      const lines = (rest + chunk.toString('latin1')).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (Number(line) !== next++) wrong += 1;
      most = Math.max(most, process.memoryUsage().arrayBuffers);
    });
    expect(await link.exited).to.deep.equal({ kind: 'exited', code: 0 });
    expect([bytes, wrong, next, rest]).to.deep.equal([7_500_000 * 8, 0, 7_500_001, '']);
    expect(most).to.be.lessThan(64 * MIB);
  });

  it('a small echo costs little more than the bare child', async () => {
    const text = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping"}\n');
    const rounds = 3_000;
    const bare = spawn('/bin/cat');
    const plain: number[] = [];
    for (let i = 0; i < rounds; i++) {
      const begun = performance.now();
      bare.stdin.write(text);
      await once(bare.stdout, 'data');
      plain.push(performance.now() - begun);
    }
    bare.stdin.end();
    const link = await openSealedLink(linkOptions({ connect: container.connector() }));
    const got = new Collector(link, false);
    const sealed: number[] = [];
    for (let i = 1; i <= rounds; i++) {
      const begun = performance.now();
      await link.write(text);
      await got.reached(i * text.length);
      sealed.push(performance.now() - begun);
    }
    console.log(
      `      p50 ${median(sealed).toFixed(3)} ms through the launcher, ${median(plain).toFixed(3)} ms with the bare child`,
    );
    expect(link.stats).to.deep.equal({ broken: 0, reattached: 0, badLines: 0, resent: 0 });
  });
});
