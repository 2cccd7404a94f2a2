/** Random sequences of operations against a model of what the registry promises. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AppError } from '../../src/errors';
import type { EndReason, SessionHandle } from '../../src/sessions/ports';
import { aRequest } from '../support/channel';
import { anAuth, aServer, refusal, SessionBench, type FakeStart } from '../support/fake-sessions';
import { FakeSink, settle } from '../support/fake-link';

const RUNS = Number(process.env.FC_RUNS ?? 60);
const USERS = 3;
const MAX_PER_USER = 2;
const MAX_TOTAL = 4;
const SWEEP_MS = 30_000;
const IDLE_MS = 100_000;
const server = aServer({ idleTimeout: IDLE_MS / 1000, callTimeout: 1_000_000 });

/** A session as the model sees it. */
interface ModelSession {
  readonly user: number;
  readonly id: string;
  start: FakeStart;
  readonly open: {
    readonly handle: SessionHandle;
    readonly sink: FakeSink;
    readonly call: Promise<void>;
    readonly n: number;
  }[];
  lastUse: number;
  /** It has no child. */
  asleep: boolean;
  over: EndReason | undefined;
}

type Step = readonly [
  'open' | 'openFails' | 'openGone' | 'call' | 'answer' | 'foreign' | 'delete' | 'exit' | 'lose' | 'wait' | 'store',
  number,
];

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.tuple(
    fc.constantFrom<Step[0]>(
      'open',
      'open',
      'openFails',
      'openGone',
      'call',
      'call',
      'answer',
      'foreign',
      'delete',
      'exit',
      'lose',
      'wait',
      'wait',
      'store',
    ),
    fc.nat(),
  ),
  { minLength: 1, maxLength: 80, size: 'max' },
);

class Model {
  readonly bench = new SessionBench({ maxPerUser: MAX_PER_USER, maxTotal: MAX_TOTAL, sweepInterval: SWEEP_MS / 1000 });
  readonly sessions: ModelSession[] = [];
  #counter = 0;

  async run(step: Step): Promise<void> {
    const [what, n] = step;
    await this[what](n);
    await settle();
    this.check();
  }

  /** What must hold after every step. */
  check(): void {
    const live = this.live();
    expect(this.bench.registry.size).to.equal(live.length);
    const awake = this.awake();
    expect(this.bench.running).to.equal(awake.length);
    expect(awake.length).to.be.at.most(MAX_TOTAL);
    for (let user = 0; user < USERS; user += 1) {
      expect(awake.filter((session) => session.user === user).length).to.be.at.most(MAX_PER_USER);
    }
    expect(this.bench.log.last.active ?? 0).to.equal(awake.length);
    expect(this.bench.log.last.hibernated ?? 0).to.equal(live.length - awake.length);
  }

  live(): ModelSession[] {
    return this.sessions.filter(({ over }) => over === undefined);
  }

  awake(): ModelSession[] {
    return this.live().filter(({ asleep }) => !asleep);
  }

