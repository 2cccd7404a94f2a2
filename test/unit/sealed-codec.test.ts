/** The gateway's bytes on the wire, held against the launcher's own vectors, and against anything that a torn stream may bring. */
import { expect } from 'chai';
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { claimLine, refusalIn } from '../../src/backends/pod/sealed/claim';
import { Codec, Direction } from '../../src/backends/pod/sealed/codec';
import { DEFAULT_LIMITS } from '../../src/backends/pod/sealed/contract';
import { FrameType, MAX_BODY, MAX_LINE, parseExit, parseWelcome } from '../../src/backends/pod/sealed/frame';
import { Lines } from '../../src/backends/pod/sealed/lines';

interface Vectors {
  key: string;
  lines: {
    name: string;
    direction: 1 | 2;
    epoch: number;
    number: number;
    type: number;
    received: number;
    released: number;
    seq: number;
    body: string;
    line: string;
  }[];
  bad: { name: string; reader: 1 | 2; result: 'bad' | 'malformed'; line: string }[];
  claim: {
    claim: {
      key: string;
      epoch: number;
      argv: string[];
      env: Record<string, string>;
      cwd: string;
      limits: { stdinWindow: number; outputWindow: number; podGraceMs: number; lingerMs: number };
    };
    line: string;
  };
}

const vectors = JSON.parse(readFileSync(resolve(__dirname, '../../launcher/testdata/vectors.json'), 'utf8')) as Vectors;
const key = Buffer.from(vectors.key, 'hex');
const codecs = { 1: new Codec(key, Direction.toLauncher), 2: new Codec(key, Direction.fromLauncher) };
const other = { 1: codecs[2], 2: codecs[1] };

describe('sealed codec', () => {
  for (const { name, direction, line, body, ...rest } of vectors.lines) {
    it(`makes and opens the vector "${name}"`, () => {
      const frame = { ...rest, body: Buffer.from(body, 'hex') };
      expect(codecs[direction].seal(frame).toString('latin1')).to.equal(`${line}\n`);
      expect(other[direction].open(Buffer.from(line))).to.deep.equal(frame);
    });
  }

  for (const { name, reader, result, line } of vectors.bad) {
    it(`takes the vector "${name}" as ${result}`, () => {
      expect(codecs[reader].open(Buffer.from(line))).to.equal(result);
    });
  }

  it('makes the vector of the claim, byte for byte', () => {
    const { claim, line } = vectors.claim;
    const made = claimLine(Buffer.from(claim.key, 'base64'), claim.epoch, claim, {
      ...DEFAULT_LIMITS,
      stdinWindowBytes: claim.limits.stdinWindow,
      outputWindowBytes: claim.limits.outputWindow,
      podGraceMs: claim.limits.podGraceMs,
      lingerMs: claim.limits.lingerMs,
    });
    expect(made.toString('latin1')).to.equal(`${line}\n`);
  });

  it('opens what it seals, whatever is in it', () => {
    const count = fc.maxSafeNat().map((n) => n % 2 ** 48);
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 3000 }),
        fc.nat(2 ** 32 - 1),
        count,
        count,
        count,
        fc.constantFrom(...Object.values(FrameType)),
        (bytes, epoch, number, a, b, type) => {
          const [released, received] = a < b ? [a, b] : [b, a];
          const seq = type < 0x20 ? Math.max(1, a) : 0;
          const frame = { epoch, number, type, received, released, seq, body: Buffer.from(bytes) };
          const line = codecs[1].seal(frame);
          expect(line.indexOf(0x0a)).to.equal(line.length - 1);
          expect(codecs[2].open(line.subarray(0, -1))).to.deep.equal(frame);
        },
      ),
    );
  });

  it('takes any other bytes as bad and never throws', () => {
    const good = codecs[2].seal({
      epoch: 1,
      number: 1,
      type: 0x11,
      received: 0,
      released: 0,
      seq: 1,
      body: Buffer.from('text\n'),
    });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(good.length), fc.nat(good.length), (bytes, from, to) => {
        const line = Buffer.concat([good.subarray(0, from), bytes, good.subarray(to, -1)]);
        fc.pre(!line.equals(good.subarray(0, -1)));
        const opened = codecs[1].open(line);
        // Base64 has more than one spelling of the same bytes, and Node passes over foreign characters: what opens is the frame itself.
        if (opened !== 'bad') expect(opened).to.have.property('body').that.deep.equals(Buffer.from('text\n'));
      }),
      { numRuns: 2000 },
    );
  });

  it('takes every part of a line as bad', () => {
    const line = Buffer.from(vectors.lines[7]?.line ?? '');
    for (let i = 1; i < line.length; i++) {
      expect(codecs[1].open(line.subarray(0, i))).to.equal('bad');
      expect(codecs[1].open(line.subarray(i))).to.equal('bad');
    }
  });

  it('never makes a line over its bound', () => {
    const most = 2 ** 48 - 1;
    const frame = { epoch: 2 ** 32 - 1, number: most, type: 0x01, received: most, released: most, seq: most };
    expect(codecs[1].seal({ ...frame, body: Buffer.alloc(MAX_BODY) }).length).to.be.at.most(MAX_LINE);
  });

  it('refuses a key of another length', () => {
    expect(() => new Codec(Buffer.alloc(31), Direction.toLauncher)).to.throw(RangeError);
  });

  it('reads bodies, and takes short or unknown ones as malformed', () => {
    expect(parseWelcome(Buffer.alloc(18))).to.equal(undefined);
    expect(parseExit(Buffer.alloc(0))).to.equal(undefined);
    expect(parseExit(Buffer.of(0))).to.equal(undefined);
    expect(parseExit(Buffer.of(9, 0))).to.equal(undefined);
    expect(parseExit(Buffer.from([2, 127, 0x78]))).to.deep.equal({ kind: 'start-failed', value: 127, text: 'x' });
  });

  it('reads a refusal, in plain letters only', () => {
    expect(refusalIn(Buffer.from('FMO-REFUSED version: 1'))).to.equal('version: 1');
    expect(refusalIn(Buffer.from('FMO-REFUSED \x1b[2J\x07x'))).to.equal('?[2J?x');
    expect(refusalIn(Buffer.from('FMO-REFUSE'))).to.equal(undefined);
    expect(refusalIn(Buffer.from(`FMO-REFUSED ${'x'.repeat(600)}`))).to.equal(undefined);
  });
});

describe('sealed lines', () => {
  it('are the same however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('', 'a', 'bc', 'defgh', 'x'.repeat(20))),
        fc.array(fc.nat(9)),
        (words, cuts) => {
          const stream = Buffer.from(words.map((word) => `${word}\n`).join(''));
          const got: (string | number)[] = [];
          const lines = new Lines(
            10,
            (line) => got.push(line.toString()),
            (bytes) => got.push(bytes),
          );
          let at = 0;
          for (const cut of cuts) {
            lines.push(stream.subarray(at, at + cut));
            at += cut;
          }
          lines.push(stream.subarray(at));
          expect(got).to.deep.equal(words.map((word) => (word.length < 10 ? word : word.length)));
        },
      ),
    );
  });

  it('keep no more than the bound of a line that never ends', () => {
    const lines = new Lines(
      100,
      () => undefined,
      () => undefined,
    );
    for (let i = 0; i < 1000; i++) lines.push(Buffer.alloc(99, 'x'));
    expect((lines as unknown as { held: number }).held).to.be.at.most(100);
  });
});
