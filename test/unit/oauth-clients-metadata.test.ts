/** What clients say of themselves, made into one shape; and what is refused. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AppError } from '../../src/errors';
import { displayName } from '../../src/auth/clients/display-name';
import { normaliseClientMetadata, type MetadataSource } from '../../src/auth/clients/metadata';
import { asProviderError } from '../../src/auth/clients/provider-error';
import { checkRedirectUri, DEFAULT_REDIRECT_POLICY, withoutLoopbackPort } from '../../src/auth/clients/redirect-uri';
import { cites } from '../requirements';
import { REAL_CLIENTS } from '../support/real-clients';

const DOCUMENT: MetadataSource = { kind: 'document', url: 'https://client.example/mcp/client.json' };

const normalise = (input: unknown, source: MetadataSource = { kind: 'registration' }) =>
  normaliseClientMetadata(input, source, DEFAULT_REDIRECT_POLICY);

/** The code of what `run` throws. */
function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
  return 'nothing thrown';
}

describe('client metadata', () => {
  for (const [client, { sent, redirects, type, name }] of Object.entries(REAL_CLIENTS)) {
    it(`takes what ${client} sends`, () => {
      expect(normalise(sent)).to.deep.equal({
        client_name: name,
        redirect_uris: redirects,
        application_type: type,
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
      });
    });
  }

  it('keeps no member that it does not know', () => {
    const metadata = normalise({
      redirect_uris: ['https://app.example/cb'],
      scope: 'forgejo:read',
      logo_uri: 'https://169.254.169.254/latest',
      policy_uri: 'https://app.example/policy',
      tos_uri: 'https://app.example/tos',
      sector_identifier_uri: 'https://app.example/sector',
      jwks_uri: 'https://10.0.0.1/jwks',
      jwks: { keys: [] },
      software_statement: 'eyJ',
      id_token_signed_response_alg: 'HS256',
      subject_type: 'pairwise',
      backchannel_logout_uri: 'https://10.0.0.1/',
      client_secret: 'x',
      client_id: 'mine',
      __proto__: { evil: true },
    });
    expect(Object.keys(metadata).sort()).to.deep.equal([
      'application_type',
      'grant_types',
      'redirect_uris',
      'response_types',
      'token_endpoint_auth_method',
    ]);
  });

  it('takes no member from a prototype', () => {
    const input = Object.create({ redirect_uris: ['https://app.example/cb'] }) as object;
    expect(codeOf(() => normalise(input))).to.equal('CLIENT_REDIRECT_INVALID');
  });

  for (const input of [null, 'x', 7, [], true, undefined]) {
    it(`refuses ${JSON.stringify(input)} for metadata`, () => {
      expect(codeOf(() => normalise(input))).to.equal('CLIENT_METADATA_INVALID');
    });
  }

  const wrong: readonly [string, object, string][] = [
    ['without redirect URIs', {}, 'CLIENT_REDIRECT_INVALID'],
    ['with an empty list of redirect URIs', { redirect_uris: [] }, 'CLIENT_REDIRECT_INVALID'],
    ['with a redirect URI that is no string', { redirect_uris: [7] }, 'CLIENT_REDIRECT_INVALID'],
    ['with redirect URIs that are no list', { redirect_uris: 'https://a.example/' }, 'CLIENT_REDIRECT_INVALID'],
    [
      'with 21 redirect URIs',
      { redirect_uris: Array.from({ length: 21 }, (_, n) => `https://a.example/${n}`) },
      'CLIENT_REDIRECT_INVALID',
    ],
    [
      'with https and http for loopback',
      { redirect_uris: ['https://localhost/cb', 'http://localhost/cb'] },
      'CLIENT_REDIRECT_INVALID',
    ],
    ['with client credentials alone', { grant_types: ['client_credentials'] }, 'CLIENT_METADATA_INVALID'],
    ['with the implicit flow alone', { response_types: ['token'] }, 'CLIENT_METADATA_INVALID'],
    ['with grants that are no list', { grant_types: 'authorization_code' }, 'CLIENT_METADATA_INVALID'],
    ['with grants that are no strings', { grant_types: [{}] }, 'CLIENT_METADATA_INVALID'],
    [
      'with a thousand grants',
      { grant_types: Array<string>(1000).fill('authorization_code') },
      'CLIENT_METADATA_INVALID',
    ],
    ['with a name that is no string', { client_name: { toString: 'x' } }, 'CLIENT_METADATA_INVALID'],
  ];
  for (const [what, members, code] of wrong) {
    it(`refuses a client ${what}`, () => {
      const base = what.includes('redirect') ? {} : { redirect_uris: ['https://app.example/cb'] };
      expect(codeOf(() => normalise({ ...base, ...members }))).to.equal(code);
    });
  }

  it('is one shape or a refusal, whatever a stranger sends, and stays as it is when it is made again', () => {
    const member = fc.oneof(fc.anything(), fc.array(fc.oneof(fc.webUrl(), fc.string(), fc.constant('code'))));
    const sent = fc.record(
      {
        redirect_uris: fc.oneof(
          member,
          fc.constant(['http://localhost:1/cb']),
          fc.array(fc.webUrl(), { minLength: 1 }),
        ),
        client_name: fc.oneof(member, fc.string({ unit: 'binary' })),
        grant_types: member,
        response_types: member,
        token_endpoint_auth_method: member,
        client_uri: member,
        scope: member,
      },
      { requiredKeys: ['redirect_uris'] },
    );
    for (const source of [{ kind: 'registration' } as const, DOCUMENT]) {
      fc.assert(
        fc.property(sent, (input) => {
          let metadata;
          try {
            metadata = normalise(input, source);
          } catch (error) {
            expect(error).to.be.instanceOf(AppError).with.property('status', 400);
            return;
          }
          if (metadata.client_name?.endsWith('…') !== true) expect(normalise(metadata, source)).to.deep.equal(metadata);
        }),
        { numRuns: 500 },
      );
    }
  });

  it('drops a redirect URI that is there twice', () => {
    const uri = 'https://app.example/cb';
    expect(normalise({ redirect_uris: [uri, uri] }).redirect_uris).to.deep.equal([uri]);
  });

  describe('from a document', () => {
    const base = { client_name: 'Agent', redirect_uris: ['https://client.example/cb'] };

    for (const name of [undefined, null, '', ' \u200b ']) {
      it(`refuses the name ${JSON.stringify(name)}, which a registration may have [2025-11-25/authorization/28]`, () => {
        const input = { ...base, client_name: name };
        expect(codeOf(() => normalise(input, DOCUMENT))).to.equal('CLIENT_METADATA_INVALID');
        expect(normalise(input)).to.not.have.property('client_name');
      });
    }

    for (const method of ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt']) {
      it(`refuses ${method}, because nobody would tell the client that it is public`, () => {
        expect(codeOf(() => normalise({ ...base, token_endpoint_auth_method: method }, DOCUMENT))).to.equal(
          'CLIENT_METADATA_INVALID',
        );
      });
    }

    it('takes a client that can prove itself and can do without', () => {
      const metadata = normalise(
        {
          ...base,
          token_endpoint_auth_method: 'private_key_jwt',
          token_endpoint_auth_methods_supported: ['private_key_jwt', 'none'],
        },
        DOCUMENT,
      );
      expect(metadata.token_endpoint_auth_method).to.equal('none');
    });

    for (const member of ['client_secret', 'client_secret_expires_at']) {
      it(`refuses a ${member}`, () => {
        expect(codeOf(() => normalise({ ...base, [member]: 0 }, DOCUMENT))).to.equal('CLIENT_METADATA_INVALID');
      });
    }

    it('keeps a home page of its own host only', () => {
      const page = (uri: string) => normalise({ ...base, client_uri: uri }, DOCUMENT).client_uri;
      expect(page('https://client.example/about')).to.equal('https://client.example/about');
      for (const foreign of [
        'https://forge.example/',
        'http://client.example/',
        'https://user@client.example/',
        'https://client.example.evil.example/',
        'javascript:alert(1)',
        'nonsense',
      ]) {
        expect(page(foreign), foreign).to.equal(undefined);
      }
    });
  });
});

