/** Connections that break under calls, with the official client and real children behind the whole gateway: every call is answered exactly once. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ListRootsRequestSchema, LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { expect } from 'chai';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import { CuttingProxy } from '../support/cutting-proxy';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import { until } from '../support/until';

describe('connections that break under calls', function () {
  this.timeout(180_000);
  let gateway: BearerGateway<NameForge>;
  let proxy: CuttingProxy;
  let client: Client;
  /** Messages of the client that it could make nothing of: a second answer is one. */
  let faults: string[];

  before(async () => {
    const settings = { http: { keepalive: '1s' }, sessions: { maxPerUser: 100 } };
    const fixture = { command: [await childCommand('fixture-child')] };
    gateway = await startBearerGateway(startNameForge, { fixture }, settings);
  });

  after(() => gateway?.stop());

  beforeEach(async () => {
    proxy = await CuttingProxy.start(gateway.urlOf('fixture'));
    faults = [];
    client = new Client({ name: 'test', version: '1' }, { capabilities: { roots: {} } });
    client.onerror = (error) => void faults.push(error.message);
    await client.connect(
      new StreamableHTTPClientTransport(new URL(proxy.url), {
        requestInit: { headers: { Authorization: `Bearer ${gateway.tokenOf('alice')}` } },
        reconnectionOptions: {
          initialReconnectionDelay: 50,
          maxReconnectionDelay: 500,
          reconnectionDelayGrowFactor: 1.5,
          maxRetries: 20,
        },
      }),
    );
    await until('its GET stream', async () =>
      proxy.exchanges.some(({ method, status }) => method === 'GET' && status === 200),
    );
  });

  afterEach(async () => {
    await client.close();
    await proxy.stop();
  });

  const textOf = (result: unknown): string => (result as { content: { text: string }[] }).content[0]?.text ?? '';
  const streaming = (count: number): Promise<boolean> =>
    until('the calls to stream', async () => {
      const calls = proxy.of('tools/call');
      return calls.length === count && calls.every(({ text }) => text.includes('\n\n'));
    });
  const doubled = (): string[] => faults.filter((fault) => fault.includes('unknown message ID'));

  it('a client takes the answer later, with the progress that it missed, of a call that was silent so far', async () => {
    const progress: number[] = [];
    const call = client.callTool({ name: 'slow', arguments: { ms: 1_500, steps: 3 } }, undefined, {
      onprogress: ({ progress: at }) => progress.push(at),
    });
    await streaming(1);
    proxy.cut();
    expect(textOf(await call)).to.equal('slept for 1500 ms');
    expect(progress).to.deep.equal([1, 2, 3]);
    expect(doubled()).to.deep.equal([]);
    expect(proxy.exchanges.some(({ lastEventId }) => lastEventId?.startsWith('p') === true)).to.equal(true);
  });

  it('a question of the server in such a call is asked once, and answered', async () => {
    let asked = 0;
    client.setRequestHandler(ListRootsRequestSchema, async () => {
      asked += 1;
      proxy.cut();
      await until('both to be resumed', async () => {
        const resumed = proxy.exchanges.filter(
          ({ lastEventId, status }) => status === 200 && lastEventId !== undefined,
        );
        return resumed.length >= 2;
      });
      return { roots: [{ uri: 'file:///x' }] };
    });
    const question = client.callTool({ name: 'ask', arguments: { method: 'roots/list' } });
    expect(textOf(await question)).to.contain('file:///x');
    expect(asked).to.equal(1);
    expect(doubled()).to.deep.equal([]);
  });

  it('20 calls at once lose their connections again and again, and each is answered once, with all of its progress', async () => {
    const cutting = setInterval(() => proxy.cut(), 700);
    try {
      // What is cut before it is primed cannot be resumed, so they begin before the cuts do.
      const progress = Array.from({ length: 20 }, (): number[] => []);
      const calls = progress.map((seen, i) =>
        client.callTool({ name: 'slow', arguments: { ms: 4_000 + i * 10, steps: 20 } }, undefined, {
          onprogress: ({ progress: at }) => seen.push(at),
        }),
      );
      await streaming(20);
      const texts = (await Promise.all(calls)).map(textOf);
      texts.forEach((text, i) => expect(text).to.equal(`slept for ${String(4_000 + i * 10)} ms`));
      for (const seen of progress) expect(seen).to.deep.equal(Array.from({ length: 20 }, (_, i) => i + 1));
      expect(doubled()).to.deep.equal([]);
    } finally {
      clearInterval(cutting);
    }
  });

  it('what belongs to no call comes once, whichever stream carries it, across breaks', async () => {
    const logged: number[] = [];
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
      logged.push(Number(String(params.data).split(' ')[1]));
    });
    // Two calls at once, so that what the child says belongs to neither.
    const other = client.callTool({ name: 'slow', arguments: { ms: 12_000, steps: 1 } });
    const call = client.callTool({ name: 'notify', arguments: { n: 200, everyMs: 40 } });
    await streaming(2);
    for (let i = 0; i < 4 && logged.length < 150; i += 1) {
      const before = logged.length;
      proxy.cut();
      await until('more messages', async () => logged.length > before);
    }
    await Promise.all([call, other]);
    await until('all of them', async () => logged.length >= 200);
    expect(logged.sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 200 }, (_, i) => i + 1));
    expect(doubled()).to.deep.equal([]);
  });

  it('gets comments on every stream: of a call that is silent, of one that was resumed, and of a GET', async () => {
    const call = client.callTool({ name: 'slow', arguments: { ms: 6_000, steps: 1 } });
    await streaming(1);
    const isComment = (text: string): boolean => text.includes(': keepalive\n\n');
    await until('comments', async () => {
      const streams = proxy.exchanges.filter(({ method, rpc }) => method === 'GET' || rpc === 'tools/call');
      return streams.length === 2 && streams.every(({ text }) => isComment(text));
    });
    proxy.cut();
    await until('comments on what was resumed', async () => {
      const resumed = proxy.exchanges.filter(({ lastEventId }) => lastEventId !== undefined);
      return (
        resumed.length >= 2 && resumed.some(({ lastEventId, text }) => lastEventId?.startsWith('p') && isComment(text))
      );
    });
    expect(textOf(await call)).to.equal('slept for 6000 ms');
  });
});
