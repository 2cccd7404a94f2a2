import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { inspect } from 'node:util';
import { expect } from 'chai';
import type { WebSocket } from 'ws';
import { openAttach } from '../../src/backends/pod/attach';
import { OutageError } from '../../src/backends/pod/transport';
import type { AttachTransport } from '../../src/backends/pod/transport';
import { refusal } from '../contract/backend';
import { FakeApi, statusBody } from '../support/fake-api';
import { FakeClock } from '../support/fake-link';
import { until } from '../support/until';

const KIB = 1024;
const MIB = KIB * KIB;
const never = (): AbortSignal => new AbortController().signal;

describe('attach stream', () => {
  let api: FakeApi;
  let clock: FakeClock;
  let streams: AttachTransport[];

  beforeEach(async () => {
    api = await FakeApi.start();
    clock = new FakeClock();
    streams = [];
  });
  afterEach(async () => {
    for (const stream of streams) stream.close();
    await api.close();
    expect(clock.timers, 'timers that are left').to.equal(0);
  });

  const connect = async (signal = never(), timeout = 5_000): Promise<AttachTransport> => {
    const stream = await openAttach({
      kube: api.kube(),
      clock,
      namespace: 'sessions',
      pod: 'p',
      container: 'child',
      timeout,
      signal,
    });
    streams.push(stream);
    return stream;
  };
  const pair = async (): Promise<{ stream: AttachTransport; server: WebSocket }> => {
    const attached = api.attached();
    const stream = await connect();
    return { stream, server: await attached };
  };
  const say = (server: WebSocket, channel: number, text: string | Buffer): void =>
    server.send(Buffer.concat([Buffer.from([channel]), Buffer.from(text)]));

  it('offers v5.channel.k8s.io, no compression, and its bearer token', async () => {
    await pair();
    expect(api.upgrades[0]).to.include({
      'sec-websocket-protocol': 'v5.channel.k8s.io',
      authorization: 'Bearer token-of-the-test',
    });
    expect(api.upgrades[0]).to.not.have.property('sec-websocket-extensions');
  });

  it('sends stdin whole, in order, in messages of at most 64 KiB', async () => {
    const { stream, server } = await pair();
    const messages: Buffer[] = [];
    server.on('message', (data: Buffer) => messages.push(data));
    const huge = Buffer.alloc(3 * MIB, 'h');
    await Promise.all([
      stream.write(Buffer.from('first')),
      stream.write(huge),
      stream.write(Buffer.alloc(0)),
      stream.write(Buffer.from('last')),
    ]);
    await until('all arrived', async () => messages.reduce((sum, m) => sum + m.length - 1, 0) === 3 * MIB + 9);
    expect(messages.every((message) => message[0] === 0 && message.length <= 64 * KIB)).to.equal(true);
    const all = Buffer.concat(messages.map((message) => message.subarray(1)));
    expect(all.equals(Buffer.concat([Buffer.from('first'), huge, Buffer.from('last')]))).to.equal(true);
  });

  it('makes a writer wait for a server that does not read, and goes on when it does', async () => {
    const { stream, server } = await pair();
    server.pause();
    let taken = 0;
    const writes = Array.from({ length: 256 }, () => stream.write(Buffer.alloc(64 * KIB - 1)).then(() => taken++));
    await until('it takes no more', async () => {
      const before = taken;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return taken === before;
    });
    expect(taken).to.be.below(200);
    server.resume();
    await Promise.all(writes);
    expect(taken).to.equal(256);
  });

  it('hands over what came before there was a consumer, in order', async () => {
    const { stream, server } = await pair();
    say(server, 1, 'one ');
    say(server, 1, 'two ');
    const ponged = once(server, 'pong');
    server.ping();
    await ponged;
    const got: string[] = [];
    stream.onData((bytes) => got.push(bytes.toString()));
    say(server, 1, 'three');
    await until('all arrived', async () => got.join('') === 'one two three');
  });

  it('stops reading the socket while paused, and loses nothing', async () => {
    const { stream, server } = await pair();
    let got = 0;
    stream.onData((bytes) => (got += bytes.length));
    stream.pause();
    const part = Buffer.alloc(32 * KIB + 1, 'x');
    part[0] = 1;
    for (let index = 0; index < 1600; index++) server.send(part);
    await until('it stands still', async () => {
      const before = server.bufferedAmount;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return before > 0 && server.bufferedAmount === before;
    });
    expect(got).to.be.below(4 * MIB);
    stream.resume();
    await until('all arrived', async () => got === 1600 * 32 * KIB);
  });

  it('ignores channels that were not asked for, text and empty messages', async () => {
    const { stream, server } = await pair();
    const got: string[] = [];
    stream.onData((bytes) => got.push(bytes.toString()));
    say(server, 2, 'stderr');
    server.send(Buffer.from([255, 1]));
    say(server, 77, 'unknown');
    server.send('text');
    server.send(Buffer.alloc(0));
    server.send(Buffer.from([1]));
    say(server, 1, 'stdout');
    await until('it arrived', async () => got.join('') === 'stdout');
  });

  describe('the end', () => {
    const ends: readonly (readonly [string, (server: WebSocket) => void, string, RegExp])[] = [
      [
        'Success on the status channel means that the container has finished',
        (server) => {
          say(server, 3, '{"kind":"Status","status":"Success"}');
          server.close(1000);
        },
        'ended',
        /success/,
      ],
      [
        'Failure on the status channel is a cut, with its reason',
        (server) => {
          say(server, 3, '{"kind":"Status","status":"Failure","reason":"InternalError","message":"dial tcp"}');
          server.close(1000);
        },
        'broken',
        /InternalError: dial tcp/,
      ],
      [
        'a status that is no JSON is a cut',
        (server) => {
          say(server, 3, 'what?');
          server.close(1000);
        },
        'broken',
        /not JSON/,
      ],
      ['a close without a status is a cut', (server) => server.close(1000), 'broken', /code 1000/],
      ['a connection that dies is a cut', (server) => server.terminate(), 'broken', /1006/],
      [
        'half a frame is a cut',
        (server) => {
          const { _socket: socket } = server as unknown as { _socket: Socket };
          socket.write(Buffer.from([0x82, 0x7e, 0x10, 0x00, 1, 65, 66]));
          socket.end();
        },
        'broken',
        /./,
      ],
      [
        'a frame that breaks the protocol is a cut',
        (server) => {
          const { _socket: socket } = server as unknown as { _socket: Socket };
          socket.write(Buffer.from([0xf2, 0x01, 1]));
        },
        'broken',
        /./,
      ],
    ];
    for (const [name, end, kind, detail] of ends) {
      it(name, async () => {
        const { stream, server } = await pair();
        stream.onData(() => undefined);
        end(server);
        const closed = await stream.closed;
        expect(closed.kind).to.equal(kind);
        expect(closed.detail).to.match(detail);
        expect((await refusal(stream.write(Buffer.from('x')))).code).to.equal('LINK_CLOSED');
      });
    }

    it('comes with the status, even where the server forgets to close', async () => {
      const { stream, server } = await pair();
      stream.onData(() => undefined);
      say(server, 3, '{"status":"Success"}');
      expect((await stream.closed).kind).to.equal('ended');
    });

    it('delivers all output that came before the status', async () => {
      const { stream, server } = await pair();
      let got = '';
      for (let index = 0; index < 100; index++) say(server, 1, `${index},`);
      say(server, 3, '{"status":"Success"}');
      server.close(1000);
      stream.onData((bytes) => (got += bytes.toString()));
      expect((await stream.closed).kind).to.equal('ended');
      expect(got.split(',')).to.have.length(101);
    });

    it('rejects writes that wait with LINK_CLOSED', async () => {
      const { stream, server } = await pair();
      server.pause();
      const waiting = stream.write(Buffer.alloc(32 * MIB));
      stream.close();
      expect((await refusal(waiting)).code).to.equal('LINK_CLOSED');
      expect((await stream.closed).kind).to.equal('broken');
    });
  });

  describe('a refused handshake', () => {
    const table: readonly (readonly [number, string, string, string])[] = [
      [401, 'Unauthorized', 'Unauthorized', 'BACKEND_UNAVAILABLE'],
      [403, 'Forbidden', 'pods "p" is forbidden', 'BACKEND_REFUSED'],
      [404, 'NotFound', 'pods "p" not found', 'BACKEND_ENDED'],
      [400, 'BadRequest', 'container child not found in pod p', 'BACKEND_ENDED'],
      [400, 'BadRequest', 'cannot attach a container in a completed pod; current phase is Succeeded', 'BACKEND_ENDED'],
      [500, 'InternalError', 'container child is not running', 'BACKEND_ENDED'],
      [500, 'InternalError', 'container is in CONTAINER_EXITED state', 'BACKEND_ENDED'],
      [500, 'InternalError', 'error dialing backend: connection refused', 'BACKEND_UNAVAILABLE'],
      [503, 'ServiceUnavailable', 'shutting down', 'BACKEND_UNAVAILABLE'],
    ];
    for (const [code, reason, message, expected] of table) {
      it(`${code} ${message}: ${expected}, with the Status in the private detail`, async () => {
        api.refuse(code, statusBody(code, reason, message));
        const error = await refusal(connect());
        expect(error.code).to.equal(expected);
        expect(error instanceof OutageError, 'it is no more than an outage').to.equal(code === 503);
        expect(error.detail).to.include(message).and.to.include(String(code));
        expect(error.message).to.not.include(message);
      });
    }

    it('404 in plain text is a kubelet that has just started: BACKEND_UNAVAILABLE', async () => {
      api.refuse(404, 'pod does not exist');
      expect((await refusal(connect())).code).to.equal('BACKEND_UNAVAILABLE');
    });

    it('403 tells the administrator which rights are missing', async () => {
      api.refuse(403, '');
      expect((await refusal(connect())).message).to.match(/`get` and `create` on `pods\/attach`/);
    });

    it('401 is tried once more with credentials that are read again', async () => {
      let count = 0;
      api.upgrade = (request, socket, head) => {
        count++;
        if (count > 1) return api.accept(request, socket, head);
        api.kubeconfig('a-rotated-token');
        socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      };
      await pair();
      expect(api.upgrades.map((headers) => headers.authorization)).to.deep.equal([
        'Bearer token-of-the-test',
        'Bearer a-rotated-token',
      ]);
    });

    it('a page of a proxy is not taken for a Status', async () => {
      api.refuse(502, '<html>Bad Gateway, secret stuff</html>');
      const error = await refusal(connect());
      expect(error.code).to.equal('BACKEND_UNAVAILABLE');
      expect(error.detail).to.include('502').and.not.include('secret');
    });

    it('a body that never ends is given up', async () => {
      api.upgrade = (_request, socket) => {
        socket.write('HTTP/1.1 500 Refused\r\nContent-Length: 1000\r\n\r\n{');
      };
      const refused = refusal(connect());
      await until('it waits', async () => clock.timers > 0);
      clock.advance(2_000);
      expect((await refused).code).to.equal('BACKEND_UNAVAILABLE');
    });

    it('a server without v5 is told by name', async () => {
      api.upgrade = (request, socket) => {
        const accept = createHash('sha1')
          .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
          .digest('base64');
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
        );
      };
      const error = await refusal(connect());
      expect(error.code).to.equal('BACKEND_UNAVAILABLE');
      expect(error.detail).to.include('Kubernetes 1.30');
    });

    it('a server that breaks the upgrade is BACKEND_UNAVAILABLE', async () => {
      api.upgrade = (_request, socket) => {
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n',
        );
      };
      expect((await refusal(connect())).code).to.equal('BACKEND_UNAVAILABLE');
    });

    it('no answer at all ends at the deadline', async () => {
      api.upgrade = () => undefined;
      const error = await refusal(connect(never(), 100));
      expect(error).to.be.instanceOf(OutageError);
      expect(error.code).to.equal('BACKEND_UNAVAILABLE');
      expect(error.detail).to.include('Timeout');
    });

    it('no server at all is BACKEND_UNAVAILABLE with the fault’s code', async () => {
      const kube = api.kube();
      await kube.access();
      await api.close();
      const options = { kube, clock, namespace: 'n', pod: 'p', container: 'c', timeout: 1000, signal: never() };
      expect((await refusal(openAttach(options))).detail).to.include('ECONNREFUSED');
    });

    it('an abort rejects with its reason and drops the connection', async () => {
      const reason = new Error('enough');
      const controller = new AbortController();
      const dropped = new Promise((resolve) => {
        api.upgrade = (_request, socket) => {
          socket.on('end', resolve).resume();
          controller.abort(reason);
        };
      });
      const thrown: unknown = await connect(controller.signal).catch((error: unknown) => error);
      expect(thrown).to.equal(reason);
      await dropped;
    });

    it('no error holds a token, however deep one looks', async () => {
      for (const code of [401, 403, 404, 500]) {
        api.refuse(code, statusBody(code, 'R', 'm'));
        const error = await refusal(connect());
        expect(inspect(error, { depth: Infinity, showHidden: true })).to.not.include('token-of-the-test');
      }
    });
  });

  describe('staying alive', () => {
    it('pings every 20 to 25 s', async () => {
      const { server } = await pair();
      const pinged = once(server, 'ping');
      clock.advance(25_000);
      await pinged;
    });

    it('gives up on a server that answers no ping', async () => {
      const { stream } = await pair();
      clock.advance(120_000);
      expect(await stream.closed).to.deep.equal({ kind: 'broken', detail: 'nothing was heard for too long' });
    });

    it('takes any byte as a sign of life', async () => {
      const { stream, server } = await pair();
      let got = 0;
      stream.onData(() => got++);
      for (let round = 1; round <= 8; round++) {
        clock.advance(30_000);
        say(server, 1, 'x');
        await until('it arrived', async () => got === round);
      }
      await stream.write(Buffer.from('still open'));
    });

    it('takes a pong as a sign of life', async () => {
      const { stream, server } = await pair();
      server.on('ping', (data: Buffer) => server.pong(data));
      for (let round = 0; round < 8; round++) {
        const pinged = once(server, 'ping');
        clock.advance(30_000);
        await pinged;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await stream.write(Buffer.from('still open'));
    });

    it('expects nothing while it is paused itself', async () => {
      const { stream } = await pair();
      stream.onData(() => undefined);
      stream.pause();
      clock.advance(600_000);
      await stream.write(Buffer.from('still open'));
      stream.resume();
    });

    it('expects nothing while stdin is backed up', async () => {
      const { stream, server } = await pair();
      server.pause();
      const waiting = stream.write(Buffer.alloc(32 * MIB));
      clock.advance(600_000);
      server.on('message', () => undefined);
      server.resume();
      await waiting;
    });

    it('sends an empty message each hour, which resets the server’s deadline of 4 h', async () => {
      const { stream, server } = await pair();
      const pulse = setInterval(() => say(server, 1, 'x'), 1);
      stream.onData(() => undefined);
      const message = once(server, 'message');
      const done = message.then(() => true);
      while (!(await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 5, false))])))
        clock.advance(30_000);
      clearInterval(pulse);
      expect(((await message)[0] as Buffer).length).to.equal(0);
    });
  });
});
