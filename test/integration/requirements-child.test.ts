/** What the MCP specification asks of the gateway as the client of its child, seen by a real child on real pipes behind the whole gateway. */
import { expect } from 'chai';
import { cites } from '../requirements';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import { McpClient } from '../support/mcp';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import { recordingChild } from '../support/recording-child';

describe('requirements that a child sees', function () {
  this.timeout(120_000);
  let gateway: BearerGateway<NameForge>;
  const opened: McpClient[] = [];

  before(async () => {
    gateway = await startBearerGateway(startNameForge, {
      recording: { command: recordingChild('legacy') },
      fixture: { command: [await childCommand('fixture-child')] },
    });
  });

  after(() => gateway?.stop());

  afterEach(async () => {
    for (const client of opened.splice(0)) {
      if (client.sessionId !== undefined) await client.end();
      await client.close();
    }
  });

  const clientOf = (server: string, user = 'alice'): McpClient => {
    const client = new McpClient(gateway.urlOf(server), gateway.tokenOf(user));
    opened.push(client);
    return client;
  };

  const initialize = async (client: McpClient, protocolVersion: string): Promise<any> => {
    const { headers, answer } = await client.request('initialize', {
      protocolVersion,
      capabilities: {},
      clientInfo: { name: 'test', version: '1' },
    });
    client.sessionId = headers['mcp-session-id'] as string;
    return answer?.result;
  };

  describe('the agreed revision', () => {
    for (const revision of ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']) {
      it(`is ${revision} for a client that offers it [2024-11-05/lifecycle/9]`, async () => {
        const result = await initialize(clientOf('fixture'), revision);
        expect(result).to.include({ protocolVersion: revision });
        expect(result).to.have.property('capabilities').that.is.an('object');
        expect(result.serverInfo).to.have.property('name').that.is.a('string');
      });
    }

    it("is the child's newest for a client that offers one that it does not speak", async () => {
      cites('2024-11-05/lifecycle/10', '2024-11-05/lifecycle/11', '2024-11-05/lifecycle/3');
      for (const offered of ['1.0.0', '2030-01-01']) {
        expect(await initialize(clientOf('fixture'), offered), offered).to.include({ protocolVersion: '2025-11-25' });
      }
    });
  });

  it('its stdin holds messages only, each in one line, however the client wrote them', async () => {
    cites('2024-11-05/transports/2', '2024-11-05/transports/4', '2025-03-26/transports/1');
    const client = clientOf('recording');
    await client.initialize();
    const text = 'line\nfeed, carriage\rreturn, \u2028, 👩‍👩‍👧';
    const params = { text, nested: [1, { a: null }] };
    const spread = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'x', params }, null, 4).replaceAll('\n', '\r\n');
    expect((await client.post(spread)).status).to.equal(200);
    expect(
      (await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 99 } })).status,
    ).to.equal(202);
    const { answer } = await client.request('read');
    const stdin = Buffer.from(String(answer?.result.stdin), 'base64').toString('utf8');
    expect(stdin.endsWith('\n')).to.equal(true);
    const lines = stdin.slice(0, -1).split('\n');
    for (const line of lines) {
      const message = JSON.parse(line) as Record<string, unknown>;
      expect(message.jsonrpc, line).to.equal('2.0');
      expect(message.method, line).to.be.a('string');
      expect(line).to.not.contain('\r');
    }
    const sent = lines.map((line) => JSON.parse(line) as { method: string; params: unknown });
    expect(sent.map(({ method }) => method)).to.include.members([
      'initialize',
      'notifications/initialized',
      'x',
      'read',
    ]);
    expect(sent.find(({ method }) => method === 'x')?.params).to.deep.equal(params);
  });

  it('reserved keys of _meta pass in both directions as they are [2025-06-18/basic/14]', async () => {
    const client = clientOf('recording');
    await client.initialize();
    const _meta = { 'io.modelcontextprotocol/unheard-of': { a: [1] }, 'com.example/x': '2', traceparent: '00-1-2-03' };
    const { answer } = await client.request('x', { _meta });
    expect(answer?.result.params._meta).to.deep.equal(_meta);
    const said = { jsonrpc: '2.0', method: 'notifications/x', params: { _meta } };
    expect((await client.request('say', { messages: [said] })).messages).to.deep.equal([said]);
  });

  it('cursors go back to it as it gave them, and pages of any size to the client', async () => {
    cites('2024-11-05/pagination/1', '2024-11-05/pagination/4', '2026-07-28/pagination/6');
    const client = clientOf('recording');
    await client.initialize();
    for (const cursor of ['', ' a/b+c== ', '{"page":2}', 'ü\u0000']) {
      const { answer } = await client.request('tools/list', { cursor });
      expect(answer?.result.params).to.deep.equal({ cursor });
    }
  });

  it('tasks are polled and fetched with plain answers of the transport', async () => {
    cites('2025-11-25/tasks/9', '2025-11-25/tasks/24');
    const client = clientOf('recording');
    await client.initialize();
    for (const method of ['tasks/get', 'tasks/result', 'tasks/list', 'tasks/cancel']) {
      const params = { taskId: 't', _meta: { 'io.modelcontextprotocol/related-task': { taskId: 't' } } };
      const { status, headers, answer } = await client.request(method, params);
      expect([status, headers['content-type']]).to.deep.equal([200, 'application/json']);
      expect(answer?.result.params).to.deep.equal(params);
    }
  });

  it('the end of an elicitation, and the status of a task, reach the client of its own session only', async () => {
    cites('2025-11-25/elicitation/13', '2025-11-25/elicitation/20', '2025-11-25/tasks/69');
    const [one, other] = [clientOf('recording'), clientOf('recording')];
    const told = (elicitationId: string): object => ({
      jsonrpc: '2.0',
      method: 'notifications/elicitation/complete',
      params: { elicitationId },
    });
    for (const client of [one, other]) await client.initialize();
    const [first, second] = await Promise.all([
      one.request('say', { messages: [told('a')] }),
      other.request('say', { messages: [told('b')] }),
    ]);
    expect(first.messages).to.deep.equal([told('a')]);
    expect(second.messages).to.deep.equal([told('b')]);
  });
});
