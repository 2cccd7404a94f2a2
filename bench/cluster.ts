/** On the cluster: a bare pod, a bare attach to the same child, and the gateway in its pods, all in one run. */
import { openAttach } from '../src/backends/pod/attach';
import { KubeClient } from '../src/kube/client';
import { Credentials } from '../src/kube/credentials';
import { systemClock } from '../src/clock';
import { cluster, createNamespace, deleteNamespaces, restricted } from '../test/support/cluster';
import { Installed } from '../test/support/installed';
import { bare, bareEach, type BareChild, calls, opens, server } from './contender';
import { BareClient } from './pipe';
import { type Figures, goal, table } from './stats';

const OPENS = 12;
const SESSIONS = [1, 16, 50];

/** Bare pods with the child as their only process, and nothing of ours in between. */
export class BarePods {
  private readonly kube = new KubeClient(new Credentials(cluster().kubeconfig));
  private count = 0;

  constructor(private readonly namespace: string) {}

  /** Creates a pod, waits on a watch until it runs, attaches, and has `initialize` answered. */
  async open(): Promise<BareChild> {
    const name = `bare-${++this.count}`;
    const signal = AbortSignal.timeout(60_000);
    const watch = await this.kube.stream(
      `/api/v1/namespaces/${this.namespace}/pods`,
      { watch: 'true', fieldSelector: `metadata.name=${name}` },
      { signal },
    );
    await this.kube.core((api, options) =>
      api.createNamespacedPod({ namespace: this.namespace, body: this.manifest(name) }, options),
    );
    let text = '';
    for await (const chunk of watch) {
      text += String(chunk);
      if (/"running":\{"startedAt"/.test(text)) break;
    }
    watch.destroy();
    const transport = await openAttach({
      kube: this.kube,
      clock: systemClock,
      namespace: this.namespace,
      pod: name,
      container: 'child',
      timeout: 10_000,
      signal,
    });
    const client = new BareClient(transport);
    await client.initialize();
    const close = async (): Promise<void> => {
      transport.close();
      await this.remove(name);
    };
    return { client, close };
  }

  close(): Promise<void> {
    return this.kube.close();
  }

  private async remove(name: string): Promise<void> {
    await this.kube.core((api, options) =>
      api.deleteNamespacedPod({ name, namespace: this.namespace, gracePeriodSeconds: 0 }, options),
    );
  }

  private manifest(name: string): object {
    return {
      metadata: { name },
      spec: {
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: 'child',
            image: 'fmo/child-everything:test',
            imagePullPolicy: 'Never',
            command: ['/child'],
            stdin: true,
            securityContext: { ...restricted, readOnlyRootFilesystem: true },
          },
        ],
      },
    };
  }
}

/** Prints the figures; resolves with whether every goal was met. */
export async function benchCluster(seconds: number): Promise<boolean> {
  const app = await Installed.create((step) => console.error(step));
  const namespace = await createNamespace('bench');
  const pods = new BarePods(namespace);
  const attach = bare('bare pod', () => pods.open());
  const each = bareEach('bare pods, one for each call in flight', () => pods.open());
  const ours = server('gateway, pod driver', new URL(app.url('everything')), await app.token('alice', 'everything'));

  const [bareOpen, ourOpen] = await opens([attach, ours], OPENS);
  const rows: [string, Figures][] = [
    ['bare pod: create, run, attach, initialize and first call', bareOpen],
    ['gateway, pod driver: open and first call', ourOpen],
  ];
  const byCount = new Map<number, readonly [Figures, Figures]>();
  for (const count of SESSIONS) {
    const [bareCalls, ourCalls, eachCalls] = await calls([attach, ours, each], count, seconds);
    byCount.set(count, [bareCalls, ourCalls]);
    rows.push([`bare attach: call, ${count} in flight`, bareCalls]);
    rows.push([`bare attaches, a pod for each: call, ${count} in flight`, eachCalls]);
    rows.push([`gateway, pod driver: call, ${count} sessions`, ourCalls]);
  }
  await pods.close();
  await deleteNamespaces(namespace);

  table('On the cluster, the same child', rows);
  console.log();
  const [bare1, ours1] = byCount.get(1)!;
  const [bare16, ours16] = byCount.get(16)!;
  return [
    goal('open, against the bare pod (p50)', ourOpen.p50 / bareOpen.p50, '<=', 1.25),
    goal('p50 of a call above the bare attach', ours1.p50 - bare1.p50, '<=', 0.7, 'ms'),
    goal(
      'calls per second at 16 sessions, against the bare attach with 16 in flight',
      ours16.rate / bare16.rate,
      '>=',
      0.6,
    ),
  ].every(Boolean);
}
