import { expect } from 'chai';
import { LeaderElection, type Leadership } from '../../src/kube/election';
import { KubeError } from '../../src/kube/error';
import { FakeClock } from '../support/fake-link';
import { keptLog } from '../support/silent-log';

/** Lets promises that wait for nothing outside run. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('leader election', () => {
  /** A Lease as a test wants it, and work that ends when it is told to. */
  const setUp = () => {
    const clock = new FakeClock();
    const calls: string[] = [];
    const lease = {
      holder: '',
      /** What `take` does next. */
      next: (): boolean | Promise<boolean> => true,
      async take(): Promise<boolean> {
        calls.push('take');
        const ours = await this.next();
        this.holder = ours ? 'me' : 'other';
        return ours;
      },
      async release(): Promise<void> {
        calls.push('release');
      },
    };
    const terms: Leadership[] = [];
    let finish = (): void => undefined;
    const lead = (leadership: Leadership): Promise<void> => {
      terms.push(leadership);
      calls.push('lead');
      return new Promise((resolve) => {
        finish = () => {
          calls.push('done');
          resolve();
        };
      });
    };
    const events: string[] = [];
    const election = new LeaderElection({
      lease,
      clock,
      log: keptLog(),
      retryMs: 2_000,
      renewDeadlineMs: 10_000,
      lead,
      observer: { leading: (is) => events.push(is ? 'leads' : 'follows'), holder: (name) => events.push(name) },
    });
    const pass = async (ms: number): Promise<void> => {
      for (let left = ms; left > 0; left -= 500) {
        clock.advance(Math.min(500, left));
        await settled();
      }
    };
    return { clock, calls, lease, terms, events, election, pass, finish: () => finish() };
  };
  const broken = (): never => {
    throw new KubeError(0, 'Unreachable', 'ECONNREFUSED');
  };

  it('waits as long as another has it, and leads once it is ours', async () => {
    const { lease, terms, events, election, pass } = setUp();
    lease.next = () => false;
    election.start();
    await pass(20_000);
    expect(terms).to.have.length(0);
    lease.next = () => true;
    await pass(3_000);
    expect(terms).to.have.length(1);
    expect([election.leading, terms[0].stands()]).to.deep.equal([true, true]);
    expect(events).to.deep.equal(['other', 'me', 'leads']);
  });

  it('renews every retry period and leads on', async () => {
    const { calls, terms, election, pass } = setUp();
    election.start();
    await pass(60_000);
    expect(terms).to.have.length(1);
    expect(terms[0].signal.aborted).to.equal(false);
    expect(calls.filter((call) => call === 'take').length).to.be.within(28, 32);
  });

  it('outlasts failures shorter than the deadline', async () => {
    const { lease, terms, election, pass } = setUp();
    election.start();
    await pass(1_000);
    lease.next = broken;
    await pass(6_000);
    lease.next = () => true;
    await pass(30_000);
    expect(terms).to.have.length(1);
    expect(terms[0].stands()).to.equal(true);
  });

  it('steps down at the deadline where it cannot renew, waits for what is under way, and becomes a candidate again', async () => {
    const { clock, calls, lease, terms, election, pass, finish } = setUp();
    election.start();
    await settled();
    const began = clock.now();
    lease.next = broken;
    await pass(9_500);
    expect(terms[0].signal.aborted).to.equal(false);
    await pass(500);
    expect(terms[0].signal.aborted, `${clock.now() - began} ms after the last renewal`).to.equal(true);
    lease.next = () => true;
    await pass(20_000);
    expect(terms, 'the work is still under way').to.have.length(1);
    finish();
    await pass(3_000);
    expect(terms).to.have.length(2);
    expect(calls).to.not.include('release');
  });

  it('counts a renewal from before it was sent', async () => {
    const { lease, terms, election, pass } = setUp();
    election.start();
    await settled();
    let answer: (ours: boolean) => void = () => undefined;
    lease.next = () => new Promise((resolve) => (answer = resolve));
    await pass(9_000); // the renewal was begun at 2 s
    lease.next = broken;
    answer(true);
    await pass(2_500);
    expect(terms[0].signal.aborted).to.equal(false);
    await pass(500);
    expect(terms[0].signal.aborted).to.equal(true);
  });

  it('does not stand where time passed that no timer of it saw', async () => {
    const { clock, terms, election } = setUp();
    election.start();
    await settled();
    const now = clock.now.bind(clock);
    clock.now = () => now() + 10_000; // stopped and continued: its timers are late
    expect(terms[0].stands()).to.equal(false);
  });

  it('steps down at once where another has it', async () => {
    const { calls, lease, terms, events, election, pass, finish } = setUp();
    election.start();
    await settled();
    lease.next = () => false;
    await pass(2_000);
    expect(terms[0].signal.aborted).to.equal(true);
    finish();
    await settled();
    expect(events).to.deep.equal(['me', 'leads', 'other', 'follows']);
    expect(calls).to.not.include('release');
  });

  it('stops in order: work first, renewed meanwhile, then the Lease is given back', async () => {
    const { calls, terms, election, pass, finish } = setUp();
    election.start();
    await settled();
    const stopped = election.stop();
    await settled();
    expect(terms[0].signal.aborted).to.equal(true);
    await pass(12_000);
    expect(calls.filter((call) => call === 'take').length).to.be.above(4);
    finish();
    await stopped;
    expect(calls.slice(-2)).to.deep.equal(['done', 'release']);
    expect(election.leading).to.equal(false);
  });

  it('stops where it never led', async () => {
    const { calls, lease, election, pass } = setUp();
    lease.next = () => false;
    election.start();
    await pass(5_000);
    await election.stop();
    const count = calls.length;
    await pass(20_000);
    expect([calls.length, calls.includes('release')]).to.deep.equal([count, false]);
  });

  it('tells how long nothing was heard', async () => {
    const { lease, election, pass } = setUp();
    lease.next = () => false;
    election.start();
    await pass(10_000);
    expect(election.silence).to.be.below(3_000);
    lease.next = broken;
    await pass(10_000);
    expect(election.silence).to.be.above(9_000);
  });
});
