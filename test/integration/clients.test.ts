/** Every official client in a whole conversation with a real child behind the gateway; what each does by itself is in docs/clients.md. */
import { expect } from 'chai';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import {
  cancels,
  isCut,
  losesItsChild,
  opens,
  QUESTIONS,
  SDK_CLIENTS,
  startsAgain,
  talks,
} from '../support/conversation';
import { CuttingProxy } from '../support/cutting-proxy';
import { calling, inspect, inspector } from '../support/inspector';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand, type DrivenClient } from '../support/peers';
import { until } from '../support/until';

describe('official clients', function () {
  this.timeout(120_000);
  let gateway: BearerGateway<NameForge>;
  let proxy: CuttingProxy;
  let token: string;

  before(async () => {
    const fixture = { command: [await childCommand('fixture-child')] };
    gateway = await startBearerGateway(startNameForge, { fixture }, { sessions: { maxPerUser: 100 } });
    token = gateway.tokenOf('alice');
  });
  after(() => gateway?.stop());
  beforeEach(async () => {
    proxy = await CuttingProxy.start(gateway.url);
  });
  afterEach(() => proxy.stop());

  for (const real of SDK_CLIENTS) {
    describe(real.name, () => {
      let client: DrivenClient;
      beforeEach(async () => {
        client = await real.start(proxy.url, token);
        await opens(real, client);
      });
      afterEach(() => client.stop());

      it('lists, calls, answers what it is asked, and shows progress and log messages', () => talks(real, client));
      it('gives a call up', () => cancels(real, client));
      it('goes on after its connections were cut', () => isCut(real, client, proxy));
      it('begins again when its child has died', async () => {
        await losesItsChild(client);
        await startsAgain(real, client, proxy);
      });
      if (real.habits.ended === 'has no sessions') return;
      it('begins again when its session was deleted', async () => {
        const headers = { authorization: `Bearer ${token}`, 'mcp-session-id': proxy.session! };
        expect((await fetch(gateway.url, { method: 'DELETE', headers })).status).to.equal(204);
        await startsAgain(real, client, proxy);
      });
    });
  }

  for (const era of ['legacy', 'modern'] as const) {
    describe(`the inspector's command line, ${era}`, () => {
      const run = (...more: string[]) => inspect(proxy.url, token, '--protocol-era', era, ...more);

      it('lists and calls', async () => {
        const listed = await run('--method', 'tools/list');
        expect(listed.printed.result.tools.map(({ name }: { name: string }) => name)).to.include('echo');
        const called = await run(...calling('echo', { text: 'a\u00a0b 👩‍👩‍👧' }));
        expect(called.printed.result.content[0].text).to.equal('a\u00a0b 👩‍👩‍👧');
        expect(called.exit).to.equal(0);
        expect(proxy.exchanges.at(-1)?.revision).to.equal(era === 'legacy' ? '2025-11-25' : '2026-07-28');
      });

      it('has nobody to ask: it declares neither sampling nor elicitation, and has no roots', async () => {
        const ask = (method: keyof typeof QUESTIONS) => run(...calling('ask', { method, params: QUESTIONS[method] }));
        expect((await ask('roots/list')).printed.result.content[0].text).to.equal('{"roots":[]}');
        const [elicited, sampled] = [await ask('elicitation/create'), await ask('sampling/createMessage')];
        expect(sampled.exit).not.to.equal(0);
        if (era === 'legacy') {
          expect(elicited.printed.result.content[0].text).to.equal('{"action":"cancel"}');
        } else {
          for (const { stderr } of [elicited, sampled]) expect(stderr).to.contain('has not declared');
        }
      });

      it('gives its call up when it is interrupted, and tells the server only where closing says so', async () => {
        const cut = await inspector(
          proxy.url,
          token,
          '--protocol-era',
          era,
          ...calling('notify', { n: 60, everyMs: 100 }),
        );
        await until('the call is under way', async () =>
          proxy.of('tools/call').some(({ text }) => text.includes('notification 1')),
        );
        cut.signal('SIGINT');
        expect((await cut.done).exit).not.to.equal(0);
        expect(proxy.of('notifications/cancelled')).to.have.length(0);
        if (era === 'legacy') return;
        // The next run is the same client to the gateway, and so has the same child.
        await until('the child is told', async () => {
          const state = (await run(...calling('state'))).printed.result.content[0].text;
          return (JSON.parse(state) as { cancelled: string }).cancelled !== '';
        });
      });

      it('says what ended, and begins again with the next run', async () => {
        const ended = await run(...calling('exit', { code: 3 }));
        expect(ended.exit).not.to.equal(0);
        expect(ended.stderr + JSON.stringify(ended.printed)).to.match(/ended by itself \(exit code 3\)/);
        expect((await run(...calling('echo', { text: 'anew' }))).printed.result.content[0].text).to.equal('anew');
      });
    });
  }

  it("the inspector's command line takes the answer of a call whose connection was cut", async () => {
    const cut = await inspector(proxy.url, token, ...calling('slow', { ms: 2000, steps: 2 }));
    await until('the call is under way', async () => proxy.of('tools/call').some(({ text }) => /^id: /m.test(text)));
    proxy.cut();
    expect((await cut.done).printed.result.content[0].text).to.equal('slept for 2000 ms');
    expect(proxy.of('tools/call')).to.have.length(1);
  });

  it("the inspector's command line leaves the session of each run behind", async () => {
    await inspect(proxy.url, token, '--method', 'tools/list');
    expect(proxy.session).to.be.a('string');
    expect(proxy.exchanges.some(({ method }) => method === 'DELETE')).to.equal(false);
  });
});
