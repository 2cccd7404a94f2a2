/** A channel to a child that another process had before. */
import { expect } from 'chai';
import type { BackendExit } from '../../src/backends/contract';
import { fromLineStart } from '../../src/bridge/framing';
import { aRequest, openBench, type Bench } from '../support/channel';
import { FakeLink, FakeSink, settle } from '../support/fake-link';

const LINK = { stdinMidLine: false, stdoutMidLine: false };

function takenOver(over: Partial<typeof LINK> = {}): Bench & { readonly written: string[] } {
  const link = new FakeLink();
  link.takeover = { ...LINK, ...over };
  const written: string[] = [];
  const write = link.write.bind(link);
  link.write = (bytes) => {
    written.push(bytes.toString());
    return write(bytes);
  };
  return { ...openBench({ generation: 3, negotiated: '2025-11-25' }, link), written };
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

  it('drops an answer to a call of the one before, and counts it', async () => {
    const { channel, link, observer } = takenOver();
    link.say({ jsonrpc: '2.0', id: 'i0.7.n1', result: 1 });
    expect(observer.drops).to.deep.equal(['late-answer']);
    await channel.close();
  });

  it('skips to the start of a line over any number of pieces', () => {
    const whole = fromLineStart(true);
    const pieces = ['abc', '', 'd\nef', 'g\n'].map((text) => whole(Buffer.from(text)).toString());
    expect(pieces).to.deep.equal(['', '', 'ef', 'g\n']);
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
