/** Whether the cluster can give a pod a user namespace of its own (KEP-127): a pod that has one is started and looked at. */
import type { ServerSpec } from '../../config/server';
import { AppError } from '../../errors';
import type { Clock } from '../../clock';
import type { Logger } from '../../telemetry/log';
import { startBudget } from '../budget';
import { explainDeadline, judge } from './judge';
import { podManifest } from './manifest';
import { canaryName, podSuffix } from './names';
import type { PodState } from './pod-state';
import type { Pods } from './pods';
import type { PodWatch } from './watch';

/** Seconds for the canary; a runtime that cannot do it retries for ever and says so nowhere but in events. */
const CANARY_SECONDS = 20;

export interface UserNamespacesOptions {
  readonly pods: Pods;
  readonly watch: PodWatch;
  readonly clock: Clock;
  readonly log: Logger;
  readonly namespace: string;
  readonly install: string;
  readonly run: string;
  /** Aborts when the driver stops. */
  readonly stopped: AbortSignal;
}

export class UserNamespaces {
  readonly #options: UserNamespacesOptions;
  readonly #known = new Map<string, Promise<boolean>>();

  constructor(options: UserNamespacesOptions) {
    this.#options = options;
  }

  /**
   * Whether a server's pods get one. `auto` is proved once a run for each runtime class and kind of node; what proves nothing (no room, no API,
   * no image) rejects as a session's own pod would, and is tried again by the next session.
   */
  async decide(server: ServerSpec): Promise<boolean> {
    const { userNamespaces, runtimeClassName, nodeSelector } = server.pod;
    if (userNamespaces !== 'auto') return userNamespaces === 'on';
    const key = JSON.stringify([runtimeClassName, Object.entries(nodeSelector).sort()]);
    let known = this.#known.get(key);
    if (known === undefined) {
      known = this.#prove(server);
      this.#known.set(key, known);
      known.catch(() => this.#known.delete(key));
    }
    return known;
  }

  async #prove(server: ServerSpec): Promise<boolean> {
    const { pods, watch, clock, log, namespace, install, run, stopped } = this.#options;
    const owner = await pods.owner(stopped); // what is wrong with it says nothing about user namespaces
    const name = canaryName(podSuffix());
    const budget = startBudget(clock, CANARY_SECONDS, stopped);
    let last: PodState | undefined;
    const running = watch.until(
      name,
      (seen) => {
        if (seen === 'gone')
          throw new AppError('BACKEND_UNAVAILABLE', 'Try again in a moment.', { detail: 'canary deleted' });
        last = seen;
        const verdict = judge(seen);
        if (verdict.kind === 'failed') throw verdict.error;
        return verdict.kind === 'running' ? true : undefined;
      },
      budget.signal,
    );
    running.catch(() => undefined);
    try {
      const made = await pods.create(
        podManifest({
          ...{ name, namespace, install, run, component: 'canary', server, userNamespace: true },
          ...(owner === undefined ? {} : { owner }),
        }),
        budget.signal,
      );
      if (!made.userNamespace) return this.#off('the API server does not know user namespaces');
      await running;
      log.info('user-namespaces.on', { runtimeClass: server.pod.runtimeClassName });
      return true;
    } catch (thrown) {
      // The sandbox is what has the user namespace; what is still missing then is the image, on its way.
      if (budget.late && last?.sandbox === true) return true;
      if (budget.late && last?.scheduled === true) return this.#off(explainDeadline(last, CANARY_SECONDS).detail);
      if (budget.late) throw explainDeadline(last, CANARY_SECONDS);
      if (thrown instanceof AppError && thrown.code === 'BACKEND_REFUSED' && thrown.retryAfter === undefined) {
        return this.#off(thrown.detail);
      }
      if (thrown instanceof AppError && thrown.code === 'BACKEND_CRASHED') return this.#off(thrown.detail);
      throw thrown;
    } finally {
      budget.end();
      void pods.remove(name, last?.uid);
    }
  }

  #off(reason: string | undefined): false {
    this.#options.log.warn('user-namespaces.off', { reason: reason ?? 'unknown' });
    return false;
  }
}
