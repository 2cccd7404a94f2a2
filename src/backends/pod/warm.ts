/**
 * Pods that wait for a session: the operator makes them, gateways take them. One has nothing of a session in it; it runs the launcher alone, which waits for its
 * claim. Whoever changes its component from `warm` to `session` has it, and the API server lets one alone do that.
 */
import { createHash } from 'node:crypto';
import type { V1Pod } from '@kubernetes/client-node';
import type { ServerSpec } from '../../config/server';
import { LABELS, labelValue } from '../../kube/labels';
import type { OwnerReference, PatchOperation } from '../../kube/objects';
import { judge } from './judge';
import { podManifest, type PodManifestOptions, WAITS_MOST } from './manifest';
import { LINK_KEY } from './names';
import type { PodState } from './pod-state';

/** The component of a pod that waits for a session. */
export const WARM = 'warm';

const TEMPLATE_DIGITS = 16;

/**
 * What a server's warm pods are made of: the same for two pods that differ in nothing but whose they are. It changes with every setting of the pod, and with what
 * a release makes of it; gateways take pods of the very template that they would make one of.
 */
export function templateOf(server: ServerSpec, userNamespace: boolean): string {
  const { spec, metadata } = podManifest({
    ...{ name: '', namespace: '', install: '', run: '', component: WARM, server, userNamespace },
  });
  const { labels, annotations } = metadata ?? {};
  return createHash('sha256')
    .update(JSON.stringify(sorted({ spec, labels, annotations })))
    .digest('hex')
    .slice(0, TEMPLATE_DIGITS);
}

/** A server's next warm pod. */
export function warmManifest(
  options: Pick<PodManifestOptions, 'name' | 'namespace' | 'install' | 'run' | 'server' | 'userNamespace' | 'owner'>,
): V1Pod {
  const template = templateOf(options.server, options.userNamespace);
  return podManifest({ ...options, component: WARM, template });
}

/** What a gateway would have of a warm pod. */
export interface Wanted {
  readonly server: ServerSpec;
  /** Whether a pod that it makes would have one. */
  readonly userNamespace: boolean;
  /** Wall-clock milliseconds. */
  readonly wall: number;
}

/** Those that can be taken: the launcher runs, the address that the session's capability names is known, and nobody is about to remove them. */
export function takeable(pods: Iterable<PodState>, { server, userNamespace, wall }: Wanted): PodState[] {
  const name = labelValue(server.name);
  // One that runs in a user namespace proves that the cluster can; one that does not is taken by none who know that it could.
  const kinds = server.pod.userNamespaces === 'auto' ? [true, userNamespace] : [userNamespace];
  const templates = new Map(kinds.map((kind) => [kind, templateOf(server, kind)]));
  const oldest = wall - WAITS_MOST * server.pool.maxAge * 1000;
  return [...pods].filter(
    (pod) =>
      pod.component === WARM &&
      pod.server === name &&
      pod.template !== undefined &&
      // By what it is: an API server that does not know `hostUsers` drops it without a word.
      pod.template === templates.get(pod.userNamespace) &&
      pod.createdAt > oldest &&
      isReady(pod),
  );
}

/** Whether the launcher of a warm pod waits for its claim. */
export function isReady(pod: PodState): boolean {
  return pod.ip !== undefined && judge(pod).kind === 'running';
}

/** Whose a warm pod becomes. */
export interface Taker {
  readonly session: string;
  readonly user: string;
  /** The gateway's run. */
  readonly run: string;
  /** In place of whatever owned it while it waited. */
  readonly owner?: OwnerReference;
  /** See `PodManifestOptions.linkKey`. */
  readonly linkKey?: string;
}

/**
 * The one patch (RFC 6902) that takes a pod, done whole or not at all. What it tests is what only a claim changes: the statuses that a kubelet writes are no
 * conflict. It makes the pod what a session's own pod would have been.
 */
export function claimPatch(uid: string, { session, user, run, owner, linkKey }: Taker): readonly PatchOperation[] {
  const label = (name: string): string => `/metadata/labels/${escaped(name)}`;
  return [
    { op: 'test', path: '/metadata/uid', value: uid },
    { op: 'test', path: label(LABELS.component), value: WARM },
    { op: 'replace', path: label(LABELS.component), value: 'session' },
    { op: 'add', path: label(LABELS.session), value: session },
    { op: 'add', path: label(LABELS.user), value: labelValue(user) },
    { op: 'replace', path: label(LABELS.run), value: labelValue(run) },
    ...(linkKey === undefined
      ? []
      : [{ op: 'add', path: `/metadata/annotations/${escaped(LINK_KEY)}`, value: linkKey } as const]),
    ...(owner === undefined ? [] : [{ op: 'add', path: '/metadata/ownerReferences', value: [owner] } as const]),
  ];
}

/** A reference token of a JSON Pointer (RFC 6901, 3). */
function escaped(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** The same with the keys of every map in order: two programs need not have read them in the same one. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return (value as unknown[]).map(sorted);
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, child]) => [key, sorted(child)]));
}
