/** How requests wait for who is to have their session. */
import { expect } from 'chai';
import type { ServerResponse } from 'node:http';
import { elsewhereBy } from '../../src/compose/elsewhere';
import { FakeClock } from '../support/fake-link';

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('waiting for a session that another gateway has', () => {
  let clock: FakeClock;
  let gone: (name: string) => void;
  let went: string[];
  const res = { destroyed: false } as ServerResponse;

  beforeEach(() => {
    clock = new FakeClock();
    went = [];
  });

  const waiter = () => {
    const replicas = {
      addressOf: async () => undefined,
      onGone: (told: (name: string) => void) => {
        gone = told;
        return () => undefined;
      },
    };
    const elsewhere = elsewhereBy(undefined, replicas, clock, 15_000);
    return (who: string, began: number, session?: string): void =>
      void elsewhere.wait(res, began, session).then((again) => went.push(`${who}${again ? '' : ' no more'}`));
  };

  it('all go on together that wait for the same one, as soon as the first of them would', async () => {
    const wait = waiter();
    clock.advance(10_000);
    wait('long', 0, 'one');
    wait('other', 0, 'two');
    wait('alone', 0);
    clock.advance(100);
    wait('new', 10_100, 'one');
    clock.advance(26); // 20 ms, and a quarter more at the most
    await settled();
    expect(went).to.deep.equal(['long', 'new']);
    clock.advance(1_250);
    await settled();
    expect(went).to.have.members(['long', 'new', 'other', 'alone']);
    expect(clock.timers).to.equal(0);
  });

  it('all go on at once when a gateway is found to be gone, and nobody for longer than may be', async () => {
    const wait = waiter();
    clock.advance(14_000);
    wait('a', 0, 'one');
    wait('b', 0);
    gone('gateway-x');
    await settled();
    expect(went).to.have.members(['a', 'b']);
    clock.advance(1_000);
    wait('c', 0, 'one');
    await settled();
    expect(went.slice(2)).to.deep.equal(['c no more']);
    expect(clock.timers).to.equal(0);
  });
});
