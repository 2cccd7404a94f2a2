import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { masterKeys } from '../../src/auth/keys/master';
import { AppError } from '../../src/errors';
import type { RecordStore } from '../../src/stores/contract';
import { startResealer, type ResealerOptions } from '../../src/stores/reseal';
import { collection, recordName, type SealingKey } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { FakeClock } from '../support/fake-link';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

const KIND = 'grant';

describe('resealing of records', () => {
  const [newest, old, lost] = masterKeys([randomBytes(32), randomBytes(48), randomBytes(32)]) as [
    SealingKey,
    SealingKey,
    SealingKey,
  ];
  let store: RecordStore;

  beforeEach(() => {
    store = openSqliteRecordStore(':memory:', { wall: () => 1000 });
  });
  afterEach(() => store.close());

  /** Runs one round to its end. */
  const round = async (more: Partial<ResealerOptions> = {}) => {
    const log = keptLog();
    const clock = new FakeClock();
    const options = { store, kinds: [KIND], keys: [newest, old], clock, intervalMs: 1000, log, ...more };
    const resealer = startResealer(options);
    if (options.keys.length > 1) await until('the round to be over', async () => log.lines.length > 0);
    await resealer.stop();
    return log.lines.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
  };
  const told = (resealed: number, unreadable = 0) => ({
    level: 'info',
    event: 'records.resealed',
    resealed,
    unreadable,
  });
  const under = (...keys: SealingKey[]) => collection<{ n: number }>(store, KIND, keys);

  it('leaves every record readable with the newest key alone: value, tags and expiry as they were', async () => {
    const before = under(old);
    for (let n = 0; n < 50; n += 1)
      await before.create(`old-${n}`, { n }, { expiresAt: 5000 + n, tags: { user: n % 2 ? 'mara' : 'bob' } });
    await under(newest, old).create('new', { n: 100 });
    const kept = await store.get({ kind: KIND, name: recordName(KIND, 'new') });

    expect(await round()).to.deep.equal([told(50)]);
    const after = under(newest);
    for (let n = 0; n < 50; n += 1)
      expect(await after.get(`old-${n}`))
        .to.include({ expiresAt: 5000 + n })
        .and.to.deep.include({ value: { n } });
    expect(await after.find({ name: 'user', value: 'mara' })).to.have.length(25);
    expect((await store.get({ kind: KIND, name: recordName(KIND, 'new') }))?.version).to.equal(kept?.version);
    expect(await round()).to.deep.equal([told(0)]);
  });

  it('touches other kinds not, nor anything with one key', async () => {
    await collection<{ n: number }>(store, 'code', [old]).create('a', { n: 1 });
    await round();
    expect(await collection<{ n: number }>(store, 'code', [old]).get('a')).to.deep.include({ value: { n: 1 } });
    await under(old).create('a', { n: 1 });
    expect(await round({ keys: [newest] })).to.deep.equal([]);
  });

  it('never undoes what a writer wrote, and never brings back what one deleted, in between', async () => {
    const writer = under(newest, old);
    for (const id of ['written', 'deleted', 'left']) await under(old).create(id, { n: 1 });
    const lines = await round({
      store: {
        replace: (key, data, version) => store.replace(key, data, version),
        find: async (kind) => {
          const found = await store.find(kind);
          const item = await writer.get('written');
          await writer.replace(item!, { n: 2 });
          await writer.delete('deleted');
          return found;
        },
      },
    });
    expect(lines).to.deep.equal([told(1)]);
    expect((await under(newest).get('written'))?.value).to.deep.equal({ n: 2 });
    expect((await under(newest).get('left'))?.value).to.deep.equal({ n: 1 });
    expect(await writer.get('deleted')).to.equal(undefined);
  });

  it('is done once by many gateways at once', async () => {
    for (let n = 0; n < 100; n += 1) await under(old).create(`${n}`, { n });
    const rounds = await Promise.all(Array.from({ length: 5 }, () => round()));
    const done = rounds.map(([line]) => Number(line?.resealed));
    expect(done.reduce((sum, one) => sum + one)).to.equal(100);
    for (const { value } of await under(newest).find()) expect(value.n).to.be.a('number');
  });

  it('counts records whose key is not here, and leaves them as they are', async () => {
    await under(lost).create('a', { n: 1 });
    await under(old).create('b', { n: 2 });
    expect(await round()).to.deep.equal([told(1, 1)]);
    expect((await under(lost).get('a'))?.value).to.deep.equal({ n: 1 });
  });

  it('goes on at the next interval after a store that was away, and picks up what others wrote meanwhile', async () => {
    await under(old).create('a', { n: 1 });
    const log = keptLog();
    const clock = new FakeClock();
    let away = true;
    const resealer = startResealer({
      store: {
        find: async (kind) => {
          if (away) throw new AppError('STORE_UNAVAILABLE', 'Away.', { detail: 'down' });
          return store.find(kind);
        },
        replace: (key, data, version) => store.replace(key, data, version),
      },
      kinds: [KIND],
      keys: [newest, old],
      clock,
      intervalMs: 1000,
      log,
    });
    await until('the first round to fail', async () => log.lines.length === 1);
    away = false;
    clock.advance(1000);
    await until('the second round', async () => log.lines.length === 2);
    await under(old).create('b', { n: 2 });
    clock.advance(1000);
    await until('the third round', async () => log.lines.length === 3);
    await resealer.stop();
    clock.advance(10_000);
    expect(log.lines.map((line) => (JSON.parse(line) as { event: string }).event)).to.deep.equal([
      'records.reseal-failed',
      'records.resealed',
      'records.resealed',
    ]);
    expect(await under(newest).find()).to.have.length(2);
  });
});

describe('master keys', () => {
  it('are named by what they are, each 32 bytes, in the order of the file', () => {
    const [a, b] = [Buffer.alloc(32, 1), Buffer.alloc(64, 2)];
    const [first, second] = masterKeys([a, b]);
    expect(masterKeys([b, a])).to.deep.equal([second, first]);
    expect(first?.id)
      .to.match(/^[0-9a-f]{8}$/)
      .and.not.equal(second?.id);
    expect([first?.secret.length, second?.secret.length]).to.deep.equal([32, 32]);
    expect(first?.secret.equals(a)).to.equal(false);
  });

  it('differ where only their end does', () => {
    const [one, other] = [Buffer.alloc(64, 1), Buffer.alloc(64, 1)];
    other[63] = 2;
    expect(masterKeys([one])).to.not.deep.equal(masterKeys([other]));
  });

  it('are refused where one is there twice, without showing it', () => {
    const key = Buffer.alloc(32, 7);
    expect(() => masterKeys([key, Buffer.alloc(32, 8), key]))
      .to.throw(AppError, /twice/)
      .with.property('code', 'CONFIG_INVALID');
  });
});
