/** The credential proxy under load and before a forge that misbehaves. */
import { Agent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { expect } from 'chai';
import { json, type ProxyFixture, StandInForge, startProxy } from '../support/proxy';
import { until } from '../support/until';
import { blocks, digest, growth, MIB } from '../support/volume';

const FILE = '/api/v1/repos/o/r/raw/big.bin';
const ASSETS = '/api/v1/repos/o/r/releases/1/assets';
const HEAD =
  'Content-Disposition: form-data; name="attachment"; filename="big.bin"\r\nContent-Type: application/zip\r\n\r\n';

describe('credential proxy: streams and faults', function () {
  this.timeout(180_000);
  let forge: StandInForge;
  let proxy: ProxyFixture;

  const start = (timeouts: { firstByte: number; idle: number }): Promise<ProxyFixture> =>
    startProxy({
      forgejo: { apiUrl: forge.url },
      timeouts,
      limits: { perSession: 60, bodyBytes: 300 * MIB },
    });
  beforeEach(async () => {
    forge = await new StandInForge().listen();
    proxy = await start({ firstByte: 400, idle: 1_000 });
  });
  /** For tests that are about volume and not about time-outs. */
  const patient = async (): Promise<void> => {
    await proxy.close();
    proxy = await start({ firstByte: 30_000, idle: 30_000 });
  };
  afterEach(async () => {
    await proxy.close();
    await forge.close();
  });

  function open(path: string, method = 'GET', headers: Record<string, string> = {}): ClientRequest {
    return httpRequest({
      host: '127.0.0.1',
      port: proxy.port,
      path,
      method,
      agent: false,
      headers: { authorization: `token ${proxy.capability()}`, ...headers },
    });
  }
  const answered = (request: ClientRequest): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => request.once('response', resolve).once('error', reject));

  it('hands 100 MiB down intact in constant memory', async () => {
    await patient();
    const sent = blocks(100);
    forge.stream = (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': String(100 * MIB) });
      void pipeline(sent.stream(), response);
      return true;
    };
    const grown = await growth(async () => {
      const request = open(FILE);
      request.end();
      const response = await answered(request);
      expect(response.headers['content-length']).to.equal(String(100 * MIB));
      expect(await digest(response)).to.deep.equal({ length: 100 * MIB, digest: sent.digest });
    });
    expect(grown).to.be.lessThan(24);
  });

  it('lets downloads end when it closes, and takes nothing new; then no connection keeps it, though children would keep theirs', async () => {
    await patient();
    let rest: () => void = () => undefined;
    forge.stream = (_request, response) => {
      response.writeHead(200, { 'content-length': '10' }).write('begun');
      rest = () => void response.end(' over');
      return true;
    };
    const agent = new Agent({ keepAlive: true });
    const request = httpRequest({
      ...{ host: '127.0.0.1', port: proxy.port, path: FILE, agent },
      headers: { authorization: `token ${proxy.capability()}` },
    });
    request.end();
    const response = await answered(request);
    const closing = proxy.proxy.close(60_000);
    const refused = await answered(open(FILE).end()).catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'ECONNREFUSED');
    rest();
    expect(await text(response)).to.equal('begun over');
    await closing;
    agent.destroy();
  });

  it('hands 100 MiB up intact in constant memory, as binary and as a form', async () => {
    await patient();
    const sent = blocks(100);
    let got: { length: number; digest: string } | undefined;
    forge.stream = (request, response) => {
      void digest(request).then((sum) => {
        got = sum;
        json(response, 201, {});
      });
      return true;
    };
    const binary = await growth(async () => {
      const request = open(ASSETS, 'POST', {
        'content-type': 'application/octet-stream',
        'content-length': String(100 * MIB),
      });
      await pipeline(sent.stream(), request);
      expect((await answered(request)).statusCode).to.equal(201);
      expect(got).to.deep.equal({ length: 100 * MIB, digest: sent.digest });
    });
    expect(binary).to.be.lessThan(24);

    const form = await growth(async () => {
      const request = open(ASSETS, 'POST', { 'content-type': 'multipart/form-data; boundary=b' });
      const answer = answered(request);
      const body = async function* (): AsyncGenerator<Buffer> {
        yield Buffer.from(`--b\r\n${HEAD}`);
        yield* sent.stream() as AsyncIterable<Buffer>;
        yield Buffer.from('\r\n--b--\r\n');
      };
      await pipeline(Readable.from(body(), { objectMode: false }), request);
      expect((await answer).statusCode).to.equal(201);
      expect(got?.length).to.be.greaterThan(100 * MIB);
    });
    expect(form).to.be.lessThan(24);
  });

  it('refuses a body beyond the limit with 413, announced or not', async () => {
    forge.stream = (request, response) => {
      void digest(request).then(
        () => json(response, 201, {}),
        () => undefined,
      );
      return true;
    };
    const announced = open(ASSETS, 'POST', {
      'content-type': 'application/octet-stream',
      'content-length': String(301 * MIB),
    });
    announced.on('error', () => undefined);
    announced.write('x');
    expect((await answered(announced)).statusCode).to.equal(413);
    announced.destroy();
    const chunked = open(ASSETS, 'POST', { 'content-type': 'application/octet-stream' });
    const answer = answered(chunked);
    void pipeline(blocks(310).stream(), chunked).catch(() => undefined);
    expect((await answer).statusCode).to.equal(413);
    chunked.destroy();
  });

  it('serves 50 streams of one session at once, and refuses those beyond its limit with 503 and Retry-After', async () => {
    const gates: (() => void)[] = [];
    forge.stream = (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      response.write('begin');
      gates.push(() => response.end('end'));
      return true;
    };
    const responses = await Promise.all(
      Array.from({ length: 60 }, () => {
        const request = open(FILE);
        request.end();
        return answered(request);
      }),
    );
    await until('all streams began', async () => gates.length === 60);
    const refused = await proxy.call(FILE);
    expect(refused.status).to.equal(503);
    expect(refused.headers['retry-after']).to.equal('1');
    proxy.addSession('two');
    forge.stream = () => false;
    expect((await proxy.call(FILE, { session: 'two' })).status).to.equal(200);
    for (const gate of gates) gate();
    for (const response of responses) {
      const chunks: Buffer[] = [];
      for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
      expect(Buffer.concat(chunks).toString()).to.equal('beginend');
    }
    expect((await proxy.call(FILE)).status).to.equal(200);
  });

  it('answers 504 when the forge never answers, and forgets the call', async () => {
    forge.handler = () => undefined;
    const answer = await proxy.call('/api/v1/user');
    expect(answer.status).to.equal(504);
    expect(answer.headers['retry-after']).to.equal('5');
    expect(proxy.events.at(-1)).to.include({ outcome: 'failed', code: 'UPSTREAM_TIMEOUT', status: 504 });
  });

  it('waits as long as a slow upload moves, beyond the time for the first byte', async () => {
    forge.stream = (request, response) => {
      void digest(request).then((sum) => json(response, 201, sum));
      return true;
    };
    const request = open(ASSETS, 'POST', { 'content-type': 'application/octet-stream' });
    const answer = answered(request);
    const began = performance.now();
    for (let piece = 0; performance.now() - began < 1_000; piece++) {
      request.write(`piece ${piece}`);
      await new Promise((next) => setTimeout(next, 100)); // the pace of the child is what is tested
    }
    request.end();
    expect((await answer).statusCode).to.equal(201);
  });

  it('waits as long as a slow answer moves, beyond the time for the first byte', async () => {
    forge.stream = (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      let pieces = 0;
      const timer = setInterval(() => {
        response.write('piece ');
        if (++pieces === 8) {
          clearInterval(timer);
          response.end();
        }
      }, 100);
      return true;
    };
    expect((await proxy.call(FILE)).text).to.equal('piece '.repeat(8));
  });

  it('cuts an answer that stops in the middle, so that the child cannot take it for whole', async () => {
    forge.stream = (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"half":');
      return true;
    };
    const failed = await proxy.call('/api/v1/user').catch((error: Error) => error);
    expect(failed).to.be.instanceOf(Error);
    await until('the call is over', async () => proxy.events.length === 1);
    expect(proxy.events[0]).to.include({ outcome: 'failed', code: 'UPSTREAM_TIMEOUT' });
  });

  it('answers 502 when nothing listens at the forge, and 200 once it is back', async () => {
    const { url } = forge;
    await forge.close();
    const answer = await proxy.call('/api/v1/user');
    expect(answer.status).to.equal(502);
    expect(answer.json.message).to.include('cannot be reached');
    expect(answer.text).not.to.include(url);
    forge = await new StandInForge().listen();
  });

  it('cancels the call to the forge when the child goes away', async () => {
    let cancelled = false;
    forge.stream = (request, response) => {
      request.on('close', () => (cancelled = true));
      response.on('close', () => (cancelled = true));
      return true;
    };
    const request = open('/api/v1/user');
    request.on('error', () => undefined);
    request.end();
    await until('the forge is asked', async () => (await forge.connections) === 1);
    request.destroy();
    await until('the forge sees it', async () => cancelled);
    await until('the call is over', async () => proxy.events.length === 1);
    expect(proxy.events[0]).to.include({ outcome: 'cancelled', status: 0 });
  });

  it('survives a child that goes away with half a body while its token is being asked for', async () => {
    for (const type of ['application/octet-stream', 'multipart/form-data; boundary=b']) {
      let give: ((token: string) => void) | undefined;
      let gone: AbortSignal | undefined;
      proxy.tokens = (signal) => {
        gone = signal;
        return new Promise((resolve) => (give = resolve));
      };
      const request = open(ASSETS, 'POST', { 'content-type': type, 'content-length': '1000' });
      request.on('error', () => undefined);
      request.write(`--b\r\n${HEAD}half`);
      await until('the token is asked for', async () => give !== undefined);
      request.destroy();
      await until('the proxy knows', async () => gone?.aborted);
      give?.('t');
    }
    await until('both calls are over', async () => proxy.events.length === 2);
    for (const event of proxy.events) expect(['cancelled', 'refused']).to.include(event.outcome);
    expect(forge.requests).to.have.length(0);
  });

  it('survives connections that are reset, in every state', async () => {
    forge.handler = () => undefined;
    const line = `HTTP/1.1\r\nHost: x\r\nAuthorization: token ${proxy.capability()}\r\n`;
    for (const bytes of [
      'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n',
      `GET /api/v1/user ${line}\r\n`,
      `POST /api/v1/repos/o/r/issues ${line}Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{`,
      `POST /api/v1/user/keys ${line}Content-Length: 10\r\n\r\n{`,
      'GET / HT',
    ]) {
      const socket = connect(proxy.port, '127.0.0.1', () => socket.write(bytes, () => socket.resetAndDestroy()));
      socket.on('error', () => undefined);
      await once(socket, 'close');
    }
    proxy.tokens = () => Promise.resolve('t');
    forge.handler = (_request, response) => json(response, 200, {});
    expect((await proxy.call('/api/v1/user')).status).to.equal(200);
  });

  it('answers 502 to a forge whose answer cannot be passed on', async () => {
    for (const bytes of ['HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n', 'nonsense\r\n\r\n', '']) {
      const listener = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.once('data', () => socket.end(bytes));
      });
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
      const own = await startProxy({
        forgejo: { apiUrl: `http://127.0.0.1:${(listener.address() as AddressInfo).port}` },
      });
      expect((await own.call('/api/v1/user')).status, bytes).to.equal(502);
      await own.close();
      listener.close();
    }
  });

  it('lets the child read why before it has sent its whole body', async () => {
    const request = open('/api/v1/user/keys', 'POST', { 'content-type': 'application/json' });
    const answer = answered(request);
    void pipeline(blocks(5).stream(), request).catch(() => undefined);
    expect((await answer).statusCode).to.equal(403);
  });

  it('reads on after it has refused a large form, so that the connection can be used again', async () => {
    forge.stream = (request, response) => {
      void digest(request).then(
        () => json(response, 201, {}),
        () => undefined,
      );
      return true;
    };
    // Node's own client stops to send once it has read an early answer; most others go on.
    const form = Buffer.concat([
      Buffer.from(`--b\r\nContent-Disposition: form-data; name="sudo"\r\n\r\nbob\r\n--b\r\n${HEAD}`),
      Buffer.alloc(20 * MIB),
      Buffer.from('\r\n--b--\r\n'),
    ]);
    const line = (request: string): string =>
      `${request} HTTP/1.1\r\nHost: x\r\nAuthorization: token ${proxy.capability()}\r\n`;
    const text = await proxy.raw(
      Buffer.concat([
        Buffer.from(
          `${line(`POST ${ASSETS}`)}Content-Type: multipart/form-data; boundary=b\r\nContent-Length: ${form.length}\r\n\r\n`,
        ),
        form,
        Buffer.from(`${line('GET /api/v1/version/none')}Connection: close\r\n\r\n`),
      ]),
    );
    expect(text.match(/HTTP\/1\.1 \d+/g)).to.deep.equal(['HTTP/1.1 400', 'HTTP/1.1 403']);
  });

  it('refuses before it invites the body of a request that expects 100-continue', async () => {
    const head = (path: string): string =>
      `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: token ${proxy.capability()}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`;
    const refused = await proxy.raw(head('/api/v1/user/keys'));
    expect(refused.startsWith('HTTP/1.1 403')).to.equal(true);
    const request = open('/api/v1/repos/o/r/issues', 'POST', {
      'content-type': 'application/json',
      expect: '100-continue',
    });
    const invited = new Promise<void>((resolve) => request.once('continue', resolve));
    request.flushHeaders();
    await invited;
    request.end('{}');
    expect((await answered(request)).statusCode).to.equal(200);
    const odd = await proxy.raw(head('/api/v1/repos/o/r/issues').replace('100-continue', 'tea'));
    expect(odd.startsWith('HTTP/1.1 400')).to.equal(true);
  });

  it('leaves no connection and no call behind', async () => {
    for (let i = 0; i < 20; i++) await proxy.call('/api/v1/user');
    await proxy.close();
    await until('all are closed', async () => (await forge.connections) === 0);
    proxy = await startProxy({ forgejo: { apiUrl: forge.url } });
  });

  it('ends calls in flight when it closes, after its grace', async () => {
    forge.handler = () => undefined;
    const call = proxy.call('/api/v1/user').then(
      (answer) => answer.status,
      () => 0,
    );
    await until('the forge is asked', async () => forge.requests.length === 1);
    await proxy.proxy.close(10);
    expect([0, 503]).to.include(await call);
  });
});
