/**
 * Pods that no session has: what a gateway left behind that died while it started or ended one, or that somebody's kubectl deleted the session of. Each is
 * looked at live, with its session and its makers, before it is deleted.
 */
import { isReplicaName } from '../peers/names';
import type { PodFacts, SessionFacts } from './facts';
import { isClaimed, orphanIn } from './judge';
import type { World } from './world';

/** Milliseconds between two looks at a pod that a session has: cheap, and it mends what an event left out. */
const CLAIMED_MS = 300_000;

export class PodLoop {
  readonly #world: World;
  /** Since when a pod is known to be nobody's, by its UID. */
  readonly #unclaimed = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  /** One look at one pod. */
  async reconcile(name: string, signal: AbortSignal): Promise<number | undefined> {
    const { pods, sessions, sessionsNamespace, clock } = this.#world.options;
    // Before all sessions are known every pod looks like nobody's.
    if (!sessions.isSynced) return 1_000;
    const cached = pods.get(name);
    if (cached === undefined) {
      this.#forget();
      return undefined;
    }
    // One that waits for a session is the pool's. From the moment that it is taken its session has the time of a whole start.
    if (cached.warm !== undefined) {
      this.#unclaimed.delete(cached.uid);
      return undefined;
    }
    const session = sessions.get(cached.session);
    if (isClaimed(cached, session)) {
      this.#unclaimed.delete(cached.uid);
      return CLAIMED_MS;
    }
    const since = this.#unclaimed.get(cached.uid) ?? clock.now();
    this.#unclaimed.set(cached.uid, since);
    const wait = this.#orphanIn(cached, session, since);
    if (wait === undefined || wait > 0) return wait;

    const pod = await this.#world.pod(sessionsNamespace, name, signal);
    if (pod === undefined || pod.uid !== cached.uid) return undefined;
    const live = sessions.seed(
      await this.#world.read((limits) => this.#world.sessionObjects.get(pod.session, limits), signal),
    );
    const left = this.#orphanIn(pod, live, since);
    if (left === undefined || left > 0) return left;
    if (!(await this.#isNobodys(pod, live, signal))) return 1_000;
    const isDone = await this.#world.removePod(pod, sessionsNamespace, signal);
    if (isDone) this.#world.did('pod-removed', { pod: name, session: pod.session, server: pod.server, run: pod.run });
    return undefined;
  }

  #orphanIn(pod: PodFacts, session: SessionFacts | undefined, since: number): number | undefined {
    const { replicas, clock } = this.#world.options;
    const lives = (replica: string): boolean => replica !== '' && replicas.deadFor(replica) === undefined;
    return orphanIn({
      pod,
      session,
      times: this.#world.times(pod.server),
      makerLives: !isReplicaName(pod.run) || lives(pod.run),
      holderLives: session !== undefined && lives(session.holder),
      unclaimedFor: clock.now() - since,
    });
  }

  /** Those that were thought dead are so: a pod of a gateway that lives is only deleted after it has had all the time of a start. */
  async #isNobodys(pod: PodFacts, session: SessionFacts | undefined, signal: AbortSignal): Promise<boolean> {
    const { replicas } = this.#world.options;
    for (const replica of new Set([pod.run, session?.holder ?? ''])) {
      if (!isReplicaName(replica) || replicas.deadFor(replica) === undefined) continue;
      if (!(await this.#world.isDead(replica, signal))) return false;
    }
    return true;
  }

  #forget(): void {
    const present = new Set([...this.#world.options.pods.all()].map(({ uid }) => uid));
    for (const uid of this.#unclaimed.keys()) if (!present.has(uid)) this.#unclaimed.delete(uid);
  }
}
