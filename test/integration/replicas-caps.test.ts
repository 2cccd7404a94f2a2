/** Three gateways that share their sessions' records: the caps are those of all together. Real HTTP to each; children are fakes. */
import { expect } from 'chai';
import { ask } from '../support/gateway-app';
import { Install, type SharedGateway } from '../support/several-gateways';
import { until } from '../support/until';

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};

describe('the caps of three gateways', function () {
  this.timeout(60_000);
  let install: Install;

  const start = async (changes: Parameters<typeof Install.of>[1]): Promise<void> => {
    install = await Install.of(3, changes);
  };
  afterEach(() => install.stop());

  const at = (n: number): SharedGateway => install.gateways[n % 3];
  /** Opens one as a user: whoever begins with the same letter is the same one. */
  const open = ({ app }: SharedGateway, user = 'alice') =>
    ask(app, { headers: { authorization: `Bearer ${user}` }, body: INITIALIZE });
  const openAll = (count: number, user?: (n: number) => string) =>
    Promise.all(Array.from({ length: count }, (_, n) => open(at(n), user?.(n))));
  const children = (): number =>
    install.gateways.reduce((sum, { children: all }) => sum + all.filter(({ running }) => running).length, 0);

  it('are never passed by 200 who initialize at once: as many as may be have a session, the others 503 with Retry-After', async () => {
    await start({ maxTotal: 20 });
    const answers = await openAll(200, (n) => `${String.fromCharCode(97 + (n % 26))}-user`);
    const opened = answers.filter(({ status }) => status === 200);
    expect(opened).to.have.length(20);
    for (const { status, headers, json } of answers) {
      if (status === 200) continue;
      expect(status).to.equal(503);
      expect(Number(headers['retry-after'])).to.be.above(0);
      expect(JSON.stringify(json)).to.include('SESSION_CAP_INSTALL');
    }
    expect(children()).to.equal(20);
    const live = [...install.records.values()].filter(({ state }) => state !== 'ended');
    expect(live.map(({ state }) => state)).to.deep.equal(Array(20).fill('active'));
  });

  it('leave a place as soon as a session of another gateway ends', async () => {
    await start({ maxPerUser: 3 });
    const answers = await openAll(3);
    expect(answers.map(({ status }) => status)).to.deep.equal([200, 200, 200]);
    expect((await open(at(1))).status).to.equal(503);
    expect((await open(at(1), 'bob')).status, 'somebody else').to.equal(200);
    const headers = { 'mcp-session-id': String(answers[0]?.headers['mcp-session-id']) };
    expect((await ask(at(2).app, { method: 'DELETE', headers })).status).to.equal(204);
    await until('there is a place', async () => (await open(at(1))).status === 200);
    expect((await open(at(0))).status).to.equal(503);
  });

  it('go for the rate as well', async () => {
    await start({ opensPerMinute: 10 });
    const answers = await openAll(60);
    expect(answers.filter(({ status }) => status === 200)).to.have.length(10);
    expect(JSON.stringify(answers.find(({ status }) => status === 503)?.json)).to.include('SPAWN_RATE');
  });
});
