/** Names, origins and addresses: DNS rebinding, browsers, reverse proxies. */
import { expect } from 'chai';
import type { IncomingMessage } from 'node:http';
import { addressOf, rateKey, trustedProxies } from '../../src/http/address';
import { cites } from '../requirements';
import { ask, INITIALIZE, open, raw, startApp, type GatewayApp } from '../support/gateway-app';

describe('Host and Origin', () => {
  let app: GatewayApp;
  afterEach(() => app.close());

  const status = async (headers: Record<string, string>) => {
    const answer = await ask(app, { headers, body: INITIALIZE });
    return [answer.status, answer.json?.error?.data?.code];
  };

  it('answers 403 for a Host that is not ours, before it asks who it is [2024-11-05/transports/5]', async () => {
    app = await startApp();
    for (const host of ['evil.example', 'localhost.evil.example', 'evil.example:8080', '192.0.2.1']) {
      expect(await status({ host, authorization: 'Bearer bad' }), host).to.deep.equal([403, 'HOST_REFUSED']);
    }
  });

  it('answers 403 for a request without a Host', async () => {
    app = await startApp();
    expect(await raw(app, 'POST /mcp HTTP/1.0\r\n\r\n')).to.match(/^HTTP\/1\.1 403 /);
  });

  it('serves the public name, the configured names, and with a loopback name every loopback name, on any port', async () => {
    app = await startApp();
    for (const host of [
      'localhost',
      'LocalHost:8080',
      '127.0.0.1:1',
      '[::1]:9',
      'gateway.internal',
      'gateway.internal:81',
    ]) {
      expect((await status({ host }))[0], host).to.equal(200);
    }
  });

  it('serves no loopback name under a public name, and a name with a port on that port only', async () => {
    app = await startApp({ guard: { publicUrl: 'https://mcp.example.org', allowedHosts: ['inner:8443'] } });
    expect((await status({ host: 'mcp.example.org' }))[0]).to.equal(200);
    expect((await status({ host: 'inner:8443' }))[0]).to.equal(200);
    for (const host of ['localhost', 'inner', 'inner:1']) expect((await status({ host }))[0], host).to.equal(403);
  });

  it('answers 403 for a foreign Origin, null included, before it asks who it is', async () => {
    cites('2024-11-05/transports/5', '2025-11-25/transports/9');
    app = await startApp();
    for (const origin of [
      'https://evil.example',
      'null',
      'http://localhost:6274',
      'https://inspector.example.evil.example',
    ]) {
      expect(await status({ origin, authorization: 'Bearer bad' }), origin).to.deep.equal([403, 'ORIGIN_REFUSED']);
    }
  });

  it('serves its own origin, configured origins, and pages of the same host', async () => {
    app = await startApp();
    for (const origin of ['http://localhost:8080', 'https://inspector.example', 'HTTPS://Inspector.example']) {
      const answer = await ask(app, { headers: { origin }, body: INITIALIZE });
      expect(answer.status, origin).to.equal(200);
      expect(answer.headers['access-control-allow-origin']).to.equal(origin);
      expect(answer.headers['access-control-expose-headers']).to.contain('Mcp-Session-Id');
      expect(answer.headers.vary).to.equal('Origin');
    }
    expect((await status({ origin: 'http://127.0.0.1:7777', host: '127.0.0.1:7777' }))[0]).to.equal(200);
  });

  it('lets a page read a refusal', async () => {
    app = await startApp();
    const answer = await ask(app, {
      headers: { origin: 'https://inspector.example', authorization: undefined },
      body: INITIALIZE,
    });
    expect(answer.status).to.equal(401);
    expect(answer.headers['access-control-allow-origin']).to.equal('https://inspector.example');
    expect(answer.headers['access-control-expose-headers']).to.contain('WWW-Authenticate');
  });

  it('answers a pre-flight request of an allowed origin with 204, without a token', async () => {
    app = await startApp();
    const headers = {
      origin: 'https://inspector.example',
      'access-control-request-method': 'POST',
      authorization: undefined,
    };
    const answer = await ask(app, { method: 'OPTIONS', headers });
    expect(answer.status).to.equal(204);
    expect(answer.headers['access-control-allow-methods']).to.contain('DELETE');
    for (const name of ['Authorization', 'Mcp-Session-Id', 'MCP-Protocol-Version', 'Last-Event-ID']) {
      expect(answer.headers['access-control-allow-headers']).to.contain(name);
    }
    expect(
      (await ask(app, { method: 'OPTIONS', headers: { ...headers, origin: 'https://evil.example' } })).status,
    ).to.equal(403);
  });

  it('answers OPTIONS without an origin with 204 and Allow', async () => {
    app = await startApp();
    const answer = await ask(app, { method: 'OPTIONS' });
    expect([answer.status, answer.headers.allow]).to.deep.equal([204, 'GET, POST, DELETE, OPTIONS']);
    expect(answer.headers['access-control-allow-methods']).to.equal(undefined);
  });

  it('warns once when somebody forwards for others and is not trusted', async () => {
    app = await startApp();
    for (let i = 0; i < 3; i += 1) await ask(app, { headers: { 'x-forwarded-for': '203.0.113.9' }, body: INITIALIZE });
    expect(app.log.lines.filter((line) => line.includes('http.untrusted-proxy'))).to.have.length(1);
  });

  it('serves every origin when told to', async () => {
    app = await startApp({ guard: { insecureAllowAnyOrigin: true } });
    expect((await status({ origin: 'https://anywhere.example' }))[0]).to.equal(200);
    expect(await open(app)).to.have.length(48);
  });
});

