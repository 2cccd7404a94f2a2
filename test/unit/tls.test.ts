import { expect } from 'chai';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { createAuthority } from '../../src/tls/certificate';

const now = Date.now();
const valid = { notBefore: new Date(now - 3_600_000), notAfter: new Date(now + 86_400_000) };
const NAME = 'a.example';

describe('certificates', () => {
  const authority = createAuthority({ name: 'a CA', ...valid });
  const leaf = (usages: readonly ('server' | 'client')[]) =>
    authority.issue({ name: 'a leaf', hosts: [NAME, '::1'], usages, ...valid });

  it('are what was asked for, signed by their CA, and no CA themselves', () => {
    const { cert, key } = leaf(['server', 'client']);
    const read = new X509Certificate(cert);
    const ca = new X509Certificate(authority.cert);
    expect(read.checkIssued(ca) && read.verify(ca.publicKey)).to.equal(true);
    expect(read.checkPrivateKey(createPrivateKey(key))).to.equal(true);
    expect([read.ca, ca.ca]).to.deep.equal([false, true]);
    expect(read.checkHost(NAME, { subject: 'never' })).to.equal(NAME);
    expect(read.checkIP('::1')).to.equal('::1');
    expect(read.keyUsage).to.deep.equal(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(read.validToDate.getTime()).to.equal(Math.floor(valid.notAfter.getTime() / 1000) * 1000);
    expect(read.publicKey.asymmetricKeyDetails?.namedCurve).to.equal('prime256v1');
  });

  it('are different each time', () => {
    const serials = Array.from({ length: 20 }, () => new X509Certificate(leaf(['server']).cert).serialNumber);
    expect(new Set(serials).size).to.equal(20);
    expect(createAuthority({ name: 'a CA', ...valid }).cert).to.not.equal(authority.cert);
  });

  /** Whether two sides with these certificates believe each other. */
  const meet = async (server: { cert: string; key: string }, client: { cert: string; key: string }) => {
    const listener = createServer({ ...server, ca: authority.cert, requestCert: true, rejectUnauthorized: true });
    const arrived = new Promise<boolean>((resolve) => {
      listener.on('secureConnection', (socket: TLSSocket) => resolve(socket.authorized));
      listener.on('tlsClientError', () => resolve(false));
    });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const socket = connect({
      port: (listener.address() as AddressInfo).port,
      host: '127.0.0.1',
      servername: NAME,
      ca: authority.cert,
      ...client,
    });
    socket.on('error', () => undefined);
    const believed = await arrived;
    socket.destroy();
    listener.close();
    return believed;
  };

  it('prove both sides of a connection where they are for both', async () => {
    expect(await meet(leaf(['server', 'client']), leaf(['server', 'client']))).to.equal(true);
  });

  it('prove no client where they are a server’s', async () => {
    expect(await meet(leaf(['server']), leaf(['server']))).to.equal(false);
  });

  it('have no host that is neither a name nor an address', () => {
    expect(() => authority.issue({ name: 'x', hosts: ['a b'], usages: ['server'], ...valid })).to.throw(TypeError);
  });
});
