/**
 * The pod of one session, or one that waits for a session, from one options object, without side effects. It meets the `restricted` Pod Security Standard, has no secret in
 * it, no service account token, no DNS and no volume (any volume makes the kubelet look again only after 300 ms); what the child needs comes
 * over the launcher's claim.
 */
import type { V1Container, V1OwnerReference, V1Pod } from '@kubernetes/client-node';
import type { ServerSpec } from '../../config/server';
import { LABEL_PREFIX, LABELS, labelValue } from '../../kube/labels';
import { CONTAINER, INIT_CONTAINER, LINK_KEY } from './names';

/** The user and group of children: `nonroot` of the usual minimal images. */
const USER_ID = 65532;
/** Where the launcher stands in an image that has it. */
const BUILTIN_LAUNCHER = '/launcher';
/** Where the init container copies it to, in an emptyDir that the child's container mounts read-only. */
const LAUNCHER_DIRECTORY = '/run/forgejo-mcp-operator/launcher';
const INJECTED_LAUNCHER = `${LAUNCHER_DIRECTORY}/launcher`;
/** Seconds between SIGTERM and SIGKILL when the pod is deleted: the launcher gives its child 3 s of them. */
export const POD_GRACE_SECONDS = 5;
/** Seconds beyond `maxLifetime` after which the kubelet ends a pod that everybody forgot. */
const LIFETIME_SLACK_SECONDS = 300;
/** A warm pod that has waited for so many times `pool.maxAge` is taken by nobody any more, though its replacement is late. */
export const WAITS_MOST = 2;

export interface PodManifestOptions {
  readonly name: string;
  readonly namespace: string;
  /** The install that the pod belongs to. */
  readonly install: string;
  /** The gateway's run. */
  readonly run: string;
  readonly component: 'session' | 'warm' | 'canary';
  readonly server: ServerSpec;
  /** The session's name; absent for what is no session's. */
  readonly session?: string;
  /** The user's opaque digest; absent for what is no session's. */
  readonly user?: string;
  /** What a warm pod is made of: see `warm.ts`. */
  readonly template?: string;
  /** Run in a user namespace of its own (KEP-127). */
  readonly userNamespace: boolean;
  readonly owner?: V1OwnerReference;
  /** Which of the install's keys its link's key is made of, where another gateway can make it again. No secret. */
  readonly linkKey?: string;
}

/** Builds the pod. The same options give the same object. */
export function podManifest(options: PodManifestOptions): V1Pod {
  const { server } = options;
  const { pod } = server;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: options.name,
      namespace: options.namespace,
      labels: labels(options),
      annotations: annotations(options),
      ...(options.owner === undefined ? {} : { ownerReferences: [options.owner] }),
    },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: POD_GRACE_SECONDS,
      ...(server.maxLifetime > 0 ? { activeDeadlineSeconds: activeDeadline(options) } : {}),
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      // Nothing answers there: a child speaks to the credential proxy's address and to nobody else.
      dnsPolicy: 'None',
      dnsConfig: { nameservers: ['127.0.0.1'] },
      ...(options.userNamespace ? { hostUsers: false } : {}),
      ...(pod.runtimeClassName === undefined ? {} : { runtimeClassName: pod.runtimeClassName }),
      ...(pod.priorityClassName === undefined ? {} : { priorityClassName: pod.priorityClassName }),
      ...(Object.keys(pod.nodeSelector).length === 0 ? {} : { nodeSelector: { ...pod.nodeSelector } }),
      ...(pod.tolerations.length === 0
        ? {}
        : { tolerations: pod.tolerations.map((toleration) => ({ ...toleration })) }),
      ...(pod.imagePullSecrets.length === 0
        ? {}
        : { imagePullSecrets: pod.imagePullSecrets.map((name) => ({ name })) }),
      securityContext: {
        runAsNonRoot: true,
        runAsUser: USER_ID,
        runAsGroup: USER_ID,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      ...(pod.launcher === 'inject' ? { initContainers: [initContainer(server)] } : {}),
      containers: [childContainer(server)],
      ...(pod.launcher === 'inject' ? { volumes: [{ name: 'launcher', emptyDir: { sizeLimit: '16Mi' } }] } : {}),
    },
  };
}