describe('client addresses', () => {
  const seen = (peer: string, forwarded: string | undefined, trusted: string[]) =>
    addressOf(
      { socket: { remoteAddress: peer }, headers: { 'x-forwarded-for': forwarded } } as unknown as IncomingMessage,
      trustedProxies(trusted),
    );

  it('is the peer, whatever X-Forwarded-For says, unless the peer is a trusted proxy', () => {
    expect(seen('192.0.2.9', '203.0.113.1', [])).to.equal('192.0.2.9');
    expect(seen('192.0.2.9', '203.0.113.1', ['10.0.0.0/8'])).to.equal('192.0.2.9');
    expect(seen('::ffff:192.0.2.9', undefined, [])).to.equal('192.0.2.9');
  });

  it("is the last hop that is not a trusted proxy; what stands left of it is the client's own word", () => {
    expect(seen('10.0.0.1', 'forged, 203.0.113.7, 10.9.9.9', ['10.0.0.0/8'])).to.equal('203.0.113.7');
    expect(seen('::ffff:10.0.0.1', '203.0.113.7:5555', ['10.0.0.0/8'])).to.equal('203.0.113.7');
    expect(seen('::1', '[2001:db8::5]:443', ['::1'])).to.equal('2001:db8::5');
  });

  it('stays the proxy when the header holds no address', () => {
    expect(seen('10.0.0.1', 'nonsense', ['10.0.0.0/8'])).to.equal('10.0.0.1');
    expect(seen('10.0.0.1', undefined, ['10.0.0.1'])).to.equal('10.0.0.1');
  });

  it('counts IPv4 by address and IPv6 by its /64', () => {
    expect(rateKey('192.0.2.1')).to.equal('192.0.2.1');
    expect(rateKey('2001:db8:1:2:3:4:5:6')).to.equal(rateKey('2001:0db8:1:2::'));
    expect(rateKey('2001:db8::1')).to.equal('2001:db8:0:0::/64');
    expect(rateKey('fe80::1%eth0')).to.equal('fe80:0:0:0::/64');
    expect(rateKey('2001:db8:1:3::1')).to.not.equal(rateKey('2001:db8:1:2::1'));
  });
});
