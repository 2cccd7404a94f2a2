/** What decides about pools: demand, expectations, backoff and the plan, each by itself and all together against a cluster that is seen late. */
import { expect } from 'chai';
import fc from 'fast-check';
import { Backoff } from '../../src/operator/pool/backoff';
import { Demand, desiredBy } from '../../src/operator/pool/demand';
import { CREATE_LOST_MS, Expectations } from '../../src/operator/pool/expectations';
import { plan, type Plan, type PoolSight, type Waiting } from '../../src/operator/pool/plan';

const WALL = 1_700_000_000_000;
const HOUR = 3_600_000;

let serial = 0;
const waiting = (warm: Partial<Waiting['warm']> = {}, more: Partial<Waiting> = {}): Waiting => {
  const name = `mcp-warm-${(++serial).toString(16).padStart(16, '0')}`;
  return {
    ...{ name, uid: `uid-${name}`, resourceVersion: '1', component: 'warm', session: '', server: 's', run: 'o' },
    ...{ over: false, deleting: false },
    warm: { template: 't', createdAt: WALL, ready: true, ...warm },
    ...more,
  };
};
const sight = (over: Partial<PoolSight>): PoolSight => ({
  ...{ pods: [], expected: 0, template: 't', desired: 0, allowed: Infinity, wall: WALL, maxAge: HOUR, start: 60_000 },
  ...over,
});
const whys = ({ remove }: Plan): string[] => remove.map(({ why }) => why);

describe('the plan of a pool', () => {
  it('makes what is missing, with what is not seen yet counted', () => {
    expect(plan(sight({ desired: 3 })).create).to.equal(3);
    expect(plan(sight({ desired: 3, expected: 2, pods: [waiting()] })).create).to.equal(0);
    expect(plan(sight({ desired: 3, expected: 1, pods: [waiting({ ready: false })] })).create).to.equal(1);
  });

  it('makes no more than is allowed, and nothing where there is no pool', () => {
    expect(plan(sight({ desired: 9, allowed: 1 })).create).to.equal(1);
    expect(plan(sight({ desired: 9, allowed: -3 })).create).to.equal(0);
    const gone = plan(sight({ template: undefined, pods: [waiting(), waiting({ ready: false })] }));
    expect(whys(gone)).to.deep.equal(['template', 'template']);
    expect(gone.create).to.equal(0);
  });

  it('removes what is of another template, has failed or is late, and replaces it', () => {
    const pods = [
      waiting({ template: 'former' }),
      waiting({ ready: false, fault: 'ErrImagePull' }),
      waiting({ ready: false, createdAt: WALL - 60_001 }),
      waiting({ ready: false, createdAt: WALL - 59_999 }),
    ];
    const { create, remove, ready, starting, again } = plan(sight({ pods, desired: 4 }));
    expect(remove.map(({ pod, why }) => [pods.indexOf(pod), why])).to.deep.equal([
      [0, 'template'],
      [1, 'fault'],
      [2, 'late'],
    ]);
    expect({ create, ready, starting, again }).to.deep.equal({ create: 3, ready: 0, starting: 1, again: 1 });
  });

  it('leaves alone what is about to go, and does not count on it', () => {
    const { create, remove } = plan(sight({ pods: [waiting({}, { deleting: true })], desired: 1 }));
    expect([create, remove]).to.deep.equal([1, []]);
  });

  it('removes what is too much: first what is not up, then the oldest', () => {
    const pods = [
      waiting({ createdAt: WALL - 2 }),
      waiting({ createdAt: WALL - 3 }),
      waiting({ ready: false }),
      waiting({ createdAt: WALL - 1 }),
    ];
    const { remove } = plan(sight({ pods, desired: 2 }));
    expect(remove.map(({ pod, why }) => [pods.indexOf(pod), why])).to.deep.equal([
      [2, 'excess'],
      [1, 'excess'],
    ]);
  });

  it('replaces old ones one at a time, while all others are up', () => {
    const old = (): Waiting => waiting({ createdAt: WALL - HOUR });
    expect(whys(plan(sight({ pods: [old(), old(), waiting()], desired: 3 })))).to.deep.equal(['age']);
    expect(whys(plan(sight({ pods: [old(), old(), waiting({ ready: false })], desired: 3 })))).to.deep.equal([]);
    expect(whys(plan(sight({ pods: [old(), old()], expected: 1, desired: 3 })))).to.deep.equal([]);
    expect(whys(plan(sight({ pods: [old(), old()], desired: 3, allowed: 0 })))).to.deep.equal([]);
  });

  it('gives pods that were made together different ages, and looks again when the first is old', () => {
    const of = (uid: string): number | undefined => plan(sight({ pods: [waiting({}, { uid })], desired: 1 })).again;
    expect(of('00000000-0000-0000-0000-000000000000')).to.equal(HOUR);
    expect(of('00000000-0000-0000-0000-00000000ffff')).to.equal(0.9 * HOUR);
  });

  it('never makes and removes too much, whatever it sees', () => {
    const pod = fc.record({
      ready: fc.boolean(),
      template: fc.constantFrom('t', 'former'),
      age: fc.integer({ min: 0, max: 2 * HOUR }),
      fault: fc.boolean(),
      deleting: fc.boolean(),
    });
    const property = fc.property(
      fc.array(pod, { maxLength: 30 }),
      fc.nat(30),
      fc.nat(30),
      fc.integer({ min: -5, max: 30 }),
      (described, expected, desired, allowed) => {
        const pods = described.map(({ ready, template, age, fault, deleting }) =>
          waiting({ ready, template, createdAt: WALL - age, ...(fault ? { fault: 'f' } : {}) }, { deleting }),
        );
        const { create, remove, ready, starting } = plan(sight({ pods, expected, desired, allowed }));
        const removed = remove.map((one) => one.pod);
        const stays = pods.filter((one) => !one.deleting && !removed.includes(one));
        expect(new Set(removed).size).to.equal(removed.length);
        expect(create).to.be.within(0, Math.max(0, allowed));
        if (create > 0) expect(stays.length + expected + create).to.be.at.most(desired);
        expect(stays.every(({ warm }) => warm.template === 't' && warm.fault === undefined)).to.equal(true);
        expect(stays.length, 'too much stays').to.be.at.most(Math.max(desired, 0));
        expect(remove.filter(({ why }) => why === 'age').length).to.be.at.most(1);
        expect(ready + starting).to.be.at.most(Math.max(stays.length + 1, 0) + expected);
      },
    );
    fc.assert(property, { numRuns: 500 });
  });
});

