import { expect } from 'chai';
import { OUTBOUND_LIMIT } from '../../src/bridge/outbound';
import { cites } from '../requirements';
import { aRequest, openBench, type Bench } from '../support/channel';
import { FakeSink, settle } from '../support/fake-link';
import { heldBytes } from '../support/memory';

/** A promise and how to end it. */
function gate(): { readonly open: () => void; readonly fail: () => void; readonly closed: Promise<void> } {
  let open: () => void = () => undefined;
  let fail: () => void = () => undefined;
  const closed = new Promise<void>((resolve, reject) => {
    open = resolve;
    fail = () => reject(new Error('stalled'));
  });
  return { open, fail, closed };
}

describe('back-pressure', () => {
  let bench: Bench;

  beforeEach(() => {
    bench = openBench({ maxLineBytes: 8_388_608 });
  });

  afterEach(async () => {
    await bench.channel.close();
    expect(bench.observer.faults).to.deep.equal([]);
  });

  const big = { jsonrpc: '2.0', method: 'notifications/message', params: { data: 'x'.repeat(100_000) } };
  const small = { jsonrpc: '2.0', method: 'notifications/message', params: { data: 'x' } };

  it('stops reading the child while a stream has too much waiting, and reads on when it has taken it', async () => {
    cites('2024-11-05/progress/6');
    const sink = new FakeSink();
    bench.channel.listen(sink);
    const first = gate();
    sink.gate = first.closed;
    bench.link.say(big);
    expect(bench.link.paused).to.equal(true);
    first.open();
    await settle();
    expect(bench.link.paused).to.equal(false);
  });

  it('reads on only when little is left, so that it does not stop and go for each message', async () => {
    const [slow, slower] = [new FakeSink(), new FakeSink()];
    const gates = [gate(), gate()];
    [slow, slower].forEach((sink, i) => {
      sink.gate = gates[i]?.closed;
      bench.channel.listen(sink);
      bench.link.say({ ...small, params: { data: 'x'.repeat(40_000) } });
    });
    expect(bench.link.paused).to.equal(true);
    gates[0]?.open();
    await settle();
    expect(bench.link.paused).to.equal(true);
    gates[1]?.open();
    await settle();
    expect(bench.link.paused).to.equal(false);
  });

  it('does not stop reading for a little', () => {
    const sink = new FakeSink();
    sink.gate = gate().closed;
    bench.channel.listen(sink);
    bench.link.say(small);
    expect(bench.link.paused).to.equal(false);
  });

  it('reads on when the stream that stalled is given up, and gives the rest to others', async () => {
    const [other, stalled] = [new FakeSink(), new FakeSink()];
    bench.channel.listen(other);
    bench.channel.listen(stalled);
    const stall = gate();
    stalled.gate = stall.closed;
    bench.link.say(big);
    bench.link.say(big);
    expect(bench.link.pauses).to.equal(1);
    stall.fail();
    await settle();
    expect(bench.link.paused).to.equal(false);
    expect(other.messages).to.have.length(2);
  });

  it('lets a call resolve only when its answer was taken', async () => {
    const sink = new FakeSink();
    const taken = gate();
    sink.gate = taken.closed;
    let resolved = false;
    const call = bench.channel.call(aRequest(1), sink).then(() => {
      resolved = true;
    });
    bench.link.reply(bench.link.last);
    await settle();
    expect(resolved).to.equal(false);
    taken.open();
    await call;
  });

  it('resolves a call whose answer was not taken because the stream stalled', async () => {
    const sink = new FakeSink();
    const taken = gate();
    sink.gate = taken.closed;
    const call = bench.channel.call(aRequest(1), sink);
    bench.link.reply(bench.link.last);
    taken.fail();
    await call;
    expect(bench.observer.drops).to.deep.equal(['stream-gone']);
  });

  it('does not keep a session from closing: the child is read to its end, within bounds', async () => {
    const sink = new FakeSink();
    sink.gate = gate().closed;
    bench.channel.listen(sink);
    bench.link.exitOnClose = false;
    bench.link.say(big);
    expect(bench.link.paused).to.equal(true);
    const closed = bench.channel.close();
    expect(bench.link.paused).to.equal(false);
    for (let i = 0; i < 100; i += 1) bench.link.say(big);
    expect(bench.link.paused).to.equal(false);
    expect(sink.messages).to.have.length.below(13);
    expect(bench.observer.drops).to.include('stream-gone');
    bench.link.exit({ reason: 'closed' });
    await closed;
  });

  it('reads a child slowly that floods its stdout with what nobody gets', async () => {
    const waste: (() => void)[] = [
      () => bench.link.push(`${'noise '.repeat(50_000)}\n`),
      () => bench.link.push(`${'x'.repeat(9_000_000)}\n`),
      () => bench.link.say(big),
      () => bench.link.say({ ...big, method: 'notifications/progress' }),
      () => bench.link.say({ jsonrpc: '2.0', id: 'i0.9.n1', result: 'x'.repeat(100_000) }),
      () => bench.link.say({ ...big, id: 7 }),
    ];
    for (const write of waste) {
      for (let i = 0; i < 20 && !bench.link.paused; i += 1) write();
      expect(bench.link.paused).to.equal(true);
      write();
      bench.clock.advance(249);
      expect(bench.link.paused).to.equal(true);
      bench.clock.advance(1);
      expect(bench.link.paused).to.equal(false);
    }
    const sink = new FakeSink();
    const call = bench.channel.call(aRequest(1), sink);
    bench.link.reply(bench.link.last);
    await call;
    bench.link.push(`${'noise '.repeat(500_000)}\n`);
    expect(bench.link.paused).to.equal(true);
    await bench.channel.close();
    expect([bench.link.paused, bench.clock.timers]).to.deep.equal([false, 0]);
  });

  it('passes 100 MiB in 1 MiB messages on, whole, with flat memory', async function () {
    this.timeout(60_000);
    const sink = new FakeSink();
    const lengths: number[] = [];
    let outstanding = 0;
    let most = 0;
    sink.send = (_message, json) => {
      lengths.push(json.length);
      outstanding += json.length;
      most = Math.max(most, outstanding);
      return new Promise((resolve) =>
        setImmediate(() => {
          outstanding -= json.length;
          resolve();
        }),
      );
    };
    const text = 'x'.repeat(1_048_576 - 100);
    let held = 0;
    for (let i = 0; i < 100; i += 1) {
      const call = bench.channel.call(aRequest(i), sink);
      const line = Buffer.from(
        `{"jsonrpc":"2.0","id":"${bench.link.sent.pop()?.id ?? ''}","result":{"text":"${text}"}}\n`,
      );
      for (let at = 0; at < line.length; at += 32_768) {
        while (bench.link.paused) await new Promise((resolve) => setImmediate(resolve));
        bench.link.push(line.subarray(at, at + 32_768));
      }
      await call;
      if (i === 9) held = heldBytes();
    }
    expect(lengths).to.have.length(100);
    expect(lengths.every((length) => length > text.length)).to.equal(true);
    expect(most).to.be.below(2_200_000);
    expect(heldBytes() - held).to.be.below(4_194_304);
  });

  describe('towards the child', () => {
    const notification = { jsonrpc: '2.0', method: 'x', params: { data: 'x'.repeat(OUTBOUND_LIMIT) } } as const;

    it('refuses with CALLS_TOO_MANY what comes while the child does not read, and takes it again afterwards', async () => {
      cites('2024-11-05/tools/5');
      const reading = gate();
      bench.link.gate = reading.closed;
      const first = bench.channel.notify(notification);
      for (const work of [
        bench.channel.notify(notification),
        bench.channel.answer({ jsonrpc: '2.0', id: 'r0.1.n1', result: {} }),
        bench.channel.call(aRequest(1), new FakeSink()),
      ]) {
        const thrown: unknown = await work.catch((reason: unknown) => reason);
        expect(thrown).to.include({ code: 'CALLS_TOO_MANY', retryAfter: 1 });
      }
      reading.open();
      await first;
      await bench.channel.notify({ jsonrpc: '2.0', method: 'y' });
      expect(bench.link.last).to.include({ method: 'y' });
    });

    it('drops what the child asks for itself but does not read', () => {
      bench.link.gate = gate().closed;
      void bench.channel.notify(notification);
      bench.link.say({ jsonrpc: '2.0', id: 1, method: 'ping' });
      expect(bench.link.sent).to.have.length(1);
      expect(bench.observer.drops).to.deep.equal(['overflow']);
    });

    it('does not mind a child that is gone before it got our own word', async () => {
      bench.link.broken = true;
      bench.link.say({ jsonrpc: '2.0', id: 1, method: 'ping' });
      await settle();
      expect(bench.observer.drops).to.deep.equal([]);
    });

    it('says nothing to a child that has ended', async () => {
      bench.link.push('{"jsonrpc":"2.0","id":1,"method":"ping"}');
      bench.link.exit({ reason: 'exited' });
      await bench.channel.ended;
      expect(bench.observer.faults).to.deep.equal([]);
    });
  });
});
