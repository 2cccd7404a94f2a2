/** A channel to a child that another process had before. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { BackendExit } from '../../src/backends/contract';
import type { ChannelOptions } from '../../src/bridge/channel';
import { fromLineStart } from '../../src/bridge/framing';
import { vouched } from '../../src/bridge/ids';
import { aRequest, openBench, type Bench } from '../support/channel';
import { FakeLink, FakeSink, settle } from '../support/fake-link';

const LINK = { stdinMidLine: false, stdoutMidLine: false };

function takenOver(
  over: Partial<typeof LINK> = {},
  options: Partial<ChannelOptions> = {},
): Bench & { readonly written: string[] } {
  const link = new FakeLink();
  link.takeover = { ...LINK, ...over };
  const written: string[] = [];
  const write = link.write.bind(link);
  link.write = (bytes) => {
    written.push(bytes.toString());
    return write(bytes);
  };
  return { ...openBench({ generation: 3, negotiated: '2025-11-25', ...options }, link), written };
}

describe('channel to a child that was taken over', () => {
  it('knows the revision, and says nothing to the child before its client does', async () => {
    const { channel, link, written } = takenOver();
    expect([channel.protocolVersion, written]).to.deep.equal(['2025-11-25', []]);
    const sink = new FakeSink();
    const call = channel.call(aRequest(1), sink);
    expect(link.last.id).to.equal('i0.2000000001.n1');
    link.reply(link.last, 'x');
    await call;
    expect(sink.last.result).to.equal('x');
    await channel.close();
  });

  it('ends the half of a message that the one before sent, before anything of its own', async () => {
    const { channel, link, written } = takenOver({ stdinMidLine: true });
    void channel.call(aRequest(1), new FakeSink());
    expect(written[0]).to.equal('\n');
    expect(link.last.method).to.equal('tools/call');
    await channel.close();
  });

  it('leaves out the rest of a line of which the one before had the start', async () => {
    const { channel, link, observer } = takenOver({ stdoutMidLine: true });
    const sink = new FakeSink();
    const call = channel.call(aRequest(1), sink);
    link.push('":"the rest of something"');
    link.push(`}\n${JSON.stringify({ jsonrpc: '2.0', id: link.last.id, result: 1 })}\n`);
    await call;
    expect([sink.last.result, observer.noises]).to.deep.equal([1, 0]);
    await channel.close();
  });

  it('asks such a child for its tools', async () => {
    const { channel, link } = takenOver();
    link.onMessage = (message) =>
      link.reply(message, { tools: [{ name: 't', inputSchema: {}, annotations: { readOnlyHint: true } }] });
    expect((await channel.tool('t'))?.readOnly).to.equal(true);
    await channel.close();
  });

  describe('and calls of the one before', () => {
    const answer = (stream: string, id: number, result: unknown): object => ({
      jsonrpc: '2.0',
      id: `i${stream}.${String(id)}.n${String(id)}`,
      result,
    });

    it('keeps an answer until the client of its stream comes for it, and hands it over under the client’s id', async () => {
      const { channel, link } = takenOver();
      link.say(answer('p5', 7, 'late'));
      link.say(answer('p6', 8, 'another'));
      const sink = new FakeSink();
      expect(await channel.reclaim('p5', sink)).to.equal(true);
      expect(sink.messages).to.deep.equal([{ jsonrpc: '2.0', id: 7, result: 'late' }]);
      await channel.close();
    });

    it('hands an answer over at once where its client is there already, and progress before it', async () => {
      const { channel, link } = takenOver();
      const sink = new FakeSink();
      const reclaimed = channel.reclaim('p5', sink);
      const token = 'pp5.7.stok';
      link.say({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: token, progress: 1 } });
      link.say(answer('p5', 7, 'late'));
      expect(await reclaimed).to.equal(true);
      expect(sink.messages.map(({ id, params }) => id ?? params.progressToken)).to.deep.equal(['tok', 7]);
      link.say(answer('p5', 7, 'late')); // nobody waits for it any more
      expect(sink.messages).to.have.length(2);
      await channel.close();
    });

    it('gives an answer of its own child’s calls to nobody else', async () => {
      const { channel, link } = takenOver();
      const sink = new FakeSink('p5');
      const call = channel.call(aRequest(1), sink);
      const other = new FakeSink();
      const reclaimed = channel.reclaim('p5', other);
      link.reply(link.last, 'mine');
      await call;
      expect([sink.messages.length, other.messages.length]).to.deep.equal([1, 0]);
      await channel.close();
      expect(await reclaimed).to.equal(false);
    });

    it('are over when a call’s time is: who waits is told that none comes, what was kept is dropped and counted', async () => {
      const { channel, link, observer, clock } = takenOver();
      link.say(answer('p5', 7, 'late'));
      const reclaimed = channel.reclaim('p6', new FakeSink());
      clock.advance(60_000);
      expect(await reclaimed).to.equal(false);
      expect(observer.drops).to.deep.equal(['late-answer']);
      expect(channel.reclaim('p5', new FakeSink())).to.equal(undefined);
      link.say(answer('p5', 7, 'later'));
      expect(observer.drops).to.deep.equal(['late-answer', 'late-answer']);
      await channel.close();
    });

    it('are bounded: in the place of an answer that has no room there is an error', async () => {
      const { channel, link } = takenOver();
      link.say(answer('p5', 7, 'x'.repeat(1_000_000)));
      link.say(answer('p6', 8, 'x'.repeat(100_000)));
      const sink = new FakeSink();
      await channel.reclaim('p6', sink);
      expect([sink.last.id, sink.last.error.data]).to.deep.equal([8, { code: 'ANSWER_LOST' }]);
      await channel.reclaim('p5', sink);
      expect(sink.last.result).to.have.length(1_000_000);
      await channel.close();
    });

    it('is told that its answer was too long, whether its client is there already or comes later', async () => {
      const { channel, link, observer } = takenOver({}, { maxLineBytes: 10_000 });
      const sink = new FakeSink();
      const reclaimed = channel.reclaim('p5', sink);
      link.say(answer('p5', 7, 'x'.repeat(10_000)));
      link.say(answer('p6', 8, 'x'.repeat(10_000)));
      expect(await reclaimed).to.equal(true);
      expect(await channel.reclaim('p6', sink)).to.equal(true);
      expect(sink.messages.map(({ id, error }) => [id, error.data])).to.deep.equal([
        [7, { code: 'LINE_TOO_LONG' }],
        [8, { code: 'LINE_TOO_LONG' }],
      ]);
      expect(observer.drops).to.deep.equal(['too-long', 'too-long']);
      await channel.close();
    });

    it('passes the client’s answer to a question of the one before on, once', async () => {
      const { channel, link, observer } = takenOver();
      await channel.answer({ jsonrpc: '2.0', id: 'r0.9.n4', result: { ok: true } });
      expect(link.last).to.deep.equal({ jsonrpc: '2.0', id: 4, result: { ok: true } });
      await channel.answer({ jsonrpc: '2.0', id: 'r0.9.n4', result: { ok: true } });
      await channel.answer({ jsonrpc: '2.0', id: 'r0.2000000009.n4', result: {} }); // of this one, which asked nothing
      expect([link.sent.length, observer.drops]).to.deep.equal([1, ['late-answer', 'late-answer']]);
      await channel.close();
    });

    it('passes no answer on once the time of those calls is over', async () => {
      const { channel, link, clock, observer } = takenOver();
      clock.advance(60_000);
      await channel.answer({ jsonrpc: '2.0', id: 'r0.9.n4', result: {} });
      expect([link.sent, observer.drops]).to.deep.equal([[], ['late-answer']]);
      await channel.close();
    });

    describe('with ids that somebody made up', () => {
      const LINE = '1,"result":{}}\n{"jsonrpc":"2.0","id":2,"method":"tools/call"}\n{"jsonrpc":"2.0","id":3';
      const packed = (text: string): string => `j${Buffer.from(text).toString('base64url')}`;
      /** What may follow the number: texts that would be other lines, other JSON, or no id at all, and some that are ids. */
      const rest = fc.oneof(
        fc.constantFrom(
          ...[LINE, '"\n"', '"a"\r', '\n1', '{}', '[1]', 'null', 'true', '', '"', '1e999', '-', ' 1 '].map(packed),
          ...['nabc', 'n', 'n-', 'n007', 'n1_', 's', 'x', 'xabc'],
        ),
        fc.string({ unit: 'binary', maxLength: 60 }).map(packed),
        fc.string({ unit: 'binary', maxLength: 60 }).map((text) => packed(JSON.stringify(text))),
        fc.json({ maxDepth: 1 }).map(packed),
        fc.maxSafeInteger().map((number) => `n${String(number)}`),
      );
      const isOneLine = (line: string): boolean => line.indexOf('\n') === line.length - 1 && !line.includes('\r');

      it('a client writes the child one line or none, whatever its answer’s id says', async () => {
        await fc.assert(
          fc.asyncProperty(rest, async (text) => {
            const { channel, written } = takenOver();
            await channel.answer({ jsonrpc: '2.0', id: `r0.9.${text}`, result: { ok: true } });
            expect(written.length).to.be.at.most(1);
            for (const line of written) {
              expect(isOneLine(line), JSON.stringify(line)).to.equal(true);
              const { id, ...message } = JSON.parse(line);
              expect(message).to.deep.equal({ jsonrpc: '2.0', result: { ok: true } });
              expect(typeof id === 'string' || Number.isFinite(id)).to.equal(true);
            }
            await channel.close();
          }),
        );
      });

      it('a child writes its client one line or none, whatever its answer’s id and its progress’ token say', async () => {
        await fc.assert(
          fc.asyncProperty(rest, async (text) => {
            const { channel, link, observer } = takenOver();
            const sink = new FakeSink('p5');
            channel.listen(sink);
            void channel.reclaim('p5', sink);
            for (const kind of ['p', 't']) {
              const params = { progressToken: `${kind}p5.7.${text}`, progress: 1 };
              link.say({ jsonrpc: '2.0', method: 'notifications/progress', params });
            }
            link.say({ jsonrpc: '2.0', id: `ip5.7.${text}`, result: { ok: true } });
            expect(observer.faults).to.deep.equal([]);
            for (const line of sink.texts) {
              expect(/[\r\n]/.test(line), JSON.stringify(line)).to.equal(false);
              const { id, params, result } = JSON.parse(line);
              const name = params?.progressToken ?? id;
              expect(typeof name === 'string' || Number.isFinite(name)).to.equal(true);
              expect(params?.progress ?? result).to.deep.equal(params === undefined ? { ok: true } : 1);
            }
            await channel.close();
          }),
        );
      });

      it('those that are ids stand for themselves, digit by digit', () => {
        const ids = ['"a b"', '"\\u0000"', '9007199254740993', '-7', '1.50', '"\\n"'];
        expect(ids.map((text) => vouched(text)?.text)).to.deep.equal(ids);
        expect([undefined, '', '{}', '1\n', '"\r"', 'null'].map(vouched)).to.deep.equal(new Array(6).fill(undefined));
      });
    });

    it('means nothing where the child was nobody else’s', async () => {
      const { channel, link, observer } = openBench({ generation: 3 });
      link.say(answer('p5', 7, 'late'));
      expect([observer.drops, channel.reclaim('p5', new FakeSink())]).to.deep.equal([['late-answer'], undefined]);
      await channel.close();
    });
  });

  it('skips to the start of a line over any number of pieces', () => {
    const whole = fromLineStart(true);
    const pieces = ['abc', '', 'd\nef', 'g\n'].map((text) => whole(Buffer.from(text)).toString());
    expect(pieces).to.deep.equal(['', '', 'ef', 'g\n']);
  });
});

