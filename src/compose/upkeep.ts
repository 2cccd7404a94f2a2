/** What runs beside the requests in OAuth mode: keys, grants, users and records are looked after for as long as the gateway runs. */
import type { SigningKeyRing } from '../auth/keys/ring';
import { GrantWatch } from '../auth/resource/watch';
import type { Clock } from '../clock';
import type { Vault } from '../forgejo/vault/vault';
import { Prober } from '../forgejo/vault/prober';
import type { VaultTokens } from '../forgejo/vault/tokens';
import type { Registry } from '../sessions/registry';
import { startResealer } from '../stores/reseal';
import type { SealingKey } from '../stores/sealed';
import { startSweeper } from '../stores/sweeper';
import type { Logger } from '../telemetry/log';
import { type Records, SWEEP_MS } from './records';

export interface UpkeepOptions {
  readonly records: Records;
  /** The first one is the newest. */
  readonly masters: readonly SealingKey[];
  readonly ring: Pick<SigningKeyRing, 'maintain'>;
  readonly tokens: Pick<VaultTokens, 'holders'>;
  readonly vault: Pick<Vault, 'probe'>;
  readonly sessions: Pick<Registry, 'grants' | 'endGrant' | 'sessionsOf'>;
  /** Ends a grant, and its sessions with it. Rejects with `STORE_UNAVAILABLE`. */
  readonly revoke: (grant: string) => Promise<unknown>;
  /** Whether a grant lives, of a user whose tokens at the forge are good. Rejects with `STORE_UNAVAILABLE`. */
  readonly lives: (grant: string) => Promise<boolean>;
  /** Milliseconds between two questions to the forge about a user. */
  readonly probeInterval: number;
  readonly log: Logger;
  readonly clock: Clock;
}

export interface Upkeep {
  /** Resolves when nothing of it writes to the store any more. */
  stop(): Promise<void>;
}

const MAINTAIN_MS = 60_000;
/** Milliseconds between two rounds of resealing; there are some only while the file with the master keys has an older one. */
const RESEAL_MS = 300_000;

/**
 * Kinds of records that outlive a login. Those of a login under way are left to expire: a code is redeemed by compare-and-set, and one that was written anew in
 * between would look as if it were redeemed twice.
 */
export const LASTING_KINDS = [
  'oauth-keys',
  'oauth-grant',
  'oauth-refresh',
  'oauth-client',
  'oauth-document',
  'forge-tokens',
] as const;

/** Starts all of it. Nothing of it rejects: what fails is told to the log, and tried again at its next turn. */
export function startUpkeep(options: UpkeepOptions): Upkeep {
  const { records, masters, ring, tokens, vault, sessions, revoke, lives, probeInterval, log, clock } = options;
  const { store, turn } = records;
  const common = { store, ...(turn === undefined ? {} : { turn }), clock, log };
  const sweeper = startSweeper({ ...common, intervalMs: SWEEP_MS });
  const resealer = startResealer({ ...common, kinds: LASTING_KINDS, keys: masters, intervalMs: RESEAL_MS });
  const keys = clock.every(MAINTAIN_MS, () => {
    ring.maintain().catch((thrown: unknown) => log.warn('oauth.keys', { error: thrown }));
  });
  const watch = new GrantWatch({
    grants: () => sessions.grants(),
    lives,
    ended: (grant) => void sessions.endGrant(grant),
    clock,
  });
  const prober = new Prober({
    vault,
    holders: () => tokens.holders(),
    clock,
    interval: probeInterval,
    ended: () => void watch.round(), // the vault knows now, and the watch asks it
    seen: ({ user }, { isAdmin }) => {
      if (!isAdmin) return;
      // The grant, not the session alone: the client would open the next one at once. A new login is refused.
      for (const { auth, server } of sessions.sessionsOf(user)) {
        if (server.forgejo.insecureAllowSiteAdmins) continue;
        revoke(auth.grant).catch((thrown: unknown) => log.warn('oauth.revoke', { error: thrown }));
      }
    },
  });
  return {
    async stop() {
      keys.cancel();
      watch.stop();
      prober.stop();
      await resealer.stop();
      await sweeper.stop(); // the last one: it gives the turn up
    },
  };
}
