/** Sessions whose child goes on in another process: two registries that share their records and a world of children. */
import { expect } from 'chai';
import fc from 'fast-check';
import { openChannel } from '../../src/bridge/channel';
import type { Channel } from '../../src/bridge/contract';
import { AppError } from '../../src/errors';
import type { AdoptRequest, SessionHandle, SessionRecord } from '../../src/sessions/ports';
import { Registry, type RegistryOptions } from '../../src/sessions/registry';
import { SessionIds } from '../../src/sessions/ids';
import { aRequest, RecordingObserver } from '../support/channel';
import { anAuth, aServer, refusal, SessionLog } from '../support/fake-sessions';
import { FakeClock, FakeLink, FakeSink, settle } from '../support/fake-link';
import { MemoryStore } from '../support/memory-store';

/** A child as all processes see it: it hears whoever has the highest epoch, and counts what it is asked. */
class WorldChild {
  epoch: number;
  alive = true;
  initialized = 0;
  asked = 0;
  link: FakeLink;
  /** Not set: who has it hears nothing of what it is asked. */
  answers = true;

  constructor(
    readonly instance: string,
    epoch: number,
  ) {
    this.epoch = epoch;
    this.link = this.#attach();
  }

  /** Attaches a holder; the one before is fenced. */
  adopt(epoch: number): FakeLink {
    expect(epoch, 'an epoch that was used').to.be.above(this.epoch);
    const before = this.link;
    this.epoch = epoch;
    this.link = this.#attach();
    before.exit({ reason: 'lost' });
    return this.link;
  }

  #attach(): FakeLink {
    const link = new FakeLink();
    link.onMessage = (message) => {
      if (this.link !== link) return;
      if (message.method === 'initialize') {
        this.initialized += 1;
        link.reply(message, { protocolVersion: '2025-11-25', capabilities: {} });
      } else if (message.id !== undefined) {
        this.asked += 1;
        if (this.answers) link.reply(message, this.asked);
      }
    };
    const close = link.close.bind(link);
    link.close = () => {
      if (this.link === link && link.running) this.alive = false;
      return close();
    };
    return link;
  }
}

class World {
  readonly clock = new FakeClock();
  readonly records = new Map<string, SessionRecord>();
  readonly children: WorldChild[] = [];
  /** Those that are believed to be alive. */
  readonly living = new Set<string>();
  /** Set: children cannot be had by this. */
  fault: ((request: AdoptRequest, signal: AbortSignal) => Promise<void>) | undefined;
  readonly ids = new SessionIds([Buffer.alloc(32, 1)]);
  readonly members: Member[] = [];

  join(name: string, over: Partial<RegistryOptions> = {}): Member {
    const member = new Member(this, name, over);
    this.members.push(member);
    return member;
  }

  get running(): WorldChild[] {
    return this.children.filter(({ alive }) => alive);
  }
}

class Member {
  readonly log = new SessionLog();
  readonly registry: Registry;
  isSure = true;
  doubts = 0;
  readonly store: MemoryStore;
  readonly discarded: string[] = [];

