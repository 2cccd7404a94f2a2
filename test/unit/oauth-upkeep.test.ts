/** What runs beside the requests: grants that ended are noticed, users are asked about, and records get the newest key. */
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { masterKeys } from '../../src/auth/keys/master';
import { GrantWatch } from '../../src/auth/resource/watch';
import { LASTING_KINDS, startUpkeep, type UpkeepOptions } from '../../src/compose/upkeep';
import { AppError } from '../../src/errors';
import type { LiveSession } from '../../src/sessions/registry';
import { collection, type SealingKey } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { FakeClock, settle } from '../support/fake-link';
import { anAuth } from '../support/fake-sessions';
import { ALICE } from '../support/fake-upstream';
import { serverSpec } from '../support/server-spec';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

describe('oauth: the watch over grants', () => {
  let clock: FakeClock;
  let grants: string[];
  let gone: Set<string>;
  let asked: string[];
  let ended: string[];
  let gate: Promise<void> | undefined;
  let watch: GrantWatch;

  beforeEach(() => {
    clock = new FakeClock();
    [grants, gone, asked, ended, gate] = [['a', 'b'], new Set(), [], [], undefined];
    watch = new GrantWatch({
      grants: () => grants,
      lives: async (grant) => {
        asked.push(grant);
        const lives = !gone.has(grant);
        await gate;
        if (grant === 'store-away') throw new AppError('STORE_UNAVAILABLE', 'away');
        return lives;
      },
      ended: (grant) => void ended.push(grant),
      clock,
    });
  });
  afterEach(() => watch.stop());

  it('ends the sessions of a grant that has ended within five seconds, and of no other', async () => {
    gone.add('b');
    clock.advance(5_000);
    await settle();
    expect(ended).to.deep.equal(['b']);
  });

  it('ends nothing while the store is away, and tells of an ended grant in every round', async () => {
    grants = ['store-away', 'b'];
    gone.add('b');
    for (let round = 0; round < 3; round += 1) {
      clock.advance(5_000);
      await settle();
    }
    expect(ended).to.deep.equal(['b', 'b', 'b']);
  });

  it('has one round for a thousand that ask for one meanwhile, and it begins after they asked', async () => {
    let open = (): void => undefined;
    gate = new Promise((resolve) => (open = resolve));
    const first = watch.round();
    await settle();
    gone.add('a'); // the round that runs has asked about it already
    gate = undefined;
    const others = Array.from({ length: 1000 }, () => watch.round());
    open();
    await Promise.all([first, ...others]);
    expect(asked).to.have.length(4);
    expect(ended).to.deep.equal(['a']);
  });

  it('tells nothing more once it is stopped', async () => {
    let open = (): void => undefined;
    gate = new Promise((resolve) => (open = resolve));
    gone.add('a');
    const round = watch.round();
    await settle();
    watch.stop();
    open();
    await round;
    clock.advance(60_000);
    await settle();
    expect(ended).to.deep.equal([]);
  });
});

