/** Caps over several processes that share their records: never passed, and nobody is refused a place that there is. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { AppError } from '../../src/errors';
import { type Asker, Census, type CensusFacts } from '../../src/sessions/census';
import type { SeenSession, SessionRecord } from '../../src/sessions/ports';
import { userKey } from '../../src/sessions/caps';
import { Ledger } from '../../src/sessions/ledger';
import type { RegistryOptions } from '../../src/sessions/registry';
import { aRecord } from '../contract/session-store';
import { anAuth, aServer, refusal, SessionBench } from '../support/fake-sessions';
import { FakeClock, settle } from '../support/fake-link';
import { LateStore } from '../support/late-store';
import { MemoryStore } from '../support/memory-store';

const RUNS = Number(process.env.FC_RUNS ?? 30);
const GATEWAYS = 3;

/** Turns of the event loop until something is so. */
async function eventually(probe: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000; turn += 1) {
    if (probe()) return;
    await new Promise(setImmediate);
  }
  throw new Error('it never is');
}

describe('caps over all gateways', function () {
  this.timeout(60_000);
  let records: Map<string, SessionRecord>;
  let inserted: string[];
  let benches: SessionBench[];
  let stores: LateStore[];

  /** A pseudo-random pause, so that nothing happens in the order in which it was asked for. */
  const waits = (seed: number) => {
    let state = seed;
    return async (): Promise<void> => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      for (let n = state % 4; n > 0; n -= 1) await new Promise(setImmediate);
    };
  };
  const setUp = (over: Partial<RegistryOptions>, seed = 1): void => {
    records = new Map();
    inserted = [];
    stores = [];
    benches = Array.from({ length: GATEWAYS }, (_, n) => {
      const self = `gateway-${String(n)}`;
      const store = new LateStore(self, records, waits(seed + n), inserted);
      stores.push(store);
      return new SessionBench({
        store,
        holders: { self, isSure: true, doubts: 0, isAlive: async () => true },
        ...over,
      });
    });
  };
  const at = (n: number): SessionBench => benches[n % GATEWAYS];
  const running = (): number => benches.reduce((sum, bench) => sum + bench.running, 0);
  const tearDown = async (): Promise<void> => {
    for (const { registry, clock } of benches) {
      const stopped = registry.stop(0);
      await eventually(() => {
        clock.advance(10_000);
        return registry.size === 0;
      });
      await stopped;
      expect(clock.timers, 'timers left').to.equal(0);
    }
  };
  /** Opens one at each turn; how each went. */
  const openAll = async (count: number, open: (n: number) => Promise<unknown>): Promise<(AppError | undefined)[]> => {
    const outcomes = await Promise.allSettled(Array.from({ length: count }, (_, n) => open(n)));
    return outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as AppError) : undefined));
  };

  it('200 at once at three gateways: as many as may be are open, the first that were recorded, and never one more', async () => {
    const MAX = 50;
    setUp({ maxTotal: MAX });
    let most = 0;
    for (const bench of benches) bench.prepare = () => void (most = Math.max(most, running() + 1));
    const outcomes = await openAll(200, (n) => at(n).session(anAuth(String(n))));
    const refused = outcomes.filter((outcome) => outcome !== undefined);
    expect(refused).to.have.length(200 - MAX);
    for (const error of refused) {
      expect(error).to.include({ code: 'SESSION_CAP_INSTALL', status: 503 });
      expect(error.retryAfter).to.be.above(0);
    }
    expect([running(), most]).to.deep.equal([MAX, MAX]);
    await settle();
    const open = [...records.values()].filter(({ state }) => state === 'active').map(({ name }) => name);
    expect(open).to.have.members(inserted.slice(0, MAX));
    for (const { state, endReason } of records.values()) if (state === 'ended') expect(endReason).to.equal('refused');
    await tearDown();
  });

  it('one read serves many, and far from the caps there is none', async () => {
    setUp({ maxTotal: 100, maxPerUser: 100 });
    await openAll(60, (n) => at(n).session());
    expect(stores.map(({ reads }) => reads)).to.deep.equal([0, 0, 0]);
    await openAll(200, (n) => at(n).session());
    expect(running()).to.equal(100);
    const reads = stores.reduce((sum, store) => sum + store.reads, 0);
    expect(reads).to.be.within(1, 120);
    await tearDown();
  });

  it('those that are refused all the time write nothing', async () => {
    setUp({ maxPerUser: 2 });
    await openAll(2, (n) => at(n).session());
    await settle();
    const before = inserted.length;
    const outcomes = await openAll(100, (n) => at(n).session());
    expect(outcomes.filter((outcome) => outcome?.code === 'SESSION_CAP_USER')).to.have.length(100);
    expect(inserted.length).to.equal(before);
    await tearDown();
  });

  it('count a server’s and a user’s of all gateways, and those of others not', async () => {
    setUp({ maxPerUser: 3 });
    const small = aServer({ name: 'small', maxSessions: 4 });
    const outcomes = await openAll(60, (n) => at(n).session(anAuth(String(n % 10)), small));
    expect(outcomes.filter((outcome) => outcome === undefined)).to.have.length(4);
    const others = await openAll(60, (n) => at(n).session(anAuth('other')));
    expect(others.filter((outcome) => outcome === undefined)).to.have.length(3);
    expect(new Set(others.map((outcome) => outcome?.code))).to.deep.equal(new Set([undefined, 'SESSION_CAP_USER']));
    await tearDown();
  });

  it('do not count those that sleep; one that wakes asks anew, and sleeps on where there is no place', async () => {
    setUp({ maxTotal: 1 });
    const server = aServer({ idleTimeout: 1 });
    const { id, name } = await at(0).session(anAuth(), server);
    await eventually(() => {
      at(0).clock.advance(31_000);
      return records.get(name)?.state === 'hibernated';
    });
    expect(records.get(name)).to.not.have.property('admitted');
    const second = await at(1).session();
    const waking = async (): Promise<unknown> => {
      const handle = await at(0).registry.use(anAuth(), server, id);
      try {
        return await handle.ask('tools/list', {}, 1_000).then(() => handle.tool('x'));
      } finally {
        handle.release();
      }
    };
    expect(await refusal(waking())).to.include({ code: 'SESSION_CAP_INSTALL', status: 503 });
    await eventually(() => records.get(name)?.state === 'hibernated');
    await at(1).registry.end(anAuth(), aServer(), second.id);
    await eventually(() => records.get(second.name)?.state === 'ended');
    const handle = await at(0).registry.use(anAuth(), server, id);
    void handle.tool('x').catch(() => undefined);
    await eventually(() => records.get(name)?.state === 'active');
    handle.release();
    await tearDown();
  });

  it('rates are of all gateways: as many as may be opened in a minute, and again when it is over', async () => {
    setUp({ opensPerMinutePerUser: 7 });
    const outcomes = await openAll(40, (n) => at(n).session());
    expect(outcomes.filter((outcome) => outcome === undefined)).to.have.length(7);
    for (const error of outcomes) if (error !== undefined) expect(error.code).to.equal('SPAWN_RATE');
    expect((await openAll(3, (n) => at(n).session(anAuth('8')))).every((outcome) => outcome === undefined)).to.equal(
      true,
    );
    for (const { clock } of benches) clock.advance(60_001);
    await settle();
    expect(await openAll(7, (n) => at(n).session())).to.deep.equal(Array(7).fill(undefined));
    await tearDown();
  });

  it('what is refused because others have the places costs nothing of the rate', async () => {
    setUp({ maxPerUser: 1, opensPerMinutePerUser: 3 });
    const { id } = await at(0).session();
    await settle();
    for (const outcome of await openAll(10, () => at(1).session())) {
      expect(outcome?.code).to.be.oneOf(['SESSION_CAP_USER', 'SPAWN_RATE']); // the latter while the others are asked
    }
    await at(0).registry.end(anAuth(), aServer(), id);
    await settle();
    await eventually(() => [...records.values()].every(({ state }) => state === 'ended'));
    await settle();
    await at(1).session();
    await tearDown();
  });

  it('are decided by a read where nothing is seen, and where the store is away nobody is let in', async () => {
    setUp({ maxTotal: 1 });
    const blind = at(0);
    stores[0]?.blind();
    const opening = blind.session();
    await eventually(() => inserted.length === 1);
    await eventually(() => {
      blind.clock.advance(500);
      return blind.running === 1;
    });
    await opening;
    const late = refusal(blind.session(anAuth('8')));
    await eventually(() => {
      blind.clock.advance(500);
      return blind.log.refusals.length === 1;
    });
    expect(await late).to.include({ code: 'SESSION_CAP_INSTALL' });
    await tearDown();
  });

  it('whoever opens and ends what, in whatever order it is seen: no cap is passed', async () => {
    const step = fc.record({ gateway: fc.nat(2), user: fc.nat(3), server: fc.nat(1), ends: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), fc.nat(1_000_000), async (steps, seed) => {
        setUp({ maxTotal: 6, maxPerUser: 2 }, seed + 1);
        const servers = [aServer({ name: 'a', maxSessions: 4 }), aServer({ name: 'b' })];
        const check = (): void => {
          const live = benches.flatMap(({ starts }) => starts.filter(({ link }) => link.running));
          expect(live.length).to.be.at.most(6);
          for (let user = 0; user < 4; user += 1)
            expect(live.filter(({ request }) => request.auth.user.id === String(user)).length).to.be.at.most(2);
          expect(live.filter(({ request }) => request.server.name === 'a').length).to.be.at.most(4);
        };
        await Promise.all(
          steps.map(async ({ gateway, user, server, ends }) => {
            const spec = servers[server];
            const opened = await at(gateway)
              .session(anAuth(String(user)), spec)
              .catch(() => undefined);
            check();
            if (ends && opened !== undefined) await at(gateway).registry.end(anAuth(String(user)), spec, opened.id);
          }),
        );
        await tearDown();
      }),
      { numRuns: RUNS },
    );
  });

  describe('while a session asks for its place', () => {
    it('nothing is written of it but its end; what changed comes then, and tells that it has its place', async () => {
      const store = new MemoryStore('self');
      const clock = new FakeClock();
      const ledger = new Ledger(store, clock);
      const record = aRecord({ state: 'starting', grant: 'before' });
      const ended = aRecord({ state: 'starting' });
      for (const one of [record, ended]) {
        await ledger.insert(one);
        ledger.hold(one.name);
        ledger.update(one.name, { grant: 'after' });
      }
      ledger.end(ended.name, 'drained', 5);
      await settle();
      expect(store.records.get(record.name)).to.include({ grant: 'before' });
      expect(store.records.get(ended.name)).to.include({ state: 'ended' });
      ledger.admit(record.name);
      ledger.release(record.name);
      ledger.release(ended.name);
      await settle();
      expect(store.records.get(record.name)).to.include({ grant: 'after', admitted: true });
      await ledger.write(record.name, { state: 'hibernated' });
      expect(store.records.get(record.name)).to.not.have.property('admitted');
      await ledger.write(record.name, { state: 'starting', generation: 2 });
      await ledger.write(record.name, { grant: 'last' });
      expect(store.records.get(record.name), 'each child is admitted anew').to.not.have.property('admitted');
      await ledger.stop();
      expect(clock.timers).to.equal(0);
    });
  });

  describe('by what is seen', () => {
    let order = 0n;
    const seen = (name: string, over: Partial<SeenSession> = {}): SeenSession => ({
      ...{ name, server: 's', userIssuer: 'i', userId: '1', grant: 'g', state: 'starting', generation: 1 },
      ...{ createdAt: 1_000, order: (order += 1n) },
      ...over,
    });
    const asker = (name: string, over: Partial<Asker> = {}): Asker => ({
      ...{ name, generation: 1, server: 's', user: userKey({ issuer: 'i', id: '1' }), opens: true, maxSessions: 0 },
      ...over,
    });
    const census = (records: SeenSession[], over: Partial<CensusFacts> = {}): Census =>
      new Census({
        ...{ seen: records, opened: [], granted: new Set(), wall: 1_000 },
        limits: { maxPerUser: 0, maxTotal: 2, opensPerMinutePerUser: 0, opensPerMinute: 0 },
        ...over,
      });
    const verdict = (one: Census, name: string, over: Partial<Asker> = {}) =>
      one.judge(new Map([[name, asker(name, over)]])).get(name);

    it('those that asked before come first, in whatever order they are listed', () => {
      const [a, b, c] = [seen('a'), seen('b'), seen('c')];
      const one = census([c, a, b]);
      expect(['a', 'b', 'c'].map((name) => verdict(one, name)?.kind)).to.deep.equal(['in', 'in', 'open']);
    });

    it('those that have a place come before all that ask, whenever they were written last', () => {
      const a = seen('a');
      const one = census([a, seen('b', { admitted: true }), seen('c', { state: 'active' })]);
      expect(verdict(one, 'a')).to.include({ kind: 'out', code: 'SESSION_CAP_INSTALL' });
    });

    it('those that sleep have none, and one that is not seen in this turn is not judged', () => {
      const one = census([seen('a', { state: 'hibernated' }), seen('b', { state: 'hibernated' }), seen('c')]);
      expect(verdict(one, 'c')?.kind).to.equal('in');
      expect([verdict(one, 'x'), verdict(one, 'c', { generation: 2 })]).to.deep.equal([undefined, undefined]);
    });

    it('a rate says when there may be one more', () => {
      const opened = [10, 20, 30].map((createdAt) => ({
        name: String(createdAt),
        userIssuer: 'i',
        userId: '1',
        createdAt,
      }));
      const limits = { maxPerUser: 0, maxTotal: 0, opensPerMinutePerUser: 2, opensPerMinute: 0 };
      const one = census([seen('a')], { opened, limits });
      expect(verdict(one, 'a')).to.deep.equal({ kind: 'out', code: 'SPAWN_RATE', isOwn: true, waitMs: 59_020 });
      expect(verdict(one, 'a', { opens: false })?.kind).to.equal('in');
      expect(census([seen('b')], { opened, limits, wall: 60_021 }).foresee(asker('b')).kind).to.equal('in');
    });
  });
});
