import { expect } from 'chai';
import type { AuthContext } from '../../src/auth/context';
import type { ClientFacts } from '../../src/bridge/modern/meta';
import type { StateSeal } from '../../src/bridge/modern/state';
import { stateSeal, stateSealAt } from '../support/state-seal';
import { AppError } from '../../src/errors';
import type { Sessions, StatelessUse } from '../../src/sessions/ports';
import type { RegistryOptions } from '../../src/sessions/registry';
import { StatelessTable } from '../../src/sessions/stateless';
import { FakeSink, settle, type FakeLink } from '../support/fake-link';
import { anAuth, aServer, refusal, SessionBench } from '../support/fake-sessions';
import { ask, gather, modernRequest, toolCall } from '../support/modern-bench';

const CLIENT: ClientFacts = { capabilities: { roots: {} }, info: { name: 'client', version: '1' } };
const LEGACY = aServer({ protocolEra: 'legacy' });
const fine = async (): Promise<void> => undefined;

describe('sessions of clients that know of none', () => {
  let bench: SessionBench;
  let table: StatelessTable;
  let seal: StateSeal;
  /** Keys whose requests go to another process. */
  const moved = new Set<string>();

  function begin(over: Partial<RegistryOptions> = {}, sessions?: (bench: SessionBench) => Sessions): void {
    bench = new SessionBench(over);
    seal = stateSeal(bench.clock);
    moved.clear();
    table = new StatelessTable({
      sessions: sessions?.(bench) ?? bench.registry,
      clock: bench.clock,
      seal,
      versions: ['2026-07-28'],
      owns: (key) => !moved.has(key),
    });
  }

  beforeEach(() => begin());

  /** Nothing is left once the gateway has stopped. */
  afterEach(async () => {
    table.stop();
    const stopped = bench.registry.stop(0);
    await settle();
    bench.clock.advance(0);
    for (const { link } of bench.starts) if (link.running) link.exit({ reason: 'closed' });
    await settle();
    bench.clock.advance(60_000);
    await stopped;
    await settle();
    expect([table.size, bench.registry.size, bench.running]).to.deep.equal([0, 0, 0]);
    expect(bench.clock.timers).to.equal(0);
    expect(bench.channelLog.faults).to.deep.equal([]);
  });

  const use = (auth = anAuth(), client = CLIENT, server = LEGACY, confirm: () => Promise<unknown> = fine) =>
    table.use(auth, server, client, confirm);

  /** A request that was served. */
  async function request(...args: Parameters<typeof use>): Promise<string> {
    const used = await use(...args);
    used.release();
    return used.handle.name;
  }

  async function listen({ conversation, subscriptions, handle }: StatelessUse, sink = new FakeSink()) {
    const abort = new AbortController();
    const asked = modernRequest(1, 'subscriptions/listen', { notifications: { toolsListChanged: true } });
    const { ended } = await subscriptions.serve(conversation, handle, asked, sink, abort.signal);
    const state = { over: false };
    void ended.then(() => (state.over = true));
    return { sink, state, close: () => abort.abort() };
  }

  describe('which request is served by which child', () => {
    it('the same one for all that one client asks with one login', async () => {
      const first = await request();
      expect(await request()).to.equal(first);
      expect(await request(anAuth(), { info: { version: '1', name: 'client' }, capabilities: { roots: {} } })).to.equal(
        first,
      );
      expect(bench.starts).to.have.length(1);
    });

    it('another one for every other user, forge, grant, scope, choice, client, capability, name and server', async () => {
      const other: [Partial<AuthContext>, Partial<ClientFacts>?, string?][] = [
        [{}],
        [{ user: { issuer: 'https://forge.example', id: '8', login: 'user7' } }],
        [{ user: { issuer: 'https://other.example', id: '7', login: 'user7' } }],
        [{ grant: 'other' }],
        [{ client: 'client-2' }],
        [{ scopes: new Set(['forgejo:read', 'forgejo:write'] as const) }],
        [{ choice: { owners: ['*'], repositories: ['*'] } }],
        [{ mode: 'bearer' }],
        [{}, { capabilities: {} }],
        [{}, { info: undefined }],
        [{}, { info: { name: 'client', version: '2' } }],
        [{}, {}, 'another'],
      ];
      const names = [];
      for (const [auth, client, name] of other) {
        const server = aServer({ protocolEra: 'legacy', ...(name === undefined ? {} : { name }) });
        names.push(await request(anAuth('7', auth), { ...CLIENT, ...client }, server));
      }
      expect(new Set(names).size).to.equal(other.length);
    });

    it('none without an authentication context: AUTH_CONTEXT_ABSENT', async () => {
      const refused = await refusal(table.use(undefined, LEGACY, CLIENT, fine));
      expect(refused.code).to.equal('AUTH_CONTEXT_ABSENT');
    });
  });

  describe('opening', () => {
    it('is done once for a hundred first requests at once, which ask once whether the login stands', async () => {
      let confirmed = 0;
      const confirm = async (): Promise<void> => void (confirmed += 1);
      const names = await Promise.all(Array.from({ length: 100 }, () => request(anAuth(), CLIENT, LEGACY, confirm)));
      expect([new Set(names).size, bench.starts.length, confirmed]).to.deep.equal([1, 1, 1]);
    });

    it('is not given up when whoever asked first goes away, and is refused where the login has ended', async () => {
      const gone = new AppError('AUTH_INVALID', 'gone');
      expect((await refusal(use(anAuth(), CLIENT, LEGACY, () => Promise.reject(gone)))).code).to.equal('AUTH_INVALID');
      expect([bench.starts.length, table.size]).to.deep.equal([0, 0]);
      await request();
      expect(bench.starts).to.have.length(1);
    });

    it('that fails is told to all who wait, costs one child, and is tried anew by the next one', async () => {
      bench.autoStart = false;
      const waiting = Array.from({ length: 10 }, () => refusal(use()));
      await settle();
      bench.lastStart.fail(new AppError('BACKEND_IMAGE', 'no image'));
      expect((await Promise.all(waiting)).map(({ code }) => code)).to.deep.equal(Array(10).fill('BACKEND_IMAGE'));
      expect([bench.starts.length, table.size]).to.deep.equal([1, 0]);
      bench.autoStart = true;
      await request();
      expect(bench.starts).to.have.length(2);
    });

    it('fails with BACKEND_START_DEADLINE where the child does not answer, and ends it', async () => {
      bench.autoInitialize = false;
      const refused = refusal(use(anAuth(), CLIENT, aServer({ protocolEra: 'legacy', startTimeout: 20 })));
      await settle();
      bench.clock.advance(20_000);
      expect((await refused).code).to.be.oneOf(['BACKEND_START_DEADLINE', 'BACKEND_CRASHED']);
      await settle();
      expect([bench.running, bench.registry.size, table.size]).to.deep.equal([0, 0, 0]);
    });

    it('ends a child that answered but does not read on: nobody else knows of it', async () => {
      bench.prepare = (link) => {
        const answer = link.onMessage;
        link.onMessage = (message) => {
          if (message.method === 'initialize') link.gate = new Promise(() => undefined);
          answer(message);
        };
      };
      const refused = refusal(use());
      await settle();
      bench.clock.advance(120_000);
      expect((await refused).code).to.equal('BACKEND_START_DEADLINE');
      await settle();
      expect([bench.running, bench.registry.size]).to.deep.equal([0, 0]);
    });

    it('fails with BACKEND_CRASHED, never with a session that has ended, where the child ends at once', async () => {
      for (const when of ['initialize', 'notifications/initialized']) {
        bench.prepare = (link) => {
          const answer = link.onMessage;
          link.onMessage = (message) => {
            if (message.method !== when || when !== 'initialize') answer(message);
            if (message.method === when) link.exit({ reason: 'exited', code: 1 });
          };
        };
        const refused = await refusal(use(anAuth(when)));
        expect([refused.code, refused.message]).to.deep.equal(['BACKEND_CRASHED', refused.message]);
      }
    });

    it('keeps a failure of the store from costing a session that works', async () => {
      const name = await request();
      begin({}, ({ registry }) => ({
        open: registry.open.bind(registry),
        listen: registry.listen.bind(registry),
        end: registry.end.bind(registry),
        use: async () => {
          throw new AppError('STORE_UNAVAILABLE', 'down');
        },
      }));
      expect(name).to.be.a('string');
      for (let i = 0; i < 3; i += 1) expect((await refusal(use())).code).to.equal('STORE_UNAVAILABLE');
      expect(bench.starts).to.have.length(1);
    });
  });

  describe('a child that is asked for its era', () => {
    const AUTO = aServer();
    const dying = (link: FakeLink): void => {
      const answer = link.onMessage;
      link.onMessage = (message) => {
        if (message.method === 'server/discover') link.exit({ reason: 'exited', code: 1 });
        else answer(message);
      };
    };
    const asked = (): string[] => bench.starts.map(({ link }) => link.sent[0]?.method ?? 'nothing');

    it('and dies of it is replaced by one that is not asked, which is remembered, within the caps', async () => {
      begin({ maxPerUser: 1 });
      bench.prepare = dying;
      await request(anAuth(), CLIENT, AUTO);
      await request(anAuth('8'), CLIENT, AUTO);
      expect(asked()).to.deep.equal(['server/discover', 'initialize', 'initialize']);
    });

    it('and dies of everything costs two', async () => {
      bench.prepare = (link) => {
        link.onMessage = () => link.exit({ reason: 'exited', code: 1 });
      };
      expect((await refusal(use(anAuth(), CLIENT, AUTO))).code).to.equal('BACKEND_CRASHED');
      expect(asked()).to.deep.equal(['server/discover', 'initialize']);
    });

    it('and cannot be started at all costs one', async () => {
      bench.autoStart = false;
      const refused = refusal(use(anAuth(), CLIENT, AUTO));
      await settle();
      bench.lastStart.fail(new AppError('BACKEND_CRASHED', 'no'));
      expect((await refused).code).to.equal('BACKEND_CRASHED');
      expect(bench.starts).to.have.length(1);
    });

    it('and does not answer is of the old era, after 10 s or half of its time to start', async () => {
      for (const [startTimeout, ms] of [
        [120, 10_000],
        [4, 2_000],
      ] as const) {
        const opened = use(anAuth(String(ms)), CLIENT, aServer({ startTimeout }));
        await settle();
        bench.clock.advance(ms);
        (await opened).release();
      }
      expect(asked()).to.deep.equal(['server/discover', 'server/discover']);
    });

    it('and answers is asked once for all of its server', async () => {
      const result = { supportedVersions: ['2026-07-28'], capabilities: {} };
      bench.prepare = (link) => {
        const answer = link.onMessage;
        link.onMessage = (message) => {
          if (message.method !== 'server/discover') answer(message);
          else if (era === 'modern') link.reply(message, result);
          else link.say({ jsonrpc: '2.0', id: message.id, error: { code: -32601, message: 'no' } });
        };
      };
      let era = 'legacy';
      await request(anAuth('1'), CLIENT, AUTO);
      await request(anAuth('2'), CLIENT, AUTO);
      era = 'modern';
      const other = aServer({ name: 'other' });
      await request(anAuth('1'), CLIENT, other);
      await request(anAuth('2'), CLIENT, other);
      expect(bench.starts.map(({ link }) => link.sent.map(({ method }) => method))).to.deep.equal([
        ['server/discover', 'initialize', 'notifications/initialized'],
        ['initialize', 'notifications/initialized'],
        ['server/discover'],
        ['server/discover'],
      ]);
    });
  });

  describe('a session that ended between two requests', () => {
    it('is replaced without a word, once for all who come', async () => {
      const first = await request();
      bench.lastStart.link.exit({ reason: 'killed' });
      await settle();
      const names = await Promise.all(Array.from({ length: 20 }, () => request()));
      expect([new Set(names).size, names[0] === first, bench.starts.length]).to.deep.equal([1, false, 2]);
    });

    it('is replaced when a request finds that its child is gone, before the news of it are there', async () => {
      const one = await use();
      const two = await use();
      one.release(true);
      const three = await use();
      two.release(true);
      three.release();
      expect([one.handle.name === two.handle.name, await request()]).to.deep.equal([true, three.handle.name]);
    });

    it('does not take its successor with it when its end is slow', async () => {
      await request();
      const { link } = bench.lastStart;
      link.exitOnClose = false;
      bench.clock.advance(330_000);
      expect(link.closes).to.equal(1);
      const second = await request();
      link.exit({ reason: 'closed' });
      await settle();
      expect(await request()).to.equal(second);
      expect(bench.starts).to.have.length(2);
    });

    it('and whose successors end as well is given up: BACKEND_CRASHED', async () => {
      begin({}, ({ registry }) => ({
        open: registry.open.bind(registry),
        listen: registry.listen.bind(registry),
        end: registry.end.bind(registry),
        use: async (auth, server, id) => {
          await registry.end(auth, server, id);
          return registry.use(auth, server, id);
        },
      }));
      expect((await refusal(use())).code).to.equal('BACKEND_CRASHED');
      expect(bench.starts).to.have.length(3);
    });
  });

  it('is not reaped while a call is in flight or its client is asked, and is when it is idle', async () => {
    const used = await use();
    const { handle, conversation } = used;
    const call = toolCall(1);
    const served = conversation.serve(handle, call, new FakeSink(), new AbortController().signal);
    await settle();
    const { link } = bench.lastStart;
    ask(link, 'roots/list', {});
    bench.clock.advance(330_000);
    await gather(bench);
    used.release();
    await served;
    bench.clock.advance(240_000);
    expect(link.running).to.equal(true);
    bench.clock.advance(30_000); // the call's own deadline
    await settle();
    bench.clock.advance(330_000);
    await settle();
    expect([link.running, table.size]).to.deep.equal([false, 0]);
  });

  describe('at a cap', () => {
    it('the user’s session that has been idle for longest makes room, as idle', async () => {
      begin({ maxPerUser: 2 });
      await request(anAuth('7', { grant: 'a' }));
      bench.clock.advance(1);
      await request(anAuth('7', { grant: 'b' }));
      bench.clock.advance(1);
      await request(anAuth('7', { grant: 'a' }));
      await request(anAuth('7', { grant: 'c' }));
      await settle();
      expect(bench.log.ends).to.deep.equal(['idle']);
      expect(bench.starts.map(({ link }) => link.running)).to.deep.equal([true, false, true]);
      expect(table.size).to.equal(2);
    });

    it('none makes room that is in use, waits for its client, or is another user’s: 503 as ever', async () => {
      begin({ maxTotal: 1 });
      await request(anAuth('8'));
      expect((await refusal(use())).code).to.equal('SESSION_CAP_INSTALL');
      begin({ maxPerUser: 1 });
      const held = await use(anAuth('7', { grant: 'a' }));
      expect((await refusal(use(anAuth('7', { grant: 'b' })))).code).to.equal('SESSION_CAP_USER');
      const sink = new FakeSink();
      const served = held.conversation.serve(held.handle, toolCall(1), sink, new AbortController().signal);
      await settle();
      ask(bench.lastStart.link, 'roots/list', {});
      await gather(bench);
      await served;
      held.release();
      expect((await refusal(use(anAuth('7', { grant: 'b' })))).code).to.equal('SESSION_CAP_USER');
    });

    it('of a server a session of the same server makes room', async () => {
      const server = (name: string) => aServer({ protocolEra: 'legacy', name, maxSessions: 1 });
      await request(anAuth(), CLIENT, server('one'));
      await request(anAuth(), CLIENT, server('two'));
      await request(anAuth('7', { grant: 'b' }), CLIENT, server('two'));
      expect(bench.starts.map(({ link }) => link.running)).to.deep.equal([true, false, true]);
    });

    it('one that has ended in the same moment makes room as well, and no other refusal costs a session', async () => {
      begin({ maxPerUser: 1 });
      await request(anAuth('7', { grant: 'a' }));
      const { link } = bench.lastStart;
      link.exitOnClose = false;
      void bench.registry.endGrant('a');
      const other = refusal(use(anAuth('7', { grant: 'b' })));
      await settle();
      expect((await other).code).to.equal('SESSION_CAP_USER'); // its place is not free before it is gone
      link.exit({ reason: 'closed' });
      await settle();
      await request(anAuth('7', { grant: 'b' }));
      bench.store.broken = true;
      expect((await refusal(use(anAuth('8')))).code).to.equal('STORE_UNAVAILABLE');
      bench.store.broken = false;
    });
  });

  describe('those who listen to changes', () => {
    it('do not keep their child, stay without one, and hear of everything when another one comes', async () => {
      bench.prepare = (link) => {
        const answer = link.onMessage;
        link.onMessage = (message) => {
          if (message.method !== 'initialize') answer(message);
          else link.reply(message, { protocolVersion: '2025-11-25', capabilities: { tools: { listChanged: true } } });
        };
      };
      const used = await use();
      const one = await listen(used);
      used.release();
      bench.clock.advance(330_000);
      await settle();
      expect([bench.running, one.state.over, table.size]).to.deep.equal([0, false, 1]);
      await request();
      await settle();
      expect(one.sink.messages.map(({ method }) => method as unknown)).to.deep.equal([
        'notifications/subscriptions/acknowledged',
        'notifications/tools/list_changed',
      ]);
      one.close();
      bench.lastStart.link.exit({ reason: 'killed' });
      await settle();
      expect(table.size).to.equal(0);
    });

    it('are told when their grant is revoked, or their child ends for another reason than idling', async () => {
      for (const end of [
        () => bench.registry.endGrant('grant-7'),
        async () => bench.lastStart.link.exit({ reason: 'oom' }),
      ]) {
        const used = await use();
        const one = await listen(used);
        used.release();
        await end();
        await settle();
        expect([one.state.over, one.sink.last.result.resultType, table.size]).to.deep.equal([true, 'complete', 0]);
      }
    });

    it('are told within a minute when their login ends while they have no child, and not while that cannot be told', async () => {
      let outcome: AppError | undefined;
      const confirm = async (): Promise<void> => {
        if (outcome !== undefined) throw outcome;
      };
      const used = await use(anAuth(), CLIENT, LEGACY, confirm);
      const one = await listen(used);
      used.release();
      bench.clock.advance(330_000);
      await settle();
      const minute = async (next: AppError | undefined): Promise<boolean> => {
        outcome = next;
        bench.clock.advance(60_000);
        await settle();
        return one.state.over;
      };
      expect(await minute(undefined)).to.equal(false);
      expect(await minute(new AppError('STORE_UNAVAILABLE', 'down'))).to.equal(false);
      expect(await minute(new AppError('AUTH_INVALID', 'gone'))).to.equal(true);
      expect(table.size).to.equal(0);
    });

    it('are sent away where no other child will come, once theirs has gone as idle, or within a minute after that', async () => {
      const { key } = table.place(anAuth(), LEGACY, CLIENT, modernRequest(1, 'tools/list'));
      for (const isEarly of [true, false]) {
        moved.clear();
        const used = await use();
        const one = await listen(used);
        used.release();
        if (isEarly) moved.add(key);
        await settle();
        expect(one.state.over, 'while there is a child').to.equal(false);
        bench.clock.advance(330_000);
        await settle();
        expect(one.state.over).to.equal(isEarly);
        moved.add(key);
        bench.clock.advance(60_000);
        await settle();
        expect([one.state.over, one.sink.last.result.resultType, table.size]).to.deep.equal([true, 'complete', 0]);
      }
    });

    it('are no longer looked after when they go, or have a child again', async () => {
      const used = await use();
      const one = await listen(used);
      used.release();
      bench.clock.advance(330_000);
      await settle();
      await request();
      bench.lastStart.link.exitOnClose = true;
      bench.clock.advance(330_000);
      await settle();
      one.close();
      await settle();
      expect(table.size).to.equal(0);
    });

    it('are told when the gateway stops, with a child and without', async () => {
      const used = await use();
      const one = await listen(used);
      used.release();
      table.stop();
      await settle();
      expect([one.state.over, table.size]).to.deep.equal([true, 1]);
    });
  });

  it('a request belongs where all of its kind do, and where its state was sealed for the same asker', async () => {
    const request = toolCall(1);
    const place = (auth = anAuth(), client = CLIENT, asked = request) => table.place(auth, LEGACY, client, asked);
    const { key } = place();
    expect(place(anAuth(), CLIENT, modernRequest(2, 'tools/list'))).to.deep.equal({ key });
    expect(place(anAuth('7', { grant: 'another' })).key).to.not.equal(key);
    expect(place(anAuth(), { ...CLIENT, capabilities: {} }).key).to.not.equal(key);
    expect(() => table.place(undefined, LEGACY, CLIENT, request)).to.throw(AppError);
    const asking = (state: string) => toolCall(2, 'work', { requestState: state });
    const secret = Buffer.alloc(32, 1);
    const other = new StatelessTable({
      ...{ sessions: bench.registry, clock: bench.clock, versions: ['2026-07-28'] },
      seal: stateSealAt('other', secret),
    });
    const asked = (state: string, auth = anAuth()) => other.place(auth, LEGACY, CLIENT, asking(state));
    const state = stateSealAt('one', secret).seal(key, request, 60, { call: 'c' });
    expect(asked(state)).to.deep.equal({ key, at: 'one' });
    expect(asked(state, anAuth('7', { grant: 'another' }))).to.not.have.property('at');
    expect(asked(`${state}A`)).to.deep.equal({ key });
    expect(asked('one')).to.deep.equal({ key });
    expect(bench.starts).to.have.length(0);
  });

  it('is refused while the gateway stops: DRAINING', async () => {
    await request();
    const stopped = bench.registry.stop(0);
    expect((await refusal(use(anAuth('8')))).code).to.equal('DRAINING');
    await stopped;
    await settle();
    expect((await refusal(use())).code).to.equal('DRAINING');
  });
});
