/** Networks as they are: a reverse proxy that hangs up on what is silent for a minute, and a client that loses its connection every two seconds. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { expect } from 'chai';
import { setTimeout as pause } from 'node:timers/promises';
import { IdleProxy } from '../support/idle-proxy';
import { McpClient, textOf } from '../support/mcp';
import { type ModernGateway, startModernGateway, textIn } from '../support/modern-gateway';
import { startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';
import { ResumingClient } from '../support/resuming-client';
import { CuttingProxy } from '../support/cutting-proxy';

/** What a reverse proxy waits by default. */
const IDLE_MS = 60_000;
/** Longer than that. */
const SILENT_MS = 65_000;

const CUT_EVERY_MS = 2_000;
const CUT_FOR_MS = 60_000;
const CALL_MS = 5_000;

describe('a network between client and gateway', function () {
  this.timeout(180_000);
  let gateway: ModernGateway;
  /** Both networks work at the same time, because each takes a minute; a test waits for the outcome of its own. */
  let silence: Promise<void>;
  let cuts: Promise<void>;

  before(async () => {
    gateway = await startModernGateway(startNameForge, { fixture: { command: [await childCommand('fixture-child')] } });
    silence = survivesSilence();
    cuts = survivesCuts();
    for (const work of [silence, cuts]) work.catch(() => undefined); // a failure is its test's
  });

  after(async () => {
    await Promise.allSettled([silence, cuts]);
    await gateway?.stop();
  });

  const tokenOf = (user: string): string => gateway.tokenOf(user);

  async function survivesSilence(): Promise<void> {
    const proxy = await IdleProxy.start(gateway.urlOf('fixture'), IDLE_MS);
    const silent = { ms: SILENT_MS, steps: 1 };
    const legacy = new McpClient(proxy.url, tokenOf('alice'));
    const modern = gateway.client('fixture');
    Object.assign(modern, { url: proxy.url });
    const official = new Client({ name: 'official', version: '1' });
    try {
      await legacy.initialize();
      const headers = { Authorization: `Bearer ${tokenOf('bob')}` };
      await official.connect(new StreamableHTTPClientTransport(new URL(proxy.url), { requestInit: { headers } }));
      const request = modern.message('subscriptions/listen', { notifications: { toolsListChanged: true } });
      const listening = await modern.open(request);
      expect((await listening.next()).method).to.equal('notifications/subscriptions/acknowledged');
      const answered = await Promise.all([
        legacy.call('slow', silent, { timeout: 120_000 }).then(({ answer }) => textOf(answer)),
        modern.post(modern.message('tools/call', { name: 'slow', arguments: silent }), {}, 120_000).then(textIn),
        official
          .callTool({ name: 'slow', arguments: silent }, undefined, { timeout: 120_000 })
          .then((result) => (result.content as { text: string }[])[0]?.text),
      ]);
      expect(answered).to.deep.equal(Array(3).fill(`slept for ${SILENT_MS} ms`));
      await modern.tool('notify', { method: 'notifications/tools/list_changed' });
      expect((await listening.next()).method).to.equal('notifications/tools/list_changed');
      listening.close();
      expect(proxy.hungUp).to.deep.equal([]);
    } finally {
      await legacy.end();
      await legacy.close();
      await official.close();
      await proxy.stop();
    }
  }

  async function survivesCuts(): Promise<void> {
    const url = gateway.urlOf('fixture');
    const [first, second] = [await CuttingProxy.start(url), await CuttingProxy.start(url)];
    const faults: string[] = [];
    const official = new Client({ name: 'official', version: '1' });
    official.onerror = (error) => void faults.push(error.message);
    const raw = new ResumingClient(second.url, tokenOf('bob'));
    const over = Date.now() + CUT_FOR_MS;
    let cutting: NodeJS.Timeout | undefined;
    try {
      await official.connect(
        new StreamableHTTPClientTransport(new URL(first.url), {
          requestInit: { headers: { Authorization: `Bearer ${tokenOf('alice')}` } },
          reconnectionOptions: {
            ...{ initialReconnectionDelay: 50, maxReconnectionDelay: 500 },
            ...{ reconnectionDelayGrowFactor: 1.5, maxRetries: 20 },
          },
        }),
      );
      await raw.initialize();
      // Two calls at once from each client, one after the other for a minute; what is cut before it was told its place cannot be resumed.
      const calls = async (call: (ms: number) => Promise<string>, begun: () => Promise<void>): Promise<number> => {
        let n = 0;
        for (; Date.now() < over; n += 2) {
          const two = [CALL_MS + n, CALL_MS + n + 1].map(async (ms) => [await call(ms), `slept for ${ms} ms`]);
          await begun();
          for (const [text, expected] of await Promise.all(two)) expect(text).to.equal(expected);
        }
        return n;
      };
      const primed = (proxy: CuttingProxy) => async (): Promise<void> => {
        const open = (): number => proxy.of('tools/call').filter(({ text }) => /^id: /m.test(text)).length;
        const before = open();
        while (open() < before + 2 && Date.now() < over) await pause(10);
      };
      const cut = (): void => {
        first.cut();
        second.cut();
      };
      cutting = setInterval(cut, CUT_EVERY_MS);
      const counts = await Promise.all([
        calls(async (ms) => {
          const result = await official.callTool({ name: 'slow', arguments: { ms, steps: 1 } }, undefined, {
            timeout: 60_000,
          });
          return (result.content as { text: string }[])[0]?.text ?? '';
        }, primed(first)),
        calls((ms) => raw.text('slow', { ms, steps: 1 }), primed(second)),
      ]);
      for (const count of counts) expect(count).to.be.at.least(10);
      // Each one once, at the client and at the child.
      expect(faults.filter((fault) => /unknown message id/i.test(fault))).to.deep.equal([]);
      expect(raw.doubled).to.deep.equal([]);
      for (const proxy of [first, second]) {
        const asked = proxy.of('tools/call').length;
        expect(asked).to.equal(counts[proxy === first ? 0 : 1]);
        expect(proxy.exchanges.filter(({ lastEventId }) => lastEventId !== undefined).length).to.be.at.least(asked);
      }
    } finally {
      clearInterval(cutting);
      await official.close();
      await raw.close();
      await first.stop();
      await second.stop();
    }
  }

  it('that hangs up after 60 s of silence answers calls of more than that, in which the child says nothing, in both eras', () =>
    silence);

  it('that breaks every connection every 2 s for a minute: every call of 5 s is answered exactly once', () => cuts);
});
