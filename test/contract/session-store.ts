/** What every session store must do. Run by each driver's own test file. */
import { expect } from 'chai';
import type { Remembered } from '../../src/bridge/memory';
import { AppError } from '../../src/errors';
import type { SeenSession, SessionRecord, SessionStore, SessionView } from '../../src/sessions/ports';
import { until } from '../support/until';
import { upkeepOf } from '../support/fake-sessions';

export interface SessionStoreSubject {
  /** Opens an empty store. */
  open(): Promise<SessionStore>;
  /** Whether it sees to old records itself; see {@link SessionStore.upkeep}. */
  readonly hasUpkeep: boolean;
  /** Whether several processes share it; see {@link SessionStore.view}. */
  readonly hasView: boolean;
  /** Opens the same store again, as a later run of the program would; undefined where nothing outlives the process. */
  readonly reopen?: () => Promise<SessionStore>;
}

const REMEMBERED: Remembered = {
  protocolVersion: '2025-11-25',
  initialize: { protocolVersion: '2025-11-25', capabilities: { roots: {} }, clientInfo: { name: '🧑‍🚀', version: '1' } },
  logLevel: 'debug',
  subscriptions: ['test://a', 'test://\u2028'],
};

let counter = 0;

/** A record of a live session with a name of its own. */
export function aRecord(over: Partial<SessionRecord> = {}): SessionRecord {
  counter += 1;
  return {
    name: counter.toString(16).padStart(40, '0'),
    server: 'forgejo',
    userIssuer: 'https://forge.example',
    userId: '7',
    mode: 'oauth',
    grant: 'grant-1',
    client: 'client-1',
    scopes: ['forgejo:read'],
    state: 'active',
    generation: 1,
    createdAt: 1_700_000_000_000,
    ...over,
  };
}

/** A record without what a store adds of its own. */
function plain(record: SessionRecord | undefined): Partial<SessionRecord> | undefined {
  if (record === undefined) return undefined;
  const { holder: _holder, uid: _uid, ...rest } = record;
  return rest;
}

/** What is seen of the records, which it must be. */
async function viewOf({ view }: SessionStore): Promise<SessionView> {
  if (view === undefined) throw new Error('the store has no view');
  await view.synced(AbortSignal.timeout(10_000));
  return view;
}

