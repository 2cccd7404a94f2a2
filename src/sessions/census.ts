/**
 * Who is within the caps, over all processes that share a store. Pure.
 *
 * A record that is `starting` and not yet `admitted` asks for a place, and those that ask come in the order in which their records were written. Whoever judges one of
 * them has seen all that was written before it (or reads it now), and counts each that was: admitted or not, because it cannot know what becomes of it. So of all that
 * have a place the one that asked last has counted the others, and there are never more than the cap (docs/adr/0012).
 */
import type { ErrorCode } from '../errors';
import { userKey } from './caps';
import type { OpenedSession, SeenSession } from './ports';

/** Milliseconds that an opened session counts against the rates. */
const MINUTE_MS = 60_000;

/** One that asks for a place. */
export interface Asker {
  readonly name: string;
  readonly generation: number;
  readonly server: string;
  /** See `userKey`. */
  readonly user: string;
  /** Whether it is a new session; the rates are not for one that wakes. */
  readonly opens: boolean;
  /** Sessions of its server at once; 0: no limit. */
  readonly maxSessions: number;
}

export interface CensusLimits {
  readonly maxPerUser: number;
  readonly maxTotal: number;
  readonly opensPerMinutePerUser: number;
  readonly opensPerMinute: number;
}

export type CapCode = Extract<
  ErrorCode,
  'SESSION_CAP_USER' | 'SESSION_CAP_SERVER' | 'SESSION_CAP_INSTALL' | 'SPAWN_RATE'
>;

/** `open`: that depends on others who asked before and are not told yet. */
export type Verdict =
  | { readonly kind: 'in' }
  /** @property waitMs after which a rate allows one more; absent for caps. `isOwn`: the rate is the user's. */
  | { readonly kind: 'out' | 'open'; readonly code: CapCode; readonly waitMs?: number; readonly isOwn?: boolean };

export interface CensusFacts {
  /** The live records. */
  readonly seen: Iterable<SeenSession>;
  /** Those that were opened lately. */
  readonly opened: Iterable<OpenedSession>;
  /** Names of those that this process has admitted, whether or not that is seen already. */
  readonly granted: ReadonlySet<string>;
  readonly limits: CensusLimits;
  /** Wall-clock milliseconds. */
  readonly wall: number;
}

/** How many there are. */
class Tally {
  readonly users = new Map<string, number>();
  readonly servers = new Map<string, number>();
  readonly openers = new Map<string, number>();
  total = 0;
  opened = 0;

  add(user: string, server: string, opens: boolean): void {
    this.users.set(user, (this.users.get(user) ?? 0) + 1);
    this.servers.set(server, (this.servers.get(server) ?? 0) + 1);
    this.total += 1;
    if (opens) this.open(user);
  }

  open(user: string): void {
    this.openers.set(user, (this.openers.get(user) ?? 0) + 1);
    this.opened += 1;
  }
}

export class Census {
  readonly #limits: CensusLimits;
  readonly #wall: number;
  /** Those that have a place. */
  readonly #certain = new Tally();
  /** Those that ask for one, in their order. */
  readonly #pending: SeenSession[] = [];
  /** When sessions were opened lately, by user. */
  readonly #times: { readonly user: string; readonly at: number }[] = [];

  constructor({ seen, opened, granted, limits, wall }: CensusFacts) {
    this.#limits = limits;
    this.#wall = wall;
    const lately = new Map<string, OpenedSession>();
    for (const session of opened) lately.set(session.name, session);
    for (const session of seen) {
      const { name, server, state, admitted = false } = session;
      if (state === 'starting' && !admitted && !granted.has(name)) {
        this.#pending.push(session);
        continue;
      }
      if (state === 'starting' || state === 'active') this.#certain.add(keyOf(session), server, false);
      lately.set(name, session); // it has been opened, or it would not live
    }
    this.#pending.sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0));
    for (const session of lately.values()) {
      const at = Math.min(session.createdAt, wall);
      if (at <= wall - MINUTE_MS) continue;
      const user = keyOf(session);
      this.#certain.open(user);
      this.#times.push({ user, at });
    }
  }

  /** The verdict on one that has not asked yet: whether those that have a place leave it one. Never `open`. */
  foresee(asker: Asker): Verdict {
    return this.#judge(asker, new Tally());
  }

  /** The verdicts on those of the askers whose records are there. */
  judge(askers: ReadonlyMap<string, Asker>): ReadonlyMap<string, Verdict> {
    const verdicts = new Map<string, Verdict>();
    const before = new Tally();
    for (const { name, generation, server, ...session } of this.#pending) {
      const asker = askers.get(name);
      if (asker?.generation === generation) verdicts.set(name, this.#judge(asker, before));
      before.add(keyOf(session), server, generation === 1);
    }
    return verdicts;
  }

  #judge({ user, server, opens, maxSessions }: Asker, before: Tally): Verdict {
    const { maxPerUser, maxTotal, opensPerMinutePerUser, opensPerMinute } = this.#limits;
    const certain = this.#certain;
    const caps: readonly (readonly [CapCode, number, number, number])[] = [
      ['SESSION_CAP_USER', maxPerUser, certain.users.get(user) ?? 0, before.users.get(user) ?? 0],
      ['SESSION_CAP_SERVER', maxSessions, certain.servers.get(server) ?? 0, before.servers.get(server) ?? 0],
      ['SESSION_CAP_INSTALL', maxTotal, certain.total, before.total],
    ];
    let unsure: Verdict | undefined;
    for (const [code, limit, sure, maybe] of caps) {
      if (limit === 0) continue;
      if (sure >= limit) return { kind: 'out', code };
      if (sure + maybe >= limit) unsure ??= { kind: 'open', code };
    }
    if (!opens) return unsure ?? { kind: 'in' };
    const rates: readonly (readonly [boolean, number, number, number])[] = [
      [true, opensPerMinutePerUser, certain.openers.get(user) ?? 0, before.openers.get(user) ?? 0],
      [false, opensPerMinute, certain.opened, before.opened],
    ];
    for (const [isOwn, limit, sure, maybe] of rates) {
      if (limit === 0) continue;
      const about = { code: 'SPAWN_RATE', isOwn } as const;
      if (sure >= limit) return { kind: 'out', ...about, waitMs: this.#wait(limit, isOwn ? user : undefined) };
      if (sure + maybe >= limit) unsure ??= { kind: 'open', ...about };
    }
    return unsure ?? { kind: 'in' };
  }

  /** Milliseconds until fewer than `limit` were opened in the last minute. */
  #wait(limit: number, user: string | undefined): number {
    const times = this.#times.filter((one) => user === undefined || one.user === user).map(({ at }) => at);
    const last = times.sort((a, b) => b - a)[limit - 1] ?? this.#wall;
    return Math.max(0, last + MINUTE_MS - this.#wall);
  }
}

function keyOf({ userIssuer, userId }: Pick<SeenSession, 'userIssuer' | 'userId'>): string {
  return userKey({ issuer: userIssuer, id: userId });
}
