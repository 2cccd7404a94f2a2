/** Children as pods: created through the Kubernetes API, spoken to through attach, sealed by the launcher. */
import { randomBytes } from 'node:crypto';
import type { V1OwnerReference } from '@kubernetes/client-node';
import { type Clock, systemClock } from '../../clock';
import type { ServerSpec } from '../../config/server';
import { AppError, toAppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import { abortable, type Budget, startBudget } from '../budget';
import type { AdoptSpec, Backend, BackendAddress, BackendLink, BackendSpec, StartPhase } from '../contract';
import { Slots } from '../slots';
import { childCommand, type Trust } from './command';
import { UserNamespaces } from './canary';
import { isFinal } from './ending';
import { explainDeadline, judge } from './judge';
import type { KubeClient } from '../../kube/client';
import { fromFault, KubeError } from '../../kube/error';
import { PodLink } from './link';
import type { KeyedPod, LinkKeys } from './link-keys';
import { podManifest } from './manifest';
import { ownSelector } from '../../kube/labels';
import { podName, podSuffix } from './names';
import type { PodState } from './pod-state';
import { Pods } from './pods';
import { unavailable } from './refusal';
import { openSealedLink, type SealedLink } from './sealed/link';
import { Start } from './start';
import { over, type PodBackendObserver, PodStreams } from './streams';
import { WarmTaker } from './taker';
import { PodWatch } from './watch';

/** The child's environment that no pod's specification has. */
type Secrets = Readonly<Record<string, string>>;

/** Milliseconds for all pods to be gone when the gateway stops. */
const STOP_MS = 20_000;
/** Seconds in which a pod that waited must have its child: far more than it takes, and far less than a start may. */
const WARM_SECONDS = 10;
/** Starts side by side unless set. */
const STARTING_MAX = 20;

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
  /** Makes the keys of links, where several gateways share sessions; otherwise each is random, and no child outlives its gateway's hold on it. */
  readonly linkKeys?: LinkKeys;
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
  readonly #warm: WarmTaker;
  readonly #userNamespaces: UserNamespaces;
  readonly #slots: Slots;
  readonly #stopped = new AbortController();
  readonly #opening = new Set<Promise<unknown>>();
  readonly #streams: PodStreams;
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
    this.#streams = new PodStreams({
      ...{ kube, clock, log, namespace, watch: this.#watch },
      ...(options.observer === undefined ? {} : { observer: options.observer }),
    });
    this.#warm = new WarmTaker({
      ...{ pods: this.#pods, watch: this.#watch, clock, log, run },
      ...(options.linkKeys === undefined ? {} : { linkKey: options.linkKeys.current }),
      taken: (server, outcome) => options.observer?.taken?.(server, outcome),
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

  adopt(spec: AdoptSpec, signal: AbortSignal): Promise<BackendLink> {
    const opening = this.#adopt(spec, AbortSignal.any([signal, this.#stopped.signal]));
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

  /** A pod that waits, or one that is made; then attach and claim. What it has so far is in `start`, for the caller to remove. */
  async #start(spec: BackendSpec, budget: Budget, start: Start): Promise<BackendLink> {
    const [userNamespace, owner] = await Promise.all([
      abortable(this.#userNamespaces.decide(spec.server), budget.signal),
      spec.owner ?? this.#pods.owner(budget.signal),
    ]);
    start.began(this.#clock.now());
    const warm = await this.#warm.take(spec, userNamespace, owner, budget.signal);
    if (warm !== undefined) {
      start.took(warm, this.#clock.now());
      const link = await this.#launchWarm(spec, warm, budget, start);
      if (link !== undefined) return link;
    }
    const made = await this.#make(spec, userNamespace, owner, budget, start);
    return this.#launch(spec, made, await this.#secrets(spec, made, budget), budget, start);
  }

  /** Makes a pod and waits until its container runs. */
  async #make(
    { server, session, user }: BackendSpec,
    userNamespace: boolean,
    owner: V1OwnerReference | undefined,
    budget: Budget,
    start: Start,
  ): Promise<PodState> {
    const { namespace, install, run, linkKeys } = this.#options;
    const pod = podName(session, podSuffix());
    const clock = this.#clock;
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
        ...(linkKeys === undefined ? {} : { linkKey: linkKeys.current }),
      }),
      budget.signal,
    );
    start.pod = pod;
    start.state ??= made;
    start.mark('create', clock.now());
    if (userNamespace && !made.userNamespace) throw noUserNamespace();
    const state = await running;
    start.mark('run', clock.now());
    return state;
  }

  /** The child of a pod that waited; undefined where it does not come up as soon as it should: what runs is not always what can be reached. */
  async #launchWarm(spec: BackendSpec, warm: PodState, budget: Budget, start: Start): Promise<BackendLink | undefined> {
    // Not within the limit: it is recorded where the child runs, and what is recorded late must not be recorded over what comes after it.
    const secrets = await this.#secrets(spec, warm, budget);
    const limit = startBudget(this.#clock, WARM_SECONDS, budget.signal);
    try {
      return await this.#launch(spec, warm, secrets, limit, start);
    } catch (thrown) {
      const { code, detail } = toAppError(thrown);
      if (budget.signal.aborted || !(limit.late || code.startsWith('BACKEND_'))) throw thrown;
      this.#options.log.warn('pool.pod-not-used', { pod: warm.name, code, detail });
      void this.#pods.remove(warm.name, warm.uid);
      start.again();
      return undefined;
    } finally {
      limit.end();
    }
  }

  #secrets(spec: BackendSpec, { name, uid, ip }: PodState, budget: Budget): Promise<Secrets> {
    const { namespace } = this.#options;
    const address = { instance: uid, namespace, name, ...(ip === undefined ? {} : { ip }) };
    return abortable(spec.secrets(address), budget.signal);
  }

  /** Attach and claim. */
  async #launch(
    spec: BackendSpec,
    state: PodState,
    secrets: Secrets,
    budget: Budget,
    start: Start,
  ): Promise<BackendLink> {
    const { server, session } = spec;
    const pod = state.name;
    const sealed = await this.#claim(spec, state, secrets, budget, start);
    start.mark('claim', this.#clock.now());
    const link = this.#link(sealed, state, server, start.phases);
    this.#options.log.debug('pod.opened', { pod, session, phases: start.phases });
    return link;
  }

  /** The pod is left as it is where this fails: whether it is to go is the caller's to say. */
  async #adopt({ session, server, child, epoch }: AdoptSpec, signal: AbortSignal): Promise<BackendLink> {
    const { log, linkKeys } = this.#options;
    this.#watch.start();
    await this.#watch.synced(signal);
    signal.throwIfAborted();
    const pod = child.name ?? '';
    const state = await this.#watch.find(pod, signal);
    if (state === undefined || state.uid !== child.instance || isFinal(state) || state.deleting) throw over(pod);
    const key = state.linkKey === undefined ? undefined : linkKeys?.of(state.linkKey, this.#keyed(state));
    if (key === undefined) throw keyUnknown(pod);
    const from = this.#clock.now();
    const sealed = await openSealedLink({ ...this.#streams.link(pod, signal), key, epoch });
    const phases = { attach: (this.#clock.now() - from) / 1000 };
    const link = this.#link(sealed, state, server, phases);
    log.info('pod.adopted', { pod, session, epoch, seconds: phases.attach });
    return link;
  }

  #link(
    sealed: SealedLink,
    { name: pod, uid }: PodState,
    { stopGrace }: ServerSpec,
    phases: Readonly<Partial<Record<StartPhase, number>>>,
  ): PodLink {
    const link = new PodLink({
      ...{ sealed, pod, phases, stopGrace },
      ...{ watch: this.#watch, clock: this.#clock, log: this.#options.log },
      shared: this.#options.linkKeys !== undefined,
      remove: () => this.#pods.remove(pod, uid),
    });
    this.#links.add(link);
    void link.removed.then(() => this.#links.delete(link));
    return link;
  }

  #keyed({ name, uid }: PodState): KeyedPod {
    return { namespace: this.#options.namespace, name, uid };
  }

  /** Hands the claim to the launcher over a first stream; the sealed link opens others when it breaks. */
  async #claim(
    spec: BackendSpec,
    state: PodState,
    secrets: Secrets,
    budget: Budget,
    start: Start,
  ): Promise<SealedLink> {
    const { linkKeys } = this.#options;
    const pod = state.name;
    const attached = (): void => {
      if (start.phases.attach === undefined) start.mark('attach', this.#clock.now());
    };
    try {
      return await openSealedLink({
        ...this.#streams.link(pod, budget.signal, attached),
        key: linkKeys?.of(linkKeys.current, this.#keyed(state)) ?? randomBytes(32),
        epoch: spec.epoch ?? 1,
        claim: childCommand(spec.server, secrets, this.#options),
      });
    } catch (thrown) {
      // The container ended under the claim: its status says why better than the stream does.
      const seen = this.#watch.get(pod);
      const verdict = seen === undefined ? undefined : judge(seen);
      if (verdict?.kind === 'failed') throw verdict.error;
      throw thrown;
    }
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

/** It was made with a key that is not in the file any more, or for one gateway alone. */
function keyUnknown(pod: string): AppError {
  return new AppError('BACKEND_REFUSED', 'The session’s child cannot be taken over. It is replaced.', {
    detail: `pod ${pod}: the key of its link is not known here`,
  });
}

function stopping(): AppError {
  return new AppError('BACKEND_UNAVAILABLE', 'The gateway is stopping. Try again in a moment.', { retryAfter: 5 });
}
