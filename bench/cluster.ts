/** On the cluster: a bare pod, a bare attach to the same child, and the gateway in its pods, all in one run. */
import { setImmediate as turn } from 'node:timers/promises';
import { openAttach } from '../src/backends/pod/attach';
import { KubeClient } from '../src/backends/pod/kube/client';
import { Credentials } from '../src/backends/pod/kube/credentials';
import type { AttachTransport } from '../src/backends/pod/transport';
import { systemClock } from '../src/clock';
import { cluster, createNamespace, deleteNamespaces, restricted } from '../test/support/cluster';
import { Installed } from '../test/support/installed';
import { measure, rows } from './http';
import { BareClient } from './pipe';
import { type Figures, figures, goal, load, table } from './stats';

const CALL = { name: 'test_simple_text', arguments: {} };
const OPENS = 12;

/** Bare pods with the child as their only process, and nothing of ours in between. */
class BarePods {
  private readonly kube = new KubeClient(new Credentials(cluster().kubeconfig));
  private count = 0;

  constructor(private readonly namespace: string) {}

  /** Creates a pod, waits on a watch until it runs, attaches, and has `initialize` answered. */
  async open(): Promise<{ client: BareClient; transport: AttachTransport; name: string }> {
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
    return { client, transport, name };
  }

  async remove(name: string): Promise<void> {
    await this.kube.core((api, options) =>
      api.deleteNamespacedPod({ name, namespace: this.namespace, gracePeriodSeconds: 0 }, options),
    );
  }

  close(): Promise<void> {
    return this.kube.close();
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
  const bare = new BarePods(namespace);

  const url = new URL(app.url('everything'));
  const token = app.tokens.alice;
  // Bare and through the gateway by turns, so that whatever else the machine does falls on both.
  const bareOpens: number[] = [];
  const ourOpens: number[] = [];
  for (let i = 0; i < OPENS; i++) {
    const from = performance.now();
    const { transport, name } = await bare.open();
    bareOpens.push(performance.now() - from);
    transport.close();
    await bare.remove(name);
    await turn();
    const ours = await measure(url.origin, url.pathname, { seconds: 0, opens: 1, token, sessions: [] });
    ourOpens.push(ours.open.p50);
  }
  const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
  const bareOpen = figures(bareOpens, sum(bareOpens));
  const ourOpen = figures(ourOpens, sum(ourOpens));

  const { client, transport, name } = await bare.open();
  const attach1 = await load([() => client.request('tools/call', CALL)], seconds * 1000);
  const attach16 = await load(
    Array.from({ length: 16 }, () => () => client.request('tools/call', CALL)),
    seconds * 1000,
  );
  transport.close();
  await bare.remove(name);

  const ours = await measure(url.origin, url.pathname, { seconds, opens: 5, token });
  await bare.close();
  await deleteNamespaces(namespace);

  const list: [string, Figures][] = [
    ['bare pod: create, run, attach, initialize', bareOpen],
    ['gateway: open and first call', ourOpen],
    ['bare attach: call, 1 in flight', attach1],
    ['bare attach: call, 16 in flight', attach16],
    ...rows('gateway, pod driver', ours),
  ];
  table('On the cluster, the same child', list);
  console.log();
  return [
    goal('open, against the bare pod (p50)', ourOpen.p50 / bareOpen.p50, '<=', 1.25),
    goal('p50 of a call above the bare attach', ours.calls.get(1)!.p50 - attach1.p50, '<=', 0.7, 'ms'),
    goal(
      'calls per second at 16 sessions, against the bare attach with 16 in flight',
      ours.calls.get(16)!.rate / attach16.rate,
      '>=',
      0.6,
    ),
  ].every(Boolean);
}
