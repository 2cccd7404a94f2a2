/** All pods of an install, as the one list and watch of them shows them. Everybody who waits for a pod waits here. */
import type { Clock } from '../../clock';
import type { KubeClient } from '../../kube/client';
import { Reflector, type Seen as SeenBy } from '../../kube/reflector';
import type { Logger } from '../../telemetry/log';
import { type PodState, podState } from './pod-state';
import { unavailable } from './refusal';

/** A pod's state, or `gone` once it was deleted from the API. */
export type Seen = SeenBy<PodState>;

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

  constructor({ namespace, ...options }: PodWatchOptions) {
    super({
      ...options,
      path: `/api/v1/namespaces/${namespace}/pods`,
      what: 'pods',
      project: podState,
      refusal: unavailable,
    });
    this.follow((_name, seen) => {
      if (seen !== 'gone') this.onPod(seen);
    });
  }
}
