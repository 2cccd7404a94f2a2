/** What stands behind logins: the watch that ends what a grant let run, the forges of all servers, and the store. */
import { expect } from 'chai';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent } from 'undici';
import { GrantWatch } from '../../src/auth/resource/watch';
import { openRecords } from '../../src/compose/records';
import { loadConfig } from '../../src/config/load';
import { AppError } from '../../src/errors';
import { Forges } from '../../src/forgejo/forges';
import type { TokenSet } from '../../src/forgejo/vault/contract';
import { setId } from '../../src/forgejo/vault/set';
import { collection, type Collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { FakeClock, settle } from '../support/fake-link';
import { deferred } from '../support/gateway-app';
import { MASTER, USER } from '../support/oauth';
import { serverSpec } from '../support/server-spec';

const codeOf = (thrown: unknown): string => (thrown instanceof AppError ? thrown.code : String(thrown));

describe('the watch on grants', () => {
  it('tells of each grant that has ended, in every round until its sessions are gone, and of no other', async () => {
    const clock = new FakeClock();
    const live = new Set(Array.from({ length: 100 }, (_, i) => `g${i}`));
    const ended: string[] = [];
    let fault = false;
    const watch = new GrantWatch({
      grants: () => Array.from({ length: 100 }, (_, i) => `g${i}`),
      lives: async (id) => {
        if (fault) throw new AppError('STORE_UNAVAILABLE', 'The store is away.');
        return live.has(id);
      },
      ended: (id) => ended.push(id),
      clock,
      interval: 1000,
    });
    const tick = async (): Promise<string[]> => {
      clock.advance(1000);
      await watch.round();
      return ended.splice(0);
    };
    expect(await tick()).to.deep.equal([]);
    live.delete('g7');
    live.delete('g70');
    expect(new Set(await tick())).to.deep.equal(new Set(['g7', 'g70']));
    fault = true;
    expect(await tick(), 'no answer is no verdict').to.deep.equal([]);
    fault = false;
    expect(new Set(await tick())).to.deep.equal(new Set(['g7', 'g70']));
    watch.stop();
    expect(clock.timers).to.equal(0);
  });

  it('asks a few at once only, sees what ended after a round began in the next one, and says nothing once it is stopped', async () => {
    const clock = new FakeClock();
    const gate = deferred<void>();
    let waiting = 0;
    let most = 0;
    let lives = true;
    const ended: string[] = [];
    const watch = new GrantWatch({
      grants: () => Array.from({ length: 50 }, (_, i) => `g${i}`),
      lives: async () => {
        const now = lives;
        waiting += 1;
        most = Math.max(most, waiting);
        await gate.promise;
        waiting -= 1;
        return now;
      },
      ended: (id) => ended.push(id),
      clock,
    });
    const first = watch.round();
    await settle();
    lives = false;
    const later = watch.round();
    gate.resolve();
    await Promise.all([first, later]);
    expect(most).to.equal(8);
    expect(new Set(ended).size).to.equal(50);
    ended.length = 0;
    const last = watch.round();
    watch.stop();
    await last;
    expect(ended).to.deep.equal([]);
  });
});

describe('the forges of all servers', () => {
  const dispatcher = new Agent();
  after(() => dispatcher.close());
  const clock = new FakeClock();
  let sets: Collection<TokenSet>;
  beforeEach(() => (sets = collection(openSqliteRecordStore(':memory:', clock), 'forge-tokens', MASTER)));
  const applications = {
    read: { clientId: 'r', clientSecretFile: '/r', scopes: ['read:user'] },
    write: { clientId: 'w', clientSecretFile: '/w', scopes: ['read:user', 'write:repository'] },
  };
  const forges = (...servers: ReturnType<typeof serverSpec>[]): Forges =>
    new Forges({
      servers,
      present: () => servers,
      secrets: new Map([
        ['/r', 'secret-r'],
        ['/w', 'secret-w'],
      ]),
      sets,
      dispatcher,
      clock,
      timeoutMs: 1000,
      observer: { refreshed: () => undefined, suspended: () => undefined, shared: () => undefined },
    });
  const at = (url: string, insecureAllowSiteAdmins = false): ReturnType<typeof serverSpec> => {
    const { forgejo } = serverSpec();
    return serverSpec({ forgejo: { ...forgejo, url, apiUrl: url, applications, insecureAllowSiteAdmins } });
  };

  it('have no tokens of a stranger, nor of a user of a forge that is no more: who must log in again', async () => {
    const known = forges(at('https://forge.example'), at('https://forge.example'), at('https://other.example'));
    for (const issuer of ['https://forge.example', 'https://gone.example']) {
      const user = { ...USER, issuer };
      expect(await known.has(user, 'read'), issuer).to.equal(false);
      expect(await known.suspended(user, 'read'), issuer).to.equal(true);
      expect(await known.probe(user, 'read'), issuer).to.include({ verdict: 'ended' });
      await known.forget(user);
    }
    const gone = await known.token({ ...USER, issuer: 'https://gone.example' }, 'read').then(() => 'none', codeOf);
    expect(gone).to.equal('AUTH_INVALID');
  });

  it('delete the tokens of a user who has become a site administrator, unless one of their servers takes those', async () => {
    let isAdmin = false;
    const forge = createServer((_req, res) => {
      res.setHeader('content-type', 'application/json');
      res.end(JSON.stringify({ id: 42, login: 'mara', is_admin: isAdmin }));
    });
    await new Promise<void>((resolve) => forge.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(forge.address() as AddressInfo).port}`;
    const user = { ...USER, issuer: url };
    const tokens = {
      accessToken: 'a',
      refreshToken: 'r',
      accessExpiresAt: clock.wall() + 3_600_000,
      lifetime: 3_600_000,
    };
    for (const application of ['read', 'write'] as const) {
      const { clientId } = applications[application];
      await sets.create(setId(user, application), { user, application, clientId, generation: 1, tokens });
    }
    const strict = forges(at(url));
    expect(await strict.probe(user, 'read')).to.deep.include({ verdict: 'ok' });
    isAdmin = true;
    expect(await forges(at(url), at(url, true)).probe(user, 'read'), 'taken').to.deep.include({ verdict: 'ok' });
    expect(await strict.has(user, 'write')).to.equal(true);
    expect(await strict.probe(user, 'read')).to.deep.equal({ verdict: 'ended', reason: 'absent' });
    expect([await strict.has(user, 'read'), await strict.has(user, 'write')]).to.deep.equal([false, false]);
    forge.closeAllConnections();
    forge.close();
  });

  it('need their applications: CONFIG_INVALID', () => {
    expect(() => forges(serverSpec()))
      .to.throw(AppError)
      .with.property('code', 'CONFIG_INVALID');
  });
});

describe('the store of logins', () => {
  it('is SQLite on one machine, and needs an API and a namespace in a cluster: CONFIG_INVALID', async () => {
    const env = {
      FMO_AUTH_MODE: 'bearer',
      FMO_SERVER_FORGEJO_URL: 'https://forge.example',
      FMO_SERVER_COMMAND: '/child',
    };
    const config = await loadConfig({ file: undefined, env });
    const { store, turn } = openRecords(config, ':memory:', undefined, new FakeClock());
    await store.check();
    expect(turn).to.equal(undefined);
    await store.close();
    const cluster = { ...config, store: { ...config.store, driver: 'kubernetes' as const } };
    expect(() => openRecords(cluster, ':memory:', undefined, new FakeClock()))
      .to.throw(AppError)
      .with.property('code', 'CONFIG_INVALID');
  });
});
