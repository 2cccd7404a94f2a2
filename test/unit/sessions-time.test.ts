/** Caps under concurrency, the reaper, races with an expiry, and the stop. */
import { getEventListeners } from 'node:events';
import { expect } from 'chai';
import { AppError } from '../../src/errors';
import type { RegistryOptions } from '../../src/sessions/registry';
import { aRequest } from '../support/channel';
import { Ledger } from '../../src/sessions/ledger';
import { aRecord } from '../contract/session-store';
import { anAuth, aServer, BreakableStore, refusal, SessionBench } from '../support/fake-sessions';
import { FakeClock, FakeSink, settle } from '../support/fake-link';

const signal = new AbortController().signal;

describe('caps of the registry', () => {
  it('are never over by one under 200 concurrent initializes, and exactly full', async () => {
    const bench = new SessionBench({ maxPerUser: 5, maxTotal: 42 });
    bench.autoStart = false;
    const outcomes = Promise.all(
      [...Array(200).keys()].map((i) =>
        bench.registry.open(anAuth(String(i % 20)), aServer(), signal).then(
          (handle) => ({ handle, code: 'open' }),
          (error: AppError) => ({ handle: undefined, code: error.code }),
        ),
      ),
    );
    await settle();
    expect(bench.starts).to.have.length(42);
    for (const { come } of bench.starts) come();
    const codes = (await outcomes).map(({ code }) => code);
    for (const { handle } of await outcomes) handle?.release();
    expect(codes.filter((code) => code === 'open')).to.have.length(42);
    expect(new Set(codes)).to.deep.equal(new Set(['open', 'SESSION_CAP_INSTALL']));
    expect(bench.log.refusals).to.have.length(158);
    await bench.registry.stop(0);
    expect(bench.running).to.equal(0);
  });

  it('hold for each user and each server while starts fail, succeed and end', async () => {
    const bench = new SessionBench({ maxPerUser: 3 });
    const server = aServer({ maxSessions: 10 });
    bench.autoStart = false;
    const counts = (): number[] => {
      const users = new Map<string, number>();
      for (const { request, link } of bench.starts) {
        if (link.running) users.set(request.auth.user.id, (users.get(request.auth.user.id) ?? 0) + 1);
      }
      return [...users.values()];
    };
    for (let round = 0; round < 20; round += 1) {
      const opening = [...Array(30).keys()].map((i) =>
        bench.registry.open(anAuth(String(i % 6)), server, signal).then(
          (handle) => bench.initialize(handle),
          () => undefined,
        ),
      );
      await settle();
      expect(Math.max(...counts())).to.be.at.most(3);
      expect(bench.running).to.equal(10);
      bench.starts.forEach(({ come, fail, link }, i) => {
        if (!link.running) return;
        if (i % 3 === 0) fail(new AppError('BACKEND_CRASHED', 'crashed'));
        else come();
      });
      await Promise.all(opening);
      bench.starts.forEach(({ link }, i) => {
        if (i % 3 === 1) link.exit({ reason: 'exited' });
      });
      await settle();
      for (const { link } of bench.starts) if (round % 4 === 3) link.exit({ reason: 'exited' });
      await settle();
    }
    await bench.registry.stop(0);
    expect(bench.registry.size).to.equal(0);
  });

  it('say when a place may be free: after the sweep that finds the first idle session', async () => {
    const bench = new SessionBench({ maxPerUser: 1, maxTotal: 2 });
    const first = await bench.session();
    bench.clock.advance(100_000);
    expect(await refusal(bench.registry.open(anAuth(), aServer(), signal))).to.include({
      code: 'SESSION_CAP_USER',
      retryAfter: 210,
    });
    await bench.session(anAuth('8'), aServer({ name: 'other', idleTimeout: 10, maxSessions: 1 }));
    const refused = await refusal(bench.registry.open(anAuth('9'), aServer({ name: 'other', maxSessions: 1 }), signal));
    expect(refused).to.include({ code: 'SESSION_CAP_SERVER', retryAfter: 30 });
    expect(await refusal(bench.registry.open(anAuth('9'), aServer(), signal))).to.include({
      code: 'SESSION_CAP_INSTALL',
      retryAfter: 30,
    });
    first.link.exitOnClose = false;
    void bench.registry.end(anAuth(), aServer(), first.id);
    await settle();
    expect(await refusal(bench.registry.open(anAuth(), aServer(), signal))).to.include({ retryAfter: 1 });
    first.link.exit({ reason: 'closed' });
    await bench.registry.stop(0);
  });

  it('say the time of a sweep where no session is ever idle, and look at no more than a sample', async () => {
    const bench = new SessionBench({ maxTotal: 300 });
    const opening = [...Array(300)].map(() => bench.session(anAuth(), aServer({ idleTimeout: 0 })));
    await Promise.all(opening);
    expect(await refusal(bench.registry.open(anAuth(), aServer(), signal))).to.include({ retryAfter: 30 });
    await bench.registry.stop(0);
  });
});

