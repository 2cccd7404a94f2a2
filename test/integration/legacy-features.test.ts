/** All that a server may say and ask in the revisions with sessions, through the whole gateway to the official client, by both transports. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  PromptListChangedNotificationSchema,
  ResourceListChangedNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
  type JSONRPCMessage,
} from '@modelcontextprotocol/sdk/types.js';
import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand, peerFolder } from '../support/peers';
import { until } from '../support/until';

/** The official Python client on the old transport: a handshake, the tools, a call, and what it was told meanwhile. */
const PYTHON = `
import asyncio, json, os, sys
from mcp import ClientSession
from mcp.client.sse import sse_client

async def main():
    logged = []
    async def log(params):
        logged.append(params.data)
    headers = {"Authorization": "Bearer " + os.environ["MCP_TOKEN"]}
    async with sse_client(sys.argv[1], headers=headers) as (read, write):
        async with ClientSession(read, write, logging_callback=log) as session:
            opened = await session.initialize()
            names = [tool.name for tool in (await session.list_tools()).tools]
            result = await session.call_tool("notify", {"n": 3})
            echoed = await session.call_tool("echo", {"text": "é"})
            print(json.dumps({
                "revision": opened.protocol_version,
                "echo": "echo" in names,
                "said": result.content[0].text,
                "echoed": echoed.content[0].text,
                "logged": logged,
            }))

asyncio.run(main())
`;