describe('oauth: upkeep', () => {
  const [newest, old] = masterKeys([randomBytes(32), randomBytes(32)]) as [SealingKey, SealingKey];
  let clock: FakeClock;

  const start = (more: Partial<UpkeepOptions> = {}) => {
    const store = more.records?.store ?? openSqliteRecordStore(':memory:', clock);
    const log = keptLog();
    const upkeep = startUpkeep({
      records: { store },
      masters: [newest],
      ring: { maintain: async () => undefined },
      tokens: { holders: async () => [] },
      vault: { probe: async () => ({ verdict: 'ended', reason: 'blocked' }) },
      sessions: { grants: () => [], endGrant: async () => undefined, sessionsOf: () => [] },
      revoke: async () => undefined,
      lives: async () => true,
      probeInterval: 30_000,
      log,
      clock,
      ...more,
    });
    return { upkeep, store, log };
  };

  beforeEach(() => {
    clock = new FakeClock();
  });

  it('gives every lasting record the newest key at the start, so that the older one can go', async () => {
    const store = openSqliteRecordStore(':memory:', clock);
    for (const kind of LASTING_KINDS) await collection(store, kind, [old]).create('x', { kind });
    const { upkeep, log } = start({ records: { store }, masters: [newest, old] });
    await until('the round', async () => log.lines.some((line) => line.includes('records.resealed')));
    for (const kind of LASTING_KINDS)
      expect((await collection(store, kind, [newest]).get('x'))?.value).to.deep.equal({ kind });
    await upkeep.stop();
    await store.close();
  });

  it('leaves that to the gateway whose turn it is, and gives its turn up at the end', async () => {
    const store = openSqliteRecordStore(':memory:', clock);
    await collection(store, 'oauth-grant', [old]).create('x', {});
    const turns: string[] = [];
    const turn = { take: async () => (turns.push('take'), false), release: async () => void turns.push('release') };
    const { upkeep, log } = start({ records: { store, turn }, masters: [newest, old] });
    await settle();
    await upkeep.stop();
    expect(turns).to.deep.equal(['take', 'release']);
    expect(log.lines).to.deep.equal([]);
    expect(await collection(store, 'oauth-grant', [old]).get('x')).to.not.equal(undefined);
    await store.close();
  });

  it('ends the sessions of a user who was blocked as soon as the forge has said so', async () => {
    const ended: string[] = [];
    const blocked = new Set<string>();
    const { upkeep, store } = start({
      tokens: { holders: async () => [{ user: ALICE, application: 'read' }] },
      vault: {
        probe: async () => {
          blocked.add('grant');
          return { verdict: 'ended', reason: 'blocked' };
        },
      },
      sessions: {
        grants: () => ['grant', 'other'],
        endGrant: async (grant) => void ended.push(grant),
        sessionsOf: () => [],
      },
      lives: async (grant) => !blocked.has(grant),
      probeInterval: 1_000,
    });
    clock.advance(1_000);
    await settle();
    expect(ended).to.deep.equal(['grant']);
    await upkeep.stop();
    await store.close();
  });

  it('ends the grants of a user who has become a site administrator, but for servers that take those, and tries again when it could not', async () => {
    const { forgejo } = serverSpec();
    const sessionOf = (grant: string, insecureAllowSiteAdmins: boolean): LiveSession => ({
      record: {} as LiveSession['record'],
      auth: { ...anAuth(), grant },
      server: serverSpec({ forgejo: { ...forgejo, insecureAllowSiteAdmins } }),
    });
    const revoked: string[] = [];
    const { upkeep, store, log } = start({
      tokens: { holders: async () => [{ user: ALICE, application: 'read' }] },
      vault: { probe: async () => ({ verdict: 'ok', account: { user: ALICE, isAdmin: true } }) },
      sessions: {
        grants: () => [],
        endGrant: async () => undefined,
        sessionsOf: ({ id }) => (id === ALICE.id ? [sessionOf('refused', false), sessionOf('taken', true)] : []),
      },
      revoke: async (grant) => {
        revoked.push(grant);
        if (revoked.length === 1) throw new AppError('STORE_UNAVAILABLE', 'away');
      },
      probeInterval: 1_000,
    });
    for (let round = 0; round < 2; round += 1) {
      clock.advance(1_000);
      await settle();
    }
    expect(revoked).to.deep.equal(['refused', 'refused']);
    expect(log.lines.filter((line) => line.includes('oauth.revoke'))).to.have.length(1);
    await upkeep.stop();
    await store.close();
  });

  it('goes on, and says so, when the signing keys cannot be read', async () => {
    const maintain = () => Promise.reject(new AppError('STORE_UNAVAILABLE', 'away'));
    const { upkeep, store, log } = start({ ring: { maintain } });
    clock.advance(60_000);
    await settle();
    clock.advance(60_000);
    await settle();
    expect(log.lines.filter((line) => line.includes('oauth.keys'))).to.have.length(2);
    await upkeep.stop();
    await store.close();
  });
});
