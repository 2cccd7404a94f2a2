/**
 * Session records as MCPSession objects, shared by every gateway of an install. One write records all that happened at once; every write replaces the
 * version that it has seen, and every read is live (Kubernetes API concepts, 'Resource versions'). What is old the operator removes.
 */
import type { Clock } from '../../clock';
import type { KubeClient } from '../../kube/client';
import { fromFault } from '../../kube/error';
import { configMapOwner } from '../../kube/owner';
import { KubeObjects } from '../../kube/objects';
import { MCP_SESSIONS } from '../../resources/group';
import type { MCPSession } from '../../resources/session';
import type { EndReason, SessionChange, SessionRecord, SessionStore } from '../../sessions/ports';
import type { Logger } from '../../telemetry/log';
import { storeUnavailable } from '../unavailable';
import { changed, ended, recordOf, sessionObject } from './session-object';
import { KubernetesSessionView } from './session-view';

export interface KubernetesSessionStoreOptions {
  /** Stays the caller's. */
  readonly kube: KubeClient;
  /** The sessions' namespace. */
  readonly namespace: string;
  /** Names the install; a label's value. */
  readonly install: string;
  /** Names this run of this gateway, never used again: what is recorded as the holder of its sessions. */
  readonly holder: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** A ConfigMap of the namespace that owns every record: whoever deletes it removes them. Nobody does unless set. */
  readonly owner?: string;
}

/** Tries of a write that somebody was in the way of. */
const TRIES = 8;
/** Objects that are remembered as they were written last, so that the next write need not read them. */
const REMEMBERED_MAX = 10_000;

/** Opens the store. It makes no call, unless {@link SessionStore.view} is asked for; {@link SessionStore.check} tells whether the objects can be read. */
export function openKubernetesSessionStore(options: KubernetesSessionStoreOptions): SessionStore {
  return new KubernetesSessionStore(options);
}

class KubernetesSessionStore implements SessionStore {
  readonly #options: KubernetesSessionStoreOptions;
  readonly #objects: KubeObjects<MCPSession>;
  /** This process's own, as it wrote them last. */
  readonly #written = new Map<string, MCPSession>();
  /** The last write of each that is under way: this process's own writes are not in each other's way. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly view: KubernetesSessionView;
  #isClosed = false;

  constructor(options: KubernetesSessionStoreOptions) {
    this.#options = options;
    this.#objects = new KubeObjects(options.kube, MCP_SESSIONS, options.namespace);
    this.view = new KubernetesSessionView({
      ...options,
      path: this.#objects.path,
      end: (name, reason, at) => this.#endAny(name, reason, at),
      list: (selector) => this.#call(() => this.#objects.list(selector)),
    });
  }

  async insert(record: SessionRecord): Promise<SessionRecord> {
    const { kube, namespace, install, holder, owner } = this.#options;
    const made = await this.#call(async () => {
      const owners = owner === undefined ? [] : [await configMapOwner(kube, namespace, owner)];
      return this.#objects.create(sessionObject({ ...record, holder }, install, owners));
    });
    return recordOf(this.#keep(made));
  }

  async update(name: string, change: SessionChange): Promise<boolean> {
    return (
      (await this.#write(name, (object) =>
        this.#isOurs(object) ? changed(object, change, this.#options.clock.wall()) : undefined,
      )) !== undefined
    );
  }

  async end(name: string, reason: EndReason, at: number): Promise<void> {
    await this.#write(name, (object) => (this.#isOurs(object) ? ended(object, reason, at) : undefined));
    this.#written.delete(name);
  }

  async claim(name: string, generation: number): Promise<SessionRecord | undefined> {
    this.#written.delete(name);
    const claimed = await this.#write(name, (object) => {
      if (object.status.state === 'Ended' || object.status.epoch !== generation) return undefined;
      const status = { ...object.status, epoch: generation + 1, holder: this.#options.holder };
      return { ...object, status };
    });
    return claimed === undefined ? undefined : recordOf(claimed);
  }

  async get(name: string): Promise<SessionRecord | undefined> {
    const object = await this.#read(name);
    return object === undefined ? undefined : recordOf(object);
  }

  async check(): Promise<void> {
    await this.#call(() => this.#objects.check());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.view.stop();
  }

  /** The epoch goes up with it: whoever holds it is refused whatever it writes from then on. */
  async #endAny(name: string, reason: EndReason, at: number): Promise<MCPSession | undefined> {
    const written = await this.#write(name, (object) => {
      if (object.status.state === 'Ended') return undefined;
      const { status } = object;
      return ended({ ...object, status: { ...status, epoch: status.epoch + 1 } }, reason, at);
    });
    this.#written.delete(name);
    return written;
  }

  /** Whether this process may change it. */
  #isOurs({ status }: MCPSession): boolean {
    return status.state !== 'Ended' && status.holder === this.#options.holder;
  }

  /** Reads, changes and replaces, again where somebody was quicker. Undefined where there is no such object, or `change` says so. */
  async #write(name: string, change: (object: MCPSession) => MCPSession | undefined): Promise<MCPSession | undefined> {
    const before = this.#turns.get(name) ?? Promise.resolve();
    const turn = before.catch(() => undefined).then(() => this.#replace(name, change));
    this.#turns.set(name, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(name) === turn) this.#turns.delete(name);
    }
  }

  async #replace(
    name: string,
    change: (object: MCPSession) => MCPSession | undefined,
  ): Promise<MCPSession | undefined> {
    let object = this.#written.get(name) ?? (await this.#read(name));
    for (let tries = 1; ; tries += 1) {
      const next = object === undefined ? undefined : change(object);
      if (next === undefined) {
        if (!this.#written.delete(name)) return undefined;
        object = await this.#read(name); // what was remembered says so, which need not be how it stands
        continue;
      }
      const written = await this.#call(() => this.#objects.replace(next), [404, 409]);
      if (written !== undefined) return this.#keep(written);
      if (tries === TRIES) throw storeUnavailable(`the session ${name} is written by others all the time`);
      this.#written.delete(name);
      object = await this.#read(name);
    }
  }

  #keep(object: MCPSession): MCPSession {
    const { name } = object.metadata;
    this.#written.delete(name);
    this.#written.set(name, object);
    const [oldest] = this.#written.keys();
    if (this.#written.size > REMEMBERED_MAX && oldest !== undefined) this.#written.delete(oldest);
    return object;
  }

  #read(name: string): Promise<MCPSession | undefined> {
    return this.#call(() => this.#objects.get(name), [404]);
  }

  /** Undefined where the call was answered with one of these statuses. Rejects with `STORE_UNAVAILABLE`. */
  #call<T>(run: () => Promise<T>): Promise<T>;
  #call<T>(run: () => Promise<T>, statuses: readonly number[]): Promise<T | undefined>;
  async #call<T>(run: () => Promise<T>, statuses: readonly number[] = []): Promise<T | undefined> {
    if (this.#isClosed) throw storeUnavailable('the store is closed');
    try {
      return await run();
    } catch (thrown) {
      const error = fromFault(thrown);
      if (statuses.includes(error.status)) return undefined;
      throw storeUnavailable(error.summary, undefined, error);
    }
  }
}
