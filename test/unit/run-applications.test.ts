import { expect } from 'chai';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { givenApplications, howToMakeApplications, keepApplications } from '../../scripts/run/applications';
import { bearerGuide, oauthGuide } from '../../scripts/run/guide';

const ENV = {
  FORGEJO_READ_CLIENT_ID: 'read-id',
  FORGEJO_READ_CLIENT_SECRET: 'read-secret',
  FORGEJO_WRITE_CLIENT_ID: 'write-id',
  FORGEJO_WRITE_CLIENT_SECRET: 'write-secret',
};
const BOTH = {
  read: { clientId: 'read-id', clientSecret: 'read-secret' },
  write: { clientId: 'write-id', clientSecret: 'write-secret' },
};

describe("make run before somebody's own forge", () => {
  it('takes both applications from the environment, and neither where one of four variables is missing or empty', () => {
    expect(givenApplications(ENV)).to.deep.equal(BOTH);
    for (const name of Object.keys(ENV)) {
      expect(givenApplications({ ...ENV, [name]: undefined }), name).to.equal(undefined);
      expect(givenApplications({ ...ENV, [name]: '' }), name).to.equal(undefined);
    }
  });

  it('says how to make them: both names, the redirect URI, every variable, and the way without', () => {
    const text = howToMakeApplications('https://forge.example', 'https://mcp.example');
    for (const part of [
      'forgejo-mcp (read)',
      'forgejo-mcp (write)',
      'https://mcp.example/oauth/callback',
      'https://forge.example/user/settings/applications',
      'Confidential client   yes',
      'AUTH=bearer',
      ...Object.keys(ENV),
    ])
      expect(text).to.contain(part);
  });

  it('keeps their secrets in files that this user alone reads, and names the files', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fmo-run-'));
    try {
      const kept = await keepApplications(join(folder, 'applications'), BOTH);
      expect(JSON.stringify(kept)).to.not.contain('-secret":').and.not.contain('read-secret"');
      for (const kind of ['read', 'write'] as const) {
        const { clientId, clientSecretFile } = kept[kind];
        expect(clientId).to.equal(`${kind}-id`);
        expect(await readFile(clientSecretFile, 'utf8')).to.equal(`${kind}-secret`);
        expect((await stat(clientSecretFile)).mode & 0o777).to.equal(0o600);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('what make run tells', () => {
  const at = { publicUrl: 'http://127.0.0.1:8080', forge: 'https://forge.example' };

  it('is a URL without a token, the page of connections, and who can log in', () => {
    const alice = {
      name: 'alice',
      password: 'pass-word',
      secret: '',
      tokens: { read: 'r', write: 'w', full: 'f-token' },
    };
    const text = oauthGuide({ ...at, users: { alice } });
    expect(text).to.contain('claude mcp add --transport http forgejo http://127.0.0.1:8080/mcp\n');
    expect(text).to.contain('http://127.0.0.1:8080/connections').and.contain('alice, password pass-word');
    expect(text).to.not.contain('Authorization').and.not.contain('f-token');
    expect(oauthGuide(at)).to.not.contain('password');
  });

  it('has the header with AUTH=bearer, with a token of the local forge or the way to one', () => {
    expect(bearerGuide(at)).to.contain('--header "Authorization: Bearer <a token made at https://forge.example');
  });
});
