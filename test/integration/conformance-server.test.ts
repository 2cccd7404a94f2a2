/** The conformance suite's requirements of servers, through the gateway to a real child over stdio. What is scored has no expected failures. */
import { expect } from 'chai';
import { authorizingShim } from '../support/authorizing-shim';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import { conformanceServer, report, type Revision, type ServerVerdict } from '../support/conformance-server';
import type { Loopback } from '../support/loopback';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';

/** How many scenarios each revision requires: a set that shrank would not be noticed otherwise. */
const REQUIRED: readonly { readonly revision: Revision; readonly scenarios: number }[] = [
  { revision: '2025-11-25', scenarios: 30 },
  { revision: '2026-07-28', scenarios: 37 },
];

/**
 * These look for names of questions that the suite's own tools choose (`user_name`, `step1`). A request of the old era carries no name, so one that
 * asks by it cannot be told what to name it; that its question reaches the client and the answer comes back is what the other scenarios show.
 */
const NAMED = ['input-required-result-basic-elicitation', 'input-required-result-multi-round'];

describe('conformance server --requirements REVISION, a process for each session', function () {
  this.timeout(300_000);
  let gateway: BearerGateway<NameForge>;
  let shim: Loopback;

  before(async () => {
    const command = [await childCommand('everything-server')];
    gateway = await startBearerGateway(
      startNameForge,
      { auto: { command, protocolEra: 'auto' }, legacy: { command, protocolEra: 'legacy' } },
      { sessions: { maxPerUser: 0, opensPerMinutePerUser: 0 } },
    );
    shim = await authorizingShim(gateway.gateway.url, () => Promise.resolve('alice'));
  });

  after(async () => {
    await shim?.close();
    await gateway?.stop();
  });

  const run = async (child: string, revision: Revision): Promise<ServerVerdict> => {
    const verdict = await conformanceServer(`${shim.url}/servers/${child}/mcp`, revision);
    console.log(`      conformance ${revision}: ${verdict.score}`);
    // Tasks are an extension that the child does not have.
    for (const line of report(verdict.others.filter(({ name }) => !name.startsWith('tasks-')))) {
      console.log(`        (not scored) ${line}`);
    }
    return verdict;
  };

  for (const { revision, scenarios } of REQUIRED) {
    it(`${revision}: ${scenarios}/${scenarios}`, async () => {
      const { status, score, required, output } = await run('auto', revision);
      const failed = required.filter(({ passed }) => !passed);
      expect(failed, [...report(failed), output].join('\n')).to.deep.equal([]);
      expect(score).to.equal(`${scenarios}/${scenarios}`);
      expect(status, 'exit status').to.equal(0);
    });
  }

  it('2026-07-28 in front of a child of the old era alone: all but what looks for names that the old era does not have', async () => {
    const { required, output } = await run('legacy', '2026-07-28');
    const failed = required.filter(({ passed }) => !passed);
    expect(
      failed.map(({ name }) => name),
      [...report(failed), output].join('\n'),
    ).to.deep.equal(NAMED);
  });
});
