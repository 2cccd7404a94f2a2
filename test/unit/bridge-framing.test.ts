import { expect } from 'chai';
import fc from 'fast-check';
import { ENDS_BYTES, LineSplitter } from '../../src/bridge/framing';

interface Cut {
  readonly lines: string[];
  readonly tooLong: { head: string; tail: string; length: number }[];
  readonly splitter: LineSplitter;
}

function splitterOf(maxLine: number): Cut {
  const lines: string[] = [];
  const tooLong: Cut['tooLong'] = [];
  const splitter = new LineSplitter(maxLine, {
    line: (bytes, start, end) => lines.push(bytes.toString('utf8', start, end)),
    tooLong: (head, tail, length) => tooLong.push({ head: head.toString(), tail: tail.toString(), length }),
  });
  return { lines, tooLong, splitter };
}

describe('line framing', () => {
  it('gives each line of a chunk without its newline', () => {
    const { lines, splitter } = splitterOf(100);
    splitter.push(Buffer.from('{"a":1}\n{"b":2}\n{"c"'));
    expect(lines).to.deep.equal(['{"a":1}', '{"b":2}']);
  });

  it('joins a line that is cut inside a UTF-8 sequence at every byte', () => {
    const text = '{"t":"a\u00a0b\u2028c🧑‍🚀é"}';
    const bytes = Buffer.from(`${text}\n`);
    for (let at = 0; at <= bytes.length; at += 1) {
      const { lines, splitter } = splitterOf(100);
      splitter.push(bytes.subarray(0, at));
      splitter.push(bytes.subarray(at));
      expect(lines, `cut at ${String(at)}`).to.deep.equal([text]);
    }
  });

  it('takes CRLF as one line end, a carriage return in a chunk of its own too', () => {
    const { lines, splitter } = splitterOf(100);
    splitter.push(Buffer.from('one\r\ntwo\r'));
    splitter.push(Buffer.from('\n\r\nth\rree\n'));
    expect(lines).to.deep.equal(['one', 'two', 'th\rree']);
  });

  it('skips empty lines', () => {
    const { lines, splitter } = splitterOf(100);
    splitter.push(Buffer.from('\n\n\r\na\n\n'));
    expect(lines).to.deep.equal(['a']);
  });

  it('gives a last line without a newline at the end', () => {
    const { lines, splitter } = splitterOf(100);
    splitter.push(Buffer.from('a\nb'));
    splitter.end();
    splitter.end();
    expect(lines).to.deep.equal(['a', 'b']);
  });

  it('takes a line of exactly the limit, in one chunk and in many', () => {
    const line = 'x'.repeat(50);
    for (const size of [51, 7]) {
      const { lines, tooLong, splitter } = splitterOf(50);
      for (const chunk of chunks(Buffer.from(`${line}\n`), size)) splitter.push(chunk);
      expect(lines).to.deep.equal([line]);
      expect(tooLong).to.deep.equal([]);
    }
  });

  it('tells of a line beyond the limit with both its ends and its length, and goes on after it', () => {
    const line = `${'h'.repeat(6000)}${'m'.repeat(9000)}${'t'.repeat(6000)}`;
    for (const size of [100_000, 1000, 1]) {
      const { lines, tooLong, splitter } = splitterOf(10_000);
      for (const chunk of chunks(Buffer.from(`before\n${line}\nafter\n`), size)) splitter.push(chunk);
      expect(lines, `chunks of ${String(size)}`).to.deep.equal(['before', 'after']);
      expect(tooLong).to.deep.equal([{ head: 'h'.repeat(ENDS_BYTES), tail: 't'.repeat(ENDS_BYTES), length: 21_000 }]);
    }
  });

  it('tells of a line beyond the limit that never ended', () => {
    const { tooLong, splitter } = splitterOf(10);
    splitter.push(Buffer.from('x'.repeat(11)));
    splitter.end();
    expect(tooLong).to.have.length(1);
  });

  it('holds no more memory for a gigabyte without a newline than for a line', () => {
    const { splitter, tooLong } = splitterOf(65_536);
    const chunk = Buffer.alloc(32_768, 0x61);
    for (let i = 0; i < 32_768; i += 1) splitter.push(chunk);
    expect(splitter.capacity).to.be.at.most(2 * ENDS_BYTES);
    splitter.push(Buffer.from('\n'));
    expect(tooLong.map(({ length }) => length)).to.deep.equal([1_073_741_824]);
  });

  it('holds no more than the limit for a line that comes byte by byte', () => {
    const { splitter } = splitterOf(100_000);
    const byte = Buffer.from('a');
    for (let i = 0; i < 100_000; i += 1) splitter.push(byte);
    expect(splitter.capacity).to.be.at.most(100_000);
  });

  it('gives the memory of a long line back', () => {
    const { splitter } = splitterOf(1_000_000);
    splitter.push(Buffer.alloc(900_000, 0x61));
    splitter.push(Buffer.from('\n'));
    expect(splitter.capacity).to.equal(0);
  });

  it('gives the same lines however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, '')),
          { maxLength: 20 },
        ),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        (texts, sizes) => {
          const { lines, splitter } = splitterOf(10_000);
          const bytes = Buffer.from(texts.map((text) => `${text}\n`).join(''));
          for (let at = 0, i = 0; at < bytes.length; i += 1) {
            const size = sizes[i % sizes.length] ?? 1;
            splitter.push(bytes.subarray(at, at + size));
            at += size;
          }
          expect(lines).to.deep.equal(texts.filter((text) => text !== ''));
        },
      ),
    );
  });
});

function* chunks(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
