/** What a gateway does in the cluster, without a child: its Lease, its sessions' records and their pods, which no node takes. */
import { randomBytes } from 'node:crypto';
import { systemClock, type Timer } from '../../src/clock';
import { podName, podSuffix } from '../../src/backends/pod/names';
import { labelValue, LABELS } from '../../src/kube/labels';
import type { KubeClient } from '../../src/kube/client';
import { Lease } from '../../src/kube/lease';
import { KubeObjects } from '../../src/kube/objects';
import { replicaName } from '../../src/peers/names';
import { API_VERSION, MCP_SESSIONS } from '../../src/resources/group';
import type { MCPSession, MCPSessionPod, MCPSessionStatus } from '../../src/resources/session';

export interface ActingGatewayOptions {
  readonly kube: KubeClient;
  readonly namespace: string;
  readonly sessionsNamespace: string;
  readonly install: string;
  /** Seconds. */
  readonly lease?: number;
}

export class ActingGateway {
  readonly name = replicaName();
  readonly objects: KubeObjects<MCPSession>;
  readonly #options: ActingGatewayOptions;
  readonly #lease: Lease;
  #timer: Timer | undefined;
  #renewing: Promise<unknown> = Promise.resolve();
  isDead = false;

  constructor(options: ActingGatewayOptions) {
    const { kube, namespace, sessionsNamespace, install, lease = 4 } = options;
    this.#options = options;
    this.objects = new KubeObjects(kube, MCP_SESSIONS, sessionsNamespace);
    this.#lease = new Lease({
      kube,
      namespace,
      name: this.name,
      holder: this.name,
      duration: lease,
      clock: systemClock,
      labels: { [LABELS.install]: labelValue(install) },
    });
  }

  async start(): Promise<this> {
    await this.#lease.take();
    const { lease = 4 } = this.#options;
    this.#timer = systemClock.every((lease * 1000) / 4, () => {
      this.#renewing = this.#renewing.then(() => this.#lease.take()).catch(() => undefined);
    });
    return this;
  }

  /** Dies: its Lease stands still, and nobody looks after its sessions. */
  async kill(): Promise<void> {
    this.isDead = true;
    this.#timer?.cancel();
    await this.#renewing;
  }

  /** Records a session that starts. */
  create(server: string, name = randomBytes(20).toString('hex')): Promise<MCPSession> {
    const { install } = this.#options;
    return this.objects.create({
      apiVersion: API_VERSION,
      kind: MCP_SESSIONS.kind,
      metadata: {
        name,
        labels: { [LABELS.install]: labelValue(install), [LABELS.server]: server },
      },
      spec: { server, user: { issuer: 'https://forge.example.com', id: '7' }, client: 'c', mode: 'oauth' },
      status: { state: 'Starting', epoch: 1, holder: this.name, createdAt: new Date().toISOString() },
    });
  }

  /** Makes a pod that no node takes. */
  async pod(session: string, server: string): Promise<MCPSessionPod> {
    const { kube, sessionsNamespace: namespace, install } = this.#options;
    const name = podName(session, podSuffix());
    const { metadata } = await kube.core((api, options) =>
      api.createNamespacedPod(
        {
          namespace,
          body: {
            metadata: {
              name,
              labels: {
                [LABELS.install]: labelValue(install),
                'app.kubernetes.io/managed-by': 'forgejo-mcp-operator',
                [LABELS.component]: 'session',
                [LABELS.session]: session,
                [LABELS.server]: server,
                [LABELS.run]: this.name,
              },
            },
            spec: {
              nodeSelector: { 'example.com/no-node': 'has-this' },
              automountServiceAccountToken: false,
              containers: [{ name: 'child', image: 'none' }],
            },
          },
        },
        options,
      ),
    );
    return { namespace, name, uid: metadata?.uid ?? '' };
  }

  async removePod({ namespace, name }: MCPSessionPod): Promise<void> {
    const { kube } = this.#options;
    await kube.core((api, options) => api.deleteNamespacedPod({ namespace, name, body: {} }, options));
  }

  /** Writes a session's state over what was read of it; rejects where somebody was quicker. */
  write(object: MCPSession, change: Partial<MCPSessionStatus>, without: (keyof MCPSessionStatus)[] = []) {
    const status = Object.fromEntries(
      Object.entries({ ...object.status, ...change }).filter(
        ([key]) => !without.includes(key as keyof MCPSessionStatus),
      ),
    ) as unknown as MCPSessionStatus;
    return this.objects.replace({ ...object, status });
  }

  /** A session with its pod, whose `initialize` was answered. */
  async open(server: string): Promise<MCPSession> {
    const made = await this.create(server);
    const pod = await this.pod(made.metadata.name, server);
    return this.write(made, { state: 'Active', pod, protocolVersion: '2025-11-25', initialize: '{}' });
  }

  async hibernate(session: MCPSession, forMs: number): Promise<MCPSession> {
    if (session.status.pod !== undefined) await this.removePod(session.status.pod);
    const expiresAt = new Date(Date.now() + forMs).toISOString();
    return this.write(session, { state: 'Hibernated', expiresAt }, ['pod', 'holder']);
  }

  /** Takes a sleeping session, makes it a pod, and tells so. */
  async wake(session: MCPSession): Promise<MCPSession> {
    const held = await this.write(session, { holder: this.name, epoch: session.status.epoch + 1 });
    const pod = await this.pod(session.metadata.name, session.spec.server);
    return this.write(held, { state: 'Active', pod });
  }

  async end(session: MCPSession): Promise<MCPSession> {
    if (session.status.pod !== undefined) await this.removePod(session.status.pod);
    const change = { state: 'Ended', reason: 'deleted', endedAt: new Date().toISOString() } as const;
    return this.write(session, change, ['pod', 'holder', 'initialize', 'protocolVersion', 'expiresAt']);
  }
}
