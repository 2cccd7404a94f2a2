import { expect } from 'chai';
import { AppError } from '../../src/errors';
import type { Turn } from '../../src/stores/contract';
import { startSweeper } from '../../src/stores/sweeper';
import { FakeClock } from '../support/fake-link';
import { keptLog } from '../support/silent-log';

/** Lets promises that wait for nothing outside run. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('sweeper of records', () => {
  const setUp = (expired: number, turn?: Turn) => {
    const clock = new FakeClock();
    const log = keptLog();
    const asked: number[] = [];
    let left = expired;
    const store = {
      sweep: async (limit: number): Promise<number> => {
        asked.push(limit);
        const count = Math.min(limit, left);
        left -= count;
        return count;
      },
    };
    const sweeper = startSweeper({ store, ...(turn === undefined ? {} : { turn }), clock, intervalMs: 60_000, log });
    return { clock, log, asked, sweeper, left: () => left };
  };

  it('removes in batches until nothing is left, at every interval', async () => {
    const { clock, asked, sweeper, left } = setUp(450);
    expect(asked).to.deep.equal([]);
    clock.advance(60_000);
    await settled();
    expect([left(), asked.length]).to.deep.equal([0, 3]);
    clock.advance(60_000);
    await settled();
    expect(asked).to.have.length(4);
    await sweeper.stop();
    clock.advance(600_000);
    await settled();
    expect(asked).to.have.length(4);
  });

  it('leaves what is too much for one sweep to the next', async () => {
    const { clock, asked, sweeper, left } = setUp(100_000);
    clock.advance(60_000);
    await settled();
    expect([left(), asked.length]).to.deep.equal([96_000, 20]);
    await sweeper.stop();
  });

  it('sweeps only while it is its turn, and gives the turn back at its end', async () => {
    let mine = false;
    let released = 0;
    const turn: Turn = { take: async () => mine, release: async () => void (released += 1) };
    const { clock, asked, sweeper } = setUp(10, turn);
    clock.advance(60_000);
    await settled();
    expect(asked).to.deep.equal([]);
    mine = true;
    clock.advance(60_000);
    await settled();
    expect(asked).to.have.length(1);
    await sweeper.stop();
    expect(released).to.equal(1);
  });

  it('does not begin a second sweep while one runs', async () => {
    let begun = 0;
    let end = (): void => undefined;
    const clock = new FakeClock();
    const store = {
      sweep: () => {
        begun += 1;
        return new Promise<number>((resolve) => (end = () => resolve(0)));
      },
    };
    const sweeper = startSweeper({ store, clock, intervalMs: 1000, log: keptLog() });
    clock.advance(1000);
    await settled();
    clock.advance(5000);
    await settled();
    expect(begun).to.equal(1);
    end();
    await sweeper.stop();
  });

  it('tells a failure to the log by its code, and sweeps again', async () => {
    let fails = true;
    let swept = 0;
    const clock = new FakeClock();
    const log = keptLog();
    const store = {
      sweep: async () => {
        if (fails) throw new AppError('STORE_UNAVAILABLE', 'public', { detail: 'private' });
        swept += 1;
        return 0;
      },
    };
    const sweeper = startSweeper({ store, clock, intervalMs: 1000, log });
    clock.advance(1000);
    await settled();
    expect(log.lines.join('\n')).to.include('records.sweep-failed').and.include('STORE_UNAVAILABLE');
    fails = false;
    clock.advance(1000);
    await settled();
    expect(swept).to.equal(1);
    await sweeper.stop();
  });
});
