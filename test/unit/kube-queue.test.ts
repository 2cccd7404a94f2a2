import { expect } from 'chai';
import fc from 'fast-check';
import { type Reconcile, WorkQueue } from '../../src/kube/queue';
import { FakeClock } from '../support/fake-link';

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A queue whose work ends when the test says so. */
function held(workers = 2) {
  const clock = new FakeClock();
  const under: { key: string; signal: AbortSignal; end: (after?: number) => void; fail: () => void }[] = [];
  const seen: string[] = [];
  const reconcile: Reconcile = (key, signal) =>
    new Promise((resolve, reject) => {
      seen.push(key);
      const entry = {
        key,
        signal,
        end: (after?: number) => {
          under.splice(under.indexOf(entry), 1);
          resolve(after);
        },
        fail: () => {
          under.splice(under.indexOf(entry), 1);
          reject(new Error('conflict'));
        },
      };
      under.push(entry);
    });
  const failures: number[] = [];
  const queue = new WorkQueue({
    reconcile,
    clock,
    workers,
    backoffMinMs: 100,
    backoffMaxMs: 10_000,
    observer: { depth: () => undefined, done: () => undefined, failed: (_key, _thrown, tries) => failures.push(tries) },
  });
  return { clock, under, seen, failures, queue };
}

