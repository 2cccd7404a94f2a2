/** Rules about a set of tokens, without clock or store. */
import type { ApplicationName, ForgeTokens, Login, Position } from '../login/contract';
import type { Owner, Pending, SuspendReason, TokenSet } from './contract';

/** Refreshed this long before its end at the latest, in milliseconds and as a share of its life: what is less. */
const AHEAD_MS = 60_000;
const AHEAD_SHARE = 0.2;

/** Not handed out this shortly before its end: the call must reach the forge with it. */
const MARGIN_MS = 5_000;
const MARGIN_SHARE = 0.1;

/** Seconds of the forge's clock beyond which it is believed rather than the counter: a forge restored from a backup counts again. */
const RESTORED = 60;

const DAY = 86_400_000;

/**
 * Where a set is in its life. `fresh`: use it; `due`: use it and refresh; `expired`: refresh first; `last`: use it, it cannot be refreshed;
 * `ended`: it was the last and has expired; `over`: log in again.
 */
export type Stage = 'fresh' | 'due' | 'expired' | 'last' | 'ended' | 'over';

/** @param wall wall-clock milliseconds. */
export function stageOf(set: TokenSet, clientId: string, wall: number): Stage {
  const { tokens, spent } = set;
  if (tokens === undefined || set.clientId !== clientId) return 'over';
  const left = tokens.accessExpiresAt - wall;
  if (spent !== undefined) return left > 0 ? 'last' : 'ended';
  if (left > Math.min(AHEAD_MS, tokens.lifetime * AHEAD_SHARE)) return 'fresh';
  return left > Math.min(MARGIN_MS, tokens.lifetime * MARGIN_SHARE) ? 'due' : 'expired';
}

/** The id of a user's set in the collection. */
export function setId({ issuer, id }: Owner, application: ApplicationName): string {
  return `${issuer}\0${id}\0${application}`;
}

/**
 * Below zero where the forge gave `a` before `b`, above zero where after; undefined where that cannot be told. A forge's grants and their counters
 * only rise, unless it was restored.
 */
export function compare(a: Position | undefined, b: Position | undefined): number | undefined {
  if (a === undefined || b === undefined) return undefined;
  const seconds = a.issuedAt - b.issuedAt;
  if (Math.abs(seconds) > RESTORED) return seconds;
  return a.grant === b.grant ? a.counter - b.counter : a.grant - b.grant;
}

/** The set after a login; undefined where the stored one came from a later login or refresh. */
export function afterLogin(before: TokenSet | undefined, login: Login): TokenSet | undefined {
  if (before !== undefined && before.clientId === login.clientId && before.spent === undefined) {
    const order = compare(login.tokens.position, before.tokens?.position);
    if (order !== undefined && order < 0) return undefined;
  }
  const { user, application, clientId, tokens } = login;
  return { user, application, clientId, generation: (before?.generation ?? 0) + 1, tokens };
}

/** The set after a refresh. */
export function afterRefresh(before: TokenSet, tokens: ForgeTokens): TokenSet {
  const { user, application, clientId, generation } = before;
  return { user, application, clientId, generation: generation + 1, tokens };
}

/** The set with an attempt, or without one. */
export function withPending({ pending: _, ...set }: TokenSet, pending: Pending | undefined): TokenSet {
  return pending === undefined ? set : { ...set, pending };
}

/** The set whose access token is the last one. */
export function asSpent(set: TokenSet, spent: 'lost' | 'shared'): TokenSet {
  return { ...withPending(set, undefined), spent };
}

/** The set of a user who must log in again; the tokens are gone from it. */
export function asSuspended(set: TokenSet, reason: SuspendReason, at: number): TokenSet {
  const { user, application, clientId, generation } = set;
  return { user, application, clientId, generation: generation + 1, suspended: { reason, at } };
}

/**
 * Wall-clock milliseconds at which a record is of no use any more: a day after its refresh token expires (a year at most), else after 90 days.
 */
export function keepUntil(set: TokenSet, wall: number): number {
  const expiresAt = set.tokens?.position?.expiresAt;
  if (expiresAt === undefined) return wall + 90 * DAY;
  return Math.min(Math.max(expiresAt * 1000, wall) + DAY, wall + 366 * DAY);
}
