/** All pods of an install, as the one list and watch of them shows them. Everybody who waits for a pod waits here. */
import type { Clock } from '../../clock';
import type { KubeClient } from '../../kube/client';
import { fromFault } from '../../kube/error';
import { Reflector, type Seen as SeenBy } from '../../kube/reflector';
import type { Logger } from '../../telemetry/log';
import { type PodState, podState } from './pod-state';
import { unavailable } from './refusal';

/** A pod's state, or `gone` once it was deleted from the API. */
export type Seen = SeenBy<PodState>;

/** Milliseconds for the API to tell of one pod. */
const FIND_MS = 10_000;

export interface PodWatchOptions {
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly namespace: string;
  /** Label selector. */
  readonly selector: string;
}

/** Those who wait are refused with `BACKEND_UNAVAILABLE`. */
export class PodWatch extends Reflector<PodState> {
  /** Called for every pod that was seen, whoever waits for it. */
  onPod: (seen: PodState) => void = () => undefined;

  readonly #options: PodWatchOptions;

  constructor(podOptions: PodWatchOptions) {
    const { namespace, ...options } = podOptions;
    super({
      ...options,
      path: `/api/v1/namespaces/${namespace}/pods`,
      what: 'pods',
      project: podState,
      refusal: unavailable,
    });
    this.#options = podOptions;
    this.follow((_name, seen) => {
      if (seen !== 'gone') this.onPod(seen);
    });
  }

  /**
   * What is known of a pod, and what the API says of one that was not seen here, because that may mean no more than that this watch is behind: another gateway has just
   * made it. Undefined: it is not there. Rejects with `BACKEND_UNAVAILABLE`, or with the signal's reason.
   */
  async find(name: string, signal: AbortSignal): Promise<PodState | undefined> {
    const known = this.get(name);
    if (known !== undefined) return known;
    const { kube, namespace, selector } = this.#options;
    const fieldSelector = `metadata.name=${name}`; // who may list may not get
    try {
      const { items } = await kube.core(
        (api, options) => api.listNamespacedPod({ namespace, labelSelector: selector, fieldSelector }, options),
        { signal, timeout: FIND_MS },
      );
      const found = items.find(({ metadata }) => metadata?.name === name);
      return found === undefined ? this.get(name) : this.seed(found);
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      throw unavailable(fromFault(thrown));
    }
  }
}
