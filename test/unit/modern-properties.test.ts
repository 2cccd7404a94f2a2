/** Clients that use the same ids, progress tokens and states at the same time, of both eras, at one gateway: nobody ever sees what is another's. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { AuthContext } from '../../src/auth/context';
import type { ClientFacts } from '../../src/bridge/modern/meta';
import { stateSeal } from '../support/state-seal';
import type { SessionHandle } from '../../src/sessions/ports';
import { StatelessTable } from '../../src/sessions/stateless';
import { FakeSink, settle, type FakeLink, type Sent } from '../support/fake-link';
import { anAuth, aServer, SessionBench } from '../support/fake-sessions';
import { ask, open, startApp } from '../support/gateway-app';
import { serverSpec } from '../support/server-spec';
import { toolCall } from '../support/modern-bench';

const RUNS = Number(process.env.FC_RUNS ?? 4);
const META = 'io.modelcontextprotocol/';
const CALLS = 1_000;
/** Calls that all clients together have open at once. */
const OPEN = 24;

type Step = 'progress' | 'log' | 'ask';

/** What a child does for a call, one step at a time. `mark` says whose call it is; everything that the child says of it carries it. */
interface Job {
  readonly link: FakeLink;
  readonly sent: Sent;
  readonly mark: string;
  readonly steps: Step[];
  readonly heard: unknown[];
  asking: string | undefined;
}

/** Children that do their jobs when they are told to. */
class Children {
  readonly jobs: Job[] = [];
  readonly #asked = new Map<string, Job>();
  #asks = 0;

  prepare(link: FakeLink): void {
    link.onMessage = (message) => {
      const { id, method } = message;
      if (method === undefined) this.#answered(message);
      else if (method === 'initialize')
        link.reply(message, { protocolVersion: '2025-11-25', capabilities: { logging: {} } });
      else if (method === 'tools/call') this.#begin(link, message);
      else if (id !== undefined) link.reply(message, {});
    };
  }

  /** Does one step of one job. Returns false where none can go on. */
  step(choose: (below: number) => number): boolean {
    const ready = this.jobs.filter(({ asking }) => asking === undefined);
    const job = ready[choose(ready.length)];
    if (job === undefined) return false;
    const { link, sent, mark, heard } = job;
    const { progressToken } = sent.params._meta as { progressToken: string };
    switch (job.steps.shift()) {
      case 'progress':
        link.say({
          jsonrpc: '2.0',
          method: 'notifications/progress',
          params: { progressToken, progress: 1, message: mark },
        });
        break;
      case 'log':
        link.say({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'error', data: mark } });
        break;
      case 'ask':
        this.#asks += 1;
        job.asking = `ask-${String(this.#asks)}`;
        this.#asked.set(job.asking, job);
        link.say({ jsonrpc: '2.0', id: job.asking, method: 'elicitation/create', params: { message: mark } });
        break;
      case undefined:
        this.jobs.splice(this.jobs.indexOf(job), 1);
        link.reply(sent, { mark, heard });
    }
    return true;
  }

  #begin(link: FakeLink, sent: Sent): void {
    const { mark, steps } = sent.params.arguments as { mark: string; steps: Step[] };
    this.jobs.push({ link, sent, mark, steps: [...steps], heard: [], asking: undefined });
  }

  #answered({ id, result, error }: Sent): void {
    const job = this.#asked.get(id);
    if (job?.asking !== id) return;
    job.asking = undefined;
    job.heard.push(error === undefined ? (result as { content: { mark: unknown } }).content.mark : 'refused');
  }
}

interface Client {
  readonly name: string;
  readonly auth: AuthContext;
  readonly facts: ClientFacts;
  /** Where it is one of the old era: its session. */
  session?: SessionHandle;
  calls: number;
}

interface Open {
  readonly client: Client;
  readonly mark: string;
  readonly request: ReturnType<typeof toolCall>;
  sink: FakeSink;
  /** Messages of the sink that were looked at. */
  looked: number;
}

const facts = (name: string): ClientFacts => ({
  capabilities: { elicitation: { form: {} } },
  info: { name, version: '1' },
});

