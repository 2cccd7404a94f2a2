/** The keys of the links to pods, made of the install's keys, so that every gateway of the install can make them and none keeps them. */
import { hkdfSync } from 'node:crypto';

/** A key of the install that was made for this purpose, and its name. */
export interface InstallKey {
  readonly id: string;
  readonly secret: Buffer;
}

/** A pod as its key names it: the UID is its alone, and the name is there because no two places are to agree by chance. */
export interface KeyedPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** Part of the derivation, so it must never change. */
const DOMAIN = 'forgejo-mcp-operator pod link v1';
const KEY_BYTES = 32;

export class LinkKeys {
  readonly #keys: ReadonlyMap<string, Buffer>;
  /** The name of the key that new pods' keys are made of. */
  readonly current: string;

  /**
   * @param keys the first one makes keys for new pods, the others those of pods that are there.
   * @throws RangeError where there is none.
   */
  constructor(keys: readonly InstallKey[]) {
    const [first] = keys;
    if (first === undefined) throw new RangeError('link keys are made of at least one key');
    this.current = first.id;
    this.#keys = new Map(keys.map(({ id, secret }) => [id, secret]));
  }

  /** The key of a pod's link (HKDF, RFC 5869); undefined where the key of that name is not known here. */
  of(id: string, { namespace, name, uid }: KeyedPod): Buffer | undefined {
    const secret = this.#keys.get(id);
    if (secret === undefined) return undefined;
    const info = [DOMAIN, namespace, name, uid].join('\0'); // no part can hold a NUL
    return Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), info, KEY_BYTES));
  }
}
