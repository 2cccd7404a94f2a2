/** Children as pods: created through the Kubernetes API, spoken to through attach, sealed by the launcher. */
import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '../../clock';
import type { ServerSpec } from '../../config/server';
import { AppError, toAppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import { abortable, type Budget, startBudget } from '../budget';
import type { Backend, BackendAddress, BackendLink, BackendSpec, StartPhase } from '../contract';
import { Slots } from '../slots';
import { openAttach } from './attach';
import { childCommand, type Trust } from './command';
import { UserNamespaces } from './canary';
import { isFinal } from './ending';
import { explainDeadline, judge } from './judge';
import type { KubeClient } from '../../kube/client';
import { fromFault, KubeError } from '../../kube/error';
import { PodLink } from './link';
import { podManifest } from './manifest';
import { ownSelector } from '../../kube/labels';
import { CONTAINER, podName, podSuffix } from './names';
import type { PodState } from './pod-state';
import { Pods } from './pods';
import { unavailable } from './refusal';
import { openSealedLink, type SealedLink } from './sealed/link';
import type { AttachTransport, TransportClosed } from './transport';
import { PodWatch } from './watch';

/** Milliseconds for one attach handshake. */
const ATTACH_MS = 10_000;
/** Milliseconds for the pod's status to confirm that a stream which ended with success ended with its container. */
const CONFIRM_MS = 2_000;
/** Milliseconds without a stream after which a session is lost: longer than an API server takes to restart. */
const REATTACH_MS = 60_000;
/** Milliseconds for all pods to be gone when the gateway stops. */
const STOP_MS = 20_000;
/** Starts side by side unless set. */
const STARTING_MAX = 20;

/** What the driver tells of its streams; for metrics. */
export interface PodBackendObserver {
  /** An attach stream broke under a live session. */
  attachBroken(): void;
  /** Another stream carries the session again. */
  attachRestored(seconds: number): void;
}

export interface PodBackendOptions extends Trust {
  /** Stays the caller's: close it after {@link PodBackend.stop}. */
  readonly kube: KubeClient;
  /** The sessions' namespace. */
  readonly namespace: string;
  /** Names the install: pods of another one are never touched. */
  readonly install: string;
  /** A ConfigMap of the namespace that owns every pod: whoever deletes it removes them. Nobody does unless set. */
  readonly owner?: string;
  /** Names this run of the gateway; random, never used again. */
  readonly run: string;
  /** Pods that may be starting at once. */
  readonly maxStarting?: number;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly observer?: PodBackendObserver;
}

export class PodBackend implements Backend {
  readonly kind = 'pod';
  readonly #options: PodBackendOptions;
  readonly #clock: Clock;
  readonly #watch: PodWatch;
  readonly #pods: Pods;
  readonly #userNamespaces: UserNamespaces;
  readonly #slots: Slots;
  readonly #stopped = new AbortController();
  readonly #opening = new Set<Promise<unknown>>();
  readonly #links = new Set<PodLink>();

  constructor(options: PodBackendOptions) {
    const { kube, log, namespace, install, run } = options;
    const clock = options.clock ?? systemClock;
    this.#options = options;
    this.#clock = clock;
    this.#slots = new Slots(options.maxStarting ?? STARTING_MAX);
    this.#watch = new PodWatch({ kube, clock, log, namespace, selector: ownSelector(install) });
    this.#pods = new Pods({
      ...{ kube, watch: this.#watch, clock, log, namespace, install, run },
      ...(options.owner === undefined ? {} : { owner: options.owner }),
    });
    this.#userNamespaces = new UserNamespaces({
      pods: this.#pods,
      watch: this.#watch,
      clock,
      log,
      namespace,
      install,
      run,
      stopped: this.#stopped.signal,
    });
  }

  open(spec: BackendSpec, signal: AbortSignal): Promise<BackendLink> {
    const opening = this.#open(spec, signal);
    this.#opening.add(opening);
    const done = (): boolean => this.#opening.delete(opening);
    opening.then(done, done);
    return opening;
  }

  /** Proves user namespaces. */
  async prepare(servers: readonly ServerSpec[]): Promise<void> {
    this.#watch.start();
    for (const server of servers) {
      await this.#userNamespaces.decide(server).catch((thrown: unknown) => {
        this.#options.log.warn('user-namespaces.not-proved', { reason: toAppError(thrown).detail });
      });
    }
  }

  async discard({ name, instance }: BackendAddress): Promise<void> {
    this.#watch.start();
    if (name !== undefined) await this.#pods.remove(name, instance);
  }

  async removeOrphans(): Promise<number> {
    this.#watch.start();
    return this.#pods.removeOthers();
  }

  /** One page of one pod, from the API server's cache: it proves address, credentials and rights; and the watch must have seen the pods. */
  async check(signal: AbortSignal): Promise<void> {
    const { kube, namespace, install } = this.#options;
    if (this.#stopped.signal.aborted) throw stopping();
    await this.#watch.synced(signal);
    try {
      await kube.core(
        (api, options) =>
          api.listNamespacedPod(
            { namespace, labelSelector: ownSelector(install), limit: 1, resourceVersion: '0' },
            options,
          ),
        { signal, timeout: 5_000 },
      );
    } catch (thrown) {
      throw unavailable(signal.aborted ? new KubeError(0, 'Timeout', 'no answer in time') : fromFault(thrown));
    }
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.allSettled(this.#opening);
    await Promise.all([...this.#links].map((link) => link.close()));
    await this.#pods.settle(STOP_MS);
    await this.#watch.stop();
  }

  async #open(spec: BackendSpec, signal: AbortSignal): Promise<BackendLink> {
    signal.throwIfAborted();
    if (this.#stopped.signal.aborted) throw stopping();
    const budget = startBudget(this.#clock, spec.server.startTimeout, signal, this.#stopped.signal);
    const start = new Start();
    this.#watch.start();
    try {
      const free = await this.#slots.take(budget.signal);
      try {
        return await this.#start(spec, budget, start);
      } finally {
        free();
      }
    } catch (thrown) {
      if (start.pod !== undefined) void this.#pods.remove(start.pod, start.state?.uid);
      if (signal.aborted) throw signal.reason;
      if (this.#stopped.signal.aborted) throw stopping();
      if (budget.late) throw explainDeadline(start.state, spec.server.startTimeout);
      throw thrown;
    } finally {
      budget.end();
    }
  }

  /** Pod, attach, claim. What it made so far is in `start`, for the caller to remove. */
  async #start(spec: BackendSpec, budget: Budget, start: Start): Promise<BackendLink> {
    const { namespace, install, run, log } = this.#options;
    const { server, session, user } = spec;
    const [userNamespace, owner] = await Promise.all([
      abortable(this.#userNamespaces.decide(server), budget.signal),
      spec.owner ?? this.#pods.owner(budget.signal),
    ]);
    const pod = podName(session, podSuffix());
    const clock = this.#clock;
    start.began(clock.now());

    // Registered before the pod is made: no event of it can be missed.
    const running = this.#watch.until(pod, (seen) => start.look(seen, clock.now()), budget.signal);
    running.catch(() => undefined);
    const made = await this.#pods.create(
      podManifest({
        name: pod,
        namespace,
        install,
        run,
        component: 'session',
        server,
        session,
        user,
        userNamespace,
        ...(owner === undefined ? {} : { owner }),
      }),
      budget.signal,
    );
    start.pod = pod;
    start.state ??= made;
    start.mark('create', clock.now());
    if (userNamespace && !made.userNamespace) throw noUserNamespace();
    const state = await running;
    start.mark('run', clock.now());

    const secrets = await abortable(
      spec.secrets({ instance: state.uid, namespace, name: pod, ...(state.ip === undefined ? {} : { ip: state.ip }) }),
      budget.signal,
    );
    const sealed = await this.#claim(spec, pod, secrets, budget, start);
    start.mark('claim', clock.now());
    const link = new PodLink({
      sealed,
      watch: this.#watch,
      clock,
      log,
      pod,
      phases: start.phases,
      stopGrace: server.stopGrace,
      remove: () => this.#pods.remove(pod, state.uid),
    });
    this.#links.add(link);
    void link.removed.then(() => this.#links.delete(link));
    log.debug('pod.opened', { pod, session, phases: start.phases });
    return link;
  }

  /** Hands the claim to the launcher over a first stream; the sealed link opens others when it breaks. */
  async #claim(
    spec: BackendSpec,
    pod: string,
    secrets: Readonly<Record<string, string>>,
    budget: Budget,
    start: Start,
  ): Promise<SealedLink> {
    const { observer, log } = this.#options;
    try {
      return await openSealedLink({
        connect: async (signal) => {
          const stream = await this.#connect(pod, signal);
          if (start.phases.attach === undefined) start.mark('attach', this.#clock.now());
          return stream;
        },
        key: randomBytes(32),
        epoch: 1,
        claim: childCommand(spec.server, secrets, this.#options),
        clock: this.#clock,
        limits: { reattachDeadlineMs: REATTACH_MS },
        events: {
          onBroken: (detail) => {
            log.warn('attach.broken', { pod, detail });
            observer?.attachBroken();
          },
          onReattached: (ms) => {
            log.info('attach.restored', { pod, ms: Math.round(ms) });
            observer?.attachRestored(ms / 1000);
          },
        },
        signal: budget.signal,
      });
    } catch (thrown) {
      // The container ended under the claim: its status says why better than the stream does.
      const seen = this.#watch.get(pod);
      const verdict = seen === undefined ? undefined : judge(seen);
      if (verdict?.kind === 'failed') throw verdict.error;
      throw thrown;
    }
  }

  /** One attach stream. It counts as ended only where the pod's status agrees: a runtime that restarts ends it with success as well. */
  async #connect(pod: string, signal: AbortSignal): Promise<AttachTransport> {
    const { kube, namespace } = this.#options;
    const seen = this.#watch.get(pod);
    if (seen === undefined || isFinal(seen)) {
      throw new AppError('BACKEND_ENDED', 'The session’s child has ended. Start a new session.', {
        detail: `pod ${pod} is over`,
      });
    }
    const stream = await openAttach({
      kube,
      clock: this.#clock,
      namespace,
      pod,
      container: CONTAINER,
      timeout: ATTACH_MS,
      signal,
    }).catch((thrown: unknown) => {
      const error = toAppError(thrown);
      if (signal.aborted || error.code !== 'BACKEND_ENDED') throw thrown;
      // A kubelet that has just started does not know its own pods yet. Only the pod's status ends a session; the next try looks at it.
      throw new AppError('BACKEND_UNAVAILABLE', error.message, {
        ...(error.detail === undefined ? {} : { detail: error.detail }),
      });
    });
    return {
      write: (bytes) => stream.write(bytes),
      onData: (consumer) => stream.onData(consumer),
      pause: () => stream.pause(),
      resume: () => stream.resume(),
      close: () => stream.close(),
      closed: stream.closed.then((how) => this.#confirm(pod, how)),
    };
  }

  async #confirm(pod: string, how: TransportClosed): Promise<TransportClosed> {
    if (how.kind !== 'ended') return how;
    const patience = new AbortController();
    const timer = this.#clock.after(CONFIRM_MS, () => patience.abort());
    try {
      if (this.#watch.get(pod) === undefined) return how;
      await this.#watch.until(pod, (seen) => (isFinal(seen) ? true : undefined), patience.signal);
      return how;
    } catch {
      return { kind: 'broken', detail: `${how.detail}, but the container runs on` };
    } finally {
      timer.cancel();
    }
  }
}

/** What is known of a start while it runs: the pod's last state, and how long each phase took. */
class Start {
  pod: string | undefined;
  state: PodState | undefined;
  readonly phases: Partial<Record<StartPhase, number>> = {};
  #from = 0;

  began(now: number): void {
    this.#from = now;
  }

  /** Ends a phase now; the next one begins. */
  mark(phase: StartPhase, now: number): void {
    this.phases[phase] = (now - this.#from) / 1000;
    this.#from = now;
  }

  /** Looks at the pod's state: undefined as long as it is worth waiting. Throws why it is not. */
  look(seen: PodState | 'gone', now: number): PodState | undefined {
    if (seen === 'gone') {
      throw new AppError('BACKEND_UNAVAILABLE', 'The session’s pod was removed while it started. Try again.', {
        detail: `pod ${this.pod ?? ''} was deleted by somebody else`,
        retryAfter: 1,
      });
    }
    this.state = seen;
    // The watch may be ahead of the answer to the create; its phase then takes the scheduling in.
    if (seen.scheduled && this.phases.create !== undefined && this.phases.schedule === undefined) {
      this.mark('schedule', now);
    }
    const verdict = judge(seen);
    if (verdict.kind === 'failed') throw verdict.error;
    return verdict.kind === 'running' ? seen : undefined;
  }
}

/** An API server that does not know `hostUsers` drops it without a word. */
function noUserNamespace(): AppError {
  return new AppError(
    'BACKEND_REFUSED',
    'The cluster cannot give the session a user namespace of its own, which this server demands. Ask your administrator to set `userNamespaces` to `auto` or `off`, or to use Kubernetes 1.33 or later.',
    { detail: 'the API server dropped hostUsers: false' },
  );
}

function stopping(): AppError {
  return new AppError('BACKEND_UNAVAILABLE', 'The gateway is stopping. Try again in a moment.', { retryAfter: 5 });
}
