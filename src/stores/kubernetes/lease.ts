/** A turn that is a Lease; its rules are in `kube/lease.ts`. */
import { fromFault } from '../../kube/error';
import { Lease, type LeaseOptions } from '../../kube/lease';
import type { Turn } from '../contract';
import { storeUnavailable } from '../unavailable';

/** A turn that is the Lease of that name, which is made when it is not there; its duration is longer than two intervals of {@link Turn.take}. */
export function leaseTurn(options: LeaseOptions): Turn {
  const lease = new Lease(options);
  const attempt = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (thrown) {
      throw storeUnavailable(fromFault(thrown).summary);
    }
  };
  return { take: () => attempt(lease.take()), release: () => attempt(lease.release()) };
}