/** The kubelet counts from the pod's start, and a warm pod waits before its session begins. */
function activeDeadline({ component, server }: PodManifestOptions): number {
  const waits = component === 'warm' ? server.pool.maxAge * WAITS_MOST : 0;
  return Math.ceil(waits + server.maxLifetime + server.startTimeout + LIFETIME_SLACK_SECONDS);
}

/** Ours win over the server's own, so that a server cannot pose as another install's pod. */
function labels(options: PodManifestOptions): Record<string, string> {
  return {
    ...options.server.pod.labels,
    'app.kubernetes.io/name': 'forgejo-mcp',
    [LABELS.install]: labelValue(options.install),
    [LABELS.component]: options.component,
    'app.kubernetes.io/part-of': LABEL_PREFIX,
    [LABELS.managedBy]: LABEL_PREFIX,
    [LABELS.run]: labelValue(options.run),
    [LABELS.server]: labelValue(options.server.name),
    ...(options.session === undefined ? {} : { [LABELS.session]: options.session }),
    ...(options.user === undefined ? {} : { [LABELS.user]: labelValue(options.user) }),
    ...(options.template === undefined ? {} : { [LABELS.template]: options.template }),
    'vector.dev/exclude': 'true',
  };
}

/** Common log agents are told to leave the pod alone; what it prints is sealed anyway. */
function annotations(options: PodManifestOptions): Record<string, string> {
  return {
    ...options.server.pod.annotations,
    ...(options.linkKey === undefined ? {} : { [LINK_KEY]: options.linkKey }),
    'fluentbit.io/exclude': 'true',
    'ad.datadoghq.com/logs_exclude': 'true',
    'co.elastic.logs/enabled': 'false',
  };
}

function childContainer(server: ServerSpec): V1Container {
  const inject = server.pod.launcher === 'inject';
  return {
    name: CONTAINER,
    image: server.pod.image,
    imagePullPolicy: server.pod.imagePullPolicy,
    command: [inject ? INJECTED_LAUNCHER : BUILTIN_LAUNCHER],
    // One writer after another may attach: `stdinOnce` would give the child EOF with the first stream that breaks.
    stdin: true,
    stdinOnce: false,
    tty: false,
    ...resources(server),
    securityContext: containerSecurity(),
    ...(inject ? { volumeMounts: [{ name: 'launcher', mountPath: LAUNCHER_DIRECTORY, readOnly: true }] } : {}),
  };
}

function initContainer(server: ServerSpec): V1Container {
  return {
    name: INIT_CONTAINER,
    image: server.pod.launcherImage ?? server.pod.image,
    imagePullPolicy: server.pod.imagePullPolicy,
    command: [BUILTIN_LAUNCHER, 'install', INJECTED_LAUNCHER],
    // A quota demands them of every container; a pod needs the larger of both, so this costs nothing.
    ...resources(server),
    securityContext: containerSecurity(),
    volumeMounts: [{ name: 'launcher', mountPath: LAUNCHER_DIRECTORY }],
  };
}

function resources(server: ServerSpec): Pick<V1Container, 'resources'> {
  const { requests, limits } = server.pod;
  const some = {
    ...(Object.keys(requests).length === 0 ? {} : { requests: { ...requests } }),
    ...(Object.keys(limits).length === 0 ? {} : { limits: { ...limits } }),
  };
  return Object.keys(some).length === 0 ? {} : { resources: some };
}

function containerSecurity(): NonNullable<V1Container['securityContext']> {
  return {
    allowPrivilegeEscalation: false,
    privileged: false,
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    capabilities: { drop: ['ALL'] },
  };
}
