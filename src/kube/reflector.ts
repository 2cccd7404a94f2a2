/**
 * One list and watch of a collection, kept for ever: bookmarks, bounded silence, jittered backoff, a list again where history is gone (410, 504), and
 * from time to time anyhow. Everybody who waits for an object waits here; nothing polls. It is a cache: it may say what is there, and whoever must know
 * that something is not there asks the API itself.
 */
import { HttpMethod } from '@kubernetes/client-node';
import type { Clock, Timer } from '../clock';
import type { Logger } from '../telemetry/log';
import type { KubeClient } from './client';
import { fromFault, KubeError } from './error';
import { jsonLines } from './json-lines';

/** Objects a page of a list. */
const PAGE = 500;
/** Seconds that the server keeps one watch open: 240 to 300, so that many gateways do not come back at once. */
const WATCH_SECONDS = 240;
const WATCH_SPREAD_SECONDS = 60;
/** Milliseconds without an event or bookmark (one comes each minute) after which the connection is given up. */
const SILENCE_MS = 65_000;
/** Milliseconds after which the next watch starts from a new list: what a lost event left behind is mended then. */
const RELIST_MS = 15 * 60_000;
/** Milliseconds for each page of a list. */
const LIST_MS = 30_000;
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 15_000;

/** What is kept of an object, besides whatever its user needs of it. */
export interface Projection {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
}

/** An object, or `gone` once it was deleted from the API. */
export type Seen<T> = T | 'gone';

export interface ReflectorOptions<T extends Projection> {
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** The collection: `/api/v1/namespaces/<namespace>/pods`, `collectionPath(...)`. */
  readonly path: string;
  /** Label selector; everything unless set. */
  readonly selector?: string;
  /** What the objects are, for the log: `pods`. */
  readonly what: string;
  /**
   * The few facts that are kept of an object; undefined for what is none. It is handed the API's own JSON, lists and events alike, and never throws.
   */
  readonly project: (value: unknown) => T | undefined;
  /** What those who wait are told when the API cannot be used, or when all stops; the fault itself unless set. */
  readonly refusal?: (fault: KubeError) => Error;
}

interface Page {
  readonly items?: readonly unknown[];
  readonly metadata?: { readonly continue?: string; readonly resourceVersion?: string };
}

