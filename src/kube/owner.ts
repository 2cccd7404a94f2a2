/** Who owns an object: with its last owner the API server's garbage collector removes it, whoever is still there to do so. */
import type { V1OwnerReference } from '@kubernetes/client-node';
import type { CallOptions, KubeClient } from './client';
import { KubeError } from './error';

/** What an object says of an owner. */
export type OwnerReference = V1OwnerReference;

/**
 * A ConfigMap as an owner; what it owns must be in its namespace. It is read anew each time: an object whose owner has never been, or is not any
 * more, is removed as soon as it was made. Errors: {@link KubeError}, 404 where there is no such ConfigMap.
 */
export async function configMapOwner(
  kube: KubeClient,
  namespace: string,
  name: string,
  limits: CallOptions = {},
): Promise<V1OwnerReference> {
  const { metadata } = await kube.core(
    (api, options) => api.readNamespacedConfigMap({ namespace, name }, options),
    limits,
  );
  if (metadata?.uid === undefined) throw new KubeError(0, 'Unknown', 'the API answered without a ConfigMap');
  return { apiVersion: 'v1', kind: 'ConfigMap', name, uid: metadata.uid };
}