describe('reaper', () => {
  let bench: SessionBench;
  const setUp = (over: Partial<RegistryOptions> = {}): void => {
    bench = new SessionBench(over);
  };
  const use = (id: string, server = aServer()) => bench.registry.use(anAuth(), server, id);

  beforeEach(() => setUp());

  afterEach(async () => {
    await bench.registry.stop(0);
    expect([bench.registry.size, bench.clock.timers, bench.running]).to.deep.equal([0, 0, 0]);
  });

  it('ends a session that cannot sleep at the first sweep after its idle time, not before', async () => {
    const { id } = await bench.session(anAuth(), aServer({ stateful: true }));
    bench.clock.advance(299_999);
    await settle();
    expect(bench.running).to.equal(1);
    bench.clock.advance(1);
    expect(await bench.recordOf(id)).to.include({ endReason: 'idle' });
    expect(await refusal(use(id))).to.include({ status: 404 });
  });

  it('counts idleness from the last use', async () => {
    const { id } = await bench.session();
    bench.clock.advance(290_000);
    (await use(id)).release();
    bench.clock.advance(290_000);
    await settle();
    expect(bench.running).to.equal(1);
    bench.clock.advance(30_000);
    await settle();
    expect(bench.running).to.equal(0);
  });

  it('lets a request that comes between the idle time and the sweep go on', async () => {
    setUp({ sweepInterval: 1_000 });
    const { id } = await bench.session();
    bench.clock.advance(700_000);
    await settle();
    (await use(id)).release();
    bench.clock.advance(300_000);
    await settle();
    expect(bench.running).to.equal(0);
  });

  it('never ends a session under a handle: what was asked before is answered', async () => {
    const { id, link } = await bench.session(anAuth(), aServer({ callTimeout: 100_000 }));
    const handle = await use(id);
    bench.clock.advance(600_000);
    const sink = new FakeSink();
    const call = handle.call(aRequest(1), sink);
    handle.release();
    bench.clock.advance(600_000);
    link.reply(link.last, 'late but whole');
    await call;
    expect(sink.last.result).to.equal('late but whole');
    bench.clock.advance(299_999);
    await settle();
    expect(bench.running).to.equal(1);
    bench.clock.advance(30_001);
    await settle();
    expect(bench.running).to.equal(0);
  });

  it('is not misled by a handle that is released twice', async () => {
    const { id } = await bench.session();
    const [one, other] = [await use(id), await use(id)];
    one.release();
    one.release();
    bench.clock.advance(600_000);
    await settle();
    expect(bench.running).to.equal(1);
    other.release();
  });

  it('is not misled by a call that was refused', async () => {
    const server = aServer({ maxCallsInFlight: 1, callTimeout: 10 });
    const { id } = await bench.session(anAuth(), server);
    const handle = await use(id, server);
    const calls = [handle.call(aRequest(1), new FakeSink()), refusal(handle.call(aRequest(2), new FakeSink()))];
    handle.release();
    bench.clock.advance(10_000);
    await Promise.all(calls);
    bench.clock.advance(330_000);
    await settle();
    expect(bench.running).to.equal(0);
  });

  it('ends a session that was not used for its time to live, for whoever asks first', async () => {
    const server = aServer({ idleTimeout: 0, sessionTTL: 50 });
    setUp({ sweepInterval: 1_000 });
    const { id } = await bench.session(anAuth(), server);
    bench.clock.advance(49_999);
    (await use(id, server)).release();
    bench.clock.advance(50_000);
    expect(await refusal(use(id, server))).to.include({ status: 404 });
    expect(await bench.recordOf(id)).to.include({ endReason: 'expired' });
  });

  it('of two requests racing with the end of a life, the one before is answered and the one after gets 404', async () => {
    const server = aServer({ maxLifetime: 100 });
    const { id, link } = await bench.session(anAuth(), server);
    bench.clock.advance(99_999);
    const before = await use(id, server);
    const sink = new FakeSink();
    bench.clock.advance(1);
    expect(await refusal(use(id, server))).to.include({ code: 'SESSION_ENDED', status: 404 });
    const call = before.call(aRequest(1), sink);
    expect(await refusal(use(id, server))).to.include({ status: 404 });
    link.reply(link.last, 'whole');
    await call;
    expect(bench.running).to.equal(1);
    before.release();
    expect(await bench.recordOf(id)).to.include({ endReason: 'lifetime' });
    expect(sink.last.result).to.equal('whole');
  });

  it('ends a life that is over at the sweep, busy sessions when they are done', async () => {
    const server = aServer({ maxLifetime: 100, idleTimeout: 0 });
    const [idle, busy] = [await bench.session(anAuth(), server), await bench.session(anAuth(), server)];
    const handle = await use(busy.id, server);
    const call = handle.call(aRequest(1), new FakeSink());
    handle.release();
    bench.clock.advance(120_000);
    expect(await bench.recordOf(idle.id)).to.include({ endReason: 'lifetime' });
    expect(await bench.recordOf(busy.id)).to.not.have.property('endReason');
    busy.link.reply(busy.link.last);
    await call;
    bench.clock.advance(30_000);
    expect(await bench.recordOf(busy.id)).to.include({ endReason: 'lifetime' });
  });

  it('leaves sessions alone that are starting or ending', async () => {
    bench.autoStart = false;
    const opening = bench.registry.open(anAuth(), aServer({ startTimeout: 10_000 }), signal);
    await settle();
    bench.clock.advance(900_000);
    bench.lastStart.come();
    const handle = await opening;
    await bench.initialize(handle);
    const { link } = bench.lastStart;
    link.exitOnClose = false;
    const ending = bench.registry.end(anAuth(), aServer(), handle.id);
    link.exit({ reason: 'closed' });
    bench.clock.advance(30_000);
    await ending;
    expect(bench.log.ends).to.deep.equal(['deleted']);
  });

  it('removes old records once an hour, and minds no failure of the store', async () => {
    setUp({ keepRecords: 7_200 });
    const { id } = await bench.session();
    await bench.registry.end(anAuth(), aServer(), id);
    bench.store.broken = true;
    bench.clock.advance(3_600_000);
    await settle();
    bench.store.broken = false;
    expect(await bench.recordOf(id)).to.include({ endReason: 'deleted' });
    bench.clock.advance(3_600_000);
    expect(await bench.recordOf(id)).to.include({ endReason: 'deleted' });
    bench.clock.advance(3_600_000);
    expect(await bench.recordOf(id)).to.equal(undefined);
  });

  it('leaves nothing behind of 200 sessions: no entry, no timer, no listener, no memory of their users', async () => {
    const opener = new AbortController();
    for (let i = 0; i < 200; i += 1) {
      const server = aServer({ stateful: i < 100, sessionTTL: 600 });
      const handle = await bench.registry.open(anAuth(String(i)), server, opener.signal);
      await bench.initialize(handle);
      const stream = await bench.registry.listen(anAuth(String(i)), server, handle.id, new FakeSink());
      if (i % 2 === 0) stream.stop();
      if (i % 3 === 0) await bench.registry.end(anAuth(String(i)), server, handle.id);
    }
    bench.clock.advance(300_000);
    await settle();
    for (let i = 0; i < 100; i += 1) {
      bench.clock.advance(7_000);
      await settle();
    }
    expect(bench.registry.size).to.equal(0);
    expect(bench.clock.timers, 'only the sweep is left').to.equal(1);
    expect(bench.log.last).to.deep.equal({ starting: 0, active: 0, hibernated: 0, ending: 0 });
    expect(listenersOf(opener.signal)).to.equal(0);
  });
});

