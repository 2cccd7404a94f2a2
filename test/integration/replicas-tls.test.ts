/** Who gets in between replicas: real TLS on loopback, with certificates that are right, wrong, and replaced. */
import { expect } from 'chai';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request as httpsRequest, type RequestOptions, type Server } from 'node:https';
import { type AddressInfo, connect as tcpConnect } from 'node:net';
import { connect as tlsConnect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { AppError } from '../../src/errors';
import { openPeerListener } from '../../src/peers/listener';
import { HEADERS, PEER_DNS_NAME, replicaName } from '../../src/peers/names';
import { Authority, type PeerFiles } from '../support/peer-certificates';
import { ask, begin, bodyOf, headOf, nextChunk } from '../support/raw-http';
import { EPOCH, Replica, SESSION } from '../support/replica';
import { until } from '../support/until';

const authority = new Authority();
const stranger = new Authority();

/** The certificate that the other side of a request's connection showed. */
const shown = (request: IncomingMessage): string =>
  (request.socket as TLSSocket).getPeerX509Certificate()!.serialNumber;

describe('mutual TLS between replicas', () => {
  let a: Replica;
  let b: Replica;
  let asked: number;

  beforeEach(async () => {
    a = await Replica.start(authority.issue(), { connectMs: 1_000 });
    b = await Replica.start(authority.issue());
    a.to(b);
    asked = 0;
    b.serve = (request, response) => {
      asked++;
      request.resume().once('end', () => response.end('served'));
    };
  });

  afterEach(async () => {
    await Promise.all([a.stop(), b.stop()]);
  });

  /** A request that is right in everything but the connection. Resolves with the answer's status, or how it failed. */
  function intrude(options: RequestOptions): Promise<number | string> {
    const headers = {
      [HEADERS.to]: b.name,
      [HEADERS.from]: replicaName(),
      [HEADERS.channel]: 'mcp',
      [HEADERS.session]: SESSION,
      [HEADERS.epoch]: String(EPOCH),
      [HEADERS.address]: '127.0.0.1',
    };
    return new Promise((resolve) => {
      const request = httpsRequest({
        host: '127.0.0.1',
        port: b.listener.port,
        agent: false,
        servername: PEER_DNS_NAME,
        checkServerIdentity: () => undefined,
        path: '/mcp',
        headers,
        ...options,
      });
      request.on('response', (response) => resolve(response.resume().statusCode ?? 0));
      request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      request.end();
    });
  }

  describe('lets in', () => {
    it('a replica with a certificate of the same CA and the replicas’ name', async () => {
      expect(await intrude(authority.issue())).to.equal(200);
      expect(asked).to.equal(1);
    });

    it('TLS 1.3 only, and never on the strength of a former handshake', async () => {
      const files = authority.issue();
      const sessions: Buffer[] = [];
      const open = (options: ConnectionOptions): Promise<TLSSocket> => {
        const socket = tlsConnect({
          host: '127.0.0.1',
          port: b.listener.port,
          servername: PEER_DNS_NAME,
          ...files,
          ...options,
        });
        return once(socket, 'secureConnect').then(() => socket);
      };
      const first = await open({});
      first.on('session', (session) => void sessions.push(session));
      expect(first.getProtocol()).to.equal('TLSv1.3');
      first.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(first, 'data');
      first.destroy();
      for (const session of sessions) {
        const again = await open({ session });
        expect(again.isSessionReused()).to.equal(false);
        again.destroy();
      }
      expect(await open({ maxVersion: 'TLSv1.2' }).catch((thrown: Error) => thrown)).to.be.instanceOf(Error);
    });
  });

  describe('lets nobody in', () => {
    const others: readonly (readonly [string, () => RequestOptions, 'tls' | 'name'])[] = [
      ['without a certificate', () => ({ ca: authority.pem }), 'tls'],
      ['with a certificate of another CA', () => ({ ...stranger.issue(), ca: authority.pem }), 'tls'],
      ['with an expired one', () => authority.issue({ expiresIn: -60_000 }), 'tls'],
      ['with one for a server only', () => authority.issue({ usages: ['server'] }), 'tls'],
      ['with another name', () => authority.issue({ hosts: ['gateway.example'] }), 'name'],
      ['with the name as common name only', () => authority.issue({ hosts: ['x'], commonName: PEER_DNS_NAME }), 'name'],
      ['with a name below it', () => authority.issue({ hosts: [`x.${PEER_DNS_NAME}`] }), 'name'],
      ['with an address', () => authority.issue({ hosts: ['127.0.0.1'] }), 'name'],
    ];
    for (const [what, options, why] of others) {
      it(what, async () => {
        expect(await intrude(options())).to.be.a('string');
        expect(asked).to.equal(0);
        await until('it was counted', async () => b.told.refused.length > 0);
        expect(b.told.refused).to.deep.equal([why]);
      });
    }

    it('without TLS', async () => {
      const socket = tcpConnect(b.listener.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write('GET /mcp HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(socket, 'close');
      expect(asked).to.equal(0);
    });

    it('before there is a certificate, and everybody once there is one', async () => {
      const late = await Replica.start(undefined, { connectMs: 1_000 });
      try {
        expect(late.certificates.current).to.equal(undefined);
        a.to(late);
        late.to(b);
        expect((await ask(`${a.url}/mcp`)).text).to.equal('not-there');
        expect((await ask(`${late.url}/mcp`)).text).to.equal('not-there');
        late.secret.write(authority.issue());
        await late.certificates.look();
        expect((await ask(`${a.url}/mcp`)).text).to.equal('served');
        expect((await ask(`${late.url}/mcp`)).text).to.equal('served');
      } finally {
        await late.stop();
      }
    });

    it('with a request that is not whole or for somebody else, whatever the certificate', async () => {
      const right = {
        [HEADERS.to]: b.name,
        [HEADERS.from]: replicaName(),
        [HEADERS.channel]: 'mcp',
        [HEADERS.session]: SESSION,
        [HEADERS.epoch]: String(EPOCH),
        [HEADERS.address]: '',
      };
      const files = authority.issue();
      const wrong: Record<string, string | string[]>[] = [
        ...Object.keys(right).map((name) =>
          Object.fromEntries(Object.entries(right).filter(([each]) => each !== name)),
        ),
        ...Object.entries(right).map(([name, value]) => ({ ...right, [name]: [value, value] })),
        { ...right, [HEADERS.to]: replicaName() },
        { ...right, [HEADERS.channel]: 'admin' },
        { ...right, [HEADERS.channel]: 'constructor' },
        { ...right, [HEADERS.epoch]: `${EPOCH}.0` },
        { ...right, [HEADERS.epoch]: '-1' },
        { ...right, [HEADERS.address]: 'evil.example' },
        { ...right, [HEADERS.from]: 'evil' },
      ];
      const { [HEADERS.session]: _session, [HEADERS.epoch]: _epoch, ...noSession } = right;
      const byName = { ...noSession, [HEADERS.channel]: 'stateless' };
      wrong.push({ ...byName, [HEADERS.to]: replicaName() }, { ...byName, [HEADERS.channel]: 'forge' });
      wrong.push({ ...byName, [HEADERS.channel]: 'sse' }); // this replica of the test serves no such requests
      for (const headers of wrong) expect(await intrude({ ...files, headers }), JSON.stringify(headers)).to.equal(421);
      expect(asked).to.equal(0);
      expect(await intrude({ ...files, headers: right })).to.equal(200);
      expect(await intrude({ ...files, headers: byName })).to.equal(200);
    });
  });

  describe('sends nothing to', () => {
    /** What listens at the holder's address is somebody else. */
    async function impostor(files: PeerFiles, more: object = {}): Promise<{ server: Server; requests: number }> {
      const found = { server: createServer({ ...files, ...more }), requests: 0 };
      found.server.on('request', (_request, response) => {
        found.requests++;
        response.end();
      });
      found.server.on('checkContinue', () => found.requests++);
      found.server.listen(0, '127.0.0.1');
      await once(found.server, 'listening');
      a.target = { name: b.name, address: `127.0.0.1:${(found.server.address() as AddressInfo).port}` };
      return found;
    }

    const others: readonly (readonly [string, () => PeerFiles, object?])[] = [
      ['a server of another CA', () => stranger.issue()],
      ['an expired one', () => authority.issue({ expiresIn: -60_000 })],
      ['one with another name', () => authority.issue({ hosts: ['gateway.example', '127.0.0.1'] })],
      ['one with the common name only', () => authority.issue({ hosts: ['x'], commonName: PEER_DNS_NAME })],
      ['a client’s certificate', () => authority.issue({ usages: ['client'] })],
      ['one that speaks an older TLS', () => authority.issue(), { maxVersion: 'TLSv1.2' }],
    ];
    for (const [what, files, more] of others) {
      it(what, async () => {
        const found = await impostor(files(), more);
        for (const options of [{}, { method: 'POST', body: 'secret' }]) {
          expect((await ask(`${a.url}/mcp`, options)).text).to.equal('not-there');
        }
        expect(found.requests).to.equal(0);
        found.server.close();
      });
    }
  });

  describe('when the certificates are rotated', () => {
    it('no open stream breaks, and what is begun from then on uses the new ones', async function () {
      this.timeout(60_000);
      const open: ServerResponse[] = [];
      const seen = new Set<string>();
      b.serve = (request, response) => {
        seen.add(shown(request));
        if (request.url === '/stream') {
          open.push(response);
          response.write('data: 0\n\n');
        } else response.end('short');
      };
      const streams = await Promise.all(
        Array.from({ length: 50 }, async () => {
          const sent = begin(`${a.url}/stream`);
          sent.end();
          const { message } = await headOf(sent);
          await nextChunk(message);
          return message;
        }),
      );
      await ask(`${a.url}/mcp`); // leaves a connection that is kept
      expect(seen.size).to.equal(1);
      const [former] = seen;
      const [ours, theirs] = [authority.issue(), authority.issue()];
      a.secret.write(ours);
      b.secret.write(theirs);
      await Promise.all([a.certificates.look(), b.certificates.look()]);
      seen.clear();
      for (let i = 0; i < 3; i++) expect((await ask(`${a.url}/mcp`)).text).to.equal('short');
      expect(seen.size).to.equal(1);
      expect(seen.has(former)).to.equal(false);
      const showsNew = tlsConnect({ host: '127.0.0.1', port: b.listener.port, servername: PEER_DNS_NAME, ...ours });
      await once(showsNew, 'secureConnect');
      expect(showsNew.getPeerX509Certificate()?.toString()).to.equal(theirs.cert);
      showsNew.destroy();
      for (let i = 1; i <= 3; i++) {
        for (const response of open) response.write(`data: ${i}\n\n`);
        for (const message of streams) expect((await nextChunk(message)).toString()).to.equal(`data: ${i}\n\n`);
      }
      for (const response of open) response.end();
      for (const message of streams) expect((await bodyOf(message)).length).to.equal(0);
      await until('all outcomes', async () => a.outcomes.length === 54);
      expect(a.told.forwarded.every((each) => each === 'forwarded')).to.equal(true);
    });

    it('to another CA in two steps: both are believed, then the new one only', async () => {
      const next = new Authority();
      const both = `${authority.pem}${next.pem}`;
      const step = async (replica: Replica, files: PeerFiles): Promise<void> => {
        replica.secret.write(files);
        await replica.certificates.look();
        for (const from of [a, b]) {
          from.to(from === a ? b : a);
          expect((await ask(`${from.url}/mcp`)).text).to.equal('served');
        }
      };
      for (const replica of [a, b]) await step(replica, { ...authority.issue(), ca: both });
      for (const replica of [a, b]) await step(replica, { ...next.issue(), ca: both });
      for (const replica of [a, b]) await step(replica, next.issue());
      expect(await intrude({ ...authority.issue(), ca: next.pem })).to.be.a('string');
    });
  });

  it('a connection that is closed under a request, before the holder took it, costs nothing', async () => {
    const served = new WeakMap<object, number>();
    let requests = 0;
    const server = createServer({ ...authority.issue(), requestCert: true });
    const take = (
      request: IncomingMessage,
      response: ServerResponse,
      word: 'writeContinue' | 'writeProcessing',
    ): void => {
      requests++;
      const before = served.get(request.socket) ?? 0;
      served.set(request.socket, before + 1);
      if (before > 0) {
        request.socket.destroy();
        return;
      }
      response[word]();
      request.resume().once('end', () => response.end('on a new one'));
    };
    server.on('request', (request, response) => take(request, response, 'writeProcessing'));
    server.on('checkContinue', (request, response) => take(request, response, 'writeContinue'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    a.target = { name: b.name, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
    for (const options of [{}, { method: 'POST', body: 'x' }, { method: 'DELETE' }]) {
      expect((await ask(`${a.url}/mcp`, options)).text).to.equal('on a new one');
      expect((await ask(`${a.url}/mcp`, options)).text).to.equal('on a new one');
    }
    expect(requests).to.equal(11); // one without, five with a kept connection
    // A POST without a body has nothing that was held back, so it may have run.
    expect((await ask(`${a.url}/mcp`, { method: 'POST' })).text).to.equal('unanswered');
    server.closeAllConnections();
    server.close();
  });

  it('a replica that was stopped, behind a connection that is kept, is not-there in time', async () => {
    const impatient = await Replica.start(authority.issue(), { acceptMs: 200 });
    const answered = new WeakSet<object>();
    const server = createServer({ ...authority.issue(), requestCert: true });
    const take = (request: IncomingMessage, response: ServerResponse): void => {
      if (answered.has(request.socket)) return; // silence
      answered.add(request.socket);
      response.writeProcessing();
      response.end('once');
    };
    server.on('request', take);
    server.on('checkContinue', take);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    impatient.target = { name: b.name, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
    for (const [options, outcome] of [
      [{}, 'not-there'],
      [{ method: 'POST', body: 'x' }, 'not-there'],
      [{ method: 'POST' }, 'unanswered'],
    ] as const) {
      expect((await ask(`${impatient.url}/mcp`)).text).to.equal('once');
      expect((await ask(`${impatient.url}/mcp`, options)).text).to.equal(outcome);
    }
    server.closeAllConnections();
    server.close();
    await impatient.stop();
  });

  describe('the listener', () => {
    it('says CONFIG_INVALID where its port is taken', async () => {
      const error = await openPeerListener({
        self: replicaName(),
        listen: { address: '127.0.0.1', port: b.listener.port },
        certificates: b.certificates,
        service: { holds: () => false, handlers: {} },
      }).catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(AppError).with.property('code', 'CONFIG_INVALID');
    });

    it('drains: what is open goes on, what comes is answered, and connections are not kept', async () => {
      const ports = new Set<number>();
      let stream: ServerResponse | undefined;
      b.serve = (request, response) => {
        ports.add(request.socket.remotePort ?? 0);
        if (request.url !== '/stream') response.end('ok');
        else (stream = response).write('begun');
      };
      const sent = begin(`${a.url}/stream`);
      sent.end();
      const { message } = await headOf(sent);
      await nextChunk(message);
      b.listener.drain();
      for (let i = 0; i < 3; i++) expect((await ask(`${a.url}/mcp`)).text).to.equal('ok');
      b.held.clear();
      expect((await ask(`${a.url}/mcp`)).text).to.equal('not-holder');
      expect(ports.size).to.equal(4);
      const closed = b.listener.close(60_000);
      stream?.end('over');
      expect((await bodyOf(message)).toString()).to.equal('over');
      await closed;
    });

    it('cuts what is still open when its time is over', async () => {
      b.serve = (_request, response) => void response.write('begun');
      const sent = begin(`${a.url}/mcp`);
      sent.end();
      const { message } = await headOf(sent);
      await nextChunk(message);
      await b.listener.close(50);
      expect(await bodyOf(message).catch((thrown: unknown) => thrown)).to.be.instanceOf(Error);
    });
  });
});
