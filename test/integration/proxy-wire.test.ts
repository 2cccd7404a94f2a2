/** The credential proxy on the wire: what reaches the forge byte for byte, redirects, hostile framing, TLS. */
import { get as tlsGet } from 'node:https';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect } from 'chai';
import { describedRoutes, moduleFolder } from '../../scripts/routes/description';
import { buildTable, tableText } from '../../scripts/routes/build';
import { ROUTES } from '../../src/forgejo/routes/route';
import { json, noToken, type ProxyFixture, REAL_TOKEN, StandInForge, startProxy } from '../support/proxy';

describe('credential proxy: the wire', function () {
  this.timeout(60_000);
  let forge: StandInForge;
  let storage: StandInForge;
  let proxy: ProxyFixture;

  before(async () => {
    forge = await new StandInForge().listen();
    storage = await new StandInForge().listen();
    proxy = await startProxy({
      forgejo: { apiUrl: forge.url, url: 'https://git.example/forge', storageOrigins: [storage.url] },
      helpUrl: 'https://docs.example/policy',
    });
    proxy.addSession('limited', { policy: { owners: ['acme'], repositories: ['acme/app'] } });
  });
  after(async () => {
    await proxy.close();
    await forge.close();
    await storage.close();
  });
  beforeEach(() => {
    forge.requests.length = storage.requests.length = proxy.events.length = 0;
    forge.handler = (_request, response) => json(response, 200, {});
    storage.handler = (_request, response) => json(response, 200, { stored: true });
  });

  const capability = () => `Authorization: token ${proxy.capability()}\r\n`;
  const status = (text: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);

  it('matches the published description: every route of it has a class', () => {
    expect(tableText(buildTable(describedRoutes(moduleFolder())))).to.equal(tableText(ROUTES));
  });

  describe('what reaches the forge', () => {
    it('is the very target that matched, the allow-listed headers and the real token', async () => {
      let raw = '';
      const listener = createServer((socket) => {
        socket.on('data', (chunk) => {
          raw += chunk.toString('latin1');
          if (raw.includes('\r\n\r\n')) socket.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n');
        });
      });
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
      const { port } = listener.address() as AddressInfo;
      const own = await startProxy({ forgejo: { apiUrl: `http://127.0.0.1:${port}/sub/` } });
      try {
        const target = '/api/v1/repos/o/r/contents/%41%20b/c%2Fd.txt?ref=%6dain&x=%00';
        const answer = await own.call(target, {
          headers: {
            accept: 'text/plain',
            range: 'bytes=0-1',
            cookie: 'a=b',
            'x-forwarded-for': '1.2.3.4',
            'x-real-ip': '1.2.3.4',
            forwarded: 'for=1.2.3.4',
            'x-webauth-other': 'bob',
            'x-gitea-otp': '123456',
            'user-agent': 'child/1',
            connection: 'close, authorization',
            referer: 'x',
            te: 'trailers',
          },
        });
        expect(answer.status).to.equal(204);
        const [first, ...lines] = (raw.split('\r\n\r\n')[0] ?? '').split('\r\n');
        expect(first).to.equal(`GET /sub${target} HTTP/1.1`);
        expect(lines.map((line) => line.toLowerCase()).sort()).to.deep.equal(
          [
            'accept-encoding: identity',
            'accept: text/plain',
            `authorization: bearer ${REAL_TOKEN}`,
            'connection: keep-alive',
            `host: 127.0.0.1:${port}`,
            'range: bytes=0-1',
            'user-agent: forgejo-mcp-operator',
          ].sort(),
        );
      } finally {
        await own.close();
        listener.close();
      }
    });

    it('has one of the known content types, without parameters that a forge could look for words in', async () => {
      const send = (type: string) =>
        proxy.call('/api/v1/repos/o/r/issues', { method: 'POST', body: '{}', headers: { 'content-type': type } });
      expect((await send('Application/JSON; charset=utf-8; x=form-urlencoded; y=multipart/form-data')).status).to.equal(
        200,
      );
      expect(forge.last().headers['content-type']).to.equal('application/json');
      for (const type of [
        '',
        'text/plain',
        'application/xml',
        'multipart/mixed; boundary=b',
        'application/x-www-form-urlencoded',
      ])
        expect((await send(type)).status, type).to.equal(415);
      const both = await proxy.call('/api/v1/repos/o/r/issues', {
        method: 'POST',
        body: '{}',
        headers: { 'content-type': 'application/json, multipart/form-data' },
      });
      expect(both.status).to.equal(415);
    });

    it('is checked and written anew where a restricting policy looks into the body', async () => {
      const body = '{"head":"x","he\\u0061d":"feature/x",  "base":"main"}';
      const answer = await proxy.call('/api/v1/repos/acme/app/pulls', { session: 'limited', method: 'POST', body });
      expect(answer.status).to.equal(200);
      expect(forge.last().body.toString()).to.equal('{"head":"feature/x","base":"main"}');
      for (const bad of ['[]', 'null', '{', '"x"', 'x'.repeat(2_000_000)]) {
        const refused = await proxy.call('/api/v1/repos/acme/app/pulls', {
          session: 'limited',
          method: 'POST',
          body: bad,
        });
        expect([400, 413], bad.slice(0, 10)).to.include(refused.status);
      }
    });
  });

  describe('what comes back', () => {
    it('has allow-listed headers only, and never a cookie', async () => {
      forge.handler = (_request, response) =>
        json(response, 200, [], {
          'set-cookie': 'session=1',
          'x-total-count': '7',
          etag: '"x"',
          server: 'forge',
          'www-authenticate': 'Basic',
          'x-frame-options': 'DENY',
          'access-control-allow-origin': '*',
        });
      const { headers } = await proxy.call('/api/v1/repos/o/r/issues');
      expect(Object.keys(headers).sort()).to.deep.equal(
        [
          'connection',
          'content-type',
          'date',
          'etag',
          'transfer-encoding',
          'x-content-type-options',
          'x-total-count',
        ].sort(),
      );
    });

    it("keeps statuses, empty bodies and the forge's own errors", async () => {
      for (const [code, body] of [
        [404, '{"message":"not found"}'],
        [409, ''],
        [422, '{"message":"bad"}'],
        [500, 'oops'],
      ] as const) {
        forge.handler = (_request, response) => response.writeHead(code).end(body);
        const answer = await proxy.call('/api/v1/repos/o/r/issues');
        expect([answer.status, answer.text]).to.deep.equal([code, body]);
      }
      forge.handler = (_request, response) => response.writeHead(204).end();
      expect((await proxy.call('/api/v1/repos/o/r', { method: 'DELETE' })).status).to.equal(204);
      forge.handler = (_request, response) => response.writeHead(200, { 'content-length': '12' }).end();
      const head = await proxy.call('/api/v1/repos/o/r/raw/x', { method: 'HEAD' });
      expect([head.status, head.headers['content-length'], head.text]).to.deep.equal([200, '12', '']);
    });

    it('explains a refusal in the error shape of the forge, with a place to read more', async () => {
      const answer = await proxy.call('/api/v1/user/keys', { method: 'POST', body: '{}' });
      expect(answer.status).to.equal(403);
      expect(answer.headers['content-type']).to.equal('application/json');
      expect(answer.json).to.deep.equal({
        message:
          '"POST /api/v1/user/keys" is never available to an agent: it concerns credentials, access rights or administration that outlast this session. Do this step yourself in Forgejo\'s web pages. See https://docs.example/policy',
        url: 'https://docs.example/policy',
      });
      expect(forge.requests).to.have.length(0);
    });

    it("withholds a listing that cannot be filtered with 502, and passes the forge's own error on", async () => {
      forge.handler = (_request, response) => json(response, 200, { not: 'a list' });
      expect((await proxy.call('/api/v1/user/repos', { session: 'limited' })).status).to.equal(502);
      forge.handler = (_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
      expect((await proxy.call('/api/v1/user/repos', { session: 'limited' })).status).to.equal(502);
      forge.handler = (_request, response) => json(response, 404, { message: 'none' });
      expect((await proxy.call('/api/v1/user/repos', { session: 'limited' })).status).to.equal(404);
    });

    it('is 503 while the token cannot be had, and the forge is not asked', async () => {
      const before = proxy.tokens;
      proxy.tokens = noToken;
      const answer = await proxy.call('/api/v1/user').finally(() => (proxy.tokens = before));
      expect([answer.status, answer.headers['retry-after']]).to.deep.equal([503, '5']);
      expect(forge.requests).to.have.length(0);
    });

    it('is asked for again with the next token when the forge refuses one', async () => {
      const before = proxy.tokens;
      let turn = 0;
      proxy.tokens = () => Promise.resolve(`${turn++}`.repeat(40));
      forge.handler = (request, response) =>
        json(response, request.headers.authorization === `Bearer ${'1'.repeat(40)}` ? 200 : 401, {});
      const answer = await proxy.call('/api/v1/user').finally(() => (proxy.tokens = before));
      expect([answer.status, forge.requests.length]).to.deep.equal([200, 2]);
    });
  });

  describe('redirects', () => {
    const redirect = (location: string, code = 302): void => {
      forge.handler = (request, response) => {
        if (request.url?.includes('/raw/') === true) response.writeHead(code, { location }).end();
        else json(response, 200, { at: request.url });
      };
    };
    const follow = (session = 'one') => proxy.call('/api/v1/repos/acme/app/raw/x', { session });

    it('to the forge are matched and decided again', async () => {
      for (const location of [
        '/forge/api/v1/repos/acme/app',
        'https://git.example/forge/api/v1/repos/acme/app',
        `${forge.url}/api/v1/repos/acme/app`,
      ]) {
        redirect(location, 301);
        expect((await follow('limited')).json, location).to.deep.equal({ at: '/api/v1/repos/acme/app' });
      }
      redirect('/forge/api/v1/repos/acme/other');
      expect((await follow('limited')).status).to.equal(403);
      expect((await follow()).status).to.equal(200);
    });

    it('to anything that would not be let through are refused with 403 or 400', async () => {
      for (const [location, code] of [
        ['/forge/api/v1/user/keys', 403],
        ['/forge/acme/app.git/info/refs', 403],
        ['/forge/api/v1/%2e%2e/x', 400],
        ['/forge/api/v1/user?sudo=bob', 400],
        ['/elsewhere', 403],
        ['https://evil.example/x', 403],
        ['//evil.example/x', 403],
        ['http://169.254.169.254/latest', 403],
      ] as const) {
        redirect(location);
        expect((await follow()).status, location).to.equal(code);
      }
      expect(storage.requests).to.have.length(0);
    });

    it('to configured object storage are fetched without the token, once', async () => {
      redirect(`${storage.url}/bucket/x%2Fy?X-Amz-Signature=abc&token=1`);
      expect((await follow()).json).to.deep.equal({ stored: true });
      expect(storage.last().target).to.equal('/bucket/x%2Fy?X-Amz-Signature=abc&token=1');
      expect(storage.last().headers).to.not.have.property('authorization');
      storage.handler = (_request, response) => response.writeHead(302, { location: forge.url }).end();
      expect((await follow()).status).to.equal(502);
      redirect(storage.url.replace('http://', 'http://user:pass@').replace('127.0.0.1', '127.0.0.2'));
      expect((await follow()).status).to.equal(403);
    });

    it('in a circle end with 502', async () => {
      redirect('/forge/api/v1/repos/acme/app/raw/x');
      expect((await follow()).status).to.equal(502);
      expect(forge.requests.length).to.be.lessThan(8);
    });

    it('of a write are given back, led through the proxy', async () => {
      forge.handler = (_request, response) =>
        response.writeHead(307, { location: '/forge/api/v1/repos/acme/new/issues' }).end();
      const answer = await proxy.call('/api/v1/repos/acme/old/issues', { method: 'POST', body: '{}' });
      expect([answer.status, answer.headers['location']]).to.deep.equal([
        307,
        `${proxy.url}/api/v1/repos/acme/new/issues`,
      ]);
      expect(forge.requests).to.have.length(1);
    });
  });

  describe('hostile framing', () => {
    const attempts: readonly [string, string, number][] = [
      [
        'two lengths',
        'POST /api/v1/repos/o/r/issues HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n',
        400,
      ],
      [
        'two different Content-Lengths',
        'POST /api/v1/repos/o/r/issues HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n',
        400,
      ],
      [
        'a Content-Length that is no number',
        'POST /api/v1/repos/o/r/issues HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n',
        400,
      ],
      [
        'another transfer coding',
        'POST /api/v1/repos/o/r/issues HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n',
        400,
      ],
      ['a folded header', 'GET /api/v1/user HTTP/1.1\r\nHost: x\r\nX-A: b\r\n Sudo: bob\r\n', 400],
      ['a space before the colon', 'GET /api/v1/user HTTP/1.1\r\nHost: x\r\nSudo : bob\r\n', 400],
      ['a bare line feed', 'GET /api/v1/user HTTP/1.1\nHost: x\n', 400],
      ['a control character in a header', 'GET /api/v1/user HTTP/1.1\r\nHost: x\r\nAccept: a\u0001b\r\n', 400],
      ['no Host', 'GET /api/v1/user HTTP/1.1\r\n', 400],
      ['two Hosts', 'GET /api/v1/user HTTP/1.1\r\nHost: x\r\nHost: y\r\n', 400],
      [
        'a compressed body',
        'POST /api/v1/repos/o/r/issues HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n',
        400,
      ],
      [
        'a body in a GET',
        'GET /api/v1/user HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n',
        400,
      ],
      ['an upgrade', 'GET /api/v1/user HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n', 400],
      ['OPTIONS', 'OPTIONS /api/v1/user HTTP/1.1\r\nHost: x\r\n', 405],
      ['TRACE', 'TRACE /api/v1/user HTTP/1.1\r\nHost: x\r\n', 405],
      ['CONNECT', 'CONNECT forge:443 HTTP/1.1\r\nHost: x\r\n', 405],
      ['headers without end', `GET /api/v1/user HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(40_000)}\r\n`, 431],
    ];
    for (const [what, head, code] of attempts)
      it(`answers ${code} to ${what}, and the forge is not asked`, async () => {
        const connection = head.includes('Connection:') ? '' : 'Connection: close\r\n';
        const eol = head.endsWith('\r\n') ? '\r\n' : '\n';
        const answer = await raw(
          `${head}${capability()}${connection}${eol}${/Length|Transfer/.test(head) ? '{}' : ''}`,
        );
        expect(status(answer), answer.slice(0, 200)).to.equal(code);
        expect(forge.requests).to.have.length(0);
      });

    /** Sends bytes and reads until the other side closes or has answered. */
    function raw(bytes: string): Promise<string> {
      return new Promise((resolve) => {
        let text = '';
        const socket: Socket = connect(proxy.port, '127.0.0.1', () => socket.write(bytes));
        socket.on('data', (chunk) => {
          text += chunk.toString('latin1');
          if (text.includes('\r\n\r\n')) socket.destroy();
        });
        socket.on('error', () => undefined);
        socket.on('close', () => resolve(text));
      });
    }

    it('answers 400 to a second Authorization behind the right one, and the forge is not asked', async () => {
      const head = `GET /api/v1/user HTTP/1.1\r\nHost: x\r\n${capability()}`;
      const answer = await raw(`${head}Authorization: token ${REAL_TOKEN}\r\nConnection: close\r\n\r\n`);
      expect(status(answer)).to.equal(400);
      expect(forge.requests).to.have.length(0);
    });

    it('does not take bytes behind a body for a request with the token of the one before', async () => {
      const answer = await proxy.raw(
        `POST /api/v1/repos/o/r/issues HTTP/1.1\r\nHost: x\r\n${capability()}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}GET /api/v1/user HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      );
      expect(answer.match(/HTTP\/1\.1 \d+/g)).to.deep.equal(['HTTP/1.1 200', 'HTTP/1.1 401']);
      expect(forge.requests).to.have.length(1);
    });

    it('cannot inject a header by any value that goes upstream', async () => {
      for (const header of ['accept', 'range', 'if-none-match']) {
        const answer = await raw(
          `GET /api/v1/user HTTP/1.1\r\nHost: x\r\n${capability()}${header}: a\rSudo: bob\r\nConnection: close\r\n\r\n`,
        );
        expect(status(answer)).to.equal(400);
      }
      expect(forge.requests).to.have.length(0);
    });
  });

  describe('the listener', () => {
    it('proves itself ready, and says so when it is closed', async () => {
      await proxy.proxy.check(AbortSignal.timeout(5_000));
      expect(proxy.events).to.have.length(0);
      const other = await startProxy({ forgejo: { apiUrl: forge.url } });
      await other.close();
      let failed = false;
      await other.proxy.check(AbortSignal.timeout(5_000)).catch(() => (failed = true));
      expect(failed).to.equal(true);
    });

    it('speaks TLS with a certificate of its own that children can trust', async () => {
      const own = await startProxy({
        forgejo: { apiUrl: forge.url },
        tls: { kind: 'self-made', hosts: ['127.0.0.1'] },
      });
      try {
        expect(own.url).to.match(/^https:\/\/127\.0\.0\.1:\d+$/);
        await own.proxy.check(AbortSignal.timeout(5_000));
        const code = await new Promise<number | undefined>((resolve, reject) =>
          tlsGet(
            {
              host: '127.0.0.1',
              port: own.port,
              path: '/api/v1/user',
              ca: own.proxy.caPem,
              agent: false,
              headers: { authorization: `token ${own.capability()}` },
            },
            (response) => {
              response.resume();
              resolve(response.statusCode);
            },
          ).on('error', reject),
        );
        expect(code).to.equal(200);
      } finally {
        await own.close();
      }
    });

    it('enforces the address of the child from the first proof on', async () => {
      const own = await startProxy({ forgejo: { apiUrl: forge.url }, sourceCheck: 'require' });
      try {
        own.addSession('far', { ip: '10.0.0.9' });
        expect((await own.call('/api/v1/user', { session: 'far' })).status).to.equal(401);
        expect((await own.call('/api/v1/user')).status).to.equal(200);
        expect(own.proxy.sourceState).to.equal('preserved');
      } finally {
        await own.close();
      }
    });

    it('audits each request with its template and reason, and nothing that was in it', async () => {
      await proxy.call('/api/v1/repos/acme/secret-name/issues?q=secret-query');
      await proxy.call('/api/v1/repos/acme/secret-name/hooks');
      await proxy.call('/secret-path?x=1');
      expect(
        proxy.events.map(({ route, class: kind, outcome, code, reason, status: code2 }) => [
          route,
          kind,
          outcome,
          code,
          reason,
          code2,
        ]),
      ).to.deep.equal([
        ['/api/v1/repos/{owner}/{repo}/issues', 'read', 'forwarded', undefined, undefined, 200],
        ['/api/v1/repos/{owner}/{repo}/hooks', 'never', 'refused', 'POLICY_REFUSED', 'never', 403],
        ['none', 'unknown', 'refused', 'ROUTE_REFUSED', undefined, 403],
      ]);
      const log = proxy.log.join('\n');
      for (const secret of ['secret-', REAL_TOKEN, 'fmocap_', 'git.example']) expect(log).to.not.include(secret);
    });
  });
});
