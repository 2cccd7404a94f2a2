/** Streams that outlive their connections: priming, event ids, resuming, bounds, and races of all of it (MCP 2025-11-25, 'Resumability and Redelivery'). */
import { expect } from 'chai';
import fc from 'fast-check';
import { cites } from '../requirements';
import type { ServerEvent } from '../support/event-stream';
import { settle, type FakeLink, type Sent } from '../support/fake-link';
import {
  ask,
  INITIALIZE,
  rawEventsOf,
  startApp,
  stream,
  type Changes,
  type GatewayApp,
  type Stream,
} from '../support/gateway-app';
import { until } from '../support/until';

const CALL = { jsonrpc: '2.0', id: 'call', method: 'tools/call', params: { name: 'x' } };
const RUNS = { numRuns: Number(process.env.FC_RUNS ?? 10) };

const note = (n: number, data = ''): object => ({
  jsonrpc: '2.0',
  method: 'notifications/message',
  params: { level: 'info', data, n },
});

/** What the events say, without ids: `n` of a note, `answer`, `error`, `lost`, or a method. */
const saying = (events: readonly ServerEvent[]): (string | number)[] =>
  events
    .filter(({ data }) => data !== '')
    .map(({ data }) => JSON.parse(data) as { params?: { n?: number; logger?: string }; method?: string })
    .map((message) => {
      if ('result' in message) return 'answer';
      if ('error' in message) return (message.error as { data: { code: string } }).data.code;
      return message.params?.n ?? (message.params?.logger === 'gateway' ? 'lost' : String(message.method));
    });

const lastId = (events: readonly ServerEvent[]): string => events.filter(({ id }) => id !== undefined).at(-1)?.id ?? '';

