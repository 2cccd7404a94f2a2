/** Requests that go from one replica to another: real TLS and real HTTP on loopback. */
import { expect } from 'chai';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { AppError } from '../../src/errors';
import { forwardedOf, markMisdirected } from '../../src/peers/forwarded';
import { replicaName } from '../../src/peers/names';
import { freePort } from '../support/ports';
import { Authority } from '../support/peer-certificates';
import { ask, begin, bodyOf, headOf, nextChunk } from '../support/raw-http';
import { EPOCH, Replica, servesByForwarding, SESSION } from '../support/replica';
import { until } from '../support/until';

const authority = new Authority();

/** The next request that a replica serves, and its response. */
function served(replica: Replica): Promise<{ request: IncomingMessage; response: ServerResponse }> {
  return new Promise((resolve) => (replica.serve = (request, response) => resolve({ request, response })));
}

/** The outcome of a public listener's next request. */
const outcome = (replica: Replica, count = 1): Promise<string> =>
  until('an outcome', async () => replica.outcomes.length >= count && replica.outcomes[count - 1]);

describe('a request that reaches a replica which does not hold its session', () => {
  let a: Replica;
  let b: Replica;
  const others: Replica[] = [];

  beforeEach(async () => {
    a = await Replica.start(authority.issue(), { connectMs: 2_000, acceptMs: 1_000, firstByteMs: 10_000 });
    b = await Replica.start(authority.issue());
    a.to(b);
  });

  afterEach(async () => {
    await Promise.all([a, b, ...others.splice(0)].map((replica) => replica.stop()));
  });

  /** One call that waits for the holder's first word, and one whose answer has begun. */
  const underWay = async (): Promise<{ waits: ReturnType<typeof ask>; message: IncomingMessage }> => {
    const first = served(b);
    const waits = ask(`${a.url}/mcp`, { method: 'POST', body: 'x' });
    await first;
    const second = served(b);
    const sent = begin(`${a.url}/mcp`);
    sent.end();
    (await second).response.write('begun');
    const { message } = await headOf(sent);
    return { waits, message };
  };

  describe('goes to the holder', () => {
    it('as its client sent it, with the client’s address and nothing of ours', async () => {
      const asked = served(b);
      const answer = ask(`${a.url}/servers/x/mcp?y=1`, {
        method: 'DELETE',
        headers: { Authorization: 'Bearer t', 'X-Twice': ['1', '2'], Host: 'mcp.example' },
      });
      const { request, response } = await asked;
      expect(request.method).to.equal('DELETE');
      expect(request.url).to.equal('/servers/x/mcp?y=1');
      expect(request.headers).to.include({ authorization: 'Bearer t', host: 'mcp.example' });
      expect(request.headersDistinct['x-twice']).to.deep.equal(['1', '2']);
      expect(forwardedOf(request)).to.deep.equal({
        channel: 'mcp',
        from: a.name,
        session: SESSION,
        epoch: EPOCH,
        clientAddress: '127.0.0.1',
      });
      expect(Object.keys(request.headers).filter((name) => name.startsWith('x-fmo-'))).to.deep.equal([]);
      expect(request.rawHeaders.filter((text) => /^x-fmo-/i.test(text))).to.deep.equal([]);
      response.writeHead(204, 'Gone and done', { 'Set-Cookie': ['a=1', 'b=2'] }).end();
      const { status, message } = await answer;
      expect(status).to.equal(204);
      expect(message.statusMessage).to.equal('Gone and done');
      expect(message.headers['set-cookie']).to.deep.equal(['a=1', 'b=2']);
      expect(await outcome(a)).to.equal('forwarded');
    });

    it('with a body that was read before', async () => {
      const body = randomBytes(200_000);
      a.to(b, { body });
      const asked = served(b);
      const answer = ask(`${a.url}/mcp`, { method: 'POST', body: 'read already' });
      const { request, response } = await asked;
      expect(request.headers).to.include({ 'content-length': '200000' });
      expect(request.headers).not.to.have.any.keys('transfer-encoding', 'expect');
      expect((await bodyOf(request)).equals(body)).to.equal(true);
      response.end('done');
      expect((await answer).text).to.equal('done');
    });

    it('with every byte of its headers, and its answer’s, as they came', async () => {
      // UTF-8 or not is nobody's business here.
      const value = Buffer.concat([Buffer.from('é 👩 ', 'utf8'), Buffer.from([0xe9, 0xff])]).toString('latin1');
      const framings: readonly Record<string, string>[] = [
        { 'Content-Length': '3' },
        { 'Transfer-Encoding': 'chunked' },
        { 'Content-Length': '0' },
      ];
      for (const framing of framings) {
        const asked = served(b);
        const length = framing['Content-Length'] === '0' ? 0 : 3;
        const sent = begin(`${a.url}/mcp`, { method: 'POST', headers: { 'X-Any': value, ...framing } });
        sent.end(Buffer.alloc(length, 'x'));
        const { request, response } = await asked;
        expect(request.headers['x-any']).to.equal(value);
        expect((await bodyOf(request)).length).to.equal(length);
        response.writeHead(200, { 'X-Any': value });
        response.write(Buffer.alloc(0)); // the head alone
        const { message } = await headOf(sent);
        expect(message.headers['x-any']).to.equal(value);
        response.end('done');
        expect((await bodyOf(message)).toString()).to.equal('done');
      }
    });

    it('with a body of unknown length, whatever the method, and its trailers', async () => {
      for (const method of ['POST', 'DELETE', 'PATCH']) {
        const asked = served(b);
        const sent = begin(`${a.url}/mcp`, {
          method,
          headers: { 'Transfer-Encoding': 'chunked', Trailer: 'X-Sum', Connection: 'X-Hop', 'X-Hop': '1' },
        });
        sent.write('one');
        const { request, response } = await asked;
        expect((await nextChunk(request)).toString()).to.equal('one');
        expect(request.headers).to.include({ 'transfer-encoding': 'chunked' });
        expect(request.headers).not.to.have.any.keys('x-hop', 'content-length');
        sent.addTrailers({ 'X-Sum': '2', 'X-Fmo-To': 'me', Authorization: 'other' });
        sent.end('two');
        expect((await bodyOf(request)).toString()).to.equal('two');
        expect(request.trailers).to.deep.equal({ 'x-sum': '2' });
        response.setHeader('Trailer', 'X-Sum');
        response.write('answer');
        response.addTrailers({ 'X-Sum': '3', 'X-Fmo-Answer': 'misdirected' });
        response.end();
        const { message } = await headOf(sent);
        expect((await bodyOf(message)).toString()).to.equal('answer');
        expect(message.trailers).to.deep.equal({ 'x-sum': '3' });
      }
    });

    it('and its answer comes back event by event, none held back until the next', async () => {
      const asked = served(b);
      const sent = begin(`${a.url}/mcp`);
      sent.end();
      const { response } = await asked;
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      response.flushHeaders();
      const { status, message } = await headOf(sent); // before there is any event
      expect(status).to.equal(200);
      for (let i = 0; i < 20; i++) {
        response.write(`data: ${i}\n\n`);
        // Written only when the one before has arrived.
        expect((await nextChunk(message)).toString()).to.equal(`data: ${i}\n\n`);
      }
      response.end();
      expect((await bodyOf(message)).length).to.equal(0);
      expect(await outcome(a)).to.equal('forwarded');
    });

    it('200 at once, bodies streaming both ways, and each gets its own', async function () {
      this.timeout(60_000);
      b.serve = (request, response) => void request.pipe(response);
      const one = async (): Promise<void> => {
        const sent = begin(`${a.url}/mcp`, { method: 'POST' });
        const wrote = createHash('sha256');
        const head = headOf(sent);
        const sending = (async () => {
          for (let i = 0; i < 8; i++) {
            const chunk = randomBytes(16_384 + i);
            wrote.update(chunk);
            if (!sent.write(chunk)) await once(sent, 'drain');
          }
          sent.end();
        })();
        const body = await bodyOf((await head).message);
        await sending;
        expect(createHash('sha256').update(body).digest('hex')).to.equal(wrote.digest('hex'));
      };
      await Promise.all(Array.from({ length: 200 }, one));
      await until('all outcomes', async () => a.outcomes.length === 200);
      expect(a.outcomes.every((each) => each === 'forwarded')).to.equal(true);
    });

    it('on a connection that is kept, and on another one when that was closed meanwhile', async () => {
      const ports = new Set<number>();
      b.serve = (request, response) => {
        ports.add(request.socket.remotePort ?? 0);
        request.resume().once('end', () => response.end('ok'));
      };
      for (let i = 0; i < 5; i++) expect((await ask(`${a.url}/mcp`)).text).to.equal('ok');
      expect(ports.size).to.equal(1);
      const { listener } = b;
      const { port } = listener;
      await listener.close(0);
      await b.open(port); // the same address, and every kept connection is dead
      for (let i = 0; i < 5; i++)
        expect((await ask(`${a.url}/mcp`, { method: 'POST', body: 'x' })).text).to.equal('ok');
      expect(ports.size).to.equal(2);
    });

    it('and its answer’s headers replace those that were set before', async () => {
      a.serveOwn = (request, response) => {
        response.setHeader('X-Request-Id', 'of the first');
        response.setHeader('X-Kept', 'of the first');
        return a.forward(request, response);
      };
      b.serve = (_request, response) => {
        response.setHeader('X-Request-Id', 'of the holder');
        response.setHeader('Vary', ['a', 'b']);
        response.end();
      };
      const { message } = await ask(`${a.url}/mcp`);
      expect(message.headersDistinct).to.deep.include({
        'x-request-id': ['of the holder'],
        'x-kept': ['of the first'],
        vary: ['a', 'b'],
      });
    });

    it('under one request id', async () => {
      a.to(b, { requestId: 'the-id' });
      const asked = served(b);
      const answer = ask(`${a.url}/mcp`, { headers: { 'X-Request-Id': 'another' } });
      const { request, response } = await asked;
      expect(request.headersDistinct['x-request-id']).to.deep.equal(['the-id']);
      response.end();
      await answer;
    });
  });

  describe('holds back', () => {
    const CHUNK = Buffer.alloc(65_536, 'x');
    const MANY = 1_024;

    /** Writes 64 MiB as they are taken; counts what was. */
    function pump(to: Writable): { taken: number } {
      const count = { taken: 0 };
      void (async () => {
        for (; count.taken < MANY; count.taken++) if (!to.write(CHUNK)) await once(to, 'drain');
        to.end();
      })().catch(() => undefined);
      return count;
    }

    /** Resolves when nothing has been taken for a while. */
    async function standstill(count: { taken: number }): Promise<void> {
      let last = -1;
      let same = 0;
      await until('a standstill', async () => {
        same = count.taken === last ? same + 1 : 0;
        last = count.taken;
        return count.taken > 0 && same >= 5;
      });
    }

    it('the holder while the client does not read', async () => {
      const asked = served(b);
      const sent = begin(`${a.url}/mcp`);
      sent.end();
      const { response } = await asked;
      const count = pump(response);
      const { message } = await headOf(sent); // nobody reads it yet
      await standstill(count);
      expect(count.taken).to.be.below(MANY / 2);
      expect((await bodyOf(message)).length).to.equal(MANY * CHUNK.length);
      expect(await outcome(a)).to.equal('forwarded');
    });

    it('the client while the holder does not read', async () => {
      const asked = served(b);
      const sent = begin(`${a.url}/mcp`, { method: 'POST' });
      const count = pump(sent);
      const { request, response } = await asked; // nobody reads it yet
      await standstill(count);
      expect(count.taken).to.be.below(MANY / 2);
      expect((await bodyOf(request)).length).to.equal(MANY * CHUNK.length);
      response.end();
      expect((await headOf(sent)).status).to.equal(200);
    });

    it('a client that never reads is cut in the end, and its holder told', async () => {
      const slow = await Replica.start(authority.issue(), { stallMs: 300 });
      others.push(slow);
      slow.to(b);
      const asked = served(b);
      const sent = begin(`${slow.url}/mcp`);
      sent.end();
      const { response } = await asked;
      const closed = once(response, 'close');
      pump(response);
      await headOf(sent);
      await closed;
      expect(response.writableFinished).to.equal(false);
      expect(await outcome(slow)).to.equal('forwarded');
      expect(slow.told.forwarded).to.deep.equal(['cut']);
    });
  });

  describe('is over on one side', () => {
    it('when it is on the other: a client that goes away while it waits', async () => {
      const asked = served(b);
      const sent = begin(`${a.url}/mcp`, { method: 'POST' });
      sent.end('x');
      const { response } = await asked;
      const closed = once(response, 'close');
      sent.destroy();
      await closed;
      expect(response.writableFinished).to.equal(false);
      expect(await outcome(a)).to.equal('forwarded');
    });

    it('a client that goes away is no failure, even for a caller who gives up because of it', async () => {
      const giveUp = new AbortController();
      a.serveOwn = (request, response) => {
        response.once('close', () => giveUp.abort());
        return a.forward(request, response);
      };
      a.way = { signal: giveUp.signal };
      const asked = served(b);
      const sent = begin(`${a.url}/mcp`, { method: 'POST' });
      sent.end('x');
      const { response } = await asked;
      const closed = once(response, 'close');
      sent.destroy();
      await closed;
      expect(await outcome(a)).to.equal('forwarded');
      expect(giveUp.signal.aborted).to.equal(true);
    });

    it('a client that goes away within its body', async () => {
      const asked = served(b);
      const sent = begin(`${a.url}/mcp`, { method: 'POST' });
      sent.write('begun');
      const { request } = await asked;
      const read = bodyOf(request).catch((thrown: unknown) => thrown);
      sent.destroy();
      expect(await read).to.be.instanceOf(Error);
      expect(await outcome(a)).to.equal('forwarded');
    });

    it('a client that goes away within the answer', async () => {
      const asked = served(b);
      const sent = begin(`${a.url}/mcp`);
      sent.end();
      const { response } = await asked;
      response.write('data: 1\n\n');
      const { message } = await headOf(sent);
      await nextChunk(message);
      const closed = once(response, 'close');
      sent.destroy();
      await closed;
      expect(await outcome(a)).to.equal('forwarded');
    });

    it('an answer that comes before the body was sent goes to the client, and ends its connection', async () => {
      const asked = served(b);
      const sent = begin(`${a.url}/mcp`, { method: 'POST' });
      sent.write('begun');
      const { response } = await asked;
      response.writeHead(413).end('too much');
      const { status, message } = await headOf(sent);
      expect(status).to.equal(413);
      expect(message.headers.connection).to.equal('close');
      expect((await bodyOf(message)).toString()).to.equal('too much');
      sent.destroy();
      expect(await outcome(a)).to.equal('forwarded');
    });

    it('a holder that dies within its answer: the client is cut, so that it resumes', async () => {
      for (const headers of [{}, { 'Content-Length': '100' }]) {
        const asked = served(b);
        const sent = begin(`${a.url}/mcp`);
        sent.end();
        const { response } = await asked;
        response.writeHead(200, headers).write('data: 1\n\n');
        const { message } = await headOf(sent);
        await nextChunk(message);
        response.socket?.destroy();
        expect(await bodyOf(message).catch((thrown: unknown) => thrown)).to.be.instanceOf(Error);
      }
      expect(await outcome(a, 2)).to.equal('forwarded');
      expect(a.told.forwarded).to.deep.equal(['cut', 'cut']);
    });

    it('a caller that gives up: before the answer it has its reason, within it the client is cut', async () => {
      const giveUp = new AbortController();
      a.to(b, { signal: giveUp.signal });
      const { waits, message } = await underWay();
      await nextChunk(message);
      giveUp.abort(new AppError('DRAINING', 'stops'));
      expect((await waits).text).to.equal('DRAINING');
      expect(await bodyOf(message).catch((thrown: unknown) => thrown)).to.be.instanceOf(Error);
      expect((await ask(`${a.url}/mcp`)).text, 'one that had given up before').to.equal('DRAINING');
    });
  });

  describe('is handed back to whoever asked for it', () => {
    it('as not-holder where the holder has given the session up, has another epoch, or is another one at the same address', async () => {
      b.held.set(SESSION, EPOCH + 1);
      expect((await ask(`${a.url}/mcp`, { method: 'POST', body: 'x' })).text).to.equal('not-holder');
      b.held.clear();
      expect((await ask(`${a.url}/mcp`)).text).to.equal('not-holder');
      b.held.set(SESSION, EPOCH);
      a.target = { name: replicaName(), address: b.address };
      expect((await ask(`${a.url}/mcp`)).text).to.equal('not-holder');
      expect(b.told.refused).to.deep.equal(['holder', 'holder', 'holder']);
    });

    it('with its body untouched, so that another replica gets it whole', async () => {
      const c = await Replica.start(authority.issue());
      others.push(c);
      b.held.clear();
      const asked = served(c);
      const way = { channel: 'forge', session: SESSION, epoch: EPOCH, clientAddress: '', body: 'stream' } as const;
      const { signal } = new AbortController();
      const gone = { name: replicaName(), address: `127.0.0.1:${await freePort()}` };
      a.serveOwn = async (request, response) => {
        expect(await a.peers.forward(request, response, { ...way, target: gone }, signal)).to.equal('not-there');
        const former = { name: b.name, address: b.address };
        expect(await a.peers.forward(request, response, { ...way, target: former }, signal)).to.equal('not-holder');
        const target = { name: c.name, address: c.address };
        return a.peers.forward(request, response, { ...way, target }, signal);
      };
      const sent = begin(`${a.url}/api/v1/x`, { method: 'PUT' });
      sent.write('one');
      const { request, response } = await asked;
      sent.end('two');
      expect((await bodyOf(request)).toString()).to.equal('onetwo');
      expect(forwardedOf(request)).to.include({ channel: 'forge', clientAddress: '' });
      response.end();
      expect((await headOf(sent)).status).to.equal(200);
    });

    it('as not-holder where the handler finds it gone after the body was read, unless that was a stream', async () => {
      b.serve = (request, response) => {
        request.resume().once('end', () => {
          markMisdirected(response);
          response.writeHead(421).end();
        });
      };
      a.to(b, { body: Buffer.from('read already') });
      expect((await ask(`${a.url}/mcp`, { method: 'POST', body: 'x' })).text).to.equal('not-holder');
      a.to(b);
      expect((await ask(`${a.url}/mcp`)).text).to.equal('not-holder');
      expect((await ask(`${a.url}/mcp`, { method: 'POST', body: 'x' })).text).to.equal('unanswered');
    });

    it('and not where 421 is the answer of something behind the holder', async () => {
      b.serve = (_request, response) => void response.writeHead(421).end('of the forge');
      expect(await ask(`${a.url}/mcp`)).to.include({ status: 421, text: 'of the forge' });
    });

    it('as not-there where nobody listens, nobody answers, or what listens is no replica', async () => {
      const silent = await tcp(() => undefined);
      const rude = await tcp((socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
      const closing = await tcp((socket) => void socket.destroy());
      const impatient = await Replica.start(authority.issue(), { connectMs: 300 });
      others.push(impatient);
      for (const port of [await freePort(), silent.port, rude.port, closing.port]) {
        for (const options of [{}, { method: 'POST', body: 'x' }, { method: 'POST' }]) {
          impatient.target = { name: b.name, address: `127.0.0.1:${port}` };
          expect((await ask(`${impatient.url}/mcp`, options)).text).to.equal('not-there');
        }
      }
      for (const address of ['', 'nowhere', '127.0.0.1:99999', 'http://127.0.0.1:1/', '[::1]']) {
        impatient.target = { name: b.name, address };
        expect((await ask(`${impatient.url}/mcp`)).text).to.equal('not-there');
      }
      await Promise.all([silent.close(), rude.close(), closing.close()]);
    });

    it('as not-there where it dies before it takes a request, and unanswered where it dies after', async () => {
      b.serve = (request) => void request.socket.destroy();
      expect((await ask(`${a.url}/mcp`, { method: 'POST', body: 'x' })).text).to.equal('unanswered');
      expect((await ask(`${a.url}/mcp`)).text).to.equal('unanswered');
      await b.listener.close(0);
      expect((await ask(`${a.url}/mcp`, { method: 'POST', body: 'x' })).text).to.equal('not-there');
    });

    it('as unanswered where the holder takes it and is silent', async () => {
      a.to(b, { firstByteMs: 100 });
      const asked = served(b);
      const answer = ask(`${a.url}/mcp`, { method: 'POST', body: 'x' });
      const { response } = await asked;
      const closed = once(response, 'close');
      expect((await answer).text).to.equal('unanswered');
      await closed;
    });

    it('as soon as the holder is known to be dead, and open streams are cut', async () => {
      const { waits, message } = await underWay();
      a.peers.cut(replicaName()); // somebody else
      a.peers.cut(b.name);
      expect((await waits).text).to.equal('unanswered');
      expect(await bodyOf(message).catch((thrown: unknown) => thrown)).to.be.instanceOf(Error);
    });

    it('with OVERLOADED where too many are with that replica', async () => {
      const small = await Replica.start(authority.issue(), { maxPerPeer: 2 });
      const c = await Replica.start(authority.issue());
      others.push(small, c);
      small.to(b);
      const open: ServerResponse[] = [];
      b.serve = (_request, response) => {
        open.push(response);
        response.flushHeaders();
      };
      const streams = await Promise.all(
        [1, 2].map(() => {
          const sent = begin(`${small.url}/mcp`);
          sent.end();
          return headOf(sent);
        }),
      );
      expect((await ask(`${small.url}/mcp`)).text).to.equal('OVERLOADED');
      small.to(c);
      expect((await ask(`${small.url}/mcp`)).text, 'another replica').to.equal('served');
      open.forEach((response) => response.end());
      await Promise.all(streams.map(({ message }) => bodyOf(message)));
      await outcome(small, 4);
      small.to(b);
      b.serve = (_request, response) => void response.end('ok');
      expect((await ask(`${small.url}/mcp`)).text).to.equal('ok');
    });
  });

  describe('goes one hop only', () => {
    it('where the holder would send it back, it is refused, and nobody is asked twice', async () => {
      b.to(a);
      let asked = 0;
      a.serve = (_request, response) => void response.end(String(asked++));
      b.serve = (request, response) => void servesByForwarding(b, request, response);
      expect((await ask(`${a.url}/mcp`, { method: 'POST', body: 'x' })).text).to.equal('unanswered');
      a.way = { body: Buffer.from('x') };
      expect((await ask(`${a.url}/mcp`, { method: 'POST', body: 'x' })).text).to.equal('not-holder');
      expect((await ask(`${a.url}/mcp`)).text).to.equal('not-holder');
      expect(asked).to.equal(0);
    });

    it('headers of replicas that a client writes are believed nowhere and go nowhere', async () => {
      const c = await Replica.start(authority.issue());
      others.push(c);
      const forged = {
        'X-Fmo-To': c.name,
        'x-fmo-session': 'f'.repeat(40),
        'X-FMO-EPOCH': '99',
        'X-Fmo-Client-Address': '10.0.0.1',
        'X-Fmo-From': c.name,
        'X-Fmo-Channel': 'forge',
        'X-Fmo-Anything': '1',
        Connection: 'x-fmo-to, x-fmo-epoch, authorization, host, content-length, close',
        Authorization: 'Bearer t',
      };
      const asked = served(b);
      const answer = ask(`${a.url}/mcp`, { method: 'POST', body: 'whole', headers: forged });
      const { request, response } = await asked;
      expect(forwardedOf(request)).to.include({ channel: 'mcp', from: a.name, session: SESSION, epoch: EPOCH });
      expect(forwardedOf(request)?.clientAddress).to.equal('127.0.0.1');
      expect(request.headers.authorization).to.equal('Bearer t');
      expect((await bodyOf(request)).toString()).to.equal('whole');
      expect(request.rawHeaders.filter((text) => /^x-fmo-/i.test(text))).to.deep.equal([]);
      response.setHeader('X-Fmo-Secret', '1').end();
      expect((await answer).message.rawHeaders.filter((text) => /^x-fmo-/i.test(text))).to.deep.equal([]);
    });

    it('on the public listener they are not even there', async () => {
      const seen: IncomingMessage[] = [];
      a.serveOwn = async (request, response) => {
        seen.push(request);
        response.end();
        return 'forwarded';
      };
      await ask(`${a.url}/mcp`, {
        headers: { 'X-Fmo-To': 'x', Accept: 'a', 'x-FMO-epoch': ['1', '2'], 'X-Fm': 'stays' },
      });
      const [request] = seen;
      expect(forwardedOf(request)).to.equal(undefined);
      for (const headers of [request.headers, request.headersDistinct]) {
        expect(headers).to.have.all.keys('accept', 'x-fm', 'host', 'connection');
      }
      expect(request.rawHeaders.length).to.equal(8);
    });
  });
});

/** A TCP server that is no replica. */
async function tcp(connected: (socket: Socket) => void): Promise<{ port: number; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    connected(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