describe('stop', () => {
  it('refuses new sessions and new calls with 503 DRAINING, lets calls in flight end, and records it all', async () => {
    const bench = new SessionBench();
    const stateful = aServer({ stateful: true });
    const [idle, busy] = [await bench.session(anAuth(), stateful), await bench.session(anAuth(), stateful)];
    const handle = await bench.registry.use(anAuth(), aServer(), busy.id);
    const sink = new FakeSink();
    const call = handle.call(aRequest(1), sink);
    let stopped = false;
    const stopping = bench.registry.stop(20_000).then(() => (stopped = true));
    await settle();
    expect(await bench.recordOf(idle.id)).to.include({ endReason: 'stopped' });
    for (const work of [
      bench.registry.open(anAuth(), aServer(), signal),
      handle.call(aRequest(2), new FakeSink()),
      bench.registry.use(anAuth(), aServer(), idle.id),
      bench.registry.use(anAuth(), aServer(), bench.ids.mint()),
    ]) {
      expect(await refusal(work)).to.include({ code: 'DRAINING', status: 503, retryAfter: 5 });
    }
    const other = await bench.registry.use(anAuth(), aServer(), busy.id);
    await other.notify({ jsonrpc: '2.0', method: 'notifications/roots/list_changed' });
    other.release();
    expect(stopped).to.equal(false);
    busy.link.reply(busy.link.sent.find(({ method }) => method === 'tools/call') as never, 'done');
    await call;
    handle.release();
    await stopping;
    expect(sink.last.result).to.equal('done');
    expect(await bench.recordOf(busy.id)).to.include({ endReason: 'stopped' });
    expect([bench.registry.size, bench.running, bench.clock.timers]).to.deep.equal([0, 0, 0]);
  });

  it('answers calls with an error that are not done in time', async () => {
    const bench = new SessionBench();
    const { id } = await bench.session();
    const handle = await bench.registry.use(anAuth(), aServer(), id);
    const sink = new FakeSink();
    const call = handle.call(aRequest(1), sink);
    const stopping = Promise.all([bench.registry.stop(5_000), bench.registry.stop(1)]);
    await settle();
    bench.clock.advance(5_000);
    await stopping;
    await call;
    expect(sink.last.error.data).to.deep.equal({ code: 'BACKEND_ENDED', reason: 'closed' });
    handle.release();
    expect(bench.clock.timers).to.equal(0);
  });

  it('gives starts up, and waits for their children to be gone', async () => {
    const bench = new SessionBench();
    bench.autoStart = false;
    const opening = refusal(bench.registry.open(anAuth(), aServer(), signal));
    await settle();
    let stopped = false;
    const stopping = bench.registry.stop(5_000).then(() => (stopped = true));
    expect(await opening).to.include({ code: 'DRAINING' });
    await settle();
    expect(stopped).to.equal(false);
    bench.lastStart.come();
    await stopping;
    expect(bench.running).to.equal(0);
  });

  it('ends a child that came up in the very moment of the stop', async () => {
    const bench = new SessionBench();
    bench.autoStart = false;
    const opening = refusal(bench.registry.open(anAuth(), aServer(), signal));
    await settle();
    bench.lastStart.come();
    const stopping = bench.registry.stop(5_000);
    expect(await opening).to.include({ code: 'DRAINING' });
    await stopping;
    expect([bench.running, bench.registry.size]).to.deep.equal([0, 0]);
  });

  it('does not wait for ever for children that do not end', async () => {
    const bench = new SessionBench();
    const { link } = await bench.session();
    link.exitOnClose = false;
    bench.autoStart = false;
    const opening = refusal(bench.registry.open(anAuth(), aServer(), signal));
    await settle();
    const stopping = bench.registry.stop(0);
    await opening;
    await settle();
    bench.clock.advance(20_000);
    await settle();
    bench.clock.advance(10_000);
    await stopping;
    link.exit({ reason: 'closed' });
    bench.lastStart.come();
    await settle();
    expect([bench.running, bench.clock.timers]).to.deep.equal([0, 0]);
  });

  it('keeps no more than a bound of what the store could not take, and forgets the oldest', async () => {
    const store = new BreakableStore();
    const clock = new FakeClock();
    const ledger = new Ledger(store, clock);
    const names = [...Array(10_001).keys()].map((i) => i.toString(16).padStart(40, '0'));
    for (const name of [names[0], names[1], names[10_000]]) await store.inner.insert(aRecord({ name: name ?? '' }));
    store.broken = true;
    for (const name of names) ledger.end(name, 'oom', 5);
    await settle();
    store.broken = false;
    await ledger.stop();
    expect(await store.inner.get(names[0] ?? '')).to.not.have.property('endReason');
    expect(await store.inner.get(names[1] ?? '')).to.include({ endReason: 'oom' });
    expect(await store.inner.get(names[10_000] ?? '')).to.include({ endReason: 'oom' });
    expect(clock.timers).to.equal(0);
  });

  it('writes what the store could not take before, once more, and goes even so', async () => {
    for (const mended of [true, false]) {
      const bench = new SessionBench();
      const { id, link } = await bench.session();
      bench.store.broken = true;
      link.exit({ reason: 'oom' });
      await settle();
      bench.store.broken = !mended;
      await bench.registry.stop(0);
      expect((await bench.recordOf(id))?.endReason).to.equal(mended ? 'oom' : undefined);
      expect(bench.clock.timers).to.equal(0);
    }
  });
});

/** Listeners that are left on a signal. */
function listenersOf(target: AbortSignal): number {
  return getEventListeners(target, 'abort').length;
}
