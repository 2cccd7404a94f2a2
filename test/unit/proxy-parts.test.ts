/** The credential proxy's parts, each on its own. */
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { createServer as createTlsServer, get as tlsGet } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { expect } from 'chai';
import fc from 'fast-check';
import { systemClock } from '../../src/clock';
import { AppError } from '../../src/errors';
import { createCapabilities } from '../../src/forgejo/capability';
import { createForgeAgent, DEFAULT_TIMEOUTS, Forge, splitBase } from '../../src/forgejo/forge';
import { CompiledPolicy } from '../../src/forgejo/policy';
import { checkBody } from '../../src/forgejo/proxy/body';
import { filterAnswer } from '../../src/forgejo/proxy/filter';
import { Mentions } from '../../src/forgejo/proxy/mentions';
import type { BodyCheck } from '../../src/forgejo/routes/route';
import {
  DownloadLinks,
  insideForge,
  LinkProofs,
  type LinkContext,
  rewriteLinkHeader,
  rewriteLocation,
  takeProof,
} from '../../src/forgejo/proxy/links';
import { readUpload } from '../../src/forgejo/proxy/multipart';
import { plainAddress, SourceProof } from '../../src/forgejo/proxy/source';
import { createCertificate } from '../../src/forgejo/proxy/tls';
import { serverSpec } from '../support/server-spec';

const LIMITED = new CompiledPolicy({
  access: 'write',
  owners: ['acme', 'friend'],
  repositories: ['acme/app', 'friend/*'],
  insecureAllowRoutes: [],
});

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof AppError ? error.code : `not an AppError: ${String(error)}`;
  }
  return 'none';
}

describe('capabilities', () => {
  const capabilities = createCapabilities([Buffer.alloc(32, 1)]);

  it('name their session and child, and each mint is another', () => {
    const one = capabilities.mint('s'.repeat(40), 'process:x');
    expect(capabilities.verify(one)).to.deep.equal({ session: 's'.repeat(40), instance: 'process:x' });
    expect(capabilities.mint('s'.repeat(40), 'process:x')).to.not.equal(one);
  });

  it('fit into a header and are found by redaction', () => {
    expect(capabilities.mint('s'.repeat(40), '0f8fad5b-d9cb-469f-a165-70867728950e')).to.match(
      /^fmocap_[A-Za-z0-9_-]{100,300}$/,
    );
  });

  it('are worth nothing with any character changed, added or taken away', () => {
    const good = capabilities.mint('session', 'instance');
    for (let i = 0; i < good.length; i++) {
      const other = good[i] === 'A' ? 'B' : 'A';
      expect(capabilities.verify(good.slice(0, i) + other + good.slice(i + 1)), `at ${i}`).to.equal(undefined);
    }
    for (const bad of [
      good.slice(0, -1),
      `${good}A`,
      `${good}=`,
      ` ${good}`,
      good.slice(7),
      '',
      'fmocap_',
      `fmocap_${'A'.repeat(5000)}`,
    ])
      expect(capabilities.verify(bad)).to.equal(undefined);
  });

  it('are worth nothing under another key, and a short key is refused', () => {
    const other = createCapabilities([Buffer.alloc(32, 2)]);
    expect(other.verify(capabilities.mint('session', 'instance'))).to.equal(undefined);
    expect(() => createCapabilities([Buffer.alloc(32, 1), Buffer.alloc(31)])).to.throw(RangeError);
  });

  it('stay good while their key is behind a newer one, which makes those that come', () => {
    const [first, second] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
    const rotated = createCapabilities([second, first]);
    const of = { session: 'session', instance: 'instance' };
    expect(rotated.verify(capabilities.mint('session', 'instance'))).to.deep.equal(of);
    const fresh = rotated.mint('session', 'instance');
    expect(capabilities.verify(fresh)).to.equal(undefined);
    expect(createCapabilities([second]).verify(fresh)).to.deep.equal(of);
  });
});

