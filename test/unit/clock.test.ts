import { expect } from 'chai';
import { systemClock as clock } from '../../src/clock';

describe('the machine’s clock', () => {
  it('calls nobody before it says that the time has come', async () => {
    const early: number[] = [];
    const one = (ms: number): Promise<void> =>
      new Promise((resolve) => {
        const due = clock.now() + ms;
        clock.after(ms, () => {
          if (clock.now() < due) early.push(clock.now() - due);
          resolve();
        });
      });
    const many = Array.from({ length: 50 }, async (_, i) => {
      for (let n = 0; n < 10; n += 1) await one(i / 3 + n);
    });
    // Its timers keep no process alive, so something else has to.
    const alive = setInterval(() => undefined, 1000);
    await Promise.all(many);
    clearInterval(alive);
    expect(early).to.deep.equal([]);
  });
});