const KINDS: Readonly<Record<string, () => Omit<Client, 'name' | 'calls'>[]>> = {
  'different users': () => ['7', '8', '9'].map((user) => ({ auth: anAuth(user), facts: facts('c') })),
  'different clients of one user': () => ['c', 'd', 'e'].map((name) => ({ auth: anAuth(), facts: facts(name) })),
  'clients of one user that say the same of themselves': () =>
    [1, 2, 3].map(() => ({ auth: anAuth(), facts: facts('c') })),
  'all of them': () =>
    ['7', '7', '8', '8'].flatMap((user) => ['c', 'd'].map((name) => ({ auth: anAuth(user), facts: facts(name) }))),
};

describe('clients with equal ids, tokens and states, by property', () => {
  for (const [kind, clientsOf] of Object.entries(KINDS)) {
    it(`1,000 interleaved calls of ${kind}, and of sessions beside them, never cross`, async function () {
      this.timeout(120_000);
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat(), { minLength: 300, maxLength: 500 }), async (choices) => {
          let turn = 0;
          const choose = (below: number): number => {
            turn += 1;
            return below === 0 ? 0 : ((choices[turn % choices.length] ?? 0) + turn) % below;
          };
          const world = new World(choose);
          await world.run(clientsOf());
        }),
        { numRuns: RUNS, endOnFailure: true },
      );
    });
  }

  it('1,000 calls over HTTP at once, in both eras, of two users and two clients of each, never cross', async function () {
    this.timeout(120_000);
    const server = serverSpec({ name: 'default', protocolEra: 'legacy', maxCallsInFlight: 400 });
    const app = await startApp({ servers: [server], child: echo });
    try {
      const sessions = new Map<string, string>();
      for (const user of ['alice', 'bob']) sessions.set(user, await open(app, user));
      const clients = ['alice', 'bob'].flatMap((user) => ['one', 'two', 'session'].map((name) => ({ user, name })));
      const call = async (n: number): Promise<void> => {
        const { user, name } = clients[n % clients.length];
        // The same id and token for all clients.
        const id = Math.floor(n / clients.length);
        const mark = `${user}/${name}/${String(id)}`;
        const session = name === 'session' ? sessions.get(user) : undefined;
        const post = async (more: object): Promise<any[]> => {
          const _meta = { progressToken: id, ...(session === undefined ? stateless(name) : {}) };
          const params = { name: n % 9 === 0 ? 'ask' : 'echo', arguments: { mark }, ...more, _meta };
          const era: Record<string, string> =
            session === undefined
              ? { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': params.name }
              : { 'mcp-session-id': session };
          const headers = { authorization: `Bearer ${user}`, ...era };
          const answer = await ask(app, { headers, body: { jsonrpc: '2.0', id, method: 'tools/call', params } });
          return answer.events.length > 0 ? answer.events : [answer.json];
        };
        const check = (messages: any[]): any => {
          for (const { method, params } of messages.slice(0, -1)) {
            expect([method, params.progressToken, params.message]).to.deep.equal(['notifications/progress', id, mark]);
          }
          expect(messages.at(-1).id).to.equal(id);
          return messages.at(-1).result;
        };
        let result = check(await post({}));
        if (result.resultType === 'input_required') {
          const [[key, asked]] = Object.entries(result.inputRequests as Record<string, any>);
          expect(asked.params.message).to.equal(mark);
          const inputResponses = { [key]: { action: 'accept', content: { mark } } };
          result = check(await post({ inputResponses, requestState: result.requestState }));
          expect(result.heard).to.deep.equal({ mark });
        }
        expect(result.mark).to.equal(mark);
      };
      // What asks is known to each child from its first call on.
      for (const n of [0, 9, 18, 27]) await call(n);
      let next = 0;
      const worker = async (): Promise<void> => {
        while (next < CALLS) {
          next += 1;
          await call(next);
        }
      };
      await Promise.all(Array.from({ length: 40 }, worker));
      expect(app.children).to.have.length(6);
    } finally {
      await app.close();
    }
  });
});