describe('redirect URIs', () => {
  const check = (uri: unknown) => checkRedirectUri(uri, DEFAULT_REDIRECT_POLICY);

  const taken: readonly [string, string][] = [
    ['https://app.example/cb', 'https'],
    ['https://app.example:8443/cb?tenant=1', 'https'],
    ['https://APP.example/cb', 'https'],
    ['https://10.0.0.5/cb', 'https'],
    ['https://[2001:db8::1]/cb', 'https'],
    ['https://app.example', 'https'],
    ['http://127.0.0.1/', 'loopback'],
    ['http://127.0.0.1', 'loopback'],
    ['http://127.0.0.1:1/cb', 'loopback'],
    ['http://[::1]:65535/cb', 'loopback'],
    ['http://localhost:3118/callback', 'loopback'],
    ['HTTP://LOCALHOST:3118/callback', 'loopback'],
    ['cursor://anysphere.cursor-mcp/oauth/callback', 'custom'],
    ['vscode://vendor.extension/cb', 'custom'],
    ['com.example.app:/oauth2redirect', 'custom'],
    ['com.example.app://callback/x', 'custom'],
  ];
  for (const [uri, kind] of taken) {
    it(`takes ${uri} as ${kind}`, () => {
      expect(check(uri)).to.equal(kind);
    });
  }

  const refused = [
    '',
    'app.example/cb',
    '//app.example/cb',
    '/cb',
    'https:app.example/cb',
    'https:/app.example/cb',
    'https:///app.example/cb',
    'https://',
    'https://app.example/cb#',
    'https://app.example/cb#x',
    'http://127.0.0.1/#/cb',
    'https://user@app.example/cb',
    'https://user:secret@app.example/cb',
    'https://@app.example/cb',
    'http://127.0.0.1@evil.example/cb',
    'http://evil.example/cb',
    'http://127.0.0.1.evil.example/cb',
    'http://localhost.evil.example/cb',
    'http://127.0.0.2/cb',
    'http://127.1/cb',
    'http://2130706433/cb',
    'http://0x7f.0.0.1/cb',
    'http://0177.0.0.1/cb',
    'http://[::ffff:127.0.0.1]/cb',
    'http://[0:0:0:0:0:0:0:1]/cb',
    'http://localhost./cb',
    'http://%6cocalhost/cb',
    'http://0.0.0.0/cb',
    'http://192.168.0.1/cb',
    'http:\\\\127.0.0.1/cb',
    'https://app.example\\@evil.example/cb',
    ' https://app.example/cb',
    'https://app.example/cb ',
    'https://app.example/c b',
    'https://app.example/\ncb',
    'ht\ttps://app.example/cb',
    'https://app.exämple/cb',
    'https://app.example/\u202ebc',
    'https://app.example/"><script>',
    'javascript:alert(1)',
    'JavaScript:alert(1)',
    'java.script:alert(1)//%0a'.replace('.', '\t'),
    'data:text/html,x',
    'vbscript:x',
    'file:///etc/passwd',
    'blob:https://app.example/x',
    'about:blank',
    'view-source:https://app.example/',
    'chrome-extension://abc/cb',
    'ms-msdt:/id',
    'search-ms:query=x',
    'ws://127.0.0.1/cb',
    'ftp://app.example/cb',
    'urn:ietf:wg:oauth:2.0:oob',
    'unknown://cb',
    `https://app.example/${'x'.repeat(500)}`,
    7,
    null,
    undefined,
    {},
  ];
  for (const uri of refused) {
    it(`refuses ${JSON.stringify(uri)?.slice(0, 60)}`, () => {
      expect(codeOf(() => check(uri))).to.equal('CLIENT_REDIRECT_INVALID');
    });
  }

  it('takes the schemes that the policy names, and with * all but the forbidden ones', () => {
    const none = { schemes: [], reverseDomain: false };
    expect(codeOf(() => checkRedirectUri('cursor://x/cb', none))).to.equal('CLIENT_REDIRECT_INVALID');
    expect(codeOf(() => checkRedirectUri('com.example.app:/cb', none))).to.equal('CLIENT_REDIRECT_INVALID');
    expect(checkRedirectUri('unknown://cb', { schemes: ['unknown'], reverseDomain: false })).to.equal('custom');
    const all = { schemes: ['*'], reverseDomain: false };
    expect(checkRedirectUri('unknown://cb', all)).to.equal('custom');
    for (const uri of ['javascript:x', 'data:,x', 'file:///x', 'ms-msdt:x', 'blob:x', 'urn:x:y']) {
      expect(
        codeOf(() => checkRedirectUri(uri, all)),
        uri,
      ).to.equal('CLIENT_REDIRECT_INVALID');
    }
  });

  it('never takes http for anything but this machine', () => {
    cites('2025-03-26/authorization/32', '2025-06-18/authorization/44');
    fc.assert(
      fc.property(fc.webUrl({ validSchemes: ['http'] }), (uri) => {
        fc.pre(!['127.0.0.1', '[::1]', 'localhost'].includes(new URL(uri).hostname));
        expect(codeOf(() => check(uri))).to.equal('CLIENT_REDIRECT_INVALID');
      }),
    );
  });

  it('accepts or refuses, and never throws anything else, whatever it is given', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.webUrl(), fc.anything()), (uri) => {
        try {
          check(uri);
        } catch (error) {
          expect(error).to.be.instanceOf(AppError).with.property('code', 'CLIENT_REDIRECT_INVALID');
        }
      }),
    );
  });

  it('forgets the port of loopback addresses only', () => {
    expect(withoutLoopbackPort('http://localhost:1234/cb?a=:1')).to.equal('http://localhost/cb?a=:1');
    expect(withoutLoopbackPort('http://[::1]:1234')).to.equal('http://[::1]');
    expect(withoutLoopbackPort('http://127.0.0.1:/')).to.equal('http://127.0.0.1/');
    expect(withoutLoopbackPort('http://127.0.0.1/cb')).to.equal('http://127.0.0.1/cb');
    for (const other of ['https://localhost:1234/cb', 'https://app.example:1234/cb', 'cursor://localhost:1/cb']) {
      expect(withoutLoopbackPort(other)).to.equal(other);
    }
  });
});

