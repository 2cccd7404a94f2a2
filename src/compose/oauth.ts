/** OAuth mode: the authorization server, the resource server, the vault and the pages, made into one identity. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Agent } from 'undici';
import type { AuthContext } from '../auth/context';
import { masterKeys } from '../auth/keys/master';
import { SigningKeyRing } from '../auth/keys/ring';
import { type GrantRecord, Grants } from '../auth/provider/grants';
import { providerRecords } from '../auth/provider/records';
import { LiveGrants } from '../auth/resource/live-grants';
import { SCOPES } from '../auth/resource/metadata';
import type { ServerCatalog } from '../catalog/contract';
import type { Clock } from '../clock';
import { loadKeys } from '../config/key-files';
import type { Config } from '../config/load';
import { AppError } from '../errors';
import { Forges } from '../forgejo/forges';
import type { TokenSet } from '../forgejo/vault/contract';
import { VaultTokens } from '../forgejo/vault/tokens';
import { within } from '../forgejo/vault/wait';
import { isAway } from '../kube/error';
import type { SessionView } from '../sessions/ports';
import type { Registry } from '../sessions/registry';
import { collection } from '../stores/sealed';
import { vaultObserver } from '../telemetry/audit';
import type { Logger } from '../telemetry/log';
import type { Metrics } from '../telemetry/metrics';
import type { Identity } from './identity';
import { serveLogins } from './logins';
import type { Records } from './records';
import { startUpkeep, type Upkeep } from './upkeep';
import { userSessions } from './user-sessions';

export interface OAuthIdentityOptions {
  readonly config: Config;
  readonly catalog: ServerCatalog;
  readonly records: Records;
  readonly dispatcher: Agent;
  /** Asked for late: it is built after this. */
  readonly sessions: () => Registry;
  /** Of the sessions of all gateways; undefined where this is the only one. */
  readonly view: SessionView | undefined;
  /** Names this gateway in them. */
  readonly self: string;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Milliseconds: how old an answer about a grant may be. */
const LIVE_MS = 2_000;
/** Grants whose answer is remembered. */
const LIVE_MAX = 10_000;
/** Milliseconds beyond an access token's life for which its key still verifies; clocks differ. */
const RETIRE_SLACK_MS = 600_000;
/** Milliseconds after which every gateway has read a new signing key: they look every minute. */
const SETTLED_MS = 150_000;
/** Milliseconds between two reads of the store for signing keys that are not known. */
const RELOAD_GAP_MS = 1_000;
/** Milliseconds for refreshes that run when the gateway stops: the forge's deadline, and a moment to store the answer. */
const SETTLE_MS = 12_000;

/** @throws AppError `CONFIG_INVALID` for keys and secrets that cannot be read, `STORE_UNAVAILABLE`. */
export async function oauthIdentity(options: OAuthIdentityOptions): Promise<Identity> {
  const { config, catalog, records, dispatcher, sessions, view, self, metrics, log, clock } = options;
  const { oauth } = config.auth;
  const { store } = records;
  const masters = masterKeys(await loadKeys(oauth.keyFile ?? join(config.dataDir, 'oauth.key')));
  const ring = await SigningKeyRing.open({
    records: collection(store, 'oauth-keys', masters),
    clock,
    rotateAfter: oauth.signingKeyLifetime * 1000,
    retireAfter: oauth.accessTokenLifetime * 1000 + RETIRE_SLACK_MS,
    settleAfter: SETTLED_MS,
    reloadGap: RELOAD_GAP_MS,
  });
  const kept = providerRecords(store, masters);
  const grants = new Grants({
    grants: kept.grants,
    members: [kept.refreshTokens, kept.codes],
    clock,
    lifetime: oauth.grantLifetime,
    pending: oauth.loginTimeout,
    revoked: (grant) => {
      live.forget(grant);
      void sessions().endGrant(grant);
    },
  });
  const live = new LiveGrants<GrantRecord>({
    find: (id) => grants.find(id),
    clock,
    maxAge: LIVE_MS,
    max: LIVE_MAX,
  });
  const forges = new Forges({
    servers: config.servers,
    present: () => catalog.all(),
    secrets: await readSecrets(config),
    sets: collection<TokenSet>(store, 'forge-tokens', masters),
    dispatcher,
    clock,
    timeoutMs: config.auth.timeout * 1000,
    observer: vaultObserver(metrics, log),
  });
  /** A grant that lives, of a user whose tokens at the forge are good. */
  const usable = async (id: string, fresh?: { readonly fresh?: boolean }): Promise<GrantRecord | undefined> => {
    const grant = await live.find(id, fresh);
    if (grant === undefined || (await forges.suspended(grant.user, grant.application))) return undefined;
    return grant;
  };
  const tokens = new VaultTokens(forges, (id) => live.find(id));
  let upkeep: Upkeep | undefined;

  return {
    tokens,
    now: async ({ grant }: AuthContext) => {
      const found = await live.find(grant);
      return found === undefined ? undefined : { scopes: new Set(found.scopes), choice: found.policy };
    },
    checks: [{ name: 'logins', check: () => store.check(), isOutage: isAway }],
    serve(publicUrl, bodies) {
      const served = serveLogins({
        config,
        catalog,
        publicUrl,
        bodies,
        store,
        masters,
        ring,
        kept,
        grants,
        usable,
        forget: (grant) => live.forget(grant),
        forges,
        sessions: userSessions(sessions, view, self, clock),
        scopes: SCOPES,
        metrics,
        log,
        clock,
      });
      upkeep = startUpkeep({
        records,
        masters,
        ring,
        tokens,
        vault: forges,
        sessions: sessions(),
        revoke: (grant) => grants.revoke(grant),
        lives: async (id) => (await usable(id)) !== undefined,
        probeInterval: oauth.probeInterval * 1000,
        log,
        clock,
      });
      return served;
    },
    async close() {
      await upkeep?.stop();
      // The forge counts before it answers: a refresh whose answer finds no store to be kept in has logged its user out.
      const late = (): Error => new Error('refreshes run on');
      await within(forges.settled(), clock, SETTLE_MS, undefined, late).catch(() => log.warn('oauth.refresh-cut', {}));
    },
  };
}

/** The client secrets of all applications, by file. */
async function readSecrets(config: Config): Promise<ReadonlyMap<string, string>> {
  const files = config.servers.flatMap(({ forgejo: { applications } }) =>
    applications === undefined ? [] : [applications.read.clientSecretFile, applications.write.clientSecretFile],
  );
  const secrets = new Map<string, string>();
  for (const file of new Set(files)) {
    const text = await readFile(file, 'utf8').catch((thrown: unknown) => {
      const { code } = thrown as NodeJS.ErrnoException;
      throw new AppError('CONFIG_INVALID', `${file}: the client secret cannot be read (${code ?? 'unknown'}).`);
    });
    const secret = text.trim();
    if (secret === '') throw new AppError('CONFIG_INVALID', `${file}: there is no client secret in it.`);
    secrets.set(file, secret);
  }
  return secrets;
}