describe('a work queue', () => {
  it('works on a key once, however often it is added', async () => {
    const { queue, seen } = held(1);
    for (let i = 0; i < 5; i++) for (const key of ['a', 'b']) queue.add(key);
    await settled();
    expect(seen).to.deep.equal(['a']);
    expect(queue.depth).to.equal(1);
  });

  it('works on a key once more that was added while it was worked on, and never twice at once', async () => {
    const { queue, seen, under } = held();
    queue.add('a');
    await settled();
    queue.add('a');
    queue.add('a');
    await settled();
    expect(seen).to.deep.equal(['a']);
    under[0].end();
    await settled();
    expect(seen).to.deep.equal(['a', 'a']);
    under[0].end();
    await settled();
    expect(queue.idle).to.equal(true);
  });

  it('has as many keys under way as it has workers', async () => {
    const { queue, under } = held(3);
    for (const key of 'abcdefgh') queue.add(key);
    await settled();
    expect(under.map(({ key }) => key)).to.deep.equal(['a', 'b', 'c']);
    under[1].end();
    await settled();
    expect(under.map(({ key }) => key)).to.deep.equal(['a', 'c', 'd']);
  });

  it('looks again when the work says, and not at all where it says nothing', async () => {
    const { queue, clock, seen, under } = held();
    queue.add('a');
    queue.add('b');
    await settled();
    under.find(({ key }) => key === 'a')?.end(5_000);
    under.find(({ key }) => key === 'b')?.end();
    await settled();
    clock.advance(4_999);
    await settled();
    expect(seen).to.deep.equal(['a', 'b']);
    clock.advance(1);
    await settled();
    expect(seen).to.deep.equal(['a', 'b', 'a']);
  });

  it('waits longer after each failure of a key, up to a limit, and from the start again after a success', async () => {
    const { queue, clock, under, failures } = held();
    queue.add('a');
    await settled();
    const waits: number[] = [];
    const until = async (): Promise<void> => {
      const began = clock.now();
      while (under.length === 0) {
        clock.advance(10);
        await settled();
      }
      waits.push(clock.now() - began);
    };
    for (let i = 0; i < 10; i++) {
      under[0].fail();
      await settled();
      await until();
    }
    expect(failures).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for (const [i, wait] of waits.entries()) {
      const whole = Math.min(10_000, 100 * 2 ** i);
      expect(wait).to.be.within(whole / 2, whole + 10);
    }
    under[0].end();
    await settled();
    queue.add('a');
    await settled();
    under[0].fail();
    await settled();
    await until();
    expect(waits.at(-1)).to.be.at.most(110);
  });

  it('keeps the earliest of several wishes for later', async () => {
    const { queue, clock, seen, under } = held();
    queue.addAfter('a', 5_000);
    queue.addAfter('a', 1_000);
    queue.addAfter('a', 9_000);
    clock.advance(1_000);
    await settled();
    expect(seen).to.deep.equal(['a']);
    under[0].end();
    await settled();
    clock.advance(60_000);
    await settled();
    expect(seen).to.deep.equal(['a']);
    expect(clock.timers).to.equal(0);
  });

  it('has no use for a wish for later once the key is added', async () => {
    const { queue, clock, seen, under } = held();
    queue.addAfter('a', 5_000);
    queue.add('a');
    await settled();
    under[0].end();
    await settled();
    clock.advance(60_000);
    await settled();
    expect(seen).to.deep.equal(['a']);
  });

  it('stops: what is under way may end, nothing begins', async () => {
    const { queue, under, seen, clock } = held(1);
    queue.add('a');
    queue.add('b');
    queue.addAfter('c', 10);
    await settled();
    const stopped = queue.stop(5_000);
    queue.add('d');
    under[0].end(1);
    expect(await stopped).to.equal(true);
    clock.advance(60_000);
    await settled();
    expect(seen).to.deep.equal(['a']);
    expect(clock.timers).to.equal(0);
  });

  it('stops at the deadline by aborting what is under way', async () => {
    const { queue, under, clock } = held();
    queue.add('a');
    await settled();
    const stopped = queue.stop(5_000);
    expect(under[0].signal.aborted).to.equal(false);
    clock.advance(5_000);
    expect(under[0].signal.aborted).to.equal(true);
    under[0].fail();
    expect(await stopped).to.equal(false);
  });

  it('stops at once where there is no time', async () => {
    const { queue, under } = held();
    queue.add('a');
    await settled();
    const stopped = queue.stop(0);
    expect(under[0].signal.aborted).to.equal(true);
    under[0].fail();
    expect(await stopped).to.equal(false);
  });

  it('a key may be added by its own work', async () => {
    const clock = new FakeClock();
    let times = 0;
    let at = 0;
    let most = 0;
    const queue: WorkQueue = new WorkQueue({
      clock,
      workers: 4,
      reconcile: async (key) => {
        most = Math.max(most, ++at);
        if (++times < 3) queue.add(key);
        await settled();
        at--;
        return undefined;
      },
    });
    queue.add('a');
    while (!queue.idle) await settled();
    expect([times, most]).to.deep.equal([3, 1]);
  });

  it('whatever is added, fails and comes back, every key’s last change is worked on after it was made, and no key twice at once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            key: fc.integer({ min: 0, max: 40 }).map(String),
            act: fc.constantFrom('add', 'add', 'after', 'pass'),
            ms: fc.integer({ min: 0, max: 3_000 }),
          }),
          { minLength: 1, maxLength: 150 },
        ),
        fc.integer({ min: 1, max: 8 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 9 })),
        async (acts, workers, luck) => {
          const clock = new FakeClock();
          /** What is so, and what a worker saw last. */
          const wanted = new Map<string, number>();
          const found = new Map<string, number>();
          const under = new Set<string>();
          const wrong: string[] = [];
          const queue = new WorkQueue({
            clock,
            workers,
            reconcile: async (key) => {
              if (under.has(key)) wrong.push('a key twice at once');
              if (under.size >= workers) wrong.push('more than there are workers');
              under.add(key);
              const sees = wanted.get(key) ?? 0;
              const dice = luck.next().value as number;
              for (let i = 0; i < dice; i++) await Promise.resolve();
              if (dice > 7) await settled();
              under.delete(key);
              if (dice % 3 === 0) throw new Error('conflict');
              found.set(key, sees);
              return dice === 4 ? 700 : undefined;
            },
          });
          for (const { key, act, ms } of acts) {
            if (act === 'pass') {
              clock.advance(ms);
              await settled();
              continue;
            }
            wanted.set(key, (wanted.get(key) ?? 0) + 1);
            if (act === 'add') queue.add(key);
            else queue.addAfter(key, ms);
          }
          const isDone = (): boolean => [...wanted].every(([key, change]) => found.get(key) === change);
          for (let i = 0; i < 2_000 && !(isDone() && queue.idle); i++) {
            clock.advance(1_000);
            await settled();
          }
          expect(wrong).to.deep.equal([]);
          expect(isDone()).to.equal(true);
          await queue.stop(0);
          expect(clock.timers).to.equal(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});
