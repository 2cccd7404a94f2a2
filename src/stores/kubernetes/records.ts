/**
 * Records as Secrets in a namespace of their own, shared by every gateway of an install. What is in them is sealed before it comes here; etcd's own
 * encryption is one more layer and not relied on. Reads go to the API server without a resource version, which means a quorum read
 * (Kubernetes API concepts, 'Resource versions'), and writes carry the version that they replace.
 */
import type { V1Secret } from '@kubernetes/client-node';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { KubeClient } from '../../kube/client';
import { fromFault, KubeError } from '../../kube/error';
import { LABEL_PREFIX, LABELS } from '../../kube/labels';
import type { RecordData, RecordKey, RecordStore, StoredRecord } from '../contract';
import { storeUnavailable } from '../unavailable';

export interface KubernetesRecordStoreOptions {
  /** Stays the caller's. */
  readonly kube: KubeClient;
  readonly namespace: string;
  /** Names the install: records of another one in the same namespace are not seen. A label's value. */
  readonly install: string;
  readonly clock: Pick<Clock, 'wall'>;
}

const TYPE = `${LABEL_PREFIX}/record`;
const KIND = `${LABEL_PREFIX}/record-kind`;
const TAG = `tag.${LABEL_PREFIX}/`;
/** Wall-clock milliseconds; an annotation, since nothing selects by it. */
const EXPIRES = `${LABEL_PREFIX}/expires-at`;
/** Objects in one page of a list. */
const PAGE = 250;
/** Tries of a write that somebody was in the way of. */
const TRIES = 5;

/** Opens the store. It makes no call; {@link RecordStore.check} tells whether the namespace can be used. */
export function openKubernetesRecordStore(options: KubernetesRecordStoreOptions): RecordStore {
  return new KubernetesRecordStore(options);
}

class KubernetesRecordStore implements RecordStore {
  readonly #options: KubernetesRecordStoreOptions;

  constructor(options: KubernetesRecordStoreOptions) {
    this.#options = options;
  }

  async get(key: RecordKey): Promise<StoredRecord | undefined> {
    const secret = await this.#read(key);
    return secret === undefined || this.#expired(secret) ? undefined : recordOf(secret);
  }

