/** What administrators do: a server is emptied, and records are removed. */
import { expect } from 'chai';
import type { RegistryOptions } from '../../src/sessions/registry';
import { aRequest } from '../support/channel';
import { anAuth, aServer, refusal, SessionBench } from '../support/fake-sessions';
import { FakeSink, settle } from '../support/fake-link';
import { MemoryStore } from '../support/memory-store';

const DRAIN_SECONDS = 20;

describe('sessions of a server that is emptied', () => {
  let bench: SessionBench;
  const drained = new Set<string>();
  const signal = new AbortController().signal;
  const setUp = (over: Partial<RegistryOptions> = {}): void => {
    drained.clear();
    bench = new SessionBench({ drains: (name) => drained.has(name), drainTimeout: DRAIN_SECONDS, ...over });
  };
  const drain = async (name = 'forgejo'): Promise<void> => {
    drained.add(name);
    bench.registry.serverChanged(name);
    await settle();
  };
  const undo = (name = 'forgejo'): void => {
    drained.delete(name);
    bench.registry.serverChanged(name);
  };
  const use = (id: string, server = aServer()) => bench.registry.use(anAuth(), server, id);

  beforeEach(() => setUp());
  afterEach(async () => {
    const stopped = bench.registry.stop(0);
    await settle();
    for (const { link } of bench.starts) link.exit({ reason: 'closed' });
    bench.clock.advance(60_000);
    await stopped;
    expect(bench.registry.size).to.equal(0);
    expect(bench.clock.timers, 'timers left').to.equal(0);
  });

  it('open none: 503 SERVER_DRAINING with Retry-After, paused or not', async () => {
    for (const paused of [false, true]) {
      const opening = bench.registry.open(anAuth(), aServer({ drain: true, paused }), signal);
      expect(await refusal(opening)).to.include({ code: 'SERVER_DRAINING', status: 503, retryAfter: 60 });
    }
    expect(bench.starts).to.have.length(0);
  });

  it('end at once where nobody uses them, awake or asleep: 404, with the reason in their records; those of others go on', async () => {
    const asleep = await bench.session(anAuth(), aServer({ idleTimeout: 1 }));
    bench.clock.advance(31_000);
    await settle();
    expect(bench.log.sleeps).to.deep.equal(['idle']);
    const awake = await bench.session();
    const other = await bench.session(anAuth(), aServer({ name: 'other' }));
    await drain();
    for (const { id } of [asleep, awake]) {
      expect(await refusal(use(id))).to.include({ code: 'SESSION_ENDED', status: 404 });
      expect(await bench.recordOf(id)).to.include({ state: 'ended', endReason: 'drained' });
    }
    expect(awake.link.running).to.equal(false);
    (await use(other.id, aServer({ name: 'other' }))).release();
    expect(bench.log.ends).to.deep.equal(['drained', 'drained']);
  });

  it('answer the calls that are in flight, take no further ones (404), and end then', async () => {
    const { id, link } = await bench.session();
    const handle = await use(id);
    const sink = new FakeSink();
    const call = handle.call(aRequest(1), sink);
    const inFlight = link.last;
    await drain();
    expect(link.running).to.equal(true);
    const late = await use(id);
    expect(await refusal(late.call(aRequest(2), new FakeSink()))).to.include({ code: 'SESSION_ENDED', status: 404 });
    await late.answer({ jsonrpc: '2.0', id: 'an answer to what the child asks', result: {} });
    late.release();
    link.reply(inFlight, 'done');
    await call;
    expect(sink.last.result).to.equal('done');
    handle.release();
    await settle();
    expect(link.running).to.equal(false);
    expect(await bench.recordOf(id)).to.include({ endReason: 'drained' });
  });

  it('end with their calls unanswered when the drain time is over', async () => {
    const { id, link } = await bench.session();
    const handle = await use(id);
    const sink = new FakeSink();
    const call = handle.call(aRequest(1), sink);
    await drain();
    bench.clock.advance(DRAIN_SECONDS * 1000 - 1);
    await settle();
    expect(link.running).to.equal(true);
    bench.clock.advance(1);
    await settle();
    await call;
    expect(sink.last.error).to.not.equal(undefined);
    handle.release();
    expect(await bench.recordOf(id)).to.include({ endReason: 'drained' });
  });

  it('go on where that is taken back in time, and one that is open then takes calls again', async () => {
    const { id, link } = await bench.session();
    const handle = await use(id);
    const call = handle.call(aRequest(1), new FakeSink());
    const inFlight = link.last;
    await drain();
    undo();
    const again = handle.call(aRequest(2), new FakeSink());
    link.reply(link.last, 2);
    await again;
    link.reply(inFlight, 1);
    await call;
    handle.release();
    bench.clock.advance(DRAIN_SECONDS * 1000);
    await settle();
    expect(link.running).to.equal(true);
    (await use(id)).release();
    expect((await bench.session()).link.running).to.equal(true);
  });

  it('end at the next sweep where nobody told that the server is emptied', async () => {
    const { id } = await bench.session();
    drained.add('forgejo');
    bench.clock.advance(30_000);
    await settle();
    expect(await refusal(use(id))).to.include({ status: 404 });
  });

  it('are given up while they start', async () => {
    bench.autoStart = false;
    const opening = refusal(bench.registry.open(anAuth(), aServer(), signal));
    await settle();
    await drain();
    expect(await opening).to.include({ code: 'SESSION_ENDED' });
    bench.lastStart.come();
    await settle();
    expect(bench.running).to.equal(0);
  });

  it('of clients that know of none say when to try again: 503', async () => {
    const handle = await bench.registry.open(anAuth(), aServer(), signal, { outlives: 'nothing' });
    await bench.initialize(handle);
    const held = await use(handle.id);
    const call = held.call(aRequest(1), new FakeSink());
    const { link } = bench.lastStart;
    const inFlight = link.last;
    await drain();
    expect(await refusal(held.call(aRequest(2), new FakeSink()))).to.include({ code: 'SERVER_DRAINING', status: 503 });
    link.reply(inFlight, 1);
    await call;
    held.release();
  });

  it('are not taken over from a gateway that is dead: 404, and its child goes', async () => {
    const records = new Map();
    const store = new MemoryStore('dead', records);
    const before = new SessionBench({
      store,
      holders: { self: 'dead', isSure: true, doubts: 0, isAlive: async () => true },
    });
    const { id, name } = await before.session();
    records.set(name, { ...records.get(name), child: { instance: 'its-pod' } });
    setUp({
      store: new MemoryStore('self', records),
      ids: before.ids,
      holders: { self: 'self', isSure: true, doubts: 0, isAlive: async (holder) => holder !== 'dead' },
    });
    await drain();
    expect(await refusal(use(id))).to.include({ status: 404 });
    await settle();
    expect(bench.discarded).to.deep.equal([{ instance: 'its-pod' }]);
    expect(records.get(name)).to.include({ state: 'ended', endReason: 'drained' });
    expect(bench.starts).to.have.length(0);
    const stopped = before.registry.stop(0);
    before.clock.advance(60_000);
    await stopped;
  });
});