describe('source address', () => {
  it('is compared in one spelling', () => {
    expect(plainAddress('::ffff:10.0.0.1')).to.equal('10.0.0.1');
    expect(plainAddress('fd00:0:0::0001')).to.equal('fd00::1');
    expect(plainAddress('fe80::1%eth0')).to.equal('fe80::1');
  });

  it('is enforced from the first child on that is seen with its own, and never given up again', () => {
    const proof = new SourceProof('auto');
    expect(proof.state).to.equal('unproven');
    expect(proof.admit('10.0.0.1', '10.9.9.9')).to.equal(true);
    expect(proof.state).to.equal('rewritten');
    expect(proof.admit('10.0.0.1', '::ffff:10.0.0.1')).to.equal(true);
    expect(proof.state).to.equal('preserved');
    expect(proof.admit('10.0.0.1', '10.9.9.9')).to.equal(false);
    expect(proof.state).to.equal('preserved');
  });

  it('is enforced at once where it is required, and not at all where it is off or not known', () => {
    expect(new SourceProof('require').admit('10.0.0.1', '10.9.9.9')).to.equal(false);
    expect(new SourceProof('require').admit('10.0.0.1', undefined)).to.equal(false);
    expect(new SourceProof('require').admit(undefined, '10.9.9.9')).to.equal(true);
    expect(new SourceProof('off').admit('10.0.0.1', '10.9.9.9')).to.equal(true);
  });
});

