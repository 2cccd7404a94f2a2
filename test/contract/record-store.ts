/** What every store of records must do. */
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import type { RecordData, RecordKey, RecordStore } from '../../src/stores/contract';
import { startResealer } from '../../src/stores/reseal';
import { collection } from '../../src/stores/sealed';
import { FakeClock } from '../support/fake-link';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

export interface RecordStoreHarness {
  /** A connection of its own to the same records; the suite closes it. */
  open(): Promise<RecordStore>;
  /** Moves the wall clock that the connections read. */
  advance(ms: number): Promise<void>;
  /** The wall clock, milliseconds. */
  now(): number;
}

const digest = (): string => randomBytes(20).toString('hex');
const key = (kind = 'grant'): RecordKey => ({ kind, name: digest() });
const data = (text = 'value', rest: Omit<RecordData, 'value'> = {}): RecordData => ({
  value: Buffer.from(text),
  ...rest,
});

/** `many`: writers side by side. */
export function recordStoreContract(make: () => Promise<RecordStoreHarness>, many = 20): void {
  let harness: RecordStoreHarness;
  let store: RecordStore;
  let other: RecordStore;

  beforeEach(async () => {
    harness = await make();
    store = await harness.open();
    other = await harness.open();
  });

  afterEach(async () => {
    await store.close();
    await other.close();
  });

  describe('create and get', () => {
    it('gives back what was written, through another connection too', async () => {
      const at = key();
      const tags = { user: digest(), client: digest() };
      const expiresAt = harness.now() + 60_000;
      const version = await store.create(at, data('\0any bytes\xff', { tags, expiresAt }));
      for (const reader of [store, other]) {
        expect(await reader.get(at)).to.deep.equal({
          key: at,
          value: Buffer.from('\0any bytes\xff'),
          version,
          expiresAt,
          tags,
        });
      }
    });

    it('gives nothing for a record that is not there, nor for its name in another kind', async () => {
      const at = key();
      await store.create(at, data());
      expect(await store.get(key())).to.equal(undefined);
      expect(await store.get({ ...at, kind: 'code' })).to.equal(undefined);
    });

    it('makes no record twice', async () => {
      const at = key();
      await store.create(at, data('first'));
      expect(await other.create(at, data('second'))).to.equal(undefined);
      expect((await store.get(at))?.value.toString()).to.equal('first');
    });

    it('lets one of many writers make a record', async () => {
      const at = key();
      const made = await Promise.all(
        Array.from({ length: many }, (_, i) => (i % 2 ? store : other).create(at, data(`${i}`))),
      );
      expect(made.filter((version) => version !== undefined)).to.have.length(1);
      expect((await store.get(at))?.version).to.equal(made.find((version) => version !== undefined));
    });

    it('keeps a value of 512 KiB', async () => {
      const at = key();
      const value = randomBytes(512 * 1024);
      await store.create(at, { value });
      expect((await other.get(at))?.value.equals(value)).to.equal(true);
    });
  });

  describe('replace', () => {
    it('changes value, expiry and tags, and the version', async () => {
      const at = key();
      const before = digest();
      const after = digest();
      const first = await store.create(at, data('old', { tags: { user: before }, expiresAt: harness.now() + 60_000 }));
      const second = await store.replace(at, data('new', { tags: { user: after } }), first!);
      expect(second).to.not.equal(first);
      expect(await other.get(at)).to.deep.equal({
        key: at,
        ...data('new', { tags: { user: after } }),
        version: second,
      });
      expect(await store.find('grant', { name: 'user', value: before })).to.deep.equal([]);
    });

    it('changes nothing where the version is an old one, or the record is gone', async () => {
      const at = key();
      const first = await store.create(at, data('first'));
      await other.replace(at, data('second'), first!);
      expect(await store.replace(at, data('third'), first!)).to.equal(undefined);
      expect((await store.get(at))?.value.toString()).to.equal('second');
      await store.delete(at);
      expect(await store.replace(at, data('fourth'), first!)).to.equal(undefined);
      expect(await store.get(at)).to.equal(undefined);
    });

    it('lets one of many writers with the same version win', async () => {
      const at = key();
      const version = await store.create(at, data());
      const done = await Promise.all(
        Array.from({ length: many }, (_, i) => (i % 2 ? store : other).replace(at, data(`${i}`), version!)),
      );
      expect(done.filter((v) => v !== undefined)).to.have.length(1);
    });

    it('counts without losing a step, with many who try again', async () => {
      const at = key();
      await store.create(at, data('0'));
      const add = async (through: RecordStore): Promise<void> => {
        for (;;) {
          const { value, version } = (await through.get(at))!;
          if ((await through.replace(at, data(`${Number(value.toString()) + 1}`), version)) !== undefined) return;
        }
      };
      await Promise.all(Array.from({ length: many }, (_, i) => add(i % 2 ? store : other)));
      expect((await store.get(at))?.value.toString()).to.equal(`${many}`);
    });
  });

  describe('delete', () => {
    it('says who deleted, once', async () => {
      const at = key();
      await store.create(at, data());
      const done = await Promise.all(Array.from({ length: many }, (_, i) => (i % 2 ? store : other).delete(at)));
      expect(done.filter(Boolean)).to.have.length(1);
      expect(await other.get(at)).to.equal(undefined);
    });

    it('with a version, deletes only what still has it', async () => {
      const at = key();
      const first = await store.create(at, data('first'));
      const second = await store.replace(at, data('second'), first!);
      expect(await store.delete(at, first)).to.equal(false);
      expect(await store.delete(at, second)).to.equal(true);
    });

    it('is not undone by a version of before, once the record was made anew', async () => {
      const at = key();
      const first = await store.create(at, data());
      await store.delete(at);
      await store.create(at, data());
      expect(await store.delete(at, first)).to.equal(false);
    });
  });

  describe('find', () => {
    it('finds a kind’s records, all or by one tag', async () => {
      const user = digest();
      const kind = 'refresh';
      const [a, b, c] = [key(kind), key(kind), key(kind)];
      await store.create(a, data('a', { tags: { user, grant: digest() } }));
      await store.create(b, data('b', { tags: { user } }));
      await store.create(c, data('c'));
      await store.create(key('code'), data('d', { tags: { user } }));
      const names = (found: readonly { key: RecordKey }[]): string[] => found.map((one) => one.key.name).sort();
      expect(names(await other.find(kind, { name: 'user', value: user }))).to.deep.equal([a.name, b.name].sort());
      expect(names(await other.find(kind))).to.include.members([a.name, b.name, c.name]);
      expect(await store.find(kind, { name: 'client', value: user })).to.deep.equal([]);
      await store.delete(a);
      expect(names(await other.find(kind, { name: 'user', value: user }))).to.deep.equal([b.name]);
    });
  });

  describe('expiry', () => {
    it('hides a record from its moment on, and lets it be made anew', async () => {
      const at = key();
      const user = digest();
      const first = await store.create(at, data('old', { expiresAt: harness.now() + 1000, tags: { user } }));
      await harness.advance(1000);
      expect(await store.get(at)).to.equal(undefined);
      expect(await store.find(at.kind, { name: 'user', value: user })).to.deep.equal([]);
      expect(await store.replace(at, data('late'), first!)).to.equal(undefined);
      expect(await store.delete(at)).to.equal(false);
      expect(await other.create(at, data('new'))).to.be.a('string');
      expect((await store.get(at))?.value.toString()).to.equal('new');
    });

    it('is swept, a few at a time, and nothing else is', async () => {
      const stays = key();
      await store.create(stays, data('stays', { expiresAt: harness.now() + 60_000 }));
      for (let i = 0; i < 5; i++) await store.create(key(), data('goes', { expiresAt: harness.now() + 1000 }));
      await harness.advance(1000);
      expect(await store.sweep(3)).to.equal(3);
      expect(await store.sweep(100)).to.equal(2);
      expect(await other.sweep(100)).to.equal(0);
      expect(await store.get(stays)).to.not.equal(undefined);
    });
  });

  it('keeps value, tags and expiry when a record is sealed anew, and what writers write meanwhile', async () => {
    const [newest, old] = [1, 2].map((n) => ({ id: `0000000${n}`, secret: randomBytes(32) }));
    const kind = `k${digest().slice(0, 10)}`;
    const expiresAt = harness.now() + 60_000;
    const before = collection<number>(store, kind, [old]);
    const made = await Promise.all(
      Array.from({ length: many }, (_, n) => before.create(`${n}`, n, { expiresAt, tags: { user: 'mara' } })),
    );
    const writer = collection<number>(other, kind, [newest, old]);
    const log = keptLog();
    const options = { store, kinds: [kind], keys: [newest, old], clock: new FakeClock(), intervalMs: 1000, log };
    const resealer = startResealer(options);
    const written = await Promise.all(
      made.map(async (item, n) =>
        n % 2 ? writer.replace(item!, n + 1000, { expiresAt, tags: { user: 'mara' } }) : item,
      ),
    );
    await until('the round to be over', async () => log.lines.length > 0);
    await resealer.stop();
    const found = await collection<number>(other, kind, [newest]).find({ name: 'user', value: 'mara' });
    const values = made.map((_, n) => (n % 2 && written[n] !== undefined ? n + 1000 : n));
    expect(found.map(({ value }) => value).sort((a, b) => a - b)).to.deep.equal(values.sort((a, b) => a - b));
    expect(found.every((item) => item.expiresAt === expiresAt)).to.equal(true);
  });

  it('says that it works', async () => {
    await store.check();
  });
}