describe('sessions whose record somebody removed', () => {
  let bench: SessionBench;
  let store: MemoryStore;
  const use = (id: string) => bench.registry.use(anAuth(), aServer(), id);

  beforeEach(() => {
    store = new MemoryStore('self');
    const holders = { self: 'self', isSure: true, doubts: 0, isAlive: async () => true };
    bench = new SessionBench({ store, holders });
  });
  afterEach(async () => {
    store.down = false;
    const stopped = bench.registry.stop(0);
    await settle();
    bench.clock.advance(60_000);
    await stopped;
    expect(bench.clock.timers, 'timers left').to.equal(0);
  });

  it('end with their child: a call in flight is told so, and the next message is 404', async () => {
    const { id, name, link } = await bench.session();
    const handle = await use(id);
    const sink = new FakeSink();
    const call = handle.call(aRequest(1), sink);
    store.remove(name);
    await call;
    expect(sink.last.error).to.not.equal(undefined);
    handle.release();
    await settle();
    expect([link.running, bench.log.ends]).to.deep.equal([false, ['removed']]);
    expect(await refusal(use(id))).to.include({ code: 'SESSION_ENDED', status: 404 });
  });

  it('end asleep: 404, and no child is started', async () => {
    const { id, name } = await bench.session(anAuth(), aServer({ idleTimeout: 1 }));
    bench.clock.advance(31_000);
    await settle();
    store.remove(name);
    await settle();
    expect(bench.registry.size).to.equal(0);
    expect((await refusal(use(id))).status).to.equal(404);
    expect(bench.starts).to.have.length(1);
  });

  it('end while they start, and what comes of that start goes', async () => {
    bench.autoStart = false;
    const opening = refusal(bench.registry.open(anAuth(), aServer(), new AbortController().signal));
    await settle();
    store.remove(bench.lastStart.request.session);
    expect(await opening).to.include({ code: 'SESSION_ENDED' });
    bench.lastStart.come();
    await settle();
    expect([bench.running, bench.registry.size]).to.deep.equal([0, 0]);
  });

  it('end all of one user: 100 at once, and none of another', async () => {
    const own = await Promise.all([...Array(100).keys()].map(() => bench.session(anAuth('7'))));
    const other = await bench.session(anAuth('8'));
    for (const { name } of own) store.remove(name);
    await settle();
    expect([bench.registry.size, bench.running]).to.deep.equal([1, 1]);
    (await bench.registry.use(anAuth('8'), aServer(), other.id)).release();
    for (const { id } of own) expect((await refusal(use(id))).status).to.equal(404);
  });

  it('end by the reason that another gateway gave them', async () => {
    const { id, name, link } = await bench.session();
    await new MemoryStore('other', store.records).view?.end(name, 'user', 5);
    await settle();
    expect([link.running, bench.log.ends]).to.deep.equal([false, ['user']]);
    expect((await refusal(use(id))).status).to.equal(404);
  });

  it('end when they are to be used where nobody saw that, and a store that is away ends nothing', async () => {
    const { id, name, link } = await bench.session();
    store.down = true;
    store.remove(name);
    await settle();
    expect(link.running).to.equal(true);
    store.down = false;
    link.exit({ reason: 'lost' });
    await settle();
    expect((await refusal(use(id))).status).to.equal(404);
  });
});
