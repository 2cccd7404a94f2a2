/** Requests of MCP 2026-07-28 through the whole gateway: to a child that speaks it, to the same one in the old era, and to one that knows only that. */
import { expect } from 'chai';
import { startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import {
  jsonIn,
  logLevel,
  type ModernGateway,
  SERVER_INFO,
  startModernGateway,
  textIn,
} from '../support/modern-gateway';
import { META, REVISION, type StatelessAnswer, type StatelessClient } from '../support/stateless-client';
import { until } from '../support/until';

const ERAS = ['modern', 'translated'] as const;

describe('requests of MCP 2026-07-28', function () {
  this.timeout(120_000);
  let gateway: ModernGateway;

  before(async () => {
    const everything = [await childCommand('everything-server')];
    gateway = await startModernGateway(startNameForge, {
      modern: { command: everything },
      translated: { command: everything, protocolEra: 'legacy' },
      fixture: { command: [await childCommand('fixture-child')] },
    });
  });

  after(async () => gateway?.stop());

  afterEach(async () => gateway.closeClients());

  /** The result, with what every result must have. */
  const resultOf = (what: string, { status, headers, answer }: StatelessAnswer): any => {
    expect(status, `${what}: ${JSON.stringify(answer)}`).to.equal(200);
    expect(headers['mcp-session-id'], what).to.equal(undefined);
    expect(answer.result.resultType, what).to.equal('complete');
    expect(answer.result._meta[SERVER_INFO].name, what).to.be.a('string').that.is.not.empty;
    return answer.result;
  };

  for (const server of ERAS) {
    describe(`of the everything-server (${server})`, () => {
      const client = (): StatelessClient => gateway.client(server);

      it('find out what it is and has', async () => {
        const result = resultOf('discover', await client().call('server/discover'));
        expect(result.supportedVersions[0]).to.equal(REVISION);
        expect(result.supportedVersions).to.include.members(['2025-11-25', '2024-11-05']);
        expect(result.capabilities).to.include.keys('tools', 'prompts', 'resources', 'completions', 'logging');
        expect(result._meta[SERVER_INFO]).to.deep.equal({ name: 'mcp-conformance-test-server', version: '1.0.0' });
        expect(result.ttlMs).to.be.a('number');
        expect(result.cacheScope).to.equal('private');
      });

      it('list and get tools, prompts, resources, templates and completions', async () => {
        const asking = client();
        const names = async (method: string, list: string): Promise<string[]> => {
          const result = resultOf(method, await asking.call(method));
          expect(result, method).to.include({ cacheScope: 'private' });
          expect(result.ttlMs, method).to.be.a('number').that.is.at.least(0);
          return result[list].map(({ name }: { name: string }) => name);
        };
        expect(await names('tools/list', 'tools')).to.include.members(['test_simple_text', 'test_image_content']);
        expect(await names('prompts/list', 'prompts')).to.include('test_prompt_with_arguments');
        expect(await names('resources/list', 'resources')).to.include('static-text');
        expect(await names('resources/templates/list', 'resourceTemplates')).to.include('template');

        const text = resultOf('tools/call', await asking.tool('test_simple_text'));
        expect(text.content[0]).to.include({ type: 'text' });
        expect(text).to.not.have.any.keys('ttlMs', 'cacheScope');
        const image = resultOf('tools/call', await asking.tool('test_image_content'));
        expect(image.content[0]).to.include({ type: 'image', mimeType: 'image/png' });
        const prompt = { name: 'test_prompt_with_arguments', arguments: { arg1: 'a', arg2: 'ü' } };
        const got = resultOf('prompts/get', await asking.call('prompts/get', prompt));
        expect(got.messages[0].content.text).to.contain("arg2='ü'");
        for (const [uri, shown] of [
          ['test://static-text', 'static text'],
          ['test://template/7/data', 'Data for ID: 7'],
        ] as const) {
          const read = resultOf(uri, await asking.call('resources/read', { uri }));
          expect(read.contents[0].text).to.contain(shown);
          expect(read).to.include({ cacheScope: 'private' });
          expect(read.ttlMs).to.be.a('number');
        }
        const ref = { type: 'ref/prompt', name: 'test_prompt_with_arguments' };
        const completion = { ref, argument: { name: 'arg1', value: 'a' } };
        const completed = resultOf('completion/complete', await asking.call('completion/complete', completion));
        expect(completed.completion.values).to.deep.equal([]);
      });

      it('carry progress with their own token, and a failing tool is a result', async () => {
        const { headers, messages } = await client().tool('test_tool_with_progress', {}, { progressToken: 'mine' });
        expect(headers['content-type']).to.equal('text/event-stream');
        const progress = messages.filter(({ method }) => method === 'notifications/progress');
        expect(progress.map(({ params }) => params.progressToken)).to.deep.equal(Array(progress.length).fill('mine'));
        expect(progress.map(({ params }) => params.progress)).to.deep.equal([0, 50, 100]);
        const failing = resultOf('error', await client().tool('test_error_handling'));
        expect(failing.isError).to.equal(true);
        const unknown = await client().tool('no_such_tool');
        expect(unknown.answer.error?.code).to.equal(-32602);
      });

      it('carry log messages only where they ask for them, and only as severe as they want', async () => {
        const logged = async (meta: object): Promise<string[]> =>
          (await client().tool('test_tool_with_logging', {}, meta)).messages
            .filter(({ method }) => method === 'notifications/message')
            .map(({ params }) => params.level);
        expect(await logged({})).to.deep.equal([]);
        expect(await logged(logLevel('info'))).to.deep.equal(['info', 'info', 'info']);
        expect(await logged(logLevel('error'))).to.deep.equal([]);
        expect(await logged(logLevel('debug'))).to.deep.equal(['info', 'info', 'info']);
        expect(await logged({})).to.deep.equal([]);
      });

      it('for a resource that is not there get -32602 [2026-07-28/resources/9]', async () => {
        const { status, answer } = await client().call('resources/read', { uri: 'test://no-such' });
        expect([status, answer.error.code]).to.deep.equal([200, -32602]);
      });

      it('are held against the headers of their arguments before they are passed on', async () => {
        const marked = { region: 'eu', level: 3 };
        const tools = resultOf('tools', await client().call('tools/list')).tools;
        const { inputSchema } = tools.find(({ name }: { name: string }) => name === 'test_x_mcp_header');
        expect(JSON.stringify(inputSchema)).to.contain('x-mcp-header');
        const good: Record<string, string> = {};
        for (const [name, { 'x-mcp-header': header }] of Object.entries<any>(inputSchema.properties)) {
          if (header !== undefined) good[`Mcp-Param-${header}`] = String(marked[name as 'region']);
        }
        expect(textIn(await client().tool('test_x_mcp_header', marked, {}, good))).to.equal('region=eu');
        const [first = ''] = Object.keys(good);
        for (const wrong of [
          { ...good, [first]: 'another' },
          { ...good, [first]: undefined },
        ]) {
          const { status, answer } = await client().tool('test_x_mcp_header', marked, {}, wrong);
          expect([status, answer.error.code]).to.deep.equal([400, -32020]);
        }
      });
    });
  }

  describe('that are wrong', () => {
    for (const server of ERAS) {
      it(`get the statuses and codes of this era (${server})`, async () => {
        const client = gateway.client(server);
        const post = async (method: string, change: (message: any) => void, headers = {}): Promise<StatelessAnswer> => {
          const message = client.message(method);
          change(message);
          return client.post(message, headers);
        };
        const nothing = (): void => undefined;
        const version = (value: unknown) => (message: any) => (message.params._meta[`${META}protocolVersion`] = value);
        const cases: [string, StatelessAnswer, number, number][] = [
          ['Mcp-Method differs', await post('tools/list', nothing, { 'Mcp-Method': 'tools/call' }), 400, -32020],
          ['no Mcp-Method', await post('tools/list', nothing, { 'Mcp-Method': undefined }), 400, -32020],
          ['version differs', await post('tools/list', version('2026-07-29')), 400, -32020],
          [
            'unknown version',
            await post('tools/list', version('2099-01-01'), { 'MCP-Protocol-Version': '2099-01-01' }),
            400,
            -32022,
          ],
          ['unknown method', await post('no/such', nothing), 404, -32601],
          ['ping', await post('ping', nothing), 404, -32601],
          ['initialize', await post('initialize', nothing), 404, -32601],
          ['tools/call without a name', await post('tools/call', nothing), 400, -32602],
          [
            'no capabilities',
            await post('tools/list', ({ params }) => delete params._meta[`${META}clientCapabilities`]),
            400,
            -32602,
          ],
        ];
        for (const [what, { status, answer, headers }, expected, code] of cases) {
          expect([status, answer?.error?.code], `${what}: ${JSON.stringify(answer)}`).to.deep.equal([expected, code]);
          expect(headers['content-type'], what).to.match(/^application\/json/);
        }
        const unsupported = cases[3]?.[1].answer.error.data;
        expect(unsupported.requested).to.equal('2099-01-01');
        expect(unsupported.supported).to.include.members([REVISION, '2025-11-25', '2025-03-26']);
      });
    }

    it('are 404 for a method that the child does not know, which the fixture child tells by an error', async () => {
      const { status, answer } = await gateway.client('fixture').call('no/such');
      expect([status, answer.error.code]).to.deep.equal([404, -32601]);
    });

    it("get a child's own error with 200, without the codes that only the old era has", async () => {
      const client = gateway.client('fixture');
      for (const [code, given] of [
        [-32000, -32000],
        [-32603, -32603],
        [1234, 1234],
        [-32002, -32602],
        [-32042, -32603],
        [-32050, -32603],
      ] as const) {
        const { status, answer } = await client.tool('fail', { code, message: 'told so', data: { why: 'x' } });
        expect([status, answer.error.code, answer.error.message], String(code)).to.deep.equal([200, given, 'told so']);
      }
    });
  });

  describe('and sessions of the old era', () => {
    it('have nothing to do with each other: no id is given out, and one that comes along is ignored', async () => {
      const client = gateway.client('fixture');
      const { pid } = jsonIn(await client.tool('pid'));
      for (const id of ['f'.repeat(48), 'no-such', '']) {
        const answer = await client.tool('pid', {}, {}, { 'Mcp-Session-Id': id });
        expect(answer.headers['mcp-session-id']).to.equal(undefined);
        expect(jsonIn(answer).pid, id).to.equal(pid);
      }
    });
  });

  describe('keep what is several calls’ apart', () => {
    it('log messages that could be of either of two calls reach neither', async () => {
      const client = gateway.client('fixture');
      const stop = new AbortController();
      const hung = client.open(client.message('tools/call', { name: 'hang' }, logLevel('debug')), {}, stop);
      hung.catch(() => undefined);
      await until('the call hangs', async () => jsonIn(await client.tool('state')).called.hang === 1);
      const told = await client.tool('log', { text: 'whose?' }, logLevel('debug'));
      expect(told.messages).to.have.length(1);
      stop.abort();
      await until('it is cancelled', async () => jsonIn(await client.tool('state')).cancelled !== '');
      const alone = await client.tool('log', { text: 'mine' }, logLevel('warning'));
      const levels = alone.messages.slice(0, -1).map(({ params }) => params.level);
      expect(levels).to.deep.equal(['warning', 'error', 'critical', 'alert', 'emergency']);
      expect(JSON.stringify(client.seen)).to.not.contain('whose?');
    });

    it('fifty calls at once with the same id and the same progress token each get their own answer', async () => {
      const client = gateway.client('fixture');
      const all = await Promise.all(
        Array.from({ length: 50 }, (_, i) => {
          const message = client.message('tools/call', { name: 'slow', arguments: { ms: 10 + i, steps: 1 } });
          message.id = 'same';
          message.params._meta.progressToken = 7;
          return client.post(message);
        }),
      );
      for (const [i, { messages }] of all.entries()) {
        expect(messages.map(({ params }) => params?.progressToken)).to.deep.equal([7, undefined]);
        expect(messages[1].id).to.equal('same');
        expect(messages[1].result.content[0].text).to.equal(`slept for ${10 + i} ms`);
      }
    });
  });
});
