/** What MCP 2026-07-28 asks of a server, said to the whole gateway in plain HTTP. In front of children of either era. */
import { expect } from 'chai';
import { cites } from '../requirements';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import { messagesIn, recordingChild } from '../support/recording-child';
import { META, StatelessClient, type StatelessAnswer } from '../support/stateless-client';
import { until } from '../support/until';

describe('requirements of MCP 2026-07-28', function () {
  this.timeout(120_000);
  let gateway: BearerGateway<NameForge>;
  const opened: StatelessClient[] = [];

  before(async () => {
    const servers = {
      fixture: { command: [await childCommand('fixture-child')] },
      legacy: { command: recordingChild('legacy') },
      probed: { command: recordingChild('legacy') },
      modern: { command: recordingChild('modern') },
    };
    gateway = await startBearerGateway(startNameForge, servers, { sessions: { maxPerUser: 100 } });
  });

  after(() => gateway?.stop());

  /** Holds for every message of every test. */
  afterEach(async () => {
    cites('2026-07-28/cancellation/3', '2026-07-28/patterns/1', '2026-07-28/streamable-http/17');
    for (const client of opened.splice(0)) {
      for (const { id, method } of client.seen) {
        expect([id, method], 'a request').to.satisfy(() => id === undefined || method === undefined);
        expect(method).to.not.equal('notifications/cancelled');
      }
      await client.close();
    }
  });

  const clientOf = (server: string, capabilities: object = {}, user = 'alice'): StatelessClient => {
    const client = new StatelessClient(gateway.urlOf(server), gateway.tokenOf(user), capabilities);
    opened.push(client);
    return client;
  };

  const refused = ({ status, answer }: StatelessAnswer, code: number, id: unknown, expected = 400): void => {
    expect([status, answer?.error?.code, answer?.id]).to.deep.equal([expected, code, id]);
    expect(answer.error.message).to.be.a('string').that.is.not.empty;
  };

  const ELICIT = {
    mode: 'form',
    message: 'Who?',
    requestedSchema: { type: 'object', properties: { name: { type: 'string' } } },
  };
  const asking = { name: 'ask', arguments: { method: 'elicitation/create', params: ELICIT } };
  const FORMS = { elicitation: { form: {} } };

  describe('what every request says of itself', () => {
    it('is refused with 400 and -32602 where version or capabilities are missing', async () => {
      cites('2026-07-28/basic/48', '2026-07-28/basic/49', '2026-07-28/basic/50', '2026-07-28/basic/12');
      const client = clientOf('legacy');
      for (const missing of ['protocolVersion', 'clientCapabilities']) {
        const message = client.message('tools/list');
        delete message.params._meta[META + missing];
        refused(await client.post(message), -32602, message.id);
      }
      const message = client.message('tools/list');
      delete message.params;
      refused(await client.post(message), -32602, message.id);
    });

    it('is refused with 400 and -32022, which lists what is served, for a version that is not', async () => {
      cites('2026-07-28/streamable-http/26', '2026-07-28/basic/13');
      const client = clientOf('legacy');
      for (const version of ['2027-01-01', '2099-12-31']) {
        const message = client.message('tools/list', {}, { [`${META}protocolVersion`]: version });
        const answer = await client.post(message, { 'MCP-Protocol-Version': version });
        refused(answer, -32022, message.id);
        expect(answer.answer.error.data.supported).to.include('2026-07-28');
        expect(answer.answer.error.data.requested).to.equal(version);
      }
    });

    it('is all that is known of the client: no capability of an earlier request, or of another connection, counts', async () => {
      cites('2026-07-28/basic/24', '2026-07-28/schema/10', '2026-07-28/basic/52');
      const [able, unable] = [clientOf('fixture', FORMS), clientOf('fixture')];
      expect((await able.call('tools/call', asking)).answer.result.resultType).to.equal('input_required');
      const message = { ...able.message('tools/call', asking) };
      message.params = { ...message.params, _meta: unable.meta() };
      const answer = await able.post(message);
      refused(answer, -32021, message.id);
      refused(await unable.post(unable.message('tools/call', asking)), -32021, 'r1');
    });
  });

  describe('headers', () => {
    it('that say another thing than the body, or are missing, are refused with 400 and -32020', async () => {
      cites(
        '2026-07-28/streamable-http/9',
        '2026-07-28/streamable-http/23',
        '2026-07-28/streamable-http/24',
        '2026-07-28/streamable-http/25',
        '2026-07-28/streamable-http/29',
        '2026-07-28/streamable-http/56',
        '2026-07-28/streamable-http/62',
        '2026-07-28/streamable-http/66',
      );
      const client = clientOf('legacy');
      for (const headers of [
        { 'MCP-Protocol-Version': '2025-11-25' },
        { 'MCP-Protocol-Version': undefined },
        { 'Mcp-Method': 'tools/list' },
        { 'Mcp-Method': 'TOOLS/CALL' },
        { 'Mcp-Method': undefined },
        { 'Mcp-Name': 'other' },
        { 'Mcp-Name': undefined },
      ]) {
        const message = client.message('tools/call', { name: 'mirror', arguments: {} });
        refused(await client.post(message, headers), -32020, message.id);
      }
      const resource = client.message('resources/read', { uri: 'a:b' });
      refused(await client.post(resource, { 'Mcp-Name': 'a:c' }), -32020, resource.id);
    });

    it('are found whatever the case of their names [2026-07-28/streamable-http/61]', async () => {
      const client = clientOf('legacy');
      const message = client.message('tools/call', { name: 'mirror', arguments: { count: 1 } });
      const headers = {
        'MCP-Protocol-Version': undefined,
        'Mcp-Method': undefined,
        'Mcp-Name': undefined,
        'mcp-PROTOCOL-version': '2026-07-28',
        'MCP-METHOD': 'tools/call',
        'mcp-name': 'mirror',
        'MCP-PARAM-COUNT': '1',
      };
      expect((await client.post(message, headers)).status).to.equal(200);
    });

    it('are decoded before they are compared, by their mark in lower case alone', async () => {
      cites('2026-07-28/streamable-http/47', '2026-07-28/streamable-http/48', '2026-07-28/streamable-http/49');
      const client = clientOf('legacy');
      const encoded = (text: string): string => Buffer.from(text).toString('base64');
      const uri = 'note:ü 👩‍👩‍👧';
      const read = client.message('resources/read', { uri });
      expect((await client.post(read, { 'Mcp-Name': `=?base64?${encoded(uri)}?=` })).status).to.equal(200);
      for (const name of [
        `=?BASE64?${encoded('mirror')}?=`,
        `=?Base64?${encoded('mirror')}?=`,
        `=?base64?${encoded('other')}?=`,
        '=?base64?!!!?=',
      ]) {
        const message = client.message('tools/call', { name: 'mirror', arguments: {} });
        refused(await client.post(message, { 'Mcp-Name': name }), -32020, message.id);
      }
      const region = { region: 'Zürich' };
      const headers = { 'Mcp-Param-Region': `=?base64?${encoded('Zürich')}?=` };
      expect((await client.tool('mirror', region, {}, headers)).status).to.equal(200);
      refused(await client.tool('mirror', { region: 'Bern' }, {}, headers), -32020, 'r7');
    });

    it('of parameters that a tool marks must be those of the body, and absent where there is none', async () => {
      cites(
        '2026-07-28/streamable-http/54',
        '2026-07-28/streamable-http/55',
        '2026-07-28/streamable-http/57',
        '2026-07-28/streamable-http/58',
        '2026-07-28/streamable-http/59',
        '2026-07-28/streamable-http/60',
        '2026-07-28/streamable-http/63',
      );
      const client = clientOf('legacy');
      const given = { region: 'eu', count: 42, flag: true, plain: 'p' };
      const right = { 'Mcp-Param-Region': 'eu', 'Mcp-Param-Count': '42', 'Mcp-Param-Flag': 'true' };
      expect((await client.tool('mirror', given, {}, right)).answer.result.params.arguments).to.deep.equal(given);
      expect((await client.tool('mirror', given, {}, { ...right, 'Mcp-Param-Count': '42.0' })).status).to.equal(200);
      expect((await client.tool('mirror', { region: null, plain: 'p' })).status).to.equal(200);
      expect((await client.tool('mirror', {})).status).to.equal(200);
      for (const wrong of [
        { 'Mcp-Param-Region': 'us' },
        { 'Mcp-Param-Region': undefined },
        { 'Mcp-Param-Region': 'e\u0007u' },
        { 'Mcp-Param-Count': '43' },
        { 'Mcp-Param-Count': 'forty-two' },
        { 'Mcp-Param-Flag': 'false' },
      ]) {
        const message = client.message('tools/call', { name: 'mirror', arguments: given });
        const sent = client.post(message, { ...right, ...wrong }).catch((thrown: unknown) => thrown as Error);
        const answer = await sent;
        if (answer instanceof Error)
          expect(answer.message).to.match(/invalid .*header/i); // the client's own library refuses to send it
        else refused(answer, -32020, message.id);
      }
    });

    it('of parameters that no tool marks are let pass [2026-07-28/streamable-http/53]', async () => {
      const answer = await clientOf('legacy').tool(
        'mirror',
        { plain: 'p' },
        {},
        { 'Mcp-Param-Plain': 'x', 'Mcp-Param-Y': '' },
      );
      expect(answer.status).to.equal(200);
    });
  });

  describe('POST', () => {
    it('is answered 406 unless it accepts JSON and an event stream [2026-07-28/streamable-http/8]', async () => {
      const client = clientOf('legacy');
      for (const accept of ['application/json', 'text/event-stream', 'text/html']) {
        expect((await client.call('tools/list', {}, {}, { accept })).status, accept).to.equal(406);
      }
    });

    it('takes one request or notification: 400 for a batch, and for an answer of a client', async () => {
      cites('2026-07-28/streamable-http/10', '2026-07-28/streamable-http/11', '2026-07-28/patterns/1');
      const client = clientOf('legacy');
      const headers = { 'Mcp-Method': undefined };
      expect((await client.post([client.message('tools/list')], { 'Mcp-Method': 'tools/list' })).status).to.equal(400);
      expect((await client.post({ jsonrpc: '2.0', id: 1, result: {} }, headers)).status).to.equal(400);
      expect((await client.post({ jsonrpc: '2.0', id: 1, error: { code: 1, message: '' } }, headers)).status).to.equal(
        400,
      );
    });

    it('of a notification is answered 202 without a body, or with an error status where it cannot be taken', async () => {
      cites('2026-07-28/streamable-http/12', '2026-07-28/streamable-http/13', '2026-07-28/basic/22');
      const client = clientOf('legacy');
      const { id: _, ...notification } = client.message('notifications/x');
      const taken = await client.post(notification);
      expect([taken.status, taken.text]).to.deep.equal([202, '']);
      for (const [wrong, headers, status] of [
        [{ ...notification, jsonrpc: '1.0' }, {}, 400],
        [{ ...notification, params: [1] }, {}, 400],
        [notification, { 'content-type': 'text/plain' }, 415],
        [notification, { authorization: undefined }, 401],
      ] as const) {
        expect((await client.post(wrong, headers)).status).to.equal(status);
      }
    });

    it('of a request is answered by one JSON object, or by a stream that ends with the answer', async () => {
      cites(
        '2026-07-28/streamable-http/1',
        '2026-07-28/streamable-http/14',
        '2026-07-28/streamable-http/18',
        '2026-07-28/streamable-http/19',
        '2026-07-28/basic/1',
        '2026-07-28/basic/6',
        '2026-07-28/transports/2',
      );
      const client = clientOf('fixture');
      const plain = await client.tool('echo', { text: 'one' });
      expect(plain.headers['content-type']).to.equal('application/json');
      expect(plain.answer).to.deep.include({ jsonrpc: '2.0', id: 'r1' });
      expect(plain.answer.result.content[0].text).to.equal('one');
      const streamed = await client.tool('slow', { ms: 20, steps: 2 }, { progressToken: 'p' });
      expect(streamed.headers['content-type']).to.equal('text/event-stream');
      expect(streamed.headers['x-accel-buffering']).to.equal('no');
      expect(streamed.messages.at(-1)).to.deep.include({ jsonrpc: '2.0', id: 'r2' });
      expect(streamed.messages.at(-1).result.content[0].text).to.contain('20 ms');
    });

    it('of an unknown method, and of one that this revision has no more, is answered 404 and -32601', async () => {
      cites('2026-07-28/streamable-http/27', '2026-07-28/basic/12', '2026-07-28/basic/13');
      const client = clientOf('legacy');
      for (const method of ['no/such', 'ping', 'logging/setLevel', 'resources/subscribe', 'resources/unsubscribe']) {
        const message = client.message(method);
        refused(await client.post(message), -32601, message.id, 404);
      }
    });
  });

  describe('results', () => {
    it('say their type, and which server made them', async () => {
      cites('2026-07-28/basic/8', '2026-07-28/basic/9', '2026-07-28/basic/55');
      for (const server of ['fixture', 'legacy', 'modern']) {
        const client = clientOf(server);
        for (const method of ['server/discover', 'tools/list', 'prompts/list', 'resources/list']) {
          const { result } = (await client.call(method)).answer;
          expect(result.resultType, `${server} ${method}`).to.equal('complete');
          expect(result._meta[`${META}serverInfo`]?.name, `${server} ${method}`).to.be.a('string');
        }
      }
    });

    it('of server/discover tell versions and capabilities, prompts among them', async () => {
      cites('2026-07-28/versioning/3', '2026-07-28/prompts/2');
      for (const server of ['fixture', 'legacy', 'modern']) {
        const { result } = (await clientOf(server).call('server/discover')).answer;
        expect(result.supportedVersions, server).to.include('2026-07-28');
        expect(result.capabilities, server).to.include.keys('tools', 'prompts', 'resources');
      }
    });

    it('that can be kept say for how long, and that they are private, on every page', async () => {
      cites(
        '2026-07-28/caching/1',
        '2026-07-28/caching/8',
        '2026-07-28/caching/12',
        '2026-07-28/caching/16',
        '2026-07-28/caching/17',
        '2026-07-28/caching/18',
        '2026-07-28/caching/19',
      );
      for (const server of ['fixture', 'legacy', 'modern']) {
        const client = clientOf(server);
        for (const [method, params] of [
          ['server/discover', {}],
          ['tools/list', {}],
          ['prompts/list', {}],
          ['resources/list', {}],
          ['resources/templates/list', {}],
          ['resources/list', { cursor: 'second' }],
          ['resources/read', { uri: 'fixture://note' }],
        ] as const) {
          const { headers, answer } = await client.call(method, params);
          expect(answer.result.ttlMs, `${server} ${method}`).to.be.a('number').that.is.at.least(0);
          expect(answer.result.cacheScope, `${server} ${method}`).to.equal('private');
          expect(headers['cache-control'], `${server} ${method}`).to.match(/no-store|no-cache/);
        }
      }
    });

    it('of lists are the same over any connection, whatever was asked before', async () => {
      cites('2026-07-28/prompts/4', '2026-07-28/tools/7', '2026-07-28/basic/26');
      const client = clientOf('fixture');
      const lists = async (from: StatelessClient): Promise<unknown[]> =>
        Promise.all(
          ['tools/list', 'prompts/list', 'resources/list'].map(
            async (method) => (await from.call(method)).answer.result,
          ),
        );
      const first = await lists(client);
      await client.tool('notify', { method: 'notifications/tools/list_changed' });
      expect(await lists(client)).to.deep.equal(first);
      expect(await lists(clientOf('fixture'))).to.deep.equal(first);
    });

    it('for a resource that is not there are the error -32602, never -32002', async () => {
      cites('2026-07-28/resources/9', '2026-07-28/basic/19');
      const client = clientOf('fixture');
      const { status, answer } = await client.call('resources/read', { uri: 'fixture://nothing' });
      expect([status, answer.error.code]).to.deep.equal([200, -32602]);
    });
  });

  it('progress has the token of its own request, and ends with the answer', async () => {
    cites('2026-07-28/progress/5', '2026-07-28/progress/8', '2026-07-28/streamable-http/16');
    const client = clientOf('fixture');
    const both = await Promise.all([
      client.tool('slow', { ms: 60, steps: 3 }, { progressToken: 'same' }),
      client.tool('slow', { ms: 60, steps: 3 }, { progressToken: 'same' }),
      client.tool('slow', { ms: 60, steps: 3 }),
    ]);
    for (const [at, { messages }] of both.entries()) {
      const progress = messages.slice(0, -1);
      expect(progress.map(({ method }) => method)).to.deep.equal(at < 2 ? Array(3).fill('notifications/progress') : []);
      expect(progress.map(({ params }) => params.progress)).to.deep.equal(at < 2 ? [1, 2, 3] : []);
      for (const { params } of progress) expect(params.progressToken).to.equal('same');
      expect(messages.at(-1)).to.have.property('result');
    }
  });

  it('log messages come with the request that asked for their level, and with no other', async () => {
    cites('2026-07-28/logging/3', '2026-07-28/logging/4');
    const client = clientOf('fixture');
    const logged = ({ messages }: StatelessAnswer): string[] =>
      messages.filter(({ method }) => method === 'notifications/message').map(({ params }) => params.level);
    const level = (wanted: string): object => ({ [`${META}logLevel`]: wanted });
    expect(logged(await client.tool('notify', { n: 2 }))).to.deep.equal([]);
    expect(logged(await client.tool('notify', { n: 2 }, level('info')))).to.deep.equal(['info', 'info']);
    expect(logged(await client.tool('notify', { n: 2 }, level('error')))).to.deep.equal([]);
    expect(logged(await client.tool('notify', { n: 2 }))).to.deep.equal([]);
  });

  it('a log level that there is not is refused with -32602 [2026-07-28/logging/5]', async () => {
    const client = clientOf('fixture');
    for (const level of ['loud', 3, null]) {
      const { answer } = await client.tool('echo', { text: 'x' }, { [`${META}logLevel`]: level });
      expect(answer.error?.code, String(level)).to.equal(-32602);
    }
  });

  describe('input that a result requires', () => {
    it('is asked for by keys of their own and a sealed state, and completes the call under another id', async () => {
      cites(
        '2026-07-28/mrtr/1',
        '2026-07-28/mrtr/5',
        '2026-07-28/mrtr/6',
        '2026-07-28/mrtr/11',
        '2026-07-28/mrtr/19',
        '2026-07-28/basic/28',
        '2026-07-28/streamable-http/17',
        '2026-07-28/patterns/1',
      );
      const client = clientOf('fixture', { ...FORMS, sampling: {}, roots: {} });
      for (const [method, params, response] of [
        ['elicitation/create', ELICIT, { action: 'accept', content: { name: 'x' } }],
        [
          'sampling/createMessage',
          { messages: [], maxTokens: 5 },
          { role: 'assistant', model: 'm', content: { type: 'text', text: 't' } },
        ],
        ['roots/list', {}, { roots: [{ uri: 'file:///a' }] }],
      ] as const) {
        const call = { name: 'ask', arguments: { method, params } };
        const { status, answer } = await client.call('tools/call', call);
        const { resultType, inputRequests, requestState } = answer.result;
        expect([status, resultType], method).to.deep.equal([200, 'input_required']);
        const keys = Object.keys(inputRequests);
        expect(keys).to.have.length(1);
        expect(inputRequests[keys[0]].method).to.equal(method);
        expect(requestState).to.be.a('string').that.is.not.empty;
        const inputResponses = { [keys[0]]: response };
        const done = await client.call('tools/call', { ...call, requestState, inputResponses });
        expect(done.answer.id).to.not.equal(answer.id);
        expect(done.answer.result.resultType, method).to.equal('complete');
        expect(JSON.parse(done.answer.result.content[0].text)).to.deep.equal(response);
      }
    });

    const begin = async (client: StatelessClient): Promise<{ key: string; requestState: string }> => {
      const { result } = (await client.call('tools/call', asking)).answer;
      return { key: Object.keys(result.inputRequests)[0] ?? '', requestState: result.requestState };
    };
    const accept = (key: string): object => ({ [key]: { action: 'accept', content: { name: 'x' } } });

    it('counts once, for its user and its request, and not when the seal is broken', async () => {
      cites('2026-07-28/mrtr/7', '2026-07-28/mrtr/8', '2026-07-28/mrtr/9', '2026-07-28/mrtr/10', '2026-07-28/mrtr/22');
      const [alice, bob] = [clientOf('fixture', FORMS), clientOf('fixture', FORMS, 'bob')];
      const { key, requestState } = await begin(alice);
      const inputResponses = accept(key);
      const at = Math.floor(requestState.length / 2);
      const changed = requestState.slice(0, at) + (requestState[at] === 'A' ? 'B' : 'A') + requestState.slice(at + 1);
      const other = { ...asking, arguments: { ...asking.arguments, more: 1 } };
      for (const [client, call, state] of [
        [alice, asking, changed],
        [alice, asking, requestState.slice(0, -3)],
        [alice, asking, ''],
        [alice, other, requestState],
        [bob, asking, requestState],
      ] as const) {
        const { answer } = await client.call('tools/call', { ...call, requestState: state, inputResponses });
        expect(answer.error?.code).to.equal(-32602);
      }
      const good = { ...asking, requestState, inputResponses };
      expect((await alice.call('tools/call', good)).answer.result.resultType).to.equal('complete');
      expect((await alice.call('tools/call', good)).answer.error?.code).to.equal(-32602);
    });

    it('may be declined, cancelled, be another thing, or never come', async () => {
      cites('2026-07-28/elicitation/22', '2026-07-28/mrtr/14', '2026-07-28/mrtr/23', '2026-07-28/mrtr/24');
      const client = clientOf('fixture', FORMS);
      await begin(client); // and never comes back
      for (const action of ['decline', 'cancel']) {
        const { key, requestState } = await begin(client);
        const inputResponses = { [key]: { action }, unasked: { action: 'accept' } };
        const { answer } = await client.call('tools/call', { ...asking, requestState, inputResponses });
        expect(JSON.parse(answer.result.content[0].text)).to.deep.equal({ action });
      }
      const { requestState } = await begin(client);
      const again = await client.call('tools/call', { ...asking, requestState, inputResponses: {} });
      expect(again.answer.result.resultType).to.equal('input_required');
      expect((await client.tool('echo', { text: 'on' })).answer.result.content[0].text).to.equal('on');
    });

    it('is not asked of a client that has not declared it: 400, -32021 and what is missing', async () => {
      cites(
        '2026-07-28/basic/52',
        '2026-07-28/basic/53',
        '2026-07-28/basic/54',
        '2026-07-28/mrtr/12',
        '2026-07-28/mrtr/13',
      );
      const client = clientOf('fixture', { sampling: {} });
      const message = client.message('tools/call', asking);
      const answer = await client.post(message);
      refused(answer, -32021, message.id);
      expect(answer.answer.error.data.requiredCapabilities).to.have.property('elicitation');
    });

    it('is never required by any other request [2026-07-28/mrtr/4]', async () => {
      const client = clientOf('legacy', FORMS);
      const messages = [{ id: 'q', method: 'elicitation/create', params: ELICIT }];
      for (const method of [
        'tools/list',
        'prompts/list',
        'resources/list',
        'resources/templates/list',
        'completion/complete',
      ]) {
        const { answer } = await client.call(method, { messages });
        expect(answer.result?.resultType, method).to.equal('complete');
      }
    });
  });

  describe('a request whose stream is closed', () => {
    for (const server of ['legacy', 'modern'] as const) {
      it(`is cancelled at a child of the ${server} era by a notification`, async () => {
        cites(
          '2026-07-28/cancellation/4',
          '2026-07-28/cancellation/5',
          '2026-07-28/streamable-http/20',
          '2026-07-28/streamable-http/21',
          '2026-07-28/streamable-http/22',
          '2026-07-28/cancellation/1',
          '2026-07-28/stdio/9',
        );
        const client = clientOf(server);
        const read = async (): Promise<any[]> => messagesIn((await client.tool('read')).answer.result.stdin as string);
        const abort = new AbortController();
        const message = client.message('tools/call', { name: 'hang', arguments: {} });
        const gone = client.open(message, {}, abort).catch(() => 'gone');
        const hung = await until('the call to reach the child', async () =>
          (await read()).find(({ method, params }) => method === 'tools/call' && params.name === 'hang'),
        );
        abort.abort();
        expect(await gone).to.equal('gone');
        await until('its cancellation to reach the child', async () =>
          (await read()).some(
            ({ method, params }) => method === 'notifications/cancelled' && params.requestId === hung.id,
          ),
        );
      });
    }
  });

  describe('subscriptions/listen', () => {
    for (const server of ['fixture', 'modern'] as const) {
      it(`is acknowledged first, names itself in each message, and tells what was asked for only (${server})`, async () => {
        cites(
          '2026-07-28/subscriptions/1',
          '2026-07-28/subscriptions/2',
          '2026-07-28/basic/57',
          '2026-07-28/subscriptions/4',
          '2026-07-28/tools/9',
        );
        const client = clientOf(server);
        const request = client.message('subscriptions/listen', { notifications: { toolsListChanged: true } });
        const stream = await client.open(request);
        expect(stream.status).to.equal(200);
        const first = await stream.next();
        expect(first.method).to.equal('notifications/subscriptions/acknowledged');
        expect(first.params.notifications).to.deep.equal({ toolsListChanged: true });
        if (server === 'modern') await client.tool('change');
        else {
          await client.tool('notify', { method: 'notifications/prompts/list_changed' });
          await client.tool('notify', { method: 'notifications/resources/updated', params: { uri: 'fixture://note' } });
          await client.tool('notify', { method: 'notifications/message' });
          await client.tool('notify', { method: 'notifications/tools/list_changed' });
        }
        const second = await stream.next();
        expect(second.method).to.equal('notifications/tools/list_changed');
        for (const { params } of [first, second]) expect(params._meta[`${META}subscriptionId`]).to.equal(request.id);
        stream.close();
      });
    }
  });

  it('a subscription that the gateway ends when it stops is answered before its stream closes', async () => {
    cites('2026-07-28/subscriptions/5', '2026-07-28/subscriptions/6');
    const stopping = await startBearerGateway(startNameForge, { default: { command: recordingChild('legacy') } });
    const client = new StatelessClient(stopping.url, stopping.tokenOf('alice'));
    opened.push(client);
    const request = client.message('subscriptions/listen', { notifications: { toolsListChanged: true } });
    const stream = await client.open(request);
    expect((await stream.next()).method).to.equal('notifications/subscriptions/acknowledged');
    const stopped = stopping.stop();
    const { id, result } = await stream.next();
    expect([id, result.resultType, result._meta[`${META}subscriptionId`]]).to.deep.equal([
      request.id,
      'complete',
      request.id,
    ]);
    expect(await stream.next()).to.equal(undefined);
    await stopped;
  });

  it('a child that ended and was started again is subscribed to again [2026-07-28/subscriptions/7]', async () => {
    const client = clientOf('modern', { sampling: {} });
    const listen = { notifications: { toolsListChanged: true } };
    for (const round of [1, 2]) {
      const stream = await client.open(client.message('subscriptions/listen', listen));
      expect((await stream.next()).method).to.equal('notifications/subscriptions/acknowledged');
      const read = messagesIn((await client.tool('read')).answer.result.stdin as string);
      expect(
        read.filter(({ method }) => method === 'subscriptions/listen'),
        `round ${round}`,
      ).to.have.length(1);
      await client.tool('change');
      expect((await stream.next()).method).to.equal('notifications/tools/list_changed');
      await client.tool('exit');
      const last = await stream.next();
      if (last !== undefined) expect(last).to.not.have.property('method');
    }
  });

  describe('a child', () => {
    it('of the old era is known by its error to server/discover, and is initialized [2026-07-28/stdio/16]', async () => {
      const { answer } = await clientOf('probed').tool('read');
      const methods = messagesIn(answer.result.stdin as string).map(({ method }) => method);
      expect(methods.slice(0, 3)).to.deep.equal(['server/discover', 'initialize', 'notifications/initialized']);
      expect(methods.at(-1)).to.equal('tools/call');
    });

    it('of this era is sent requests and notifications alone, and each has its _meta', async () => {
      cites('2026-07-28/stdio/6', '2026-07-28/stdio/15', '2026-07-28/versioning/9', '2026-07-28/basic/48');
      const client = clientOf('modern', { roots: {} });
      await client.call('tools/list');
      const { answer } = await client.tool('read');
      const read = messagesIn(answer.result.stdin as string);
      for (const message of read) {
        expect(message.method).to.be.a('string');
        if (message.id === undefined) continue;
        expect(message.params._meta).to.include({ [`${META}protocolVersion`]: '2026-07-28' });
        expect(message.params._meta).to.have.property(`${META}clientCapabilities`);
      }
      expect(read[0].method).to.equal('server/discover');
      expect(read.map(({ method }) => method)).to.not.include('initialize');
    });
  });
});
