import { expect } from 'chai';
import { AppError } from '../../src/errors';
import { FakeSink, settle, type FakeClock, type Sent } from '../support/fake-link';
import {
  answerTo,
  ask,
  leavesNothing,
  modernBench,
  modernRequest,
  SERVER,
  toolCall,
  type ModernBench,
} from '../support/modern-bench';

const META = 'io.modelcontextprotocol/';
const LEVEL = `${META}logLevel`;
const NAMED = { _meta: { [`${META}serverInfo`]: SERVER } };

describe('a child of the stateless era', () => {
  let bench: ModernBench;

  beforeEach(async () => {
    bench = await modernBench({ era: 'modern' });
  });

  afterEach(() => leavesNothing(bench, 5_000));

  /** Answers the last request with exactly this text in the place of its result. */
  const answer = (text: string): void =>
    bench.link.push(`{"jsonrpc":"2.0","id":${JSON.stringify(bench.link.last.id)},${text}}\n`);

  it('is known by its answer to server/discover, and asked on behalf of its client', () => {
    expect(bench.learned).to.deep.equal(['modern']);
    expect(bench.channel.protocolVersion).to.equal('2026-07-28');
    const [probe] = bench.link.sent;
    expect(probe?.params._meta).to.include.keys(
      `${META}protocolVersion`,
      `${META}clientCapabilities`,
      `${META}clientInfo`,
    );
  });

  it('gets requests as they are, but for ids and progress tokens', async () => {
    const request = toolCall(1, 'work', { x: 1 }, { progressToken: 5 });
    const call = bench.serve(request);
    await settle();
    const { id, params } = bench.link.last;
    const { progressToken } = params._meta as { progressToken: string };
    expect(params).to.deep.equal({ ...request.params, _meta: { ...(request.params?._meta as object), progressToken } });
    bench.link.say({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken, progress: 1 } });
    expect(bench.conversation.busy).to.equal(true);
    answer('"result":{"resultType":"complete","n":12345678901234567890}');
    await call.done;
    expect(call.sink.messages[0]).to.nested.include({ 'params.progressToken': 5 });
    expect(call.sink.texts[1]).to.include('"n":12345678901234567890').and.include('"id":1').and.not.include(id);
  });

  it('has its answers passed on as they are where they say all that is due, and completed where they do not', async () => {
    const full = `{"resultType":"complete","ttlMs":5,"cacheScope":"private","_meta":${JSON.stringify(NAMED._meta)},"tools":[]}`;
    for (const [given, expected] of [
      [full, full],
      [full.replace('private', 'public'), undefined],
      [full.replace('"ttlMs":5', '"ttlMs":-5'), undefined],
      [full.replace('"ttlMs":5', '"ttlMs":5.5'), undefined],
    ]) {
      const call = bench.serve(modernRequest(1, 'tools/list'));
      await settle();
      answer(`"result":${String(given)}`);
      await call.done;
      if (expected === undefined) {
        expect(call.answer().result.cacheScope).to.equal('private');
        expect(call.answer().result.ttlMs).to.be.oneOf([5, 60_000]);
      } else {
        expect(call.sink.texts).to.deep.equal([`{"jsonrpc":"2.0","id":1,"result":${expected}}`]);
      }
    }
  });

  it('has what it said of itself passed on, with the versions that are served', async () => {
    const call = bench.serve(modernRequest(1, 'server/discover'));
    await call.done;
    expect(call.answer().result).to.deep.include({ supportedVersions: ['2026-07-28', '2025-11-25'], ...NAMED });
  });

  it('has its errors passed on, but for codes that this era has not', async () => {
    for (const [given, code] of [
      [-32021, -32021],
      [-32002, -32602],
      [-32099, -32603],
    ]) {
      const call = bench.serve(toolCall(1));
      await settle();
      answer(`"error":{"code":${String(given)},"message":"no","data":{"requiredCapabilities":{}}}`);
      await call.done;
      expect(call.answer().error).to.deep.equal({ code, message: 'no', data: { requiredCapabilities: {} } });
    }
  });

  describe('that asks its client', () => {
    const asks = { roots: { method: 'roots/list', params: {} } };

    it('has its state sealed for the one that was asked, and gets it back as it was', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      answer(`"result":{"resultType":"input_required","inputRequests":${JSON.stringify(asks)},"requestState":"mine"}`);
      await call.done;
      const { requestState, inputRequests, ttlMs } = call.answer().result;
      expect([inputRequests, ttlMs, requestState === 'mine']).to.deep.equal([asks, undefined, false]);
      const again = bench.serve(toolCall(2, 'work', { requestState, inputResponses: { roots: { roots: [] } } }));
      await settle();
      expect(bench.link.last.params).to.deep.include({
        requestState: 'mine',
        inputResponses: { roots: { roots: [] } },
      });
      answer('"result":{"resultType":"complete"}');
      await again.done;
    });

    it('may do so without a state', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      answer(`"result":{"resultType":"input_required","inputRequests":${JSON.stringify({ ...asks, x: 'not one' })}}`);
      await call.done;
      expect(call.answer().result).to.include.keys('inputRequests').and.not.include.keys('requestState');
    });

    it('has a state refused that is not its own: -32602, and the child hears nothing', async () => {
      const others = bench.seal.seal('bob', toolCall(1), 60, { child: 'x' });
      const calls = bench.seal.seal('alice', toolCall(1), 60, { call: 'x', round: 1 });
      for (const requestState of ['mine', 7, others, calls]) {
        const before = bench.link.sent.length;
        const call = bench.serve(toolCall(2, 'work', { requestState }));
        await call.done;
        expect(call.answer().error.code).to.equal(-32602);
        expect(bench.link.sent).to.have.length(before);
      }
    });

    it('is refused for what the client has not declared, and where no request may be answered so', async () => {
      const unable = { [`${META}clientCapabilities`]: { roots: 'yes' } };
      const outcomes: [ReturnType<typeof toolCall>, number][] = [
        [toolCall(1, 'work', {}, unable), -32021],
        [toolCall(1, 'work', {}, { [`${META}clientCapabilities`]: undefined }), -32021],
        [modernRequest(1, 'tools/list'), -32603],
      ];
      for (const [request, code] of outcomes) {
        const call = bench.serve(request);
        await settle();
        answer(`"result":{"resultType":"input_required","inputRequests":${JSON.stringify(asks)}}`);
        await call.done;
        expect(call.answer().error.code).to.equal(code);
      }
    });

    it('by a request of its own is told that this era has none, on a call and beside it', async () => {
      const beside = ask(bench.link);
      bench.serve(toolCall(1));
      await settle();
      const during = ask(bench.link);
      await settle();
      for (const id of [beside, during]) expect(answerTo(bench.link, id).error.code).to.equal(-32601);
    });
  });

  it('is told when a client closes its stream, and not after it has answered', async () => {
    const [one, two] = [bench.serve(toolCall(1, 'one')), bench.serve(toolCall(2, 'two'))];
    await settle();
    const [first, second] = bench.sent('tools/call');
    bench.link.reply(second);
    await two.done;
    two.close();
    one.close();
    expect(await one.done).to.equal('served');
    await settle();
    expect(bench.sent('notifications/cancelled').map(({ params }) => params.requestId)).to.deep.equal([first?.id]);
  });

  it('has log messages passed on from the level that was asked for, and none while a withdrawn call may log', async () => {
    const log = (level: string): void =>
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/message', params: { level, data: 1 } });
    const one = bench.serve(toolCall(1, 'one'));
    await settle();
    log('error');
    const two = bench.serve(toolCall(2, 'two', {}, { [LEVEL]: 'warning' }));
    await settle();
    log('error');
    delete bench.answers['server/discover'];
    one.close();
    await settle();
    log('alert');
    bench.link.reply(bench.sent('server/discover').at(-1) as Sent);
    await settle();
    for (const level of ['info', 'warning', 'x']) log(level);
    bench.link.say({ jsonrpc: '2.0', method: 'notifications/other' });
    expect(one.sink.messages).to.deep.equal([]);
    expect(two.sink.messages.map(({ method, params }) => [method, params?.level] as unknown)).to.deep.equal([
      ['notifications/message', 'warning'],
      ['notifications/other', undefined],
    ]);
  });

  it('has a sink that is gone when it answers, or fails, cost nothing', async () => {
    const sink = new FakeSink();
    sink.gone = true;
    const call = bench.serve(toolCall(1), sink);
    await settle();
    answer('"result":{}');
    expect(await call.done).to.equal('served');
  });
});

