import { expect } from 'chai';
import { Askers, type Question } from '../../src/bridge/modern/askers';
import { Running } from '../../src/bridge/modern/running';
import { FakeClock, settle } from '../support/fake-link';

describe('whose a question is', () => {
  let clock: FakeClock;
  let askers: Askers;
  let found: string[];
  let lost: string[];

  beforeEach(() => {
    clock = new FakeClock();
    found = [];
    lost = [];
    askers = new Askers({
      clock,
      found: ({ target }, { key }) => found.push(`${key} of ${target.split('\n')[1] ?? target}`),
      lost: ({ key }) => lost.push(key),
    });
  });

  afterEach(() => {
    askers.close();
    expect(clock.timers).to.equal(0);
  });

  const call = (name: string): Running => new Running({ method: 'tools/call', params: { name } });
  const question = (key: string): Question => ({ key, method: 'roots/list', params: {} });
  const never = (): AbortSignal => new AbortController().signal;

  async function enter(name: string): Promise<Running> {
    const running = call(name);
    expect(await askers.enter(running, never())).to.equal(true);
    return running;
  }

  /** Begins to enter; tells whether it has been let through. */
  function queue(running: Running, signal = never()): { entered: boolean | undefined } {
    const state: { entered: boolean | undefined } = { entered: undefined };
    void askers.enter(running, signal).then((entered) => {
      state.entered = entered;
    });
    return state;
  }

  it('the only call at work that may ask, whoever else waits for its client', async () => {
    const first = await enter('first');
    askers.park(first);
    await enter('second');
    askers.ask(question('q'));
    expect(found).to.deep.equal(['q of second']);
  });

  it('the only call whose client was asked, where none is at work', async () => {
    askers.park(await enter('first'));
    askers.ask(question('q'));
    expect([found, lost]).to.deep.equal([['q of first'], []]);
  });

  it('nobody, where none is at work and none or several have asked', async () => {
    askers.ask(question('p'));
    askers.park(await enter('first'));
    askers.park(await enter('second'));
    askers.ask(question('q'));
    expect([found, lost]).to.deep.equal([[], ['p', 'q']]);
  });

  it('never guessed among several: it waits for the others to be answered, for 15 s at most', async () => {
    const [first] = [await enter('first'), await enter('second')];
    askers.ask(question('q'));
    askers.ask(question('r'));
    clock.advance(14_999);
    expect([found, lost]).to.deep.equal([[], []]);
    clock.advance(1);
    expect(lost).to.deep.equal(['q', 'r']);
    askers.ask(question('s'));
    askers.remove(first);
    expect(found).to.deep.equal(['s of second']);
  });

  it('nobody is told of one that the child has withdrawn', async () => {
    const [first] = [await enter('first'), await enter('second')];
    askers.ask(question('q'));
    expect([askers.withdraw('q'), askers.withdraw('q')]).to.deep.equal([true, false]);
    askers.remove(first);
    expect(found).to.deep.equal([]);
  });

  it('no further call is let through while one waits', async () => {
    const [first] = [await enter('first'), await enter('second')];
    askers.ask(question('q'));
    const third = queue(call('third'));
    await settle();
    expect(third.entered).to.equal(undefined);
    askers.remove(first);
    await settle();
    expect([third.entered, found]).to.deep.equal([undefined, ['q of second']]); // it has asked, so it is alone
  });

  it('what has asked is let through alone, and is alone until it has asked or was answered', async () => {
    const asker = await enter('asker');
    askers.ask(question('q'));
    const other = queue(call('other'));
    await settle();
    expect(other.entered).to.equal(undefined);
    askers.park(asker);
    await settle();
    expect(other.entered).to.equal(true);
    const again = queue(asker); // its client came back
    const second = queue(call('asker'));
    const third = queue(call('third'));
    await settle();
    expect([again.entered, second.entered, third.entered]).to.deep.equal([undefined, undefined, undefined]);
  });

  it('lets those through that wait in the order in which they came', async () => {
    const asker = await enter('asker');
    askers.ask(question('q'));
    const order: string[] = [];
    for (const name of ['a', 'asker', 'b']) {
      const running = call(name);
      void askers.enter(running, never()).then(() => {
        order.push(name);
        askers.remove(running);
      });
    }
    askers.remove(asker);
    await settle();
    expect(order).to.deep.equal(['a', 'asker', 'b']);
  });

  it('lets a call through after a minute all the same', async () => {
    await enter('asker');
    askers.ask(question('q'));
    const other = queue(call('other'));
    clock.advance(60_000);
    await settle();
    expect(other.entered).to.equal(true);
    askers.ask(question('r'));
    expect(found).to.deep.equal(['q of asker']); // two may have asked it
  });

  it('forgets a call whose client goes away before it was let through, and lets the next one try', async () => {
    const first = await enter('first');
    await enter('second');
    askers.remove(first);
    askers.ask(question('q')); // `second` has asked, so it is alone
    const gone = new AbortController();
    const [third, fourth] = [queue(call('third'), gone.signal), queue(call('fourth'))];
    gone.abort();
    await settle();
    expect([third.entered, fourth.entered]).to.deep.equal([false, undefined]);
    expect(await askers.enter(call('fifth'), gone.signal)).to.equal(false);
  });

  it('a withdrawn call counts until the child knows of it', async () => {
    let known: () => void = () => undefined;
    await enter('first');
    askers.depart(new Promise<void>((resolve) => (known = resolve)));
    expect(askers.departing).to.equal(true);
    askers.ask(question('q'));
    expect(found).to.deep.equal([]);
    known();
    await settle();
    expect([askers.departing, found]).to.deep.equal([false, ['q of first']]);
  });

  it('lets all go when the child is gone', async () => {
    await enter('asker');
    await enter('other');
    askers.ask(question('q'));
    const third = queue(call('third'));
    askers.close();
    await settle();
    expect([third.entered, found, lost]).to.deep.equal([true, [], []]);
  });

  it('remembers a bounded number of askers', async () => {
    for (let i = 0; i < 1_030; i += 1) {
      const running = await enter(`asker-${String(i)}`);
      askers.ask(question('q'));
      askers.remove(running);
    }
    await enter('asker-1029');
    const second = queue(call('other'));
    await settle();
    expect(second.entered).to.equal(true);
  });
});
