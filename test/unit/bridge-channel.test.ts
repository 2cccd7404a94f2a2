import { expect } from 'chai';
import type { JsonRpcMessage } from '../../src/bridge/contract';
import { AppError } from '../../src/errors';
import { cites } from '../requirements';
import { aRequest, openBench, type Bench } from '../support/channel';
import { FakeLink, FakeSink, settle } from '../support/fake-link';

describe('channel', () => {
  let bench: Bench;

  beforeEach(() => {
    bench = openBench();
  });

  afterEach(async () => {
    await bench.channel.close();
    expect(bench.clock.timers, 'timers left').to.equal(0);
    expect(bench.observer.faults).to.deep.equal([]);
  });

  /** Makes a call and gives its promise, its stream and what the child got. */
  function begin(request = aRequest(1), sink = new FakeSink()) {
    let done = false;
    const call = bench.channel.call(request, sink).then(() => {
      done = true;
    });
    return { call, sink, sent: bench.link.last, isDone: () => done };
  }

  describe('calls', () => {
    it("sends a call with an id of its own and gives the answer back under the client's", async () => {
      cites('2024-11-05/messages/4', '2024-11-05/messages/5');
      const { call, sink, sent } = begin(aRequest('abc', 'tools/call', { name: 'echo', arguments: { a: 1 } }));
      expect(sent).to.deep.equal({
        jsonrpc: '2.0',
        id: 'i0.1.sabc',
        method: 'tools/call',
        params: { name: 'echo', arguments: { a: 1 } },
      });
      bench.link.reply(sent, { ok: true });
      await call;
      expect(sink.messages).to.deep.equal([{ jsonrpc: '2.0', id: 'abc', result: { ok: true } }]);
      expect(bench.observer.calls).to.deep.equal([{ method: 'tools/call', outcome: 'answered', seconds: 0 }]);
    });

    it('sends no params where the client sent none', () => {
      expect(begin(aRequest(1, 'tools/list')).sent).to.not.have.property('params');
    });

    for (const id of [7, 0, -1, '7', '', 'ü🧑‍🚀', 'x'.repeat(5000), '\ud83d', 'i0.1.n1', Number.MAX_SAFE_INTEGER]) {
      it(`gives the id ${JSON.stringify(id).slice(0, 30)} back as it was, type and all`, async () => {
        const { call, sink, sent } = begin(aRequest(id));
        bench.link.reply(sent);
        await call;
        expect(sink.last.id).to.equal(id);
      });
    }

    it('keeps calls with the same id apart [2024-11-05/messages/4, 2026-07-28/basic/5]', async () => {
      const [a, b, c] = [begin(aRequest(1)), begin(aRequest(1)), begin(aRequest('1'))];
      bench.link.reply(c.sent, 'c');
      bench.link.reply(a.sent, 'a');
      bench.link.reply(b.sent, 'b');
      await Promise.all([a.call, b.call, c.call]);
      expect([a, b, c].map(({ sink }) => sink.messages)).to.deep.equal([
        [{ jsonrpc: '2.0', id: 1, result: 'a' }],
        [{ jsonrpc: '2.0', id: 1, result: 'b' }],
        [{ jsonrpc: '2.0', id: '1', result: 'c' }],
      ]);
    });

    it("names the stream in the child's id", () => {
      expect(begin(aRequest(5), new FakeSink('post-7f')).sent.id).to.equal('ipost-7f.1.n5');
    });

    it("passes the child's error on and counts it as failed", async () => {
      const { call, sink, sent } = begin();
      const error = { code: -32603, message: 'no such repository', data: { x: 1 } };
      bench.link.say({ jsonrpc: '2.0', id: sent.id, error });
      await call;
      expect(sink.last).to.deep.equal({ jsonrpc: '2.0', id: 1, error });
      expect(bench.observer.calls[0]).to.include({ outcome: 'failed' });
    });

    it('passes an answer on byte for byte but for the id', async () => {
      const body =
        '"result":{"n":1.0,"big":12345678901234567890,"e":1E5,"esc":"\\ud83d \\u00e9 \\/","raw":"\u00a0\u2028\u2029🧑‍🚀 é","d":{"id":"x"}}}';
      for (const head of ['{"jsonrpc":"2.0","id":', '{ "jsonrpc" : "2.0" , "id" : ', '{"id": ']) {
        const { call, sink, sent } = begin(aRequest(9));
        const more = head.includes('2.0') ? '' : '"jsonrpc":"2.0",';
        bench.link.push(`${head}"${sent.id}",${more}${body}\n`);
        await call;
        expect(sink.texts).to.deep.equal([`${head}9,${more}${body}`]);
      }
    });

    it('passes params on with every character, lone surrogates as escapes', () => {
      const link = new FakeLink();
      const written: string[] = [];
      link.write = async (bytes) => void written.push(bytes.toString());
      const { channel } = openBench({}, link);
      const text = 'a\u00a0b\u2028c🧑‍🚀\ud83d\n\r"';
      void channel.call(aRequest(1, 'tools/call', { text, __proto__x: 1 }), new FakeSink());
      expect(written).to.have.length(1);
      expect(written[0]).to.match(/^[^\n\r]+\n$/);
      expect(written[0]).to.include('\\ud83d');
      expect((JSON.parse(written[0] ?? '') as { params: { text: string } }).params.text).to.equal(text);
      link.exit({ reason: 'closed' });
    });

    it('writes an answer with a carriage return between its tokens as one line [2024-11-05/transports/2]', async () => {
      const { call, sink, sent } = begin();
      bench.link.push(`{"jsonrpc":"2.0",\r"id":"${sent.id}",\r"result":{"n":1.50}}\r\n`);
      await call;
      expect(sink.texts).to.deep.equal(['{"jsonrpc":"2.0","id":1,"result":{"n":1.50}}']);
    });

    it('answers at once from a chunk that holds several answers and half of another', async () => {
      const [a, b, c] = [begin(aRequest(1)), begin(aRequest(2)), begin(aRequest(3))];
      const text = [a, b, c].map(({ sent }) => `{"jsonrpc":"2.0","id":"${sent.id}","result":"é"}\n`).join('');
      const bytes = Buffer.from(text);
      bench.link.push(bytes.subarray(0, bytes.length - 5));
      await Promise.all([a.call, b.call]);
      expect(c.sink.messages).to.deep.equal([]);
      bench.link.push(bytes.subarray(bytes.length - 5));
      await c.call;
    });

    it('rejects a call too many with CALLS_TOO_MANY and sends nothing', async () => {
      bench = openBench({ maxCallsInFlight: 1 });
      begin();
      const error = await rejection(bench.channel.call(aRequest(2), new FakeSink()));
      expect(error).to.include({ code: 'CALLS_TOO_MANY', retryAfter: 1 });
      expect(bench.link.sent).to.have.length(1);
      expect(bench.channel.inFlight).to.equal(1);
    });

    it('counts a method that MCP does not name as other', async () => {
      const { call, sent } = begin(aRequest(1, 'x/y'));
      bench.link.reply(sent);
      await call;
      expect(bench.observer.calls[0]).to.include({ method: 'other' });
    });
  });

  describe('answers that are not as they should be', () => {
    it('get a jsonrpc member', async () => {
      const { call, sink, sent } = begin();
      bench.link.say({ id: sent.id, result: 5 });
      await call;
      expect(sink.last).to.deep.equal({ jsonrpc: '2.0', id: 1, result: 5 });
    });

    it('lose a null error beside a result [2024-11-05/messages/7]', async () => {
      const { call, sink, sent } = begin();
      bench.link.say({ jsonrpc: '2.0', id: sent.id, result: { a: 1 }, error: null });
      await call;
      expect(sink.last).to.deep.equal({ jsonrpc: '2.0', id: 1, result: { a: 1 } });
    });

    it('get a code and a message in an error that has none [2025-03-26/basic/9, 2024-11-05/messages/8]', async () => {
      const { call, sink, sent } = begin();
      bench.link.say({ jsonrpc: '2.0', id: sent.id, result: null, error: { reason: 'x' } });
      await call;
      expect(sink.last.error).to.deep.equal({ code: -32603, message: 'The server gave no reason.', reason: 'x' });
    });

    it('keep code and message of an error beside a result [2024-11-05/messages/7]', async () => {
      const { call, sink, sent } = begin();
      bench.link.say({ jsonrpc: '2.0', id: sent.id, result: {}, error: { code: 4, message: 'm' } });
      await call;
      expect(sink.last.error).to.deep.equal({ code: 4, message: 'm' });
    });

    it('become an error where nothing can be made of them [2024-11-05/messages/6, 2025-11-25/basic/7]', async () => {
      const { call, sink, sent } = begin();
      bench.link.say({ jsonrpc: '2.0', id: sent.id, error: 'broken' });
      await call;
      expect(sink.last.error).to.deep.include({ code: -32603, data: { code: 'INTERNAL' } });
    });

    it('become an error where they are nested too deeply to be written', async () => {
      const { call, sink, sent } = begin();
      const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
      bench.link.push(`{"id":"${sent.id}","jsonrpc":"2.0","result":${deep},"x":"${sent.id}"}\n`);
      await call;
      expect(sink.last.error).to.deep.include({ code: -32603 });
    });

    it('are dropped and counted when nothing was asked', () => {
      bench.link.say({ jsonrpc: '2.0', id: 'i0.99.n1', result: {} });
      bench.link.say({ jsonrpc: '2.0', id: 'other', result: {} });
      bench.link.say({ jsonrpc: '2.0', id: 1, result: {} });
      bench.link.say({ jsonrpc: '2.0', id: null, error: { code: -32700, message: 'x' } });
      expect(bench.observer.drops).to.deep.equal(['late-answer', 'unknown-id', 'unknown-id', 'unknown-id']);
    });

    it('are dropped and counted when they come twice', async () => {
      const { call, sink, sent } = begin();
      bench.link.reply(sent, 'first');
      bench.link.reply(sent, 'second');
      await call;
      expect(sink.messages.map(({ result }) => result as unknown)).to.deep.equal(['first']);
      expect(bench.observer.drops).to.deep.equal(['late-answer']);
    });
  });

  describe('noise on stdout', () => {
    it('is skipped and counted, and costs no answer', async () => {
      const { call, sent } = begin();
      const noise = [
        'Loading model...',
        '{"not json',
        '[1,2',
        '5',
        '"x"',
        'null',
        '{}',
        '{"jsonrpc":"2.0"}',
        '[]',
        '[7]',
      ];
      for (const line of noise) bench.link.push(`${line}\n`);
      bench.link.push(
        '{"jsonrpc":"1.0","method":"x"}\n{"jsonrpc":"2.0","method":5}\n{"jsonrpc":"2.0","method":"x","id":null}\n',
      );
      bench.link.push(Buffer.from([0xff, 0xfe, 0x00, 0x0a]));
      bench.link.push('   \t \n');
      bench.link.reply(sent);
      await call;
      expect(bench.observer.noises).to.equal(noise.length + 4);
      expect(bench.observer.noiseBytes).to.be.greaterThan(50);
    });

    it('before a message on the same line makes the line noise, and the next line is read', async () => {
      const { call, sent } = begin();
      bench.link.push(`garbage{"jsonrpc":"2.0","id":"${sent.id}","result":1}\n`);
      bench.link.reply(sent, 2);
      await call;
      expect(bench.observer.noises).to.equal(1);
    });

    it('does not hide the messages of a batch', async () => {
      const [a, b] = [begin(aRequest(1)), begin(aRequest(2))];
      bench.link.push(
        `[{"jsonrpc":"2.0","id":"${b.sent.id}","result":1.0},7,{"jsonrpc":"2.0","id":"${a.sent.id}","result":{}}]\n`,
      );
      await Promise.all([a.call, b.call]);
      expect(b.sink.texts).to.deep.equal(['{"jsonrpc":"2.0","id":2,"result":1.0}']);
      expect(bench.observer.noises).to.equal(1);
    });
  });

  describe('a line that is too long', () => {
    beforeEach(() => {
      bench = openBench({ maxLineBytes: 20_000 });
    });

    for (const [where, write] of [
      ['before', (id: string) => `{"jsonrpc":"2.0","id":"${id}","result":{"x":"${'a'.repeat(30_000)}"}}\n`],
      ['after', (id: string) => `{"result":{"x":"${'a'.repeat(30_000)}"},"jsonrpc":"2.0","id":"${id}"}\n`],
    ] as const) {
      it(`fails its call where the id stands ${where} the bulk, and the session goes on`, async () => {
        const [long, short] = [begin(aRequest(1)), begin(aRequest(2))];
        bench.link.push(write(long.sent.id));
        await long.call;
        expect(long.sink.last).to.deep.include({ id: 1 });
        expect(long.sink.last.error).to.deep.include({ code: -32000, data: { code: 'LINE_TOO_LONG' } });
        bench.link.reply(short.sent);
        await short.call;
        expect(bench.observer.drops).to.deep.equal(['too-long']);
      });
    }

    it('refuses the request of the child that it is', () => {
      bench.link.push(
        `{"jsonrpc":"2.0","id":4,"method":"sampling/createMessage","params":{"x":"${'a'.repeat(30_000)}"}}\n`,
      );
      expect(bench.link.last).to.deep.include({ id: 4 });
      expect(bench.link.last.error).to.have.property('code', -32000);
    });

    it('is dropped and counted when it names no call', () => {
      begin();
      bench.link.push(`${'x'.repeat(30_000)}\n`);
      bench.link.push(`{"jsonrpc":"2.0","id":"i0.77.n1","result":"${'x'.repeat(30_000)}"}\n`);
      bench.link.push(`{"jsonrpc":"2.0","id":5,"result":"${'x'.repeat(30_000)}"}\n`);
      expect(bench.observer.drops).to.deep.equal(['too-long', 'too-long', 'too-long']);
      expect(bench.channel.inFlight).to.equal(1);
    });
  });

  it('tells its own failures from those of a child that writes the same', async () => {
    const codes: unknown[] = [];
    const sink = Object.assign(new FakeSink(), {
      send: (_message: JsonRpcMessage, _json: string, ours?: string) => {
        codes.push(ours);
        return undefined;
      },
    });
    const { call, sent } = begin(aRequest(1), sink);
    const error = { code: -32000, message: 'x', data: { code: 'AUTH_INVALID' } };
    bench.link.say({ jsonrpc: '2.0', id: sent.id, error });
    await call;
    const late = begin(aRequest(2), sink);
    bench.clock.advance(60_000);
    await late.call;
    expect(codes).to.deep.equal([undefined, 'CALL_DEADLINE']);
  });

  describe('deadlines', () => {
    it('answer the call with an error, cancel it at the child, and drop the late answer', async () => {
      cites(
        '2024-11-05/cancellation/1',
        '2024-11-05/cancellation/5',
        '2024-11-05/cancellation/4',
        '2025-03-26/lifecycle/17',
        '2024-11-05/messages/9',
      );
      const { call, sink, sent } = begin();
      bench.clock.advance(59_999);
      expect(bench.channel.inFlight).to.equal(1);
      bench.clock.advance(1);
      await call;
      expect(sink.last.error).to.deep.include({ code: -32000, data: { code: 'CALL_DEADLINE' } });
      expect(bench.link.last).to.deep.equal({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { requestId: sent.id, reason: 'deadline' },
      });
      bench.link.reply(sent);
      expect(sink.messages).to.have.length(1);
      expect(bench.observer.drops).to.deep.equal(['late-answer']);
      expect(bench.observer.calls).to.deep.equal([{ method: 'tools/call', outcome: 'deadline', seconds: 60 }]);
    });

    it('are each call’s own [2024-11-05/lifecycle/16, 2025-03-26/lifecycle/16]', async () => {
      const first = begin(aRequest(1));
      bench.clock.advance(30_000);
      const second = begin(aRequest(2));
      bench.clock.advance(30_000);
      await first.call;
      expect(second.isDone()).to.equal(false);
      bench.clock.advance(29_999);
      await settle();
      expect(second.isDone()).to.equal(false);
      bench.clock.advance(1);
      await second.call;
    });

    it('use one timer for all calls, and none once there are none', async () => {
      const calls = [...Array(100).keys()].map((id) => begin(aRequest(id)));
      expect(bench.clock.timers).to.equal(1);
      for (const { sent } of calls) bench.link.reply(sent);
      await Promise.all(calls.map(({ call }) => call));
      bench.clock.advance(60_000);
      expect(bench.clock.timers).to.equal(0);
    });

    it('of initialize are shorter, end the session and cancel nothing [2024-11-05/cancellation/2]', async () => {
      begin(aRequest(5, 'tools/list'));
      const { call, sink } = begin(aRequest(1, 'initialize'));
      bench.clock.advance(10_000);
      await call;
      expect(sink.last.error).to.deep.include({ data: { code: 'CALL_DEADLINE' } });
      expect(bench.link.sent.map(({ method }) => method)).to.deep.equal(['tools/list', 'initialize']);
      expect(await bench.channel.ended).to.deep.include({ reason: 'initialize-failed' });
    });
  });

  describe('initialize', () => {
    it('records the negotiated version', async () => {
      const { call, sink, sent } = begin(aRequest(0, 'initialize', { protocolVersion: '2025-11-25' }));
      expect(bench.channel.protocolVersion).to.equal(undefined);
      bench.link.reply(sent, {
        protocolVersion: '2025-06-18',
        capabilities: {},
        serverInfo: { name: 'x', version: '1' },
      });
      await call;
      expect(bench.channel.protocolVersion).to.equal('2025-06-18');
      expect(sink.last.result).to.include({ protocolVersion: '2025-06-18' });
    });

    it('passes notifications/initialized on [2024-11-05/basic/2]', async () => {
      await bench.channel.notify({ jsonrpc: '2.0', method: 'notifications/initialized' });
      expect(bench.link.last).to.deep.equal({ jsonrpc: '2.0', method: 'notifications/initialized' });
    });

    for (const [what, answer] of [
      ['an error', { error: { code: -32602, message: 'unsupported' } }],
      ['no protocol version', { result: {} }],
    ] as const) {
      it(`answered with ${what} is passed on and ends the session`, async () => {
        const { call, sink, sent } = begin(aRequest(1, 'initialize'));
        bench.link.say({ jsonrpc: '2.0', id: sent.id, ...answer });
        await call;
        expect(sink.last).to.deep.equal({ jsonrpc: '2.0', id: 1, ...answer });
        expect(await bench.channel.ended).to.deep.include({ reason: 'initialize-failed' });
        expect(bench.link.closes).to.equal(1);
      });
    }
  });

  describe('cancellation by the client', () => {
    const cancel = (requestId: unknown, more = {}) =>
      bench.channel.notify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId, ...more } });

    it("is passed on with the child's id, and ends the call without an answer", async () => {
      const { call, sink, sent } = begin(aRequest('x'));
      await cancel('x', { reason: 'user' });
      await call;
      expect(bench.link.last).to.deep.equal({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { requestId: sent.id, reason: 'user' },
      });
      expect(sink.messages).to.deep.equal([]);
      expect(bench.observer.calls[0]).to.include({ outcome: 'cancelled' });
      expect(bench.channel.inFlight).to.equal(0);
      bench.link.reply(sent);
      expect(bench.observer.drops).to.deep.equal(['late-answer']);
    });

    it('of a call that is over, of another type of id, or of nothing is dropped', async () => {
      cites('2024-11-05/cancellation/1', '2024-11-05/cancellation/8');
      begin(aRequest(1));
      await cancel('1');
      await cancel(2);
      await bench.channel.notify({ jsonrpc: '2.0', method: 'notifications/cancelled' });
      expect(bench.link.sent).to.have.length(1);
      expect(bench.observer.drops).to.deep.equal(['late-answer', 'late-answer', 'late-answer']);
    });

    it('of an id that two calls carry is dropped: it must not hit the wrong one', async () => {
      begin(aRequest(1));
      begin(aRequest(1));
      await cancel(1);
      expect(bench.channel.inFlight).to.equal(2);
      expect(bench.observer.drops).to.deep.equal(['ambiguous']);
    });

    it('of initialize is dropped [2024-11-05/cancellation/2]', async () => {
      begin(aRequest(1, 'initialize'));
      await cancel(1);
      expect(bench.channel.inFlight).to.equal(1);
      expect(bench.observer.drops).to.deep.equal(['unknown-id']);
    });
  });

  describe('the end', () => {
    for (const [exit, says] of [
      [{ reason: 'exited', code: 3 }, /ended by itself \(exit code 3\)/],
      [{ reason: 'exited' }, /ended by itself\./],
      [{ reason: 'oom', code: 137 }, /out of memory/],
      [{ reason: 'killed', signal: 'SIGKILL' }, /killed \(SIGKILL\)/],
      [{ reason: 'killed' }, /was killed\./],
      [{ reason: 'deleted' }, /deleted or evicted/],
      [{ reason: 'lost' }, /connection .* was lost/],
      [{ reason: 'closed' }, /was closed/],
    ] as const) {
      it(`of a child (${JSON.stringify(exit)}) answers every call in flight before it is told`, async () => {
        const [a, b] = [begin(aRequest(1)), begin(aRequest(2))];
        bench.link.exit(exit);
        const end = await bench.channel.ended;
        expect(end).to.deep.equal({ reason: exit.reason, exit });
        for (const { sink, call } of [a, b]) {
          expect(sink.last.error.message).to.match(says);
          expect(sink.last.error.data).to.deep.equal({ code: 'BACKEND_ENDED', reason: exit.reason });
          await call;
        }
        expect(bench.observer.calls.map(({ outcome }) => outcome)).to.deep.equal(['lost', 'lost']);
        expect(bench.channel.inFlight).to.equal(0);
      });
    }

    it('still reads a last answer without a newline', async () => {
      const { call, sink, sent } = begin();
      bench.link.push(`{"jsonrpc":"2.0","id":"${sent.id}","result":"last"}`);
      bench.link.exit({ reason: 'exited', code: 0 });
      await call;
      expect(sink.last.result).to.equal('last');
    });

    it('answers LINK_CLOSED to whatever comes after it', async () => {
      bench.link.exit({ reason: 'exited' });
      await bench.channel.ended;
      for (const work of [
        bench.channel.call(aRequest(1), new FakeSink()),
        bench.channel.notify({ jsonrpc: '2.0', method: 'x' }),
        bench.channel.answer({ jsonrpc: '2.0', id: 1, result: {} }),
      ]) {
        expect(await rejection(work)).to.include({ code: 'LINK_CLOSED' });
      }
    });

    it('may be asked for often, and lets the child answer what is in flight', async () => {
      bench.link.exitOnClose = false;
      const { call, sink, sent } = begin();
      const closed = Promise.all([bench.channel.close(), bench.channel.close()]);
      expect(await rejection(bench.channel.call(aRequest(2), new FakeSink()))).to.include({ code: 'LINK_CLOSED' });
      bench.link.reply(sent, 'done');
      await call;
      expect(sink.last.result).to.equal('done');
      bench.link.exit({ reason: 'closed' });
      await closed;
    });

    it('comes for a link that takes nothing although nobody said that the child is gone', async () => {
      bench.link.broken = true;
      const sink = new FakeSink();
      const call = bench.channel.call(aRequest(1), sink);
      await settle();
      bench.clock.advance(999);
      expect(sink.messages).to.deep.equal([]);
      bench.clock.advance(1);
      await call;
      expect(sink.last.error.data).to.deep.equal({ code: 'BACKEND_ENDED', reason: 'lost' });
      await bench.channel.ended;
      expect(bench.link.closes).to.equal(1);
    });

    it('is explained by the child’s end where that comes soon after a write that failed', async () => {
      bench.link.broken = true;
      const sink = new FakeSink();
      const call = bench.channel.call(aRequest(1), sink);
      void bench.channel.call(aRequest(2), new FakeSink());
      await settle();
      bench.link.exit({ reason: 'oom' });
      await call;
      expect(sink.last.error.data.reason).to.equal('oom');
    });

    it('is not waited for again by a write that fails after it', async () => {
      const link = new FakeLink();
      bench = openBench({}, link);
      let fail: (reason: Error) => void = () => undefined;
      link.write = () => new Promise((_resolve, reject) => (fail = reject));
      const call = bench.channel.call(aRequest(1), new FakeSink());
      link.exit({ reason: 'killed' });
      await call;
      fail(new AppError('LINK_CLOSED', 'gone'));
      await settle();
      expect(bench.clock.timers).to.equal(0);
    });
  });

  it('survives a defect of its own in handling a message, and tells of it', async () => {
    const { call, sent } = begin();
    const { observer } = bench;
    const noise = observer.noise.bind(observer);
    observer.noise = () => {
      throw new Error('defect');
    };
    bench.link.push(`rubbish\n{"jsonrpc":"2.0","id":"${sent.id}","result":{}}\n`);
    await call;
    expect(observer.faults).to.have.length(1);
    observer.faults.length = 0;
    observer.noise = noise;
  });
});

async function rejection(work: Promise<unknown>): Promise<AppError> {
  const thrown: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown).to.be.instanceOf(AppError);
  return thrown as AppError;
}
