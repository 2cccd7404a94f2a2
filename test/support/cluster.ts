/**
 * The test cluster as a test sees it: kubectl with a deadline, the node's inside, its components, and namespaces that go away. Needs a cluster
 * that is up (`make cluster`); every function fails with what to do when there is none.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './until';

const scripts = join(__dirname, '../cluster');

/** Components that `restart` knows (test/cluster/node/components.sh). */
export type Component =
  | 'containerd'
  | 'etcd'
  | 'kube-apiserver'
  | 'kube-controller-manager'
  | 'kube-scheduler'
  | 'netpol'
  | 'kubelet'
  | 'kube-proxy';

export interface Cluster {
  readonly kubeconfig: string;
  readonly name: string;
  /** The node's address; API server and NodePorts listen there. */
  readonly nodeIp: string;
  /** This machine's address as the cluster sees it. */
  readonly hostIp: string;
  /** Folder with kubectl, helm, ctr and the others. */
  readonly bin: string;
  /** Folder with `log/` (components) and `podlogs/` (what containers print). */
  readonly state: string;
  /** Environment for child processes: KUBECONFIG, and `bin` in PATH. */
  readonly env: NodeJS.ProcessEnv;
}

let known: Cluster | undefined;

/** The cluster that is up. Throws with the command to run when there is none. */
export function cluster(): Cluster {
  if (known) return known;
  let text: string;
  try {
    text = execFileSync('bash', ['-c', 'eval "$("$0/env.sh")" && env -0', scripts], {
      encoding: 'utf8',
      timeout: 30_000,
      stdio: 'pipe',
    });
  } catch (error) {
    throw new Error(`no test cluster (run \`make cluster\`): ${(error as { stderr?: string }).stderr?.trim()}`, {
      cause: error,
    });
  }
  const env = Object.fromEntries(
    text.split('\0').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  const value = (name: string): string => {
    if (!env[name])
      throw new Error(`test/cluster/env.sh gives no ${name}: this test needs the project's own test cluster`);
    return env[name];
  };
  known = {
    kubeconfig: value('KUBECONFIG'),
    name: value('FMO_CLUSTER'),
    nodeIp: value('FMO_NODE_IP'),
    hostIp: value('FMO_HOST_IP'),
    bin: value('FMO_CLUSTER_BIN'),
    state: value('FMO_CLUSTER_STATE'),
    env: { ...env, PATH: `${value('FMO_CLUSTER_BIN')}:${process.env.PATH}` },
  };
  return known;
}

export interface RunOptions {
  /** Written to the command's standard input. */
  readonly input?: string;
  /** Milliseconds until the command is killed and the call fails; 60 s by default. */
  readonly deadline?: number;
}

/** A command's standard output. Throws with the command's own words on standard error when it fails or takes too long. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const settings = {
      env: cluster().env,
      timeout: options.deadline ?? 60_000,
      maxBuffer: 64 << 20,
      killSignal: 'SIGKILL' as const,
    };
    const child = execFile(command, args, settings, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      const reason = error.killed ? `killed after ${settings.timeout} ms` : stderr.trim() || error.message;
      reject(new Error(`${command} ${args.slice(0, 4).join(' ')}: ${reason}`));
    });
    child.stdin?.on('error', () => undefined); // the command may end before it has read all
    child.stdin?.end(options.input ?? '');
  });
}

/** kubectl's output. */
export const kubectl = (args: readonly string[], options?: RunOptions): Promise<string> =>
  run('kubectl', args, options);

/** Helm's output. It has a home of its own each time, so that no setting of this machine's user counts. */
export async function helmCommand(args: readonly string[], options?: RunOptions): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'fmo-helm-'));
  const homes = ['CACHE', 'CONFIG', 'DATA'].map((of) => `HELM_${of}_HOME=${home}`);
  try {
    return await run('env', [...homes, 'helm', ...args], { deadline: 240_000, ...options });
  } finally {
    await rm(home, { recursive: true });
  }
}

/** An object as the API server has it now. */
export async function get<T = any>(kind: string, name: string, namespace = 'default'): Promise<T> {
  return JSON.parse(await kubectl(['-n', namespace, 'get', kind, name, '-o', 'json'])) as T;
}

/** Applies objects in one call, in order. */
export async function apply(...objects: readonly object[]): Promise<void> {
  const list = { apiVersion: 'v1', kind: 'List', items: objects };
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], { input: JSON.stringify(list) });
}

