/** The credential proxy holds bodies to check them, of all sessions together up to a bound, and lets go of every one. */
import { once } from 'node:events';
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { expect } from 'chai';
import { json, type ProxyFixture, StandInForge, startProxy } from '../support/proxy';
import { until } from '../support/until';

const KIB = 1024;
const MAX = 2048 * KIB;
const SIZE = 256 * KIB;
const SESSIONS = ['a', 'b', 'c'];
const PATH = '/api/v1/repos/acme/app/issues';
/** A body of SIZE bytes of which the last one is the brace. */
const BODY = Buffer.from(`{"title":"${'x'.repeat(SIZE - 12)}"}`);

describe('credential proxy: bodies that are held to be checked', function () {
  this.timeout(60_000);
  let forge: StandInForge;
  let proxy: ProxyFixture;
  let most: number;

  beforeEach(async () => {
    forge = await new StandInForge().listen();
    proxy = await start();
  });
  afterEach(async () => {
    await proxy.close();
    await forge.close();
  });

  async function start(firstByte = 30_000): Promise<ProxyFixture> {
    const made = await startProxy({
      forgejo: { apiUrl: forge.url },
      timeouts: { firstByte },
      limits: { heldBodyBytes: MAX },
    });
    for (const name of SESSIONS)
      made.addSession(name, { policy: { owners: ['acme'], repositories: ['acme/app', 'acme/other'] } });
    most = 0;
    const { lookup } = made;
    made.lookup = async (name) => {
      most = Math.max(most, made.proxy.heldBodyBytes);
      return lookup(name);
    };
    return made;
  }

  /** Begins a request whose body lacks its last byte. */
  function begin(i: number, body = BODY): ClientRequest {
    const request = httpRequest({
      host: '127.0.0.1',
      port: proxy.port,
      path: PATH,
      method: 'POST',
      agent: false,
      headers: {
        authorization: `token ${proxy.capability(SESSIONS[i % SESSIONS.length])}`,
        'content-type': 'application/json',
        'content-length': String(body.length),
      },
    });
    request.on('error', () => undefined);
    request.write(body.subarray(0, -1));
    return request;
  }

  const post = (body: string | Buffer, session = 'a', path = PATH) =>
    proxy.call(path, { session, method: 'POST', body });
  const allReleased = () => until('nothing is held', async () => proxy.proxy.heldBodyBytes === 0);
  const over = (count: number) => until('all are over', async () => proxy.events.length === count);

  it('are 503 with Retry-After beyond the bound, for all sessions together, and pass as soon as there is room', async () => {
    const answers: IncomingMessage[] = [];
    const requests = Array.from({ length: 90 }, (_, i) => {
      const request = begin(i);
      request.on('response', (response) => {
        answers.push(response.resume());
        request.end(BODY.subarray(-1));
      });
      return request;
    });
    const open = () => requests.filter((request) => !request.writableEnded);
    await until('the rest is held', async () => {
      most = Math.max(most, proxy.proxy.heldBodyBytes);
      return open().length <= 8 && proxy.proxy.heldBodyBytes === open().length * (SIZE - 1);
    });
    expect(open().length, 'a refusal is due only where there is no room').to.be.greaterThan(5);
    expect(most).to.be.at.most(MAX);
    for (const { statusCode, headers } of answers)
      expect([statusCode, headers['retry-after']]).to.deep.equal([503, '2']);
    expect((await post(BODY, 'b')).status, 'a ninth').to.equal(open().length === 8 ? 503 : 200);
    const passing = open();
    for (const request of passing) request.end(BODY.subarray(-1));
    await over(91);
    await allReleased();
    const overloaded = proxy.events.filter(({ code }) => code === 'OVERLOADED');
    for (const event of overloaded) expect(event).to.include({ outcome: 'refused', status: 503, reason: undefined });
    expect(proxy.events.filter(({ status }) => status === 200)).to.have.length(91 - overloaded.length);
    expect(forge.requests).to.have.length(91 - overloaded.length);
    expect((await post(BODY)).status).to.equal(200);
  });

  it('are let go of where the children go away in the middle, many at once and in each way', async () => {
    for (let round = 0; round < 3; round += 1) {
      proxy.events.length = 0;
      const small = Buffer.concat([Buffer.from('{"title":"'), Buffer.alloc(20 * KIB, 'x'), Buffer.from('"}')]);
      const requests = Array.from({ length: 90 }, (_, i) => begin(i, small));
      await until('all are held', async () => proxy.proxy.heldBodyBytes === 90 * (small.length - 1));
      requests.forEach((request, i) => {
        if (i % 3 === 0) request.socket?.resetAndDestroy();
        else if (i % 3 === 1) request.socket?.end();
        else request.destroy();
      });
      await over(90);
      expect(proxy.proxy.heldBodyBytes).to.equal(0);
      expect(forge.requests).to.have.length(0);
    }
    expect((await post(BODY)).status).to.equal(200);
  });

  it('are held until the forge has answered, and let go of where the children go away before', async () => {
    forge.handler = () => undefined;
    const requests = Array.from({ length: 8 }, (_, i) => {
      const request = begin(i);
      request.end(BODY.subarray(-1));
      return request;
    });
    await until('the forge has them', async () => forge.requests.length === 8);
    expect(proxy.proxy.heldBodyBytes).to.equal(MAX);
    expect((await post('{}', 'c')).status).to.equal(503);
    for (const request of requests) request.destroy();
    await over(9);
    expect(proxy.proxy.heldBodyBytes).to.equal(0);
  });

  it('are let go of however the request ends', async () => {
    for (const [status, body] of [
      [403, '{"title":"see x/y#1"}'],
      [400, '{'],
      [400, '[]'],
      [413, `{"title":"${'x'.repeat(4096 * KIB)}"}`],
    ] as const) {
      const own = status === 413 ? await startProxy({ forgejo: { apiUrl: forge.url } }) : proxy;
      own.addSession('a', { policy: { owners: ['acme'], repositories: ['acme/app'] } });
      expect((await own.call(PATH, { session: 'a', method: 'POST', body })).status).to.equal(status);
      await until('nothing is held', async () => own.proxy.heldBodyBytes === 0);
      if (own !== proxy) await own.close();
    }
    forge.handler = (_request, response) => json(response, 500, {});
    expect((await post('{}')).status).to.equal(500);
    await allReleased();
    forge.handler = (request) => request.socket.destroy();
    expect((await post('{}')).status).to.equal(502);
    await allReleased();
    proxy.tokens = () => Promise.reject(new Error('no token'));
    expect((await post('{}')).status).to.equal(500);
    await allReleased();
  });

  it('of children that stop in the middle are 504 at the deadline and let go of, while the connection stays', async () => {
    await proxy.close();
    proxy = await start(300);
    const requests = Array.from({ length: 40 }, (_, i) => begin(i, Buffer.from('{"title":"half"}')));
    const answers = await Promise.all(requests.map(async (request) => (await once(request, 'response')) as [any]));
    expect(new Set(answers.map(([{ statusCode }]) => statusCode as number))).to.deep.equal(new Set([504]));
    await over(40);
    expect(proxy.proxy.heldBodyBytes).to.equal(0);
    for (const { code } of proxy.events) expect(code).to.equal('UPSTREAM_TIMEOUT');
    for (const request of requests) request.destroy();
  });

  it('are let go of when the proxy closes', async () => {
    Array.from({ length: 8 }, (_, i) => begin(i));
    await until('all are held', async () => proxy.proxy.heldBodyBytes === 8 * (SIZE - 1));
    await proxy.proxy.close(0);
    await over(8);
    expect(proxy.proxy.heldBodyBytes).to.equal(0);
  });

  it('are none where the policy restricts nothing: longer ones than the bound are streamed', async () => {
    proxy.addSession('open');
    expect((await post(`{"title":"${'x'.repeat(2 * MAX)}"}`, 'open')).status).to.equal(200);
    expect(forge.last().body.length).to.equal(2 * MAX + 12);
  });
});
