/** What the vault is handed, what it tells, and what it keeps. */
import type { UserRef } from '../../auth/context';
import { AppError } from '../../errors';
import type { ApplicationName, ForgeTokens } from '../login/contract';

/** Who a set of tokens belongs to. The login name is not looked at. */
export type Owner = Pick<UserRef, 'issuer' | 'id'>;

/**
 * Why a user must log in again. `revoked`: the forge takes neither token any more; `blocked`: the account may not log in; `lost`: a refresh was
 * cut off between the forge and the store; `shared`: somebody else used the refresh token.
 */
export type SuspendReason = 'revoked' | 'blocked' | 'lost' | 'shared';

/** A refresh that has been begun. Recorded before the forge is asked, because the forge counts before it answers. */
export interface Pending {
  readonly attempt: string;
  /** The vault instance that asks. */
  readonly holder: string;
  /** Wall-clock milliseconds. */
  readonly since: number;
  /** The holder got no verdict and has given up: the next one may try at once. */
  readonly released?: true;
}

/** The tokens of one user by one application: a record of the store. */
export interface TokenSet {
  readonly user: UserRef;
  readonly application: ApplicationName;
  readonly clientId: string;
  /** Raised by every login and every refresh. */
  readonly generation: number;
  /** Absent once suspended. */
  readonly tokens?: ForgeTokens;
  readonly pending?: Pending;
  /** The refresh token is used up: the access token is the last one. */
  readonly spent?: 'lost' | 'shared';
  readonly suspended?: { readonly reason: SuspendReason; readonly at: number };
}

/** How a refresh went; a metric label. `recovered`: the token of an earlier attempt without a verdict was still good. */
export type RefreshOutcome = 'refreshed' | 'recovered' | 'used' | 'dead' | 'misconfigured' | 'unreachable';

/** Told synchronously: must not throw and must be quick. */
export interface VaultObserver {
  /** One refresh at the forge is over. */
  refreshed(application: ApplicationName, outcome: RefreshOutcome, seconds: number): void;
  /** This instance has found out that the user must log in again. */
  suspended(user: UserRef, application: ApplicationName, reason: SuspendReason): void;
  /**
   * A refresh token had been used although no gateway of this install recorded an attempt: the condition `OAuthApplicationShared`. Two installs need
   * two applications at the forge each. A gateway that dies between a login's code exchange and its store looks the same, once.
   */
  shared(application: ApplicationName): void;
}

/** Milliseconds. */
export interface VaultTimes {
  /** For which a set that was read is not read again. Bounds how long another gateway's suspension goes unnoticed. */
  readonly cache: number;
  /** For which a caller without a usable token waits for a refresh. */
  readonly wait: number;
  /** After which another holder's attempt is taken for dead. More than the forge's deadline, `grace` and `commit` together. */
  readonly takeover: number;
  /** For which a new login may still be on its way into the store when the forge says that the old token was used. */
  readonly grace: number;
  /** Between two looks at another holder's attempt. */
  readonly poll: number;
  /** For which new tokens are tried to be stored while the store is away. */
  readonly commit: number;
  /** First and longest pause after a refresh without a verdict. */
  readonly backoff: readonly [first: number, longest: number];
}

/** For a forge that is given 10 s for a request. */
export const VAULT_TIMES: VaultTimes = {
  cache: 2_000,
  wait: 15_000,
  takeover: 30_000,
  grace: 5_000,
  poll: 100,
  commit: 10_000,
  backoff: [1_000, 10_000],
};

/** Sets that are kept in memory, and users whose refreshes pause; far more than have sessions at once. */
export const MAX_REMEMBERED = 10_000;

/** The one thing that ends a login: `AUTH_INVALID`. */
export function mustLogIn(reason: SuspendReason | 'absent' | 'application'): AppError {
  return new AppError('AUTH_INVALID', 'Your login at Forgejo has ended. Connect again and log in.', {
    detail: `forge tokens: ${reason}`,
  });
}

/** No token now, and no verdict on the login: `FORGE_TOKEN_UNAVAILABLE`, to be tried again. */
export function notNow(detail: string, retryAfter: number): AppError {
  return new AppError(
    'FORGE_TOKEN_UNAVAILABLE',
    'Forgejo cannot be asked for a fresh token at the moment. Try again later.',
    {
      detail,
      retryAfter,
    },
  );
}
