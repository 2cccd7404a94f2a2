/** The conformance suite's requirements of servers, through the installed gateway to a real child in a pod. There are no expected failures. */
import { expect } from 'chai';
import { authorizingShim } from '../support/authorizing-shim';
import { conformanceServer, report, type Revision } from '../support/conformance-server';
import { installed, type Installed } from '../support/installed';
import type { Loopback } from '../support/loopback';
import { until } from '../support/until';

/** How many scenarios each revision requires: a set that shrank would not be noticed otherwise. */
const REQUIRED: readonly { readonly revision: Revision; readonly scenarios: number }[] = [
  { revision: '2025-11-25', scenarios: 30 },
  { revision: '2026-07-28', scenarios: 37 },
];
/** Its sessions idle out soon, because the suite does not end them all. */
const SERVER = 'conformance';

/**
 * The suite gives the first event of a call 600 ms, and takes a kind of client for it that it was not before: a new pod, which needs longer than that to
 * start. So it is started before.
 */
async function warm(url: string): Promise<void> {
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientInfo': { name: 'conformance-client', version: '1.0.0' },
    'io.modelcontextprotocol/clientCapabilities': { elicitation: {} },
  };
  const answer = await fetch(url, {
    method: 'POST',
    headers: {
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/list',
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta } }),
    signal: AbortSignal.timeout(60_000),
  });
  expect(answer.status, await answer.text()).to.equal(200);
}

describe('conformance server --requirements REVISION, a pod for each session', () => {
  let app: Installed;
  let shim: Loopback;
  let pods: number;

  before(async function () {
    this.timeout(600_000);
    app = await installed();
    pods = (await app.sessionPods()).length;
    shim = await authorizingShim(new URL(app.url()).origin, () => app.token('alice', SERVER));
  });

  after(async function () {
    this.timeout(150_000);
    await shim?.close();
    await until('the pods are gone', async () => (await app.sessionPods()).length <= pods, 120_000);
  });

  for (const { revision, scenarios } of REQUIRED) {
    it(`${revision}: ${scenarios}/${scenarios}`, async function () {
      this.timeout(300_000);
      const url = `${shim.url}${new URL(app.url(SERVER)).pathname}`;
      if (revision === '2026-07-28') await warm(url);
      const { status, score, required, others, output } = await conformanceServer(url, revision);
      console.log(`      conformance ${revision}: ${score}`);
      // Tasks are an extension that the child does not have.
      for (const line of report(others.filter(({ name }) => !name.startsWith('tasks-')))) {
        console.log(`        (not scored) ${line}`);
      }
      const failed = required.filter(({ passed }) => !passed);
      expect(failed, [...report(failed), output].join('\n')).to.deep.equal([]);
      expect(score).to.equal(`${scenarios}/${scenarios}`);
      expect(status, 'exit status').to.equal(0);
    });
  }
});