  constructor(
    readonly world: World,
    readonly name: string,
    over: Partial<RegistryOptions>,
  ) {
    world.living.add(name);
    this.store = new MemoryStore(name, world.records);
    const isSure = (): boolean => this.isSure;
    const doubts = (): number => this.doubts;
    this.registry = new Registry({
      spawn: async ({ session, generation, server, placed }) => {
        const child = new WorldChild(`${session}/${String(generation)}`, generation);
        world.children.push(child);
        await placed({ instance: child.instance, name: child.instance });
        return this.#channel(child.link, server, generation);
      },
      adopt: async (request, signal) => {
        await world.fault?.(request, signal);
        const child = world.children.find(({ instance }) => instance === request.child.instance);
        if (child?.alive !== true) throw new AppError('BACKEND_ENDED', 'It is gone.');
        return this.#channel(
          child.adopt(request.generation),
          request.server,
          request.generation,
          request.protocolVersion,
        );
      },
      discard: async ({ instance }) => {
        this.discarded.push(instance);
        const child = world.children.find((one) => one.instance === instance);
        if (child !== undefined) child.alive = false;
        child?.link.exit({ reason: 'deleted' });
      },
      store: this.store,
      clock: world.clock,
      ids: world.ids,
      observer: this.log,
      binding: 'adopt',
      holders: {
        self: name,
        get isSure() {
          return isSure();
        },
        get doubts() {
          return doubts();
        },
        isAlive: async (holder) => world.living.has(holder),
      },
      drains: () => false,
      drainTimeout: 20,
      sweepInterval: 30,
      maxStreams: 4,
      keepRecords: 7_776_000,
      maxPerUser: 1,
      maxTotal: 0,
      maxHibernatedPerUser: 0,
      maxHibernated: 0,
      opensPerMinutePerUser: 0,
      opensPerMinute: 0,
      ...over,
    });
  }

  async open(server = aServer()): Promise<string> {
    const handle = await this.registry.open(anAuth(), server, new AbortController().signal);
    await handle.call(aRequest(0, 'initialize', { protocolVersion: '2025-11-25' }), new FakeSink());
    handle.release();
    await settle();
    return handle.id;
  }

  use(id: string, server = aServer()): Promise<SessionHandle> {
    return this.registry.use(anAuth(), server, id);
  }

  /** What the child says to a call: how many it was asked. */
  async ask(id: string, server = aServer()): Promise<any> {
    const handle = await this.use(id, server);
    const sink = new FakeSink();
    try {
      await handle.call(aRequest(1), sink);
    } finally {
      handle.release();
    }
    return sink.last.result ?? sink.last.error;
  }

  #channel(link: FakeLink, server: ReturnType<typeof aServer>, generation: number, negotiated?: string): Channel {
    return openChannel(link, {
      clock: this.world.clock,
      observer: new RecordingObserver(),
      callTimeout: server.callTimeout,
      initializeTimeout: server.startTimeout,
      maxLineBytes: server.maxLineBytes,
      maxCallsInFlight: server.maxCallsInFlight,
      generation,
      ...(negotiated === undefined ? {} : { negotiated }),
    });
  }
}