describe('beginning a conversation', () => {
  const begin = (what: Parameters<typeof modernBench>[0]): Promise<ModernBench> => modernBench(what);
  const refused = async (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'begun',
      (thrown: unknown) => (thrown instanceof AppError ? thrown.code : String(thrown)),
    );
  const initialize = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: SERVER };

  it('goes on with initialize where the child answers the question for its era with an error or another version', async () => {
    for (const discover of [{ supportedVersions: ['2030-01-01'] }, { other: true }, 7]) {
      const bench = await begin({ era: 'auto', answers: { initialize, 'server/discover': discover } });
      expect(bench.learned).to.deep.equal(['legacy']);
      expect(bench.link.sent.map(({ method }) => method)).to.deep.equal([
        'server/discover',
        'initialize',
        'notifications/initialized',
      ]);
    }
  });

  it('begins with initialize where the child is known to be of the old era, with what that era has of the client', async () => {
    const bench = await begin({
      capabilities: {
        elicitation: {},
        sampling: true,
        roots: { listChanged: true },
        experimental: { x: {} },
        extensions: {},
      },
    });
    const [first] = bench.link.sent;
    expect(first?.method).to.equal('initialize');
    expect(first?.params).to.deep.equal({
      protocolVersion: '2025-11-25',
      capabilities: { elicitation: {}, roots: {}, experimental: { x: {} } },
      clientInfo: { name: 'client', version: '1' },
    });
    const plain = await begin({
      capabilities: { sampling: {} },
      options: { client: { capabilities: { sampling: {} }, info: undefined } },
    });
    expect(plain.link.sent[0]?.params).to.deep.include({ capabilities: { sampling: {} } });
  });

  it('tells a child of the old era a name and a version, also for a client that does not', async () => {
    for (const [info, expected] of [
      [undefined, { name: 'mcp-client', version: '0' }],
      [
        { name: 7, title: 'T' },
        { name: 'mcp-client', version: '0', title: 'T' },
      ],
    ] as const) {
      const bench = await begin({ options: { client: { capabilities: {}, info } } });
      expect(bench.link.sent[0]?.params.clientInfo).to.deep.equal(expected);
    }
    const modern = await begin({ era: 'modern', options: { client: { capabilities: {}, info: undefined } } });
    expect(modern.link.sent[0]?.params._meta).to.not.include.keys(`${META}clientInfo`);
  });

  it('goes on after some seconds where the child says nothing, and remembers nothing', async () => {
    let clock: FakeClock | undefined;
    const begun = begin({ era: 'auto', answers: { initialize }, before: (bench) => (clock = bench.clock) });
    await settle();
    clock?.advance(5_000);
    const bench = await begun;
    expect(bench.learned).to.deep.equal([]);
    expect(bench.channel.protocolVersion).to.equal('2025-11-25');
  });

  it('is refused where the child speaks other versions only, answers initialize badly, or is gone', async () => {
    const unsupported = { code: -32022, message: 'no', data: { supported: ['2030-01-01'] } };
    expect(await refused(begin({ era: 'auto', answers: {}, errors: { 'server/discover': unsupported } }))).to.equal(
      'BACKEND_REFUSED',
    );
    expect(await refused(begin({ answers: { initialize: { protocolVersion: 7 } } }))).to.equal('BACKEND_CRASHED');
    expect(await refused(begin({ answers: {}, errors: { initialize: { code: -32603, message: 'no' } } }))).to.equal(
      'BACKEND_CRASHED',
    );
  });
});

