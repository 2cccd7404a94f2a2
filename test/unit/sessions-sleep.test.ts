/** Sessions that live on without a child: how they come to sleep, wake, and end. */
import { expect } from 'chai';
import type { JsonRpcRequest } from '../../src/bridge/contract';
import { AppError } from '../../src/errors';
import { HeldElsewhere } from '../../src/sessions/elsewhere';
import type { SessionHandle, SessionRecord } from '../../src/sessions/ports';
import type { RegistryOptions } from '../../src/sessions/registry';
import { aRequest } from '../support/channel';
import { anAuth, aServer, refusal, SessionBench } from '../support/fake-sessions';
import { FakeSink, settle, type FakeLink } from '../support/fake-link';
import { MemoryStore } from '../support/memory-store';

const IDLE_MS = 300_000;
const TTL_MS = 86_400_000;

describe('sessions that sleep', () => {
  let bench: SessionBench;
  const setUp = (over: Partial<RegistryOptions> = {}): void => {
    bench = new SessionBench(over);
  };
  const use = (id: string, auth = anAuth(), server = aServer()): Promise<SessionHandle> =>
    bench.registry.use(auth, server, id);
  /** Makes one call, which the child answers as soon as it hears it. */
  const ask = async (id: string, request: JsonRpcRequest = aRequest(1), auth = anAuth()): Promise<FakeSink> => {
    const handle = await use(id, auth);
    const sink = new FakeSink();
    try {
      await handle.call(request, sink);
    } finally {
      handle.release();
    }
    return sink;
  };
  /** Children answer every request by themselves, with its method. */
  const obliging = (link: FakeLink): void => {
    const before = link.onMessage;
    link.onMessage = (message) => {
      before(message);
      if (message.id !== undefined && message.method !== undefined && message.method !== 'initialize')
        link.reply(message, message.method);
    };
  };
  const asleep = async (auth = anAuth(), server = aServer()): Promise<{ id: string; name: string; link: FakeLink }> => {
    const session = await bench.session(auth, server);
    bench.clock.advance(IDLE_MS);
    await settle();
    expect(session.link.running).to.equal(false);
    return session;
  };
  const methods = (link: FakeLink): unknown[] => link.sent.map(({ method }) => method);

  beforeEach(() => {
    setUp();
    bench.prepare = obliging;
  });

  afterEach(async () => {
    await bench.registry.stop(0);
    expect([bench.registry.size, bench.clock.timers, bench.running], 'left behind').to.deep.equal([0, 0, 0]);
    expect(bench.channelLog.faults).to.deep.equal([]);
  });

  describe('falling asleep', () => {
    it('ends the child of an idle session at the sweep, and the session stays: recorded with what its next child is to be told', async () => {
      const { id, link } = await bench.session();
      bench.clock.advance(IDLE_MS - 1);
      await settle();
      expect([link.running, bench.log.last]).to.deep.equal([
        true,
        { starting: 0, active: 1, hibernated: 0, ending: 0 },
      ]);
      bench.clock.advance(1);
      expect(bench.log.last).to.deep.equal({ starting: 0, active: 0, hibernated: 1, ending: 0 });
      const record = await bench.recordOf(id);
      expect([link.running, bench.running]).to.deep.equal([false, 0]);
      expect(record).to.deep.include({
        state: 'hibernated',
        generation: 1,
        expiresAt: bench.clock.wall() + TTL_MS - IDLE_MS,
      });
      expect(record?.remembered?.initialize).to.deep.equal({ protocolVersion: '2025-11-25' });
      expect(record).to.not.have.property('child');
      expect(bench.log.sleeps).to.deep.equal(['idle']);
      expect(bench.log.ends).to.deep.equal([]);
    });

    for (const reason of ['deleted', 'lost'] as const) {
      it(`when the child is gone (${reason}): calls in flight are answered, and the next message wakes the session`, async () => {
        bench.prepare = () => undefined;
        const { id, link } = await bench.session();
        const handle = await use(id);
        const sink = new FakeSink();
        const call = handle.call(aRequest(1), sink);
        link.exit({ reason });
        await call;
        handle.release();
        expect(sink.last.error.data).to.deep.equal({ code: 'BACKEND_ENDED', reason });
        expect(await bench.recordOf(id)).to.include({ state: 'hibernated' });
        expect(bench.log.sleeps).to.deep.equal(['lost']);
        bench.prepare = obliging;
        expect((await ask(id)).last.result).to.equal('tools/call');
        expect(bench.starts).to.have.length(2);
      });
    }

    it('is no end for a session whose client is still asked something by its child, as long as that is open', async () => {
      const { id, link } = await bench.session();
      const stream = await bench.registry.listen(anAuth(), aServer(), id, new FakeSink());
      link.say({ jsonrpc: '2.0', id: 1, method: 'elicitation/create', params: {} });
      bench.clock.advance(IDLE_MS + 30_000);
      await settle();
      expect(bench.running).to.equal(1);
      stream.stop();
      bench.clock.advance(IDLE_MS + 30_000); // the question has its own deadline
      await settle();
      expect(bench.running).to.equal(0);
    });

    for (const [why, server] of [
      ['its server is stateful', aServer({ stateful: true })],
      ['its client knows of no session', aServer()],
    ] as const) {
      it(`is not for a session where ${why}: it ends`, async () => {
        const outlives = server.stateful ? 'gateway' : 'nothing';
        const handle = await bench.registry.open(anAuth(), server, new AbortController().signal, { outlives });
        await bench.initialize(handle);
        bench.clock.advance(IDLE_MS);
        expect(await bench.recordOf(handle.id)).to.include({ state: 'ended', endReason: 'idle' });
        expect((await refusal(use(handle.id, anAuth(), server))).status).to.equal(404);
      });
    }

    it('is not for a session whose client asked for more than is remembered: it ends', async () => {
      const { id } = await bench.session();
      await ask(id, aRequest(1, 'resources/subscribe', { uri: `test://${'x'.repeat(70_000)}` }));
      bench.clock.advance(IDLE_MS);
      expect(await bench.recordOf(id)).to.include({ state: 'ended', endReason: 'idle' });
    });

    it('of the oldest of one user’s makes them end once there are too many, and nobody else’s', async () => {
      setUp({ maxHibernatedPerUser: 3 });
      const own: string[] = [];
      for (let i = 0; i < 5; i += 1) {
        own.push((await bench.session()).id);
        bench.clock.advance(1_000);
      }
      const other = (await bench.session(anAuth('8'))).id;
      bench.clock.advance(IDLE_MS + 30_000);
      const reasons = await Promise.all(own.map(async (id) => (await bench.recordOf(id))?.endReason));
      expect(reasons).to.deep.equal(['displaced', 'displaced', undefined, undefined, undefined]);
      expect(await bench.recordOf(other)).to.include({ state: 'hibernated' });
    });

    it('of the oldest of all makes them end once there are too many', async () => {
      setUp({ maxHibernated: 2 });
      const ids: string[] = [];
      for (const user of ['1', '2', '3']) {
        ids.push((await bench.session(anAuth(user))).id);
        bench.clock.advance(1_000);
      }
      bench.clock.advance(IDLE_MS + 30_000);
      const reasons = await Promise.all(ids.map(async (id) => (await bench.recordOf(id))?.endReason));
      expect(reasons).to.deep.equal(['displaced', undefined, undefined]);
    });

    it('leaves a session to its lifetimes: 404 once sessionTTL has passed', async () => {
      const { id } = await asleep();
      bench.clock.advance(TTL_MS - IDLE_MS - 60_000);
      await settle();
      expect(bench.registry.size).to.equal(1);
      bench.clock.advance(60_000);
      expect(await bench.recordOf(id)).to.include({ state: 'ended', endReason: 'expired' });
      expect((await refusal(use(id))).status).to.equal(404);
    });
  });

  describe('waking', () => {
    it('tells a new child what the one before knew, in order, and then the message, under the same id', async () => {
      const { id, name } = await bench.session();
      const told: [string, Record<string, unknown>][] = [
        ['logging/setLevel', { level: 'info' }],
        ['resources/subscribe', { uri: 'test://a' }],
        ['resources/subscribe', { uri: 'test://b' }],
        ['logging/setLevel', { level: 'debug' }],
        ['resources/subscribe', { uri: 'test://c' }],
        ['resources/unsubscribe', { uri: 'test://a' }],
      ];
      for (const [method, params] of told) await ask(id, aRequest(1, method, params));
      bench.clock.advance(IDLE_MS);
      await settle();
      expect((await ask(id, aRequest('x', 'tools/call', { n: 1 }))).last).to.deep.equal({
        ...{ jsonrpc: '2.0', id: 'x', result: 'tools/call' },
      });
      const { link, request } = bench.lastStart;
      expect(link.sent.map(({ method, params }) => [method, params])).to.deep.equal([
        ['initialize', { protocolVersion: '2025-11-25' }],
        ['notifications/initialized', undefined],
        ['logging/setLevel', { level: 'debug' }],
        ['resources/subscribe', { uri: 'test://b' }],
        ['resources/subscribe', { uri: 'test://c' }],
        ['tools/call', { n: 1 }],
      ]);
      expect(request).to.include({ session: name, generation: 2 });
      expect(await bench.recordOf(id)).to.include({ state: 'active', generation: 2 });
      expect(bench.log.wokenNames).to.deep.equal([name]);
      expect(bench.log.openedNames).to.have.length(1);
    });

    it('remembers nothing that the child refused', async () => {
      bench.prepare = () => undefined;
      const { id, link } = await bench.session();
      link.onMessage = (message) =>
        link.say({ jsonrpc: '2.0', id: message.id, error: { code: -32602, message: 'no' } });
      await ask(id, aRequest(1, 'logging/setLevel', { level: 'loud' }));
      await ask(id, aRequest(1, 'resources/subscribe', { uri: 'test://nowhere' }));
      bench.clock.advance(IDLE_MS);
      await settle();
      bench.prepare = obliging;
      await ask(id);
      expect(methods(bench.lastStart.link)).to.deep.equal(['initialize', 'notifications/initialized', 'tools/call']);
    });

    it('happens once for a hundred messages at once, and each is answered', async () => {
      const { id } = await asleep();
      const sinks = await Promise.all([...Array(100).keys()].map((n) => ask(id, aRequest(n))));
      expect(sinks.map(({ last }) => last.id)).to.deep.equal([...Array(100).keys()]);
      expect(bench.starts).to.have.length(2);
    });

    it('keeps GET streams open through it, and they hear the new child; a GET alone wakes nobody', async () => {
      const { id } = await bench.session();
      const [before, during] = [new FakeSink(), new FakeSink()];
      const first = await bench.registry.listen(anAuth(), aServer(), id, before);
      bench.clock.advance(IDLE_MS);
      await settle();
      const second = await bench.registry.listen(anAuth(), aServer(), id, during);
      await settle();
      expect(bench.starts).to.have.length(1);
      await ask(id);
      const { link } = bench.lastStart;
      link.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
      expect(during.last.method).to.equal('notifications/tools/list_changed');
      second.stop();
      link.say({ jsonrpc: '2.0', method: 'notifications/prompts/list_changed' });
      expect(before.last.method).to.equal('notifications/prompts/list_changed');
      first.stop();
    });

    it('is for no cancellation and no answer: whoever they were for is gone', async () => {
      const { id } = await asleep();
      const handle = await use(id);
      await handle.notify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
      await handle.answer({ jsonrpc: '2.0', id: 'r0.1.n1', result: {} });
      expect(bench.starts).to.have.length(1);
      await handle.notify({ jsonrpc: '2.0', method: 'notifications/roots/list_changed' });
      handle.release();
      expect(methods(bench.lastStart.link)).to.include('notifications/roots/list_changed');
    });

    it('that fails, or comes after the end, is no answer to a question of our own, and no rejection', async () => {
      const { id } = await asleep();
      const handle = await use(id);
      bench.autoStart = false;
      const asked = handle.ask('ping', {}, 1000);
      await settle();
      bench.lastStart.fail(new AppError('BACKEND_UNSCHEDULABLE', 'no room'));
      expect(await asked).to.equal(undefined);
      await bench.registry.end(anAuth(), aServer(), id);
      expect(await handle.ask('ping', {}, 1000)).to.equal(undefined);
      handle.release();
    });

    it('lets no answer that was meant for the child of before reach the new one', async () => {
      const { id, link } = await bench.session();
      const sink = new FakeSink();
      const stream = await bench.registry.listen(anAuth(), aServer(), id, sink);
      link.say({ jsonrpc: '2.0', id: 1, method: 'elicitation/create', params: {} });
      const late = sink.last.id as string;
      link.exit({ reason: 'deleted' });
      await settle();
      await ask(id);
      bench.lastStart.link.say({ jsonrpc: '2.0', id: 1, method: 'elicitation/create', params: {} });
      expect(sink.last.id).to.not.equal(late);
      const handle = await use(id);
      await handle.answer({ jsonrpc: '2.0', id: late, result: 'late' });
      await handle.answer({ jsonrpc: '2.0', id: sink.last.id as string, result: 'right' });
      handle.release();
      stream.stop();
      const answers = bench.lastStart.link.sent.filter((message) => 'result' in message);
      expect(answers.map(({ result }) => result)).to.deep.equal(['right']);
    });

    it('waits until the child of before is gone, so that there are never two', async () => {
      const { id, link } = await bench.session();
      link.exitOnClose = false;
      bench.clock.advance(IDLE_MS);
      const asking = ask(id);
      await settle();
      expect([bench.starts.length, bench.running]).to.deep.equal([1, 1]);
      link.exit({ reason: 'closed' });
      await asking;
      expect([bench.starts.length, bench.running]).to.deep.equal([2, 1]);
    });

    it('that fails is told to all who wait, leaves nothing, and the next message tries again', async () => {
      const { id } = await asleep();
      bench.autoStart = false;
      const asking = [refusal(ask(id)), refusal(ask(id))];
      await settle();
      expect(bench.log.last).to.deep.equal({ starting: 1, active: 0, hibernated: 0, ending: 0 });
      bench.lastStart.fail(new AppError('BACKEND_UNSCHEDULABLE', 'no room', { retryAfter: 5 }));
      for (const error of await Promise.all(asking))
        expect(error).to.include({ code: 'BACKEND_UNSCHEDULABLE', status: 503 });
      expect(await bench.recordOf(id)).to.include({ state: 'hibernated', generation: 2 });
      expect(bench.log.last).to.deep.equal({ starting: 0, active: 0, hibernated: 1, ending: 0 });
      bench.autoStart = true;
      expect((await ask(id)).last.result).to.equal('tools/call');
      expect(bench.lastStart.request.generation).to.equal(3);
    });

    for (const [what, prepare] of [
      [
        'speaks another revision now',
        (link: FakeLink) => (link.onMessage = (m) => link.reply(m, { protocolVersion: '2024-11-05' })),
      ],
      [
        'refuses initialize',
        (link: FakeLink) =>
          (link.onMessage = (m) => link.say({ jsonrpc: '2.0', id: m.id, error: { code: -32603, message: 'no' } })),
      ],
      ['ends at once', (link: FakeLink) => (link.onMessage = () => link.exit({ reason: 'exited', code: 1 }))],
    ] as const) {
      it(`answers 503 WAKE_FAILED when the new child ${what}, ends it, and the next message tries again`, async () => {
        const { id } = await asleep();
        bench.prepare = prepare;
        expect(await refusal(ask(id))).to.include({ code: 'WAKE_FAILED', status: 503 });
        await settle();
        expect(bench.running).to.equal(0);
        bench.prepare = obliging;
        expect((await ask(id)).last.result).to.equal('tools/call');
      });
    }

    it('answers 503 when the new child says nothing, by its deadline', async () => {
      const { id } = await asleep();
      bench.autoInitialize = false;
      const asking = refusal(ask(id));
      await settle();
      bench.clock.advance(120_000);
      expect((await asking).status).to.equal(503);
      bench.autoInitialize = true;
    });

    it('answers 503 when the store is away, before anything is started', async () => {
      const { id } = await asleep();
      bench.store.broken = true;
      expect(await refusal(ask(id))).to.include({ code: 'STORE_UNAVAILABLE', status: 503 });
      expect(bench.starts).to.have.length(1);
      bench.store.broken = false;
      expect((await ask(id)).last.result).to.equal('tools/call');
    });

    it('of a call whose child is found gone happens at once, and the call is made once', async () => {
      const { id, link } = await bench.session();
      const handle = await use(id);
      link.exit({ reason: 'lost' });
      await link.exited;
      const sink = new FakeSink();
      await handle.call(aRequest(1), sink);
      handle.release();
      expect(sink.last.result).to.equal('tools/call');
      expect(methods(link)).to.not.include('tools/call');
      expect(methods(bench.lastStart.link).filter((method) => method === 'tools/call')).to.have.length(1);
    });

    it('is of today’s definition of the server', async () => {
      const { id } = await asleep();
      const handle = await use(id, anAuth(), aServer({ command: ['/new'] }));
      await handle.call(aRequest(1), new FakeSink());
      handle.release();
      expect(bench.lastStart.request.server.command).to.deep.equal(['/new']);
    });
  });

  describe('caps', () => {
    it('count sessions with a child: one that sleeps makes place, and one that wakes needs one (503 with Retry-After)', async () => {
      setUp({ maxPerUser: 1 });
      bench.prepare = obliging;
      const { id: first } = await asleep();
      const { id: second } = await bench.session();
      const error = await refusal(ask(first));
      expect(error).to.include({ code: 'SESSION_CAP_USER', status: 503 });
      expect(error.retryAfter).to.be.above(0);
      bench.clock.advance(IDLE_MS);
      await settle();
      expect((await ask(first)).last.result).to.equal('tools/call');
      expect(await refusal(ask(second))).to.include({ code: 'SESSION_CAP_USER' });
    });

    it('are absolute under 200 sessions that wake at once, and those that are refused sleep on', async () => {
      setUp({ maxTotal: 20 });
      bench.prepare = obliging;
      const sessions: { id: string; user: string }[] = [];
      for (let round = 0; round < 10; round += 1) {
        for (let i = 0; i < 20; i += 1) {
          const user = String(round * 20 + i);
          sessions.push({ id: (await bench.session(anAuth(user))).id, user });
        }
        bench.clock.advance(IDLE_MS);
        await settle();
      }
      let most = 0;
      bench.prepare = (link) => {
        most = Math.max(most, bench.running + 1);
        obliging(link);
      };
      const woken = await Promise.allSettled(sessions.map(({ id, user }) => ask(id, aRequest(1), anAuth(user))));
      expect(woken.filter(({ status }) => status === 'fulfilled')).to.have.length(20);
      for (const one of woken)
        if (one.status === 'rejected') expect((one.reason as AppError).code).to.equal('SESSION_CAP_INSTALL');
      expect(most).to.be.at.most(20);
      expect(bench.log.last).to.deep.equal({ starting: 0, active: 20, hibernated: 180, ending: 0 });
    });

    it('of the rate of opening are not for waking', async () => {
      setUp({ opensPerMinutePerUser: 1 });
      bench.prepare = obliging;
      const { id } = await bench.session();
      for (let i = 0; i < 3; i += 1) {
        bench.starts.at(-1)?.link.exit({ reason: 'deleted' });
        await settle();
        expect((await ask(id)).last.result).to.equal('tools/call');
      }
    });
  });

  describe('ending', () => {
    it('by DELETE while asleep starts nothing: 404 from then on', async () => {
      const { id } = await asleep();
      await bench.registry.end(anAuth(), aServer(), id);
      expect(await bench.recordOf(id)).to.include({ state: 'ended', endReason: 'deleted' });
      expect((await refusal(use(id))).status).to.equal(404);
      expect(bench.starts).to.have.length(1);
    });

    it('in each turn of a waking leaves no child and no session', async () => {
      for (let turns = 0; turns < 40; turns += 1) {
        setUp();
        bench.prepare = obliging;
        const { id } = await asleep();
        const asking = ask(id).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
        await bench.registry.end(anAuth(), aServer(), id);
        await asking;
        await settle();
        expect([bench.running, bench.registry.size], `after ${turns} turns`).to.deep.equal([0, 0]);
        expect(await bench.recordOf(id), `after ${turns} turns`).to.include({ endReason: 'deleted' });
        await bench.registry.stop(0);
      }
    });

    it('of a grant ends those that sleep as well, and closes their GET streams', async () => {
      const { id } = await asleep();
      const stream = await bench.registry.listen(anAuth(), aServer(), id, new FakeSink());
      expect(bench.registry.grants()).to.deep.equal(['grant-7']);
      await bench.registry.endGrant('grant-7');
      expect(await stream.ended).to.equal('revoked');
      expect(await bench.recordOf(id)).to.include({ endReason: 'revoked' });
    });
  });

  describe('answered initialize means recorded', () => {
    it('so where it cannot be recorded the answer is 503, and there is no session', async () => {
      const handle = await bench.registry.open(anAuth(), aServer(), new AbortController().signal);
      bench.store.broken = true;
      const sink = new FakeSink();
      await bench.initialize(handle, sink);
      expect(sink.last.error.data.code).to.equal('STORE_UNAVAILABLE');
      bench.store.broken = false;
      await settle();
      expect([bench.registry.size, bench.running]).to.deep.equal([0, 0]);
    });
  });

  describe('over a restart', () => {
    /** Another process at the same store. */
    const restarted = (over: Partial<RegistryOptions> = {}): SessionBench => {
      const next = new SessionBench(over, bench.store);
      next.prepare = obliging;
      next.clock.advance(bench.clock.now());
      return next;
    };

    it('an orderly one: the session goes on under its id, with all that its child knew', async () => {
      const { id } = await bench.session();
      await ask(id, aRequest(1, 'logging/setLevel', { level: 'error' }));
      await bench.registry.stop(1_000);
      expect(await bench.recordOf(id)).to.include({ state: 'hibernated' });
      expect(bench.log.sleeps).to.deep.equal(['stopped']);
      bench = restarted();
      const sink = await ask(id);
      expect(sink.last.result).to.equal('tools/call');
      expect(methods(bench.lastStart.link)).to.deep.equal([
        'initialize',
        'notifications/initialized',
        'logging/setLevel',
        'tools/call',
      ]);
      expect(await bench.recordOf(id)).to.include({ state: 'active', generation: 3 });
    });

    it('a crash: the same, once the records were put right', async () => {
      const { id } = await bench.session();
      const crashed = bench;
      bench = restarted();
      await bench.store.upkeep.recover(bench.clock.wall(), bench.clock.wall() + TTL_MS);
      expect((await ask(id)).last.result).to.equal('tools/call');
      crashed.lastStart.link.exit({ reason: 'closed' });
      await crashed.registry.stop(0);
    });

    it('answers as ever who may not have it: 403, 404, 410, and 404 after its time; and claims nothing for them', async () => {
      const { id } = await bench.session();
      await bench.registry.stop(0);
      bench = restarted();
      for (const [auth, status] of [
        [anAuth('8'), 403],
        [anAuth('7', { mode: 'bearer' }), 403],
        [anAuth('7', { grant: 'other', client: 'client-2' }), 404],
      ] as const)
        expect((await refusal(use(id, auth))).status).to.equal(status);
      expect((await refusal(use('0'.repeat(48)))).status).to.equal(410);
      expect((await refusal(use(bench.ids.mint()))).status).to.equal(404);
      expect((await refusal(use(id, anAuth(), aServer({ name: 'other' })))).status).to.equal(404);
      expect(await bench.recordOf(id)).to.include({ state: 'hibernated', generation: 1 });
      bench.clock.advance(TTL_MS);
      expect((await refusal(use(id))).status).to.equal(404);
    });

    it('is adopted by a later login of the same user and client', async () => {
      const { id } = await bench.session();
      await bench.registry.stop(0);
      bench = restarted();
      (await use(id, anAuth('7', { grant: 'later' }))).release();
      expect(await bench.recordOf(id)).to.include({ grant: 'later' });
    });

    it('a hundred messages at once bring it back once', async () => {
      const { id } = await bench.session();
      await bench.registry.stop(0);
      bench = restarted();
      await Promise.all([...Array(100).keys()].map((n) => ask(id, aRequest(n))));
      expect(bench.starts).to.have.length(1);
      expect(bench.registry.size).to.equal(1);
    });

    it('of two processes that want it at once one has it, and the other answers 503 and not 404', async () => {
      const { id } = await bench.session();
      await bench.registry.stop(0);
      const [a, b] = [restarted(), restarted()];
      const results = await Promise.allSettled([a, b].map((each) => each.registry.use(anAuth(), aServer(), id)));
      const [refused] = results.filter((result) => result.status === 'rejected');
      expect(refused?.reason).to.include({ code: 'STORE_UNAVAILABLE', status: 503 });
      for (const result of results) if (result.status === 'fulfilled') result.value.release();
      await a.registry.stop(0);
      await b.registry.stop(0);
    });

    describe('of another process that shares the store', () => {
      const held = async (over: Partial<SessionRecord> = {}): Promise<string> => {
        const { id } = await bench.session();
        await bench.registry.stop(0);
        const record = (await bench.recordOf(id)) as SessionRecord;
        const child = { instance: 'uid-of-its-pod' };
        store = new MemoryStore();
        store.records.set(record.name, { ...record, state: 'active', holder: 'other', child, ...over });
        bench = new SessionBench({
          store,
          holders: { self: 'self', isSure: true, doubts: 0, isAlive: async () => alive },
        });
        bench.prepare = obliging;
        return id;
      };
      let alive: boolean;
      let store: MemoryStore;
      beforeEach(() => (alive = false));

      it('that lives is left to it: 503 and not 404', async () => {
        alive = true;
        const id = await held();
        expect(await refusal(use(id))).to.include({ code: 'STORE_UNAVAILABLE', status: 503 });
        expect(bench.starts).to.have.length(0);
      });

      it('that is dead is taken over: what it left of the child is removed first, and then another one started', async () => {
        const id = await held();
        const order: string[] = [];
        bench.prepare = (link) => {
          order.push(`started after ${String(bench.discarded.length)} removed`);
          obliging(link);
        };
        expect((await ask(id)).last.result).to.equal('tools/call');
        expect(order).to.deep.equal(['started after 1 removed']);
        expect(bench.discarded).to.deep.equal([{ instance: 'uid-of-its-pod' }]);
      });

      it('that is dead, whose session cannot be brought back, is over: 404, and its child removed', async () => {
        const id = await held({ remembered: undefined as never });
        expect((await refusal(use(id))).status).to.equal(404);
        expect(bench.discarded).to.have.length(1);
        await settle();
        expect(bench.log.ends).to.deep.equal(['lost']);
      });

      describe('while this process is not sure that the others believe it alive', () => {
        const unsure = async (): Promise<{ id: string; name: string; link: FakeLink }> => {
          store = new MemoryStore();
          bench = new SessionBench({
            store,
            holders: { self: 'self', isSure: false, doubts: 0, isAlive: async () => true },
          });
          bench.prepare = obliging;
          return bench.session();
        };

        it('a session that its record still calls its own goes on', async () => {
          const { id } = await unsure();
          expect((await ask(id)).last.result).to.equal('tools/call');
        });

        it('one that another has by now is left to it, and the child of here ends; its record stays as it is', async () => {
          const { id, name, link } = await unsure();
          const record = { ...(store.records.get(name) as SessionRecord), holder: 'other', generation: 2 };
          store.records.set(name, record);
          const refused = await refusal(use(id));
          expect(refused).to.be.instanceOf(HeldElsewhere);
          expect(refused).to.include({ session: name, holder: 'other', generation: 2, status: 503 });
          await settle();
          expect([link.running, bench.registry.size]).to.deep.equal([false, 0]);
          expect(store.records.get(name)).to.deep.equal(record);
        });

        it('nothing is said while its record cannot be read: 503', async () => {
          const { id } = await unsure();
          store.down = true;
          expect((await refusal(use(id))).status).to.equal(503);
          store.down = false;
          expect((await ask(id)).last.result).to.equal('tools/call');
        });
      });

      it('or removed by somebody, when it is to wake: 404', async () => {
        store = new MemoryStore();
        bench = new SessionBench({ store });
        const { id, name } = await asleep();
        store.records.delete(name);
        expect(await refusal(ask(id))).to.include({ code: 'SESSION_ENDED', status: 404 });
        await settle();
        expect((await refusal(use(id))).status).to.equal(404);
        expect(bench.log.ends).to.deep.equal(['removed']);
        expect(bench.starts).to.have.length(1);
      });

      it('is told which sessions are here, in which generation', async () => {
        const { name } = await bench.session();
        const { registry } = bench;
        expect([registry.holds(name, 1), registry.holds(name, 2), registry.holds('x', 1)]).to.deep.equal([
          true,
          false,
          false,
        ]);
      });

      it('cannot be told dead or alive while the cluster does not say: 503', async () => {
        const id = await held();
        bench = new SessionBench({
          store,
          holders: {
            self: 'self',
            isSure: true,
            doubts: 0,
            isAlive: () => Promise.reject(new AppError('STORE_UNAVAILABLE', 'nobody knows')),
          },
        });
        expect((await refusal(use(id))).status).to.equal(503);
      });
    });

    it('ends sessions that cannot outlive the process, and those that cannot sleep', async () => {
      const here = await bench.registry.open(anAuth(), aServer(), new AbortController().signal, { outlives: 'child' });
      await bench.initialize(here);
      const { id: stateful } = await bench.session(anAuth(), aServer({ stateful: true }));
      await bench.registry.stop(0);
      for (const id of [here.id, stateful])
        expect(await bench.recordOf(id)).to.include({ state: 'ended', endReason: 'stopped' });
    });
  });
});
