/** Two gateways behind one Service: a child's request that reaches the one without its token is served by the other. Real HTTP and TLS, a stand-in for the forge. */
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { type RequestOptions, request as tlsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { connect } from 'node:tls';
import { systemClock } from '../../src/clock';
import { forgeElsewhere } from '../../src/compose/forge-elsewhere';
import { recordedSessions } from '../../src/compose/recorded';
import { createCapabilities } from '../../src/forgejo/capability';
import type { PeerListener, Peers } from '../../src/peers/contract';
import { openPeerListener } from '../../src/peers/listener';
import { replicaName } from '../../src/peers/names';
import { createPeers } from '../../src/peers/peers';
import { bearerOf } from '../../src/sessions/bound';
import type { SessionRecord } from '../../src/sessions/ports';
import { proxySessions } from '../../src/spawn';
import { aRecord } from '../contract/session-store';
import { MemoryStore } from '../support/memory-store';
import { Authority, SecretFolder } from '../support/peer-certificates';
import { json, noToken, type ProxyFixture, REAL_TOKEN, StandInForge, startProxy } from '../support/proxy';
import { bodyOf, headOf, nextChunk } from '../support/raw-http';
import { serverSpec } from '../support/server-spec';
import { until } from '../support/until';
import { blocks, digest, growth, MIB } from '../support/volume';

const authority = new Authority();
const POD = '127.0.0.1';
const OTHER_POD = '127.0.0.2';
const ISSUES = '/api/v1/repos/o/r/issues';
const FILE = '/api/v1/repos/o/r/raw/big.bin';
const ASSETS = '/api/v1/repos/o/r/releases/1/assets';
const BINARY = { 'content-type': 'application/octet-stream' };
const PATIENT = { firstByte: 30_000, idle: 30_000 };

interface Wish extends RequestOptions {
  readonly token?: string;
  readonly body?: string | Buffer;
}

describe('the credential proxies of two gateways', function () {
  this.timeout(180_000);
  let forge: StandInForge;
  let keys: readonly [Buffer];
  let records: Map<string, SessionRecord>;
  let all: Gateway[];
  /** The one that has the session, and the one that has not. */
  let holder: Gateway;
  let other: Gateway;
  let session: SessionRecord;

  class Gateway {
    readonly name = replicaName();
    readonly secret = new SecretFolder();
    proxy!: ProxyFixture;
    peers!: Peers;
    listener!: PeerListener;
    /** What its registry would say. */
    holds = (name: string, generation: number): boolean => this.#live(name)?.record.generation === generation;

    async start(options: { timeouts?: { firstByte: number; idle: number }; perSession?: number } = {}): Promise<this> {
      this.secret.write(authority.issue());
      const certificates = await this.secret.read();
      this.peers = createPeers({ self: this.name, certificates, clock: systemClock, limits: { connectMs: 1_000 } });
      this.proxy = await startProxy({
        ...{ forgejo: { apiUrl: forge.url }, keys, sourceCheck: 'require' },
        tls: { kind: 'self-made', hosts: ['127.0.0.1'] },
        timeouts: options.timeouts ?? PATIENT,
        limits: { perSession: options.perSession ?? 200, bodyBytes: 300 * MIB },
        elsewhere: forgeElsewhere(this.peers, {
          addressOf: async (name) => {
            const one = all.find((gateway) => gateway.name === name);
            return one === undefined ? undefined : `127.0.0.1:${String(one.listener.port)}`;
          },
        }),
      });
      const server = serverSpec({
        forgejo: { ...serverSpec().forgejo, url: forge.url, apiUrl: forge.url },
        policy: { access: 'write', owners: ['*'], repositories: ['*'], insecureAllowRoutes: [] },
      });
      this.proxy.lookup = proxySessions(
        (name) => {
          const live = this.#live(name);
          return live === undefined ? undefined : { ...live, server };
        },
        (name) => records.get(name)?.child,
        async (auth) => auth,
        recordedSessions(new MemoryStore(this.name, records), { find: () => server }, systemClock),
      );
      this.proxy.tokens = async () => ([...records.values()].some((one) => this.#has(one)) ? REAL_TOKEN : noToken());
      this.listener = await openPeerListener({
        self: this.name,
        listen: { address: '127.0.0.1', port: 0 },
        certificates,
        service: {
          holds: (name, generation) => this.holds(name, generation),
          handlers: { forge: this.proxy.proxy.serveForwarded },
        },
      });
      return this;
    }

    #has({ mode, holder: by }: SessionRecord): boolean {
      return mode === 'oauth' || by === this.name;
    }

    #live(name: string) {
      const record = records.get(name);
      if (record?.holder !== this.name || record.state === 'ended') return undefined;
      return { record, auth: bearerOf(record, '') };
    }

    /** One request of a child that was bound by the holder, whose CA it therefore has. */
    open(path: string, { token, ...options }: Wish = {}): ClientRequest {
      const request = tlsRequest({
        ...{ host: '127.0.0.1', port: this.proxy.port, ca: holder.proxy.proxy.caPem, agent: false, path },
        ...options,
        headers: { authorization: `token ${token ?? capability()}`, ...options.headers },
      });
      request.on('error', () => undefined); // whoever waits for the answer is told
      return request;
    }

    async ask(path: string, { body: sent, ...wish }: Wish = {}) {
      const request = this.open(path, {
        ...wish,
        headers: { ...(sent === undefined ? {} : { 'content-type': 'application/json' }), ...wish.headers },
      });
      request.end(sent);
      const { status, message } = await headOf(request);
      const body = (await bodyOf(message)).toString();
      return { status, text: body, headers: message.headers, json: () => JSON.parse(body) as { message: string } };
    }

    /** Dies, as far as anybody outside can see. */
    async die(): Promise<void> {
      await this.listener.close(0);
    }

    async stop(): Promise<void> {
      this.peers.close();
      await this.listener.close(0);
      await this.proxy.close();
      this.secret.remove();
    }
  }

  const capability = (): string => holder.proxy.proxy.capabilities.mint(session.name, session.child?.instance ?? '');
  const change = (over: Partial<SessionRecord>): void => {
    session = { ...session, ...over };
    records.set(session.name, session);
  };
  /** A gateway beside the two. */
  const further = async (...options: Parameters<Gateway['start']>): Promise<Gateway> => {
    const one = await new Gateway().start(...options);
    all.push(one);
    return one;
  };
  /** Both have told their observers of the end of everything that began. */
  const settled = () => until('all is over', async () => all.every(({ proxy }) => proxy.told.inFlight === 0));

  beforeEach(async () => {
    forge = await new StandInForge().listen();
    keys = [randomBytes(32)];
    records = new Map();
    all = [];
    [holder, other] = [await further(), await further()];
    session = aRecord({
      ...{ mode: 'bearer', holder: holder.name, generation: 2, child: { instance: 'pod-1', ip: POD } },
      scopes: ['forgejo:read', 'forgejo:write'],
    });
    records.set(session.name, session);
  });
  afterEach(async () => {
    for (const one of all) await one.stop();
    await forge.close();
  });

  it('serve a child alike, and the holder alone counts and audits it', async () => {
    forge.handler = (request, response, body) =>
      json(response, request.method === 'POST' ? 201 : 200, { got: body.toString() });
    for (const gateway of all) {
      expect((await gateway.ask(ISSUES)).status).to.equal(200);
      const made = await gateway.ask(ISSUES, { method: 'POST', body: '{"title":"a\\u2028👩‍👩‍👧"}' });
      expect([made.status, made.json()]).to.deep.equal([201, { got: '{"title":"a\\u2028👩‍👩‍👧"}' }]);
      expect((await gateway.ask('/api/v1/user', { method: 'HEAD' })).text).to.equal('');
      expect((await gateway.ask('/api/v1/user/keys', { method: 'POST', body: '{}' })).status).to.equal(403);
    }
    await settled();
    for (const { headers } of forge.requests) expect(headers.authorization).to.equal(`Bearer ${REAL_TOKEN}`);
    expect(holder.proxy.events.map(({ method, status }) => `${method} ${String(status)}`)).to.deep.equal([
      ...['GET 200', 'POST 201', 'HEAD 200', 'POST 403'],
      ...['GET 200', 'POST 201', 'HEAD 200', 'POST 403'],
    ]);
    expect([other.proxy.events, other.proxy.told.sentOn]).to.deep.equal([[], 4]);
    expect(other.proxy.log.filter((line) => line.includes('proxy.request'))).to.deep.equal([]);
    expect([...holder.proxy.log, ...other.proxy.log].join('')).to.not.contain(REAL_TOKEN);
  });

  it('serve every child themselves where tokens are shared', async () => {
    change({ mode: 'oauth' });
    expect((await other.ask(ISSUES)).status).to.equal(200);
    expect([other.proxy.told.sentOn, other.proxy.events.length, holder.proxy.events.length]).to.deep.equal([0, 1, 0]);
  });

  it('refuse with 401 what is no capability of this session’s child, at whichever of them', async () => {
    const { capabilities } = holder.proxy.proxy;
    const tokens = [
      'nonsense',
      capability().slice(0, -2) + 'AA',
      capabilities.mint(session.name, 'pod-0'),
      capabilities.mint('f'.repeat(40), 'pod-1'),
      createCapabilities([randomBytes(32)]).mint(session.name, 'pod-1'),
    ];
    for (const gateway of [holder, other])
      for (const token of tokens) expect((await gateway.ask(ISSUES, { token })).status, token).to.equal(401);
    await settled();
    change({ state: 'ended' });
    expect((await holder.ask(ISSUES)).status).to.equal(401);
    expect(forge.requests).to.have.length(0);
  });

  it('refuse the right capability from another pod’s address, whatever that pod says of itself', async () => {
    const headers = { 'x-fmo-client-address': POD, 'x-forwarded-for': POD, forwarded: `for=${POD}` };
    for (const gateway of all) {
      expect((await gateway.ask(ISSUES, { localAddress: OTHER_POD })).status).to.equal(401);
      expect((await gateway.ask(ISSUES, { localAddress: OTHER_POD, headers })).status).to.equal(401);
      expect((await gateway.ask(ISSUES, { headers: { 'x-fmo-client-address': OTHER_POD } })).status).to.equal(200);
    }
    await settled();
    expect(holder.proxy.events.filter(({ status }) => status === 401)).to.have.length(4);
    for (const { rawHeaders } of forge.requests) expect(rawHeaders.join(' ')).to.not.match(/x-fmo|x-forwarded/i);
  });

  it('send nothing on that is malformed', async () => {
    for (const headers of [{ sudo: 'bob' }, { upgrade: 'h2c' }, { 'content-encoding': 'gzip' }])
      expect((await other.ask(ISSUES, { method: 'POST', body: '{}', headers })).status).to.equal(400);
    expect((await other.ask('/api/v1/user?token=x')).status).to.equal(400);
    await settled();
    expect([other.proxy.told.sentOn, other.proxy.events.length, holder.proxy.events.length]).to.deep.equal([0, 4, 0]);
    expect(other.proxy.events[0]).to.include({ session: session.name, code: 'REQUEST_REFUSED' });
  });

  it('hand 100 MiB down and up between child and holder, intact and in constant memory', async () => {
    const sent = blocks(100);
    let got: Awaited<ReturnType<typeof digest>> | undefined;
    forge.stream = (request, response) => {
      if (request.method === 'POST') {
        void digest(request).then((sum) => {
          got = sum;
          json(response, 201, {});
        });
      } else {
        response.writeHead(200, { ...BINARY, 'content-length': String(100 * MIB) });
        void pipeline(sent.stream(), response);
      }
      return true;
    };
    const whole = { length: 100 * MIB, digest: sent.digest };
    const grown = await growth(async () => {
      const down = other.open(FILE);
      down.end();
      const { message } = await headOf(down);
      expect(message.headers['content-length']).to.equal(String(100 * MIB));
      expect(await digest(message)).to.deep.equal(whole);
      const headers = { ...BINARY, 'content-length': String(100 * MIB) };
      const up = other.open(ASSETS, { method: 'POST', headers });
      const answer = headOf(up);
      await pipeline(sent.stream(), up);
      expect((await answer).status).to.equal(201);
      expect(got).to.deep.equal(whole);
    });
    expect(grown).to.be.lessThan(32);
    await settled();
    expect(holder.proxy.events.map(({ bytesIn }) => bytesIn)).to.deep.equal([0, 100 * MIB]);
  });

  it('wait as long as an upload moves, and tell a child that waits for it to go on', async () => {
    const hasty = await further({ timeouts: { firstByte: 200, idle: 200 } });
    forge.stream = (request, response) => {
      void digest(request).then(({ length }) => json(response, 201, { length }));
      return true;
    };
    const request = hasty.open(ASSETS, { method: 'POST', headers: { ...BINARY, expect: '100-continue' } });
    const invited = new Promise<void>((resolve) => request.once('continue', resolve));
    const answer = headOf(request);
    request.flushHeaders();
    await invited;
    for (let piece = 0; piece < 10; piece += 1) {
      request.write('piece');
      await new Promise((next) => setTimeout(next, 100)); // the pace of the child is what is tested
    }
    request.end();
    const { status, message } = await answer;
    expect([status, (await bodyOf(message)).toString()]).to.deep.equal([201, '{"length":50}']);
  });

  it('let a child read why it is refused although it sends its whole body first', async () => {
    for (const gateway of all) {
      const { port, proxy } = gateway.proxy;
      const socket = connect({ host: '127.0.0.1', port, ca: proxy.caPem });
      const broke = new Promise<Error>((resolve) => socket.once('error', resolve));
      const length = 40 * MIB;
      socket.write(
        `POST /api/v1/user/keys HTTP/1.1\r\nHost: x\r\nAuthorization: token ${capability()}\r\n` +
          `Content-Type: application/json\r\nContent-Length: ${String(length)}\r\nConnection: close\r\n\r\n`,
      );
      const written = new Promise<undefined>((resolve) => socket.write(Buffer.alloc(length), () => resolve(undefined)));
      expect(await Promise.race([written, broke])).to.equal(undefined);
      expect(await text(socket)).to.match(/^HTTP\/1\.1 403 .*"message"/s);
    }
  });

  /** The next request at the forge that is held back: its response is the test's to write. */
  const atForge = (): Promise<{ request: IncomingMessage; response: ServerResponse }> =>
    new Promise((resolve) => {
      forge.stream = (request, response) => {
        resolve({ request, response });
        return true;
      };
    });

  it('cancel at the forge what a child goes away from: while it waits, within its answer, within its body', async () => {
    for (const how of ['wait', 'answer', 'body'] as const) {
      const asked = atForge();
      const request = other.open(how === 'body' ? ASSETS : FILE, {
        ...(how === 'body' ? { method: 'POST', headers: { ...BINARY, 'content-length': '1000' } } : {}),
      });
      if (how === 'body') request.write('half');
      else request.end();
      const { request: upstream, response } = await asked;
      const over = new Promise<void>((resolve) => response.once('close', resolve));
      upstream.on('error', () => undefined).resume();
      if (how === 'answer') {
        response.writeHead(200, BINARY).write('begun');
        await nextChunk((await headOf(request)).message);
      }
      request.destroy();
      await over;
      await settled();
      expect(holder.proxy.events.pop()?.outcome, how).to.be.oneOf(['cancelled', 'refused']);
      expect(other.proxy.events).to.have.length(0);
    }
  });

  it('cut a download whose holder dies, so that the child cannot take it for whole', async () => {
    for (const headers of [BINARY, { ...BINARY, 'content-length': '1000' }]) {
      const dying = await further();
      change({ holder: dying.name, generation: session.generation + 1 });
      const asked = atForge();
      const request = other.open(FILE);
      request.end();
      const { response } = await asked;
      response.writeHead(200, headers).write('begun');
      const { status, message } = await headOf(request);
      expect([status, (await nextChunk(message)).toString()]).to.deep.equal([200, 'begun']);
      await dying.die();
      expect(await bodyOf(message).catch((thrown: unknown) => thrown)).to.be.instanceOf(Error);
      response.destroy();
      await settled();
    }
  });

  it('say that it may have happened where the holder dies, or falls silent, at work on it: 502, and it is not made again', async () => {
    const hasty = await further({ timeouts: { firstByte: 300, idle: 300 } });
    for (const how of ['dies', 'is silent'] as const) {
      let asked = 0;
      const arrived = new Promise<void>((resolve) => {
        forge.handler = () => {
          asked += 1;
          resolve();
        };
      });
      const answer = hasty.ask(ISSUES, { method: 'POST', body: '{"title":"x"}' });
      await arrived;
      if (how === 'dies') await holder.die();
      const { status, json: read } = await answer;
      expect([status, asked], how).to.deep.equal([502, 1]);
      expect(read().message).to.match(/may have happened: look at Forgejo/);
      expect(hasty.proxy.events.at(-1)).to.include({ session: session.name, outcome: 'failed', code: 'BACKEND_ENDED' });
      if (how === 'dies') {
        const next = await further();
        change({ holder: next.name, generation: session.generation + 1 });
      }
    }
  });

  it('answer 503 with a time to retry while the holder cannot be reached, and nothing has happened', async () => {
    await holder.die();
    const body = '{"title":"x"}';
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, at) => other.ask(ISSUES, at % 2 === 0 ? { method: 'POST', body } : {})),
    );
    for (const { status, headers, text } of answers) {
      expect([status, headers['retry-after']]).to.deep.equal([503, '1']);
      expect(text).to.contain('Nothing was done');
    }
    expect(forge.requests).to.have.length(0);
    expect(other.proxy.events.map(({ code }) => code)).to.deep.equal(answers.map(() => 'FORGE_TOKEN_UNAVAILABLE'));
  });

  it('read the record again where the session has moved: to a third, or to the one that was asked', async () => {
    forge.handler = (_request, response, body) => json(response, 201, { got: body.toString() });
    const third = await further();
    for (const next of [third, other]) {
      expect((await other.ask(ISSUES)).status, 'it is remembered where it was').to.equal(201);
      change({ holder: next.name, generation: session.generation + 1 });
      const { status, json: read } = await other.ask(ISSUES, { method: 'POST', body: '{"title":"moved"}' });
      expect([status, read()]).to.deep.equal([201, { got: '{"title":"moved"}' }]);
    }
    await settled();
    expect([holder, third, other].map(({ proxy }) => proxy.events.length)).to.deep.equal([1, 2, 1]);
  });

  it('send a request on once only: one that comes back is refused, and told so', async () => {
    const third = await further();
    third.holds = () => true; // it believes so until it looks
    await third.ask(ISSUES);
    const asked = third.proxy.told.sentOn;
    expect(asked).to.equal(1);
    change({ holder: third.name, generation: 3 });
    const remembered = third.proxy.lookup;
    const elsewhere = { ...session, server: serverSpec(), holder: holder.name };
    third.proxy.lookup = async () => elsewhere;
    const { status, text } = await other.ask(ISSUES);
    expect([status, text.includes('Nothing was done')]).to.deep.equal([503, true]);
    expect(third.proxy.told.sentOn, 'counted as two that went back').to.equal(asked + 2);
    expect(third.proxy.events).to.have.length(0);
    third.proxy.lookup = remembered;
    expect((await other.ask(ISSUES)).status).to.equal(200);
  });

  it('ask nobody where the record names the one that was asked, which has not the session', async () => {
    const { lookup } = other.proxy;
    const known = await lookup(session.name);
    if (known === undefined) throw new Error('no session');
    other.proxy.lookup = async () => ({ ...known, holder: other.name, generation: 2 });
    expect((await other.ask(ISSUES)).status).to.equal(503);
    expect([other.proxy.told.sentOn, holder.proxy.events.length]).to.deep.equal([0, 0]);
  });

  it('send on as large a head as they take', async () => {
    const headers = { 'x-large': 'x'.repeat(32_768 - 600) };
    for (const gateway of all) expect((await gateway.ask(ISSUES, { headers })).status).to.equal(200);
    const larger = { 'x-large': 'x'.repeat(32_768) };
    for (const gateway of all) expect((await gateway.ask(ISSUES, { headers: larger })).status).to.equal(431);
  });

  it('serve 200 at once through both, each with its own answer, and refuse those beyond a session’s limit', async () => {
    forge.handler = (_request, response, body) => json(response, 201, { got: body.toString() });
    const bodies = Array.from({ length: 200 }, (_, at) => JSON.stringify({ title: String(at) }));
    const answers = await Promise.all(
      bodies.map((body, at) => (at % 2 === 0 ? holder : other).ask(ISSUES, { method: 'POST', body })),
    );
    expect(answers.map(({ json: read }) => (read() as unknown as { got: string }).got)).to.deep.equal(bodies);
    await settled();
    expect([holder.proxy.events.length, other.proxy.events.length]).to.deep.equal([200, 0]);

    const strict = await further({ perSession: 3 });
    change({ holder: strict.name, generation: 3 });
    forge.handler = () => undefined;
    const waiting = Array.from({ length: 3 }, () => other.open(ISSUES));
    forge.requests.length = 0;
    for (const request of waiting) request.end();
    await until('three are at the forge', async () => forge.requests.length === 3);
    const refused = await other.ask(ISSUES);
    expect([refused.status, refused.headers['retry-after']]).to.deep.equal([503, '1']);
    for (const request of waiting) request.destroy();
    await settled();
  });
});
