/** What the clients' part hands over is what oidc-provider takes: its own model of a client is made of it. */
import { generateKeyPairSync } from 'node:crypto';
import { expect } from 'chai';
import Provider, { type Adapter, type AdapterPayload } from 'oidc-provider';
import { AppError } from '../../src/errors';
import { normaliseClientMetadata } from '../../src/auth/clients/metadata';
import { asProviderError } from '../../src/auth/clients/provider-error';
import { DEFAULT_REDIRECT_POLICY } from '../../src/auth/clients/redirect-uri';
import { register } from '../../src/auth/clients/registrations';
import { REAL_CLIENTS } from '../support/real-clients';

const SIGNING_KEY = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

/** A provider that knows clients by `find` alone. */
function provider(find: (id: string) => Promise<AdapterPayload | undefined>): Provider {
  const nothing = async (): Promise<undefined> => undefined;
  const adapter: Adapter = {
    find,
    upsert: nothing,
    findByUid: nothing,
    findByUserCode: nothing,
    consume: nothing,
    destroy: nothing,
    revokeByGrantId: nothing,
  };
  return new Provider('https://gateway.example', {
    adapter: () => adapter,
    features: { devInteractions: { enabled: false } },
    jwks: { keys: [SIGNING_KEY] },
  });
}

describe("oidc-provider's view of a client", () => {
  for (const [name, { sent, redirects }] of Object.entries(REAL_CLIENTS)) {
    it(`takes ${name} after it was normalised: its redirect URIs, refresh tokens, no secret`, async () => {
      const { clientId, metadata } = register(sent, DEFAULT_REDIRECT_POLICY);
      const client = await provider(async () => ({ ...metadata, client_id: clientId })).Client.find(clientId);
      for (const redirect of redirects) expect(client?.redirectUriAllowed(redirect), redirect).to.equal(true);
      expect(client?.redirectUriAllowed('https://evil.example/cb')).to.equal(false);
      expect(client?.grantTypeAllowed('refresh_token')).to.equal(true);
      expect(client).to.include({ clientAuthMethod: 'none' });
      expect(client).to.not.have.any.keys('clientSecret', 'scope', 'logoUri', 'sectorIdentifierUri', 'jwksUri');
    });
  }

  it('lets the port of a loopback redirect URI vary, and nothing else of it', async () => {
    const { clientId, metadata } = register(
      { redirect_uris: ['http://localhost:3118/callback'] },
      DEFAULT_REDIRECT_POLICY,
    );
    const client = await provider(async () => ({ ...metadata, client_id: clientId })).Client.find(clientId);
    for (const uri of ['http://localhost:1/callback', 'http://localhost:54212/callback', 'http://localhost/callback']) {
      expect(client?.redirectUriAllowed(uri), uri).to.equal(true);
    }
    for (const uri of [
      'http://localhost:3118/other',
      'http://127.0.0.1:3118/callback',
      'http://localhost:3118/callback?x',
      'https://localhost:3118/callback',
      'http://localhost.evil.example:3118/callback',
      'http://user@localhost:3118/callback/..',
    ]) {
      expect(client?.redirectUriAllowed(uri), uri).to.equal(false);
    }
  });

  it('takes a client of a document under its URL', async () => {
    const url = 'https://client.example/mcp/client.json';
    const document = { client_id: url, client_name: 'Agent', redirect_uris: ['https://client.example/cb'] };
    const metadata = normaliseClientMetadata(document, { kind: 'document', url }, DEFAULT_REDIRECT_POLICY);
    const client = await provider(async () => ({ ...metadata, client_id: url })).Client.find(url);
    expect(client).to.include({ clientId: url, clientName: 'Agent', applicationType: 'web' });
  });

  it('shows a refusal with its own code, and 503 where a client should try again', async () => {
    const refused = new AppError('CLIENT_UNAVAILABLE', 'Try again in a minute.', { detail: '10.0.0.1 answered' });
    const find = (): never => {
      throw asProviderError(refused) as Error;
    };
    const answer = await provider(find)
      .Client.find('https://client.example/c.json')
      .catch((thrown: unknown) => thrown);
    expect(answer).to.include({ error: 'temporarily_unavailable', status: 503, expose: true });
  });
});
