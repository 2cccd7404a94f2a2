/** RFC 9700, 4.1, 4.11 and 4.15: redirect URIs, open redirectors, and who the gateway says that it is. At the whole gateway before a real forge. */
import { expect } from 'chai';
import { attacked, type Attacked } from '../support/attacked';
import { OAUTH_CLIENTS, rawGet, type RawClient, register, Stepper } from '../support/attacker';

const [TRUSTED] = OAUTH_CLIENTS;

describe('OAuth attacks: redirects and names', function () {
  this.timeout(120_000);
  let site: Attacked;
  let native: RawClient;

  before(async () => {
    site = await attacked();
    native = await site.client('native');
  });

  after(async () => site?.stop());

  /** Nothing may be sent to a redirect URI that is not the client's, not even an error. */
  const refused = async (client: RawClient, redirect_uri: string | undefined): Promise<void> => {
    for (const changes of [{}, { prompt: 'none' }, { response_type: 'token' }]) {
      const answer = await new Stepper().get(client.authorizeUrl({ redirect_uri, ...changes }));
      expect(answer.status, redirect_uri).to.equal(400);
      expect(answer.next, redirect_uri).to.equal(undefined);
      expect(answer.html).to.not.contain('href="https://evil').and.not.contain('href="javascript');
    }
  };

  describe('a redirect URI that is not quite the one of an https client is refused on a page [2025-06-18/authorization/47]', () => {
    const [own] = TRUSTED.redirectUris;
    for (const [what, uri] of [
      ['missing', undefined],
      ['empty', ''],
      ['of another host', 'https://evil.example/callback'],
      ['with another path', 'https://trusted.example/elsewhere'],
      ['with a longer path', `${own}/evil`],
      ['with a suffix', `${own}evil`],
      ['with a slash', `${own}/`],
      ['with dot segments', 'https://trusted.example/x/../callback'],
      ['with escaped dot segments', 'https://trusted.example/callback/%2e%2e/callback'],
      ['with a query', `${own}?next=https://evil.example`],
      ['with an empty query', `${own}?`],
      ['with a fragment', `${own}#evil`],
      ['with user information', 'https://trusted.example@evil.example/callback'],
      ['with user information of its own host', 'https://evil@trusted.example/callback'],
      ['with a host that ends so', 'https://eviltrusted.example/callback'],
      ['with a host that begins so', 'https://trusted.example.evil.example/callback'],
      ['with a host that ends in a dot', 'https://trusted.example./callback'],
      ['with the host in another case', 'https://TRUSTED.example/callback'],
      ['with the path in another case', 'https://trusted.example/Callback'],
      ['with the scheme in another case', 'HTTPS://trusted.example/callback'],
      ['with another port', 'https://trusted.example:8443/callback'],
      ['with its own port', 'https://trusted.example:443/callback'],
      ['without TLS', 'http://trusted.example/callback'],
      ['with a backslash', 'https://trusted.example\\@evil.example/callback'],
      ['with a tab in the host', 'https://trusted.exam\tple/callback'],
      ['with a space before it', ` ${own}`],
      ['with a line break after it', `${own}\r\nSet-Cookie: a=b`],
      ['with a NUL after it', `${own}\0`],
      ['without slashes', 'https:trusted.example/callback'],
      ['without a scheme', '//trusted.example/callback'],
      ['that is a path', '/callback'],
      ['that is a script', 'javascript:alert(1)//trusted.example/callback'],
      ['that is data', 'data:text/html,<script>alert(1)</script>'],
      ['of another client', OAUTH_CLIENTS[1].redirectUris[0]],
      ['of the gateway itself', 'http://127.0.0.1/oauth/callback'],
    ] as const) {
      it(what, () => refused(site.trusted(), uri));
    }

    it('that comes twice, the right one first or last', async () => {
      const evil = encodeURIComponent('https://evil.example/');
      const url = site.trusted().authorizeUrl().href;
      for (const twice of [`${url}&redirect_uri=${evil}`, url.replace('?', `?redirect_uri=${evil}&`)]) {
        const answer = await new Stepper().get(twice);
        expect([answer.status, answer.next]).to.deep.equal([400, undefined]);
      }
    });
  });

  describe('a loopback redirect URI may differ in its port, and in nothing else', () => {
    it('another port goes on to the consent page (RFC 8252, 7.3)', async () => {
      const answer = await site.login('alice', native).begin({ redirect_uri: 'http://127.0.0.1:1/callback' });
      expect(answer.status).to.equal(200);
      expect(answer.html).to.contain('127.0.0.1:1');
    });

    for (const uri of [
      'http://127.0.0.1:7777/other',
      'http://127.0.0.1:7777/callback/',
      'http://127.0.0.1:7777/callback?a',
      'http://127.0.0.1:7777/callback#a',
      'http://user@127.0.0.1:7777/callback',
      'http://127.0.0.1:7777@evil.example/callback',
      'http://127.0.0.1.evil.example:7777/callback',
      'http://localhost:7777/callback',
      'http://[::1]:7777/callback',
      'http://[::ffff:127.0.0.1]:7777/callback',
      'http://127.1:7777/callback',
      'http://127.0.0.2:7777/callback',
      'http://0177.0.0.1:7777/callback',
      'http://0x7f.0.0.1:7777/callback',
      'http://2130706433:7777/callback',
      'http://0.0.0.0:7777/callback',
      'http://127.0.0.1:99999/callback',
      'http://127.0.0.1:7777:1/callback',
      'https://127.0.0.1:7777/callback',
      'native:/callback',
    ]) {
      it(`${uri} is refused on a page`, () => refused(native, uri));
    }
  });

  describe('a client that registers', () => {
    for (const uri of [
      'https://trusted.example@evil.example/',
      'https://evil.example/#',
      'http://evil.example/callback',
      'javascript:alert(1)',
      'data:text/html,x',
      'file:///etc/passwd',
      'ms-settings:x',
      'unknown-scheme://callback',
      'http://127.1/callback',
      'http://2130706433/callback',
      'http://0x7f000001/callback',
      'https://evil.example\\@trusted.example/',
      '//evil.example/',
    ]) {
      it(`with ${uri} is refused: 400 invalid_redirect_uri`, async () => {
        const { status, body } = await register(site.base, { redirect_uris: [uri] });
        expect([status, body.error]).to.deep.equal([400, 'invalid_redirect_uri']);
      });
    }

    it('cannot add a redirect URI to a client that there is: it is another client', async () => {
      const name = 'native';
      const { body } = await register(site.base, {
        client_name: name,
        redirect_uris: [native.redirect, 'https://evil.example/'],
      });
      expect(body.client_id).to.not.equal(native.id);
      await refused(native, 'https://evil.example/');
    });

    it('cannot take the id of a client of the configuration', async () => {
      const { body } = await register(site.base, {
        client_id: TRUSTED.clientId,
        client_name: TRUSTED.name,
        redirect_uris: ['https://evil.example/'],
      });
      expect(body.client_id).to.not.equal(TRUSTED.clientId);
      await refused(site.trusted(), 'https://evil.example/');
    });
  });

  describe('no page of the gateway is an open redirector', () => {
    const EVIL = encodeURIComponent('https://evil.example/');
    for (const path of [
      `/connections?server=${EVIL}`,
      `/connections?server=fixture&done=${EVIL}`,
      `/connections?next=${EVIL}&redirect_uri=${EVIL}&return_to=${EVIL}`,
      `/connections//evil.example`,
      `//evil.example/connections`,
      `/login/${EVIL}`,
      `/login/${EVIL}/finish`,
      `/login/..%2f..%2fevil.example`,
      `/login/%0d%0aLocation:%20https:%2f%2fevil.example/finish`,
      `/login/x?redirect=${EVIL}`,
      `/oauth/callback?redirect_uri=${EVIL}&state=x&code=y`,
      `/oauth/callback?error=access_denied&error_uri=${EVIL}`,
      `/authorize/${EVIL}`,
      `/authorize?client_id=none&redirect_uri=${EVIL}`,
    ]) {
      it(`${path} leads nowhere else`, async () => {
        const { status, headers, html } = await rawGet(site.base, path);
        const to = headers.location;
        if (to !== undefined) expect(new URL(String(to), site.base).origin).to.be.oneOf([site.base, site.forge.url]);
        expect(status).to.be.oneOf([303, 400, 404]);
        expect(headers).to.not.have.property('refresh');
        expect(html).to.not.contain('href="https://evil.example');
      });
    }
  });

  describe('a hostile Host header', () => {
    const DOCUMENTS = [
      '/.well-known/oauth-authorization-server',
      '/.well-known/openid-configuration',
      '/.well-known/oauth-protected-resource',
      '/.well-known/oauth-protected-resource/mcp',
      '/servers/other/mcp/.well-known/oauth-authorization-server',
    ];

    const ask = async (path: string, headers: Record<string, string>): Promise<{ status: number; text: string }> => {
      const { status, headers: answered, html } = await rawGet(site.base, path, headers);
      return { status, text: `${JSON.stringify(answered)}${html}` };
    };

    it('is refused, and no document, page, challenge or redirect repeats it as a link', async () => {
      const host = 'evil.example';
      for (const path of [...DOCUMENTS, '/mcp', '/connections', `/authorize?${native.query()}`]) {
        const { status, text } = await ask(path, { host });
        expect(status, path).to.be.oneOf([400, 403, 421]);
        expect(text, path).to.not.contain('evil.example');
      }
    });

    it('does not come in by X-Forwarded-Host, Forwarded, X-Forwarded-Proto or another port', async () => {
      const port = new URL(site.base).port;
      const hostile = {
        'x-forwarded-host': 'evil.example',
        'x-forwarded-proto': 'https',
        'x-forwarded-port': '4444',
        forwarded: 'host=evil.example;proto=https',
        'x-host': 'evil.example',
        'x-original-url': '//evil.example/',
        host: `127.0.0.1:4444`,
      };
      for (const path of [...DOCUMENTS, '/mcp', `/authorize?${native.query()}`]) {
        const { text } = await ask(path, hostile);
        expect(text, path).to.not.match(/evil\.example|4444|https:\/\/127/);
      }
      for (const path of DOCUMENTS) expect((await ask(path, hostile)).text).to.contain(`:${port}`);
    });
  });
});
