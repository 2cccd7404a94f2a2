import { expect } from 'chai';
import { AppError } from '../../src/errors';
import { FakeSink, settle } from '../support/fake-link';
import {
  ACCEPTED,
  answerTo,
  ask,
  FORM,
  gather,
  leavesNothing,
  LEGACY,
  modernBench,
  modernRequest,
  retry,
  SERVER,
  toolCall,
  type ModernBench,
  type Served,
} from '../support/modern-bench';

const META = 'io.modelcontextprotocol/';
const LEVEL = `${META}logLevel`;

describe('a child of the old era, served to the stateless one', () => {
  let bench: ModernBench;

  beforeEach(async () => {
    bench = await modernBench();
  });

  /** Whatever a test did; a ping that nobody answers has its own end. */
  afterEach(() => leavesNothing(bench, 2_000));

  /** A call that has asked its client, with the request that begins it. */
  async function parked(
    id = 1,
    name = 'work',
  ): Promise<{ call: Served; request: ReturnType<typeof toolCall>; asked: string }> {
    const request = toolCall(id, name);
    const call = bench.serve(request);
    await settle();
    const asked = ask(bench.link);
    await gather(bench);
    expect(call.answer().result.resultType).to.equal('input_required');
    return { call, request, asked };
  }

  describe('requests', () => {
    it('are sent without what only the new era has, with traces and under an id of ours', async () => {
      const request = toolCall(7, 'work', { inputResponses: {} }, { traceparent: '00-1', [LEVEL]: 'error' });
      bench.serve(request);
      await settle();
      const { params, id } = bench.link.last;
      expect(params).to.deep.equal({ name: 'work', arguments: {}, _meta: { traceparent: '00-1' } });
      expect(id).to.not.equal(7);
    });

    it('are answered with the type, the server and how long they may be kept, and all numbers as they were', async () => {
      const lists = bench.serve(modernRequest('a', 'tools/list'));
      await settle();
      const { id } = bench.link.last;
      bench.link.push(`{"jsonrpc":"2.0","id":"${id}","result":{"tools":[],"n":12345678901234567890,"f":1.0}}\n`);
      await lists.done;
      expect(lists.sink.texts).to.deep.equal([
        '{"jsonrpc":"2.0","id":"a","result":{"resultType":"complete","ttlMs":60000,"cacheScope":"private",' +
          `"_meta":{"${META}serverInfo":${JSON.stringify(SERVER)}},"tools":[],"n":12345678901234567890,"f":1.0}}`,
      ]);
    });

    it('are answered with errors of the new era, whose data keeps its numbers', async () => {
      for (const [given, code] of [
        [-32002, -32602],
        [-32021, -32603],
        [-32042, -32603],
        [-32601, -32601],
        [17, 17],
      ]) {
        const call = bench.serve(toolCall(String(given)));
        await settle();
        const { id } = bench.link.last;
        bench.link.push(`{"jsonrpc":"2.0","id":"${id}","error":{"code":${given},"message":"no","data":{"n":1.50}}}\n`);
        await call.done;
        expect(call.answer().error).to.include({ code, message: 'no' });
        if (given !== -32042) expect(call.sink.texts[0]).to.include('"data":{"n":1.50}');
      }
    });

    it('are answered with -32021 where the child names the capabilities that the client lacks', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      const data = { requiredCapabilities: { sampling: {} } };
      bench.link.say({ jsonrpc: '2.0', id: bench.link.last.id, error: { code: -32021, message: 'no', data } });
      await call.done;
      expect(call.answer().error).to.deep.equal({ code: -32021, message: 'no', data });
    });

    it('are answered with -32603 where the child answers with no object', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      bench.link.reply(bench.link.last, 'text');
      await call.done;
      expect(call.answer().error.code).to.equal(-32603);
    });

    it('of server/discover are answered from what the child said at its start', async () => {
      const call = bench.serve(modernRequest(1, 'server/discover'));
      expect(await call.done).to.equal('served');
      const { capabilities } = LEGACY.initialize as { capabilities: Record<string, unknown> };
      const { tasks, ...rest } = capabilities;
      expect(tasks).to.deep.equal({});
      expect(call.answer().result).to.deep.equal({
        supportedVersions: ['2026-07-28', '2025-11-25'],
        capabilities: rest,
        instructions: 'Be kind.',
        resultType: 'complete',
        ttlMs: 300_000,
        cacheScope: 'private',
        _meta: { [`${META}serverInfo`]: SERVER },
      });
    });

    it('of server/discover are answered in front of a child that says as little as it can', async () => {
      const other = await modernBench({ answers: { ...LEGACY, initialize: { protocolVersion: '2024-11-05' } } });
      const call = other.serve(modernRequest(1, 'server/discover'));
      await call.done;
      expect(call.answer().result).to.include.keys('capabilities', 'resultType').and.not.include.keys('_meta');
    });

    it('reject before anything was sent once the child is gone, so that another one can be asked', async () => {
      bench.link.exit({ reason: 'killed' });
      await bench.channel.ended;
      await settle();
      const call = bench.serve(toolCall(1));
      expect(await call.done)
        .to.be.instanceOf(AppError)
        .with.property('code', 'LINK_CLOSED');
      expect(call.sink.messages).to.deep.equal([]);
    });

    it('tell with which code of ours they were answered in the place of the child', async () => {
      const codes: unknown[] = [];
      const sink = new FakeSink();
      const send = sink.send.bind(sink);
      sink.send = (...args: Parameters<typeof send> & [ours?: unknown]) => {
        codes.push(args[2]);
        return send(args[0], args[1]);
      };
      const call = bench.serve(toolCall(1), sink);
      await settle();
      bench.clock.advance(60_000);
      await call.done;
      expect(codes).to.deep.equal(['CALL_DEADLINE']);
    });
  });

  describe('a client that closes its stream', () => {
    it('before its request was sent cancels nothing and sends nothing', async () => {
      for (const request of [toolCall(1), modernRequest(2, 'tools/list')]) {
        const gone = new AbortController();
        gone.abort();
        const before = bench.link.sent.length;
        expect(await bench.serve(request, new FakeSink(), gone).done).to.equal('served');
        expect(bench.link.sent).to.have.length(before);
      }
    });

    it('cancels the call at the child, and what it says of it later goes nowhere', async () => {
      const call = bench.serve(toolCall(1, 'work', {}, { progressToken: 'p' }));
      await settle();
      const { id, params } = bench.link.last;
      call.close();
      expect(await call.done).to.equal('served');
      await settle();
      expect(bench.sent('notifications/cancelled').map((sent) => sent.params.requestId)).to.deep.equal([id]);
      const { progressToken } = params._meta as { progressToken: string };
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken, progress: 1 } });
      bench.link.say({ jsonrpc: '2.0', id, result: {} });
      expect(call.sink.messages).to.deep.equal([]);
    });

    it('while a question is about to go out cancels the call, and the question is answered at the child', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      const asked = ask(bench.link);
      call.close();
      await gather(bench);
      expect(call.sink.messages).to.deep.equal([]);
      expect(answerTo(bench.link, asked).result).to.deep.equal({ action: 'cancel' });
      expect(bench.sent('notifications/cancelled')).to.have.length(1);
    });

    it('after it was asked, or answered, cancels nothing', async () => {
      const { call } = await parked();
      call.close();
      const other = bench.serve(toolCall(2, 'other'));
      await settle();
      bench.link.reply(bench.link.last);
      await other.done;
      other.close();
      await settle();
      expect(bench.sent('notifications/cancelled')).to.deep.equal([]);
    });

    it('of its second request cancels the call', async () => {
      const { call, request } = await parked();
      const again = bench.serve(retry(request, 2, call.answer()));
      await settle();
      again.close();
      expect(await again.done).to.equal('served');
      await settle();
      expect(bench.sent('notifications/cancelled')).to.have.length(1);
      expect(bench.conversation.busy).to.equal(false);
    });

    it('before its second request was heard leaves the call where it was, also where it ends meanwhile', async () => {
      const { call, request } = await parked();
      const gone = new AbortController();
      gone.abort();
      await bench.serve(retry(request, 2, call.answer()), new FakeSink(), gone).done;
      bench.clock.advance(59_000);
      const working = bench.serve(toolCall(3, 'long'));
      await settle();
      const waiting = bench.serve(retry(request, 4, call.answer()));
      await settle();
      bench.clock.advance(1_000); // the call ends
      waiting.close();
      await waiting.done;
      const again = bench.serve(retry(request, 5, call.answer()));
      await again.done;
      expect(again.answer()).to.nested.include({ id: 5, 'error.data.code': 'CALL_DEADLINE' });
      expect(working.answer()).to.equal(undefined);
    });
  });

  describe('questions', () => {
    it('that come together go out together, without what the new era has not', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      ask(bench.link, 'elicitation/create', { ...FORM, _meta: { progressToken: 1 }, task: {} });
      ask(bench.link, 'elicitation/create', {
        mode: 'url',
        message: 'm',
        url: 'https://x.example',
        elicitationId: 'e',
      });
      bench.link.push('{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"temperature":0.10}}\n');
      await gather(bench);
      const { inputRequests, requestState, resultType } = call.answer().result;
      expect([resultType, typeof requestState]).to.deep.equal(['input_required', 'string']);
      expect(Object.values(inputRequests as object)).to.deep.equal([
        { method: 'elicitation/create', params: FORM },
        { method: 'elicitation/create', params: { mode: 'url', message: 'm', url: 'https://x.example' } },
        { method: 'sampling/createMessage', params: { temperature: 0.1 } },
      ]);
      expect(call.sink.texts[0]).to.include('"temperature":0.10').and.not.include('progressToken');
    });

    it('are answered by the request that is sent again, under its own id and with its own progress token', async () => {
      const request = toolCall(1, 'work', {}, { progressToken: 'first' });
      const call = bench.serve(request);
      await settle();
      const sent = bench.link.last;
      const asked = ask(bench.link);
      await gather(bench);
      const second = retry(toolCall(1, 'work', {}, { progressToken: 2 }), 2, call.answer());
      const again = bench.serve(second);
      await settle();
      expect(answerTo(bench.link, asked).result).to.deep.equal(ACCEPTED);
      const { progressToken } = sent.params._meta as { progressToken: string };
      bench.link.push(
        `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"${progressToken}","progress":1.0}}\n`,
      );
      bench.link.reply(sent, { content: [] });
      await again.done;
      expect(again.sink.texts[0]).to.include('"progressToken":2').and.include('"progress":1.0');
      expect(again.answer()).to.nested.include({ id: 2, 'result.resultType': 'complete' });
      expect(call.sink.messages).to.have.length(1);
    });

    it('have progress for no one between two requests, nor for one that wants none', async () => {
      const request = toolCall(1, 'work', {}, { progressToken: 'first' });
      const call = bench.serve(request);
      await settle();
      const { progressToken } = bench.link.last.params._meta as { progressToken: string };
      const progress = { jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken, progress: 1 } };
      bench.link.say(progress);
      ask(bench.link);
      await gather(bench);
      bench.link.say(progress);
      const again = bench.serve(retry(toolCall(1), 2, call.answer()));
      await settle();
      bench.link.say(progress);
      expect(call.sink.messages.map(({ method }) => method as unknown)).to.deep.equal([
        'notifications/progress',
        undefined,
      ]);
      expect(again.sink.messages).to.deep.equal([]);
    });

    it('that were not answered, or not well, are asked again under the same name', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      const [first, second] = [ask(bench.link), ask(bench.link, 'roots/list', {})];
      await gather(bench);
      const { inputRequests, requestState } = call.answer().result;
      const [form, roots] = Object.keys(inputRequests as object);
      const inputResponses = { [String(form)]: ACCEPTED, [String(roots)]: { roots: 'none' }, other: {} };
      const again = bench.serve(toolCall(2, 'work', { requestState, inputResponses }));
      await again.done;
      expect(answerTo(bench.link, first).result).to.deep.equal(ACCEPTED);
      expect(again.answer().result.inputRequests).to.deep.equal({ [String(roots)]: inputRequests[String(roots)] });
      const third = bench.serve(retry(toolCall(1), 3, again.answer(), { roots: [] }));
      await settle();
      expect(answerTo(bench.link, second).result).to.deep.equal({ roots: [] });
      bench.link.reply(bench.sent('tools/call')[0]);
      await third.done;
      expect(third.answer().result.resultType).to.equal('complete');
    });

    it('of a call whose client was asked already go out when it comes back', async () => {
      const { call, request } = await parked();
      ask(bench.link, 'roots/list', {});
      await gather(bench);
      const again = bench.serve(retry(request, 2, call.answer()));
      await again.done;
      expect(Object.values(again.answer().result.inputRequests as object)).to.deep.equal([
        { method: 'roots/list', params: {} },
      ]);
    });

    it('that the child withdraws are not asked', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      const cancel = (requestId: string): void =>
        bench.link.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } });
      cancel(ask(bench.link));
      await gather(bench);
      expect(call.sink.messages).to.deep.equal([]);
      // One that is nobody's yet, either.
      const other = bench.serve(toolCall(2));
      await settle();
      const late = ask(bench.link);
      cancel(late);
      bench.link.reply(bench.sent('tools/call')[0]);
      await gather(bench);
      expect(other.sink.messages).to.deep.equal([]);
      expect(answerTo(bench.link, late)).to.equal(undefined);
    });

    it('that the child withdraws while its client thinks leave the call to go on', async () => {
      const { call, request, asked } = await parked();
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: asked } });
      const again = bench.serve(retry(request, 2, call.answer()));
      await settle();
      expect(answerTo(bench.link, asked)).to.equal(undefined);
      bench.link.reply(bench.sent('tools/call')[0], { content: [1] });
      await again.done;
      expect(again.answer().result.content).to.deep.equal([1]);
    });

    it('that no client of this era is sent are refused at the child with -32601', async () => {
      const asked = ask(bench.link, 'tasks/get', {});
      await settle();
      expect(answerTo(bench.link, asked).error.code).to.equal(-32601);
    });

    it('that belong to no call are refused at the child', async () => {
      const asked = ask(bench.link, 'roots/list', {});
      await settle();
      expect(answerTo(bench.link, asked).error.code).to.equal(-32000);
    });

    it('that need what the client has not declared are refused, and fail the call with -32021 where it needed them', async () => {
      bench.link.exit({ reason: 'closed' });
      bench = await modernBench({ capabilities: {} });
      const outcomes: [object, number | undefined][] = [
        [{ content: [], isError: true }, -32021],
        [{ content: [] }, undefined],
      ];
      for (const [result, code] of outcomes) {
        const call = bench.serve(toolCall(1));
        await settle();
        const sent = bench.link.last;
        const asked = ask(bench.link, 'elicitation/create', { ...FORM, mode: 'url' });
        ask(bench.link, 'elicitation/create', FORM);
        ask(bench.link, 'sampling/createMessage', {});
        expect(answerTo(bench.link, asked).error.code).to.equal(-32601);
        bench.link.reply(sent, result);
        await call.done;
        expect(call.answer().error?.code).to.equal(code);
        if (code === undefined) continue;
        expect(call.answer().error.data.requiredCapabilities).to.deep.equal({ elicitation: { url: {} }, sampling: {} });
      }
    });

    it('go to the call that asks when two run: when the other one was answered', async () => {
      const [one, two] = [bench.serve(toolCall(1, 'one')), bench.serve(toolCall(2, 'two'))];
      await settle();
      ask(bench.link);
      await gather(bench);
      expect(one.sink.messages).to.deep.equal([]);
      bench.link.reply(bench.sent('tools/call')[1]);
      await two.done;
      await gather(bench);
      expect(one.answer().result.resultType).to.equal('input_required');
    });
  });

  describe('a request state', () => {
    const refused = async (call: Served): Promise<void> => {
      expect(await call.done).to.equal('served');
      expect(call.answer().error.code).to.equal(-32602);
    };

    it('is good once, also for two that come at once', async () => {
      const { call, request } = await parked();
      const [first, second] = [2, 3].map((id) => bench.serve(retry(request, id, call.answer())));
      await refused(second);
      await refused(bench.serve(retry(request, 4, call.answer())));
      bench.link.reply(bench.sent('tools/call')[0]);
      await first?.done;
      expect(first?.answer().result.resultType).to.equal('complete');
      await refused(bench.serve(retry(request, 5, call.answer())));
    });

    it('of an earlier round is worth nothing', async () => {
      const { call, request } = await parked();
      const again = bench.serve(retry(request, 2, call.answer(), {}));
      await again.done;
      await refused(bench.serve(retry(request, 3, call.answer())));
      expect(again.answer().result.requestState).to.not.equal(call.answer().result.requestState);
    });

    it('is refused for another request, for another kind of client, changed, or no string', async () => {
      const { call, request } = await parked();
      const good = retry(request, 2, call.answer());
      const { requestState, inputResponses } = good.params as Record<string, string>;
      await refused(bench.serve(toolCall(3, 'other', { requestState, inputResponses })));
      await refused(bench.serve(toolCall(3, 'work', { requestState: `${String(requestState)}x`, inputResponses })));
      await refused(bench.serve(toolCall(3, 'work', { requestState: 7, inputResponses })));
      await refused(bench.serve(modernRequest(3, 'prompts/get', { name: 'work', arguments: {}, requestState })));
      const others = bench.seal.seal('bob', request, 60, { call: 'x', round: 1 });
      await refused(bench.serve(toolCall(3, 'work', { requestState: others })));
      const childs = bench.seal.seal('alice', request, 60, { child: 'x' });
      await refused(bench.serve(toolCall(3, 'work', { requestState: childs })));
      await refused(bench.serve(toolCall(3, 'work', { requestState, inputResponses: [] })));
      const served = bench.serve(good);
      await settle();
      bench.link.reply(bench.sent('tools/call')[0]);
      await served.done;
      expect(served.answer().result.resultType).to.equal('complete');
    });

    it('is refused when its time is over', async () => {
      const { call, request } = await parked();
      bench.clock.advance(60_001);
      await refused(bench.serve(retry(request, 2, call.answer())));
    });

    it('is refused by another child than the one that asked', async () => {
      const { call, request } = await parked();
      const other = await modernBench({ options: { seal: bench.seal } });
      const again = other.serve(retry(request, 2, call.answer()));
      await refused(again);
      expect(again.answer().error.message).to.match(/gone/);
    });
  });

  describe('a call whose client was asked', () => {
    it('is answered with what the child said meanwhile when its client comes back', async () => {
      const { call, request } = await parked();
      bench.link.reply(bench.sent('tools/call')[0], { content: ['done'] });
      await settle();
      const again = bench.serve(retry(request, 2, call.answer()));
      await again.done;
      expect(again.answer()).to.deep.nested.include({ id: 2, 'result.content': ['done'] });
    });

    it('is answered with the deadline where the child waited for too long, and forgotten where nobody comes', async () => {
      const { asked } = await parked();
      bench.clock.advance(60_000);
      await settle();
      expect(bench.sent('notifications/cancelled')).to.have.length(1);
      expect(answerTo(bench.link, asked)).to.not.equal(undefined);
      expect(bench.conversation.busy).to.equal(true);
      bench.clock.advance(60_000);
      expect(bench.conversation.busy).to.equal(false);
    });

    it('is given up at the child when too many wait, the one that has waited longest first', async () => {
      const waiting: Awaited<ReturnType<typeof parked>>[] = [];
      for (let id = 1; id <= 5; id += 1) waiting.push(await parked(id, `work-${String(id)}`));
      await settle();
      const [first, second] = waiting;
      expect(bench.sent('notifications/cancelled')).to.have.length(1);
      expect(answerTo(bench.link, String(first?.asked)).result).to.deep.equal({ action: 'cancel' });
      const late = bench.serve(retry(first?.request, 9, first?.call.answer()));
      await late.done;
      expect(late.answer().error.code).to.equal(-32602);
      bench.serve(retry(second?.request, 10, second?.call.answer()));
      await settle();
      expect(answerTo(bench.link, String(second?.asked)).result).to.deep.equal(ACCEPTED);
    });

    it('is given up when the answers that wait are too large together', async () => {
      bench.link.exit({ reason: 'closed' });
      bench = await modernBench({ channel: { maxLineBytes: 16_777_216 } });
      const waiting: Awaited<ReturnType<typeof parked>>[] = [];
      for (let id = 1; id <= 3; id += 1) {
        waiting.push(await parked(id, `work-${String(id)}`));
        const content = 'x'.repeat(id === 1 ? 10 : 5_000_000);
        if (id > 1) bench.link.reply(bench.sent('tools/call')[id - 1], { content });
        await settle();
      }
      const answers = [];
      for (const { call, request } of waiting.slice(1)) {
        const again = bench.serve(retry(request, 9, call.answer()));
        await again.done;
        answers.push(again.answer().error?.code);
      }
      expect(answers).to.deep.equal([-32602, undefined]);
      expect(bench.conversation.busy).to.equal(true); // the first one still waits
    });

    it('is lost with its child, which is told to whoever comes back', async () => {
      const { call, request } = await parked();
      bench.link.exit({ reason: 'killed' });
      await bench.channel.ended;
      await settle();
      const again = bench.serve(retry(request, 2, call.answer()));
      await again.done;
      expect(again.answer().error.code).to.equal(-32602);
    });

    it('answers each of its questions at the child when it is over before they were answered', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      const asked = [ask(bench.link), ask(bench.link, 'sampling/createMessage', {}), ask(bench.link, 'roots/list', {})];
      bench.link.reply(bench.sent('tools/call')[0]);
      await call.done;
      await gather(bench);
      expect(call.answer().result.resultType).to.equal('complete');
      expect(asked.map((id) => answerTo(bench.link, id).result ?? answerTo(bench.link, id).error.code)).to.deep.equal([
        { action: 'cancel' },
        -32000,
        -32000,
      ]);
    });
  });

  it('a child that dies answers the calls at work, and lets the ones go that were not let through yet', async () => {
    const [one, two] = [bench.serve(toolCall(1, 'one')), bench.serve(toolCall(2, 'two'))];
    await settle();
    ask(bench.link); // whose it is cannot be told, so the next one waits
    const three = bench.serve(toolCall(3, 'three'));
    await settle();
    expect(bench.sent('tools/call')).to.have.length(2);
    bench.link.exit({ reason: 'oom' });
    await bench.channel.ended;
    for (const call of [one, two]) {
      await call.done;
      expect(call.answer().error.data).to.deep.include({ code: 'BACKEND_ENDED' });
    }
    expect(await three.done).to.be.instanceOf(AppError);
    expect(three.sink.messages).to.deep.equal([]);
  });

  it('a child that answers twice, or late, or with garbage answers once', async () => {
    const call = bench.serve(toolCall(1));
    await settle();
    const sent = bench.link.last;
    bench.link.push(`{"id":"${sent.id}"}\n{"jsonrpc":"2.0","id":"${sent.id}","result":null,"error":7}\n`);
    bench.link.reply(sent, { content: [] });
    bench.link.reply(sent, { content: [] });
    await call.done;
    expect(call.sink.messages).to.have.length(1);
    expect(call.answer().error.code).to.equal(-32603);
  });

  it('a call that is withdrawn before the channel took it is refused, and nothing of it stays', async () => {
    bench.link.exit({ reason: 'closed' });
    bench = await modernBench({ channel: { maxCallsInFlight: 1 } });
    bench.serve(toolCall(1));
    await settle();
    const second = bench.serve(toolCall(2));
    expect(await second.done).to.have.property('code', 'CALLS_TOO_MANY');
  });

  it('a client that is gone when it is answered costs nothing', async () => {
    const sink = new FakeSink();
    sink.gone = true;
    const call = bench.serve(toolCall(1), sink);
    const other = new FakeSink();
    other.send = () => {
      throw new Error('headers were sent');
    };
    const second = bench.serve(modernRequest(1, 'server/discover'), other);
    await settle();
    bench.link.reply(bench.sent('tools/call')[0]);
    expect(await call.done).to.equal('served');
    expect(await second.done).to.equal('served');
  });

  describe('pages to visit (-32042)', () => {
    const data = { elicitations: [{ mode: 'url', url: 'https://x.example', elicitationId: 'e' }, { url: 7 }, 'x'] };
    const error = (sent: { id: string }, more: unknown): object => ({
      jsonrpc: '2.0',
      id: sent.id,
      error: { code: -32042, message: 'visit', data: more },
    });

    it('are asked of the client, which makes the call again', async () => {
      const call = bench.serve(toolCall(1));
      await settle();
      bench.link.say(error(bench.link.last, data));
      await call.done;
      expect(call.answer().result).to.deep.include({
        resultType: 'input_required',
        inputRequests: {
          u1: {
            method: 'elicitation/create',
            params: { mode: 'url', message: 'Open this page to go on.', url: 'https://x.example' },
          },
        },
      });
      const again = bench.serve(toolCall(2, 'work', { inputResponses: { u1: { action: 'accept' } } }));
      await settle();
      expect(bench.link.last.params).to.not.include.keys('inputResponses');
      bench.link.reply(bench.link.last);
      await again.done;
      expect(again.answer().result.resultType).to.equal('complete');
    });

    it('are an error where there are none, where the request may not ask, and where the client cannot', async () => {
      const outcome = async (request: ReturnType<typeof toolCall>, more: unknown): Promise<number> => {
        const call = bench.serve(request);
        await settle();
        bench.link.say(error(bench.link.last, more));
        await call.done;
        return call.answer().error.code as number;
      };
      expect(await outcome(toolCall(1), { elicitations: [] })).to.equal(-32603);
      expect(await outcome(toolCall(1), undefined)).to.equal(-32603);
      expect(await outcome(modernRequest(1, 'tools/list'), data)).to.equal(-32603);
      bench.link.exit({ reason: 'closed' });
      bench = await modernBench({ capabilities: { elicitation: { form: {} } } });
      expect(await outcome(toolCall(1), data)).to.equal(-32021);
    });
  });

  describe('log messages', () => {
    const log = (level: string): object => ({
      jsonrpc: '2.0',
      method: 'notifications/message',
      params: { level, data: 1 },
    });
    const levels = (call: Served): unknown[] =>
      call.sink.messages.filter(({ method }) => method === 'notifications/message').map(({ params }) => params.level);

    it('go to the one call that runs, from its own level on, number by number', async () => {
      const call = bench.serve(toolCall(1, 'work', {}, { [LEVEL]: 'warning' }));
      await settle();
      expect(bench.sent('logging/setLevel').map(({ params }) => params.level as string)).to.deep.equal(['warning']);
      for (const level of ['info', 'warning', 'error', 'loud']) bench.link.say(log(level));
      bench.link.push('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"alert","data":1.0}}\n');
      expect(levels(call)).to.deep.equal(['warning', 'error', 'alert']);
      expect(call.sink.texts.at(-1)).to.include('"data":1.0');
    });

    it('go to nobody when several calls run, when the one that runs wants none, or has asked its client', async () => {
      const wants = { [LEVEL]: 'debug' };
      const [one, two] = [bench.serve(toolCall(1, 'one', {}, wants)), bench.serve(toolCall(2, 'two', {}, wants))];
      await settle();
      bench.link.say(log('error'));
      bench.link.reply(bench.sent('tools/call').find(({ params }) => params.name === 'two') as never);
      await two.done;
      ask(bench.link);
      await gather(bench);
      bench.link.say(log('error'));
      const three = bench.serve(toolCall(3, 'three'));
      await settle();
      bench.link.say(log('error'));
      expect([one, two, three].map(levels)).to.deep.equal([[], [], []]);
    });

    it('go to nobody until the child knows that another call was withdrawn', async () => {
      delete bench.answers.ping;
      const [one, two] = [bench.serve(toolCall(1, 'one')), bench.serve(toolCall(2, 'two', {}, { [LEVEL]: 'debug' }))];
      await settle();
      one.close();
      await settle();
      bench.link.say(log('error'));
      const asked = ask(bench.link);
      await gather(bench);
      expect(two.sink.messages).to.deep.equal([]);
      bench.link.reply(bench.sent('ping')[0]);
      await settle();
      bench.link.say(log('error'));
      await gather(bench);
      expect(levels(two)).to.deep.equal(['error']);
      expect(two.answer().result.resultType).to.equal('input_required');
      expect(answerTo(bench.link, asked)).to.equal(undefined);
    });

    it('are asked for at the child once for each lower level, and not of one that offers none', async () => {
      for (const level of ['error', 'debug', 'error', 'info']) {
        bench.serve(modernRequest(1, 'tools/list', {}, { [LEVEL]: level }));
        await settle();
      }
      expect(bench.sent('logging/setLevel').map(({ params }) => params.level as string)).to.deep.equal([
        'error',
        'debug',
      ]);
      const mute = await modernBench({
        answers: { ...LEGACY, initialize: { protocolVersion: '2025-11-25', capabilities: {} } },
      });
      mute.serve(modernRequest(1, 'tools/list', {}, { [LEVEL]: 'debug' }));
      await settle();
      expect(mute.sent('logging/setLevel')).to.deep.equal([]);
      expect(mute.sent('tools/list')).to.have.length(1);
    });

    it('do not hold a call up for ever where the child does not take a level', async () => {
      delete bench.answers['logging/setLevel'];
      bench.serve(toolCall(1, 'work', {}, { [LEVEL]: 'debug' }));
      await settle();
      bench.clock.advance(5_000);
      await settle();
      expect(bench.sent('tools/call')).to.have.length(1);
    });
  });
});
