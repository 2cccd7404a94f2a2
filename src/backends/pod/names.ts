/**
 * Every Kubernetes name of a session's pod. Two requirements: a name is at most 63 characters of what Kubernetes allows (RFC 1123 labels), and two different
 * things never share one.
 */
import { randomBytes } from 'node:crypto';
import { LABEL_PREFIX } from '../../kube/labels';

/** The container in which a session's child runs. */
export const CONTAINER = 'child';

/** The init container that copies the launcher in. */
export const INIT_CONTAINER = 'launcher';

/** The annotation that names the key which a pod's link key is made of. */
export const LINK_KEY = `${LABEL_PREFIX}/link-key`;

const SESSION = /^[0-9a-f]{40}$/;

/** Random hex digits that tell two pods of one session apart: a session that woke up may still have its former pod terminating. */
export function podSuffix(): string {
  return randomBytes(4).toString('hex');
}

/**
 * The pod's name, which is its host name as well (RFC 1123, at most 63 characters).
 * @throws RangeError where `session` is not 40 hex digits or `suffix` not 8.
 */
export function podName(session: string, suffix: string): string {
  if (!SESSION.test(session) || !/^[0-9a-f]{8}$/.test(suffix)) throw new RangeError('not a session name');
  return `mcp-${session}-${suffix}`;
}

/** The name of a pod that proves a feature of the cluster; `mcp-canary-` is no prefix of a session's pod, whose name goes on in hex. */
export function canaryName(suffix: string): string {
  if (!/^[0-9a-f]{8}$/.test(suffix)) throw new RangeError('not a suffix');
  return `mcp-canary-${suffix}`;
}

/** The name of a pod that waits for a session; of nobody and nothing, and never used again. */
export function warmName(): string {
  return `mcp-warm-${randomBytes(8).toString('hex')}`;
}
