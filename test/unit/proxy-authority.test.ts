/** The CA of the credential proxy comes of its keys: what one gateway gave its children holds at every other, and while keys are replaced. */
import { expect } from 'chai';
import { execFile, execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, hkdfSync, randomBytes, sign, verify, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, get } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { ProxyKeys } from '../../src/forgejo/capability';
import { createCertificate, type ProxyCertificate } from '../../src/forgejo/proxy/tls';
import { derivedKey } from '../../src/tls/key';

const HOST = '127.0.0.1';
const OLD = Buffer.alloc(32, 'old');
const NEW = Buffer.alloc(40, 'new');
/** The files that there are while `NEW` takes the place of `OLD`, in every order. */
const FILES: readonly ProxyKeys[] = [[OLD], [OLD, NEW], [NEW, OLD], [NEW]];
const nameOf = (keys: ProxyKeys): string => keys.map((key) => (key === OLD ? 'old' : 'new')).join('+');

/** The certificates of a PEM text. */
const split = (pem: string): X509Certificate[] =>
  (pem.match(/-----BEGIN[^]+?END CERTIFICATE-----/g) ?? []).map((text) => new X509Certificate(text));

const hasOpenssl = ((): boolean => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe('the CA of the credential proxy', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'fmo-ca-'));
  after(() => rmSync(folder, { recursive: true }));

  /** A gateway's listener. */
  async function serve({ key, cert }: ProxyCertificate): Promise<{ port: number; close: () => void }> {
    const server = createServer({ key, cert, minVersion: 'TLSv1.2' }, (_request, response) => response.end('ok'));
    server.on('tlsClientError', () => undefined);
    server.listen(0, HOST);
    await once(server, 'listening');
    return { port: (server.address() as AddressInfo).port, close: () => void server.close() };
  }

  const byNode = (port: number, ca: string): Promise<boolean> =>
    new Promise((done) =>
      get({ host: HOST, port, ca, agent: false }, (response) => {
        response.resume();
        done(response.statusCode === 200);
      }).on('error', () => done(false)),
    );

  async function byOpenssl(port: number, ca: string): Promise<boolean> {
    const file = join(folder, `${createHash('sha256').update(ca).digest('hex')}.pem`);
    writeFileSync(file, ca);
    const args = ['s_client', '-connect', `${HOST}:${String(port)}`, '-CAfile', file, '-no-CApath', '-no-CAstore'];
    const running = promisify(execFile)('openssl', [...args, '-verify_return_error', '-verify_ip', HOST]);
    running.child.stdin?.end();
    return running.then(
      ({ stdout }) => stdout.includes('Verify return code: 0 (ok)'),
      () => false,
    );
  }

  /** What another process makes of the same keys. */
  async function elsewhere(keys: ProxyKeys): Promise<ProxyCertificate> {
    const tls = resolve(__dirname, '../../src/forgejo/proxy/tls.ts');
    const program = `
      const { createCertificate } = require(${JSON.stringify(tls)});
      const keys = JSON.parse(process.argv[1]).map((key) => Buffer.from(key, 'hex'));
      process.stdout.write(JSON.stringify(createCertificate([${JSON.stringify(HOST)}], keys)));`;
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...['-r', 'ts-node/register/transpile-only', '-e', program],
      JSON.stringify(keys.map((key) => key.toString('hex'))),
    ]);
    return JSON.parse(stdout) as ProxyCertificate;
  }

  it('is the same in another process: the leaf of the one is believed with the CA of the other', async () => {
    const [ours, theirs] = [createCertificate([HOST], [OLD]), await elsewhere([OLD])];
    const [[a], [b]] = [split(ours.ca), split(theirs.ca)];
    expect(b?.publicKey.equals(a.publicKey)).to.equal(true);
    expect([b?.subject, b?.issuer]).to.deep.equal([a?.subject, a?.subject]);
    expect(b?.serialNumber, 'each is a certificate of its own').to.not.equal(a?.serialNumber);
    expect(theirs.key).to.not.equal(ours.key);
    for (const [server, child] of [
      [ours, theirs],
      [theirs, ours],
    ] as const) {
      const { port, close } = await serve(server);
      expect(await byNode(port, child.ca)).to.equal(true);
      if (hasOpenssl) expect(await byOpenssl(port, child.ca)).to.equal(true);
      close();
    }
  });

  for (const file of FILES)
    it(`with ${nameOf(file)} at the gateway convinces each child that has one of these keys’ CAs, and no other`, async () => {
      const { port, close } = await serve(createCertificate([HOST], file));
      for (const bound of FILES) {
        const { ca } = createCertificate([HOST], bound);
        const believes = bound.some((key) => file.includes(key));
        expect(await byNode(port, ca), `a child of ${nameOf(bound)}`).to.equal(believes);
        if (hasOpenssl) expect(await byOpenssl(port, ca), `openssl for ${nameOf(bound)}`).to.equal(believes);
      }
      const stranger = createCertificate([HOST], [randomBytes(32)]).ca;
      expect(await byNode(port, stranger)).to.equal(false);
      close();
    });

  it('goes to children for every key of the file; the first one’s signs, and the others vouch for it and for nothing below it', () => {
    const { ca, cert } = createCertificate([HOST], [NEW, OLD]);
    const [fresh, old] = split(ca);
    const [leaf, endorsed, ...more] = split(cert);
    expect(more).to.deep.equal([]);
    expect(leaf?.verify(fresh.publicKey) === true && leaf.checkIssued(fresh)).to.equal(true);
    expect(endorsed?.publicKey.equals(fresh.publicKey)).to.equal(true);
    expect(endorsed?.verify(old.publicKey) === true && endorsed.checkIssued(old)).to.equal(true);
    expect(fresh?.subject).to.not.equal(old?.subject);
  });

  it('has a key that is in nothing that it makes, and in no other key’s derivation', () => {
    const { ca, cert, key } = createCertificate([HOST], [OLD, NEW]);
    const seed = hkdfSync('sha256', OLD, '', 'forgejo-mcp-operator proxy authority v1', 32);
    const own = derivedKey(() => Buffer.from(hkdfSync('sha256', Buffer.from(seed), '', 'P-256 0', 32)));
    const text = Buffer.from('signed');
    expect(verify('sha256', text, split(ca)[0].publicKey, sign('sha256', text, own)), 'it is that key').to.equal(true);
    expect(own.export({ type: 'pkcs8', format: 'pem' }).toString()).to.not.equal(key);
    expect(ca + cert).to.not.include('PRIVATE');
    expect(() => createCertificate([HOST], [Buffer.alloc(31)])).to.throw(RangeError);
  });
});

