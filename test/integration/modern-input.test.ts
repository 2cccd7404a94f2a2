/** Calls of MCP 2026-07-28 that need something of their client, in front of children that ask in either era's way. */
import { expect } from 'chai';
import { startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import {
  askedBy,
  type Asked,
  childrenWith,
  EVERYTHING,
  jsonIn,
  type ModernGateway,
  startModernGateway,
  textIn,
} from '../support/modern-gateway';
import type { StatelessAnswer, StatelessClient } from '../support/stateless-client';
import { until } from '../support/until';

const FORM = {
  mode: 'form',
  message: 'Who?',
  requestedSchema: { type: 'object', properties: { name: { type: 'string' } } },
};
const PAGE = { mode: 'url', message: 'Log in there.', url: 'https://example.org/login', elicitationId: 'e1' };
const SAMPLE = { messages: [{ role: 'user', content: { type: 'text', text: 'Say it.' } }], maxTokens: 5 };

const ACCEPTED = { action: 'accept', content: { name: 'x' } };
const SAMPLED = { role: 'assistant', model: 'm', content: { type: 'text', text: 'said' } };
const ROOTS = { roots: [{ uri: 'file:///a', name: 'a' }] };

/** A question as this era has it: it knows no ids of pages. */
const shown = ({ elicitationId: _, ...params }: Record<string, unknown>): object => params;

/** One question of each kind, and what is answered. */
const KINDS = [
  ['elicitation/create', FORM, ACCEPTED],
  ['elicitation/create', PAGE, { action: 'accept' }],
  ['sampling/createMessage', SAMPLE, SAMPLED],
  ['roots/list', {}, ROOTS],
] as const;

const ask = (method: string, params: object): Record<string, unknown> => ({
  name: 'ask',
  arguments: { method, params },
});
const quiz = (inTurn: boolean): Record<string, unknown> => ({
  name: 'quiz',
  arguments: { inTurn, questions: KINDS.map(([method, params]) => ({ method, params })) },
});

describe('input that a request of MCP 2026-07-28 requires', function () {
  this.timeout(120_000);
  let gateway: ModernGateway;

  before(async () => {
    const everything = [await childCommand('everything-server')];
    const fixture = await childCommand('fixture-child');
    gateway = await startModernGateway(startNameForge, {
      modern: { command: everything },
      translated: { command: everything, protocolEra: 'legacy' },
      fixture: { command: [fixture] },
      dying: { command: [fixture, 'dying'] },
      hasty: { command: [fixture], callTimeout: '1s' },
    });
  });

  after(async () => gateway?.stop());

  afterEach(async () => gateway.closeClients());

  /** The same request again, with answers. */
  const again = (
    client: StatelessClient,
    request: Record<string, unknown>,
    { state }: Pick<Asked, 'state'>,
    inputResponses: object,
    method = 'tools/call',
  ): Promise<StatelessAnswer> =>
    client.call(method, { ...request, inputResponses, ...(state === undefined ? {} : { requestState: state }) });

  const refused = ({ status, answer }: StatelessAnswer): void => {
    expect([status, answer?.error?.code], JSON.stringify(answer)).to.deep.equal([200, -32602]);
    expect(answer.error.message).to.match(/again/);
  };

  /** What the child of these requests did and knows. */
  const stateOf = async (client: StatelessClient): Promise<any> => jsonIn(await client.tool('state'));

  describe('of a child that asks in the middle of a call', () => {
    for (const [method, params, answer] of KINDS) {
      const mode = 'mode' in params ? ` (${params.mode})` : '';
      it(`${method}${mode} is passed to the client as it is, and its answer to the child`, async () => {
        const client = gateway.client('fixture');
        const asked = askedBy(await client.call('tools/call', ask(method, params)));
        expect(Object.values(asked.requests)).to.deep.equal([{ method, params: shown(params) }]);
        const done = await again(client, ask(method, params), asked, { [asked.keys[0] ?? '']: answer });
        expect(jsonIn(done)).to.deep.equal(answer);
      });
    }

    for (const [method, request] of [
      ['prompts/get', { name: 'question', arguments: {} }],
      ['resources/read', { uri: 'fixture://question' }],
    ] as const) {
      it(`${method} may ask as well`, async () => {
        const client = gateway.client('fixture');
        const asked = askedBy(await client.call(method, request));
        const done = await again(client, request, asked, { [asked.keys[0] ?? '']: ACCEPTED }, method);
        expect(JSON.stringify(done.answer.result)).to.contain(JSON.stringify(JSON.stringify(ACCEPTED)).slice(1, -1));
        expect(done.answer.result.resultType).to.equal('complete');
      });
    }

    it('several questions at once go out together, and those that were not answered are asked again', async () => {
      const client = gateway.client('fixture');
      const first = askedBy(await client.call('tools/call', quiz(false)));
      const keyOf = (from: Asked, at: number): string =>
        from.keys.find(
          (key) => JSON.stringify(from.requests[key]?.params) === JSON.stringify(shown(KINDS[at]?.[1] ?? {})),
        ) ?? '';
      expect(Object.values(first.requests).map(({ method }) => method)).to.have.members(
        KINDS.map(([method]) => method),
      );
      const some = { [keyOf(first, 0)]: ACCEPTED, [keyOf(first, 2)]: SAMPLED };
      const second = askedBy(await again(client, quiz(false), first, some));
      expect(second.keys).to.have.members([keyOf(first, 1), keyOf(first, 3)]);
      const rest = { [keyOf(second, 1)]: { action: 'accept' }, [keyOf(second, 3)]: ROOTS };
      const done = await again(client, quiz(false), second, rest);
      expect(jsonIn(done)).to.deep.equal(KINDS.map(([, , answer]) => answer));
    });

    it('questions in turn take a round each, with the progress of each round on its own request', async () => {
      const client = gateway.client('fixture');
      let answer = await client.call('tools/call', quiz(true), { progressToken: 'round 0' });
      const states: Asked[] = [];
      for (const [at, [method, params, given]] of KINDS.entries()) {
        const asked = askedBy(answer);
        states.push(asked);
        expect(Object.values(asked.requests)).to.deep.equal([{ method, params: shown(params) }]);
        const retry = { ...quiz(true), requestState: asked.state, inputResponses: { [asked.keys[0] ?? '']: given } };
        answer = await client.call('tools/call', retry, { progressToken: `round ${at + 1}` });
        const progress = answer.messages.filter((message) => message.method === 'notifications/progress');
        expect(progress.map((one) => one.params)).to.deep.equal([
          { progressToken: `round ${at + 1}`, progress: at + 1, total: KINDS.length },
        ]);
      }
      expect(jsonIn(answer)).to.deep.equal(KINDS.map(([, , given]) => given));
      for (const old of states) refused(await again(client, quiz(true), old, { [old.keys[0] ?? '']: ACCEPTED }));
      expect((await stateOf(client)).called.quiz).to.be.at.least(1);
    });

    it('a state of an earlier round is refused, and the round that is open stays so', async () => {
      const client = gateway.client('fixture');
      const first = askedBy(await client.call('tools/call', quiz(true)));
      const second = askedBy(await again(client, quiz(true), first, { [first.keys[0] ?? '']: ACCEPTED }));
      refused(await again(client, quiz(true), first, { [first.keys[0] ?? '']: ACCEPTED }));
      const third = askedBy(await again(client, quiz(true), second, { [second.keys[0] ?? '']: { action: 'cancel' } }));
      expect(Object.values(third.requests)[0]?.method).to.equal('sampling/createMessage');
    });

    it('declined and cancelled go to the child as they are', async () => {
      const client = gateway.client('fixture');
      for (const action of ['decline', 'cancel']) {
        const request = ask('elicitation/create', FORM);
        const asked = askedBy(await client.call('tools/call', request));
        expect(jsonIn(await again(client, request, asked, { [asked.keys[0] ?? '']: { action } }))).to.deep.equal({
          action,
        });
      }
    });

    it('answers under other names, or of another shape, are none: it is asked again', async () => {
      const client = gateway.client('fixture');
      const request = ask('elicitation/create', FORM);
      let asked = askedBy(await client.call('tools/call', request));
      const [key = ''] = asked.keys;
      for (const wrong of [
        {},
        { other: ACCEPTED },
        { [key]: { action: 'maybe' } },
        { [key]: null },
        { [key]: 'yes' },
      ]) {
        asked = askedBy(await again(client, request, asked, wrong));
        expect(asked.keys, JSON.stringify(wrong)).to.deep.equal([key]);
      }
      expect(jsonIn(await again(client, request, asked, { [key]: ACCEPTED, more: ACCEPTED }))).to.deep.equal(ACCEPTED);
    });

    it('a page that must be visited first (-32042) is asked for, and the call is made again after it', async () => {
      const client = gateway.client('fixture');
      const data = { elicitations: [PAGE] };
      const request = { name: 'fail', arguments: { code: -32042, message: 'Log in first.', data } };
      const asked = askedBy(await client.call('tools/call', request));
      expect(Object.values(asked.requests)).to.deep.equal([{ method: 'elicitation/create', params: shown(PAGE) }]);
      const before = (await stateOf(client)).called.fail;
      askedBy(await again(client, request, asked, { [asked.keys[0] ?? '']: { action: 'accept' } }));
      expect((await stateOf(client)).called.fail).to.equal(before + 1);
    });

    it('what the client has not declared is never asked: 400, -32021 and what is missing', async () => {
      for (const [capabilities, [method, params]] of [
        [{}, KINDS[0]],
        [{ elicitation: { form: {} } }, KINDS[1]],
        [{ elicitation: {} }, KINDS[2]],
        [{ sampling: {} }, KINDS[3]],
      ] as const) {
        const client = gateway.client('fixture', { capabilities });
        const { status, answer } = await client.call('tools/call', ask(method, params));
        expect([status, answer.error?.code], method).to.deep.equal([400, -32021]);
        expect(answer.error.data.requiredCapabilities).to.be.an('object').that.is.not.empty;
      }
      // An empty object is the old spelling for forms.
      const forms = gateway.client('fixture', { capabilities: { elicitation: {} } });
      askedBy(await forms.call('tools/call', ask('elicitation/create', FORM)));
    });

    it('a call whose client goes away is cancelled, and another one that waits for its client is not', async () => {
      const client = gateway.client('fixture');
      client.info = { name: 'closing', version: '1' }; // a child of its own
      const request = quiz(true);
      const asked = askedBy(await client.call('tools/call', request));
      const stop = new AbortController();
      const hung = { name: 'hang' };
      const gone = client.open(client.message('tools/call', hung), {}, stop).catch(() => 'gone');
      await until('it hangs', async () => (await stateOf(client)).called.hang === 1);
      stop.abort();
      expect(await gone).to.equal('gone');
      await until('it is cancelled', async () => (await stateOf(client)).cancelled !== '');
      // The one that waits goes on.
      const next = askedBy(await again(client, request, asked, { [asked.keys[0] ?? '']: ACCEPTED }));
      expect(next.keys).to.have.length(1);
    });

    it('calls that ask at the same time never get the question of another', async () => {
      const client = gateway.client('fixture');
      // Whether a tool asks is not known beforehand, and the child does not say for whom: the first ones may be refused for it, no later ones are.
      client.info = { name: 'at the same time', version: '1' };
      for (const known of [false, true]) {
        const forms = ['one', 'two', 'three', 'four'].map((message) => ask('elicitation/create', { ...FORM, message }));
        const outcomes = await Promise.all(
          forms.map(async (form) => {
            const answer = await client.call('tools/call', form);
            if (answer.answer.result?.resultType === 'complete') return answer.answer.result.isError;
            const asked = askedBy(answer);
            const [key = ''] = asked.keys;
            const content = { name: asked.requests[key]?.params.message };
            const done = await again(client, form, asked, { [key]: { action: 'accept', content } });
            expect(jsonIn(done).content).to.deep.equal({ name: (form['arguments'] as any).params.message });
            return 'answered';
          }),
        );
        for (const outcome of outcomes) expect(outcome).to.be.oneOf(known ? ['answered'] : ['answered', true]);
      }
    });
  });

  describe('has a state that', () => {
    const request = ask('elicitation/create', FORM);

    it('counts for its user, its client, its request, and as it was given, only', async () => {
      const client = gateway.client('fixture');
      const asked = askedBy(await client.call('tools/call', request));
      const state = asked.state ?? '';
      const answers = { [asked.keys[0] ?? '']: ACCEPTED };
      const bob = gateway.client('fixture', { user: 'bob' });
      const other = gateway.client('fixture');
      other.info = { name: 'another', version: '1' };
      const unable = gateway.client('fixture', { capabilities: { elicitation: { form: {} } } });
      for (const stranger of [bob, other, unable]) refused(await again(stranger, request, asked, answers));
      const elsewhere = gateway.client('dying');
      refused(await again(elsewhere, request, asked, answers));
      const at = Math.floor(state.length / 2);
      for (const changed of [
        `${state.slice(0, at)}${state[at] === 'A' ? 'B' : 'A'}${state.slice(at + 1)}`,
        state.slice(0, -1),
        `${state}A`,
        `${state}-TAMPERED`,
        '',
        'x'.repeat(100_000),
      ]) {
        refused(await again(client, request, { state: changed }, answers));
      }
      refused(await again(client, ask('elicitation/create', { ...FORM, message: 'What?' }), asked, answers));
      refused(await again(client, { name: 'question', arguments: {} }, asked, answers, 'prompts/get'));
      expect(jsonIn(await again(client, request, asked, answers))).to.deep.equal(ACCEPTED);
    });

    it('is refused the second time, and nothing runs again for it', async () => {
      const client = gateway.client('fixture');
      const asked = askedBy(await client.call('tools/call', request));
      const answers = { [asked.keys[0] ?? '']: ACCEPTED };
      expect(jsonIn(await again(client, request, asked, answers))).to.deep.equal(ACCEPTED);
      const { called } = await stateOf(client);
      for (let i = 0; i < 3; i++) refused(await again(client, request, asked, answers));
      expect((await stateOf(client)).called.ask).to.equal(called.ask);
    });

    it('says nothing to whoever reads it, and is no other time the same', async () => {
      const client = gateway.client('fixture');
      const states = [];
      for (let i = 0; i < 2; i++) {
        const { state = '', keys } = askedBy(await client.call('tools/call', request));
        states.push(state);
        const read = Buffer.from(state.replace(/^[^.]*\./, ''), 'base64url').toString('latin1');
        for (const word of ['elicitation', 'alice', 'ask', 'until', ...keys])
          expect(read.includes(word), word).to.equal(false);
      }
      expect(states[0]).to.not.equal(states[1]);
    });

    it('outlives no child: the answer is an error, and the call is not run again by itself', async () => {
      const client = gateway.client('dying');
      const asked = askedBy(await client.call('tools/call', request));
      const [pid = 0, ...more] = await childrenWith('dying');
      expect(more).to.have.length(0);
      process.kill(pid, 'SIGKILL');
      await until('the child is gone', async () => !(await childrenWith('dying')).includes(pid));
      refused(await again(client, request, asked, { [asked.keys[0] ?? '']: ACCEPTED }));
      const { called } = await stateOf(client);
      expect(called).to.deep.equal({ state: 1 });
    });

    it('expires with the time for a call, which ends at the child too', async () => {
      const client = gateway.client('hasty');
      const asked = askedBy(await client.call('tools/call', request));
      // By a cancellation, or by an error for its question: both times are up at once.
      await until('only the question for its state runs', async () => (await stateOf(client)).running === 1);
      refused(await again(client, request, asked, { [asked.keys[0] ?? '']: ACCEPTED }));
      expect((await stateOf(client)).called.ask).to.equal(1);
    });
  });

  for (const server of ['modern', 'translated'] as const) {
    describe(`of the everything-server (${server})`, () => {
      const NAME = { action: 'accept', content: { name: 'Ada' } };
      /** Answers whatever is asked. */
      const answersTo = (asked: Asked): object =>
        Object.fromEntries(
          Object.entries(asked.requests).map(([key, { method, params }]) => [
            key,
            method === 'roots/list'
              ? ROOTS
              : method === 'sampling/createMessage'
                ? SAMPLED
                : {
                    action: 'accept',
                    content: Object.fromEntries(
                      Object.entries<any>(params.requestedSchema.properties).map(([name, { type }]) => [
                        name,
                        type === 'boolean' ? true : 'Ada',
                      ]),
                    ),
                  },
          ]),
        );
      /** Makes a call, answers all that it asks, and gives the questions of each round and the text. */
      const converse = async (name: string, method = 'tools/call'): Promise<{ rounds: string[][]; text: string }> => {
        const client = gateway.client(server);
        const request = { name, arguments: {} };
        const rounds: string[][] = [];
        let answer = await client.call(method, request);
        while (answer.answer?.result?.resultType === 'input_required' && rounds.length < 5) {
          const asked = askedBy(answer);
          rounds.push(
            Object.values(asked.requests)
              .map((one) => one.method)
              .sort(),
          );
          answer = await again(client, request, asked, answersTo(asked), method);
        }
        const { result } = answer.answer;
        return {
          rounds,
          text: result?.content?.[0]?.text ?? result?.messages?.[0]?.content?.text ?? JSON.stringify(answer.answer),
        };
      };

      for (const [name, rounds, text] of [
        ['test_input_required_result_elicitation', [['elicitation/create']], 'Hello, Ada!'],
        ['test_input_required_result_sampling', [['sampling/createMessage']], 'Sampling response: said'],
        ['test_input_required_result_list_roots', [['roots/list']], 'Client exposed 1 root(s): file:///a'],
        ['test_input_required_result_request_state', [['elicitation/create']], 'state-ok'],
        [
          'test_input_required_result_multiple_inputs',
          [['elicitation/create', 'roots/list', 'sampling/createMessage']],
          'said Ada — 1 root(s) visible',
        ],
        [
          'test_input_required_result_multi_round',
          [['elicitation/create'], ['elicitation/create']],
          'Multi-round complete: Ada likes Ada',
        ],
      ] as const) {
        // In the old era the Go SDK asks by itself and calls a tool again once, not as often as it asks.
        if (server === 'translated' && rounds.length > 1) continue;
        it(`${name} completes`, async () => {
          const told = await converse(name);
          expect(told.text).to.contain(text);
          expect(told.rounds).to.deep.equal(rounds);
        });
      }

      it('a prompt asks and completes', async () => {
        const { rounds, text } = await converse('test_input_required_result_prompt', 'prompts/get');
        expect(rounds).to.deep.equal([['elicitation/create']]);
        expect(text).to.equal('Context: Ada');
      });

      it('a state that was changed, or is of another user, is refused', async () => {
        const client = gateway.client(server);
        const request = { name: 'test_input_required_result_tampered_state', arguments: {} };
        const asked = askedBy(await client.call('tools/call', request));
        refused(await again(client, request, { state: `${asked.state ?? ''}-TAMPERED` }, answersTo(asked)));
        refused(await again(gateway.client(server, { user: 'bob' }), request, asked, answersTo(asked)));
        expect(textIn(await again(client, request, asked, answersTo(asked)))).to.contain('state-ok');
      });

      it('is asked for only as far as the client has declared', async () => {
        const capable = gateway.client(server, { capabilities: { sampling: {} } });
        const request = { name: 'test_input_required_result_capabilities', arguments: {} };
        const asked = askedBy(await capable.call('tools/call', request));
        expect(Object.values(asked.requests).map(({ method }) => method)).to.deep.equal(['sampling/createMessage']);
        const missing = await gateway.client(server, { capabilities: {} }).tool('test_missing_capability');
        expect([missing.status, missing.answer.error?.code]).to.deep.equal([400, -32021]);
        expect(missing.answer.error.data.requiredCapabilities).to.have.property('sampling');
        expect(
          textIn(await gateway.client(server, { capabilities: EVERYTHING }).tool('test_missing_capability')),
        ).to.contain('executed');
      });

      if (server === 'translated') {
        it('tools that ask as the old era does complete', async () => {
          for (const [name, args, text] of [
            ['test_sampling', { prompt: 'x' }, 'said'],
            ['test_elicitation', { message: 'x' }, 'accept'],
          ] as const) {
            const client = gateway.client(server);
            const asked = askedBy(await client.tool(name, args));
            const request = { name, arguments: args };
            const done = await again(client, request, asked, {
              [asked.keys[0] ?? '']:
                name === 'test_sampling' ? SAMPLED : { ...NAME, content: { username: 'a', email: 'b@c.de' } },
            });
            expect(textIn(done)).to.contain(text);
          }
        });
      }
    });
  }
});