describe('sessions whose child goes on elsewhere', () => {
  let world: World;
  let a: Member;
  let b: Member;

  beforeEach(() => {
    world = new World();
    a = world.join('a');
    b = world.join('b');
  });
  afterEach(async () => {
    for (const { registry } of world.members) {
      const stopped = registry.stop(0);
      await settle();
      world.clock.advance(60_000);
      await stopped;
    }
    expect(world.clock.timers, 'timers that are left').to.equal(0);
  });
  const only = (): WorldChild => {
    expect(world.children).to.have.length(1);
    return world.children[0];
  };
  const recordOf = (): SessionRecord | undefined => [...world.records.values()][0];

  it('have their dead holder’s child, which is not initialised again', async () => {
    const id = await a.open();
    expect(await a.ask(id)).to.equal(1);
    world.living.delete('a');
    const handle = await b.use(id);
    expect(handle.protocolVersion).to.equal('2025-11-25');
    handle.release();
    expect(await b.ask(id)).to.equal(2);
    expect([only().initialized, only().epoch]).to.deep.equal([1, 2]);
    expect(recordOf()).to.deep.include({ holder: 'b', generation: 2, state: 'active' });
    expect(b.log.handovers).to.deep.equal(['adopted']);
    expect(b.log.last).to.deep.equal({ starting: 0, active: 1, hibernated: 0, ending: 0 });
  });

  it('are there for a GET stream as well, and for many who come at once there is one take-over', async () => {
    const id = await a.open();
    world.living.delete('a');
    const sink = new FakeSink();
    await b.registry.listen(anAuth(), aServer(), id, sink);
    const all = await Promise.all(Array.from({ length: 50 }, () => b.ask(id)));
    expect(new Set(all).size).to.equal(50);
    expect(only().epoch).to.equal(2);
    only().link.say({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' } });
    expect(sink.messages).to.have.length(1);
  });

  it('take the place that they had among all: the caps count over both', async () => {
    const id = await a.open();
    expect((await refusal(b.open())).code).to.equal('SESSION_CAP_USER');
    world.living.delete('a');
    expect(await b.ask(id)).to.equal(1);
    expect((await refusal(b.open())).code).to.equal('SESSION_CAP_USER');
  });

  it('are one’s only where two processes come at once; the other is told who has it', async () => {
    const id = await a.open();
    const c = world.join('c');
    world.living.delete('a');
    const outcomes = await Promise.allSettled([b.ask(id), c.ask(id)]);
    const taken = outcomes.filter(({ status }) => status === 'fulfilled');
    expect(taken).to.have.length(1);
    expect(only().epoch).to.equal(2);
  });

  it('are lost to a former holder that comes back: it is fenced, ends nothing and removes nothing', async () => {
    const id = await a.open();
    world.living.delete('a');
    expect(await b.ask(id)).to.equal(1);
    await settle();
    world.living.add('a');
    a.isSure = false;
    const thrown = await refusal(a.ask(id));
    expect([thrown.code, (thrown as any).holder]).to.deep.equal(['STORE_UNAVAILABLE', 'b']);
    expect([a.discarded, only().alive]).to.deep.equal([[], true]);
    expect(await b.ask(id)).to.equal(2);
    expect(recordOf()).to.include({ holder: 'b', state: 'active' });
  });

  it('are not those of a holder that is sure again, before it has read that: what was taken meanwhile it gives up', async () => {
    const id = await a.open();
    world.living.delete('a');
    expect(await b.ask(id)).to.equal(1);
    await settle();
    world.living.add('a');
    a.doubts += 1; // it was not sure for a while, and is
    const thrown = await refusal(a.ask(id));
    expect([thrown.code, (thrown as any).holder]).to.deep.equal(['STORE_UNAVAILABLE', 'b']);
    expect([a.discarded, only().alive]).to.deep.equal([[], true]);
  });

  it('are looked up once for all who ask at the same moment, and anew a moment later', async () => {
    const id = await a.open();
    const reads = readsOf(b.store);
    const asked = await Promise.all([...Array(100).keys()].map(() => refusal(b.ask(id))));
    expect(new Set(asked.map((thrown) => (thrown as any).holder))).to.deep.equal(new Set(['a']));
    expect(reads()).to.equal(1);
    world.living.delete('a');
    expect(await b.ask(id)).to.equal(1);
    expect(reads()).to.equal(2);
  });

  it('are not told of by a read that is older than that: it may be slow', async () => {
    const id = await a.open();
    const get = b.store.get.bind(b.store);
    let go = (): void => undefined;
    b.store.get = async (name) => {
      const record = await get(name);
      await new Promise<void>((resolve) => (go = resolve));
      return record;
    };
    const slow = b.ask(id);
    await settle();
    b.store.get = get;
    world.clock.advance(50);
    world.living.delete('a');
    expect(await b.ask(id)).to.equal(1);
    go();
    expect(await slow, 'it is here by then').to.equal(2);
  });

  it('stay with a holder that is sure again and finds them its own; it reads that once', async () => {
    const id = await a.open();
    const reads = readsOf(a.store);
    for (let n = 1; n <= 2; n += 1) expect(await a.ask(id)).to.equal(n);
    expect(reads()).to.equal(0);
    a.doubts += 1;
    a.store.down = true;
    expect((await refusal(a.ask(id))).code, 'it cannot be told').to.equal('STORE_UNAVAILABLE');
    a.store.down = false;
    const readsAfter = readsOf(a.store);
    for (let n = 3; n <= 5; n += 1) expect(await a.ask(id)).to.equal(n);
    expect(readsAfter()).to.equal(1);
    expect([only().alive, a.log.handovers, recordOf()?.holder]).to.deep.equal([true, [], 'a']);
  });

  it('leave the child to whoever claimed it, also before that one has attached', async () => {
    const id = await a.open();
    world.living.delete('a');
    let go = (): void => undefined;
    world.fault = () => new Promise((resolve) => (go = resolve));
    const asking = b.ask(id);
    await settle();
    a.isSure = false;
    await refusal(a.ask(id)); // it learns from the record that it has lost the session
    await settle();
    expect([only().link.closes, only().link.releases, only().alive]).to.deep.equal([0, 1, true]);
    go();
    expect(await asking).to.equal(1);
  });

  it('whose child cannot be had get another one, which is told what the first one knew', async () => {
    const id = await a.open();
    world.living.delete('a');
    world.fault = async () => {
      throw new AppError('BACKEND_REFUSED', 'its key is not known');
    };
    expect(await b.ask(id)).to.equal(1);
    expect(world.children.map(({ alive, initialized }) => [alive, initialized])).to.deep.equal([
      [false, 1],
      [true, 1],
    ]);
    expect(b.log.handovers).to.deep.equal(['replaced']);
    expect(recordOf()).to.deep.include({ state: 'active', holder: 'b' });
  });

  it('whose child does not answer in time get another one', async () => {
    const id = await a.open();
    world.living.delete('a');
    world.fault = (_request, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    const asking = b.ask(id);
    await settle();
    world.clock.advance(9_999);
    await settle();
    expect(b.discarded).to.deep.equal([]);
    world.clock.advance(1);
    expect(await asking).to.equal(1);
    expect(world.running).to.have.length(1);
    expect(b.discarded).to.have.length(1);
  });

  it('whose child cannot be had sleep where nobody asks anything of them', async () => {
    const id = await a.open();
    world.living.delete('a');
    world.fault = async () => {
      throw new AppError('BACKEND_ENDED', 'gone');
    };
    (await b.use(id)).release();
    await settle();
    expect(recordOf()).to.include({ state: 'hibernated', holder: 'b' });
    expect(recordOf()).to.not.have.property('child');
    expect(b.log.last).to.deep.equal({ starting: 0, active: 0, hibernated: 1, ending: 0 });
    expect(await b.ask(id)).to.equal(1);
  });

  it('whose child cannot be had sleep once the store can be told so, which it could not at first', async () => {
    const id = await a.open();
    world.living.delete('a');
    world.fault = async () => {
      b.store.down = true;
      throw new AppError('BACKEND_REFUSED', 'its key is not known');
    };
    (await b.use(id)).release();
    await settle();
    expect(recordOf()).to.include({ state: 'active', holder: 'b' });
    expect([b.discarded, only().alive]).to.deep.equal([[], true]);
    b.store.down = false;
    world.clock.advance(1_000);
    await settle();
    expect(recordOf()).to.include({ state: 'hibernated', holder: 'b' });
    expect(recordOf()).to.not.have.property('child');
    world.fault = undefined;
    expect(await b.ask(id)).to.equal(1);
  });

  it('of a stateful server go on, and end where their child cannot be had', async () => {
    const server = aServer({ stateful: true });
    const id = await a.open(server);
    world.living.delete('a');
    expect(await b.ask(id, server)).to.equal(1);
    await settle();
    world.living.delete('b');
    world.fault = async () => {
      throw new AppError('BACKEND_ENDED', 'gone');
    };
    const c = world.join('c');
    expect((await refusal(c.ask(id, server))).code).to.equal('SESSION_ENDED');
    await settle();
    expect(recordOf()).to.include({ state: 'ended', endReason: 'lost' });
    expect(world.running).to.have.length(0);
  });

  it('sleep by their record before their child is ended: who comes meanwhile has another one, and not one that exits', async () => {
    const id = await a.open();
    const first = only();
    first.link.exitOnClose = false;
    world.clock.advance(300_000); // no longer: a child that does not end is given up
    await settle();
    expect(recordOf()).to.include({ state: 'hibernated', holder: 'a' });
    expect(recordOf()).to.not.have.property('child');
    expect(first.link.closes).to.equal(1);
    world.living.delete('a');
    const asking = b.ask(id);
    await settle();
    first.link.exit({ reason: 'closed' });
    expect(await asking).to.equal(1);
    expect([world.children.length, b.log.handovers]).to.deep.equal([2, []]);
  });

  it('whose child cannot be spoken to any more sleep, and only once that is recorded it is removed', async () => {
    const seen: unknown[] = [];
    const c = world.join('c', { discard: async ({ instance }) => void seen.push([instance, recordOf()?.state]) });
    const id = await c.open();
    const { instance, link } = only();
    link.exit({ reason: 'lost' });
    await settle();
    expect(seen).to.deep.equal([[instance, 'hibernated']]);
    expect(recordOf()).to.not.have.property('child');
    expect(await c.ask(id)).to.equal(1);
  });

  it('whose child cannot be spoken to any more keep it as long as it cannot be recorded that they sleep', async () => {
    await a.open();
    a.store.down = true;
    only().link.exit({ reason: 'lost' });
    await settle();
    a.store.down = false;
    world.clock.advance(1_000);
    await settle();
    expect([recordOf()?.state, recordOf()?.child, a.discarded]).to.deep.equal(['hibernated', undefined, []]);
  });

  it('sleep also where the store cannot be told at first', async () => {
    const id = await a.open();
    a.store.down = true;
    world.clock.advance(330_000);
    await settle();
    expect([only().alive, recordOf()?.state]).to.deep.equal([false, 'active']);
    a.store.down = false;
    world.clock.advance(1_000);
    await settle();
    expect(recordOf()).to.include({ state: 'hibernated', holder: 'a' });
    expect(await a.ask(id)).to.equal(1);
  });

  it('a failed take-over removes nothing where the session is another’s by now', async () => {
    const id = await a.open();
    world.living.delete('a');
    const c = world.join('c');
    let fail = (_thrown: Error): void => undefined;
    world.fault = ({ generation }) =>
      generation > 2 ? Promise.resolve() : new Promise((_resolve, reject) => (fail = reject));
    const asking = refusal(b.ask(id));
    await settle();
    world.living.delete('b');
    expect(await c.ask(id)).to.equal(1);
    fail(new AppError('LINK_CLOSED', 'fenced'));
    await asking;
    await settle();
    expect([b.discarded, only().alive, only().epoch]).to.deep.equal([[], true, 3]);
    expect(await c.ask(id)).to.equal(2);
  });

  it('end while they are taken over: the child goes with them', async () => {
    const id = await a.open();
    world.living.delete('a');
    await b.registry.end(anAuth(), aServer(), id);
    await settle();
    expect(world.running).to.have.length(0);
    expect(recordOf()).to.include({ state: 'ended', endReason: 'deleted' });
  });

  describe('when the gateway stops that is about to have them', () => {
    /** Lets whatever the store was asked to claim go through, and tells nobody before the test does. */
    const claimHeld = (member: Member): (() => void) => {
      let go = (): void => undefined;
      const held = new Promise<void>((resolve) => (go = resolve));
      const claim = member.store.claim.bind(member.store);
      member.store.claim = async (name, generation) => {
        const record = await claim(name, generation);
        await held;
        return record;
      };
      return go;
    };

    it('stay as they are, child and all, for the next one', async () => {
      const id = await a.open();
      world.living.delete('a');
      const go = claimHeld(b);
      const asking = refusal(b.ask(id));
      await settle();
      const stopping = b.registry.stop(0);
      await settle();
      go();
      expect((await asking).code).to.equal('DRAINING');
      await stopping;
      expect(recordOf()).to.deep.include({ state: 'active', generation: 2 });
      expect(recordOf()).to.not.have.property('holder');
      expect(recordOf()?.child).to.deep.include({ instance: only().instance });
      expect([only().alive, only().epoch, only().link.closes, b.discarded]).to.deep.equal([true, 1, 0, []]);
      expect(b.registry.size).to.equal(0);
      const c = world.join('c');
      expect(await c.ask(id)).to.equal(1);
      expect([only().initialized, only().epoch]).to.deep.equal([1, 3]);
    });

    it('are given back also where the store fails at first', async () => {
      const id = await a.open();
      world.living.delete('a');
      const go = claimHeld(b);
      const update = b.store.update.bind(b.store);
      b.store.update = async () => {
        b.store.update = update;
        throw new AppError('STORE_UNAVAILABLE', 'not now');
      };
      const asking = refusal(b.ask(id));
      await settle();
      const stopping = b.registry.stop(0);
      go();
      expect((await asking).code).to.equal('DRAINING');
      await stopping;
      expect(recordOf()).to.deep.include({ state: 'active', generation: 2 });
      expect(recordOf()).to.not.have.property('holder');
    });

    it('are not even claimed where it began to stop while it asked who lives', async () => {
      let go = (): void => undefined;
      const held = new Promise<void>((resolve) => (go = resolve));
      const slow = world.join('slow', {
        holders: { self: 'slow', isSure: true, doubts: 0, isAlive: () => held.then(() => false) },
      });
      const id = await a.open();
      const asking = refusal(slow.ask(id));
      await settle();
      const stopping = slow.registry.stop(0);
      go();
      expect((await asking).code).to.equal('DRAINING');
      await stopping;
      expect(recordOf()).to.include({ holder: 'a', generation: 1 });
      expect(await a.ask(id)).to.equal(1);
    });
  });

  describe('when their gateway stops', () => {
    it('are given up with their child, and the next one who is asked has both', async () => {
      const id = await a.open();
      expect(await a.ask(id)).to.equal(1);
      await a.registry.stop(1_000);
      expect(recordOf()).to.deep.include({ state: 'active', generation: 1 });
      expect(recordOf()).to.not.have.property('holder');
      expect(recordOf()?.child).to.deep.include({ instance: only().instance });
      expect([only().link.closes, only().link.releases]).to.deep.equal([0, 1]);
      expect(a.log.handovers).to.deep.equal(['given-up']);
      expect(await b.ask(id)).to.equal(2);
    });

    it('have their calls answered first, as long as that takes no longer than it may', async () => {
      const id = await a.open();
      only().answers = false;
      const asking = a.ask(id);
      await settle();
      const stopping = a.registry.stop(5_000);
      await settle();
      expect(only().link.releases).to.equal(0);
      only().link.reply(only().link.last, 'late');
      expect(await asking).to.equal('late');
      await stopping;
      expect(only().link.releases).to.equal(1);
    });

    it('and a call takes longer: it is refused, and the child goes on all the same', async () => {
      const id = await a.open();
      only().answers = false;
      const asking = a.ask(id);
      await settle();
      const stopping = a.registry.stop(5_000);
      await settle();
      world.clock.advance(5_000);
      expect((await asking).data).to.deep.equal({ code: 'BACKEND_ENDED', reason: 'closed' });
      await stopping;
      only().answers = true;
      expect(await b.ask(id)).to.equal(2);
    });

    it('sleep where they slept, and end where nobody could go on with them', async () => {
      const id = await a.open();
      world.clock.advance(330_000);
      await settle();
      const open = await a.registry.open(anAuth(), aServer(), new AbortController().signal);
      open.release();
      await a.registry.stop(0);
      expect([...world.records.values()].map(({ state }) => state).sort()).to.deep.equal(['ended', 'hibernated']);
      expect(await b.ask(id)).to.equal(1);
    });
  });

  it('whatever dies, stops, comes back and fails: a session has one child at a time, and calls are answered once or refused', async () => {
    const step = fc.record({
      who: fc.integer({ min: 0, max: 2 }),
      what: fc.constantFrom('ask', 'ask', 'ask', 'die', 'back', 'fail', 'heal', 'stop', 'time'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
        const one = new World();
        const members = ['x', 'y', 'z'].map((name) => one.join(name, { maxPerUser: 0 }));
        const id = await members[0].open();
        let answered = 0;
        const pending: Promise<unknown>[] = [];
        const stopped = new Set<Member>();
        for (const { who, what } of steps) {
          const member = members[who];
          if (what === 'die') one.living.delete(member.name);
          if (what === 'die') member.isSure = false;
          if (what === 'back' && !stopped.has(member)) one.living.add(member.name);
          if (what === 'fail') one.fault = () => Promise.reject(new AppError('BACKEND_UNAVAILABLE', 'no'));
          if (what === 'heal') one.fault = undefined;
          if (what === 'time') one.clock.advance(1_000);
          if (what === 'stop') {
            stopped.add(member);
            one.living.delete(member.name);
            pending.push(member.registry.stop(0));
          }
          if (what === 'ask') {
            pending.push(
              member.ask(id).then(
                (said) => void (answered += typeof said === 'number' ? 1 : 0),
                (thrown: unknown) => expect(thrown).to.be.instanceOf(AppError),
              ),
            );
          }
          if (who !== 1) await settle();
        }
        await settle();
        one.clock.advance(120_000);
        await Promise.all(pending);
        await settle();
        expect(one.running.length, 'children').to.be.at.most(1);
        expect(one.children.reduce((sum, { asked }) => sum + asked, 0)).to.be.at.least(answered);
        for (const { registry } of members) {
          const stopping = registry.stop(0);
          await settle();
          one.clock.advance(60_000);
          await stopping;
        }
      }),
      { numRuns: 200 },
    );
  }).timeout(60_000);
});

/** Counts what is read of a store from now on. */
function readsOf(store: MemoryStore): () => number {
  const get = store.get.bind(store);
  let reads = 0;
  store.get = (name) => {
    reads += 1;
    return get(name);
  };
  return () => reads;
}
