/** The kinds of records that the authorization server keeps. What exists before a login has a kind of its own: it is bounded apart. */
import type { AdapterPayload } from 'oidc-provider';
import type { RecordStore } from '../../stores/contract';
import { collection, type Collection, type SealingKey } from '../../stores/sealed';
import type { GrantRecord } from './grants';
import type { RefreshFamily } from './refresh-tokens';

export interface ProviderRecords {
  readonly grants: Collection<GrantRecord>;
  readonly codes: Collection<AdapterPayload>;
  readonly refreshTokens: Collection<RefreshFamily>;
  /** Logins under way, of people whom nobody knows yet. */
  readonly interactions: Collection<AdapterPayload>;
}

/** The records of a store. @param keys see {@link collection}. */
export function providerRecords(store: RecordStore, keys: readonly SealingKey[]): ProviderRecords {
  return {
    grants: collection(store, 'oauth-grant', keys),
    codes: collection(store, 'oauth-code', keys),
    refreshTokens: collection(store, 'oauth-refresh', keys),
    interactions: collection(store, 'oauth-anonymous', keys),
  };
}

/** Tags that a grant's tokens carry, and grants themselves. */
export const GRANT_TAG = 'grant';
export const USER_TAG = 'user';
