/** What the gateway learns of a child's tools: asked once, seen by no client. */
import { expect } from 'chai';
import { aRequest, openBench, type Bench } from '../support/channel';
import { FakeSink, settle, type Sent } from '../support/fake-link';

interface Page {
  readonly tools?: unknown;
  readonly nextCursor?: unknown;
}

const READS = { name: 'reads', annotations: { readOnlyHint: true } };
const WRITES = { name: 'writes', annotations: { readOnlyHint: false } };
const PLAIN = { name: 'plain' };

describe('tools as the child describes them', () => {
  let bench: Bench;
  /** Pages by cursor; a page that is not there is answered with an error. */
  let pages: Record<string, Page>;

  const lists = () => bench.link.sent.filter(({ method }) => method === 'tools/list');

  /** A channel after its `initialize`, whose child lists `pages`. */
  const start = async (capabilities: unknown = { tools: {} }, over = {}): Promise<FakeSink> => {
    bench = openBench(over);
    bench.link.onMessage = (message: Sent) => {
      if (message.method === 'initialize') bench.link.reply(message, { protocolVersion: '2025-06-18', capabilities });
      if (message.method === 'tools/list') answer(message);
    };
    const sink = new FakeSink();
    await bench.channel.call(aRequest(1, 'initialize', {}), sink);
    return sink;
  };

  const answer = (message: Sent) => {
    const { cursor } = message.params;
    const page = pages[typeof cursor === 'string' ? cursor : ''];
    if (page !== undefined) bench.link.reply(message, page);
    else bench.link.say({ jsonrpc: '2.0', id: message.id, error: { code: -32601, message: 'no' } });
  };

  beforeEach(() => {
    pages = { '': { tools: [READS, WRITES, PLAIN] } };
  });

  it('tells readers from writers; a tool without the hint writes where others are marked as readers', async () => {
    await start();
    expect(await bench.channel.tool('reads')).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(await bench.channel.tool('writes')).to.deep.equal({ readOnly: false, mirrored: [] });
    expect(await bench.channel.tool('plain')).to.deep.equal({ readOnly: false, mirrored: [] });
    expect(await bench.channel.tool('absent')).to.equal(undefined);
    expect(lists()).to.have.length(1);
  });

  it('tells nothing of tools without the hint where no tool is marked as a reader', async () => {
    pages = {
      '': { tools: [PLAIN, { name: 'titled', annotations: { title: 'T', readOnlyHint: 'yes' } }, WRITES] },
    };
    await start();
    expect(await bench.channel.tool('plain')).to.deep.equal({ readOnly: undefined, mirrored: [] });
    expect(await bench.channel.tool('titled')).to.deep.equal({ readOnly: undefined, mirrored: [] });
    expect(await bench.channel.tool('writes')).to.deep.equal({ readOnly: false, mirrored: [] });
  });

  it('passes over entries that are no tools', async () => {
    const long = 'n'.repeat(1025);
    pages = { '': { tools: [null, 7, { name: 8 }, { ...READS, name: long }, WRITES] } };
    await start();
    expect(await bench.channel.tool(long)).to.equal(undefined);
    expect(await bench.channel.tool('writes')).to.deep.equal({ readOnly: false, mirrored: [] });
  });

  it('reads all pages [2024-11-05/pagination/3, 2024-11-05/pagination/4]', async () => {
    pages = {
      '': { tools: [PLAIN], nextCursor: 'b' },
      b: { tools: [WRITES], nextCursor: 'c' },
      c: { tools: [READS] },
    };
    await start();
    expect(await bench.channel.tool('plain')).to.deep.equal({ readOnly: false, mirrored: [] });
    expect(lists().map(({ params }) => params)).to.deep.equal([{}, { cursor: 'b' }, { cursor: 'c' }]);
  });

  it('keeps what it has where a later page fails', async () => {
    pages = { '': { tools: [READS], nextCursor: 'gone' } };
    await start();
    expect(await bench.channel.tool('reads')).to.deep.equal({ readOnly: true, mirrored: [] });
  });

  it('ends with 64 pages, and with 4096 tools', async () => {
    pages = { '': { tools: [READS], nextCursor: 'again' }, again: { tools: [], nextCursor: 'again' } };
    await start();
    expect(await bench.channel.tool('reads')).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(lists()).to.have.length(64);
    const many = Array.from({ length: 5000 }, (_, i) => ({ ...READS, name: `n${i}` }));
    pages = { '': { tools: many, nextCursor: 'again' }, again: { tools: [WRITES] } };
    await start();
    expect(await bench.channel.tool('n4095')).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(await bench.channel.tool('n4096')).to.equal(undefined);
    expect(await bench.channel.tool('writes')).to.equal(undefined);
    expect(lists()).to.have.length(1);
  });

  it('asks once for many callers at once', async () => {
    await start();
    const all = await Promise.all(Array.from({ length: 200 }, () => bench.channel.tool('reads')));
    expect(new Set(all.map((facts) => facts?.readOnly))).to.deep.equal(new Set([true]));
    expect(lists()).to.have.length(1);
  });

  it('asks again after the child said that its list has changed, and the client hears of the change', async () => {
    await start();
    const get = new FakeSink();
    bench.channel.listen(get);
    expect(await bench.channel.tool('new')).to.equal(undefined);
    pages = { '': { tools: [READS, { name: 'new' }] } };
    expect(await bench.channel.tool('new')).to.equal(undefined);
    bench.link.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    expect(await bench.channel.tool('new')).to.deep.equal({ readOnly: false, mirrored: [] });
    expect(get.messages.map(({ method }) => method)).to.deep.equal(['notifications/tools/list_changed']);
  });

  it('does not ask a child without the capability, nor before the answer to initialize', async () => {
    for (const capabilities of [{}, null, { tools: true }]) {
      await start(capabilities);
      expect(await bench.channel.tool('reads')).to.equal(undefined);
      expect(lists()).to.have.length(0);
    }
    bench = openBench();
    expect(await bench.channel.tool('reads')).to.equal(undefined);
    expect(bench.link.sent).to.have.length(0);
  });

  for (const [what, page] of [
    ['an error', undefined],
    ['no list', { tools: 'none' }],
    ['nothing', {}],
  ] as const) {
    it(`knows nothing of a child that answers with ${what}, and asks it again after 30 seconds, once for all callers`, async () => {
      const failing: typeof pages = page === undefined ? {} : { '': page };
      pages = failing;
      await start();
      const ask = async () =>
        new Set(await Promise.all(Array.from({ length: 100 }, () => bench.channel.tool('reads'))));
      expect(await ask()).to.deep.equal(new Set([undefined]));
      bench.clock.advance(29_999);
      expect(await ask()).to.deep.equal(new Set([undefined]));
      expect(lists()).to.have.length(1);
      bench.clock.advance(1);
      expect(await ask()).to.deep.equal(new Set([undefined]));
      expect(await ask()).to.deep.equal(new Set([undefined]));
      expect(lists()).to.have.length(2);
      pages = { '': { tools: [READS] } };
      bench.clock.advance(29_999);
      expect(await ask()).to.deep.equal(new Set([undefined]));
      bench.clock.advance(1);
      expect(await ask()).to.deep.equal(new Set([{ readOnly: true, mirrored: [] }]));
      pages = failing;
      bench.clock.advance(3_600_000);
      expect(await bench.channel.tool('reads')).to.deep.equal({ readOnly: true, mirrored: [] });
      expect(await bench.channel.tool('absent'), 'the list is whole').to.equal(undefined);
      expect(lists()).to.have.length(3);
    });
  }

  it('asks a child again whose start took longer than the first list was waited for', async () => {
    await start();
    const ready = bench.link.onMessage;
    bench.link.onMessage = () => undefined;
    const early = bench.channel.tool('writes');
    bench.clock.advance(5_000);
    expect(await early).to.equal(undefined);
    bench.link.onMessage = ready;
    bench.clock.advance(30_000);
    expect(await bench.channel.tool('writes')).to.deep.equal({ readOnly: false, mirrored: [] });
  });

  it('asks again for a tool that was not on the pages that came, and keeps what it has where that fails as well', async () => {
    pages = { '': { tools: [READS], nextCursor: 'b' } };
    await start();
    expect(await bench.channel.tool('writes')).to.equal(undefined);
    bench.clock.advance(30_000);
    expect(await bench.channel.tool('reads')).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(lists()).to.have.length(2);
    pages = {};
    expect(await bench.channel.tool('writes')).to.equal(undefined);
    expect(await bench.channel.tool('reads')).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(lists()).to.have.length(3);
    pages = { '': { tools: [READS], nextCursor: 'b' }, b: { tools: [WRITES] } };
    bench.clock.advance(30_000);
    expect(await bench.channel.tool('writes')).to.deep.equal({ readOnly: false, mirrored: [] });
    expect(lists()).to.have.length(5);
  });

  it('does not wait to ask again after the child said that its list has changed', async () => {
    pages = {};
    await start();
    expect(await bench.channel.tool('reads')).to.equal(undefined);
    pages = { '': { tools: [READS] } };
    bench.link.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    expect(await bench.channel.tool('reads')).to.deep.equal({ readOnly: true, mirrored: [] });
  });

  it('asks afresh, without a wait, where the list changed while it was asked for again', async () => {
    pages = {};
    await start();
    expect(await bench.channel.tool('reads')).to.equal(undefined);
    bench.clock.advance(30_000);
    const ready = bench.link.onMessage;
    bench.link.onMessage = () => undefined;
    const waiting = Array.from({ length: 100 }, () => bench.channel.tool('reads'));
    await settle();
    const second = bench.link.last;
    bench.link.onMessage = ready;
    bench.link.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    answer(second);
    expect(new Set(await Promise.all(waiting))).to.deep.equal(new Set([undefined]));
    pages = { '': { tools: [READS] } };
    expect(await bench.channel.tool('reads')).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(lists()).to.have.length(3);
  });

  it('knows nothing of a child whose answer is longer than a line may be; the session goes on', async () => {
    pages = { '': { tools: [{ ...READS, description: 'd'.repeat(20_000) }] } };
    await start({ tools: {} }, { maxLineBytes: 10_000 });
    expect(await bench.channel.tool('reads')).to.equal(undefined);
    expect(bench.observer.drops).to.deep.equal(['too-long']);
    pages = { '': { tools: [] } };
    const sink = new FakeSink();
    await bench.channel.call(aRequest(2, 'tools/list', {}), sink);
    expect(sink.last.result).to.deep.equal({ tools: [] });
  });

  it('gives a silent child five seconds for all pages, takes the request back, and passes over what comes late', async () => {
    pages = { '': { tools: [READS], nextCursor: 'b' } };
    await start();
    bench.link.onMessage = (message) => {
      bench.clock.advance(2_000);
      if (message.method === 'tools/list' && message.params.cursor === undefined) answer(message);
    };
    const asked = bench.channel.tool('reads');
    await settle();
    expect(lists()).to.have.length(2);
    const late = bench.link.last;
    bench.link.onMessage = () => undefined;
    bench.clock.advance(1_000);
    expect(await asked).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(bench.link.last.method).to.equal('notifications/cancelled');
    expect(bench.link.last.params.requestId).to.equal(late.id);
    bench.link.reply(late, { tools: [WRITES] });
    expect(bench.observer.drops).to.deep.equal(['late-answer']);
    expect(await bench.channel.tool('writes')).to.equal(undefined);
    expect(bench.clock.timers).to.equal(1); // the table of calls keeps its one
  });

  it('asks no more pages of a child that took the whole time for one', async () => {
    pages = { '': { tools: [READS], nextCursor: 'b' } };
    await start();
    const silent = bench.link.onMessage;
    let first: Sent | undefined;
    bench.link.onMessage = (message) => (first ??= message);
    const asked = bench.channel.tool('reads');
    bench.link.onMessage = silent;
    answer(first!);
    bench.clock.advance(5_000);
    expect(await asked).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(lists()).to.have.length(1);
  });

  it("leaves a client's own list with any id alone, and no client can cancel ours or hear of it", async () => {
    await start();
    const held: Sent[] = [];
    bench.link.onMessage = (message) => {
      if (message.method === 'tools/list') held.push(message);
    };
    const ours = bench.channel.tool('reads');
    const { id } = bench.link.last;
    await bench.channel.notify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } });
    expect(bench.observer.drops).to.deep.equal(['late-answer']);
    expect(bench.channel.inFlight).to.equal(0);
    const clients = [id, 1, 1].map((own) => {
      const sink = new FakeSink();
      void bench.channel.call(aRequest(own, 'tools/list'), sink);
      return { own, sink };
    });
    expect(new Set(held.map((message) => message.id)).size).to.equal(4);
    for (const message of held.toReversed()) bench.link.reply(message, { tools: [READS], to: message.id });
    expect(await ours).to.deep.equal({ readOnly: true, mirrored: [] });
    for (const { own, sink } of clients) {
      expect(sink.messages.map((message) => message.id)).to.deep.equal([own]);
      expect(sink.last.result.to).not.to.equal(id);
    }
    expect(bench.observer.calls.map(({ method }) => method)).to.deep.equal([
      'initialize',
      'tools/list',
      'tools/list',
      'tools/list',
    ]);
  });

  it('does not take its own request for a call that the child speaks to', async () => {
    await start();
    bench.link.onMessage = () => undefined;
    const ours = bench.channel.tool('reads');
    bench.link.say({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' } });
    expect(bench.observer.drops).to.deep.equal(['no-stream']);
    answer(bench.link.last);
    expect(await ours).to.deep.equal({ readOnly: true, mirrored: [] });
  });

  it('knows nothing of a child that ends meanwhile, or has ended; no timer is left', async () => {
    pages = { '': { tools: [READS], nextCursor: 'b' } };
    await start();
    bench.link.onMessage = () => undefined;
    const asked = bench.channel.tool('writes');
    answer(bench.link.last);
    bench.link.exit({ reason: 'exited', code: 1 });
    await bench.channel.ended;
    expect(await asked).to.equal(undefined);
    expect(await bench.channel.tool('reads')).to.equal(undefined);
    expect(bench.clock.timers).to.equal(0);
    await start();
    bench.link.onMessage = () => undefined;
    const last = bench.channel.tool('reads');
    // The last line, read with the end itself: there is nobody left to ask for the second page.
    bench.link.push(JSON.stringify({ jsonrpc: '2.0', id: bench.link.last.id, result: pages[''] }));
    bench.link.exit({ reason: 'exited', code: 0 });
    expect(await last).to.deep.equal({ readOnly: true, mirrored: [] });
    expect(lists()).to.have.length(1);
    expect(bench.clock.timers).to.equal(0);
    await start();
    bench.link.onMessage = () => undefined;
    const waiting = bench.channel.tool('reads');
    bench.link.exit({ reason: 'oom' });
    expect(await waiting).to.equal(undefined);
    expect(bench.clock.timers).to.equal(0);
  });
});
