/** A gateway's vault in a process of its own: the program that `vault-processes.test.ts` forks. It is asked over IPC. */
import { Agent } from 'undici';
import { systemClock } from '../../src/clock';
import type { AppError } from '../../src/errors';
import type { ApplicationName, ForgeUpstream } from '../../src/forgejo/login/contract';
import { ForgeLogin } from '../../src/forgejo/login/login';
import type { TokenSet } from '../../src/forgejo/vault/contract';
import { Vault } from '../../src/forgejo/vault/vault';
import { collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import type { ForgeApplication } from './forge';

/** What the test sends first. */
export interface VaultSetup {
  readonly file: string;
  /** Hex. */
  readonly key: string;
  readonly forge: string;
  readonly applications: Readonly<Record<ApplicationName, ForgeApplication>>;
  /** Milliseconds. */
  readonly takeover: number;
  /** Where it hangs for ever, after saying `hung`: when it has recorded its attempt, or when the forge has answered. */
  readonly hang?: 'before' | 'after';
}

/** What the test sends from then on: ask for the user's token so many times at once. */
export interface VaultQuestion {
  readonly user: { readonly issuer: string; readonly id: string };
  readonly times: number;
}

/** What comes back. */
export type VaultMessage =
  | { readonly kind: 'ready' | 'hung' }
  /** Different tokens and error codes, and how the refreshes went up to now. */
  | { readonly kind: 'answer'; readonly tokens: string[]; readonly codes: string[]; readonly refreshes: string[] };

const say = (message: VaultMessage): void => void process.send?.(message);

function start(setup: VaultSetup): Vault {
  const scopes = ['read:user', 'read:repository'];
  const { read, write } = setup.applications;
  const login = new ForgeLogin({
    url: setup.forge,
    apiUrl: setup.forge,
    applications: { read: { ...read, scopes }, write: { ...write, scopes } },
    dispatcher: new Agent(),
    clock: systemClock,
    timeoutMs: 10_000,
  });
  const hang = (): Promise<never> => {
    say({ kind: 'hung' });
    return new Promise<never>(() => undefined);
  };
  const upstream: ForgeUpstream = {
    clientId: (application) => login.clientId(application),
    account: (token) => login.account(token),
    refresh: async (...args) => {
      if (setup.hang === 'before') return hang();
      const answer = await login.refresh(...args);
      return setup.hang === 'after' ? hang() : answer;
    },
  };
  const sets = collection<TokenSet>(openSqliteRecordStore(setup.file, systemClock), 'forge-tokens', [
    { id: '00000001', secret: Buffer.from(setup.key, 'hex') },
  ]);
  const observer = {
    refreshed: (_: string, outcome: string) => void refreshes.push(outcome),
    suspended: () => undefined,
    shared: () => void refreshes.push('shared'),
  };
  const times = { takeover: setup.takeover, grace: 200, commit: 500 };
  return new Vault({ sets, upstream, clock: systemClock, observer, times });
}

const refreshes: string[] = [];
let vault: Vault | undefined;

process.on('message', (message: VaultSetup | VaultQuestion) => {
  if ('file' in message) {
    vault = start(message);
    say({ kind: 'ready' });
    return;
  }
  const asked = Array.from({ length: message.times }, () => vault!.token(message.user, 'read'));
  void Promise.allSettled(asked).then((results) => {
    const tokens = new Set<string>();
    const codes = new Set<string>();
    for (const result of results) {
      if (result.status === 'fulfilled') tokens.add(result.value);
      else codes.add((result.reason as AppError).code);
    }
    say({ kind: 'answer', tokens: [...tokens], codes: [...codes], refreshes });
  });
});
process.on('disconnect', () => process.exit(0));
