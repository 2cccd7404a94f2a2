import { expect } from 'chai';
import { StderrLines } from '../../src/bridge/stderr';
import { openBench } from '../support/channel';
import { FakeClock } from '../support/fake-link';

const TOKEN = '0123456789abcdef0123456789abcdef01234567';

describe("the child's stderr", () => {
  function open() {
    const clock = new FakeClock();
    const lines: string[] = [];
    const stderr = new StderrLines(clock, (line) => lines.push(line));
    const push = (text: string): void => stderr.push(Buffer.from(text));
    return { clock, lines, stderr, push };
  }

  it('comes as whole lines, however it was cut', () => {
    const { lines, push, stderr } = open();
    const bytes = Buffer.from('first é\nsecond\r\n\n  \nthird');
    for (const byte of bytes) stderr.push(Buffer.from([byte]));
    push(' goes on');
    stderr.end();
    expect(lines).to.deep.equal(['first é', 'second', 'third goes on']);
  });

  it('loses its colours and its secrets, a secret with colours in it too', () => {
    const { lines, push } = open();
    push(`\x1b[31merror\x1b[0m: token ${TOKEN.slice(0, 20)}\x1b[1m${TOKEN.slice(20)}\n`);
    expect(lines).to.deep.equal(['error: token [redacted]']);
  });

  it('is cut where a line is too long, and never inside a word that may be a secret', () => {
    const { lines, push } = open();
    push(`${'word '.repeat(1630)}${TOKEN.repeat(50)} end\nnext\n`);
    expect(lines).to.have.length(2);
    expect(lines[0]).to.match(/word … \(\d+ bytes\)$/);
    expect(lines[0]).to.not.match(/[0-9a-f]{9}/);
    expect(lines[1]).to.equal('next');
  });

  it('is bounded in lines, and says how many were dropped', () => {
    const { clock, lines, push, stderr } = open();
    push('flood\n'.repeat(1_000));
    expect(lines).to.have.length(200);
    clock.advance(10_000);
    push('later\n');
    expect(lines.slice(200)).to.deep.equal(['(800 more lines within 10 seconds were dropped)', 'later']);
    push('flood\n'.repeat(250));
    stderr.end();
    expect(lines.at(-1)).to.equal('(51 more lines within 10 seconds were dropped)');
  });

  it('reaches the observer of its channel, and never its client [2025-11-25/transports/4]', async () => {
    const { link, observer, channel } = openBench();
    link.stderr('panic: oh no\nunfinished');
    link.exit({ reason: 'exited', code: 2 });
    await channel.ended;
    expect(observer.lines).to.deep.equal(['panic: oh no', 'unfinished']);
  });
});
