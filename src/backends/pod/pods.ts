/** The pods that this run made: created once, removed for certain. Whatever of ours the watch shows that nobody owns is removed as well. */
import { HttpMethod, type V1OwnerReference, type V1Pod } from '@kubernetes/client-node';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import { Slots } from '../slots';
import type { KubeClient } from '../../kube/client';
import { fromFault, KubeError } from '../../kube/error';
import type { PatchOperation } from '../../kube/objects';
import { configMapOwner } from '../../kube/owner';
import { labelValue, ownSelector } from '../../kube/labels';
import { type PodState, podState } from './pod-state';
import { createError, unavailable } from './refusal';
import { WARM } from './warm';
import type { PodWatch } from './watch';

/** Milliseconds for one create: admission webhooks may take their 10 s. */
const CREATE_MS = 20_000;
/** Milliseconds for taking a pod: it saves less than that where all is slow. */
const TAKE_MS = 5_000;
/** Seconds that the kubelet gives what is left in a pod that is removed: its child was ended before, or never started. */
const REMOVE_GRACE_SECONDS = 1;
/** Milliseconds between two tries to delete, doubled each time, and how many there are. */
const RETRY_MS = 250;
const RETRY_TRIES = 7;
/** Milliseconds from a deletion to its being done; a node that is gone may never confirm it. */
const CONFIRM_MS = 60_000;
/** Orphans that are removed side by side. */
const ORPHANS_AT_ONCE = 10;

export interface PodsOptions {
  readonly kube: KubeClient;
  readonly watch: PodWatch;
  readonly clock: Clock;
  readonly log: Logger;
  readonly namespace: string;
  readonly install: string;
  readonly run: string;
  /** The ConfigMap that owns them. */
  readonly owner?: string;
}

export class Pods {
  readonly #options: PodsOptions;
  readonly #run: string;
  readonly #own = new Set<string>();
  readonly #removing = new Map<string, Promise<void>>();
  readonly #abandon = new AbortController();

  constructor(options: PodsOptions) {
    this.#options = options;
    this.#run = labelValue(options.run);
    options.watch.onPod = (state) => this.#look(state);
    // Those that were left to somebody else are nobody's stray for as long as they are there.
    options.watch.follow((name, seen) => {
      if (seen === 'gone') this.#own.delete(name);
    });
  }

  /** Who a pod that is made now belongs to, besides its session; undefined where nobody. Errors: as of {@link create}. */
  async owner(signal: AbortSignal): Promise<V1OwnerReference | undefined> {
    const { kube, namespace, owner } = this.#options;
    if (owner === undefined) return undefined;
    try {
      return await configMapOwner(kube, namespace, owner, { signal });
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      throw createError(fromFault(thrown));
    }
  }

  /**
   * Creates a pod and tells the watch of it. Errors: `BACKEND_REFUSED`, `BACKEND_UNAVAILABLE`, or the signal's reason; whatever the API made of
   * a call that failed on its way is removed.
   */
  async create(manifest: V1Pod, signal: AbortSignal): Promise<PodState> {
    const { kube, watch, namespace } = this.#options;
    const name = manifest.metadata?.name ?? '';
    this.#own.add(name);
    try {
      const made = await kube.core((api, options) => api.createNamespacedPod({ namespace, body: manifest }, options), {
        signal,
        timeout: CREATE_MS,
      });
      const state = watch.seed(made);
      if (state === undefined) throw new KubeError(0, 'Unknown', 'the API answered without a pod');
      return state;
    } catch (thrown) {
      const error = signal.aborted ? undefined : fromFault(thrown);
      // Refused is refused; anything else may have made the pod all the same.
      if (error !== undefined && isRefused(error)) this.#own.delete(name);
      else void this.remove(name);
      if (error === undefined) throw signal.reason;
      throw createError(error);
    }
  }

