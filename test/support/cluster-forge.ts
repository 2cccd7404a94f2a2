/** A real forge as a pod of the test cluster: Gitea with the users of scripts/seed-forge.ts, reachable by its Service and by a NodePort. */
import { randomBytes } from 'node:crypto';
import { ensureForgeApplications, type ForgeApplications } from '../../scripts/forge-applications';
import { type Seed, seedForge } from '../../scripts/seed-forge';
import { cluster, kubectl } from './cluster';
import { until } from './until';

const NAMESPACE = 'forge';
const NODE_PORT = 30300;

export interface ClusterForge {
  /** As a browser on this machine reaches it. */
  readonly publicUrl: string;
  /** As the gateway in the cluster reaches it. */
  readonly apiUrl: string;
  readonly clusterIp: string;
  seed: Seed;
  /** The gateway's. */
  readonly applications: ForgeApplications;
  /** Stops it (0) or starts it again (1) and waits until that is so. Its data stays. */
  scale(replicas: 0 | 1): Promise<void>;
  /** Makes these users as well; they are in the organisation. */
  addUsers(names: readonly string[]): Promise<void>;
}

/**
 * Deploys the forge anew, waits until it answers, seeds it, and makes the gateway's applications.
 * @param gatewayUrl where browsers reach the gateway.
 */
export async function deployForge(gatewayUrl: string): Promise<ClusterForge> {
  const { nodeIp } = cluster();
  const publicUrl = `http://${nodeIp}:${NODE_PORT}`;
  const password = randomBytes(18).toString('base64url');
  await kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found', '--wait']);
  await kubectl(['apply', '-f', '-'], {
    input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects(publicUrl, password) }),
  });
  await healthy(publicUrl);
  const admin = { name: 'forge-admin', password };
  const seed = await seedForge({ url: publicUrl, admin });
  const clusterIp = (
    await kubectl(['get', 'service', 'forge', '-n', NAMESPACE, '-o', 'jsonpath={.spec.clusterIP}'])
  ).trim();
  const forge: ClusterForge = {
    publicUrl,
    apiUrl: `http://forge.${NAMESPACE}.svc.cluster.local:3000`,
    clusterIp,
    seed,
    applications: await ensureForgeApplications({ url: publicUrl, admin, publicUrl: gatewayUrl }),
    async addUsers(names) {
      const more = await seedForge({ url: publicUrl, admin, users: names, previous: forge.seed });
      forge.seed = { ...forge.seed, users: { ...forge.seed.users, ...more.users } };
    },
    async scale(replicas) {
      await kubectl(['scale', 'statefulset/forge', '-n', NAMESPACE, `--replicas=${replicas}`]);
      if (replicas === 1) return healthy(publicUrl);
      await kubectl(['wait', 'pod/forge-0', '-n', NAMESPACE, '--for=delete', '--timeout=60s']);
    },
  };
  return forge;
}

function healthy(url: string): Promise<void> {
  return until(
    'the forge answers',
    async () => (await fetch(`${url}/api/healthz`, { signal: AbortSignal.timeout(2000) })).ok || undefined,
    120_000,
  ).then(() => undefined);
}

function objects(publicUrl: string, password: string): unknown[] {
  const labels = { app: 'forge' };
  const metadata = { name: 'forge', namespace: NAMESPACE };
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    { apiVersion: 'v1', kind: 'Secret', metadata, stringData: { password } },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { type: 'NodePort', selector: labels, ports: [{ port: 3000, nodePort: NODE_PORT }] },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata,
      spec: {
        replicas: 1,
        serviceName: 'forge',
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            terminationGracePeriodSeconds: 5,
            // A hostPath is root's.
            securityContext: { runAsUser: 0 },
            containers: [
              {
                name: 'forge',
                image: 'fmo/forge:test',
                imagePullPolicy: 'Never',
                ports: [{ containerPort: 3000 }],
                env: [
                  { name: 'FORGE_ROOT_URL', value: `${publicUrl}/` },
                  { name: 'FORGE_ADMIN_PASSWORD', valueFrom: { secretKeyRef: { name: 'forge', key: 'password' } } },
                ],
                readinessProbe: { httpGet: { path: '/api/healthz', port: 3000 }, periodSeconds: 1 },
                volumeMounts: [{ name: 'data', mountPath: '/data' }],
              },
            ],
            // The node's disk outlives the pod, so the forge can be stopped and started again; the cluster's end removes it.
            volumes: [
              {
                name: 'data',
                hostPath: { path: `${cluster().state}/forge-data-${Date.now()}`, type: 'DirectoryOrCreate' },
              },
            ],
          },
        },
      },
    },
  ];
}
