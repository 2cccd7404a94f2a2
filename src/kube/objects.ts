/** Typed access to the objects of one custom resource in one namespace. */
import { HttpMethod } from '@kubernetes/client-node';
import type { CallOptions, KubeClient } from './client';

/** Objects a page of a list. */
const PAGE = 500;

/** Which kind of objects. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
}

/** Kubernetes' ObjectMeta as it comes over the wire: times are RFC 3339 text. What the server sets is absent from objects that are to be created. */
export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  /** Counts the changes of `spec` (of everything but metadata where there is no status subresource). */
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** What all objects have. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
}

/** An operation of a JSON Patch (RFC 6902). */
export type PatchOperation =
  | { readonly op: 'add' | 'replace' | 'test'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

/** What must be so for a deletion; otherwise it is refused with 409. */
export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** `/apis/<group>/<version>/namespaces/<namespace>/<plural>`: what lists and watches ask for. */
export function collectionPath({ group, version, plural }: Resource, namespace: string): string {
  return `/apis/${group}/${version}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
}

/**
 * The calls. All reads are live (no `resourceVersion` is named, so the API server answers with what is committed), all reject with {@link KubeError}:
 * 404 where there is no such object, 409 `AlreadyExists` or `Conflict`, 422 `Invalid` where the schema or a validation refuses.
 */
export class KubeObjects<T extends KubeObject> {
  readonly #kube: KubeClient;
  readonly #path: string;

  constructor(kube: KubeClient, resource: Resource, namespace: string) {
    this.#kube = kube;
    this.#path = collectionPath(resource, namespace);
  }

  /** Where lists and watches of the same objects ask: for a `Reflector`. */
  get path(): string {
    return this.#path;
  }

  get(name: string, limits?: CallOptions): Promise<T> {
    return this.#kube.json<T>({ method: HttpMethod.GET, path: this.#at(name) }, limits);
  }

  /** Rejects unless such objects can be listed now. */
  async check(limits?: CallOptions): Promise<void> {
    await this.#kube.json({ method: HttpMethod.GET, path: this.#path, query: { limit: '1' } }, limits);
  }

  /** Every object that the label selector finds, all pages of one moment. `limits.timeout` is for each page. */
  async list(selector = '', limits?: CallOptions): Promise<readonly T[]> {
    const found: T[] = [];
    let next = '';
    do {
      const query = {
        limit: String(PAGE),
        ...(selector === '' ? {} : { labelSelector: selector }),
        ...(next === '' ? {} : { continue: next }),
      };
      const page = await this.#kube.json<{ items: readonly T[]; metadata: { continue?: string } }>(
        { method: HttpMethod.GET, path: this.#path, query },
        limits,
      );
      for (const item of page.items) found.push(item);
      next = page.metadata.continue ?? '';
    } while (next !== '');
    return found;
  }

  /** Resolves with the object as it was stored, defaults included. */
  create(object: T, limits?: CallOptions): Promise<T> {
    return this.#kube.json<T>({ method: HttpMethod.POST, path: this.#path, body: object }, limits);
  }

  /** Replaces the whole object. With `metadata.resourceVersion` it is a compare-and-set: 409 `Conflict` where the object has changed since. */
  replace(object: T, limits?: CallOptions): Promise<T> {
    const { name } = object.metadata;
    return this.#kube.json<T>({ method: HttpMethod.PUT, path: this.#at(name), body: object }, limits);
  }

  /**
   * A JSON Patch (RFC 6902), all of it or nothing. A `test` that does not hold is answered 422 `Invalid`, as is a result that the schema refuses: who must
   * know which it was reads the object again.
   */
  patch(name: string, operations: readonly PatchOperation[], limits?: CallOptions): Promise<T> {
    const call = { method: HttpMethod.PATCH, path: this.#at(name), body: operations };
    return this.#kube.json<T>({ ...call, contentType: 'application/json-patch+json' }, limits);
  }

  /**
   * A merge patch (RFC 7396) of the status subresource: nothing else of the object can change by it. Lists are replaced whole. With
   * `resourceVersion` it is a compare-and-set.
   */
  patchStatus(name: string, status: object, resourceVersion?: string, limits?: CallOptions): Promise<T> {
    const body = { ...(resourceVersion === undefined ? {} : { metadata: { resourceVersion } }), status };
    const call = { method: HttpMethod.PATCH, path: `${this.#at(name)}/status`, body };
    return this.#kube.json<T>({ ...call, contentType: 'application/merge-patch+json' }, limits);
  }

  /** Asks for the object's deletion; what it owns goes in the background. */
  async delete(name: string, preconditions: Preconditions = {}, limits?: CallOptions): Promise<void> {
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background', preconditions };
    await this.#kube.json({ method: HttpMethod.DELETE, path: this.#at(name), body }, limits);
  }

  #at(name: string): string {
    return `${this.#path}/${encodeURIComponent(name)}`;
  }
}
