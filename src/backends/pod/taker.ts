/** Takes a pod that waits, for a session that starts. */
import type { V1OwnerReference } from '@kubernetes/client-node';
import type { Clock } from '../../clock';
import type { ServerSpec } from '../../config/server';
import { fromFault } from '../../kube/error';
import type { Logger } from '../../telemetry/log';
import type { BackendSpec } from '../contract';
import type { PodState } from './pod-state';
import type { Pods } from './pods';
import { claimPatch, isReady, takeable } from './warm';
import type { PodWatch } from './watch';

/** Pods that one start tries to take before it makes one: more have been lost only where very many start at once. */
const TRIES = 8;

/**
 * What became of a start's look at the pool. `hit`: a pod was taken; `miss`: none could be; `lost`: one that another was quicker to take, or that
 * was about to go, which says nothing yet of the start.
 */
export type TakeOutcome = 'hit' | 'miss' | 'lost';

export interface WarmTakerOptions {
  readonly pods: Pods;
  readonly watch: PodWatch;
  readonly clock: Clock;
  readonly log: Logger;
  readonly run: string;
  /** See `PodManifestOptions.linkKey`. */
  readonly linkKey?: string;
  readonly taken?: (server: string, outcome: TakeOutcome) => void;
}

export class WarmTaker {
  readonly #options: WarmTakerOptions;
  /** UIDs of pods that a start of this run tries to take, or has lost, by their names: until the watch shows whose they are, or that they are gone. */
  readonly #tried = new Map<string, string>();

  constructor(options: WarmTakerOptions) {
    this.#options = options;
    options.watch.follow((name, seen) => {
      if (seen === 'gone' || seen.component !== 'warm') this.#tried.delete(name);
    });
  }

  /**
   * Takes one of the pods that wait for a session of the server; undefined where there is none, or none could be had. What is wrong with taking is logged and
   * is no reason for a session not to start. Rejects with the signal's reason.
   */
  async take(
    spec: BackendSpec,
    userNamespace: boolean,
    owner: V1OwnerReference | undefined,
    signal: AbortSignal,
  ): Promise<PodState | undefined> {
    const { server } = spec;
    if (server.pool.max === 0) return undefined;
    const { log, taken } = this.#options;
    for (let tries = 0; tries < TRIES; tries++) {
      const pod = this.#any(server, userNamespace);
      if (pod === undefined) break;
      this.#tried.set(pod.name, pod.uid);
      try {
        const state = await this.#claim(pod, spec, owner, signal);
        taken?.(server.name, state === undefined ? 'lost' : 'hit');
        if (state !== undefined) return state;
      } catch (thrown) {
        this.#tried.delete(pod.name);
        if (signal.aborted) throw thrown;
        log.warn('pool.not-taken', { pod: pod.name, reason: fromFault(thrown).summary });
        break;
      }
    }
    taken?.(server.name, 'miss');
    return undefined;
  }

  /** Any of those that can be taken: gateways that look at the same moment seldom want the same one. */
  #any(server: ServerSpec, userNamespace: boolean): PodState | undefined {
    const { clock, watch } = this.#options;
    const free = takeable(watch.all(), { server, userNamespace, wall: clock.wall() }).filter(
      ({ name, uid }) => this.#tried.get(name) !== uid,
    );
    return free[Math.floor(Math.random() * free.length)];
  }

  async #claim(
    { name, uid }: PodState,
    { session, user }: BackendSpec,
    owner: V1OwnerReference | undefined,
    signal: AbortSignal,
  ): Promise<PodState | undefined> {
    const { pods, run, linkKey } = this.#options;
    const patch = claimPatch(uid, {
      ...{ session, user, run },
      ...(owner === undefined ? {} : { owner }),
      ...(linkKey === undefined ? {} : { linkKey }),
    });
    const state = await pods.take(name, patch, signal);
    if (state === undefined || isReady(state)) return state;
    // It ended, or was deleted, in the moment before.
    if (!state.deleting) void pods.remove(name, uid);
    return undefined;
  }
}