describe('certificate', () => {
  const keys = [randomBytes(32)] as const;
  const made = createCertificate(['10.43.0.9', 'fd00::9', 'proxy.example', '127.0.0.1'], keys);

  it('is signed by its CA, which signs nothing else, for the names and addresses given', () => {
    const ca = new X509Certificate(made.ca);
    const cert = new X509Certificate(made.cert);
    expect(ca.ca).to.equal(true);
    expect(cert.ca).to.equal(false);
    expect(cert.checkIssued(ca) && cert.verify(ca.publicKey)).to.equal(true);
    expect(cert.checkIP('10.43.0.9')).to.equal('10.43.0.9');
    expect(cert.checkIP('fd00::9')).to.not.equal(undefined);
    expect(cert.checkIP('10.43.0.10')).to.equal(undefined);
    expect(cert.checkHost('proxy.example')).to.equal('proxy.example');
    expect(cert.keyUsage).to.deep.equal(['1.3.6.1.5.5.7.3.1']);
    expect(made.ca).to.not.include('PRIVATE');
    expect(Date.parse(cert.validFrom)).to.be.lessThan(Date.now());
    expect(Date.parse(cert.validTo)).to.be.greaterThan(Date.now() + 800 * 86_400_000);
  });

  it('is what a client that trusts the CA accepts, and no other client', async () => {
    const server = createTlsServer({ key: made.key, cert: made.cert }, (_request, response) => response.end('ok'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const ask = (ca?: string): Promise<string> =>
      new Promise((resolve) =>
        tlsGet({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, ca, agent: false }, (response) =>
          resolve(String(response.statusCode)),
        ).on('error', () => resolve('refused')),
      );
    try {
      expect(await ask(made.ca)).to.equal('200');
      expect(await ask(createCertificate(['127.0.0.1'], [randomBytes(32)]).ca)).to.equal('refused');
      expect(await ask()).to.equal('refused');
    } finally {
      server.close();
    }
  });

  it('takes dates beyond 2049 and refuses what is neither name nor address', () => {
    const late = new X509Certificate(createCertificate(['a.example'], keys, { now: Date.UTC(2051, 0, 1) }).cert);
    expect(late.validFrom).to.include('2050');
    expect(() => createCertificate(['not a host'], keys)).to.throw(TypeError);
  });
});

describe('links', () => {
  const agent = createForgeAgent(DEFAULT_TIMEOUTS, 1);
  const forgeOf = (url: string, apiUrl = url): Forge =>
    new Forge({ ...serverSpec().forgejo, url, apiUrl }, agent, systemClock, DEFAULT_TIMEOUTS);
  const context = (forge: Forge, changes: Partial<LinkContext> = {}): LinkContext => ({
    forge,
    base: 'https://10.43.0.9:8443',
    session: 'one',
    proofs: new LinkProofs([Buffer.alloc(32, 3)]),
    repository: { owner: 'acme', name: 'app' },
    ...changes,
  });
  after(() => agent.destroy());

  const pass = async (text: string, links: LinkContext, sizes: (rest: number) => number): Promise<string> => {
    const bytes = Buffer.from(text);
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length;) {
      const size = Math.max(1, sizes(bytes.length - at));
      pieces.push(bytes.subarray(at, at + size));
      at += size;
    }
    const out: Buffer[] = [];
    for await (const chunk of Readable.from(pieces, { objectMode: false }).pipe(new DownloadLinks(links)))
      out.push(chunk as Buffer);
    return Buffer.concat(out).toString();
  };

  it('of attachments and releases lead back through the proxy, wherever the bytes are cut', async () => {
    const links = context(forgeOf('https://forge.example/git', 'http://forgejo.svc:3000'));
    const uuid = '3f0c1f1e-0000-4000-8000-000000000000';
    const path = `/acme/app/attachments/${uuid}`;
    const value = {
      body: 'a lie: "browser_download_url":"https://forge.example/git/attachments/x" and \\"browser_download_url\\": "',
      'odd"browser_download_url': 'https://forge.example/git/attachments/y',
      assets: [
        { browser_download_url: `https://forge.example/git/attachments/${uuid}` },
        { browser_download_url: 'https://forge.example/git/acme/app/releases/download/v1/a%20b.zip' },
        { browser_download_url: 'https://elsewhere.example/attachments/z' },
        { browser_download_url: `https://forge.example.evil/git/attachments/${uuid}` },
        { browser_download_url: null, html_url: 'https://forge.example/git/acme/app/releases' },
        { browser_download_url: `https://forge.example/git/${'x'.repeat(20_000)}` },
      ],
    };
    const expected = structuredClone(value);
    const proof = links.proofs.make('one', path);
    expected.assets[0].browser_download_url = `https://10.43.0.9:8443${path}?fmo_proof=${proof}`;
    expected.assets[1].browser_download_url = 'https://10.43.0.9:8443/acme/app/releases/download/v1/a%20b.zip';
    for (const text of [JSON.stringify(value), JSON.stringify(value, undefined, 2)]) {
      for (const size of [1, 2, 7, 23, 64, 1000, 100_000]) {
        const got = JSON.parse(await pass(text, links, () => size));
        // A link of more than 8 KiB may stay as it is, which the policy then judges like any other URL.
        got.assets[5] = expected.assets[5];
        expect(got).to.deep.equal(expected);
      }
    }
  });

  it('read the same, whatever the text and wherever it is cut', async () => {
    const links = context(forgeOf('https://forge.example'));
    const piece = fc.oneof(
      fc.constantFrom(
        '"browser_download_url"',
        ':',
        '"',
        '\\',
        '{',
        ' ',
        'https://other.example/x',
        '"https://forge.example/attachments/1"',
        '\\"browser_download_url"',
        '\\"browser_download_url":"https://forge.example/attachments/1"',
        ',',
      ),
      fc.string({ maxLength: 4 }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }),
        async (pieces, sizes) => {
          const text = pieces.join('');
          let turn = 0;
          const cut = await pass(text, links, () => sizes[turn++ % sizes.length] ?? 1);
          expect(cut).to.equal(await pass(text, links, (rest) => rest));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('in Link and Location lead back through the proxy, or are dropped', () => {
    const links = context(forgeOf('https://forge.example/git', 'http://forgejo.svc:3000'));
    expect(
      rewriteLinkHeader(
        links,
        '<https://forge.example/git/api/v1/user/repos?page=2&q=a,b>; rel="next",<https://evil.example/x>; rel="last"',
      ),
    ).to.equal('<https://10.43.0.9:8443/api/v1/user/repos?page=2&q=a,b>; rel="next"');
    expect(rewriteLocation(links, '/git/api/v1/x')).to.equal('https://10.43.0.9:8443/api/v1/x');
    expect(rewriteLocation(links, 'http://forgejo.svc:3000/api/v1/x')).to.equal('https://10.43.0.9:8443/api/v1/x');
    for (const elsewhere of [
      'https://evil.example/',
      '//evil.example/x',
      'https://forge.example/other',
      'https://forge.example.evil/git/x',
      'x',
    ])
      expect(rewriteLocation(links, elsewhere), elsewhere).to.equal(undefined);
    expect(insideForge(forgeOf('https://forge.example'), 'https://forge.example:8443/x')).to.equal(undefined);
  });

  it('carry a proof for one session and one path', () => {
    const proofs = new LinkProofs([Buffer.alloc(32, 3)]);
    const proof = proofs.make('one', '/a/b/attachments/1');
    expect(proofs.check('one', '/a/b/attachments/1', proof)).to.equal(true);
    expect(proofs.check('two', '/a/b/attachments/1', proof)).to.equal(false);
    expect(proofs.check('one', '/a/b/attachments/2', proof)).to.equal(false);
    expect(proofs.check('one', '/a/b/attachments/1', undefined)).to.equal(false);
    const rotated = new LinkProofs([Buffer.alloc(32, 4), Buffer.alloc(32, 3)]);
    expect(rotated.check('one', '/a/b/attachments/1', proof)).to.equal(true);
    expect(rotated.make('one', '/a/b/attachments/1')).to.not.equal(proof);
    expect(takeProof(`a=1&fmo_proof=${proof}&b=%20`)).to.deep.equal({ query: 'a=1&b=%20', proof });
    expect(takeProof(`fmo_proof=${proof}`)).to.deep.equal({ query: undefined, proof });
    expect(takeProof('a=1')).to.deep.equal({ query: 'a=1', proof: undefined });
  });

  it('need a forge URL that is http or https, without credentials, query or fragment', () => {
    expect(splitBase('https://forge.example/git/')).to.deep.equal({ origin: 'https://forge.example', path: '/git' });
    for (const url of ['ftp://x', 'https://u:p@x', 'https://x?a=1', 'https://x#y', 'nonsense'])
      expect(
        codeOf(() => splitBase(url)),
        url,
      ).to.equal('CONFIG_INVALID');
  });
});

describe('answers under a restricting policy', () => {
  const repository = (full_name: string) => ({ full_name });
  const mixed = [
    repository('acme/app'),
    repository('acme/other'),
    repository('FRIEND/x'),
    repository('acme/app/x'),
    {},
    null,
    1,
  ];
  const kept = [repository('acme/app'), repository('FRIEND/x')];

  it('keep only repositories that it covers', () => {
    expect(filterAnswer('repositories', LIMITED, mixed)).to.deep.equal(kept);
    expect(filterAnswer('repositories', LIMITED, null)).to.deep.equal([]);
    expect(filterAnswer('search', LIMITED, { ok: true, data: mixed })).to.deep.equal({ ok: true, data: kept });
  });

  it('keep only issues, notifications and events of such repositories', () => {
    for (const kind of ['issues', 'notifications'] as const)
      expect(
        filterAnswer(
          kind,
          LIMITED,
          mixed.map((item) => ({ repository: item })),
        ),
      ).to.deep.equal(kept.map((item) => ({ repository: item })));
    expect(
      filterAnswer(
        'activities',
        LIMITED,
        mixed.map((repo) => ({ repo })),
      ),
    ).to.deep.equal(kept.map((repo) => ({ repo })));
  });

  it('keep only organisations that it covers', () => {
    const list = [{ username: 'acme' }, { username: 'other' }, { name: 'Friend' }, {}];
    expect(filterAnswer('organizations', LIMITED, list)).to.deep.equal([{ username: 'acme' }, { name: 'Friend' }]);
  });

  it('are refused whole where they are of one repository outside it', () => {
    expect(filterAnswer('repository', LIMITED, repository('acme/app'))).to.deep.equal(repository('acme/app'));
    expect(codeOf(() => filterAnswer('repository', LIMITED, repository('acme/x')))).to.equal('POLICY_REFUSED');
    expect(codeOf(() => filterAnswer('notification', LIMITED, { repository: repository('x/y') }))).to.equal(
      'POLICY_REFUSED',
    );
    expect(codeOf(() => filterAnswer('notification', LIMITED, null))).to.equal('POLICY_REFUSED');
  });

  it('lose what a timeline quotes of other repositories', () => {
    const own = { id: 1, body: 'kept', ref_issue: { repository: repository('acme/app'), title: 'mine' } };
    const foreign = {
      id: 2,
      type: 'issue_ref',
      body: 'x',
      ref_issue: { repository: repository('x/y'), title: 'secret' },
      ref_comment: {},
    };
    const unnamed = { id: 3, dependent_issue: { title: 'secret' } };
    expect(filterAnswer('timeline', LIMITED, [own, foreign, unnamed])).to.deep.equal([
      own,
      { id: 2, type: 'issue_ref' },
      { id: 3 },
    ]);
  });

  it('describe no repository of a pull request’s branches that it does not cover', () => {
    const own = { ref: 'main', sha: 'a', repo: repository('acme/app') };
    const fork = { ref: 'change', sha: 'b', label: 'x:change', repo: repository('x/fork') };
    const pull = { number: 1, title: 'from a fork', head: fork, base: own };
    const cut = { ...pull, head: { ...fork, repo: null } };
    expect(filterAnswer('pull', LIMITED, pull)).to.deep.equal(cut);
    expect(filterAnswer('pulls', LIMITED, [pull, { ...pull, head: own }, { head: { repo: null } }])).to.deep.equal([
      cut,
      { ...pull, head: own },
      { head: { repo: null } },
    ]);
    for (const answer of ['text', [], null])
      expect(codeOf(() => filterAnswer('pull', LIMITED, answer))).to.equal('UPSTREAM_INVALID');
  });

  it('are withheld where they have not the expected shape', () => {
    for (const answer of [{}, 'text', 1])
      expect(codeOf(() => filterAnswer('issues', LIMITED, answer))).to.equal('UPSTREAM_INVALID');
    expect(codeOf(() => filterAnswer('search', LIMITED, []))).to.equal('UPSTREAM_INVALID');
  });
});

describe('bodies under a restricting policy', () => {
  const check = (kind: BodyCheck, body: Record<string, unknown>) =>
    codeOf(() => checkBody(kind, LIMITED, mentions, body));
  const mentions = new Mentions([
    { origin: 'https://forge.example', path: '/git' },
    { origin: 'http://10.0.0.1:3000', path: '' },
  ]);

  it('may not name a branch of a repository outside it, in any spelling that Go reads as the same name', () => {
    expect(check('pull', { head: 'feature/x', base: 'main' })).to.equal('none');
    expect(check('pull', { head: 'friend:main' })).to.equal('none');
    expect(check('pull', { head: 'acme/app:main' })).to.equal('none');
    for (const body of [
      { head: 'other:main' },
      { HEAD: 'other:main' },
      { head: 'acme:main' },
      { base: 'other:x' },
      { baſe: 'other:x' },
    ])
      expect(check('pull', body)).to.equal('POLICY_REFUSED');
    expect(check('pull', { head: 'main', Head: 'other:main' })).to.equal('REQUEST_REFUSED');
  });

  const texts: readonly (readonly [string, string])[] = [
    ['none', 'see #1, acme/app#2 and FRIEND/any!3; either/or, a/b c#1, and/or#x'],
    ['none', 'https://other.example/x/y/issues/1 and https://other.example/x/y#1'],
    ['none', 'https://forge.example/git/acme/app/issues/1 https://forge.example/git/x/y/src/branch/main'],
    ['none', 'https://other.example/x/y/issues/1, src/x/y/issues/1.txt, /acme/app/issues/1'],
    ['POLICY_REFUSED', '[a](/x/y/issues/1)'],
    ['POLICY_REFUSED', '[a]: </x/y/pulls/1>'],
    ['POLICY_REFUSED', '[a](file:///x/y/issues/1)'],
    ['POLICY_REFUSED', '[a](http:/x/y/issues/1)'],
    ['POLICY_REFUSED', '[a](//me@/x/y/issues/1)'],
    ['POLICY_REFUSED', 'https://forge.example/x/y/issues/1'],
    ['POLICY_REFUSED', 'x/y#1'],
    ['POLICY_REFUSED', 'closes acme/other#12.'],
    ['POLICY_REFUSED', 'acme/app#1 (x/y!2)'],
    ['POLICY_REFUSED', '[X/Y#1]'],
    ['POLICY_REFUSED', '"x/y#1"'],
    ['POLICY_REFUSED', 'a\nx/y#1\nb'],
    ['POLICY_REFUSED', 'https://forge.example/git/x/y/issues/1'],
    ['POLICY_REFUSED', '[a](//FORGE.example:443/git/x/y/pulls/1#comment)'],
    ['POLICY_REFUSED', '<http://me@10.0.0.1:3000/x/y/issues/1>'],
    ['POLICY_REFUSED', 'https://forge.example/git/acme/app/issues/1,https://forge.example/git/x/y/issues/1'],
  ];
  for (const [verdict, text] of texts)
    it(`may ${verdict === 'none' ? '' : 'not '}mention ${JSON.stringify(text)}`, () => {
      expect(check('text', { body: text })).to.equal(verdict);
      expect(check('text', { title: 'x', comments: [{ deep: { body: text } }] })).to.equal(verdict);
      expect(check('pull', { head: 'x', base: 'main', body: text })).to.equal(verdict);
    });

  it('are looked through in time that grows with their length only', () => {
    const long = 1_000_000;
    for (const text of ['a', '/', 'a/', '//a', 'a/b', '//@', 'acme/app', '.-/'])
      expect(check('text', { body: text.repeat(long / text.length) })).to.equal('none');
  });

  it('may not name an issue of a repository outside it', () => {
    expect(check('issue', { index: 1 })).to.equal('none');
    expect(check('issue', { index: 1, owner: '', repo: '' })).to.equal('none');
    expect(check('issue', { index: 1, owner: 'acme', repo: 'app' })).to.equal('none');
    for (const body of [
      { owner: 'acme', repo: 'other' },
      { owner: 'x' },
      { repo: 'app' },
      { Owner: 'x', REPO: 'app' },
      { owner: 1, repo: 2 },
    ])
      expect(check('issue', body)).to.equal('POLICY_REFUSED');
  });

  it('may not show or rename a repository', () => {
    expect(check('settings', { description: 'x', private: true })).to.equal('none');
    for (const body of [{ private: false }, { Private: false }, { internal: true }, { name: 'x' }])
      expect(check('settings', body)).to.equal('POLICY_REFUSED');
  });
});

describe('uploads', () => {
  const form = (...parts: string[]): Buffer =>
    Buffer.from(`${parts.map((part) => `--b\r\n${part}\r\n`).join('')}--b--\r\n`);
  const file = (name: string, filename: string, content: string): string =>
    `Content-Disposition: form-data; name="${name}"; filename="${filename}"\r\nContent-Type: text/plain\r\n\r\n${content}`;

  async function read(
    bytes: Buffer,
    size = bytes.length,
    contentType = 'multipart/form-data; boundary=b',
  ): Promise<string> {
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
    const out: Buffer[] = [];
    const upload = readUpload(contentType, Readable.from(pieces, { objectMode: false }));
    for await (const chunk of upload.body) out.push(chunk as Buffer);
    const boundary = upload.contentType.split('boundary=')[1] ?? '';
    return Buffer.concat(out).toString().replaceAll(boundary, 'B');
  }
  const failure = (bytes: Buffer, size?: number): Promise<string> =>
    read(bytes, size).then(
      () => 'none',
      (error: AppError) => error.code,
    );

  it('are written anew with a boundary of our own, wherever the bytes are cut', async () => {
    for (const size of [1, 3, 50, 1000])
      expect(await read(form(file('attachment', 'a.txt', 'hello\r\n--a\r\n--')), size)).to.equal(
        '--B\r\nContent-Disposition: form-data; name="attachment"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--a\r\n--\r\n--B--\r\n',
      );
  });

  it('keep a file name in one quoted string and cut its folders', async () => {
    const text = await read(form(file('attachment', '../../e\\"vil; name=\\"sudo\\".txt', 'x')));
    expect(text.split('\r\n')[1]).to.match(
      /^Content-Disposition: form-data; name="attachment"; filename="(?:[^"\\]|\\.)*"$/,
    );
    expect(text).to.not.include('../');
  });

  it('may hold the one file and nothing else', async () => {
    const field = 'Content-Disposition: form-data; name="sudo"\r\n\r\nbob';
    const good = file('attachment', 'a', 'x');
    const bad = [
      [field],
      [field, good],
      [good, field],
      [good, good],
      [file('sudo', 'a', 'x')],
      [file('Attachment', 'a', 'x')],
      [good, file('x', 'y', 'z')],
    ];
    for (const parts of bad)
      for (const size of [1, 1000])
        expect(await failure(form(...parts), size), parts.join()).to.equal('REQUEST_REFUSED');
  });

  it('are refused when cut short or empty, before their last boundary goes out', async () => {
    const whole = form(file('attachment', 'a', 'some content'));
    for (const cut of [0, 5, 40, whole.length - 8])
      expect(await failure(whole.subarray(0, cut)), String(cut)).to.equal('REQUEST_REFUSED');
  });

  it('are refused without a boundary', () => {
    expect(codeOf(() => readUpload('multipart/form-data', Readable.from([])))).to.equal('REQUEST_REFUSED');
  });

  it('carry a large file through byte for byte', async () => {
    const content = createHash('sha512').update('x').digest('hex').repeat(5_000);
    expect(await read(form(file('attachment', 'a', content)), 4096)).to.include(`\r\n\r\n${content}\r\n--B--\r\n`);
  });
});