describe('the demand for pods', () => {
  it('is the minimum where no sessions come, more the more come, and the maximum at most', () => {
    const wants = [0, 0.1, 1, 4, 100].map((coming) => desiredBy({ min: 2, max: 20 }, coming));
    expect(wants).to.deep.equal([2, 3, 5, 10, 20]);
    expect(desiredBy({ min: 0, max: 0 }, 100)).to.equal(0);
  });

  it('follows the sessions of the last minute and how long pods take to start', () => {
    const demand = new Demand();
    const pool = { min: 1, max: 100 };
    for (let i = 0; i < 60; i++) demand.arrived(i * 1_000);
    const brisk = demand.desired(pool, 60_000);
    expect(brisk).to.equal(1 + Math.ceil(2.95 + 2 * Math.sqrt(2.95))); // one a second, 3 s for a pod, and the first is a minute ago
    for (let i = 0; i < 30; i++) demand.started(10_000);
    expect(demand.desired(pool, 60_000)).to.be.above(brisk);
    expect(demand.desired(pool, 90_000)).to.be.below(demand.desired(pool, 60_000) + 1);
    expect(demand.isPassing).to.equal(true);
    expect(demand.desired(pool, 120_000)).to.equal(1);
    expect(demand.isPassing).to.equal(false);
  });

  it('believes no start that took no time, or for ever', () => {
    const lead = (ms: number): number => {
      const demand = new Demand();
      for (let i = 0; i < 60; i++) demand.started(ms);
      for (let i = 0; i < 60; i++) demand.arrived(i);
      return demand.desired({ min: 0, max: 1_000 }, 60);
    };
    expect(lead(0)).to.equal(desiredBy({ min: 0, max: 1_000 }, 0.5));
    expect(lead(HOUR)).to.equal(desiredBy({ min: 0, max: 1_000 }, 60));
  });
});

describe('expectations of pods', () => {
  it('wait for each by its name, until it is seen, refused or gone', () => {
    const expectations = new Expectations();
    for (const name of ['a', 'b', 'c']) expectations.expect(name, 's', 0);
    expectations.expect('d', 'other', 0);
    expect([expectations.count('s'), expectations.count()]).to.deep.equal([3, 4]);
    expectations.met('b');
    expectations.met('b');
    expectations.met('never-expected');
    expect(expectations.count('s')).to.equal(2);
  });

  it('a live list ends those that it shows, and those that were made and are not there any more', () => {
    const expectations = new Expectations();
    for (const name of ['shown', 'made', 'unanswered']) expectations.expect(name, 's', 0);
    expectations.made('made');
    expectations.listed(new Set(['shown']), 1_000);
    expect(expectations.count('s'), 'it may still be made').to.equal(1);
    expect(expectations.overdue('s', CREATE_LOST_MS - 1)).to.equal(false);
    expect(expectations.overdue('s', CREATE_LOST_MS)).to.equal(true);
    expect(expectations.overdue('other', CREATE_LOST_MS)).to.equal(false);
    expectations.listed(new Set(), CREATE_LOST_MS);
    expect(expectations.count('s')).to.equal(0);
  });
});

describe('templates whose pods do not come up', () => {
  it('are tried with one pod, later and later, and as any other once one is up', () => {
    const backoff = new Backoff();
    expect(backoff.allowed('t', 0, 0), 'never tried').to.equal(1);
    expect(backoff.allowed('t', 1, 0)).to.equal(0);
    const waits: number[] = [];
    let now = 0;
    for (let i = 0; i < 8; i++) {
      backoff.failed('t', now, WALL + now);
      backoff.failed('t', now, WALL + now); // together with it
      expect(backoff.allowed('t', 0, now)).to.equal(0);
      waits.push(backoff.wait('t', now) / 1000);
      now += backoff.wait('t', now);
      expect(backoff.allowed('t', 0, now)).to.equal(1);
    }
    expect(waits).to.deep.equal([10, 20, 40, 80, 160, 300, 300, 300]);
    backoff.up('t', WALL + now + 1);
    expect(backoff.allowed('t', 5, now)).to.equal(Infinity);
    backoff.failed('t', now, WALL + now + 2);
    expect(backoff.wait('t', now)).to.equal(10_000);
  });

  it('are not believed again for a pod of better times, and are no trouble of other templates', () => {
    const backoff = new Backoff();
    backoff.up('t', WALL - 1);
    backoff.failed('t', 0, WALL);
    backoff.up('t', WALL - 1);
    expect(backoff.allowed('t', 0, 0)).to.equal(0);
    backoff.up('other', WALL);
    expect(backoff.allowed('other', 3, 0)).to.equal(Infinity);
  });
});
