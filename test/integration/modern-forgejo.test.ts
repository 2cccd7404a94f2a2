/** MCP 2026-07-28 in front of a real Forgejo child, whose SDK (rmcp) may or may not survive a question before `initialize`. */
import { expect } from 'chai';
import { type ModernGateway, SERVER_INFO, startModernGateway } from '../support/modern-gateway';
import { type Forge, startForge } from '../support/forge';
import { childCommand } from '../support/peers';
import { REVISION, type StatelessAnswer } from '../support/stateless-client';

describe('a real Forgejo child before a real forge, and a client of MCP 2026-07-28', function () {
  this.timeout(120_000);
  let gateway: ModernGateway<Forge>;

  before(async () => {
    const command = [await childCommand('forgejo-mcp-rs')];
    const forgejo = { tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] };
    gateway = await startModernGateway(startForge, {
      auto: { command, forgejo },
      legacy: { command, forgejo, protocolEra: 'legacy' },
    });
  });

  after(async () => gateway?.stop());

  afterEach(async () => gateway.closeClients());

  for (const server of ['auto', 'legacy']) {
    it(`each user reads the own file and no other's (protocolEra: ${server})`, async () => {
      for (const [user, other] of [
        ['alice', 'bob'],
        ['bob', 'alice'],
      ] as const) {
        const client = gateway.client(server, { user });
        const read = (owner: string): Promise<StatelessAnswer> =>
          client.tool('get_file_contents', { owner, repo: 'private-notes', path: 'secret.md' });
        const { status, answer } = await client.call('server/discover');
        expect([status, answer.result?.resultType], JSON.stringify(answer)).to.deep.equal([200, 'complete']);
        expect(answer.result.supportedVersions).to.include(REVISION);
        expect(answer.result._meta[SERVER_INFO].name).to.be.a('string');
        const { tools } = (await client.call('tools/list')).answer.result;
        expect(tools.map(({ name }: { name: string }) => name)).to.include('get_file_contents');
        expect((await read(user)).text).to.contain(gateway.forge.user(user).secret.trim());
        expect((await read(other)).text).to.not.contain(gateway.forge.user(other).secret.trim());
      }
    });
  }
});