describe('channel and what its child said', () => {
  it('holds it as long as a client’s stream has not taken it', async () => {
    const { channel, link } = openBench();
    const [one, two] = [new FakeSink(), new FakeSink()];
    let [takeOne, takeTwo] = [(): void => undefined, (): void => undefined];
    one.gate = new Promise((resolve) => (takeOne = resolve));
    two.gate = new Promise((resolve) => (takeTwo = resolve));
    const calls = [channel.call(aRequest(1), one), channel.call(aRequest(2), two)];
    expect(link.retained).to.equal(false);
    for (const sent of [...link.sent]) link.reply(sent);
    expect(link.retained).to.equal(true);
    takeOne();
    await calls[0];
    expect(link.retained).to.equal(true);
    takeTwo();
    await calls[1];
    expect(link.retained).to.equal(false);
    await channel.close();
  });
});

describe('channel that lets go of its child', () => {
  it('answers what is in flight as lost, ends as closed, and leaves the child alone', async () => {
    const { channel, link, clock } = openBench();
    const sink = new FakeSink();
    const call = channel.call(aRequest(1), sink);
    expect(channel.release()).to.equal(true);
    await call;
    expect(sink.last.error.data).to.deep.equal({ code: 'BACKEND_ENDED', reason: 'closed' });
    const exit: BackendExit = { reason: 'closed' };
    expect(await channel.ended).to.deep.equal({ reason: 'closed', exit });
    expect([link.releases, link.closes]).to.deep.equal([1, 0]);
    await settle();
    expect(clock.timers).to.equal(0);
  });

  it('takes nothing more from then on, and holds what streams have not taken until the child is let go of', async () => {
    const { channel, link } = openBench();
    const sink = new FakeSink();
    let take = (): void => undefined;
    sink.gate = new Promise((resolve) => (take = resolve));
    const call = channel.call(aRequest(1), sink);
    link.reply(link.last, 'x'.repeat(100_000));
    expect([link.paused, link.retained]).to.deep.equal([true, true]);
    link.release = () => undefined; // what was written is on its way
    expect(channel.release()).to.equal(true);
    const refused: unknown = await channel.notify({ jsonrpc: '2.0', method: 'x' }).catch((thrown: unknown) => thrown);
    expect(refused).to.include({ code: 'LINK_CLOSED' });
    expect([link.paused, link.retained]).to.deep.equal([true, true]);
    link.exit({ reason: 'closed' });
    expect((await channel.ended).reason).to.equal('closed');
    take();
    await call;
  });

  it('does nothing once it closes, or where the child cannot be left', async () => {
    const { channel, link } = openBench();
    const closing = channel.close();
    expect(channel.release()).to.equal(false);
    await closing;
    expect(link.releases).to.equal(0);
    const kept = new FakeLink();
    Object.assign(kept, { release: undefined });
    const other = openBench({}, kept);
    expect(other.channel.release()).to.equal(false);
    await other.channel.close();
  });
});