  async create(key: RecordKey, data: RecordData): Promise<string | undefined> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const made = await this.#unless([409], this.#createSecret(key, data));
      if (made !== undefined) return versionOf(made);
      const there = await this.#read(key);
      if (there === undefined) continue; // it went away in between
      if (!this.#expired(there)) return undefined;
      await this.#remove(there);
    }
    throw contended();
  }

  async replace(key: RecordKey, data: RecordData, version: string): Promise<string | undefined> {
    const { resourceVersion, expiresAt } = parseVersion(version);
    if (expiresAt !== undefined && expiresAt <= this.#options.clock.wall()) return undefined;
    const { kube, namespace } = this.#options;
    const body = this.#secret(key, data, resourceVersion);
    const name = nameOf(key);
    const written = await this.#unless(
      [404, 409],
      kube.core((api, options) => api.replaceNamespacedSecret({ namespace, name, body }, options)),
    );
    return written === undefined ? undefined : versionOf(written);
  }

  async delete(key: RecordKey, version?: string): Promise<boolean> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const secret = await this.#read(key);
      if (secret === undefined || this.#expired(secret)) return false;
      if (version !== undefined && versionOf(secret) !== version) return false;
      if (await this.#remove(secret)) return true;
      if (version !== undefined) return false;
    }
    throw contended();
  }

  async find(kind: string, tag?: { readonly name: string; readonly value: string }): Promise<readonly StoredRecord[]> {
    const found: StoredRecord[] = [];
    const tagged = tag === undefined ? '' : `,${TAG}${tag.name}=${tag.value}`;
    for await (const secret of this.#list(`${KIND}=${kind}${tagged}`)) {
      if (!this.#expired(secret)) found.push(recordOf(secret));
    }
    return found;
  }

  async sweep(limit: number): Promise<number> {
    let swept = 0;
    if (limit <= 0) return 0;
    for await (const secret of this.#list(KIND)) {
      if (!this.#expired(secret)) continue;
      if (await this.#remove(secret)) swept += 1;
      if (swept === limit) break;
    }
    return swept;
  }

  async check(): Promise<void> {
    const { kube, namespace } = this.#options;
    const query = { namespace, limit: 1, ...this.#selector(KIND) };
    await this.#unless(
      [],
      kube.core((api, options) => api.listNamespacedSecret(query, options)),
    );
  }

  async close(): Promise<void> {
    // The client is the caller's.
  }

  #createSecret(key: RecordKey, data: RecordData): Promise<V1Secret> {
    const { kube, namespace } = this.#options;
    const body = this.#secret(key, data);
    return kube.core((api, options) => api.createNamespacedSecret({ namespace, body }, options));
  }

  async #read(key: RecordKey): Promise<V1Secret | undefined> {
    const { kube, namespace, install } = this.#options;
    const name = nameOf(key);
    const secret = await this.#unless(
      [404],
      kube.core((api, options) => api.readNamespacedSecret({ namespace, name }, options)),
    );
    if (secret !== undefined && (secret.type !== TYPE || secret.metadata?.labels?.[LABELS.install] !== install)) {
      throw new AppError('STORE_UNAVAILABLE', 'The gateway cannot read its own records. Tell your administrator.', {
        detail: `secret ${namespace}/${name} is not one of this install's records`,
      });
    }
    return secret;
  }

  /** Deletes exactly the object that was read. Resolves with whether it was still there and unchanged. */
  async #remove({ metadata = {} }: V1Secret): Promise<boolean> {
    const { kube, namespace } = this.#options;
    const { name = '', uid, resourceVersion } = metadata;
    const body = {
      preconditions: {
        ...(uid === undefined ? {} : { uid }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
      },
    };
    const gone = await this.#unless(
      [404, 409],
      kube.core((api, options) => api.deleteNamespacedSecret({ namespace, name, body }, options)),
    );
    return gone !== undefined;
  }

  /** All objects that a selector finds, page by page. */
  async *#list(labelSelector: string): AsyncGenerator<V1Secret> {
    const { kube, namespace } = this.#options;
    const query = { namespace, limit: PAGE, ...this.#selector(labelSelector) };
    let next: string | undefined;
    do {
      const at = next === undefined ? query : { ...query, _continue: next };
      const page = await this.#unless(
        [],
        kube.core((api, options) => api.listNamespacedSecret(at, options)),
      );
      yield* page?.items ?? [];
      next = page?.metadata?._continue;
    } while (next !== undefined && next !== '');
  }

  #selector(more: string): { labelSelector: string; fieldSelector: string } {
    const own = `${LABELS.install}=${this.#options.install},${LABELS.managedBy}=${LABEL_PREFIX}`;
    return { labelSelector: `${own},${more}`, fieldSelector: `type=${TYPE}` };
  }

  #secret(key: RecordKey, { value, expiresAt, tags = {} }: RecordData, resourceVersion?: string): V1Secret {
    const labels: Record<string, string> = {
      [LABELS.install]: this.#options.install,
      [LABELS.managedBy]: LABEL_PREFIX,
      [KIND]: key.kind,
    };
    for (const [name, digest] of Object.entries(tags)) labels[TAG + name] = digest;
    return {
      metadata: {
        name: nameOf(key),
        labels,
        ...(expiresAt === undefined ? {} : { annotations: { [EXPIRES]: String(expiresAt) } }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
      },
      type: TYPE,
      data: { value: value.toString('base64') },
    };
  }

  #expired(secret: V1Secret): boolean {
    const expiresAt = expiryOf(secret);
    return expiresAt !== undefined && expiresAt <= this.#options.clock.wall();
  }

  /** The call's result; undefined where it was answered with one of these statuses. Every other fault becomes `STORE_UNAVAILABLE`. */
  async #unless<T>(statuses: readonly number[], call: Promise<T>): Promise<T | undefined> {
    try {
      return await call;
    } catch (thrown) {
      const error = fromFault(thrown);
      if (statuses.includes(error.status)) return undefined;
      throw unavailable(error);
    }
  }
}

function nameOf({ kind, name }: RecordKey): string {
  return `${kind}-${name}`;
}

function expiryOf({ metadata }: V1Secret): number | undefined {
  const text = metadata?.annotations?.[EXPIRES];
  return text === undefined ? undefined : Number(text);
}

/** The object's resource version, and its expiry, so that a replacement need not read the object again to know that it has expired. */
function versionOf(secret: V1Secret): string {
  return `${secret.metadata?.resourceVersion ?? ''}/${String(expiryOf(secret) ?? '')}`;
}

function parseVersion(version: string): { resourceVersion: string; expiresAt: number | undefined } {
  const [resourceVersion = '', expiresAt = ''] = version.split('/');
  return { resourceVersion, expiresAt: expiresAt === '' ? undefined : Number(expiresAt) };
}

function recordOf(secret: V1Secret): StoredRecord {
  const labels = secret.metadata?.labels ?? {};
  const kind = labels[KIND] ?? '';
  const tags = Object.entries(labels).filter(([name]) => name.startsWith(TAG));
  const expiresAt = expiryOf(secret);
  return {
    key: { kind, name: (secret.metadata?.name ?? '').slice(kind.length + 1) },
    value: Buffer.from(secret.data?.['value'] ?? '', 'base64'),
    version: versionOf(secret),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(tags.length === 0
      ? {}
      : { tags: Object.fromEntries(tags.map(([name, value]) => [name.slice(TAG.length), value])) }),
  };
}

function unavailable(error: KubeError): AppError {
  return storeUnavailable(error.summary, error.retryAfter, error);
}

/** Somebody was in the way of every try, which is no state that lasts. */
function contended(): AppError {
  return unavailable(new KubeError(409, 'Conflict', 'the record changed under every try'));
}
