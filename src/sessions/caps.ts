/** How many sessions there may be, and how fast they may be opened. Absolute: decided and counted in one step, before anything is awaited. */
import type { UserRef } from '../auth/context';
import type { ServerSpec } from '../config/server';
import { AppError, type ErrorCode } from '../errors';
import { TokenBucket } from './rate';

export interface CapOptions {
  /** Sessions of one user at once; 0: no limit. */
  readonly maxPerUser: number;
  /** Sessions at once; 0: no limit. A server's own limit is its `maxSessions`. */
  readonly maxTotal: number;
  /** Sessions that one user may open a minute, and at once when none was opened for a minute; 0: no limit. */
  readonly opensPerMinutePerUser: number;
  /** The same for all users together; 0: no limit. */
  readonly opensPerMinute: number;
}

/** Which sessions count against a cap. */
export interface CapScope {
  readonly user?: string;
  readonly server?: string;
}

/** A place among the sessions; given back once, further calls do nothing. */
export type Place = () => void;

/** A user as a key; neither part can hold a newline. */
export function userKey(user: Pick<UserRef, 'issuer' | 'id'>): string {
  return `${user.issuer}\n${user.id}`;
}

export class Caps {
  readonly #options: CapOptions;
  readonly #users = new Map<string, number>();
  readonly #servers = new Map<string, number>();
  readonly #userRates = new Map<string, TokenBucket>();
  readonly #rate: TokenBucket;
  #total = 0;

  constructor(options: CapOptions, now: number) {
    this.#options = options;
    this.#rate = new TokenBucket(options.opensPerMinute, now);
  }

  /** Places taken. */
  get total(): number {
    return this.#total;
  }

  /** Users of whom something is kept. */
  get known(): number {
    return new Set([...this.#users.keys(), ...this.#userRates.keys()]).size;
  }

  /**
   * Takes a place. What was refused costs nothing; a place that is given back early, because its start failed, still counts for the rate.
   * @param freeIn seconds until the reaper may free a place in a scope.
   * @param opens whether it is for a new session; one that wakes is no sign of a client that opens too many, and the rates are not for it.
   * @throws AppError `SESSION_CAP_USER`, `SESSION_CAP_SERVER`, `SESSION_CAP_INSTALL`, `SPAWN_RATE`, each with `retryAfter`.
   */
  take(user: string, server: ServerSpec, now: number, freeIn: (scope: CapScope) => number, opens = true): Place {
    const { maxPerUser, maxTotal } = this.#options;
    const ofUser = this.#users.get(user) ?? 0;
    const ofServer = this.#servers.get(server.name) ?? 0;
    if (reached(ofUser, maxPerUser)) throw capUser(maxPerUser, freeIn({ user }));
    if (reached(ofServer, server.maxSessions)) throw capServer(freeIn({ server: server.name }));
    if (reached(this.#total, maxTotal)) throw capInstall(freeIn({}));
    if (opens) this.#takeRate(user, now);
    return this.hold(user, server);
  }

  /** Takes a place for a child that is there already, whatever the caps say. */
  hold(user: string, server: Pick<ServerSpec, 'name'>): Place {
    this.#users.set(user, (this.#users.get(user) ?? 0) + 1);
    this.#servers.set(server.name, (this.#servers.get(server.name) ?? 0) + 1);
    this.#total += 1;
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      less(this.#users, user);
      less(this.#servers, server.name);
      this.#total -= 1;
    };
  }

  /** A session that a place was taken for has not been opened, because others have all that there are: it does not count for the rates. */
  refund(user: string, now: number): void {
    this.#userRates.get(user)?.giveBack(now);
    this.#rate.giveBack(now);
  }

  /** Forgets the rates of users who have not opened anything for a while. */
  sweep(now: number): void {
    for (const [user, bucket] of this.#userRates) if (bucket.isFull(now)) this.#userRates.delete(user);
  }

  #takeRate(user: string, now: number): void {
    const { opensPerMinute, opensPerMinutePerUser } = this.#options;
    if (opensPerMinutePerUser > 0) {
      const own = this.#userRates.get(user) ?? new TokenBucket(opensPerMinutePerUser, now);
      const wait = own.wait(now);
      if (wait > 0) throw spawnRate(true, wait);
      this.#takeSharedRate(opensPerMinute, now);
      own.take(now);
      this.#userRates.set(user, own);
    } else {
      this.#takeSharedRate(opensPerMinute, now);
    }
  }

  #takeSharedRate(perMinute: number, now: number): void {
    if (perMinute === 0) return;
    const wait = this.#rate.wait(now);
    if (wait > 0) throw spawnRate(false, wait);
    this.#rate.take(now);
  }
}

function reached(count: number, limit: number): boolean {
  return limit > 0 && count >= limit;
}

/** The user has as many sessions as there may be. @param seconds until there may be a place. */
export function capUser(maxPerUser: number, seconds: number): AppError {
  const message = `You have ${String(maxPerUser)} sessions open, which is the limit. Close one, or wait until an idle one ends.`;
  return refused('SESSION_CAP_USER', message, seconds);
}

/** See {@link capUser}. */
export function capServer(seconds: number): AppError {
  return refused('SESSION_CAP_SERVER', 'This server has as many sessions as it may have. Try again later.', seconds);
}

/** See {@link capUser}. */
export function capInstall(seconds: number): AppError {
  return refused('SESSION_CAP_INSTALL', 'The gateway has as many sessions as it may have. Try again later.', seconds);
}

/** @param isOwn whether it is the user who opens too many, and not all users together. */
export function spawnRate(isOwn: boolean, seconds: number): AppError {
  const message = isOwn
    ? 'You open sessions too fast. Use the ones you have, or wait.'
    : 'Too many sessions are being opened at the moment. Wait a little.';
  return refused('SPAWN_RATE', message, seconds);
}

function refused(code: ErrorCode, message: string, seconds: number): AppError {
  return new AppError(code, message, { retryAfter: Math.max(1, Math.ceil(seconds)) });
}

function less(counts: Map<string, number>, key: string): void {
  const left = (counts.get(key) ?? 0) - 1;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}
