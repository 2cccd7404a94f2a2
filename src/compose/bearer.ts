/** Bearer mode: clients bring a Forgejo access token, and nobody logs in here. */
import { join } from 'node:path';
import type { Agent } from 'undici';
import { BearerAuthenticator } from '../auth/bearer/authenticator';
import { createWhoAmI } from '../auth/bearer/forge-user';
import { HeldTokens } from '../auth/bearer/held-tokens';
import type { Clock } from '../clock';
import { loadKeys } from '../config/key-files';
import type { Config } from '../config/load';
import { rateKey } from '../http/address';
import type { Metrics } from '../telemetry/metrics';
import { authObserver } from '../telemetry/observers';
import type { Identity } from './identity';

export interface BearerIdentityOptions {
  readonly config: Config;
  readonly dispatcher: Agent;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/** @throws AppError `CONFIG_INVALID` for a key that cannot be used. */
export async function bearerIdentity({ config, dispatcher, metrics, clock }: BearerIdentityOptions): Promise<Identity> {
  const { auth } = config;
  const [key] = await loadKeys(auth.keyFile ?? join(config.dataDir, 'auth.key'));
  const authenticator = new BearerAuthenticator({
    key,
    whoAmI: createWhoAmI({ dispatcher, timeoutMs: auth.timeout * 1000 }),
    clock,
    observer: authObserver(metrics),
    okMs: auth.cacheTime * 1000,
    refusedMs: auth.refusedCacheTime * 1000,
    maxCached: auth.maxCachedTokens,
    failures: {
      burst: auth.failureBurst,
      perMinute: auth.failuresPerMinute,
      maxAddresses: auth.maxCachedTokens,
      keyOf: rateKey,
    },
  });
  return {
    tokens: new HeldTokens((grant) => authenticator.forget(grant)),
    now: async (auth) => auth, // a bearer's token is its grant, and the forge says of each call what it may do
    checks: [],
    serve: () => ({ authenticator }),
    close: async () => undefined,
  };
}
