/** Two gateways that share their sessions' records: whichever of them a request reaches, it is served. Real HTTP, real TLS between them; children are fakes. */
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { systemClock } from '../../src/clock';
import { elsewhereBy } from '../../src/compose/replicas';
import { AppError } from '../../src/errors';
import { Certificates } from '../../src/peers/certificates';
import type { PeerListener, Peers } from '../../src/peers/contract';
import { openPeerListener } from '../../src/peers/listener';
import { createPeers } from '../../src/peers/peers';
import { SessionIds } from '../../src/sessions/ids';
import type { ChildPlace, SessionRecord } from '../../src/sessions/ports';
import { ask, type GatewayApp, open as openAt, startApp, stream as streamOf } from '../support/gateway-app';
import { MemoryStore } from '../support/memory-store';
import { Authority, SecretFolder } from '../support/peer-certificates';
import { keptLog } from '../support/silent-log';

const authority = new Authority();

describe('sessions of two gateways', function () {
  this.timeout(60_000);

  /** A gateway of the two. */
  class Gateway {
    readonly name = `gateway-${randomBytes(8).toString('hex')}`;
    readonly secret = new SecretFolder();
    readonly discarded: ChildPlace[] = [];
    app!: GatewayApp;
    peers!: Peers;
    listener!: PeerListener;
    isDead = false;

    async start(ids: SessionIds, records: Map<string, SessionRecord>): Promise<void> {
      this.secret.write(authority.issue());
      const certificates = new Certificates({ folder: this.secret.path, clock: systemClock, log: keptLog() });
      await certificates.start();
      certificates.stop(); // they do not change
      this.peers = createPeers({ self: this.name, certificates, clock: systemClock, limits: { connectMs: 1_000 } });
      const replicas = {
        addressOf: async (name: string) => {
          const one = all.find((gateway) => gateway.name === name);
          return one === undefined ? undefined : `127.0.0.1:${String(one.listener.port)}`;
        },
        isAlive: async (name: string) => all.some((gateway) => gateway.name === name && !gateway.isDead),
      };
      this.app = await startApp({
        shared: {
          ids,
          store: new MemoryStore(this.name, records),
          holders: { self: this.name, isSure: true, isAlive: replicas.isAlive },
          discard: async (child) => void this.discarded.push(child),
          elsewhere: elsewhereBy(this.peers, replicas, systemClock),
        },
      });
      const { registry, serve } = this.app;
      this.listener = await openPeerListener({
        self: this.name,
        listen: { address: '127.0.0.1', port: 0 },
        certificates,
        service: { holds: (name, generation) => registry.holds(name, generation), handlers: { mcp: serve } },
      });
    }

    async stop(): Promise<void> {
      this.peers.close();
      await this.listener.close(0);
      await this.app.close();
      this.secret.remove();
    }
  }

  let all: Gateway[];
  let a: Gateway;
  let b: Gateway;
  let records: Map<string, SessionRecord>;

  beforeEach(async () => {
    all = [new Gateway(), new Gateway()];
    [a, b] = all as [Gateway, Gateway];
    records = new Map();
    const ids = new SessionIds([randomBytes(32)]);
    for (const one of all) await one.start(ids, records);
  });
  afterEach(async () => {
    for (const one of all) await one.stop();
  });

  const open = ({ app }: Gateway): Promise<string> => openAt(app);
  const call = ({ app }: Gateway, id: string, rpc: number | string = 1, headers: Record<string, string> = {}) =>
    ask(app, {
      headers: { 'mcp-session-id': id, ...headers },
      body: { jsonrpc: '2.0', id: rpc, method: 'tools/list', params: { text: 'a\u2028b 👩‍👩‍👧' } },
    });
  /** The children that a gateway started. */
  const children = ({ app }: Gateway): number => app.children.length;

  it('are served by both: calls, notifications, GET streams and DELETE go to the one that has the session', async () => {
    const id = await open(a);
    const answer = await call(b, id, 'x');
    expect([answer.status, answer.json]).to.deep.equal([
      200,
      { jsonrpc: '2.0', id: 'x', result: { method: 'tools/list' } },
    ]);
    expect(a.app.children[0]?.last.params).to.deep.equal({ text: 'a\u2028b 👩‍👩‍👧' });
    const note = { jsonrpc: '2.0', method: 'notifications/initialized' };
    expect((await ask(b.app, { headers: { 'mcp-session-id': id }, body: note })).status).to.equal(202);
    const stream = await streamOf(b.app, { headers: { 'mcp-session-id': id, 'content-type': undefined } });
    a.app.children[0]?.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    await stream.shows(/list_changed/);
    stream.drop();
    expect((await ask(b.app, { method: 'DELETE', headers: { 'mcp-session-id': id } })).status).to.equal(204);
    expect((await call(b, id)).status).to.equal(404);
    expect((await call(a, id)).status).to.equal(404);
    expect([children(a), children(b)]).to.deep.equal([1, 0]);
  });

  it('answer as ever who may not have them, at either gateway: 401, 403, 410 and 404', async () => {
    const id = await open(a);
    for (const gateway of all) {
      expect((await call(gateway, id, 1, { authorization: '' })).status).to.equal(401);
      expect((await call(gateway, id, 1, { authorization: 'Bearer bob' })).status).to.equal(403);
      expect((await call(gateway, 'f'.repeat(48))).status).to.equal(410);
    }
  });

  it('serve 100 calls at once through the other gateway, each with its own answer', async () => {
    const id = await open(a);
    const answers = await Promise.all([...Array(100).keys()].map((n) => call(n % 2 === 0 ? a : b, id, n)));
    expect(answers.map(({ json }) => (json as { id: number }).id)).to.deep.equal([...Array(100).keys()]);
  });

  it('go on with another child when their gateway is dead, whose child is removed first', async () => {
    const id = await open(a);
    const [record] = records.values();
    const child = { instance: 'its-pod' };
    records.set(record?.name ?? '', { ...record, child });
    a.isDead = true;
    await a.listener.close(0);
    expect((await call(b, id)).status).to.equal(200);
    expect([b.discarded, children(b)]).to.deep.equal([[child], 1]);
    expect([...records.values()][0]).to.include({ holder: b.name, state: 'active' });
    // The one that was believed dead learns it by its next write, and then sends what it gets to the other.
    await a.app.registry.stop(0);
    expect([...records.values()][0], 'nothing of it was changed').to.include({ holder: b.name, state: 'active' });
  });

  it('are answered 503 with Retry-After, and stay, while their gateway lives and cannot be reached', async () => {
    const id = await open(a);
    await a.listener.close(0);
    const answer = await call(b, id);
    expect(answer.status).to.equal(503);
    expect(Number(answer.headers['retry-after'])).to.be.above(0);
    expect((await call(a, id)).status).to.equal(200);
    expect(children(b)).to.equal(0);
  });

  it('say that a call may have happened when their gateway dies within it: 502, and it is not made again', async () => {
    const id = await open(a);
    const [link] = a.app.children;
    if (link === undefined) throw new AppError('INTERNAL', 'no child');
    const heard = new Promise<void>((resolve) => (link.onMessage = () => resolve()));
    const calling = call(b, id);
    await heard;
    b.peers.cut(a.name);
    const answer = await calling;
    expect(answer.status).to.equal(502);
    expect((answer.json as { error: { message: string } }).error.message).to.match(/may have happened/);
    expect(children(b)).to.equal(0);
  });
});
