/** What is to be done about a server's pool: pure, so that it can be tried with every state of the world and of what is known of it. */
import type { PodFacts } from '../facts';

/** Why a pod that waits is removed. `template`: its server's pod is another now; `fault`, `late`: it does not come up; `excess`: there are enough. */
export type Removal = 'template' | 'fault' | 'late' | 'age' | 'excess';

export interface PoolSight {
  /** The server's pods that wait, as they are known: by a cache that may lag behind, or by a live list. */
  readonly pods: readonly Waiting[];
  /** Pods that were asked for and are not among them. */
  readonly expected: number;
  /** What its pods are made of now; undefined where it has no pool, or is gone: then none may wait. */
  readonly template: string | undefined;
  readonly desired: number;
  /** Pods that may be made, whatever is desired: by all pools' common bound, and where pods do not come up. */
  readonly allowed: number;
  /** Wall-clock milliseconds. */
  readonly wall: number;
  /** Milliseconds for which a pod may wait, and for which it may start. */
  readonly maxAge: number;
  readonly start: number;
}

/** A pod of the component `warm`. */
export type Waiting = PodFacts & { readonly warm: NonNullable<PodFacts['warm']> };

export interface Plan {
  readonly create: number;
  readonly remove: readonly { readonly pod: Waiting; readonly why: Removal }[];
  /** Pods of today's template that can be taken, and those that will be. */
  readonly ready: number;
  readonly starting: number;
  /** Milliseconds after which the plan may be another without any event; undefined: never. */
  readonly again: number | undefined;
}

/**
 * Decides. What is made and what waits already, seen or not, is never more than desired; what is there beyond that goes, first what is not up yet. Old pods go one
 * at a time and while all others are up, so that a pool whose pods were made together is not empty when they are old together.
 */
export function plan(sight: PoolSight): Plan {
  const { template, desired, expected, allowed, wall } = sight;
  const here = sight.pods.filter(({ deleting }) => !deleting);
  const remove: { pod: Waiting; why: Removal }[] = [];
  const good: Waiting[] = [];
  for (const pod of here) {
    const why = wrong(pod, sight);
    if (why === undefined) good.push(pod);
    else remove.push({ pod, why });
  }
  good.sort((a, b) => Number(a.warm.ready) - Number(b.warm.ready) || a.warm.createdAt - b.warm.createdAt);
  const count = good.length + expected;
  const excess = good.splice(0, Math.max(0, Math.min(good.length, count - desired)));
  for (const pod of excess) remove.push({ pod, why: 'excess' });

  const ready = good.filter(({ warm }) => warm.ready);
  const starting = good.length - ready.length;
  const isWhole = starting + expected === 0 && good.length === desired;
  const oldest = ready.find((pod) => ageLeft(pod, sight) <= 0);
  if (isWhole && oldest !== undefined) remove.push({ pod: oldest, why: 'age' });
  return {
    create: template === undefined ? 0 : Math.max(0, Math.min(desired - count, allowed)),
    remove,
    ready: ready.length,
    starting: starting + expected,
    again: soonest([
      ...ready.map((pod) => ageLeft(pod, sight)).filter((left) => left > 0),
      ...good.filter(({ warm }) => !warm.ready).map(({ warm }) => warm.createdAt + sight.start - wall),
    ]),
  };
}

function wrong({ warm }: Waiting, { template, start, wall }: PoolSight): Removal | undefined {
  if (warm.template !== template) return 'template';
  if (warm.fault !== undefined) return 'fault';
  return !warm.ready && wall - warm.createdAt > start ? 'late' : undefined;
}

/** Milliseconds that a pod may still wait. Up to a tenth less than all of them by its UID: pods that were made together do not go together. */
function ageLeft({ uid, warm }: Waiting, { maxAge, wall }: PoolSight): number {
  const share = 1 - (Number.parseInt(uid.replaceAll('-', '').slice(-4), 16) || 0) / 0xffff / 10;
  return warm.createdAt + maxAge * share - wall;
}

function soonest(times: readonly number[]): number | undefined {
  return times.length === 0 ? undefined : Math.max(1, Math.min(...times));
}
