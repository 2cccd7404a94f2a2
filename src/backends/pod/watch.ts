/**
 * One list and watch of all pods of an install, kept for ever: bookmarks, bounded silence, jittered backoff, and a list again where history is
 * gone (410, 504). Everybody who waits for a pod waits here; nothing polls.
 */
import type { Clock, Timer } from '../../clock';
import type { AppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import type { KubeClient } from '../../kube/client';
import { fromFault, KubeError } from '../../kube/error';
import { jsonLines } from './json-lines';
import { type PodState, podState } from './pod-state';
import { unavailable } from './refusal';

/** Pods a page of a list. */
const PAGE = 500;
/** Seconds that the server keeps one watch open: 240 to 300, so that many gateways do not come back at once. */
const WATCH_SECONDS = 240;
const WATCH_SPREAD_SECONDS = 60;
/** Milliseconds without an event or bookmark (one comes each minute) after which the connection is given up. */
const SILENCE_MS = 65_000;
/** Milliseconds after which the next watch starts from a new list: what a lost event left behind is mended then. */
const RELIST_MS = 15 * 60_000;
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 15_000;

/** A pod's state, or `gone` once it was deleted from the API. */
export type Seen = PodState | 'gone';

export interface PodWatchOptions {
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly namespace: string;
  /** Label selector. */
  readonly selector: string;
}

export class PodWatch {
  readonly #options: PodWatchOptions;
  readonly #pods = new Map<string, PodState>();
  readonly #listeners = new Map<string, Set<(seen: Seen) => void>>();
  readonly #stopped = new AbortController();
  /** Called for every pod that was seen, whoever waits for it. */
  onPod: (seen: PodState) => void = () => undefined;
  #running: Promise<void> | undefined;
  #version: string | undefined;
  #listedAt = 0;
  #synced = false;
  #fault: KubeError | undefined;
  #waiting = new Set<(error?: AppError) => void>();

  constructor(options: PodWatchOptions) {
    this.#options = options;
  }

  /** Starts; harmless when it runs. */
  start(): void {
    if (!this.#stopped.signal.aborted) this.#running ??= this.#run();
  }

  /** Stops and resolves when nothing runs any more. Those who still wait are told `BACKEND_UNAVAILABLE`. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    for (const tell of [...this.#waiting]) tell(unavailable(new KubeError(0, 'Stopped', 'the gateway stops')));
    await this.#running;
  }

  /** What is known of a pod. */
  get(name: string): PodState | undefined {
    return this.#pods.get(name);
  }

  /** All pods that are known. */
  all(): IterableIterator<PodState> {
    return this.#pods.values();
  }

  /** Tells a pod that an answer of the API showed, so that its deletion is noticed even when no event of it was ever seen. */
  seed(value: unknown): PodState | undefined {
    const state = podState(value);
    if (state !== undefined) this.#see(state);
    return state;
  }

  /** Calls `listener` for every change of one pod until the returned function is called. Register before creating the pod. */
  listen(name: string, listener: (seen: Seen) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(name) === listeners) this.#listeners.delete(name);
    };
  }

  /**
   * Resolves with the first value that `decide` finds in the pod's present or later states; what it throws rejects.
   * Rejects with the signal's reason, or with `BACKEND_UNAVAILABLE` when the watch stops. The caller's signal is the deadline.
   */
  until<T>(name: string, decide: (seen: Seen) => T | undefined, signal: AbortSignal): Promise<T> {
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
      const look = (seen: Seen): void => {
        try {
          const found = decide(seen);
          if (found !== undefined) done(() => resolve(found));
        } catch (thrown) {
          done(() => reject(asError(thrown)));
        }
      };
      const onAbort = (): void => done(() => reject(asError(signal.reason)));
      const onStop = (error?: AppError): void => {
        if (error !== undefined) done(() => reject(error));
      };
      const unlisten = this.listen(name, look);
      this.#waiting.add(onStop);
      signal.addEventListener('abort', onAbort, { once: true });
      const present = this.#pods.get(name);
      if (present !== undefined) look(present);
    });
  }

  /**
   * Resolves once the first list is there. Rejects with `BACKEND_UNAVAILABLE` and the last fault when `signal` aborts before, or when stopped.
   */
  synced(signal: AbortSignal): Promise<void> {
    this.start();
    if (this.#synced) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const tell = (error?: AppError): void => {
        this.#waiting.delete(tell);
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) resolve();
        else reject(error);
      };
      const onAbort = (): void =>
        tell(unavailable(this.#fault ?? new KubeError(0, 'Timeout', 'the pods were not listed in time')));
      this.#waiting.add(tell);
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    const { clock, log } = this.#options;
    let backoff = 0;
    while (!signal.aborted) {
      try {
        if (this.#version === undefined || clock.now() - this.#listedAt > RELIST_MS) await this.#list();
        if (await this.#watch()) backoff = 0;
        else await this.#sleep(BACKOFF_MIN_MS); // A proxy that ends every watch at once must not make us spin.
      } catch (thrown) {
        if (signal.aborted) return;
        this.#fault = fromFault(thrown);
        if (this.#fault.status === 410 || this.#fault.status === 504) this.#version = undefined;
        backoff = Math.min(BACKOFF_MAX_MS, Math.max(BACKOFF_MIN_MS, backoff * 2));
        log.warn('pods.watch-failed', { reason: this.#fault.summary, retryMs: backoff });
        await this.#sleep(backoff * (0.5 + Math.random() / 2));
      }
    }
  }

  /** Lists all pods and finds what changed and what is gone. */
  async #list(): Promise<void> {
    const { kube, clock, namespace, selector } = this.#options;
    const found = new Map<string, PodState>();
    let next: string | undefined;
    let version: string | undefined;
    do {
      const page = await kube.core(
        (api, options) =>
          api.listNamespacedPod(
            { namespace, labelSelector: selector, limit: PAGE, ...(next === undefined ? {} : { _continue: next }) },
            options,
          ),
        { signal: this.#stopped.signal, timeout: 30_000 },
      );
      for (const item of page.items) {
        const state = podState(item);
        if (state !== undefined) found.set(state.name, state);
      }
      next = page.metadata?._continue === '' ? undefined : page.metadata?._continue;
      version = page.metadata?.resourceVersion;
    } while (next !== undefined);
    for (const state of found.values()) this.#see(state);
    for (const state of [...this.#pods.values()]) {
      // A pod that was made after the list is not missing from it.
      if (!found.has(state.name) && !newer(state.resourceVersion, version)) this.#lose(state.name);
    }
    this.#version = version;
    this.#listedAt = clock.now();
    this.#synced = true;
    this.#fault = undefined;
    for (const tell of [...this.#waiting]) tell();
  }

  /** Follows one watch to its end. Resolves with whether it brought anything. Throws KubeError, 410 among them. */
  async #watch(): Promise<boolean> {
    const { kube, clock, namespace, selector } = this.#options;
    const silence = new AbortController();
    const body = await kube.stream(
      `/api/v1/namespaces/${namespace}/pods`,
      {
        watch: 'true',
        allowWatchBookmarks: 'true',
        labelSelector: selector,
        resourceVersion: this.#version ?? '',
        timeoutSeconds: String(Math.floor(WATCH_SECONDS + Math.random() * WATCH_SPREAD_SECONDS)),
      },
      { signal: AbortSignal.any([this.#stopped.signal, silence.signal]) },
    );
    let timer: Timer = clock.after(SILENCE_MS, () => silence.abort());
    let heard = false;
    try {
      for await (const event of jsonLines(body)) {
        timer.cancel();
        timer = clock.after(SILENCE_MS, () => silence.abort());
        this.#event(event);
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
    const state = type === 'BOOKMARK' ? undefined : podState(object);
    if (state !== undefined && type === 'DELETED') this.#lose(state.name);
    else if (state !== undefined) this.#see(state);
    if (typeof version === 'string') this.#version = version;
  }

  #see(state: PodState): void {
    const known = this.#pods.get(state.name);
    if (known?.uid === state.uid && newer(known.resourceVersion, state.resourceVersion)) return;
    this.#pods.set(state.name, state);
    this.onPod(state);
    this.#tell(state.name, state);
  }

  #lose(name: string): void {
    if (!this.#pods.delete(name)) return;
    this.#tell(name, 'gone');
  }

  #tell(name: string, seen: Seen): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(seen);
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
function newer(a: string, b: string | undefined): boolean {
  if (b === undefined || !/^\d+$/.test(a) || !/^\d+$/.test(b)) return false;
  return BigInt(a) > BigInt(b);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error('aborted');
}