/** Defines the suite; call it inside a `describe`. */
export function sessionStoreContract(subject: SessionStoreSubject): void {
  let store: SessionStore;

  beforeEach(async () => {
    store = await subject.open();
  });

  afterEach(async () => {
    await store.close();
  });

  it('gives back exactly what was inserted', async () => {
    const record = aRecord({ userId: '٧\u2028"\'; DROP TABLE sessions;--', client: '🧑‍🚀\u00a0' });
    await store.insert(record);
    expect(plain(await store.get(record.name))).to.deep.equal(record);
  });

  it('gives undefined for a name that was never recorded', async () => {
    expect(await store.get('f'.repeat(40))).to.equal(undefined);
  });

  it('answers STORE_UNAVAILABLE for a second session of the same name', async () => {
    const record = aRecord();
    await store.insert(record);
    await rejected(store.insert(record));
  });

  it('records an end with its reason and its time', async () => {
    const record = aRecord();
    await store.insert(record);
    await store.end(record.name, 'idle', 1_700_000_001_000);
    expect(plain(await store.get(record.name))).to.deep.equal({
      ...record,
      state: 'ended',
      endedAt: 1_700_000_001_000,
      endReason: 'idle',
    });
  });

  it('keeps the first reason of an end that is recorded twice', async () => {
    const record = aRecord();
    await store.insert(record);
    await store.end(record.name, 'oom', 1_700_000_001_000);
    await store.end(record.name, 'stopped', 1_700_000_009_000);
    expect(await store.get(record.name)).to.include({ endReason: 'oom', endedAt: 1_700_000_001_000 });
  });

  it('takes the end of a session that was never recorded without a word', async () => {
    await store.end('e'.repeat(40), 'start-failed', 1);
    expect(await store.get('e'.repeat(40))).to.equal(undefined);
  });

  it('records what changes, and nothing else', async () => {
    const record = aRecord();
    await store.insert(record);
    const wider = { grant: 'grant-2', scopes: ['forgejo:read', 'forgejo:write'] } as const;
    expect(await store.update(record.name, wider)).to.equal(true);
    const bound = { ...record, grant: 'grant-2', scopes: ['forgejo:read', 'forgejo:write'] };
    expect(plain(await store.get(record.name))).to.deep.equal(bound);
    const child = { instance: 'uid-1', ip: '10.0.0.9', namespace: 'sessions', name: 'mcp-1' };
    await store.update(record.name, { child, remembered: REMEMBERED, generation: 2 });
    expect(plain(await store.get(record.name))).to.deep.equal({
      ...bound,
      child,
      remembered: REMEMBERED,
      generation: 2,
    });
    await store.update(record.name, { state: 'hibernated', child: null, expiresAt: 1_700_000_099_000 });
    expect(plain(await store.get(record.name))).to.deep.equal({
      ...bound,
      ...{ remembered: REMEMBERED, generation: 2, state: 'hibernated', expiresAt: 1_700_000_099_000 },
    });
  });

  it('changes nothing of a session that has ended, or was never recorded', async () => {
    const record = aRecord();
    await store.insert(record);
    await store.end(record.name, 'deleted', 1);
    expect(await store.update(record.name, { grant: 'grant-2', state: 'hibernated' })).to.equal(false);
    expect(await store.get(record.name)).to.include({ grant: 'grant-1', state: 'ended' });
    expect(await store.update('d'.repeat(40), { grant: 'grant-2' })).to.equal(false);
    expect(await store.get('d'.repeat(40))).to.equal(undefined);
  });

  it('lets one of 50 who claim a session at once have it', async () => {
    const record = aRecord({ state: 'hibernated', generation: 4, remembered: REMEMBERED });
    await store.insert(record);
    const claims = await Promise.all([...Array(50).keys()].map(() => store.claim(record.name, 4)));
    const won = claims.filter((claim) => claim !== undefined);
    expect(won.map(plain)).to.deep.equal([{ ...record, generation: 5 }]);
    expect(plain(await store.get(record.name))).to.deep.equal({ ...record, generation: 5 });
  });

  it('lets nobody claim a session that has ended, or is of another generation', async () => {
    const [over, asleep] = [aRecord(), aRecord({ state: 'hibernated' })];
    for (const record of [over, asleep]) await store.insert(record);
    await store.end(over.name, 'idle', 5);
    expect(await store.claim(over.name, 1)).to.equal(undefined);
    expect(await store.claim(asleep.name, 2)).to.equal(undefined);
    expect(await store.claim('c'.repeat(40), 1)).to.equal(undefined);
  });

  it('answers its check while it works', async () => {
    await store.check();
  });

  it('may be closed twice', async () => {
    await store.close();
    await store.close();
  });

  it('answers STORE_UNAVAILABLE to every call once it is closed', async () => {
    await store.close();
    await rejected(store.insert(aRecord()));
    await rejected(store.end('a'.repeat(40), 'idle', 1));
    await rejected(store.update('a'.repeat(40), { grant: 'grant' }));
    await rejected(store.claim('a'.repeat(40), 1));
    await rejected(store.get('a'.repeat(40)));
    await rejected(store.check());
  });

  if (subject.hasUpkeep) {
    it('puts the sessions of a run that is gone to sleep where another child can take over, and abandons the others', async () => {
      const child = { instance: 'uid-1' };
      const kept = aRecord({ remembered: REMEMBERED, child });
      const waking = aRecord({ state: 'starting', remembered: REMEMBERED, generation: 3 });
      const [forgetful, asleep, over] = [aRecord({ child }), aRecord({ state: 'hibernated', expiresAt: 7 }), aRecord()];
      for (const record of [kept, waking, forgetful, asleep, over]) await store.insert(record);
      await store.end(over.name, 'idle', 5);
      expect(await upkeepOf(store).recover(9, 99)).to.deep.equal({ hibernated: 2, abandoned: 1 });
      const { child: _gone, ...rest } = kept;
      expect(plain(await store.get(kept.name))).to.deep.equal({ ...rest, state: 'hibernated', expiresAt: 99 });
      expect(plain(await store.get(waking.name))).to.deep.equal({ ...waking, state: 'hibernated', expiresAt: 99 });
      expect(await store.get(forgetful.name)).to.include({ state: 'ended', endReason: 'abandoned', endedAt: 9 });
      expect(plain(await store.get(asleep.name))).to.deep.equal(asleep);
      expect(await store.get(over.name)).to.include({ endReason: 'idle', endedAt: 5 });
      expect(await upkeepOf(store).recover(10, 100)).to.deep.equal({ hibernated: 0, abandoned: 0 });
    });

    it('ends sleeping sessions whose time is up, and no others', async () => {
      const old = aRecord({ state: 'hibernated', expiresAt: 50 });
      const others = [
        aRecord({ state: 'hibernated', expiresAt: 51 }),
        aRecord({ state: 'hibernated' }),
        aRecord({ expiresAt: 1 }),
      ];
      for (const record of [old, ...others]) await store.insert(record);
      expect(await upkeepOf(store).expire(50)).to.equal(1);
      expect(await store.get(old.name)).to.include({ state: 'ended', endReason: 'expired', endedAt: 50 });
      for (const record of others) expect(plain(await store.get(record.name))).to.deep.equal(record);
    });

    it('removes records that ended before a time and keeps the live and the younger', async () => {
      const [old, young, live] = [aRecord(), aRecord(), aRecord({ createdAt: 1 })];
      for (const record of [old, young, live]) await store.insert(record);
      await store.end(old.name, 'idle', 99);
      await store.end(young.name, 'idle', 100);
      expect(await upkeepOf(store).purge(100)).to.equal(1);
      expect(await store.get(old.name)).to.equal(undefined);
      expect(await store.get(young.name)).to.include({ endedAt: 100 });
      expect(plain(await store.get(live.name))).to.deep.equal(live);
    });

    it('answers STORE_UNAVAILABLE to its upkeep once it is closed', async () => {
      await store.close();
      await rejected(upkeepOf(store).recover(1, 2));
      await rejected(upkeepOf(store).expire(1));
      await rejected(upkeepOf(store).purge(1));
    });
  }

  if (subject.hasView) {
    const found = (records: Iterable<SeenSession>, name: string): SeenSession | undefined =>
      [...records].find((one) => one.name === name);
    const seen = (view: SessionView, name: string, is: (one: SeenSession) => boolean): Promise<SeenSession> =>
      until('it is seen', async () => {
        const one = found(view.seen(), name);
        return one !== undefined && is(one) && one;
      });

    it('reads whatever was written before, of every live record and in the order in which it was', async () => {
      const view = await viewOf(store);
      const [a, b, over] = [aRecord({ state: 'starting' }), aRecord({ state: 'starting' }), aRecord()];
      for (const record of [a, b, over]) await store.insert(record);
      await store.end(over.name, 'idle', 5);
      const first = await view.read();
      const { server, userIssuer, userId, grant, state, generation, createdAt } = a;
      expect(found(first, a.name)).to.deep.include({
        ...{ name: a.name, server, userIssuer, userId, grant, state, generation, createdAt },
      });
      expect(found(first, over.name)).to.equal(undefined);
      expect(orderOf(first, a) < orderOf(first, b)).to.equal(true);
      await store.update(a.name, { grant: 'grant-2' });
      const second = await view.read();
      expect(orderOf(second, a) > orderOf(second, b)).to.equal(true);
      await store.insert(aRecord());
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const record = aRecord();
          await store.insert(record);
          expect(found(await view.read(), record.name), 'its own write').to.not.equal(undefined);
        }),
      );
    });

    it('sees the same a moment later, and tells when something was seen', async () => {
      const view = await viewOf(store);
      const record = aRecord({ state: 'starting' });
      let told = 0;
      view.onSeen(() => (told += 1));
      await store.insert(record);
      const { order } = await seen(view, record.name, () => true);
      await store.update(record.name, { state: 'active' });
      expect((await seen(view, record.name, ({ state }) => state === 'active')).order > order).to.equal(true);
      expect(told).to.be.above(1);
      await store.end(record.name, 'idle', 5);
      await until('it is gone', async () => found(view.seen(), record.name) === undefined);
    });

    it('keeps who is admitted until the child goes, and each child is admitted anew', async () => {
      const record = aRecord({ state: 'starting', remembered: REMEMBERED });
      const admitted = async (): Promise<boolean> => (await store.get(record.name))?.admitted === true;
      await store.insert(record);
      expect(await admitted()).to.equal(false);
      await store.update(record.name, { admitted: true, child: { instance: 'uid-1' } });
      expect(await admitted()).to.equal(true);
      await store.update(record.name, { state: 'active' });
      await store.claim(record.name, 1);
      expect(await admitted(), 'with whoever has it').to.equal(true);
      await store.update(record.name, { state: 'hibernated', child: null });
      expect(await admitted()).to.equal(false);
      await store.update(record.name, { state: 'starting', generation: 3 });
      expect(await admitted()).to.equal(false);
      await store.update(record.name, { admitted: true });
      await store.end(record.name, 'idle', 5);
      expect(await admitted()).to.equal(false);
    });

    it('remembers those that were opened lately, whatever became of them, and none that was refused', async () => {
      const view = await viewOf(store);
      const createdAt = Date.now();
      const [open, refused] = [aRecord({ state: 'starting', createdAt }), aRecord({ state: 'starting', createdAt })];
      for (const { name, ...record } of [open, refused]) await store.insert({ name, ...record });
      await store.update(open.name, { state: 'active' });
      await seen(view, open.name, ({ state }) => state === 'active');
      for (const { name } of [open, refused]) await store.end(name, 'refused', createdAt);
      await until('they are gone', async () =>
        [open, refused].every(({ name }) => found(view.seen(), name) === undefined),
      );
      const names = [...view.opened()].map(({ name }) => name);
      expect(names).to.include(open.name).and.not.include(refused.name);
    });

    it('ends a session whoever has it, once, and tells', async () => {
      const view = await viewOf(store);
      const record = aRecord();
      const told = new Set<string>();
      view.onChange((name) => told.add(name));
      await store.insert(record);
      await seen(view, record.name, () => true);
      expect(view.ofUser({ issuer: record.userIssuer, id: record.userId }).map(({ name }) => name)).to.include(
        record.name,
      );
      await view.end(record.name, 'user', 5);
      await view.end(record.name, 'idle', 6);
      await view.end('b'.repeat(40), 'user', 5);
      expect(await store.get(record.name)).to.include({ state: 'ended', endReason: 'user', endedAt: 5 });
      expect(await store.update(record.name, { grant: 'late' })).to.equal(false);
      await until('it is told', async () => told.has(record.name));
      expect(view.ofUser({ issuer: record.userIssuer, id: record.userId })).to.deep.equal([]);
    });

    it('answers STORE_UNAVAILABLE to those who read once it is closed', async () => {
      const view = await viewOf(store);
      await store.close();
      await rejected(view.read());
      await rejected(view.end('a'.repeat(40), 'user', 1));
    });

    function orderOf(records: Iterable<SeenSession>, { name }: SessionRecord): bigint {
      return found(records, name)?.order ?? -1n;
    }
  }

  const { reopen } = subject;
  if (reopen !== undefined) {
    it('keeps its records over a restart', async () => {
      const record = aRecord();
      await store.insert(record);
      await store.close();
      store = await reopen();
      expect(plain(await store.get(record.name))).to.deep.equal(record);
    });
  }
}

async function rejected(work: Promise<unknown>): Promise<void> {
  const thrown: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown).to.be.instanceOf(AppError);
  expect((thrown as AppError).code).to.equal('STORE_UNAVAILABLE');
}