  /**
   * Makes one of the pods that wait for a session this run's, by a patch that one run alone succeeds with. Resolves with undefined where another was quicker, or the
   * pod is gone. Rejects with KubeError or the signal's reason; what the API made of such a call all the same is removed once the watch shows it.
   */
  async take(name: string, patch: readonly PatchOperation[], signal: AbortSignal): Promise<PodState | undefined> {
    const { kube, watch, namespace } = this.#options;
    this.#own.add(name);
    try {
      const taken = await kube.json<unknown>(
        {
          method: HttpMethod.PATCH,
          path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`,
          body: patch,
          contentType: 'application/json-patch+json',
        },
        { signal, timeout: TAKE_MS },
      );
      const state = watch.seed(taken);
      if (state === undefined) throw new KubeError(0, 'Unknown', 'the API answered without a pod');
      return state;
    } catch (thrown) {
      this.#own.delete(name);
      const seen = watch.get(name);
      if (seen !== undefined) this.#look(seen);
      if (signal.aborted) throw signal.reason;
      const error = fromFault(thrown);
      if (isLost(error)) return undefined;
      throw error;
    }
  }

  /**
   * Deletes a pod and resolves when it is gone from the API, or after a minute at the latest. Never rejects; what could not be removed is
   * logged and tried again when the watch shows it next. `uid` keeps a later pod of the same name safe.
   */
  remove(name: string, uid?: string): Promise<void> {
    const running = this.#removing.get(name);
    if (running !== undefined) return running;
    const removing = this.#remove(name, uid).finally(() => {
      this.#removing.delete(name);
      this.#own.delete(name);
    });
    this.#removing.set(name, removing);
    return removing;
  }

  /** Removes every pod of the install that another run made, but those that wait for anybody. Resolves with how many. Errors: `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`. */
  async removeOthers(): Promise<number> {
    const { kube, namespace, install, log } = this.#options;
    const slots = new Slots(ORPHANS_AT_ONCE);
    const { signal } = this.#abandon;
    let items: V1Pod[];
    try {
      const list = await kube.core(
        (api, options) => api.listNamespacedPod({ namespace, labelSelector: ownSelector(install) }, options),
        { signal, timeout: 30_000 },
      );
      items = list.items;
    } catch (thrown) {
      throw createError(fromFault(thrown));
    }
    const orphans = items
      .map((item) => this.#options.watch.seed(item) ?? podState(item))
      .filter((state) => state !== undefined && state.run !== this.#run && !state.deleting && state.component !== WARM);
    await Promise.all(
      orphans.map(async (orphan) => {
        if (orphan === undefined) return;
        const free = await slots.take(signal);
        try {
          await this.remove(orphan.name, orphan.uid);
          log.info('pod.orphan-removed', { pod: orphan.name });
        } finally {
          free();
        }
      }),
    );
    return orphans.length;
  }

  /** Resolves when every removal is done, or after `ms`. */
  async settle(ms: number): Promise<void> {
    const timer = this.#options.clock.after(ms, () => this.#abandon.abort());
    await Promise.all(this.#removing.values());
    timer.cancel();
  }

  /** A pod of this run that nobody owns: a create that was answered by nobody, or a removal that failed. */
  #look(state: PodState): void {
    if (state.run !== this.#run || state.deleting || this.#own.has(state.name)) return;
    this.#options.log.warn('pod.stray', { pod: state.name });
    void this.remove(state.name, state.uid);
  }

  async #remove(name: string, uid: string | undefined): Promise<void> {
    const { watch, clock, log } = this.#options;
    const confirm = new AbortController();
    const timer = clock.after(CONFIRM_MS, () => confirm.abort());
    const signal = AbortSignal.any([confirm.signal, this.#abandon.signal]);
    const gone = watch.until(name, (seen) => (seen === 'gone' ? true : undefined), signal);
    gone.catch(() => undefined);
    try {
      const deleted = await this.#delete(name, uid, signal);
      // Not there, and never seen: there is nothing that the watch could tell.
      if (deleted || watch.get(name) !== undefined) await gone;
    } catch (thrown) {
      log.error('pod.not-removed', {
        pod: name,
        reason: thrown instanceof AppError ? thrown.detail : fromFault(thrown).summary,
      });
    } finally {
      timer.cancel();
      confirm.abort();
    }
  }

  /** Resolves with whether a pod was there to be deleted. */
  async #delete(name: string, uid: string | undefined, signal: AbortSignal): Promise<boolean> {
    const { kube, namespace } = this.#options;
    const body = {
      gracePeriodSeconds: REMOVE_GRACE_SECONDS,
      ...(uid === undefined ? {} : { preconditions: { uid } }),
    };
    for (let attempt = 1; ; attempt++) {
      try {
        await kube.core((api, options) => api.deleteNamespacedPod({ name, namespace, body }, options), { signal });
        return true;
      } catch (thrown) {
        if (signal.aborted) throw unavailable(new KubeError(0, 'Timeout', 'the pod was not deleted in time'));
        const error = fromFault(thrown);
        // 409: another pod has the name by now, so ours is gone.
        if (error.status === 404 || error.status === 409) return false;
        if (attempt === RETRY_TRIES) throw error;
        await this.#pause(RETRY_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2));
      }
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#options.clock.after(ms, resolve));
  }
}

/** Another was quicker: a test of the patch does not hold (422), or the pod is gone. A policy that denies is 422 as well, and says so. */
function isLost({ status, message }: KubeError): boolean {
  return status === 404 || status === 409 || (status === 422 && !/denied|forbidden/i.test(message));
}

/** Nothing was made: the API said no, or never heard of it. */
function isRefused(error: KubeError): boolean {
  if (error.status >= 400 && error.status < 500) return true;
  return error.reason === 'Credentials' || NEVER_SENT.has(error.message);
}

/** Faults before a connection was there. */
const NEVER_SENT: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT']);
