import { expect } from 'chai';
import { cites } from '../requirements';
import { aRequest, openBench, type Bench } from '../support/channel';
import { FakeSink, settle, type Sent } from '../support/fake-link';

describe('routing of what the child says', () => {
  let bench: Bench;

  beforeEach(() => {
    bench = openBench();
  });

  afterEach(async () => {
    await bench.channel.close();
    expect(bench.clock.timers, 'timers left').to.equal(0);
    expect(bench.observer.faults).to.deep.equal([]);
  });

  function begin(id: string | number, meta?: object, more: Record<string, unknown> = {}) {
    const sink = new FakeSink();
    const params = meta === undefined ? more : { ...more, _meta: meta };
    const call = bench.channel.call(aRequest(id, 'tools/call', params), sink);
    return { sink, call, sent: bench.link.last };
  }

  function listen(): FakeSink & { stop: () => void } {
    const sink = new FakeSink();
    return Object.assign(sink, { stop: bench.channel.listen(sink) });
  }

  const tokenOf = (sent: Sent): string => (sent.params._meta as { progressToken: string }).progressToken;
  const progress = (progressToken: unknown, n = 1) => ({
    jsonrpc: '2.0',
    method: 'notifications/progress',
    params: { progressToken, progress: n },
  });
  const log = { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' } };
  const changed = { jsonrpc: '2.0', method: 'notifications/tools/list_changed' };
  const ask = (id: unknown = 1, params: object = { messages: [] }) => ({
    jsonrpc: '2.0',
    id,
    method: 'sampling/createMessage',
    params,
  });

  describe('progress', () => {
    it('goes to its own call under the client’s token, also where two calls use the same token', () => {
      cites('2024-11-05/progress/2', '2024-11-05/progress/4');
      const [a, b] = [begin(1, { progressToken: 'tok', 'x/y': 1 }), begin(2, { progressToken: 'tok' })];
      expect(tokenOf(a.sent)).to.not.equal(tokenOf(b.sent));
      expect(a.sent.params._meta).to.have.property('x/y', 1);
      bench.link.say(progress(tokenOf(b.sent), 5));
      bench.link.say(progress(tokenOf(a.sent), 6));
      expect(a.sink.messages).to.deep.equal([progress('tok', 6)]);
      expect(b.sink.messages).to.deep.equal([progress('tok', 5)]);
    });

    for (const token of [7, '7', 0, 'ü', 'x'.repeat(400), 12345678901234]) {
      it(`gives the token ${JSON.stringify(token).slice(0, 20)} back as it was [2024-11-05/progress/1]`, () => {
        const { sink, sent } = begin(1, { progressToken: token });
        bench.link.say(progress(tokenOf(sent)));
        expect(sink.messages).to.deep.equal([progress(token)]);
      });
    }

    it('keeps its digits, also where the token stands in the text as well', () => {
      const { sink, sent } = begin(1, { progressToken: 3 });
      const token = tokenOf(sent);
      bench.link.push(
        `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"${token}","progress":0.10}}\n`,
      );
      bench.link.push(
        `{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"${token}","progressToken":"${token}","progress":0.20}}\n`,
      );
      expect(sink.texts).to.deep.equal([
        '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":0.10}}',
        `{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"${token}","progressToken":3,"progress":0.20}}`,
      ]);
    });

    it('is dropped and counted once its call is over, and when it names nothing', async () => {
      cites('2024-11-05/progress/4', '2024-11-05/progress/7');
      const { sink, sent, call } = begin(1, { progressToken: 3 });
      bench.link.reply(sent);
      await call;
      bench.link.say(progress(tokenOf(sent)));
      bench.link.say(progress('nonsense'));
      bench.link.say(progress(9));
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/progress' });
      expect(sink.messages).to.have.length(1);
      expect(bench.observer.drops).to.deep.equal(['late-answer', 'unknown-id', 'unknown-id', 'unknown-id']);
    });

    it('of a task goes on after the answer that created it', async () => {
      cites('2025-11-25/progress/6', '2025-11-25/progress/7');
      const { sent, call } = begin(1, { progressToken: 'tok' }, { task: { ttl: 60_000 } });
      bench.link.reply(sent, { task: { taskId: 't' } });
      await call;
      const stream = listen();
      bench.link.say(progress(tokenOf(sent)));
      expect(stream.messages).to.deep.equal([progress('tok')]);
    });

    it('of the client for a request of the child passes through', async () => {
      await bench.channel.notify(progress(7) as never);
      expect(bench.link.last).to.deep.equal(progress(7));
    });

    it('comes before the answer', async () => {
      const { sink, sent, call } = begin(1, { progressToken: 3 });
      for (const n of [1, 2, 3]) bench.link.say(progress(tokenOf(sent), n));
      bench.link.reply(sent, 'end');
      await call;
      expect(sink.messages.map(({ params, result }) => (params?.progress ?? result) as unknown)).to.deep.equal([
        1,
        2,
        3,
        'end',
      ]);
    });
  });

  describe('notifications', () => {
    it('of the log go to the only call in flight, even where a GET stream is open', () => {
      const stream = listen();
      const { sink } = begin(1);
      bench.link.say(log);
      expect(sink.messages).to.deep.equal([log]);
      expect(stream.messages).to.deep.equal([]);
    });

    it('go to the newest GET stream when several calls are in flight [2025-03-26/transports/28]', () => {
      const [older, newer] = [listen(), listen()];
      const calls = [begin(1), begin(2)];
      bench.link.say(log);
      newer.stop();
      bench.link.say(changed);
      expect(newer.messages).to.deep.equal([log]);
      expect(older.messages).to.deep.equal([changed]);
      expect(calls.flatMap(({ sink }) => sink.messages)).to.deep.equal([]);
    });

    it('go to the newest call when several are in flight and no GET stream is open', () => {
      const [a, b] = [begin(1), begin(2)];
      bench.link.say(log);
      bench.link.say(changed);
      expect(a.sink.messages).to.deep.equal([]);
      expect(b.sink.messages).to.deep.equal([log, changed]);
    });

    it('that concern the server go to the GET stream, even where one call is in flight', () => {
      cites('2025-03-26/transports/26');
      const stream = listen();
      const { sink } = begin(1);
      bench.link.say(changed);
      expect(stream.messages).to.deep.equal([changed]);
      expect(sink.messages).to.deep.equal([]);
    });

    it('are dropped and counted when no stream is open', () => {
      bench.link.say(log);
      bench.link.say(changed);
      expect(bench.observer.drops).to.deep.equal(['no-stream', 'no-stream']);
    });

    it('go to the next stream when the first turns out to be gone, and that one is not tried again', async () => {
      const [older, newer] = [listen(), listen()];
      newer.gone = true;
      bench.link.say(changed);
      await settle();
      bench.link.say(changed);
      expect(older.messages).to.deep.equal([changed, changed]);
      older.gone = true;
      bench.link.say(changed);
      await settle();
      expect(bench.observer.drops).to.deep.equal(['stream-gone']);
    });

    it('pass through byte for byte', () => {
      const stream = listen();
      const text =
        '{"method":"notifications/message","params":{"data":{"n":1.0,"s":"\u2028🧑‍🚀\\ud83d"}},"jsonrpc":"2.0"}';
      bench.link.push(`${text}\r\n`);
      expect(stream.texts).to.deep.equal([text]);
    });

    it('of a client whose stream is gone are dropped, and its answer too, while the call runs on', async () => {
      const { sink, sent, call } = begin(1, { progressToken: 1 });
      sink.gone = true;
      bench.link.say(progress(tokenOf(sent)));
      await settle();
      expect(bench.channel.inFlight).to.equal(1);
      bench.link.say(log);
      bench.link.say(progress(tokenOf(sent)));
      bench.link.reply(sent);
      await call;
      expect(bench.observer.drops).to.deep.equal(['stream-gone', 'no-stream', 'stream-gone', 'stream-gone']);
      expect(bench.link.sent.map(({ method }) => method)).to.deep.equal(['tools/call']);
    });

    it('are dropped by a stream that throws', () => {
      const stream = listen();
      stream.send = () => {
        throw new Error('defect of the stream');
      };
      bench.link.say(changed);
      expect(bench.observer.drops).to.deep.equal(['stream-gone']);
    });
  });

  describe('requests of the child', () => {
    it('are answered by the gateway itself when they are a ping [2024-11-05/ping/1]', () => {
      for (const id of [1, 'x', 0]) {
        bench.link.say({ jsonrpc: '2.0', id, method: 'ping' });
        expect(bench.link.last).to.deep.equal({ jsonrpc: '2.0', id, result: {} });
      }
    });

    it('go to the only call in flight under an id of ours, and its answer goes back under the child’s', async () => {
      cites('2025-03-26/transports/19');
      const stream = listen();
      const { sink } = begin(1);
      bench.link.say(ask(1));
      const { id } = sink.last as { id: string };
      expect(sink.messages).to.deep.equal([{ ...ask(), id }]);
      expect(id).to.equal('r0.1.n1');
      expect(stream.messages).to.deep.equal([]);
      await bench.channel.answer({ jsonrpc: '2.0', id, result: { role: 'assistant' } });
      expect(bench.link.last).to.deep.equal({ jsonrpc: '2.0', id: 1, result: { role: 'assistant' } });
    });

    for (const id of [1, '1', '', 'ü', 'x'.repeat(300)]) {
      it(`get their id ${JSON.stringify(id).slice(0, 20)} back as it was`, async () => {
        const stream = listen();
        bench.link.say(ask(id));
        await bench.channel.answer({ jsonrpc: '2.0', id: stream.last.id as string, result: {} });
        expect(bench.link.last.id).to.equal(id);
      });
    }

    it('get an id beyond 2^53 back digit by digit', async () => {
      const stream = listen();
      const written: string[] = [];
      bench.link.write = async (bytes) => void written.push(bytes.toString());
      bench.link.push('{"jsonrpc":"2.0","id":12345678901234567890,"method":"roots/list"}\n');
      await bench.channel.answer({ jsonrpc: '2.0', id: stream.last.id as string, result: { roots: [] } });
      expect(written).to.deep.equal(['{"jsonrpc":"2.0","id":12345678901234567890,"result":{"roots":[]}}\n']);
    });

    it('get the client’s error', async () => {
      const stream = listen();
      bench.link.say(ask(5));
      const error = { code: -1, message: 'User rejected' };
      await bench.channel.answer({ jsonrpc: '2.0', id: stream.last.id as string, error });
      expect(bench.link.last).to.deep.equal({ jsonrpc: '2.0', id: 5, error });
    });

    it('with the same id at once stay apart', async () => {
      const stream = listen();
      bench.link.say(ask(1, { a: 1 }));
      bench.link.say(ask(1, { a: 2 }));
      const [first, second] = stream.messages.map(({ id }) => id as string);
      expect(first).to.not.equal(second);
      await bench.channel.answer({ jsonrpc: '2.0', id: second, result: 2 });
      await bench.channel.answer({ jsonrpc: '2.0', id: first, result: 1 });
      expect(bench.link.sent.map(({ result }) => result)).to.deep.equal([2, 1]);
    });

    it('are answered once: a second answer, and one to nothing, is dropped and counted', async () => {
      const stream = listen();
      bench.link.say(ask(1));
      const id = stream.last.id as string;
      for (const each of [id, id, 'nonsense', 1]) await bench.channel.answer({ jsonrpc: '2.0', id: each, result: {} });
      expect(bench.link.sent).to.have.length(1);
      expect(bench.observer.drops).to.deep.equal(['late-answer', 'unknown-id', 'unknown-id']);
    });

    it('wait ten seconds for a stream, and get an error when none is opened', () => {
      bench.link.say(ask(8));
      bench.clock.advance(9_999);
      expect(bench.link.sent).to.deep.equal([]);
      expect(bench.observer.drops).to.deep.equal([]);
      bench.clock.advance(1);
      expect(bench.link.last).to.deep.include({ id: 8 });
      expect(bench.link.last.error).to.have.property('code', -32000);
      expect(bench.observer.drops).to.deep.equal(['no-stream']);
    });

    it('that came before any stream go to the first one, each once, and the latest has its own ten seconds', () => {
      bench.link.say(ask(1));
      bench.clock.advance(6_000);
      bench.link.say(ask(2));
      bench.clock.advance(4_000);
      expect(bench.link.sent.map(({ id }) => id)).to.deep.equal([1]);
      const [first, second] = [listen(), listen()];
      expect([first.messages.length, second.messages.length]).to.deep.equal([1, 0]);
      bench.clock.advance(10_000);
      expect(bench.link.sent).to.have.length(1);
    });

    it('that came before any stream go with the first call', () => {
      bench.link.say(ask(1));
      const { sink } = begin(1);
      expect(sink.messages).to.have.length(1);
    });

    it('that the child withdraws while they wait go to nobody', () => {
      bench.link.say(ask(1));
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
      expect(listen().messages).to.deep.equal([]);
      bench.clock.advance(10_000);
      expect(bench.link.sent).to.deep.equal([]);
    });

    it('that are too long to wait get an error at once', () => {
      const long = { ...ask(1), params: { text: 'x'.repeat(65_536) } };
      bench.link.say(long);
      expect(bench.link.last).to.have.property('id', 1);
      expect(bench.observer.drops).to.deep.equal(['no-stream']);
    });

    it('go to the next stream when the first is gone, and get an error when none is left', async () => {
      const [older, newer] = [listen(), listen()];
      newer.gone = true;
      bench.link.say(ask(1));
      await settle();
      expect(older.messages).to.have.length(1);
      older.gone = true;
      bench.link.say(ask(2));
      await settle();
      expect(bench.link.last).to.deep.include({ id: 2 });
      expect(bench.observer.drops).to.deep.equal(['stream-gone']);
    });

    it('that were answered while their stream failed get no second answer', async () => {
      const stream = listen();
      let fail: (reason: Error) => void = () => undefined;
      stream.gate = new Promise((_resolve, reject) => (fail = reject));
      bench.link.say(ask(1));
      await bench.channel.answer({ jsonrpc: '2.0', id: stream.last.id as string, result: {} });
      fail(new Error('gone'));
      await settle();
      expect(bench.link.sent).to.have.length(1);
    });

    it('that the child cancels are cancelled at the client on the same stream', () => {
      const { sink } = begin(1);
      bench.link.say(ask(5));
      const id = sink.last.id as string;
      listen();
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 5, reason: 'enough' } });
      expect(sink.last).to.deep.equal({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { requestId: id, reason: 'enough' },
      });
    });

    it('that are over cannot be cancelled [2024-11-05/cancellation/1]', async () => {
      const stream = listen();
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 5 } });
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/cancelled' });
      bench.link.say(ask(5));
      stream.gone = true;
      bench.link.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 5 } });
      await settle();
      expect(bench.observer.drops).to.deep.equal(['late-answer', 'late-answer', 'stream-gone']);
    });

    it('that nobody answers time out at both sides', () => {
      const stream = listen();
      bench.link.say(ask(1));
      bench.clock.advance(30_000);
      bench.link.say(ask(2));
      bench.clock.advance(30_000);
      expect(bench.link.sent).to.have.length(1);
      expect(bench.link.last).to.deep.include({ id: 1 });
      expect(bench.link.last.error).to.have.property('code', -32001);
      expect(stream.last).to.deep.equal({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { requestId: stream.messages[0]?.id as string, reason: 'deadline' },
      });
      bench.clock.advance(30_000);
      expect(bench.link.last).to.deep.include({ id: 2 });
    });

    it('are refused beyond a bound', () => {
      const stream = listen();
      for (let id = 0; id < 65; id += 1) bench.link.say(ask(id));
      expect(stream.messages).to.have.length(64);
      expect(bench.link.last).to.deep.include({ id: 64 });
      expect(bench.observer.drops).to.deep.equal(['overflow']);
    });

    it('keep their place and their digits whichever way the child writes them', () => {
      const stream = listen();
      bench.link.push('{"method":"roots/list","params":{"n":1.0},"jsonrpc":"2.0","id":1}\n');
      bench.link.push('{"jsonrpc": "2.0", "id": 2, "method": "roots/list", "params": {"n": 1.0}}\n');
      expect(stream.texts).to.deep.equal([
        '{"method":"roots/list","params":{"n":1.0},"jsonrpc":"2.0","id":"r0.1.n1"}',
        '{"jsonrpc":"2.0","id":"r0.2.n2","method":"roots/list","params":{"n":1.0}}',
      ]);
    });
  });
});
