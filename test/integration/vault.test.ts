/** The vault against the real forge, with access tokens of a few seconds and two instances on one SQLite file. */
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from 'undici';
import { systemClock } from '../../src/clock';
import type { AppError } from '../../src/errors';
import type { ApplicationName, Login } from '../../src/forgejo/login/contract';
import { ForgeLogin } from '../../src/forgejo/login/login';
import type { SuspendReason, TokenSet, VaultTimes } from '../../src/forgejo/vault/contract';
import { Vault } from '../../src/forgejo/vault/vault';
import type { RecordStore } from '../../src/stores/contract';
import { collection, type SealingKey } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { type Forge, type ForgeApplication, startForge } from '../support/forge';
import { keptEvents } from '../support/fake-upstream';
import { ForgeBrowser } from '../support/forge-browser';

const CALLBACK = 'http://127.0.0.1:9/callback';
/** Seconds. */
const LIFETIME = 4;

interface Instance {
  readonly vault: Vault;
  readonly refreshes: string[];
  readonly suspensions: SuspendReason[];
  readonly shared: string[];
}

describe('vault at the real forge', function () {
  this.timeout(120_000);
  const keys: SealingKey[] = [{ id: '00000001', secret: randomBytes(32) }];
  let forge: Forge;
  let agent: Agent;
  let folder: string;
  let stores: RecordStore[] = [];
  let applications: Record<ApplicationName, ForgeApplication>;
  let login: ForgeLogin;

  const makeLogin = (timeoutMs: number): ForgeLogin => {
    const scopes = ['read:user', 'read:repository'];
    return new ForgeLogin({
      url: forge.url,
      apiUrl: forge.url,
      applications: { read: { ...applications.read, scopes }, write: { ...applications.write, scopes } },
      dispatcher: agent,
      clock: systemClock,
      timeoutMs,
    });
  };
  /** A gateway with a connection to the file of its own. */
  const instance = (upstream = login, times: Partial<VaultTimes> = {}): Instance => {
    const store = openSqliteRecordStore(join(folder, 'records.db'), systemClock);
    stores.push(store);
    const { observer, ...kept } = keptEvents();
    const sets = collection<TokenSet>(store, 'forge-tokens', keys);
    const options = { sets, upstream, clock: systemClock, observer };
    return {
      vault: new Vault({ ...options, times: { backoff: [200, 500], ...times } }),
      ...kept,
    };
  };
  const logIn = async (name: string, by = login): Promise<Login> => {
    const { url, begun } = await by.begin('read', CALLBACK);
    const callback = await new ForgeBrowser(forge.url, forge.user(name)).authorize(url);
    return by.finish(begun, callback.searchParams);
  };
  const code = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'well',
      (error: AppError) => error.code,
    );
  const works = async (name: string, as: string): Promise<boolean> =>
    (await forge.api(`/repos/${name}/private-notes`, { as })).status === 200;
  /** Waits until a set's access token has run out. */
  const outlive = ({ tokens }: Login): Promise<void> =>
    new Promise((resolve) => setTimeout(resolve, Math.max(0, tokens.accessExpiresAt - Date.now()) + 50));

  before(async () => {
    agent = new Agent();
    folder = await mkdtemp(join(tmpdir(), 'fmo-vault-'));
    forge = await startForge({
      users: ['alice', 'bob', 'carol', 'dave', 'erin'],
      ini: `[oauth2]\nACCESS_TOKEN_EXPIRATION_TIME = ${LIFETIME}`,
    });
    applications = {
      read: await forge.application('gateway-read', CALLBACK),
      write: await forge.application('gateway-write', CALLBACK),
    };
    login = makeLogin(10_000);
  });
  afterEach(async () => {
    await Promise.all(stores.map((store) => store.close()));
    stores = [];
  });
  after(async () => {
    await agent.destroy();
    await forge.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('200 callers at two gateways on one file: one refresh per expiry, no failure, and every token works', async () => {
    const gateways = [instance(), instance()];
    const found = await logIn('alice');
    await gateways[0].vault.store(found);
    const tokens = new Set([found.tokens.accessToken]);
    const rounds = 4;
    for (let round = 0; round < rounds; round++) {
      // Everybody asks when the token has just run out: nobody has one to go on with.
      const set = await collection<TokenSet>(stores[0], 'forge-tokens', keys).find();
      await outlive({ ...found, tokens: set[0].value.tokens! });
      const asked = Array.from({ length: 200 }, (_, n) => gateways[n % 2].vault.token(found.user, 'read'));
      const got = new Set(await Promise.all(asked));
      expect(got.size).to.equal(1);
      const [token] = got;
      expect(tokens.has(token)).to.equal(false);
      tokens.add(token);
      expect(await works('alice', token)).to.equal(true);
    }
    const refreshes = gateways.flatMap((one) => one.refreshes);
    expect(refreshes).to.deep.equal(Array.from({ length: rounds }, () => 'refreshed'));
    expect(gateways.flatMap((one) => [...one.suspensions, ...one.shared])).to.deep.equal([]);
  });

  it('200 callers who never stop, over three expiries: no call is refused and no token is refreshed twice', async () => {
    const gateways = [instance(), instance()];
    const found = await logIn('bob');
    await gateways[0].vault.store(found);
    const until = Date.now() + LIFETIME * 3000;
    const seen = new Set<string>();
    let asked = 0;
    const caller = async (n: number): Promise<void> => {
      while (Date.now() < until) {
        const token = await gateways[n % 2].vault.token(found.user, 'read');
        asked += 1;
        if (!seen.has(token)) {
          seen.add(token);
          expect(await works('bob', token)).to.equal(true);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    await Promise.all(Array.from({ length: 200 }, (_, n) => caller(n)));
    const refreshes = gateways.flatMap((one) => one.refreshes);
    expect(asked).to.be.above(2000);
    expect(new Set(refreshes)).to.deep.equal(new Set(['refreshed']));
    // The first token came by the login; the last refresh may have come too late to be seen.
    expect(refreshes.length - (seen.size - 1)).to.be.within(0, 1);
  });

  it('a second login by another gateway: both go on with the new tokens', async () => {
    const [one, two] = [instance(), instance()];
    const first = await logIn('alice');
    await one.vault.store(first);
    await one.vault.token(first.user, 'read');
    const second = await logIn('alice');
    await two.vault.store(second);
    expect((await login.refresh('read', first.tokens.refreshToken)).kind).to.equal('used');
    await outlive(second);
    expect(await works('alice', await one.vault.token(first.user, 'read'))).to.equal(true);
    expect(await works('alice', await two.vault.token(first.user, 'read'))).to.equal(true);
    expect([...one.refreshes, ...two.refreshes]).to.deep.equal(['refreshed']);
  });

  it('a refresh that was cut off between forge and store: the user logs in again, and only then is all well', async () => {
    const one = instance(login, { grace: 200 });
    const found = await logIn('carol');
    await one.vault.store(found);
    const cut = instance(
      {
        clientId: (application: ApplicationName) => login.clientId(application),
        account: (token: string) => login.account(token),
        refresh: async (...args: Parameters<ForgeLogin['refresh']>) => {
          await login.refresh(...args); // the forge has counted
          const answer = await makeLogin(1).refresh(...args);
          if (answer.kind !== 'unreachable') throw new Error(answer.kind);
          return { ...answer, reached: true };
        },
      } as ForgeLogin,
      { grace: 200 },
    );
    await outlive(found);
    expect(await code(cut.vault.token(found.user, 'read'))).to.equal('FORGE_TOKEN_UNAVAILABLE');
    expect(await code(one.vault.token(found.user, 'read'))).to.equal('AUTH_INVALID');
    expect(await code(one.vault.token(found.user, 'read'))).to.equal('AUTH_INVALID');
    expect(one.refreshes).to.deep.equal(['used']);
    expect(one.suspensions).to.deep.equal(['lost']);
    expect(one.shared).to.deep.equal([]);
    await cut.vault.store(await logIn('carol'));
    expect(await works('carol', await one.vault.token(found.user, 'read'))).to.equal(true);
  });

  it('another install uses the same application: told as shared, and the user must log in again', async () => {
    const one = instance(login, { grace: 200 });
    const found = await logIn('dave');
    await one.vault.store(found);
    await logIn('dave'); // somewhere else
    await outlive(found);
    expect(await code(one.vault.token(found.user, 'read'))).to.equal('AUTH_INVALID');
    expect(one.shared).to.deep.equal(['read']);
    expect(one.suspensions).to.deep.equal(['shared']);
  });

  it('prohibit_login: the refresh still works, the probe says blocked, and every gateway stops', async () => {
    const [one, two] = [instance(), instance()];
    const found = await logIn('erin');
    await one.vault.store(found);
    expect(await one.vault.probe(found.user, 'read')).to.deep.include({ verdict: 'ok' });
    const patch = { login_name: 'erin', source_id: 0, prohibit_login: true };
    await forge.api('/admin/users/erin', { method: 'PATCH', body: patch });
    await outlive(found);
    expect(await one.vault.probe(found.user, 'read')).to.deep.equal({ verdict: 'ended', reason: 'blocked' });
    expect(one.refreshes).to.deep.equal(['refreshed']);
    expect(await two.vault.suspended(found.user)).to.equal(true);
    expect(await code(two.vault.token(found.user, 'read'))).to.equal('AUTH_INVALID');
  });

  it('a forge that hangs or is stopped ends nobody: 503, and the same login goes on afterwards', async () => {
    const one = instance(makeLogin(1000), { wait: 3000 });
    const found = await logIn('bob');
    await one.vault.store(found);
    await forge.kill();
    try {
      await outlive(found);
      expect(await code(one.vault.token(found.user, 'read'))).to.equal('FORGE_TOKEN_UNAVAILABLE');
      expect(await one.vault.probe(found.user, 'read')).to.deep.include({ verdict: 'unknown' });
      expect(await one.vault.suspended(found.user)).to.equal(false);
    } finally {
      await forge.restart();
    }
    const deadline = Date.now() + 20_000;
    while ((await code(one.vault.token(found.user, 'read'))) !== 'well' && Date.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await works('bob', await one.vault.token(found.user, 'read'))).to.equal(true);
    expect(one.suspensions).to.deep.equal([]);
  });

  it('a deleted application: the probe finds the token refused, and the user must log in again', async () => {
    const gone = await forge.application('gateway-gone', CALLBACK);
    const { read } = applications;
    applications.read = gone;
    try {
      const own = makeLogin(10_000);
      const [one, two] = [instance(own), instance(own)];
      const found = await logIn('alice', own);
      await one.vault.store(found);
      await forge.deleteApplication(gone);
      expect(await one.vault.probe(found.user, 'read')).to.deep.equal({ verdict: 'ended', reason: 'revoked' });
      expect(await code(two.vault.token(found.user, 'read'))).to.equal('AUTH_INVALID');
    } finally {
      applications.read = read;
    }
  });

  it('leaves no token readable in the file', async () => {
    const one = instance();
    const found = await logIn('alice');
    await one.vault.store(found);
    const { accessToken, refreshToken } = found.tokens;
    for (const file of ['records.db', 'records.db-wal']) {
      const bytes = await readFile(join(folder, file)).catch(() => Buffer.alloc(0));
      for (const secret of [accessToken, refreshToken, forge.url]) expect(bytes.includes(secret)).to.equal(false);
    }
    await one.vault.forget(found.user);
    expect(await code(one.vault.token(found.user, 'read'))).to.equal('AUTH_INVALID');
  });
});
