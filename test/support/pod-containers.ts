/** Pods without a cluster: an API server in memory whose pods are real launchers over pipes, and attach streams to them. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { FakeCluster, type Stored } from './fake-cluster';
import { Container } from './launcher';

const STDIN = 0;
const STDOUT = 1;
const STATUS = 3;

export class PodContainers {
  readonly cluster: FakeCluster;
  readonly namespace: string;
  /** By the pod's name. */
  readonly containers = new Map<string, Container>();
  /** Every pod that was ever made. */
  readonly made: string[] = [];
  readonly #sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'v5.channel.k8s.io' });

  private constructor(cluster: FakeCluster, namespace: string) {
    this.cluster = cluster;
    this.namespace = namespace;
    cluster.before = (call) => {
      const path = decodeURIComponent(call.path);
      if (call.method === 'POST' && path === this.pods)
        setImmediate(() => this.#run((JSON.parse(call.body) as Stored).metadata.name as string));
      const name = path.startsWith(`${this.pods}/`) ? path.slice(this.pods.length + 1) : '';
      if (call.method === 'DELETE') setImmediate(() => this.#reap(name));
    };
    cluster.api.upgrade = (request, socket, head) => this.#attach(request, socket, head);
  }

  static async start(namespace = 'n'): Promise<PodContainers> {
    return new PodContainers(await FakeCluster.start(), namespace);
  }

  get pods(): string {
    return `/api/v1/namespaces/${this.namespace}/pods`;
  }

  /** The container of the newest pod. */
  get newest(): Container {
    const container = this.containers.get(this.made.at(-1) ?? '');
    if (container === undefined) throw new Error('there is no container');
    return container;
  }

  /** Cuts every attach stream: what has not come through is lost. */
  cut(): void {
    for (const { streams } of this.containers.values()) for (const stream of [...streams]) stream.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.containers.values()].map((container) => container.kill()));
    this.#sockets.close();
    await this.cluster.close();
  }

  #run(name: string): void {
    const pod = this.cluster.get(`${this.pods}/${name}`);
    if (pod === undefined) return;
    const container = new Container();
    this.containers.set(name, container);
    this.made.push(name);
    const change = (status: object): void => {
      const now = this.cluster.get(`${this.pods}/${name}`);
      if (now !== undefined) this.cluster.put(this.pods, { ...now, status: { ...now.status, ...status } });
    };
    change({ phase: 'Running', podIP: '10.0.0.9', containerStatuses: [{ state: { running: {} } }] });
    void container.ended.then(({ code }) =>
      change({ phase: 'Failed', containerStatuses: [{ state: { terminated: { exitCode: code ?? 137 } } }] }),
    );
  }

  /** A pod that is deleted takes its container with it. */
  #reap(name: string): void {
    if (this.cluster.get(`${this.pods}/${name}`) !== undefined) return; // a precondition did not hold
    this.containers.get(name)?.process.kill('SIGKILL');
  }

  #attach(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const [, name = ''] = /\/pods\/([^/]+)\/attach/.exec(request.url ?? '') ?? [];
    const container = this.containers.get(name);
    if (container === undefined) return void socket.destroy();
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => void this.#carry(webSocket, container));
  }

  async #carry(webSocket: WebSocket, container: Container): Promise<void> {
    webSocket.on('error', () => undefined);
    const stream = await container
      .connector()(new AbortController().signal)
      .catch(() => undefined);
    if (stream === undefined) return webSocket.terminate();
    stream.onData((bytes) => webSocket.send(Buffer.concat([Buffer.of(STDOUT), bytes])));
    webSocket.on('message', (frame: Buffer) => {
      if (frame[0] === STDIN && frame.length > 1) void stream.write(frame.subarray(1)).catch(() => undefined);
    });
    webSocket.on('close', () => stream.close());
    const { kind } = await stream.closed;
    if (kind === 'ended') {
      webSocket.send(Buffer.concat([Buffer.of(STATUS), Buffer.from(JSON.stringify({ status: 'Success' }))]));
      webSocket.close(1000);
    } else webSocket.terminate();
  }
}