export class Reflector<T extends Projection> {
  readonly #options: ReflectorOptions<T>;
  readonly #objects = new Map<string, T>();
  readonly #followers = new Set<(name: string, seen: Seen<T>) => void>();
  readonly #listeners = new Map<string, Set<(seen: Seen<T>) => void>>();
  readonly #stopped = new AbortController();
  readonly #waiting = new Set<(error?: Error) => void>();
  #running: Promise<void> | undefined;
  #version: string | undefined;
  #listedAt = 0;
  #heardAt = -Infinity;
  #synced = false;
  #fault: KubeError | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
  }

  /** Starts; harmless when it runs. */
  start(): void {
    if (!this.#stopped.signal.aborted) this.#running ??= this.#run();
  }

  /** Stops and resolves when nothing runs any more. Those who still wait are refused. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    for (const tell of [...this.#waiting]) tell(this.#refusal(new KubeError(0, 'Stopped', 'the program stops')));
    await this.#running;
  }

  /** What is known of an object. */
  get(name: string): T | undefined {
    return this.#objects.get(name);
  }

  /** All objects that are known. */
  all(): IterableIterator<T> {
    return this.#objects.values();
  }

  /** Whether everything was listed once. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** Milliseconds since the API said anything, were it that nothing changed (it does so each minute); Infinity before the first list. */
  heardAgo(): number {
    return this.#options.clock.now() - this.#heardAt;
  }

  /** Tells of an object that an answer of the API showed, so that its deletion is noticed even when no event of it was ever seen. */
  seed(value: unknown): T | undefined {
    const object = this.#options.project(value);
    if (object !== undefined) this.#see(object);
    return object;
  }

  /**
   * Calls `follower` for every change of every object, until the returned function is called; for those that did not change as well, each time all are
   * listed. It must not throw.
   */
  follow(follower: (name: string, seen: Seen<T>) => void): () => void {
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }

  /** Calls `listener` for every change of one object until the returned function is called. Register before creating it. It must not throw. */
  listen(name: string, listener: (seen: Seen<T>) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(name) === listeners) this.#listeners.delete(name);
    };
  }

  /**
   * Resolves with the first value that `decide` finds in the object's present or later states; what it throws rejects.
   * Rejects with the signal's reason, or with a refusal when the reflector stops. The caller's signal is the deadline.
   */
  until<R>(name: string, decide: (seen: Seen<T>) => R | undefined, signal: AbortSignal): Promise<R> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(asError(signal.reason));
        return;
      }
      const done = (run: () => void): void => {
        unlisten();
        this.#waiting.delete(onStop);
        signal.removeEventListener('abort', onAbort);
        run();
      };
      const look = (seen: Seen<T>): void => {
        try {
          const found = decide(seen);
          if (found !== undefined) done(() => resolve(found));
        } catch (thrown) {
          done(() => reject(asError(thrown)));
        }
      };
      const onAbort = (): void => done(() => reject(asError(signal.reason)));
      const onStop = (error?: Error): void => {
        if (error !== undefined) done(() => reject(error));
      };
      const unlisten = this.listen(name, look);
      this.#waiting.add(onStop);
      signal.addEventListener('abort', onAbort, { once: true });
      const present = this.#objects.get(name);
      if (present !== undefined) look(present);
    });
  }

  /**
   * Resolves once the first list is there. Rejects with a refusal, of the last fault, when `signal` aborts before, or when stopped.
   */
  synced(signal: AbortSignal): Promise<void> {
    this.start();
    if (this.#synced) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const tell = (error?: Error): void => {
        this.#waiting.delete(tell);
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) resolve();
        else reject(error);
      };
      const onAbort = (): void =>
        tell(
          this.#refusal(
            this.#fault ?? new KubeError(0, 'Timeout', `the ${this.#options.what} were not listed in time`),
          ),
        );
      this.#waiting.add(tell);
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    const { clock, log, what } = this.#options;
    let backoff = 0;
    let wasExpired = false;
    while (!signal.aborted) {
      try {
        if (this.#version === undefined || clock.now() - this.#listedAt > RELIST_MS) await this.#list();
        if (await this.#watch()) backoff = 0;
        else await this.#sleep(BACKOFF_MIN_MS); // A proxy that ends every watch at once must not make us spin.
      } catch (thrown) {
        if (signal.aborted) return;
        this.#fault = fromFault(thrown);
        const isExpired = this.#fault.status === 410 || this.#fault.status === 504;
        if (isExpired) this.#version = undefined;
        // After an outage the API answers again, and has forgotten where the watch stood: that is no reason to wait once more.
        if (isExpired && !wasExpired) backoff = 0;
        wasExpired = isExpired;
        backoff = Math.min(BACKOFF_MAX_MS, Math.max(BACKOFF_MIN_MS, backoff * 2));
        log.warn(`${what}.watch-failed`, { reason: this.#fault.summary, retryMs: backoff });
        await this.#sleep(backoff * (0.5 + Math.random() / 2));
      }
    }
  }

  /** Lists everything and finds what changed and what is gone. */
  async #list(): Promise<void> {
    const { kube, clock, path, project } = this.#options;
    const found = new Map<string, T>();
    let next = '';
    let version: string | undefined;
    do {
      const query = { ...this.#selected, limit: String(PAGE), ...(next === '' ? {} : { continue: next }) };
      const page = await kube.json<Page>(
        { method: HttpMethod.GET, path, query },
        { signal: this.#stopped.signal, timeout: LIST_MS },
      );
      for (const item of page.items ?? []) {
        const object = project(item);
        if (object !== undefined) found.set(object.name, object);
      }
      next = page.metadata?.continue ?? '';
      version = page.metadata?.resourceVersion;
    } while (next !== '');
    for (const object of found.values()) this.#see(object);
    for (const { name, resourceVersion } of [...this.#objects.values()]) {
      // What was made after the list is not missing from it.
      if (!found.has(name) && !newer(resourceVersion, version)) this.#lose(name);
    }
    this.#version = version;
    this.#listedAt = this.#heardAt = clock.now();
    this.#synced = true;
    this.#fault = undefined;
    for (const tell of [...this.#waiting]) tell();
  }

  /** Follows one watch to its end. Resolves with whether it brought anything. Throws KubeError, 410 among them. */
  async #watch(): Promise<boolean> {
    const { kube, clock, path } = this.#options;
    const silence = new AbortController();
    const body = await kube.stream(
      path,
      {
        ...this.#selected,
        watch: 'true',
        allowWatchBookmarks: 'true',
        resourceVersion: this.#version ?? '',
        timeoutSeconds: String(Math.floor(WATCH_SECONDS + Math.random() * WATCH_SPREAD_SECONDS)),
      },
      { signal: AbortSignal.any([this.#stopped.signal, silence.signal]) },
    );
    this.#heardAt = clock.now();
    let timer: Timer = clock.after(SILENCE_MS, () => silence.abort());
    let heard = false;
    try {
      for await (const event of jsonLines(body)) {
        timer.cancel();
        timer = clock.after(SILENCE_MS, () => silence.abort());
        this.#event(event);
        this.#heardAt = clock.now();
        heard = true;
      }
    } catch (thrown) {
      // Silence is no fault: the watch goes on from where it was.
      if (!silence.signal.aborted) throw thrown;
    } finally {
      timer.cancel();
      body.destroy();
    }
    return heard;
  }

  #event(value: unknown): void {
    const { type, object } = (value ?? {}) as { type?: unknown; object?: unknown };
    if (type === 'ERROR') {
      const { code, reason } = (object ?? {}) as { code?: unknown; reason?: unknown };
      // Whatever the server complains of, a list is the way back (client-go's reflector does the same).
      this.#version = undefined;
      throw new KubeError(
        typeof code === 'number' ? code : 0,
        typeof reason === 'string' ? reason : 'WatchError',
        'the watch ended with an error event',
      );
    }
    const version = (object as { metadata?: { resourceVersion?: unknown } } | undefined)?.metadata?.resourceVersion;
    const seen = type === 'BOOKMARK' ? undefined : this.#options.project(object);
    if (seen !== undefined && type === 'DELETED') {
      // The end of a former object says nothing of a later one of its name.
      if (!newer(this.#objects.get(seen.name)?.resourceVersion, seen.resourceVersion)) this.#lose(seen.name);
    } else if (seen !== undefined) this.#see(seen);
    if (typeof version === 'string') this.#version = version;
  }

  #see(object: T): void {
    if (newer(this.#objects.get(object.name)?.resourceVersion, object.resourceVersion)) return;
    this.#objects.set(object.name, object);
    this.#tell(object.name, object);
  }

  #lose(name: string): void {
    if (this.#objects.delete(name)) this.#tell(name, 'gone');
  }

  #tell(name: string, seen: Seen<T>): void {
    for (const follower of [...this.#followers]) follower(name, seen);
    for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(seen);
  }

  get #selected(): { readonly labelSelector?: string } {
    const { selector = '' } = this.#options;
    return selector === '' ? {} : { labelSelector: selector };
  }

  #refusal(fault: KubeError): Error {
    return this.#options.refusal?.(fault) ?? fault;
  }

  #sleep(ms: number): Promise<void> {
    const { signal } = this.#stopped;
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = this.#options.clock.after(ms, done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

/** Whether resource version `a` is later than `b`; false where they cannot be compared (KEP-5504 makes them decimal numbers). */
function newer(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined || !/^\d+$/.test(a) || !/^\d+$/.test(b)) return false;
  return BigInt(a) > BigInt(b);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error('aborted');
}
