/** The gateway's two applications at the real forge: made once, kept, and mended. */
import { expect } from 'chai';
import { ensureForgeApplications, type ForgeApplications } from '../../scripts/forge-applications';
import { type Forge, startForge } from '../support/forge';

const PUBLIC_URL = 'http://127.0.0.1:9';
const CALLBACK = `${PUBLIC_URL}/oauth/callback`;

describe("the gateway's applications at the forge", function () {
  this.timeout(60_000);
  let forge: Forge;
  let made: ForgeApplications;

  before(async () => {
    forge = await startForge();
    made = await ensure();
  });
  after(() => forge?.stop());

  const ensure = (change: { publicUrl?: string; previous?: ForgeApplications } = {}): Promise<ForgeApplications> =>
    ensureForgeApplications({ url: forge.url, admin: forge.admin, publicUrl: PUBLIC_URL, ...change });
  const listed = async (): Promise<any[]> =>
    (await forge.api('/user/applications/oauth2', { sudo: 'mcp-gateway' })).body as [];
  /** What the forge says to a refresh with this client's secret. */
  const refusal = async ({ clientId, clientSecret }: ForgeApplications['read']): Promise<string> => {
    const answer = await fetch(`${forge.url}/login/oauth/access_token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: 'none',
        client_id: clientId,
        client_secret: clientSecret,
      }),
    });
    return ((await answer.json()) as { error: string }).error;
  };

  it('are two confidential ones with one redirect URI, owned by an account that is no administrator', async () => {
    const both = await listed();
    expect(both.map(({ name }) => name as string).sort()).to.deep.equal(['forgejo-mcp (read)', 'forgejo-mcp (write)']);
    for (const one of both) expect(one).to.deep.include({ redirect_uris: [CALLBACK], confidential_client: true });
    expect(made.read.clientId).to.not.equal(made.write.clientId);
    expect((await forge.api('/users/mcp-gateway')).body).to.include({ is_admin: false, visibility: 'private' });
  });

  it('are kept as they are where they work', async () => {
    expect(await ensure({ previous: made })).to.deep.equal(made);
    expect(await listed()).to.have.length(2);
  });

  it('get a new secret, and keep their ids, where the secret is lost', async () => {
    const lost = { ...made, read: { ...made.read, clientSecret: 'gto_lost' } };
    expect(await refusal(lost.read)).to.equal('invalid_client');
    const again = await ensure({ previous: lost });
    expect(again.write).to.deep.equal(made.write);
    expect(again.read.clientId).to.equal(made.read.clientId);
    expect(again.read.clientSecret).to.not.equal(made.read.clientSecret);
    expect(await refusal(again.read)).to.not.equal('invalid_client');
    made = await ensure();
    expect(await listed()).to.have.length(2);
  });

  it("follow the gateway's URL", async () => {
    const moved = await ensure({ publicUrl: 'http://127.0.0.1:10', previous: made });
    expect(moved.read.clientId).to.equal(made.read.clientId);
    for (const one of await listed()) expect(one.redirect_uris).to.deep.equal(['http://127.0.0.1:10/oauth/callback']);
    expect(await ensure({ publicUrl: 'http://127.0.0.1:10', previous: moved })).to.deep.equal(moved);
    made = await ensure();
  });

  it('are made anew where somebody deleted them', async () => {
    const [gone] = await listed();
    await forge.api(`/user/applications/oauth2/${gone.id}`, { method: 'DELETE', sudo: 'mcp-gateway' });
    const again = await ensure({ previous: made });
    expect(await listed()).to.have.length(2);
    for (const one of [again.read, again.write]) expect(await refusal(one)).to.not.equal('invalid_client');
  });
});