describe('a derived key', () => {
  const ORDER = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551';
  const hex = (text: string): Buffer => Buffer.from(text.padStart(64, '0'), 'hex');
  const scalarOf = (key: ReturnType<typeof derivedKey>): string =>
    Buffer.from((key.export({ format: 'jwk' }) as { d: string }).d, 'base64url').toString('hex');

  it('is of the first candidate that is a scalar of the curve: neither 0 nor the order or more, nor of another length', () => {
    const last = `${ORDER.slice(0, -1)}0`;
    const candidates = [hex('0'), hex(ORDER), hex('f'.repeat(64)), Buffer.alloc(31, 1), hex(last), hex('2')];
    const asked: number[] = [];
    const key = derivedKey((attempt) => {
      asked.push(attempt);
      return candidates[attempt];
    });
    expect(asked).to.deep.equal([0, 1, 2, 3, 4]);
    expect(scalarOf(key)).to.equal(last);
    expect(scalarOf(derivedKey(() => hex('1')))).to.equal('1'.padStart(64, '0'));
    expect(() => derivedKey(() => hex(ORDER))).to.throw(RangeError);
  });

  it('signs as one that was made, whatever the scalar', () => {
    const text = Buffer.from('signed');
    for (let at = 0; at < 200; at += 1) {
      const key = derivedKey(() => createHash('sha256').update(String(at)).digest());
      const jwk = key.export({ format: 'jwk' });
      const peer = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
      expect(key.asymmetricKeyDetails).to.deep.equal(peer.asymmetricKeyDetails);
      const { d: _d, ...open } = jwk;
      expect(verify('sha256', text, { key: open, format: 'jwk' }, sign('sha256', text, key))).to.equal(true);
    }
  });
});
