/**
 * Every Kubernetes name and label of a session's pod. Two requirements: a name or value is at most 63 characters of what Kubernetes allows
 * (RFC 1123 labels), and two different things never share one.
 */
import { createHash, randomBytes } from 'node:crypto';

/** Prefix of our own labels and annotations. */
export const LABEL_PREFIX = 'forgejo-mcp-operator';

/** The label keys that a session's pod carries beside Kubernetes' recommended ones. */
export const LABELS = {
  /** Which install the pod belongs to: every list, watch and orphan hunt selects by it. */
  install: 'app.kubernetes.io/instance',
  /** `session` or `canary`. */
  component: 'app.kubernetes.io/component',
  /** The server's name. */
  server: `${LABEL_PREFIX}/server`,
  /** The session's name: 40 hex digits. */
  session: `${LABEL_PREFIX}/session`,
  /** An opaque digest of the user. */
  user: `${LABEL_PREFIX}/user`,
  /** Which run of which gateway made the pod; another run's pods are orphans. */
  run: `${LABEL_PREFIX}/run`,
} as const;

/** The container in which a session's child runs. */
export const CONTAINER = 'child';

/** The init container that copies the launcher in. */
export const INIT_CONTAINER = 'launcher';

const SESSION = /^[0-9a-f]{40}$/;
const LABEL_VALUE = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

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

/**
 * Any text as a label value (at most 63 of `[A-Za-z0-9._-]`, ends alphanumeric). What fits stays as it is, except where it looks like one of
 * our digests; everything else becomes a readable start and 128 bits of its SHA-256, so that different texts stay different.
 */
export function labelValue(text: string): string {
  if (LABEL_VALUE.test(text) && !/^(?:.*-)?x[0-9a-f]{32}$/.test(text)) return text;
  const digest = `x${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
  const start = text
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 29);
  return start === '' ? digest : `${start}-${digest}`;
}

/** The selector that finds every pod of an install. */
export function installSelector(install: string): string {
  return `${LABELS.install}=${labelValue(install)},app.kubernetes.io/managed-by=${LABEL_PREFIX}`;
}
