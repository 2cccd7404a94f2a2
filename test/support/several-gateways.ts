/** Gateways of one install in one process: real HTTP to each, real TLS between them; who lives is the test's to say, and children are fakes. */
import { randomBytes } from 'node:crypto';
import { systemClock } from '../../src/clock';
import { gatewaysBy, ownsBy } from '../../src/compose/gateways';
import { elsewhereBy } from '../../src/compose/elsewhere';
import type { PeerListener, Peers, Replicas } from '../../src/peers/contract';
import { openPeerListener } from '../../src/peers/listener';
import { replicaName } from '../../src/peers/names';
import { createPeers } from '../../src/peers/peers';
import { SessionIds } from '../../src/sessions/ids';
import type { ChildPlace, SessionRecord } from '../../src/sessions/ports';
import { type Changes, type GatewayApp, startApp } from './gateway-app';
import { MemoryStore } from './memory-store';
import { Authority, SecretFolder } from './peer-certificates';
import { stateSealAt } from './state-seal';

const authority = new Authority();
/** Milliseconds that requests wait for who is to have their session, unless a test says otherwise. */
const PATIENCE_MS = 1_500;

/** Everything that gateways of an install have in common. */
export class Install {
  readonly gateways: SharedGateway[] = [];
  readonly records = new Map<string, SessionRecord>();
  readonly ids = new SessionIds([randomBytes(32)]);
  readonly stateKey = randomBytes(32);

  static async of(count: number, changes: Omit<Changes, 'shared'> = {}): Promise<Install> {
    const install = new Install();
    for (let at = 0; at < count; at += 1) await install.join(changes);
    return install;
  }

  /** Starts one more. */
  async join(changes: Omit<Changes, 'shared'> = {}, patience = PATIENCE_MS): Promise<SharedGateway> {
    const gateway = new SharedGateway(this);
    gateway.patience = patience;
    await gateway.start(changes);
    this.gateways.push(gateway);
    return gateway;
  }

  named(name: string): SharedGateway | undefined {
    return this.gateways.find((gateway) => gateway.name === name);
  }

  async stop(): Promise<void> {
    for (const gateway of this.gateways) await gateway.stop();
  }
}

export class SharedGateway {
  readonly name = replicaName();
  readonly discarded: ChildPlace[] = [];
  /** It is found dead from now on, whatever it does. */
  isDead = false;
  /** Milliseconds; counts from when it is started. */
  patience = PATIENCE_MS;
  /** Names that it does not know of yet. */
  readonly unseen = new Set<string>();
  /** Names whose addresses it asked for. */
  readonly addressed: string[] = [];
  app!: GatewayApp;
  peers!: Peers;
  listener!: PeerListener;
  readonly #install: Install;
  readonly #secret = new SecretFolder();

  constructor(install: Install) {
    this.#install = install;
  }

  /** The children that it started. */
  get children(): GatewayApp['children'] {
    return this.app.children;
  }

  /** What it believes of the others. */
  get replicas(): Pick<Replicas, 'self' | 'living' | 'addressOf' | 'isAlive' | 'onGone'> {
    const { gateways } = this.#install;
    return {
      self: this.name,
      living: () => [
        this.name,
        ...gateways
          .filter(({ name, isDead }) => name !== this.name && !isDead && !this.unseen.has(name))
          .map(({ name }) => name),
      ],
      addressOf: async (name) => {
        this.addressed.push(name);
        const one = this.#install.named(name);
        return one === undefined ? undefined : `127.0.0.1:${String(one.listener.port)}`;
      },
      isAlive: async (name) => this.#install.named(name)?.isDead === false,
      onGone: () => () => undefined,
    };
  }

  async start(changes: Omit<Changes, 'shared'>): Promise<void> {
    const { ids, records, stateKey } = this.#install;
    this.#secret.write(authority.issue());
    const certificates = await this.#secret.read();
    this.peers = createPeers({ self: this.name, certificates, clock: systemClock, limits: { connectMs: 1_000 } });
    const { replicas } = this;
    this.app = await startApp({
      ...changes,
      shared: {
        ids,
        store: new MemoryStore(this.name, records),
        holders: { self: this.name, isSure: true, doubts: 0, isAlive: replicas.isAlive },
        discard: async (child) => void this.discarded.push(child),
        seal: stateSealAt(this.name, stateKey),
        owns: ownsBy(replicas),
        elsewhere: elsewhereBy(this.peers, replicas, systemClock, this.patience),
        gateways: gatewaysBy(this.peers, replicas),
      },
    });
    const { registry, serve } = this.app;
    this.listener = await openPeerListener({
      self: this.name,
      listen: { address: '127.0.0.1', port: 0 },
      certificates,
      service: {
        holds: (name, generation) => registry.holds(name, generation),
        handlers: { mcp: serve, stateless: serve, sse: serve, handover: serve },
      },
    });
  }

  /** Whatever was sent to it breaks, and nobody reaches it any more. */
  async vanish(): Promise<void> {
    await this.listener.close(0);
  }

  async stop(): Promise<void> {
    this.peers.close();
    await this.listener.close(0);
    this.app.stateless.stop();
    await this.app.close();
    this.#secret.remove();
  }
}