/** A gateway with its clients, and what they do in turns that a test chooses. */
class World {
  readonly #choose: (below: number) => number;
  readonly #bench = new SessionBench();
  readonly #children = new Children();
  readonly #table: StatelessTable;
  readonly #server = aServer({
    protocolEra: 'legacy',
    idleTimeout: 0,
    callTimeout: 1_000_000,
    maxCallsInFlight: 1_000,
    sessionTTL: 0,
  });
  readonly #open = new Set<Open>();
  #answered = 0;
  #refused = 0;

  constructor(choose: (below: number) => number) {
    this.#choose = choose;
    this.#bench.prepare = (link) => this.#children.prepare(link);
    this.#table = new StatelessTable({
      sessions: this.#bench.registry,
      clock: this.#bench.clock,
      seal: stateSeal(this.#bench.clock),
      versions: ['2026-07-28'],
    });
  }

  async run(kinds: readonly Omit<Client, 'name' | 'calls'>[]): Promise<void> {
    const clients: Client[] = kinds.map((each, i) => ({ ...each, name: `c${String(i)}`, calls: 0 }));
    for (const user of ['7', '8']) clients.push({ ...(await this.#session(user)), name: `s${user}`, calls: 0 });
    for (let made = 0; made < CALLS || this.#open.size > 0;) {
      if (made < CALLS && this.#open.size < OPEN && this.#choose(3) > 0) {
        made += 1;
        this.#call(clients[this.#choose(clients.length)]);
      }
      await turn();
      const worked = this.#children.step(this.#choose);
      if (this.#choose(4) === 0 || !worked) this.#bench.clock.advance(20); // questions go out
      await turn();
      const moved = this.#look();
      // Only what can be told by nothing but time is left.
      if (!worked && !moved && (made === CALLS || this.#open.size === OPEN)) this.#bench.clock.advance(5_000);
    }
    expect(this.#answered).to.equal(CALLS);
    expect(this.#refused, 'questions of which it could not be told whose they were').to.be.below(CALLS / 20);
    expect(this.#bench.channelLog.faults).to.deep.equal([]);
    await this.#end(clients);
  }

  async #session(user: string): Promise<Omit<Client, 'name' | 'calls'>> {
    const auth = anAuth(user);
    const { id } = await this.#bench.session(auth, this.#server);
    return { auth, facts: facts('s'), session: await this.#bench.registry.use(auth, this.#server, id) };
  }

  #call(client: Client): void {
    const n = client.calls;
    client.calls += 1;
    const mark = `${client.name}#${String(n)}`;
    const asks = this.#choose(6) === 0;
    const steps = Array.from({ length: this.#choose(4) }, () => (['progress', 'log'] as const)[this.#choose(2)]);
    const all = asks ? [...steps, 'ask', ...(this.#choose(3) === 0 ? ['ask'] : [])] : steps;
    const args = { arguments: { mark, steps: all } };
    const request = toolCall(n, asks ? 'asks' : 'works', args, { progressToken: n, [`${META}logLevel`]: 'debug' });
    this.#send({ client, mark, request, sink: new FakeSink(), looked: 0 }, request);
  }

  #send(call: Open, request: Open['request']): void {
    this.#open.add(call);
    const { client, sink } = call;
    if (client.session !== undefined) {
      void client.session.call(request, sink);
      return;
    }
    const serve = async (): Promise<void> => {
      const use = await this.#table.use(client.auth, this.#server, client.facts, async () => undefined);
      await use.conversation.serve(use.handle, request, sink, new AbortController().signal);
      use.release();
    };
    void serve();
  }

  /** Looks at what came for everybody; whoever was asked answers. Tells whether anything came. */
  #look(): boolean {
    let moved = false;
    for (const call of [...this.#open]) {
      for (; call.looked < call.sink.messages.length; call.looked += 1) {
        moved = true;
        this.#came(call, call.sink.messages[call.looked]);
      }
    }
    return moved;
  }

  #came(call: Open, message: Record<string, any>): void {
    const { client, mark, request } = call;
    const isSession = client.session !== undefined;
    // What a session of the old era is told beside progress is of its own client, though not of one of its calls.
    const own = (text: unknown): void => {
      expect(isSession ? String(text).split('#')[0] : text).to.equal(isSession ? client.name : mark);
    };
    switch (message.method) {
      case 'notifications/progress':
        expect(message.params).to.deep.include({ progressToken: Number(mark.split('#')[1]), message: mark });
        return;
      case 'notifications/message':
        own(message.params.data);
        return;
      case 'elicitation/create': {
        own(message.params.message);
        const result = { action: 'accept', content: { mark: message.params.message as unknown } };
        void client.session?.answer({ jsonrpc: '2.0', id: message.id, result });
        return;
      }
      default:
    }
    expect(message.id).to.equal(request.id);
    this.#open.delete(call);
    if (message.result?.resultType === 'input_required') {
      this.#answer(call, message.result);
      return;
    }
    expect(message.result?.mark, JSON.stringify(message)).to.equal(mark);
    for (const heard of message.result.heard) {
      if (heard === 'refused') this.#refused += 1;
      else own(heard);
    }
    this.#answered += 1;
  }

  /** Answers what was asked; before that somebody else tries, with the very same state and id. */
  #answer(call: Open, { inputRequests, requestState }: any): void {
    const { client, mark, request } = call;
    const inputResponses = Object.fromEntries(
      Object.entries(inputRequests as Record<string, any>).map(([key, { params }]) => {
        expect(params.message).to.equal(mark);
        return [key, { action: 'accept', content: { mark: params.message } }];
      }),
    );
    const again = { ...request, params: { ...request.params, inputResponses, requestState } };
    const sink = new FakeSink();
    const thief = { ...again, params: { ...again.params, arguments: { mark: 'thief', steps: [] } } };
    void this.#table
      .use(client.auth, this.#server, client.facts, async () => undefined)
      .then(async (use) => {
        await use.conversation.serve(use.handle, thief, sink, new AbortController().signal);
        use.release();
        expect(sink.last.error.code).to.equal(-32602);
        // The same request of another user has the same text, and is worth nothing either.
        const other = await this.#table.use(anAuth('66'), this.#server, client.facts, async () => undefined);
        await other.conversation.serve(other.handle, again, sink, new AbortController().signal);
        other.release();
        expect(sink.last.error.code).to.equal(-32602);
      })
      .catch((thrown: unknown) => this.#bench.channelLog.fault(thrown));
    this.#send({ client, mark, request, sink: new FakeSink(), looked: 0 }, again);
  }

  async #end(clients: readonly Client[]): Promise<void> {
    for (const { session } of clients) session?.release();
    await this.#bench.registry.stop(0);
    await settle();
    this.#bench.clock.advance(2_000);
    expect([this.#table.size, this.#bench.registry.size, this.#bench.clock.timers]).to.deep.equal([0, 0, 0]);
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

function stateless(name: string): object {
  return {
    [`${META}protocolVersion`]: '2026-07-28',
    [`${META}clientCapabilities`]: { elicitation: {} },
    [`${META}clientInfo`]: { name, version: '1' },
  };
}

/** A child that tells of progress, asks where it is called by that name and can be answered, and echoes who asked. */
function echo(link: FakeLink): void {
  const polite = link.onMessage;
  const asked = new Map<string, (content: unknown) => void>();
  let asks = 0;
  let canAsk = false;
  link.onMessage = (message) => {
    if (message.method === undefined) {
      asked.get(message.id)?.((message.result as { content: unknown }).content);
      return;
    }
    if (message.method === 'initialize')
      canAsk = (message.params.capabilities as { elicitation?: object }).elicitation !== undefined;
    if (message.method !== 'tools/call') {
      polite(message);
      return;
    }
    const { name, arguments: args, _meta } = message.params as Record<string, any>;
    const { mark } = args;
    const params = { progressToken: _meta.progressToken, progress: 1, message: mark };
    link.say({ jsonrpc: '2.0', method: 'notifications/progress', params });
    const finish = (heard: unknown): void => void setImmediate(() => link.reply(message, { mark, heard }));
    if (name !== 'ask' || !canAsk) {
      finish(undefined);
      return;
    }
    asks += 1;
    const id = `a${String(asks)}`;
    asked.set(id, finish);
    setImmediate(() => link.say({ jsonrpc: '2.0', id, method: 'elicitation/create', params: { message: mark } }));
  };
}
