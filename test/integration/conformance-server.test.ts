/** The conformance suite's requirements of servers, through the gateway to a real child over stdio. There are no expected failures. */
import { expect } from 'chai';
import { authorizingShim, type AuthorizingShim } from '../support/authorizing-shim';
import { conformanceServer, report, type Revision } from '../support/conformance-server';
import { type LocalGateway, startGateway } from '../support/gateway';
import { type NameForge, startNameForge } from '../support/name-forge';
import { childCommand } from '../support/peers';

/** How many scenarios each revision requires: a set that shrank would not be noticed otherwise. */
const REQUIRED: readonly { readonly revision: Revision; readonly scenarios: number }[] = [
  { revision: '2025-11-25', scenarios: 30 },
];

describe('conformance server --requirements REVISION, a process for each session', function () {
  this.timeout(300_000);
  let forge: NameForge;
  let gateway: LocalGateway;
  let shim: AuthorizingShim;

  before(async () => {
    forge = await startNameForge();
    gateway = await startGateway({
      auth: { mode: 'bearer' },
      sessions: { maxPerUser: 0, opensPerMinutePerUser: 0 },
      servers: [
        { name: 'everything', command: [await childCommand('everything-server')], forgejo: { url: forge.url } },
      ],
    });
    shim = await authorizingShim(gateway.gateway.url, () => Promise.resolve('alice'));
  });

  after(async () => {
    await shim?.close();
    await gateway?.stop();
    await forge?.close();
  });

  for (const { revision, scenarios } of REQUIRED) {
    it(`${revision}: ${scenarios}/${scenarios}`, async () => {
      const { status, score, required, others, output } = await conformanceServer(`${shim.url}/mcp`, revision);
      console.log(`      conformance ${revision}: ${score}`);
      for (const line of report(others)) console.log(`        (not scored) ${line}`);
      const failed = required.filter(({ passed }) => !passed);
      expect(failed, [...report(failed), output].join('\n')).to.deep.equal([]);
      expect(score).to.equal(`${scenarios}/${scenarios}`);
      expect(status, 'exit status').to.equal(0);
    });
  }
});
