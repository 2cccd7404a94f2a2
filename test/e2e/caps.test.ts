/** Caps over three gateways on the real API server. */
import { expect } from 'chai';
import { get, kubectl } from '../support/cluster';
import { installed, type Installed } from '../support/installed';
import type { McpClient, McpResponse } from '../support/mcp';
import { until } from '../support/until';

const SERVER = 'capped';
const MAX = 4;
const INITIALIZE = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } };

describe('caps over three gateways', function () {
  this.timeout(180_000);
  let app: Installed;
  const clients: McpClient[] = [];

  before(async function () {
    this.timeout(900_000);
    app = await installed();
    await app.scaleGateways(3);
    await app.applyServer(SERVER, { maxSessions: MAX });
    await app.served(SERVER);
    for (const user of ['alice', 'bob']) clients.push(await app.client(user, SERVER)); // a login is for all that follow
  });

  after(async function () {
    this.timeout(300_000);
    const session = ['-l', `forgejo-mcp-operator/server=${SERVER}`, '--wait=false'];
    await kubectl(['-n', app.sessionsNamespace, 'delete', 'mcpsessions', ...session]);
    await app.removeServer(SERVER);
    await Promise.all(clients.map((client) => client.close()));
    // The tests of the other files look into the one gateway that there is.
    await app.scaleGateways(1);
  });

  /** Over a connection of its own, which leads to any of the gateways. */
  const open = async (user: string): Promise<McpResponse> => {
    const client = await app.client(user, SERVER);
    clients.push(client);
    return client.request('initialize', INITIALIZE, { timeout: 150_000 });
  };
  const live = async (): Promise<any[]> => {
    const labels = `forgejo-mcp-operator/server=${SERVER},forgejo-mcp-operator/live=true`;
    const found = await kubectl(['-n', app.sessionsNamespace, 'get', 'mcpsessions', '-l', labels, '-o', 'json']);
    return (JSON.parse(found) as { items: any[] }).items;
  };

  it('of 40 that initialize at once as many as may be are open, at whatever gateway; the others are told 503 with Retry-After', async () => {
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => open(n % 2 === 0 ? 'alice' : 'bob')));
    expect(answers.filter(({ status }) => status === 200)).to.have.length(MAX);
    for (const { status, headers, text } of answers) {
      if (status === 200) continue;
      expect(status, text).to.equal(503);
      expect(Number(headers['retry-after'])).to.be.above(0);
      expect(text).to.match(/SESSION_CAP_(SERVER|USER)/);
    }
    await until('the others have ended', async () => (await live()).length === MAX);
    const sessions = await live();
    expect(sessions.map(({ status }) => [status.state, status.admitted])).to.deep.equal(
      Array(MAX).fill(['Active', true]),
    );
    const pods = (await app.sessionPods()).filter(({ session }) =>
      sessions.some(({ metadata }) => metadata.name === session),
    );
    expect(pods).to.have.length(MAX);
  });

  it('leave a place when a session is deleted, and no more than that one', async () => {
    const [one] = await live();
    await kubectl(['-n', app.sessionsNamespace, 'delete', 'mcpsession', one.metadata.name, '--wait=false']);
    await until('there is a place', async () => (await open('alice')).status === 200, 60_000);
    expect((await open('bob')).status).to.equal(503);
    expect(await live()).to.have.length(MAX);
    expect((await get<any>('mcpserver', SERVER, app.namespace)).spec.maxSessions).to.equal(MAX);
  });
});