describe('what servers say and ask in the revisions with sessions', function () {
  this.timeout(120_000);
  let gateway: BearerGateway<NameForge>;
  const opened: Client[] = [];

  before(async () => {
    const settings = { http: { keepalive: '1s' }, sessions: { maxPerUser: 100 } };
    const fixture = { command: [await childCommand('fixture-child')] };
    gateway = await startBearerGateway(startNameForge, { fixture }, settings);
  });

  after(() => gateway?.stop());

  afterEach(async () => {
    for (const client of opened.splice(0)) await client.close();
  });

  const urlOf = (path: string): URL => new URL(`/servers/fixture/${path}`, gateway.gateway.url);
  const token = (): string => gateway.tokenOf('alice');
  const textOf = (result: unknown): string => (result as { content: { text: string }[] }).content[0]?.text ?? '';
  const jsonOf = (result: unknown): any => JSON.parse(textOf(result)) as unknown;
  const init = () => ({ requestInit: { headers: { Authorization: `Bearer ${token()}` } } });

  for (const [name, transportOf] of Object.entries({
    'Streamable HTTP': () => new StreamableHTTPClientTransport(urlOf('mcp'), init()),
    'HTTP with SSE': () => new SSEClientTransport(urlOf('sse'), init()),
    'HTTP with SSE at the URL of the endpoint': () => new SSEClientTransport(urlOf('mcp'), init()),
  })) {
    describe(`by ${name}`, () => {
      let client: Client;
      /** Progress by its token as it came: the client forgets a call's handler before it has handed on what came right before the answer. */
      let progress: Map<unknown, number[]>;

      beforeEach(async () => {
        client = new Client(
          { name: 'test', version: '1' },
          { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
        );
        opened.push(client);
        const transport = transportOf();
        await client.connect(transport);
        progress = new Map();
        const hand = transport.onmessage;
        transport.onmessage = (message: JSONRPCMessage) => {
          if ('method' in message && message.method === 'notifications/progress') {
            const { progressToken, progress: at } = message.params as { progressToken: number; progress: number };
            progress.set(progressToken, [...(progress.get(progressToken) ?? []), at]);
          }
          hand?.(message);
        };
      });

      const ask = (method: string, params: object = {}) =>
        client.callTool({ name: 'ask', arguments: { method, params } });
      const notify = (method: string, params?: object) =>
        client.callTool({ name: 'notify', arguments: { method, ...(params === undefined ? {} : { params }) } });

      it('passes sampling on, and the answer back', async () => {
        client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
          role: 'assistant',
          model: 'none',
          content: { type: 'text', text: `sampled ${String(params.maxTokens)}` },
        }));
        const params = { messages: [{ role: 'user', content: { type: 'text', text: 'x' } }], maxTokens: 7 };
        expect(textOf(await ask('sampling/createMessage', params))).to.contain('sampled 7');
      });

      it('passes elicitation on, as a form and as a URL, with every action', async () => {
        const seen: (string | undefined)[] = [];
        client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
          seen.push(params.mode);
          if (params.mode === 'url') return { action: 'decline' };
          return params.message === 'cancel' ? { action: 'cancel' } : { action: 'accept', content: { name: 'é' } };
        });
        const requestedSchema = { type: 'object', properties: { name: { type: 'string' } } };
        expect(jsonOf(await ask('elicitation/create', { mode: 'form', message: 'x', requestedSchema }))).to.deep.equal({
          action: 'accept',
          content: { name: 'é' },
        });
        expect(jsonOf(await ask('elicitation/create', { message: 'cancel', requestedSchema })).action).to.equal(
          'cancel',
        );
        const url = { mode: 'url', message: 'go', url: 'https://example.org/', elicitationId: 'e1' };
        expect(jsonOf(await ask('elicitation/create', url)).action).to.equal('decline');
        expect(seen.at(-1)).to.equal('url');
      });

      it('passes roots on, and that they have changed', async () => {
        const roots = [{ uri: 'file:///work', name: 'work' }];
        client.setRequestHandler(ListRootsRequestSchema, () => ({ roots }));
        expect(jsonOf(await ask('roots/list'))).to.deep.equal({ roots });
        await client.sendRootsListChanged();
      });

      it('passes the error of a client on that cannot do what it is asked', async () => {
        expect(textOf(await ask('sampling/createMessage', { messages: [], maxTokens: 1 }))).to.contain('-32601');
      });

      it('pings in both directions', async () => {
        await client.ping();
        expect(jsonOf(await ask('ping'))).to.deep.equal({});
      });

      it('passes progress on with its call, and it keeps a call alive', async () => {
        const result = await client.callTool({ name: 'slow', arguments: { ms: 2_000, steps: 8 } }, undefined, {
          onprogress: () => undefined,
          timeout: 1_500,
          resetTimeoutOnProgress: true,
        });
        expect(textOf(result)).to.equal('slept for 2000 ms');
        expect([...progress.values()]).to.deep.equal([[1, 2, 3, 4, 5, 6, 7, 8]]);
      });

      it('passes log messages on, and the level that is wanted', async () => {
        const logged: unknown[] = [];
        client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logged.push(params.data));
        await client.setLoggingLevel('warning');
        await client.callTool({ name: 'notify', arguments: { n: 20 } });
        await until('all of them', async () => logged.length === 20);
        expect(logged).to.deep.equal(Array.from({ length: 20 }, (_, i) => `notification ${String(i + 1)}`));
        expect(jsonOf(await client.callTool({ name: 'state' })).logLevel).to.equal('warning');
      });

      it('cancels a call at the child', async () => {
        const given = new AbortController();
        const calling = client.callTool({ name: 'hang' }, undefined, { signal: given.signal });
        const state = async (): Promise<any> => jsonOf(await client.callTool({ name: 'state' }));
        await state();
        given.abort('enough');
        await calling.then(
          () => expect.fail('it was answered'),
          () => undefined,
        );
        await until('the cancellation', async () => String((await state()).cancelled) !== '');
      });

      it('completes', async () => {
        const { completion } = await client.complete({
          ref: { type: 'ref/prompt', name: 'greet' },
          argument: { name: 'name', value: 'al' },
        });
        expect(completion.values).to.deep.equal(['alice', 'albert']);
      });

      it('subscribes to a resource, hears of it, and unsubscribes', async () => {
        const updated: string[] = [];
        client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updated.push(params.uri));
        const [resource] = (await client.listResources()).resources;
        const uri = String(resource?.uri);
        await client.subscribeResource({ uri });
        await notify('notifications/resources/updated', { uri });
        await until('the update', async () => updated.length === 1);
        expect(updated).to.deep.equal([uri]);
        await client.unsubscribeResource({ uri });
      });

      it('tells of lists that changed', async () => {
        const seen: string[] = [];
        client.setNotificationHandler(ToolListChangedNotificationSchema, () => void seen.push('tools'));
        client.setNotificationHandler(PromptListChangedNotificationSchema, () => void seen.push('prompts'));
        client.setNotificationHandler(ResourceListChangedNotificationSchema, () => void seen.push('resources'));
        for (const list of ['tools', 'prompts', 'resources']) await notify(`notifications/${list}/list_changed`);
        await until('all of them', async () => seen.length === 3);
        expect(seen.sort()).to.deep.equal(['prompts', 'resources', 'tools']);
      });

      it('keeps 30 calls at once apart, each with its question and its progress', async () => {
        client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [] }));
        await Promise.all(
          Array.from({ length: 30 }, async (_, i) => {
            const slow = client.callTool({ name: 'slow', arguments: { ms: 50 + i, steps: 3 } }, undefined, {
              onprogress: () => undefined,
            });
            expect(jsonOf(await ask('roots/list'))).to.deep.equal({ roots: [] });
            expect(textOf(await slow)).to.equal(`slept for ${String(50 + i)} ms`);
          }),
        );
        expect(progress.size).to.equal(30);
        for (const seen of progress.values()) expect(seen).to.deep.equal([1, 2, 3]);
      });
    });
  }

  it('serves the official Python client by HTTP with SSE', async () => {
    const python = join(await peerFolder('python-client'), 'bin/python');
    const { stdout } = await promisify(execFile)(python, ['-c', PYTHON, urlOf('sse').href], {
      env: { PATH: process.env.PATH, MCP_TOKEN: token(), NO_PROXY: '*' },
      timeout: 60_000,
    });
    expect(JSON.parse(stdout)).to.deep.equal({
      revision: '2025-11-25',
      echo: true,
      said: 'sent 3',
      echoed: 'é',
      logged: ['notification 1', 'notification 2', 'notification 3'],
    });
  });
});