describe('the name of a client on the consent page', () => {
  const names: readonly [string, string, string | undefined][] = [
    ['leaves a plain name', 'Claude Code (forgejo)', 'Claude Code (forgejo)'],
    ['leaves other scripts', 'Клиент 客户端 عميل', 'Клиент 客户端 عميل'],
    ['takes marks out that turn the direction', 'Trusted\u202Eedoc live', 'Trustededoc live'],
    ['takes isolates out', '\u2066a\u2069\u061Cb', 'ab'],
    ['takes out what has no width', 'For\u200Bge\u200Djo\uFEFF\u00AD', 'Forgejo'],
    ['takes out fillers and tags', 'a\u3164b\u115F\u{E0041}\u{E007F}c', 'abc'],
    ['makes lines one line', 'Forgejo\r\n\r\nThis client is verified\u2028!', 'Forgejo This client is verified !'],
    ['takes controls out', 'a\u0000b\u001b[31mc\u009b', 'ab[31mc'],
    ['makes runs of spaces one', '  a \u00a0\u3000\u2800\t b  ', 'a b'],
    ['folds look-alike forms', 'Ｆｏｒｇｅｊｏ 𝐀𝐝𝐦𝐢𝐧', 'Forgejo Admin'],
    ['leaves accents, and no piles of marks', `e\u0301${'o' + '\u0335'.repeat(40)}`, `é${'o' + '\u0335'.repeat(3)}`],
    ['takes lone surrogates out', 'a\ud800b', 'ab'],
    ['finds no name in what cannot be seen', '\u200b\u2060 \u3164\u2800', undefined],
    ['finds no name in marks alone', '\u0301\u0301', undefined],
    ['finds no name in nothing', '', undefined],
  ];
  for (const [what, name, shown] of names) {
    it(what, () => {
      expect(displayName(name)).to.equal(shown);
    });
  }

  it('cuts a long name', () => {
    const shown = displayName('x'.repeat(100_000));
    expect([...(shown ?? '')]).to.have.length(60);
    expect(shown).to.match(/^x+…$/);
  });

  it('shows one short line of what can be seen, whatever the name, and leaves it as it is then', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (name) => {
        const shown = displayName(name);
        if (shown === undefined) return;
        expect([...shown].length).to.be.within(1, 60);
        expect(shown).to.not.match(/[\p{C}\p{Zl}\p{Zp}]|^\s|\s$/u);
        if (!shown.endsWith('…')) expect(displayName(shown)).to.equal(shown);
      }),
    );
  });
});

describe('a refusal as the authorization server shows it', () => {
  it("has OAuth's name, the message and the status, and is never hidden behind server_error", () => {
    const shown = asProviderError(new AppError('CLIENT_UNAVAILABLE', 'Try again.', { detail: 'private' }));
    expect(shown).to.include({
      error: 'temporarily_unavailable',
      error_description: 'Try again.',
      statusCode: 503,
      expose: true,
      allow_redirect: false,
    });
    expect(JSON.stringify(shown)).to.not.contain('private');
  });

  it('leaves every other error as it is', () => {
    const error = new Error('x');
    const other = new AppError('INTERNAL', 'x');
    expect(asProviderError(error)).to.equal(error);
    expect(asProviderError(other)).to.equal(other);
  });
});