/** Makes a namespace with a name of its own. */
export async function createNamespace(prefix: string, labels: Record<string, string> = {}): Promise<string> {
  const name = `${prefix}-${randomBytes(4).toString('hex')}`;
  await apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
  // Until the controller has made it, pods are refused.
  await until(`${name} has a service account`, async () => get('serviceaccount', 'default', name));
  return name;
}

/** Deletes namespaces; they go on ending in the background. Pods are killed, not asked. */
export async function deleteNamespaces(...names: readonly string[]): Promise<void> {
  for (const name of names)
    await kubectl(['-n', name, 'delete', 'pods', '--all', '--force', '--grace-period=0', '--wait=false']);
  if (names.length > 0) await kubectl(['delete', 'namespace', ...names, '--wait=false', '--ignore-not-found']);
}

/** Waits until a pod is Ready, and returns it. Throws at the deadline (milliseconds), with the reason that its status gives. */
export async function podReady(namespace: string, name: string, deadline = 30_000): Promise<any> {
  let status: any;
  try {
    return await until(
      `pod ${namespace}/${name} is Ready`,
      async () => {
        const pod = await get('pod', name, namespace);
        status = pod.status;
        return pod.status.conditions?.some((c: any) => c.type === 'Ready' && c.status === 'True') && pod;
      },
      deadline,
    );
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${JSON.stringify(status?.containerStatuses ?? status)}`, {
      cause: error,
    });
  }
}

/** Waits until a pod has ended and returns what its container printed. */
export async function podOutput(namespace: string, name: string, deadline = 30_000): Promise<string> {
  await until(
    `pod ${namespace}/${name} has ended`,
    async () => ['Succeeded', 'Failed'].includes((await get('pod', name, namespace)).status.phase as string),
    deadline,
  );
  return kubectl(['-n', namespace, 'logs', name]);
}

/** Runs a command in a pod. */
export const podExec = (
  namespace: string,
  name: string,
  command: readonly string[],
  options?: RunOptions,
): Promise<string> => kubectl(['-n', namespace, 'exec', name, '--', ...command], options);

/** Runs a command in the cluster's namespaces, as on its node. */
export const onNode = (command: readonly string[], options?: RunOptions): Promise<string> =>
  run(join(scripts, 'enter.sh'), command, options);

/** Starts a command in the cluster's namespaces, and hands back its process. It must end with its input: a signal reaches nsenter only. */
export const spawnOnNode = (command: readonly string[]): ChildProcess =>
  spawn(join(scripts, 'enter.sh'), command, { env: cluster().env, stdio: ['pipe', 'pipe', 'inherit'] });

/** Loads an OCI image archive; one that is there is skipped. */
export async function loadImage(...archives: readonly string[]): Promise<void> {
  await run(join(scripts, 'load-image.sh'), archives, { deadline: 300_000 });
}

/** Restarts a component of the cluster and waits until it is healthy. Pods live on. `KILL` instead of `TERM` is a crash. */
export async function restart(component: Component, signal: 'TERM' | 'KILL' = 'TERM'): Promise<void> {
  await run(join(scripts, 'restart.sh'), [component, signal], { deadline: 120_000 });
}

/** An outage of the API server for that many seconds: it is gone, or stands still. Resolves when it is back. */
export async function outage(seconds: number, how: 'TERM' | 'STOP'): Promise<void> {
  await run(join(scripts, 'outage.sh'), [String(seconds), how], { deadline: 180_000 + seconds * 1000 });
}

/** What a pod needs to be let into a namespace of the `restricted` Pod Security level. */
export const restricted = {
  runAsNonRoot: true,
  runAsUser: 65532,
  runAsGroup: 65532,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
} as const;

export interface PodOptions {
  readonly labels?: Record<string, string>;
  /** A shell script for busybox. */
  readonly script?: string;
  readonly ports?: readonly { name: string; containerPort: number; protocol?: 'TCP' | 'UDP' }[];
  /** More of the pod's and of the container's specification. */
  readonly spec?: object;
  readonly container?: object;
}

/** A restricted busybox pod that runs a script; by default it sleeps. */
export function busybox(namespace: string, name: string, options: PodOptions = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: name, ...options.labels } },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      enableServiceLinks: false,
      automountServiceAccountToken: false,
      containers: [
        {
          name: 'main',
          image: 'busybox:test',
          imagePullPolicy: 'Never',
          command: ['sh', '-c', options.script ?? 'exec sleep 3600'],
          ports: options.ports,
          securityContext: restricted,
          ...options.container,
        },
      ],
      ...options.spec,
    },
  };
}
