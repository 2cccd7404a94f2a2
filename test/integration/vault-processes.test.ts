/** Vaults in processes of their own on one SQLite file and one real forge, and one of them killed where it hurts. */
import { expect } from 'chai';
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Agent } from 'undici';
import { systemClock } from '../../src/clock';
import type { Login } from '../../src/forgejo/login/contract';
import { ForgeLogin } from '../../src/forgejo/login/login';
import type { TokenSet } from '../../src/forgejo/vault/contract';
import { Vault } from '../../src/forgejo/vault/vault';
import type { RecordStore } from '../../src/stores/contract';
import { collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { type Forge, type ForgeApplication, startForge } from '../support/forge';
import { ForgeBrowser } from '../support/forge-browser';
import type { VaultMessage, VaultQuestion, VaultSetup } from '../support/vault-process';

const CALLBACK = 'http://127.0.0.1:9/callback';
const PROGRAM = resolve(__dirname, '../support/vault-process.ts');
const TAKEOVER_MS = 1500;
const DEADLINE_MS = 30_000;

/** One process, and what it has said so far. */
class Gateway {
  private readonly said: VaultMessage[] = [];

  constructor(private readonly child: ChildProcess) {
    child.on('message', (message: VaultMessage) => {
      this.said.push(message);
      child.emit('said');
    });
  }

  ask(user: Login['user'], times = 50): Promise<VaultMessage & { kind: 'answer' }> {
    this.child.send({ user, times } satisfies VaultQuestion);
    return this.next('answer') as Promise<VaultMessage & { kind: 'answer' }>;
  }

  /** The next message of a kind. */
  async next(kind: VaultMessage['kind']): Promise<VaultMessage> {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    for (;;) {
      const index = this.said.findIndex((message) => message.kind === kind);
      if (index >= 0) return this.said.splice(index, 1)[0];
      await once(this.child, 'said', { signal });
    }
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}

describe('vaults in several processes', function () {
  this.timeout(90_000);
  const key = randomBytes(32);
  let forge: Forge;
  let agent: Agent;
  let folder: string;
  let store: RecordStore;
  let login: ForgeLogin;
  let vault: Vault;
  let applications: VaultSetup['applications'];
  let gateways: Gateway[] = [];

  const gateway = async (hang?: 'before' | 'after'): Promise<Gateway> => {
    const child = fork(PROGRAM, [], {
      execArgv: ['-r', 'ts-node/register/transpile-only'],
      env: { PATH: process.env['PATH'] },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const made = new Gateway(child);
    gateways.push(made);
    child.send({
      file: join(folder, 'records.db'),
      key: key.toString('hex'),
      forge: forge.url,
      applications,
      takeover: TAKEOVER_MS,
      ...(hang === undefined ? {} : { hang }),
    } satisfies VaultSetup);
    await made.next('ready');
    return made;
  };
  const logIn = async (name: string): Promise<Login> => {
    const { url, begun } = await login.begin('read', CALLBACK);
    const found = await login.finish(
      begun,
      (await new ForgeBrowser(forge.url, forge.user(name)).authorize(url)).searchParams,
    );
    await vault.store(found);
    return found;
  };
  const outlive = ({ tokens }: Login): Promise<void> =>
    new Promise((next) => setTimeout(next, Math.max(0, tokens.accessExpiresAt - Date.now()) + 50));
  const works = async (name: string, as: string): Promise<boolean> =>
    (await forge.api(`/repos/${name}/private-notes`, { as })).status === 200;

  before(async () => {
    agent = new Agent();
    folder = await mkdtemp(join(tmpdir(), 'fmo-vaults-'));
    forge = await startForge({ ini: '[oauth2]\nACCESS_TOKEN_EXPIRATION_TIME = 4' });
    const made: ForgeApplication[] = [];
    for (const name of ['read', 'write']) made.push(await forge.application(name, CALLBACK));
    applications = { read: made[0], write: made[1] };
    const scopes = ['read:user', 'read:repository'];
    login = new ForgeLogin({
      url: forge.url,
      apiUrl: forge.url,
      applications: { read: { ...made[0], scopes }, write: { ...made[1], scopes } },
      dispatcher: agent,
      clock: systemClock,
      timeoutMs: 10_000,
    });
    store = openSqliteRecordStore(join(folder, 'records.db'), systemClock);
    const observer = { refreshed: () => undefined, suspended: () => undefined, shared: () => undefined };
    const sets = collection<TokenSet>(store, 'forge-tokens', [{ id: '00000001', secret: key }]);
    vault = new Vault({ sets, upstream: login, clock: systemClock, observer });
  });
  afterEach(async () => {
    await Promise.all(gateways.map((one) => one.kill()));
    gateways = [];
  });
  after(async () => {
    await store.close();
    await agent.destroy();
    await forge.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('three of them and 150 callers who all find the token expired: one refresh, one token for all', async () => {
    const all = await Promise.all([gateway(), gateway(), gateway()]);
    const found = await logIn('alice');
    await outlive(found);
    const answers = await Promise.all(all.map((one) => one.ask(found.user)));
    const tokens = new Set(answers.flatMap((answer) => answer.tokens));
    expect(tokens.size).to.equal(1);
    expect(answers.flatMap(({ codes }) => codes)).to.deep.equal([]);
    expect(answers.flatMap(({ refreshes }) => refreshes)).to.deep.equal(['refreshed']);
    expect(await works('alice', [...tokens][0])).to.equal(true);
  });

  it('one is killed before it asked the forge: another takes over with the old token, and nobody notices', async () => {
    const [dying, other] = await Promise.all([gateway('before'), gateway()]);
    const found = await logIn('alice');
    await outlive(found);
    void dying.ask(found.user).catch(() => undefined);
    await dying.next('hung');
    await dying.kill();
    const { tokens, codes, refreshes } = await other.ask(found.user);
    expect([tokens.length, codes, refreshes]).to.deep.equal([1, [], ['recovered']]);
    expect(await works('alice', tokens[0])).to.equal(true);
  });

  it('one is killed after the forge answered: a clear 401, no loop, and a new login mends it', async () => {
    const [dying, other] = await Promise.all([gateway('after'), gateway()]);
    const found = await logIn('bob');
    await outlive(found);
    void dying.ask(found.user).catch(() => undefined);
    await dying.next('hung');
    await dying.kill();
    for (let n = 0; n < 3; n++) {
      const { tokens, codes, refreshes } = await other.ask(found.user);
      expect([tokens, codes, refreshes]).to.deep.equal([[], ['AUTH_INVALID'], ['used']]);
    }
    await logIn('bob');
    const { tokens, codes } = await other.ask(found.user);
    expect([tokens.length, codes]).to.deep.equal([1, []]);
    expect(await works('bob', tokens[0])).to.equal(true);
  });
});
