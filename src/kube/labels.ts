/** The labels by which an install knows its own objects (Kubernetes, 'Recommended Labels'). */
import { createHash } from 'node:crypto';

/** Prefix of our own labels and annotations, and what manages our objects. */
export const LABEL_PREFIX = 'forgejo-mcp-operator';

export const LABELS = {
  /** Which install an object belongs to: every list, watch and orphan hunt selects by it. */
  install: 'app.kubernetes.io/instance',
  managedBy: 'app.kubernetes.io/managed-by',
  /** `session`, `warm` for a pod that waits for one, `canary`, or `gateway` for its Lease. */
  component: 'app.kubernetes.io/component',
  /** The server's name. */
  server: `${LABEL_PREFIX}/server`,
  /** The session's name: 40 hex digits. */
  session: `${LABEL_PREFIX}/session`,
  /** An opaque digest of the user. */
  user: `${LABEL_PREFIX}/user`,
  /** The user's id at the forge. */
  userId: `${LABEL_PREFIX}/user-id`,
  /** On sessions that have not ended: there may be a great many others. */
  live: `${LABEL_PREFIX}/live`,
  /** Which run of which gateway made or took the object; another run's pods are orphans. Of a warm pod: which run of the operator made it. */
  run: `${LABEL_PREFIX}/run`,
  /** What a warm pod was made of: a digest of its server's pod. */
  template: `${LABEL_PREFIX}/template`,
} as const;

const LABEL_VALUE = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

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

/** The selector that finds what we made for an install. @param component of one kind only. */
export function ownSelector(install: string, component?: string): string {
  const own = `${LABELS.install}=${labelValue(install)},${LABELS.managedBy}=${LABEL_PREFIX}`;
  return component === undefined ? own : `${own},${LABELS.component}=${component}`;
}
