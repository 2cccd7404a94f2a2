/** Who is believed alive, against objects in memory and clocks that the test drives. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AppError } from '../../src/errors';
import type { Replicas } from '../../src/peers/contract';
import { replicaName, splitAddress } from '../../src/peers/names';
import { createReplicas } from '../../src/peers/replicas';
import { type SeenLease, Sightings } from '../../src/peers/sightings';
import { status } from '../support/fake-api';
import { FakeCluster } from '../support/fake-cluster';
import { FakeClock } from '../support/fake-link';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/release/leases';
const DURATION = 10_000;

const lease = (name: string, resourceVersion: string, more: Partial<SeenLease> = {}): SeenLease => ({
  name,
  uid: `uid of ${name}`,
  resourceVersion,
  address: '10.0.0.1:9443',
  duration: DURATION,
  isGivenBack: false,
  ...more,
});

describe('what was seen of other replicas’ Leases', () => {
  let clock: FakeClock;
  let sightings: Sightings;

  beforeEach(() => {
    clock = new FakeClock();
    sightings = new Sightings(clock);
  });

  it('one that is seen for the first time has its whole duration, and each change begins another', () => {
    expect(sightings.standing('a')).to.equal('unknown');
    sightings.see(lease('a', '1'));
    clock.advance(DURATION - 1);
    expect(sightings.standing('a')).to.equal('alive');
    sightings.see(lease('a', '2'));
    clock.advance(DURATION - 1);
    sightings.see(lease('a', '2')); // the same one again is no change
    expect(sightings.standing('a')).to.equal('alive');
    clock.advance(1);
    expect(sightings.standing('a')).to.equal('overdue');
    expect(sightings.due()).to.deep.equal(['a']);
  });

  it('each has the duration that it says', () => {
    sightings.see(lease('short', '1', { duration: 1_000 }));
    sightings.see(lease('long', '1', { duration: 30_000 }));
    clock.advance(DURATION);
    expect(['short', 'long'].map((name) => sightings.standing(name))).to.deep.equal(['overdue', 'alive']);
  });

  it('one that was given back has left for good, whatever else is seen of it', () => {
    sightings.see(lease('a', '1'));
    sightings.see(lease('a', '2', { isGivenBack: true }));
    expect(sightings.standing('a')).to.equal('left');
    expect(sightings.addressOf('a')).to.equal(undefined);
    expect(sightings.tellGone('a')).to.equal(true);
    expect(sightings.tellGone('a')).to.equal(false);
    expect(sightings.due()).to.deep.equal([]);
  });

  it('one that was dead and goes on lives again, and its next end is told again', () => {
    sightings.see(lease('a', '1'));
    clock.advance(DURATION);
    expect(sightings.tellGone('a')).to.equal(true);
    sightings.see(lease('a', '2'));
    expect(sightings.standing('a')).to.equal('alive');
    clock.advance(DURATION);
    expect(sightings.due()).to.deep.equal(['a']);
    expect(sightings.tellGone('a')).to.equal(true);
  });

  it('those that live are the ones that have not left and were not told to be gone; silence alone takes nobody out', () => {
    for (const name of ['c', 'a', 'b', 'left']) sightings.see(lease(name, '1'));
    sightings.see(lease('nowhere', '1', { address: '' }));
    sightings.see(lease('left', '2', { isGivenBack: true }));
    expect(sightings.living()).to.deep.equal(['a', 'b', 'c']);
    clock.advance(10 * DURATION);
    expect(sightings.living()).to.deep.equal(['a', 'b', 'c']);
    sightings.tellGone('b');
    expect(sightings.living()).to.deep.equal(['a', 'c']);
    sightings.see(lease('b', '2'));
    expect(sightings.living(), 'it was only slow').to.deep.equal(['a', 'b', 'c']);
  });

  it('tells of a bounded number that live, the same ones whatever the order in which they came', () => {
    const names = Array.from({ length: 250 }, (_, at) => `r${at}`);
    const other = new Sightings(clock);
    for (const name of names) sightings.see(lease(name, '1'));
    for (const name of names.toReversed()) other.see(lease(name, '1'));
    expect(sightings.living()).to.have.length(100);
    expect(other.living()).to.deep.equal(sightings.living());
  });

  it('remembers a bounded number of those that are gone, and every one that is not', () => {
    for (let i = 0; i < 3_000; i++) sightings.see(lease(`r${i}`, '1'));
    clock.advance(DURATION);
    for (let i = 0; i < 2_999; i++) sightings.tellGone(`r${i}`);
    expect(sightings.standing('r0')).to.equal('unknown');
    expect(sightings.standing('r2998')).to.equal('overdue');
    expect(sightings.standing('r2999')).to.equal('overdue');
  });

  /**
   * Two replicas that renew by the rules of `replicas.ts` against an API with random outages: whatever their phases, the one never finds the other dead while
   * it lives, and always in the end once it does not.
   */
  it('find nobody dead who renews, through any outages, and everybody who does not', () => {
    const times = { renew: 2_000, call: 3_000, retry: 500, hiccup: 3_000 };
    const outages = fc.array(
      fc.record({
        quiet: fc.integer({ min: 0, max: 20_000 }),
        down: fc.integer({ min: 1, max: 30_000 }),
        hangs: fc.boolean(),
      }),
      { maxLength: 12 },
    );
    const phase = fc.integer({ min: 0, max: 2_000 });
    const latencies = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(
        outages,
        phase,
        phase,
        latencies,
        fc.option(fc.integer({ min: 0, max: 300_000 })),
        (gaps, one, two, lags, death) => {
          const downs: { from: number; to: number; hangs: boolean }[] = [];
          let at = 0;
          for (const { quiet, down, hangs } of gaps) {
            downs.push({ from: at + quiet, to: at + quiet + down, hangs });
            at += quiet + down;
          }
          const end = Math.max(at, death ?? 0) + 60_000;
          let lag = 0;
          /** When renewals begin that succeed, and when they are written. */
          const renewals = (from: number, to: number): { began: number; written: number }[] => {
            const done = [];
            for (let now = from; now < to;) {
              const down = downs.find((each) => now >= each.from && now < each.to);
              if (down !== undefined) now += (down.hangs ? times.call : 0) + times.retry;
              else {
                const written = now + (lags[lag++ % lags.length] ?? 1);
                if (written < to) done.push({ began: now, written });
                now = written + times.renew;
              }
            }
            return done;
          };
          const theirs = renewals(one, death ?? end);
          const ours = renewals(two, end);
          const clock = new FakeClock();
          const seen = new Sightings(clock);
          let renewedAt = -Infinity;
          let isDead = false;
          const events = [
            ...theirs.map(({ written }, i) => ({ at: written, run: () => seen.see(lease('other', String(i + 1))) })),
            ...ours.map(({ began, written }) => ({
              at: written,
              run: () => {
                if (began - renewedAt > times.hiccup) seen.startOver();
                renewedAt = began;
              },
            })),
          ].sort((a, b) => a.at - b.at);
          const look = (): void => {
            if (clock.now() - renewedAt > times.hiccup || seen.standing('other') !== 'overdue') return;
            isDead = true;
            expect(death, 'found dead, and it lives').not.to.equal(null);
            expect(clock.now(), 'found dead before it died').to.be.at.least(death ?? 0);
          };
          for (const { at: next, run } of events) {
            while (clock.now() + 250 < next) {
              clock.advance(250);
              look();
            }
            clock.advance(Math.max(0, next - clock.now()));
            look(); // just before
            run();
            look();
          }
          if (death !== null && theirs.length > 0) expect(isDead, 'never found dead').to.equal(true);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('replicas with a Lease each', function () {
  this.timeout(60_000);
  let cluster: FakeCluster;
  const started: Replicas[] = [];
  const address = '10.1.2.3:9443';

  beforeEach(async () => {
    cluster = await FakeCluster.start();
  });

  afterEach(async () => {
    cluster.before = () => undefined;
    for (const replicas of started.splice(0)) await replicas.stop();
    await cluster.close();
  });

  async function join(
    install = 'one',
  ): Promise<{ replicas: Replicas; clock: FakeClock; gone: string[]; log: string[] }> {
    const clock = new FakeClock();
    const log = keptLog();
    const replicas = createReplicas({ kube: cluster.api.kube(), namespace: 'release', install, address, clock, log });
    const gone: string[] = [];
    replicas.onGone((name) => gone.push(name));
    await replicas.start(AbortSignal.timeout(5_000));
    started.push(replicas);
    return { replicas, clock, gone, log: log.lines };
  }

  const writes = (name: string): number =>
    cluster.api.calls.filter(({ method, path }) => method === 'PUT' && path.endsWith(name)).length;

  /** Lets one renew by its clock, until the API has it. */
  async function renew({ replicas, clock }: { replicas: Replicas; clock: FakeClock }): Promise<void> {
    const before = writes(replicas.self);
    await until('a renewal', async () => {
      if (writes(replicas.self) > before) return true;
      clock.advance(2_000);
      return false;
    });
    await until('it is known', async () => replicas.isSure);
  }

  it('know each other’s addresses, and their own without asking', async () => {
    const [a, b] = [await join(), await join()];
    expect(a.replicas.self)
      .to.match(/^gateway-[0-9a-f]{16}$/)
      .and.not.equal(b.replicas.self);
    expect(await a.replicas.addressOf(b.replicas.self)).to.equal(address);
    expect(await a.replicas.addressOf(a.replicas.self)).to.equal(address);
    expect(await a.replicas.isAlive(a.replicas.self)).to.equal(true);
    expect(await a.replicas.isAlive(b.replicas.self)).to.equal(true);
    const stored = cluster.get(`${LEASES}/${a.replicas.self}`);
    expect(stored?.metadata.labels).to.include({ 'app.kubernetes.io/instance': 'one' });
    expect(stored?.metadata.annotations).to.deep.equal({ 'forgejo-mcp-operator/peer-address': address });
    expect(stored?.spec).to.include({ holderIdentity: a.replicas.self, leaseDurationSeconds: 10 });
  });

  it('find one that no watch has shown by a live read, and nothing of another install or another kind', async () => {
    const a = await join();
    cluster.deaf = true;
    const b = await join();
    const stranger = await join('two');
    expect(await a.replicas.addressOf(b.replicas.self)).to.equal(address);
    expect(await a.replicas.isAlive(b.replicas.self)).to.equal(true);
    for (const name of [stranger.replicas.self, replicaName(), 'forgejo-mcp-operator', '../secrets/x', '']) {
      expect(await a.replicas.addressOf(name)).to.equal(undefined);
      expect(await a.replicas.isAlive(name)).to.equal(false);
    }
    expect(a.gone).to.deep.equal([]);
  });

  it('know at once that one has left in order, and its Lease is gone', async () => {
    const [a, b] = [await join(), await join()];
    await until('both know', async () => a.replicas.living().length + b.replicas.living().length === 4);
    expect([...a.replicas.living()].sort()).to.deep.equal([a.replicas.self, b.replicas.self].sort());
    await b.replicas.stop();
    await until('it is told', async () => a.gone.length > 0);
    expect(a.gone).to.deep.equal([b.replicas.self]);
    expect(a.replicas.living()).to.deep.equal([a.replicas.self]);
    expect(await a.replicas.isAlive(b.replicas.self)).to.equal(false);
    expect(await a.replicas.addressOf(b.replicas.self)).to.equal(undefined);
    expect(cluster.get(`${LEASES}/${b.replicas.self}`)).to.equal(undefined);
    expect(b.replicas.isSure).to.equal(false);
  });

  it('say dead only after a live read: a watch that is behind kills nobody', async () => {
    const [a, b] = [await join(), await join()];
    cluster.deaf = true;
    for (let i = 0; i < 8; i++) {
      await renew(b);
      await renew(a);
    }
    expect(a.clock.now()).to.be.above(DURATION);
    expect(await a.replicas.isAlive(b.replicas.self)).to.equal(true);
    expect(a.gone).to.deep.equal([]);
    cluster.hear();
    for (let i = 0; i < 8 && (await a.replicas.isAlive(b.replicas.self)); i++) await renew(a);
    await until('it is told', async () => a.gone.length > 0);
    expect(await a.replicas.isAlive(b.replicas.self)).to.equal(false);
    await renew(b); // it was only slow
    await until('it lives again', async () => a.replicas.isAlive(b.replicas.self));
    expect(a.gone).to.deep.equal([b.replicas.self]);
  });

  it('find one dead together that was asked for by many at once, with one read', async () => {
    const [a, b] = [await join(), await join()];
    const asks = (): number =>
      cluster.api.calls.filter(({ method, path }) => method === 'GET' && path.endsWith(b.replicas.self)).length;
    const before = asks();
    for (let i = 0; i < 5; i++) await renew(a);
    const alive = await Promise.all(Array.from({ length: 50 }, () => a.replicas.isAlive(b.replicas.self)));
    expect(new Set(alive)).to.deep.equal(new Set([false]));
    expect(asks() - before).to.be.at.most(2);
    expect(a.gone).to.deep.equal([b.replicas.self]);
  });

  it('survive the deletion of their Leases by an administrator: who lives makes it again, and is believed meanwhile', async () => {
    const [a, b] = [await join(), await join()];
    cluster.remove(`${LEASES}/${b.replicas.self}`);
    expect(await a.replicas.isAlive(b.replicas.self)).to.equal(true);
    await until('it is made again', async () => {
      b.clock.advance(2_000);
      return cluster.get(`${LEASES}/${b.replicas.self}`) !== undefined;
    });
    expect(await a.replicas.isAlive(b.replicas.self)).to.equal(true);
    expect(a.gone).to.deep.equal([]);
  });

  it('are not sure of themselves while they cannot renew, judge nobody meanwhile, and give everybody time after it', async () => {
    const [a, b] = [await join(), await join()];
    let told = 0;
    a.replicas.onSureAgain(() => told++);
    expect(a.replicas.isSure).to.equal(true);
    cluster.before = ({ path }, response) => {
      if (!path.startsWith(LEASES)) return false;
      status(response, 403, 'Forbidden', 'an outage');
      return true;
    };
    for (let i = 0; i < 30; i++) {
      a.clock.advance(1_000);
      await new Promise(setImmediate);
    }
    expect(a.replicas.isSure).to.equal(false);
    const error = await a.replicas.isAlive(b.replicas.self).catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(AppError).with.property('code', 'STORE_UNAVAILABLE');
    cluster.before = ({ method, path }, response) => {
      if (method !== 'PUT' || !path.endsWith(a.replicas.self)) return false;
      status(response, 403, 'Forbidden', 'it may read, and not write');
      return true;
    };
    const stillNot = await a.replicas.isAlive(b.replicas.self).catch((thrown: unknown) => thrown);
    expect(stillNot).to.be.instanceOf(AppError);
    cluster.before = () => undefined;
    await renew(a);
    expect(told).to.equal(1);
    expect(await a.replicas.isAlive(b.replicas.self), 'it had no chance to renew').to.equal(true);
    expect(a.gone).to.deep.equal([]);
    for (let i = 0; i < 6; i++) await renew(a);
    await until('it is dead in the end', async () => a.gone.length > 0);
    expect(a.log.join()).not.to.contain('token-of-the-test');
  });

  it('were stopped and go on: not sure at once, and a Lease that somebody removed is made anew', async () => {
    const [a, b] = [await join(), await join()];
    let told = 0;
    a.replicas.onSureAgain(() => told++);
    cluster.remove(`${LEASES}/${a.replicas.self}`);
    cluster.before = ({ method }, response) => {
      if (method === 'GET') return false;
      response.destroy(); // what was under way when it was stopped
      return true;
    };
    a.clock.advance(DURATION); // no timer of a process that is stopped runs, and its clock goes on
    expect(a.replicas.isSure).to.equal(false);
    cluster.before = () => undefined;
    await until('it is sure again', async () => {
      a.clock.advance(500);
      return a.replicas.isSure;
    });
    expect(told).to.equal(1);
    expect(cluster.get(`${LEASES}/${a.replicas.self}`)).not.to.equal(undefined);
    expect(await b.replicas.isAlive(a.replicas.self)).to.equal(true);
  });

  it('do not start where the cluster refuses: STORE_UNAVAILABLE', async () => {
    cluster.before = (_call, response) => {
      status(response, 403, 'Forbidden', 'no');
      return true;
    };
    const clock = new FakeClock();
    const log = keptLog();
    const replicas = createReplicas({
      kube: cluster.api.kube(),
      namespace: 'release',
      install: 'one',
      address,
      clock,
      log,
    });
    const error = await replicas.start(AbortSignal.timeout(200)).catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(AppError).with.property('code', 'STORE_UNAVAILABLE');
    expect(clock.timers).to.equal(0);
  });
});

describe('addresses of replicas', () => {
  const table: [string, { host: string; port: number } | undefined][] = [
    ['10.0.0.1:9443', { host: '10.0.0.1', port: 9443 }],
    ['[2001:db8::1]:9443', { host: '2001:db8::1', port: 9443 }],
    ['gateway-0.peers:1', { host: 'gateway-0.peers', port: 1 }],
    ['10.0.0.1', undefined],
    ['10.0.0.1:0', undefined],
    ['10.0.0.1:65536', undefined],
    ['2001:db8::1:9443', undefined],
    ['user@host:1', undefined],
    ['https://host:1', undefined],
    ['host:1/path', undefined],
    ['', undefined],
  ];
  for (const [text, place] of table) {
    it(`${text === '' ? 'none' : text} ${place === undefined ? 'is refused' : 'is read'}`, () => {
      expect(splitAddress(text)).to.deep.equal(place);
    });
  }
});
