/**
 * The product as a platform team runs it: a forge, the chart and its images on the real cluster. One install for a whole run of tests; `make up`
 * uses the same code. Needs a cluster that is up (`make cluster`) and fails without it.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import type { Account } from '../../scripts/seed-forge';
import { apply, cluster, get, helmCommand, kubectl, loadImage, onNode, restart, run, type Component } from './cluster';
import { deployForge, type ClusterForge } from './cluster-forge';
import { Logins } from './logins';
import { McpClient } from './mcp';
import type { OAuthBrowser } from './oauth-browser';
import { until } from './until';
import { chartValues } from './values';

const root = join(__dirname, '../..');
const HTTP_PORT = 30080;
const OPS_PORT = 30090;

export interface SessionPod {
  readonly name: string;
  readonly ip: string;
  readonly session: string;
}

export class Installed {
  readonly namespace = 'mcp';
  readonly sessionsNamespace = 'mcp-sessions';
  /** Of the encrypted records of logins. */
  readonly recordsNamespace = 'mcp-logins';
  readonly release = 'forgejo-mcp';
  gatewayClusterIp = '';
  private readonly oauthSecret = 'forge-applications';
  private readonly logins: Logins;

  /** @param image changes whenever the gateway's image does, whose tag does not. */
  private constructor(
    readonly forge: ClusterForge,
    private readonly image: string,
  ) {
    this.logins = new Logins(forge.publicUrl, (user) => this.account(user));
  }

  /** Loads the images, starts the forge, installs the chart, and waits until all is ready. Each step is told to `say`. */
  static async create(say: (step: string) => void = () => undefined): Promise<Installed> {
    say('making the images and loading them into the cluster');
    const archives = (await run(join(root, 'test/images/build.sh'), ['all'], { deadline: 1_200_000 }))
      .trim()
      .split('\n');
    await loadImage(...archives);
    say("starting the forge in the cluster, with its users, private repositories and the gateway's two applications");
    const gateway = archives.find((archive) => archive.endsWith('/gateway.tar'))!;
    const image = createHash('sha256')
      .update(await readFile(gateway))
      .digest('hex')
      .slice(0, 16);
    const app = new Installed(await deployForge(publicUrl()), image);
    say('helm install');
    await app.install();
    return app;
  }

  get nodeIp(): string {
    return cluster().nodeIp;
  }

  /** Folder of the node's pod logs. */
  get podLogs(): string {
    return join(cluster().state, 'podlogs');
  }

  get forgeClusterIp(): string {
    return this.forge.clusterIp;
  }

  /** The MCP endpoint of a server, reachable from this machine. */
  url(server?: string): string {
    return server === undefined ? `${publicUrl()}/mcp` : `${publicUrl()}/servers/${server}/mcp`;
  }

  /** A user of the forge. */
  account(user: string): Account {
    const account = this.forge.seed.users[user];
    if (account === undefined) throw new Error(`the forge has no user ${user}`);
    return account;
  }

  /** A new browser of a user's. */
  browser(user: string): OAuthBrowser {
    return this.logins.browser(user);
  }

  /** A user's access token for a server, from the one login there that the run needs. */
  token(user: string, server?: string): Promise<string> {
    return this.logins.token(user, this.url(server));
  }

  /** A client that is logged in. */
  async client(user: string, server?: string): Promise<McpClient> {
    return new McpClient(this.url(server), await this.token(user, server));
  }

  /** Tokens, codes, states and cookies of every login so far. */
  secrets(): string[] {
    return this.logins.secrets();
  }

  kubectl(...args: string[]): Promise<string> {
    return kubectl(args);
  }

  /** The Secret with the applications' secrets, `helm upgrade --install` with the tests' values, and readiness. */
  async install(): Promise<void> {
    await this.keepApplicationSecrets();
    const { forge, sessionsNamespace, recordsNamespace, oauthSecret, image } = this;
    const values = chartValues({
      publicUrl: publicUrl(),
      forge,
      sessionsNamespace,
      recordsNamespace,
      oauthSecret,
      image,
    });
    const folder = await mkdtemp(join(tmpdir(), 'fmo-values-'));
    try {
      const file = join(folder, 'values.json');
      await writeFile(file, JSON.stringify(values));
      await helmCommand([
        ...['upgrade', '--install', this.release, join(root, 'charts/forgejo-mcp-operator')],
        ...['--namespace', this.namespace, '--values', file, '--wait', '--timeout', '120s'],
      ]);
    } finally {
      await rm(folder, { recursive: true });
    }
    this.gatewayClusterIp = (await get('service', this.release, this.namespace)).spec.clusterIP as string;
    await this.exposeOps();
    await until('the gateway is ready', async () => (await this.ops('/readyz')).status === 200, 60_000);
  }

  async uninstall(): Promise<void> {
    await helmCommand(['uninstall', this.release, '--namespace', this.namespace, '--wait', '--timeout', '120s']);
  }

  /** An MCPServer whose child is the fixture: the least, as people do it, and what `spec` says. */
  async applyServer(name: string, spec: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const { pod, ...rest } = spec as { pod?: object };
    const object = {
      apiVersion: 'forgejo-mcp-operator.dev/v1alpha1',
      kind: 'MCPServer',
      metadata: { name },
      spec: {
        command: ['/child'],
        forgejo: { url: this.forge.publicUrl },
        stopGrace: '2s',
        ...rest,
        pod: {
          image: 'fmo/child-fixture:test',
          imagePullPolicy: 'Never',
          requests: { cpu: '10m', memory: '16Mi' },
          ...pod,
        },
      },
    };
    await kubectl(['-n', this.namespace, 'apply', '-f', '-'], { input: JSON.stringify(object) });
  }

  async removeServer(name: string): Promise<void> {
    await this.kubectl('-n', this.namespace, 'delete', 'mcps', name, '--ignore-not-found');
  }

  /** Waits until a server is at its path, where a stranger is told 401. */
  async served(name: string): Promise<void> {
    await until(`${name} is served`, async () => {
      const { statusCode, body } = await request(this.url(name), { method: 'POST' });
      await body.dump();
      return statusCode === 401;
    });
  }

  /** The pod that runs the client's session. */
  async podOf(client: McpClient): Promise<SessionPod> {
    const session = createHash('sha256').update(client.sessionId!).digest('hex').slice(0, 40);
    const pod = (await this.sessionPods()).find((p) => p.session === session);
    if (pod === undefined) throw new Error('that session has no pod');
    return pod;
  }

  /** Every session pod there is, terminating ones too. */
  async sessionPods(): Promise<SessionPod[]> {
    const list = JSON.parse(
      await this.kubectl(
        'get',
        'pods',
        '-n',
        this.sessionsNamespace,
        '-l',
        'app.kubernetes.io/component=session',
        '-o',
        'json',
      ),
    ) as { items: { metadata: { name: string; labels: Record<string, string> }; status: { podIP?: string } }[] };
    return list.items.map(({ metadata, status }) => ({
      name: metadata.name,
      ip: status.podIP ?? '',
      session: metadata.labels['forgejo-mcp-operator/session'] ?? '',
    }));
  }

  /** Waits until a new connection to the gateway's Service is answered. */
  async reachable(): Promise<void> {
    const answered = async (): Promise<boolean> => {
      const { body } = await request(this.url(), { reset: true, signal: AbortSignal.timeout(5_000) });
      await body.dump();
      return true;
    };
    await until('the gateway is reachable', () => answered().catch(() => false), 60_000);
  }

  /** One request to the operations listener. */
  async ops(path: string): Promise<{ status: number; text: string }> {
    const { statusCode, body } = await request(`http://${this.nodeIp}:${OPS_PORT}${path}`, {
      signal: AbortSignal.timeout(10_000),
    });
    return { status: statusCode, text: await body.text() };
  }

  /** The sum of a metric's series that carry these labels; 0 where there is none. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const { text } = await this.ops('/metrics');
    return text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .filter((line) => Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`)))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  /** Cuts every attach stream, as a failing load balancer would: ends the gateway's connections to the API server. */
  async cutAttach(): Promise<void> {
    const api = (await get('service', 'kubernetes')).spec.clusterIP as string;
    await onNode(['nsenter', '-t', await this.gatewayPid(), '-n', 'ss', '-K', 'dst', api, 'dport', '=', '443']);
  }

  /** Sends a signal to the process of a gateway: the only one, or that of a pod. One that is killed starts again in the same pod. */
  async signalGateway(signal: 'KILL' | 'STOP' | 'CONT', pod?: string): Promise<void> {
    await onNode(['kill', `-${signal}`, await this.gatewayPid(pod)]);
  }

  /** As many gateways as told; resolves once they serve, and no other does. */
  async scaleGateways(replicas: number): Promise<void> {
    const deployment = `deployment/${this.release}-gateway`;
    await this.kubectl('-n', this.namespace, 'scale', deployment, `--replicas=${String(replicas)}`);
    await this.kubectl('-n', this.namespace, 'rollout', 'status', deployment, '--timeout=120s');
    await until('nobody else serves', async () => (await this.gatewayPods()).length === replicas, 90_000);
    await this.reachable();
  }

  /** The names of the gateways' pods, terminating ones too. */
  async gatewayPods(): Promise<string[]> {
    const selector = `app.kubernetes.io/instance=${this.release},app.kubernetes.io/component=gateway`;
    const found = await this.kubectl('-n', this.namespace, 'get', 'pods', '-l', selector, '-o', 'name');
    return found
      .split('\n')
      .filter((name) => name !== '')
      .map((name) => name.replace('pod/', ''));
  }

  restart(component: Component): Promise<void> {
    return restart(component);
  }

  stopForge(): Promise<void> {
    return this.forge.scale(0);
  }

  startForge(): Promise<void> {
    return this.forge.scale(1);
  }

  /** The gateway's log since it started. */
  gatewayLog(): Promise<string> {
    return kubectl(['logs', '-n', this.namespace, `deployment/${this.release}-gateway`, '--tail=-1']);
  }

  /** As an administrator would before the install: the release's namespace and the Secret that the values name. */
  private async keepApplicationSecrets(): Promise<void> {
    const { read, write } = this.forge.applications;
    await apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: this.namespace } });
    await apply({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: this.oauthSecret, namespace: this.namespace },
      stringData: { 'read-client-secret': read.clientSecret, 'write-client-secret': write.clientSecret },
    });
  }

  /** The gateway's main process, as the node sees it. */
  private async gatewayPid(pod?: string): Promise<string> {
    const [name = ''] = pod === undefined ? await this.gatewayPods() : [pod];
    const { status } = await get('pod', name, this.namespace);
    const id = String(status.containerStatuses[0].containerID);
    const tasks = await onNode(['ctr', 'tasks', 'ls']);
    const task = tasks.split('\n').find((line) => line.startsWith(id.replace('containerd://', '')));
    if (task === undefined) throw new Error('the gateway has no task');
    return task.trim().split(/\s+/)[1];
  }

  /** The operations listener is for the cluster only; a Service of the tests' own shows it to this machine. */
  private async exposeOps(): Promise<void> {
    await apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'test-ops', namespace: this.namespace },
      spec: {
        type: 'NodePort',
        selector: { 'app.kubernetes.io/instance': this.release, 'app.kubernetes.io/component': 'gateway' },
        ports: [{ port: 9090, targetPort: 'ops', nodePort: OPS_PORT }],
      },
    });
  }
}

/** Where browsers and clients on this machine reach the gateway. */
function publicUrl(): string {
  return `http://${cluster().nodeIp}:${HTTP_PORT}`;
}

let shared: Promise<Installed> | undefined;

/** The run's one install. */
export async function installed(): Promise<Installed> {
  shared ??= Installed.create();
  const app = await shared;
  await app.reachable(); // an earlier test may have restarted the API server
  return app;
}