describe('resuming streams', () => {
  let app: GatewayApp;
  let id: string;
  let child: FakeLink;
  const open = async (version = '2025-11-25'): Promise<string> => {
    const body = { ...INITIALIZE, params: { ...INITIALIZE.params, protocolVersion: version } };
    const answer = await ask(app, { body });
    return String(answer.headers['mcp-session-id']);
  };
  const start = async (changes: Changes = {}, version?: string): Promise<void> => {
    app = await startApp({ primeMs: 1, ...changes });
    id = await open(version);
    child = app.children[0];
  };
  afterEach(() => app.close());

  const headers = (more: Record<string, string> = {}) => ({ 'mcp-session-id': id, ...more });
  const next = (): Promise<Sent> =>
    new Promise((resolve) => {
      child.onMessage = resolve;
    });
  const away = (count = 0): Promise<boolean> =>
    until('the connections to be gone', async () => app.streams.size === count);
  /** Makes a call whose stream is open; gives what the child was asked as well. */
  const call = async (): Promise<[Stream, Sent]> => {
    const asked = next();
    const answer = await stream(app, { method: 'POST', headers: headers(), body: CALL });
    return [answer, await asked];
  };
  const resume = (eventId: string): Promise<Stream> => stream(app, { headers: headers({ 'last-event-id': eventId }) });
  const whole = async (one: Stream): Promise<ServerEvent[]> => {
    await one.ended;
    return rawEventsOf(one.text());
  };

  describe('the stream of a call', () => {
    it('is JSON when the answer comes at once, with nothing kept', async () => {
      await start({ primeMs: 5_000 });
      const answer = await ask(app, { headers: headers(), body: CALL });
      expect(answer.headers['content-type']).to.equal('application/json');
      expect(app.kept.size).to.equal(0);
    });

    it('is primed from 2025-11-25 on: an event with an id, a retry and no data comes first', async () => {
      await start();
      const [answer, asked] = await call();
      await answer.shows(/\n\n/);
      child.reply(asked);
      const events = await whole(answer);
      expect(events[0]).to.deep.equal({ id: 'p1.0', retry: '1000', data: '' });
      expect(saying(events)).to.deep.equal(['answer']);
      expect(events[1]?.id).to.equal('p1.1');
    });

    for (const version of ['2024-11-05', '2025-03-26', '2025-06-18']) {
      it(`has no event without data in ${version}, whatever the header says, but ids`, async () => {
        await start({ jsonMs: 5 }, version);
        const asked = next();
        const more = headers({ 'mcp-protocol-version': '2025-11-25' });
        const answer = await stream(app, { method: 'POST', headers: more, body: CALL });
        child.reply(await asked);
        const events = await whole(answer);
        expect(events.map(({ data }) => data)).to.not.include('');
        expect(events.map((event) => event.id)).to.deep.equal(['p1.1']);
      });
    }

    it('is primed for a client that names no revision but negotiated 2025-11-25', async () => {
      await start();
      const [answer, asked] = await call();
      child.reply(asked);
      expect((await whole(answer))[0]?.data).to.equal('');
    });

    it('goes on without its client, which fetches what it missed and the answer, and then it ends', async () => {
      await start();
      const [answer, asked] = await call();
      child.say(note(1));
      await answer.shows(/"n":1/);
      answer.drop();
      await away();
      child.say(note(2));
      child.reply(asked);
      const events = await whole(await resume(lastId(rawEventsOf(answer.text()))));
      expect(saying(events)).to.deep.equal([2, 'answer']);
      expect(events.map((event) => event.id)).to.deep.equal(['p1.1', 'p1.2', 'p1.3']);
      expect(events[0]).to.deep.equal({ id: 'p1.1', retry: '1000', data: '' });
    });

    it('goes on live on the connection that resumed it', async () => {
      await start();
      const [answer, asked] = await call();
      await answer.shows(/\n\n/);
      answer.drop();
      await away();
      child.say(note(1));
      const resumed = await resume('p1.0');
      await resumed.shows(/"n":1/);
      child.say(note(2));
      child.reply(asked);
      expect(saying(await whole(resumed))).to.deep.equal([1, 2, 'answer']);
    });

    it('gives its answer again when it was sent but may have been lost, as often as it is asked for', async () => {
      await start();
      const [answer, asked] = await call();
      child.say(note(1));
      child.reply(asked);
      expect(saying(await whole(answer))).to.deep.equal([1, 'answer']);
      for (let i = 0; i < 3; i += 1) expect(saying(await whole(await resume('p1.0')))).to.deep.equal([1, 'answer']);
      expect(saying(await whole(await resume('p1.1')))).to.deep.equal(['answer']);
    });

    it('answers 204 to who had everything, so that the client does not come back for ever', async () => {
      await start();
      const [answer, asked] = await call();
      child.reply(asked);
      await answer.ended;
      expect((await ask(app, { method: 'GET', headers: headers({ 'last-event-id': 'p1.1' }) })).status).to.equal(204);
    });

    it('answers 204 after a cancellation', async () => {
      await start();
      const [answer] = await call();
      const cancel = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'call' } };
      expect((await ask(app, { headers: headers(), body: cancel })).status).to.equal(202);
      await answer.ended;
      expect((await ask(app, { method: 'GET', headers: headers({ 'last-event-id': 'p1.0' }) })).status).to.equal(204);
    });

    it('belongs to the newer of two connections; the older one ends', async () => {
      await start();
      const [answer, asked] = await call();
      child.say(note(1));
      await answer.shows(/"n":1/);
      const newer = await resume('p1.0');
      await answer.ended;
      child.say(note(2));
      child.reply(asked);
      expect(saying(await whole(newer))).to.deep.equal([1, 2, 'answer']);
      expect(saying(rawEventsOf(answer.text()))).to.deep.equal([1]);
    });

    it('is resumed by one of 50 connections at once, the last, and each of the others ends', async () => {
      await start();
      const [answer, asked] = await call();
      for (let i = 1; i <= 100; i += 1) child.say(note(i));
      await answer.shows(/"n":100/);
      const all = await Promise.all(Array.from({ length: 50 }, (_, i) => resume(`p1.${String(i)}`)));
      await until('the others to end', async () => app.streams.size === 1);
      child.reply(asked);
      const said = await Promise.all(all.map(async (one) => saying(await whole(one))));
      expect(said.filter((each) => each.includes('answer'))).to.have.length(1);
      said.forEach((each, i) => {
        const from = Array.from({ length: 100 - i }, (_, n) => i + n + 1);
        expect(each.filter((what) => what !== 'answer')).to.deep.equal(from);
      });
    });

    for (const [what, eventId] of Object.entries({
      'no event id': 'x',
      'a stream that never was': 'p9.0',
      'an event that never was': 'p1.99',
      'something with a line end': 'p1.0%0A',
      'a huge number': 'p1.99999999999999999999',
    })) {
      it(`answers 400 to ${what}`, async () => {
        await start();
        const [answer, asked] = await call();
        const refused = await ask(app, { method: 'GET', headers: headers({ 'last-event-id': eventId }) });
        expect(refused.status).to.equal(400);
        expect(refused.json.error.data.code).to.equal('EVENT_UNKNOWN');
        child.reply(asked);
        await answer.ended;
      });
    }

    it("is never another session's, nor another user's", async () => {
      await start();
      const [answer, asked] = await call();
      await answer.shows(/\n\n/);
      const other = await open();
      const mine = await ask(app, { method: 'GET', headers: { 'mcp-session-id': other, 'last-event-id': 'p1.0' } });
      expect(mine.status).to.equal(400);
      const stolen = await ask(app, {
        method: 'GET',
        headers: headers({ 'last-event-id': 'p1.0', authorization: 'Bearer bob' }),
      });
      expect(stolen.status).to.equal(403);
      child.reply(asked);
      expect(saying(await whole(answer))).to.deep.equal(['answer']);
    });

    it('is gone with its session', async () => {
      await start();
      const [answer] = await call();
      await answer.shows(/\n\n/);
      answer.drop();
      await away();
      child.exit({ reason: 'exited', code: 0 });
      await until('what was kept to be gone', async () => app.kept.size === 0);
      const refused = await ask(app, { method: 'GET', headers: headers({ 'last-event-id': 'p1.0' }) });
      expect(refused.status).to.equal(404);
      expect(app.kept.bytes).to.equal(0);
    });

    it('keeps its name in the ids that the child sees', async () => {
      await start();
      const [answer, asked] = await call();
      expect(asked.id).to.match(/^ip1\./);
      child.reply(asked);
      await answer.ended;
    });
  });

  describe('bounds', () => {
    const big = 'x'.repeat(1_000);

    it('tells of messages that were too many while the client was away, does not stall the child, and keeps the answer', async () => {
      await start({ replay: { maxStreamBytes: 10_000 } });
      const [answer, asked] = await call();
      await answer.shows(/\n\n/);
      answer.drop();
      await away();
      for (let i = 1; i <= 100; i += 1) child.say(note(i, big));
      await settle();
      expect(child.paused).to.equal(false);
      child.reply(asked);
      const said = saying(await whole(await resume('p1.0')));
      expect(said[0]).to.equal('lost');
      expect(said.at(-1)).to.equal('answer');
      const kept = said.slice(1, -1);
      expect(kept).to.deep.equal(kept.map((_, i) => i + 1));
      expect(app.kept.bytes).to.be.at.most(10_000);
    });

    it('gives an answer the place of all messages that were kept', async () => {
      await start({ replay: { maxStreamBytes: 10_000 } });
      const [answer, asked] = await call();
      await answer.shows(/\n\n/);
      answer.drop();
      await away();
      for (let i = 1; i <= 9; i += 1) child.say(note(i, big));
      child.reply(asked, { data: 'y'.repeat(9_000) });
      expect(saying(await whole(await resume('p1.0')))).to.deep.equal(['lost', 'answer']);
    });

    it('answers with an error where the answer was too long to keep', async () => {
      await start({ replay: { maxStreamBytes: 10_000 } });
      const [answer, asked] = await call();
      await answer.shows(/\n\n/);
      answer.drop();
      await away();
      child.say(note(1));
      child.reply(asked, { data: 'y'.repeat(20_000) });
      const events = await whole(await resume('p1.0'));
      expect(saying(events)).to.deep.equal(['lost', 'ANSWER_LOST']);
      expect(JSON.parse(events.at(-1)?.data ?? '')).to.include({ id: 'call' });
    });

    it('hands an answer over that is too long to keep while the client is there', async () => {
      await start({ replay: { maxStreamBytes: 10_000 } });
      const [answer, asked] = await call();
      child.reply(asked, { data: 'y'.repeat(200_000) });
      const events = await whole(answer);
      expect(saying(events)).to.deep.equal(['answer']);
      expect(saying(await whole(await resume('p1.0')))).to.deep.equal(['ANSWER_LOST']);
    });

    it('keeps the newest of what was sent, and tells a client that comes back for more', async () => {
      await start({ replay: { maxStreamBytes: 10_000 } });
      const [answer, asked] = await call();
      for (let i = 1; i <= 100; i += 1) child.say(note(i, big));
      await answer.shows(/"n":100/);
      const resumed = await resume('p1.98');
      await resumed.shows(/"n":100/);
      const late = await resume('p1.0');
      child.reply(asked);
      expect(saying(await whole(resumed))).to.deep.equal([99, 100]);
      const said = saying(await whole(late));
      expect(said[0]).to.equal('lost');
      expect(said.slice(-3)).to.deep.equal([99, 100, 'answer']);
    });

    it('lets go of streams that were read before what a session keeps is too much', async () => {
      await start({ replay: { maxStreamBytes: 10_000, maxSessionBytes: 15_000 } });
      for (let i = 1; i <= 4; i += 1) {
        const [answer, asked] = await call();
        child.reply(asked, { data: 'y'.repeat(6_000) });
        await answer.ended;
      }
      expect(app.kept.bytes).to.be.within(6_000, 15_000);
      expect(saying(await whole(await resume('p1.0')))).to.deep.equal(['ANSWER_LOST']);
      expect(saying(await whole(await resume('p4.0')))).to.deep.equal(['answer']);
    });

    it('holds over all sessions together', async () => {
      await start({ replay: { maxBytes: 12_000 } });
      const first = id;
      for (let i = 1; i <= 6; i += 1) {
        const [answer, asked] = await call();
        child.reply(asked, { data: 'y'.repeat(5_000) });
        await answer.ended;
        if (i === 3) {
          id = await open();
          child = app.children[1];
        }
      }
      expect(app.kept.bytes).to.be.at.most(12_000);
      id = first;
      expect(saying(await whole(await resume('p3.0')))).to.deep.equal(['answer']);
    });

    it('keeps a number of streams, and those with calls in flight beyond it', async () => {
      await start({ replay: { maxStreams: 3 } });
      const running: Awaited<ReturnType<typeof call>>[] = [];
      for (let i = 0; i < 5; i += 1) running.push(await call());
      expect(app.kept.size).to.equal(5);
      for (const [, asked] of running) child.reply(asked);
      await Promise.all(running.map(([answer]) => answer.ended));
      const [answer, asked] = await call();
      child.reply(asked);
      await answer.ended;
      expect(app.kept.size).to.be.at.most(5);
      expect(saying(await whole(await resume('p6.0')))).to.deep.equal(['answer']);
    });

    it('gives up what was kept for long enough, says so in the place of the answer, and forgets that at last', async () => {
      await start({ replay: { keepMs: 60_000 } });
      const [answer, asked] = await call();
      child.say(note(1));
      child.reply(asked);
      await answer.ended;
      await away();
      app.kept.sweep(performance.now() + 50_000);
      expect(saying(await whole(await resume('p1.0')))).to.deep.equal([1, 'answer']);
      await away();
      app.kept.sweep(performance.now() + 61_000);
      expect(app.kept.bytes).to.equal(0);
      expect(saying(await whole(await resume('p1.0')))).to.deep.equal(['lost', 'ANSWER_LOST']);
      await away();
      app.kept.sweep(performance.now() + 250_000);
      expect(app.kept.size).to.equal(0);
      expect((await ask(app, { method: 'GET', headers: headers({ 'last-event-id': 'p1.0' }) })).status).to.equal(400);
    });

    it('never gives up the stream of a call that still runs', async () => {
      await start({ replay: { keepMs: 60_000 } });
      const [answer, asked] = await call();
      await answer.shows(/\n\n/);
      answer.drop();
      await away();
      child.say(note(1));
      app.kept.sweep(performance.now() + 86_400_000);
      child.reply(asked);
      expect(saying(await whole(await resume('p1.0')))).to.deep.equal([1, 'answer']);
    });
  });

  describe('a GET stream', () => {
    const listen = async (): Promise<Stream> => stream(app, { headers: headers() });

    it('is primed from 2025-11-25 on, and its events have ids', async () => {
      await start();
      const listening = await listen();
      child.say(note(1));
      await listening.shows(/"n":1/);
      expect(rawEventsOf(listening.text()).map((event) => event.id)).to.deep.equal(['g1.0', 'g1.1']);
    });

    it('has ids but no event without data before 2025-11-25', async () => {
      await start({}, '2025-03-26');
      const listening = await listen();
      child.say(note(1));
      await listening.shows(/"n":1/);
      expect(rawEventsOf(listening.text()).map((event) => event.id)).to.deep.equal(['g1.1']);
    });

    it('gives what was sent and lost, and what came meanwhile, to the client that comes back, and goes on', async () => {
      await start();
      const listening = await listen();
      child.say(note(1));
      child.say(note(2));
      await listening.shows(/"n":2/);
      listening.drop();
      await away();
      child.say(note(3));
      const resumed = await resume('g1.1');
      child.say(note(4));
      await resumed.shows(/"n":4/);
      expect(saying(rawEventsOf(resumed.text()))).to.deep.equal([2, 3, 4]);
    });

    it('is the newest one when it was resumed', async () => {
      await start();
      const first = await listen();
      await first.shows(/\n\n/);
      const second = await listen();
      first.drop();
      await away(1);
      const resumed = await resume('g1.0');
      child.say(note(1));
      await resumed.shows(/"n":1/);
      expect(saying(rawEventsOf(second.text()))).to.deep.equal([]);
    });

    it('gets nothing while its client is away and another one is there', async () => {
      await start();
      const other = await listen();
      const listening = await listen();
      await listening.shows(/\n\n/);
      listening.drop();
      await away(1);
      child.say(note(1));
      await other.shows(/"n":1/);
      const resumed = await resume('g2.0');
      child.say(note(2));
      await resumed.shows(/"n":2/);
      expect(saying(rawEventsOf(resumed.text()))).to.deep.equal([2]);
    });

    it('hands what waited over to a new one, whose client could not say where it was', async () => {
      await start({}, '2025-06-18');
      const listening = await listen();
      listening.drop();
      await away();
      child.say(note(1));
      const fresh = await listen();
      child.say(note(2));
      await fresh.shows(/"n":2/);
      expect(saying(rawEventsOf(fresh.text()))).to.deep.equal([1, 2]);
      expect(saying(rawEventsOf((await resume('g1.0')).text()))).to.deep.equal([]);
    });

    it('goes on after more came than is kept, and its client is told', async () => {
      await start({ replay: { maxStreamBytes: 5_000 } });
      const listening = await listen();
      await listening.shows(/\n\n/);
      listening.drop();
      await away();
      for (let i = 1; i <= 20; i += 1) child.say(note(i, 'x'.repeat(1_000)));
      const resumed = await resume('g1.0');
      child.say(note(99));
      await resumed.shows(/"n":99/);
      const said = saying(rawEventsOf(resumed.text()));
      expect(said[0]).to.equal('lost');
      expect(said.at(-1)).to.equal(99);
    });

    it('is begun anew when it is not kept any more, and its client is told', async () => {
      await start({ replay: { keepMs: 60_000 } });
      const listening = await listen();
      await listening.shows(/\n\n/);
      listening.drop();
      await away();
      app.kept.sweep(performance.now() + 61_000);
      expect(app.kept.size).to.equal(0);
      const fresh = await resume('g1.0');
      child.say(note(1));
      await fresh.shows(/"n":1/);
      const events = rawEventsOf(fresh.text());
      expect(events[0]?.id).to.equal('g2.0');
      expect(saying(events)).to.deep.equal(['lost', 1]);
    });

    it('is told when to come back where it has to make place for a fifth, and can be resumed', async () => {
      cites('2025-11-25/transports/33');
      await start();
      const first = await listen();
      await first.shows(/\n\n/);
      for (let i = 0; i < 4; i += 1) await (await listen()).shows(/\n\n/);
      await first.ended;
      expect(rawEventsOf(first.text()).at(-1)).to.deep.equal({ retry: '1000', data: '' });
      const resumed = await resume('g1.0');
      child.say(note(1));
      await resumed.shows(/"n":1/);
    });

    it('is not told so before 2025-11-25', async () => {
      await start({}, '2025-06-18');
      const first = await listen();
      for (let i = 0; i < 4; i += 1) await listen();
      await first.ended;
      expect(first.text()).to.equal('');
    });

    it('carries no answer of a call', async () => {
      await start();
      const listening = await listen();
      const [answer, asked] = await call();
      await answer.shows(/\n\n/);
      answer.drop();
      await away(1);
      child.reply(asked);
      expect(saying(await whole(await resume('p2.0')))).to.deep.equal(['answer']);
      expect(saying(rawEventsOf(listening.text()))).to.deep.equal([]);
    });
  });

  it('loses nothing, doubles nothing and crosses nothing, whenever connections break, by property', async function () {
    cites('2025-03-26/transports/28', '2025-03-26/transports/31');
    this.timeout(120_000);
    const step = fc.oneof(
      fc.record({ do: fc.constant('say' as const), which: fc.nat(3) }),
      fc.record({ do: fc.constant('drop' as const), which: fc.nat(3) }),
      fc.record({ do: fc.constant('resume' as const), which: fc.nat(3) }),
    );
    await start({ maxCallsInFlight: 8 });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
        const calls = await Promise.all(
          Array.from({ length: 4 }, async (_, i) => {
            const body = { ...CALL, id: i, params: { ...CALL.params, i, _meta: { progressToken: i } } };
            const asked: Promise<Sent> = new Promise((resolve) => {
              const before = child.onMessage;
              child.onMessage = (message) =>
                message.params?.i === i && message.method === 'tools/call' ? resolve(message) : before(message);
            });
            const first = await stream(app, { method: 'POST', headers: headers(), body });
            await first.shows(/\n\n/);
            return { asked: await asked, conn: first, taken: [] as ServerEvent[], said: 0 };
          }),
        );
        child.onMessage = () => undefined;
        type One = (typeof calls)[number];
        /** What a client has got of a stream, and where it goes on from: whole events of the connections in their order. */
        const take = (one: One): string => {
          one.taken.push(...rawEventsOf(one.conn.text()));
          return lastId(one.taken);
        };
        const renew = async (one: One): Promise<void> => {
          one.conn.drop();
          one.conn = await resume(take(one));
        };
        const progress = (one: One): void => {
          one.said += 1;
          const { progressToken } = one.asked.params._meta as { progressToken: string };
          child.say({
            jsonrpc: '2.0',
            method: 'notifications/progress',
            params: { progressToken, progress: one.said, n: one.said },
          });
        };
        await Promise.all(
          calls.map(async (one, i) => {
            for (const { do: what } of steps.filter(({ which }) => which === i)) {
              if (what === 'say') progress(one);
              else if (what === 'drop') one.conn.drop();
              else await renew(one);
              await new Promise((resolve) => setImmediate(resolve));
            }
            child.reply(one.asked, { i });
          }),
        );
        for (const [i, one] of calls.entries()) {
          one.conn.drop();
          await one.conn.ended;
          const last = take(one);
          const rest = await ask(app, { method: 'GET', headers: headers({ 'last-event-id': last }) });
          if (rest.status !== 204) one.taken.push(...rawEventsOf(rest.text));
          const wanted = [...Array.from({ length: one.said }, (_, n) => n + 1), 'answer'];
          expect(saying(one.taken)).to.deep.equal(wanted);
          expect(JSON.parse(one.taken.at(-1)?.data ?? '')).to.deep.equal({ jsonrpc: '2.0', id: i, result: { i } });
        }
      }),
      RUNS,
    );
  });
});
