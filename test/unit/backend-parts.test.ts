/** The small parts that the drivers share. */
import { spawn } from 'node:child_process';
import { expect } from 'chai';
import { abortable, startBudget } from '../../src/backends/budget';
import { CA_FILE, childCommand } from '../../src/backends/pod/command';
import { exitOf } from '../../src/backends/exit';
import { Slots } from '../../src/backends/slots';
import { identify, runs } from '../../src/backends/process/identity';
import { never } from '../contract/backend';
import { FakeClock } from '../support/fake-link';
import { serverSpec } from '../support/server-spec';

const caught = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('budget of a start', () => {
  it('aborts when the time is up, and says that it was the time', () => {
    const clock = new FakeClock();
    const budget = startBudget(clock, 10, never());
    clock.advance(9_000);
    expect([budget.signal.aborted, budget.left()]).to.deep.equal([false, 1000]);
    clock.advance(1_000);
    expect([budget.signal.aborted, budget.late, budget.left()]).to.deep.equal([true, true, 1]);
    budget.end();
    expect(clock.timers).to.equal(0);
  });

  it('aborts with the caller’s reason, and is not late then', () => {
    const clock = new FakeClock();
    const caller = new AbortController();
    const reason = new Error('enough');
    const budget = startBudget(clock, 10, never(), caller.signal);
    caller.abort(reason);
    clock.advance(20_000);
    expect([budget.signal.reason, budget.late]).to.deep.equal([reason, false]);
    budget.end();
    expect(startBudget(clock, 10, caller.signal).signal.reason).to.equal(reason);
  });

  it('lets work that knows no signal be given up', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const given = caught(abortable(new Promise(() => undefined), controller.signal));
    controller.abort(reason);
    expect(await given).to.equal(reason);
    expect(await caught(abortable(Promise.reject(new Error('late')), controller.signal))).to.equal(reason);
    expect(await abortable(Promise.resolve(1), never())).to.equal(1);
  });
});

describe('slots', () => {
  it('are handed out first come first served, and never twice', async () => {
    const slots = new Slots(2);
    const order: number[] = [];
    const first = await slots.take(never());
    await slots.take(never());
    const third = slots.take(never()).then((free) => (order.push(3), free));
    const fourth = slots.take(never()).then((free) => (order.push(4), free));
    await Promise.resolve();
    expect(order).to.be.empty;
    first();
    first();
    (await third)();
    await fourth;
    expect(order).to.deep.equal([3, 4]);
  });

  it('are not lost by who gave up waiting', async () => {
    const slots = new Slots(1);
    const free = await slots.take(never());
    const controller = new AbortController();
    const reason = new Error('enough');
    const given = caught(slots.take(controller.signal));
    const next = slots.take(never());
    controller.abort(reason);
    expect(await given).to.equal(reason);
    free();
    (await next)();
    expect(await caught(slots.take(controller.signal))).to.equal(reason);
    (await slots.take(never()))();
  });
});

describe('exits', () => {
  it('tell a child’s own fault from a kill', () => {
    expect(exitOf(0, null)).to.deep.equal({ reason: 'exited', code: 0 });
    expect(exitOf(null, 'SIGSEGV')).to.deep.equal({ reason: 'exited', signal: 'SIGSEGV' });
    expect(exitOf(null, 'SIGKILL')).to.deep.equal({ reason: 'killed', signal: 'SIGKILL' });
    expect(exitOf(null, null)).to.deep.equal({ reason: 'killed' });
  });
});

describe('identity of a process', () => {
  it('is the same as long as it runs, and another for another', () => {
    const own = identify(process.pid);
    expect(own).to.deep.equal(identify(process.pid));
    expect(runs(own!)).to.equal(true);
    expect(runs({ pid: process.pid, started: 'another' })).to.equal(false);
    // Not the parent: it may have started in the same clock tick.
    const later = spawn('sleep', ['60']);
    try {
      expect(identify(later.pid!)?.started).to.be.a('string').that.does.not.equal(own?.started);
    } finally {
      later.kill('SIGKILL');
    }
  });

  it('is none for what is no process', () => {
    for (const pid of [0, 1, -1, 1.5, NaN, 2 ** 31 - 1]) expect(identify(pid), String(pid)).to.equal(undefined);
  });
});

describe('command of a pod’s child', () => {
  const server = serverSpec({ command: ['/child'], env: { A: 'server', SSL_CERT_FILE: '/own.crt' } });

  it('names the CA’s file in the variables of the setting, unless the server has one of its own', () => {
    const command = childCommand(
      server,
      { B: 'secret' },
      { ca: 'PEM', caEnv: ['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'] },
    );
    expect(command).to.deep.equal({
      argv: ['/child'],
      env: { A: 'server', B: 'secret', SSL_CERT_FILE: '/own.crt', NODE_EXTRA_CA_CERTS: CA_FILE },
      files: { [CA_FILE]: 'PEM' },
    });
  });

  it('has no file where there is no CA', () => {
    expect(childCommand(server, { A: 'secret wins' }, {})).to.deep.equal({
      argv: ['/child'],
      env: { A: 'secret wins', SSL_CERT_FILE: '/own.crt' },
    });
  });
});
