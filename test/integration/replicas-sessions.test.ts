/** Two gateways that share their sessions' records: whichever of them a request reaches, it is served. Real HTTP, real TLS between them; children are fakes. */
import { expect } from 'chai';
import { AppError } from '../../src/errors';
import { ask, open as openAt, stream as streamOf } from '../support/gateway-app';
import { until } from '../support/until';
import { Install, type SharedGateway } from '../support/several-gateways';

describe('sessions of two gateways', function () {
  this.timeout(60_000);

  let install: Install;
  let a: SharedGateway;
  let b: SharedGateway;

  beforeEach(async () => {
    install = await Install.of(2);
    [a, b] = install.gateways as [SharedGateway, SharedGateway];
  });
  afterEach(() => install.stop());

  const open = ({ app }: SharedGateway): Promise<string> => openAt(app);
  const call = ({ app }: SharedGateway, id: string, rpc: number | string = 1, headers: Record<string, string> = {}) =>
    ask(app, {
      headers: { 'mcp-session-id': id, ...headers },
      body: { jsonrpc: '2.0', id: rpc, method: 'tools/list', params: { text: 'a\u2028b 👩‍👩‍👧' } },
    });
  /** The children that a gateway started. */
  const children = ({ app }: SharedGateway): number => app.children.length;

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
    for (const gateway of install.gateways) {
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
    const [record] = install.records.values();
    const child = { instance: 'its-pod' };
    install.records.set(record?.name ?? '', { ...record, child });
    a.isDead = true;
    await a.vanish();
    expect((await call(b, id)).status).to.equal(200);
    expect([b.discarded, children(b)]).to.deep.equal([[child], 1]);
    expect([...install.records.values()][0]).to.include({ holder: b.name, state: 'active' });
    // The one that was believed dead learns it by its next write, and then sends what it gets to the other.
    await a.app.registry.stop(0);
    expect([...install.records.values()][0], 'nothing of it was changed').to.include({
      holder: b.name,
      state: 'active',
    });
  });

  it('are answered 503 with Retry-After, and stay, while their gateway lives and cannot be reached', async () => {
    const id = await open(a);
    await a.vanish();
    const answer = await call(b, id);
    expect(answer.status).to.equal(503);
    expect(Number(answer.headers['retry-after'])).to.be.above(0);
    expect((await call(a, id)).status).to.equal(200);
    expect(children(b)).to.equal(0);
  });

  it('wait until it is known that their gateway is dead: a hundred calls at once are answered by another, none is refused', async () => {
    const patient = await install.join({}, 60_000);
    const id = await open(a);
    await a.vanish();
    const calling = [...Array(100).keys()].map((n) => call(patient, id, n));
    await until('they were tried', async () => patient.addressed.length >= 200);
    a.isDead = true;
    const answers = await Promise.all(calling);
    expect(answers.map(({ json }) => (json as { id: number }).id)).to.deep.equal([...Array(100).keys()]);
    expect(children(patient)).to.equal(1);
  });

  it('wait while their gateway stops and has a call to answer: it refuses what others send on, and another serves that once it is given up', async () => {
    const patient = await install.join({}, 60_000);
    const id = await open(a);
    const [link] = a.app.children;
    if (link === undefined) throw new AppError('INTERNAL', 'no child');
    const heard = new Promise<{ id?: unknown }>((resolve) => (link.onMessage = resolve));
    const before = call(a, id, 'before');
    const request = await heard;
    const stopped = a.app.registry.stop(60_000);
    const calling = [...Array(20).keys()].map((n) => call(patient, id, n));
    await until('they were sent on', async () => patient.addressed.length >= 20);
    link.say({ jsonrpc: '2.0', id: request.id, result: { late: true } });
    expect((await before).json).to.deep.equal({ jsonrpc: '2.0', id: 'before', result: { late: true } });
    expect((await Promise.all(calling)).map(({ status }) => status)).to.deep.equal(Array(20).fill(200));
    await stopped;
    expect(children(patient)).to.equal(1);
  });

  it('are served by another gateway when the one that stops is asked itself: new ones at once, its own once they are given up', async () => {
    const stopping = await install.join({}, 60_000);
    const [id, elsewhere] = [await open(stopping), await open(a)];
    const [link] = stopping.app.children;
    if (link === undefined) throw new AppError('INTERNAL', 'no child');
    const heard = new Promise<{ id?: unknown }>((resolve) => (link.onMessage = resolve));
    const before = call(stopping, id, 'before');
    const request = await heard;
    const stopped = stopping.app.registry.stop(60_000);
    const opened = [...install.records.keys()].length;
    const others = await Promise.all([...Array(20).keys()].map(() => open(stopping)));
    expect([new Set(others).size, install.records.size - opened]).to.deep.equal([20, 20]);
    expect(children(stopping)).to.equal(1);
    expect((await call(stopping, elsewhere)).status, 'one that another has').to.equal(200);
    expect((await call(stopping, 'f'.repeat(48))).status).to.equal(410);
    const calling = [...Array(20).keys()].map((n) => call(stopping, id, n));
    const streaming = ask(stopping.app, { method: 'DELETE', headers: { 'mcp-session-id': others[0] } });
    expect((await streaming).status).to.equal(204);
    link.say({ jsonrpc: '2.0', id: request.id, result: { late: true } });
    expect((await before).json).to.deep.equal({ jsonrpc: '2.0', id: 'before', result: { late: true } });
    const answers = await Promise.all(calling);
    expect(answers.map(({ status, json }) => [status, (json as { id: number }).id])).to.deep.equal(
      [...Array(20).keys()].map((n) => [200, n]),
    );
    await stopped;
    expect(children(a) + children(b), 'one of each session').to.equal(22);
  });

  it('are refused with 503 and Retry-After at once where the gateway that stops is the only one, or no other takes them in time', async () => {
    const id = await open(a);
    b.isDead = true;
    void a.app.registry.stop(0);
    const alone = await call(a, id);
    expect([alone.status, Number(alone.headers['retry-after']) > 0]).to.deep.equal([503, true]);
    b.isDead = false;
    void b.app.registry.stop(0);
    const both = await call(a, id);
    expect([both.status, both.json.error.data.code]).to.deep.equal([503, 'DRAINING']);
  });

  it('are served by whoever was quicker when two others take them over at once: 200 of each call', async () => {
    const c = await install.join();
    for (let round = 0; round < 10; round += 1) {
      const id = await open(a);
      const name = [...install.records.keys()].at(-1) ?? '';
      const record = install.records.get(name);
      if (record === undefined) throw new AppError('INTERNAL', 'no record');
      install.records.set(name, { ...record, holder: 'gateway-0000000000000000' });
      const answers = await Promise.all([b, c, b, c, b, c].map((gateway, n) => call(gateway, id, n)));
      expect(answers.map(({ status }) => status)).to.deep.equal(Array(6).fill(200));
      expect(['b', 'c'].filter((_, at) => install.records.get(name)?.holder === [b, c][at]?.name)).to.have.length(1);
    }
    expect(children(b) + children(c)).to.equal(10);
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
