/**
 * Gateways that are killed while a child is at work: real HTTP, registries and bridges, the pod driver, attach over WebSocket and the real launcher over pipes; only the
 * API server and the store are in memory. A gateway is killed as the others and its clients see it: all its connections are cut at once, and it writes nothing any more.
 */
import { expect } from 'chai';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { BackendLink } from '../../src/backends/contract';
import { PodBackend } from '../../src/backends/pod/driver';
import { LinkKeys } from '../../src/backends/pod/link-keys';
import { systemClock } from '../../src/clock';
import { SessionIds } from '../../src/sessions/ids';
import type { SessionRecord } from '../../src/sessions/ports';
import { adoptWith, spawnWith } from '../../src/sessions/spawn';
import { startApp, type GatewayApp } from '../support/gateway-app';
import { launcherBinary } from '../support/launcher';
import { MemoryStore } from '../support/memory-store';
import { PodContainers } from '../support/pod-containers';
import { ResumingClient } from '../support/resuming-client';
import { RecordingObserver } from '../support/channel';
import { serverSpec } from '../support/server-spec';
import { keptLog } from '../support/silent-log';

const CHILD = resolve(__dirname, '../support/working-child.ts');
const KEYS = [{ id: 'k1', secret: Buffer.alloc(32, 1) }];

/** The one address of all gateways: who connects comes to the one that is there now. */
class Front {
  port = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer((client) => {
    const gateway = connect({ port: this.port, host: '127.0.0.1' });
    for (const [socket, other] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}/mcp`;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}

class Gateways {
  readonly records = new Map<string, SessionRecord>();
  readonly front = new Front();
  readonly #ids = new SessionIds([Buffer.alloc(32, 3)]);
  readonly #living = new Set<string>();
  readonly #world: PodContainers;
  readonly #callTimeout: number;
  readonly #undo: (() => Promise<void>)[] = [];
  #count = 0;
  app: GatewayApp | undefined;
  #store: MemoryStore | undefined;
  #links: BackendLink[] = [];

  constructor(world: PodContainers, callTimeout: number) {
    this.#world = world;
    this.#callTimeout = callTimeout;
  }

  /** Starts another gateway, which is the one that clients come to. */
  async start(): Promise<void> {
    this.#count += 1;
    const self = `gateway-${String(this.#count)}`;
    this.#living.add(self);
    const kube = this.#world.cluster.api.kube();
    const pods = { kube, namespace: this.#world.namespace, install: 'i', log: keptLog() };
    const backend = new PodBackend({ ...pods, run: self, linkKeys: new LinkKeys(KEYS) });
    const links: BackendLink[] = [];
    const kept = (link: BackendLink): BackendLink => {
      links.push(link);
      return link;
    };
    const common = { clock: systemClock, observer: () => new RecordingObserver() };
    const store = new MemoryStore(self, this.records);
    const app = await startApp({
      servers: [
        serverSpec({
          name: 'default',
          command: [process.execPath, CHILD],
          callTimeout: this.#callTimeout,
          stopGrace: 1,
        }),
      ],
      primeMs: 1,
      shared: {
        store,
        ids: this.#ids,
        holders: { self, isSure: true, doubts: 0, isAlive: async (name) => this.#living.has(name) },
        discard: (child) => backend.discard(child),
        spawn: spawnWith({
          ...common,
          backend: Object.assign(Object.create(backend) as PodBackend, {
            open: async (...args: Parameters<PodBackend['open']>) => kept(await backend.open(...args)),
          }),
          secrets: async () => ({}),
          started: () => undefined,
        }),
        adopt: adoptWith({
          ...common,
          backend: { adopt: async (spec, signal) => kept(await backend.adopt(spec, signal)) },
        }),
        elsewhere: { send: async () => 'again', wait: async () => false, now: () => 0 },
      },
    });
    this.#undo.push(async () => {
      await app.close();
      await backend.stop();
    });
    [this.app, this.#store, this.#links] = [app, store, links];
    this.front.port = app.port;
  }

  /** Kills the gateway that is there now; another one takes its place. */
  async kill(): Promise<void> {
    const self = `gateway-${String(this.#count)}`;
    const [store, links] = [this.#store, this.#links];
    if (store !== undefined) store.down = true;
    this.front.cut();
    this.#world.cut();
    for (const link of links) link.release?.(); // no other stream is opened for it
    this.#living.delete(self);
    await this.start();
  }

  /** Stops it in order, and has another one take its place. */
  async replace(drainMs: number): Promise<void> {
    const { app } = this;
    await this.start();
    await app?.registry.stop(drainMs);
    this.front.cut();
  }

  async close(): Promise<void> {
    this.front.close();
    await Promise.all(this.#undo.map((undo) => undo()));
  }
}

describe('sessions whose gateway is killed', function () {
  this.timeout(180_000);
  let world: PodContainers;
  let gateways: Gateways;
  let client: ResumingClient;

  before(() => void launcherBinary());
  const setUp = async (callTimeout: number): Promise<void> => {
    world = await PodContainers.start();
    gateways = new Gateways(world, callTimeout);
    const url = await gateways.front.listen();
    await gateways.start();
    client = new ResumingClient(url, 'alice');
    await client.initialize();
  };
  afterEach(async () => {
    await client.close().catch(() => undefined);
    await gateways.close();
    await world.close();
  });
  const work = (n: number, ms: number): Promise<string> => client.text('work', { n, ms });

  it('have the answer of a call that was under way, once, from the next one that has the child', async () => {
    await setUp(60);
    const working = work(1, 2_000);
    await pause(500);
    await gateways.kill();
    expect(await working).to.equal('1:1');
    expect(client.doubled).to.deep.equal([]);
    expect(world.made).to.have.length(1);
    expect(await work(1, 0)).to.equal('1:2'); // the same child, with what it has in memory
  });

  it('have the answer that came while nobody had the child', async () => {
    await setUp(60);
    const working = work(1, 300);
    await pause(150);
    gateways.front.port = 1; // nobody is there for a while
    await gateways.kill();
    const { port } = gateways.front;
    gateways.front.port = 1;
    await pause(500);
    gateways.front.port = port;
    expect(await working).to.equal('1:1');
    expect(client.doubled).to.deep.equal([]);
  });

  it('in order: calls are answered by the one that stops, and the session goes on with its child', async () => {
    await setUp(60);
    const working = [work(1, 300), work(2, 300)];
    await pause(100);
    await gateways.replace(5_000);
    expect(await Promise.all(working)).to.deep.equal(['1:1', '2:1']);
    expect(await work(1, 0)).to.equal('1:2');
    expect(world.made).to.have.length(1);
  });

  it('at any moment, again and again: each call is made at most once, and answered once or refused', async () => {
    await setUp(3);
    const rounds = Number(process.env['TAKEOVERS'] ?? 60);
    const each = 5;
    let refused = 0;
    for (let round = 0; round < rounds; round += 1) {
      const calls = Array.from({ length: each }, (_none, index) => {
        const n = round * each + index;
        return work(n, Math.floor(Math.random() * 80)).then(
          (said) => expect(said).to.equal(`${String(n)}:1`),
          (thrown: unknown) => {
            if (thrown instanceof Error && thrown.name === 'AssertionError') throw thrown;
            refused += 1;
          },
        );
      });
      await pause(Math.random() * 100);
      await gateways.kill();
      await Promise.all(calls);
    }
    expect(client.doubled).to.deep.equal([]);
    expect(world.made).to.have.length(1);
    expect(refused, 'refused').to.be.below((rounds * each) / 2);
  });
});