describe('changes that a child of the stateless era tells of', () => {
  const ID = `${META}subscriptionId`;
  const acknowledge = (
    bench: ModernBench,
    notifications: object,
    sent = bench.sent('subscriptions/listen').at(-1),
  ): void =>
    bench.link.say({
      jsonrpc: '2.0',
      method: 'notifications/subscriptions/acknowledged',
      params: { _meta: { [ID]: sent?.id }, notifications },
    });

  it('are had with one subscription that is widened, never narrowed, and ended when nobody listens', async () => {
    const bench = await modernBench({ era: 'modern' });
    const { conversation, channel } = bench;
    const changes: unknown[] = [];
    const watch = (toolsListChanged: boolean, ...resources: string[]) =>
      conversation.watch(
        channel,
        { toolsListChanged, promptsListChanged: false, resourcesListChanged: false, resources: new Set(resources) },
        (method, params) => changes.push([method, params]),
      );
    const granted = watch(true, 'a:1');
    await settle();
    const first = bench.sent('subscriptions/listen')[0];
    expect(first?.params.notifications).to.deep.equal({ toolsListChanged: true, resourceSubscriptions: ['a:1'] });
    acknowledge(bench, { toolsListChanged: true });
    expect((await granted).resources.size).to.equal(0);
    expect(await watch(true)).to.equal(await granted); // less is had already
    bench.link.say({
      jsonrpc: '2.0',
      method: 'notifications/tools/list_changed',
      params: { _meta: { [ID]: first?.id, x: 1 } },
    });
    bench.link.push(`{"jsonrpc":"2.0","method":"y","params":{"_meta":{"${ID}":"${String(first?.id)}"},"n":1.0}}\n`);
    bench.link.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }); // of no subscription
    expect(JSON.stringify(changes)).to.equal(
      '[["notifications/tools/list_changed",{"_meta":{"x":1}}],["y",{"n":1.0}]]',
    );
    const more = watch(true, 'a:1', 'a:2');
    await settle();
    expect(bench.link.sent.slice(-3).map(({ method }) => method)).to.deep.equal([
      'notifications/cancelled',
      'server/discover',
      'subscriptions/listen',
    ]);
    acknowledge(bench, {}, first); // late, and of the one that is over
    acknowledge(bench, { resourceSubscriptions: ['a:2', 7] });
    expect([...(await more).resources]).to.deep.equal(['a:2']);
    const none = await watch(false);
    expect(none.toolsListChanged).to.equal(false);
    await settle();
    expect(bench.sent('notifications/cancelled')).to.have.length(2);
    await watch(false);
    expect(bench.sent('notifications/cancelled')).to.have.length(2);
  });

  it('are none where the child refuses, says nothing for 5 s, or ends the subscription; the next one asks again', async () => {
    const bench = await modernBench({ era: 'modern' });
    const { conversation, channel, link, clock } = bench;
    const filter = {
      toolsListChanged: true,
      promptsListChanged: true,
      resourcesListChanged: true,
      resources: new Set<string>(),
    };
    const watch = () => conversation.watch(channel, filter, () => undefined);
    const refused = watch();
    await settle();
    link.say({ jsonrpc: '2.0', id: link.last.id, error: { code: -32601, message: 'no' } });
    expect((await refused).toolsListChanged).to.equal(false);
    const silent = watch();
    await settle();
    clock.advance(5_000);
    expect((await silent).toolsListChanged).to.equal(false);
    const ended = watch();
    await settle();
    acknowledge(bench, { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true });
    expect(await ended).to.include({ toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true });
    link.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: link.last.id } });
    await settle();
    void watch();
    await settle();
    expect(bench.sent('subscriptions/listen')).to.have.length(4);
    link.exit({ reason: 'killed' });
    await settle();
    expect(clock.timers).to.equal(0);
  });

  it('are acknowledged with nothing where what was acknowledged is no filter', async () => {
    const bench = await modernBench({ era: 'modern' });
    const granted = bench.conversation.watch(
      bench.channel,
      { toolsListChanged: true, promptsListChanged: false, resourcesListChanged: false, resources: new Set() },
      () => undefined,
    );
    await settle();
    const { id } = bench.link.last;
    bench.link.push(
      `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"${ID}":"${id}"},"notifications":[]}}\n`,
    );
    expect((await granted).toolsListChanged).to.equal(false);
  });
});
