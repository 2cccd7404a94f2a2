/** Leases of gateways that are dead: each run has one of its own, and one that was killed leaves it behind. */
import { isReplicaName } from '../peers/names';
import type { LeaseFacts } from './facts';
import type { World } from './world';

/** Milliseconds for which a gateway must have been dead: one that was only cut off for a while finds its Lease again. */
const DEAD_MS = 60_000;

/** One look at one Lease. */
export async function reconcileLease(world: World, name: string, signal: AbortSignal): Promise<number | undefined> {
  const { replicas, install } = world.options;
  const version = replicas.version(name);
  const deadFor = replicas.deadFor(name);
  // It lives, or is gone: an event tells when that changes.
  if (!isReplicaName(name) || version === undefined || deadFor === undefined) return undefined;
  if (deadFor < DEAD_MS) return DEAD_MS - deadFor;
  const lease: LeaseFacts | undefined = await world.lease(name, signal);
  if (lease === undefined || lease.resourceVersion !== version || lease.install !== install) return undefined;
  const { uid, resourceVersion } = lease;
  const isDone = await world.write(
    (limits) => world.leaseObjects.delete(name, { uid, resourceVersion }, limits),
    signal,
  );
  if (isDone) world.did('lease-removed', { lease: name });
  return undefined;
}
