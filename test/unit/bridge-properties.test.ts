import { expect } from 'chai';
import fc from 'fast-check';
import type { Channel } from '../../src/bridge/contract';
import { cites } from '../requirements';
import { aRequest, openBench } from '../support/channel';
import { FakeSink, settle, type Sent } from '../support/fake-link';

const PARAMS = { numRuns: Number(process.env.FC_RUNS ?? 20) };

/** A client among several that share one session and count their ids from the same number. */
interface Client {
  readonly name: string;
  readonly calls: { readonly n: number; readonly sink: FakeSink; readonly done: Promise<void> }[];
}

const tokenOf = (sent: Sent): string => (sent.params._meta as { progressToken: string }).progressToken;

describe('channel, by property', () => {
  it('1,000 interleaved calls of several clients with the same ids and tokens never cross', async function () {
    cites('2024-11-05/messages/5', '2024-11-05/progress/2');
    this.timeout(60_000);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 6 }),
        fc.array(fc.nat(), { minLength: 200, maxLength: 400 }),
        fc.integer({ min: 1, max: 40_000 }),
        async (clientCount, choices, chunk) => {
          const { channel, link, observer } = openBench();
          const clients: Client[] = [...Array(clientCount).keys()].map((i) => ({ name: `c${String(i)}`, calls: [] }));
          const open: Sent[] = [];
          const out: string[] = [];
          const say = (message: object): void => void out.push(`${JSON.stringify(message)}\n`);
          let turn = 0;
          const choose = (below: number): number => (choices[turn++ % choices.length] ?? 0) % below;
          const flush = (): void => {
            const bytes = Buffer.from(out.splice(0).join(''));
            for (let at = 0; at < bytes.length; at += chunk) link.push(bytes.subarray(at, at + chunk));
          };
          const answerOne = (): void => {
            const [sent] = open.splice(choose(open.length), 1);
            if (sent === undefined) return;
            const { who, n } = sent.params as { who: string; n: number };
            for (let i = choose(3); i > 0; i -= 1) {
              say({
                jsonrpc: '2.0',
                method: 'notifications/progress',
                params: { progressToken: tokenOf(sent), progress: i, message: `${who}${String(n)}` },
              });
            }
            say({ jsonrpc: '2.0', id: sent.id, result: { who, n } });
          };
          for (let made = 0; made < 1_000; made += 1) {
            const client = clients[choose(clientCount)];
            const n = client.calls.length;
            const sink = new FakeSink();
            const params = { who: client.name, n, _meta: { progressToken: n } };
            client.calls.push({ n, sink, done: channel.call(aRequest(n, 'tools/call', params), sink) });
            open.push(link.last);
            while (open.length > 0 && choose(3) === 0) answerOne();
            if (choose(5) === 0) flush();
          }
          while (open.length > 0) answerOne();
          flush();
          for (const { name, calls } of clients) {
            for (const { n, sink, done } of calls) {
              await done;
              const answer = sink.messages.pop();
              expect(answer).to.deep.equal({ jsonrpc: '2.0', id: n, result: { who: name, n } });
              for (const { params } of sink.messages) {
                expect(params).to.deep.include({ progressToken: n, message: `${name}${String(n)}` });
              }
            }
          }
          expect(observer.drops).to.deep.equal([]);
          expect(channel.inFlight).to.equal(0);
          await channel.close();
        },
      ),
      PARAMS,
    );
  });

  it('answers every call exactly once whatever happens to it, and ends with nothing left', async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.constant('call' as const) },
      { weight: 5, arbitrary: fc.constant('answer' as const) },
      { weight: 1, arbitrary: fc.constantFrom('cancel', 'gone', 'noise', 'ask', 'twice', 'late', 'wait') },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(step, fc.nat()), { maxLength: 120 }),
        fc.constantFrom('exit', 'close', 'answer-all'),
        async (steps, finale) => {
          const { channel, link, clock, observer } = openBench();
          const begun: { id: number; sink: FakeSink; sent: Sent; done: Promise<void>; fate?: string }[] = [];
          const open: typeof begun = [];
          const pick = (n: number) => open.splice(n % Math.max(1, open.length), 1)[0];
          for (const [what, n] of steps) {
            if (what === 'call') {
              const sink = new FakeSink();
              const id = begun.length;
              const done = channel.call(aRequest(id), sink);
              const call = { id, sink, sent: link.last, done };
              begun.push(call);
              open.push(call);
            } else if (what === 'noise') {
              link.push(`noise ${String(n)}\n`);
            } else if (what === 'ask') {
              link.say({ jsonrpc: '2.0', id: n, method: 'roots/list' });
            } else if (what === 'wait') {
              clock.advance(n % 30_000);
              for (let i = open.length - 1; i >= 0; i -= 1) if (isAnswered(open[i])) open.splice(i, 1);
            } else {
              const call = pick(n);
              if (call === undefined) continue;
              if (what === 'cancel') {
                call.fate = 'cancelled';
                await cancel(channel, call.id);
              } else if (what === 'gone') {
                call.fate = 'gone';
                call.sink.gone = true;
                link.reply(call.sent);
              } else {
                link.reply(call.sent);
                if (what === 'twice') link.reply(call.sent);
              }
            }
          }
          if (finale === 'answer-all') for (const { sent } of open) link.reply(sent);
          if (finale === 'exit') link.exit({ reason: 'killed' });
          await channel.close();
          await Promise.all(begun.map(({ done }) => done));
          await settle();
          for (const { id, sink, fate } of begun) {
            const answers = sink.messages.filter((message) => !('method' in message));
            expect(answers.map((answer) => answer.id as number)).to.deep.equal(fate === undefined ? [id] : []);
          }
          expect(observer.calls).to.have.length(begun.length);
          expect([channel.inFlight, clock.timers]).to.deep.equal([0, 0]);
          expect(observer.faults).to.deep.equal([]);
        },
      ),
      { numRuns: 5 * PARAMS.numRuns },
    );
  });

  it('survives any bytes from a child', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.uint8Array({ maxLength: 200 }),
            fc.json().map((text) => Buffer.from(`${text}\n`)),
            hostile(),
          ),
          {
            maxLength: 30,
          },
        ),
        (chunks) => {
          const { channel, link, observer } = openBench({ maxLineBytes: 300 });
          channel.listen(new FakeSink());
          void channel.call(aRequest(1, 'tools/call', { _meta: { progressToken: 1 } }), new FakeSink());
          for (const chunk of chunks) link.push(Buffer.from(chunk));
          expect(observer.faults).to.deep.equal([]);
          link.exit({ reason: 'exited' });
        },
      ),
      { numRuns: 20 * PARAMS.numRuns },
    );
  });
});

/** Lines that look like messages but for some member. */
function hostile(): fc.Arbitrary<Buffer> {
  const member = fc.oneof(
    fc.jsonValue({ maxDepth: 1 }),
    fc.constantFrom('i0.1.n1', 'p0.1.n1', 'r0.1.n1', 't0.9.x', '2.0'),
  );
  const method = fc.oneof(
    member,
    fc.constantFrom(
      'ping',
      'notifications/progress',
      'notifications/cancelled',
      'notifications/message',
      'x/list_changed',
    ),
  );
  const params = fc.oneof(member, fc.record({ progressToken: member, requestId: member }, { requiredKeys: [] }));
  return fc
    .record(
      {
        jsonrpc: fc.oneof({ weight: 4, arbitrary: fc.constant('2.0') }, member),
        id: member,
        method,
        params,
        result: member,
        error: member,
      },
      { requiredKeys: [] },
    )
    .map((message) => Buffer.from(`${JSON.stringify(message)}\n`));
}

function isAnswered(call: { sink: FakeSink } | undefined): boolean {
  return call?.sink.messages.some((message) => !('method' in message)) ?? false;
}

function cancel(channel: Channel, requestId: number): Promise<void> {
  return channel.notify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } });
}