  async open(n: number): Promise<void> {
    const user = n % USERS;
    const refused = this.#refusedFor(user);
    try {
      const session = await this.bench.session(anAuth(String(user)), server);
      expect(refused).to.equal(undefined);
      const start = this.bench.startOf(session);
      this.sessions.push({ user, id: session.id, start, open: [], lastUse: this.#now, asleep: false, over: undefined });
    } catch (thrown) {
      expect((thrown as AppError).code).to.equal(refused);
    }
  }

  async openFails(n: number): Promise<void> {
    if (this.#refusedFor(n % USERS) !== undefined) return;
    this.bench.autoStart = false;
    const opening = this.bench.registry
      .open(anAuth(String(n % USERS)), server, new AbortController().signal)
      .catch((e: AppError) => e.code);
    await settle();
    this.bench.lastStart.fail(new AppError('BACKEND_CRASHED', 'crashed'));
    expect(await opening).to.equal('BACKEND_CRASHED');
    this.bench.autoStart = true;
  }

  async openGone(n: number): Promise<void> {
    if (this.#refusedFor(n % USERS) !== undefined) return;
    this.bench.autoStart = n % 2 === 0;
    this.bench.autoInitialize = false;
    const opener = new AbortController();
    const opening = this.bench.registry.open(anAuth(String(n % USERS)), server, opener.signal).catch(() => undefined);
    await settle();
    opener.abort(new Error('gone'));
    this.bench.lastStart.come();
    (await opening)?.release();
    this.bench.autoStart = true;
    this.bench.autoInitialize = true;
  }

  async call(n: number): Promise<void> {
    const session = this.#pick(n);
    if (session === undefined) return;
    const expected = session.over === undefined ? undefined : this.#storeIsAway ? 'STORE_UNAVAILABLE' : 'SESSION_ENDED';
    const refused = session.asleep ? this.#refusedFor(session.user) : undefined;
    try {
      const handle = await this.bench.registry.use(anAuth(String(session.user)), server, session.id);
      expect(expected).to.equal(undefined);
      const sink = new FakeSink();
      const call = handle.call(aRequest(1, 'tools/call', { n: (this.#counter += 1) }), sink);
      handle.release();
      session.lastUse = this.#now;
      if (session.asleep) {
        if (refused !== undefined) {
          expect((await refusal(call)).code).to.equal(refused);
          return;
        }
        await settle();
        session.asleep = false;
        session.start = this.bench.startOf({ name: session.start.request.session });
      }
      session.open.push({ handle, sink, call, n: this.#counter });
    } catch (thrown) {
      if (!(thrown instanceof AppError)) throw thrown;
      expect(thrown.code).to.equal(expected);
    }
  }

  async answer(n: number): Promise<void> {
    const session = this.#pick(n);
    const [open] = session?.open.splice(n % Math.max(1, session.open.length), 1) ?? [];
    if (session === undefined || open === undefined || session.over !== undefined) return;
    const sent = session.start.link.sent.find(({ params }) => params?.n === open.n);
    session.start.link.reply(sent as never, { n: open.n });
    await open.call;
    expect(open.sink.last).to.deep.equal({ jsonrpc: '2.0', id: 1, result: { n: open.n } });
    session.lastUse = this.#now;
  }

  async foreign(n: number): Promise<void> {
    const session = this.#pick(n);
    if (session?.over !== undefined || session === undefined) return;
    const other = anAuth(String((session.user + 1) % USERS));
    const code = await this.bench.registry.use(other, server, session.id).then(
      () => 'served',
      (e: AppError) => e.code,
    );
    expect(code).to.equal('SESSION_FORBIDDEN');
  }

  async delete(n: number): Promise<void> {
    const session = this.#pick(n);
    if (session === undefined || session.over !== undefined) return;
    await this.bench.registry.end(anAuth(String(session.user)), server, session.id);
    await this.#ends(session, 'deleted');
  }

  async exit(n: number): Promise<void> {
    const session = this.#pick(n);
    if (session === undefined || session.over !== undefined || session.asleep) return;
    session.start.link.exit({ reason: 'oom' });
    await this.#ends(session, 'oom');
  }

  async lose(n: number): Promise<void> {
    const session = this.#pick(n);
    if (session === undefined || session.over !== undefined || session.asleep) return;
    session.start.link.exit({ reason: 'deleted' });
    await this.#sleeps(session);
  }

  async wait(n: number): Promise<void> {
    const until = this.#now + ((n * 7_919) % (2 * IDLE_MS));
    for (let sweep = Math.floor(this.#now / SWEEP_MS + 1) * SWEEP_MS; sweep <= until; sweep += SWEEP_MS) {
      this.bench.clock.advance(sweep - this.#now);
      await settle();
      for (const session of this.awake()) {
        if (session.open.length === 0 && sweep - session.lastUse >= IDLE_MS) await this.#sleeps(session);
      }
      this.check();
    }
    this.bench.clock.advance(until - this.#now);
  }

  async store(n: number): Promise<void> {
    this.bench.store.broken = n % 2 === 0;
  }

  async finish(): Promise<void> {
    this.bench.store.broken = false;
    const stopping = this.bench.registry.stop(1_000);
    await settle();
    this.bench.clock.advance(1_000);
    await stopping;
    for (const session of this.live()) await this.#sleeps(session);
    for (const { id, over } of this.sessions) {
      const record = await this.bench.recordOf(id);
      expect(record?.endReason).to.equal(over);
      expect(record?.state).to.equal(over === undefined ? 'hibernated' : 'ended');
    }
    expect([this.bench.registry.size, this.bench.running]).to.deep.equal([0, 0]);
    expect(this.bench.clock.timers).to.equal(0);
    expect(this.bench.channelLog.faults).to.deep.equal([]);
  }

  get #now(): number {
    return this.bench.clock.now();
  }

  get #storeIsAway(): boolean {
    return this.bench.store.broken;
  }

  #pick(n: number): ModelSession | undefined {
    return this.sessions[n % Math.max(1, this.sessions.length)];
  }

  #refusedFor(user: number): string | undefined {
    if (this.awake().filter((session) => session.user === user).length >= MAX_PER_USER) return 'SESSION_CAP_USER';
    if (this.awake().length >= MAX_TOTAL) return 'SESSION_CAP_INSTALL';
    return this.#storeIsAway ? 'STORE_UNAVAILABLE' : undefined;
  }

  async #ends(session: ModelSession, reason: EndReason): Promise<void> {
    session.over = reason;
    await this.#lost(session);
  }

  async #sleeps(session: ModelSession): Promise<void> {
    session.asleep = true;
    await this.#lost(session);
  }

  /** Every call that was in flight is answered: nothing hangs. */
  async #lost(session: ModelSession): Promise<void> {
    for (const { call, sink } of session.open.splice(0)) {
      await call;
      expect(sink.last.error.data.code).to.equal('BACKEND_ENDED');
    }
  }
}

describe('registry, by model', () => {
  it('keeps its promises over every sequence of operations', async function () {
    this.timeout(120_000);
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const model = new Model();
        for (const step of sequence) await model.run(step);
        await model.finish();
      }),
      { numRuns: RUNS },
    );
  });
});
