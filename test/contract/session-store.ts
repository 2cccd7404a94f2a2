/** What every session store must do. Run by each driver's own test file. */
import { expect } from 'chai';
import { AppError } from '../../src/errors';
import type { SessionRecord, SessionStore } from '../../src/sessions/ports';

export interface SessionStoreSubject {
  /** Opens an empty store. */
  open(): Promise<SessionStore>;
  /** Opens the same store again, as a later run of the program would; undefined where nothing outlives the process. */
  readonly reopen?: () => Promise<SessionStore>;
}

let counter = 0;

/** A record of a live session with a name of its own. */
export function aRecord(over: Partial<SessionRecord> = {}): SessionRecord {
  counter += 1;
  return {
    name: counter.toString(16).padStart(40, '0'),
    server: 'forgejo',
    userIssuer: 'https://forge.example',
    userId: '7',
    grant: 'grant-1',
    client: 'client-1',
    createdAt: 1_700_000_000_000,
    ...over,
  };
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
    expect(await store.get(record.name)).to.deep.equal(record);
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
    expect(await store.get(record.name)).to.deep.equal({
      ...record,
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

  it('binds a live session to another grant', async () => {
    const record = aRecord();
    await store.insert(record);
    await store.rebind(record.name, 'grant-2');
    expect(await store.get(record.name)).to.deep.equal({ ...record, grant: 'grant-2' });
  });

  it('leaves the grant of a session that has ended', async () => {
    const record = aRecord();
    await store.insert(record);
    await store.end(record.name, 'deleted', 1);
    await store.rebind(record.name, 'grant-2');
    expect(await store.get(record.name)).to.include({ grant: 'grant-1' });
  });

  it('marks every live session abandoned, says how many, and touches no other', async () => {
    const [live, other, over] = [aRecord(), aRecord(), aRecord()];
    for (const record of [live, other, over]) await store.insert(record);
    await store.end(over.name, 'idle', 5);
    expect(await store.abandonAll(9)).to.equal(2);
    expect(await store.get(live.name)).to.include({ endReason: 'abandoned', endedAt: 9 });
    expect(await store.get(other.name)).to.include({ endReason: 'abandoned', endedAt: 9 });
    expect(await store.get(over.name)).to.include({ endReason: 'idle', endedAt: 5 });
    expect(await store.abandonAll(10)).to.equal(0);
  });

  it('removes records that ended before a time and keeps the live and the younger', async () => {
    const [old, young, live] = [aRecord(), aRecord(), aRecord({ createdAt: 1 })];
    for (const record of [old, young, live]) await store.insert(record);
    await store.end(old.name, 'idle', 99);
    await store.end(young.name, 'idle', 100);
    expect(await store.purge(100)).to.equal(1);
    expect(await store.get(old.name)).to.equal(undefined);
    expect(await store.get(young.name)).to.include({ endedAt: 100 });
    expect(await store.get(live.name)).to.deep.equal(live);
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
    await rejected(store.rebind('a'.repeat(40), 'grant'));
    await rejected(store.get('a'.repeat(40)));
    await rejected(store.abandonAll(1));
    await rejected(store.purge(1));
    await rejected(store.check());
  });

  const { reopen } = subject;
  if (reopen !== undefined) {
    it('keeps its records over a restart', async () => {
      const record = aRecord();
      await store.insert(record);
      await store.close();
      store = await reopen();
      expect(await store.get(record.name)).to.deep.equal(record);
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
