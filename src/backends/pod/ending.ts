/** From how a sealed link ended and what the pod's status shows to why the child is gone. Pure. */
import type { BackendExit } from '../contract';
import { exitOf } from '../exit';
import type { PodState } from './pod-state';
import type { SealedExit } from './sealed/contract';
import type { Seen } from './watch';

/** Exit codes of 128 and a signal's number, as shells and runtimes write them. */
const BY_SIGNAL: Readonly<Record<number, string>> = { 137: 'SIGKILL', 143: 'SIGTERM' };

/**
 * Whether the pod's status, of which `seen` is the last, may come to know more than came in band: only the kubelet tells of memory, eviction and deletion. A child that is asked to end by
 * SIGTERM may well exit with 0.
 */
export function needsStatus(exit: SealedExit, seen: Seen | undefined): boolean {
  if (isFinal(seen)) return false;
  if (exit.kind === 'exited') return exit.code === 0 && !isRemoved(seen);
  return exit.kind === 'container-ended' || (exit.kind === 'signaled' && ['SIGKILL', 'SIGTERM'].includes(exit.signal));
}

/** Whether the pod's status has said all that it will say. */
export function isFinal(seen: Seen | undefined): boolean {
  return seen === 'gone' || seen?.child?.terminated !== undefined || seen?.phase === 'Failed';
}

/** Decides. `seen`: the pod's last state; undefined where nothing is known of it. */
export function ending(exit: SealedExit, seen: Seen | undefined, closing: boolean): BackendExit {
  const found = inBand(exit) ?? inStatus(seen);
  if (closing) return { ...found, reason: 'closed' };
  if (isOutOfMemory(exit, seen)) return { ...found, reason: 'oom' };
  if (isRemoved(seen)) return { ...found, reason: 'deleted' };
  if (exit.kind === 'lost' || exit.kind === 'fenced' || exit.kind === 'detached') return { reason: 'lost' };
  return found ?? { reason: 'killed' };
}

function inBand(exit: SealedExit): BackendExit | undefined {
  if (exit.kind === 'exited') return exitOf(exit.code, null);
  if (exit.kind === 'signaled') return exitOf(null, exit.signal);
  return undefined;
}

/** The container ended as a whole without a word: its launcher was killed, or gave up. */
function inStatus(seen: Seen | undefined): BackendExit | undefined {
  const code = state(seen)?.child?.terminated?.code;
  if (code === undefined) return undefined;
  const signal = BY_SIGNAL[code];
  return { reason: 'killed', ...(signal === undefined ? { code } : { signal }) };
}

/** The kernel marks the container, even where only a helper of the child was killed: it counts where the child itself went by SIGKILL. */
function isOutOfMemory(exit: SealedExit, seen: Seen | undefined): boolean {
  if (state(seen)?.child?.terminated?.reason !== 'OOMKilled') return false;
  return exit.kind === 'container-ended' || (exit.kind === 'signaled' && exit.signal === 'SIGKILL');
}

/** Somebody else deleted, evicted or preempted the pod, or its node is shutting down. */
function isRemoved(seen: Seen | undefined): boolean {
  if (seen === 'gone') return true;
  const pod = state(seen);
  if (pod === undefined) return false;
  return (
    pod.deleting ||
    pod.disrupted !== undefined ||
    /^(?:Evicted|Preempting|NodeShutdown|Terminated)$/.test(pod.reason ?? '')
  );
}

function state(seen: Seen | undefined): PodState | undefined {
  return seen === 'gone' ? undefined : seen;
}
