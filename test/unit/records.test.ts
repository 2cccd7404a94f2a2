import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { AppError } from '../../src/errors';
import type { RecordStore } from '../../src/stores/contract';
import { collection, recordName, type SealingKey } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { recordStoreContract } from '../contract/record-store';

const sealingKey = (): SealingKey => ({ id: randomBytes(4).toString('hex'), secret: randomBytes(32) });

describe('sqlite record store', () => {
  const folders: string[] = [];

  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });

  recordStoreContract(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fmo-records-'));
    folders.push(folder);
    let now = 1_000_000;
    const clock = { wall: () => now };
    return {
      open: async () => openSqliteRecordStore(join(folder, 'gateway.sqlite'), clock),
      advance: async (ms) => void (now += ms),
      now: () => now,
    };
  });

  it('answers STORE_UNAVAILABLE once it is closed', async () => {
    const store = openSqliteRecordStore(':memory:', { wall: () => 0 });
    await store.close();
    const error = await store.get({ kind: 'grant', name: 'a' }).catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(AppError).with.property('code', 'STORE_UNAVAILABLE');
  });
});

describe('sealed records', () => {
  let folder: string;
  let store: RecordStore;
  const key = sealingKey();

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fmo-sealed-'));
    store = openSqliteRecordStore(join(folder, 'gateway.sqlite'), { wall: () => 0 });
  });

  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  const refused = (work: Promise<unknown>): Promise<unknown> => work.catch((thrown: unknown) => thrown);

  it('leave no byte of an id, a value or a tag in the file', async () => {
    const secrets = ['id-8e1f0c', 'value-77aa01', 'tag-5502de'];
    const tokens = collection<{ token: string }>(store, 'token', [key]);
    await tokens.create(secrets[0], { token: secrets[1] }, { tags: { user: secrets[2] } });
    await store.close();
    const bytes = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'latin1'));
    for (const secret of secrets) expect(bytes.join('')).to.not.include(secret);
  });

  it('come back typed, by id and by tag', async () => {
    const tokens = collection<{ n: number }>(store, 'token', [key]);
    const made = await tokens.create('one', { n: 1 }, { tags: { user: 'alice' } });
    expect(await tokens.get('one')).to.deep.equal(made);
    expect(await tokens.find({ name: 'user', value: 'alice' })).to.deep.equal([made]);
    expect(await tokens.find({ name: 'user', value: 'bob' })).to.deep.equal([]);
    const next = await tokens.replace(made!, { n: 2 }, { tags: { user: 'alice' } });
    expect(await tokens.replace(made!, { n: 3 })).to.equal(undefined);
    expect((await tokens.get('one'))?.value).to.deep.equal({ n: 2 });
    expect(await tokens.delete(next!)).to.equal(true);
    expect(await tokens.delete('one')).to.equal(false);
  });

  it('are read with an older key and written with the newest', async () => {
    const old = collection<string>(store, 'token', [key]);
    await old.create('one', 'text');
    const newer = sealingKey();
    const both = collection<string>(store, 'token', [newer, key]);
    const found = await both.get('one');
    expect(found?.value).to.equal('text');
    await both.replace(found!, 'text');
    expect((await collection<string>(store, 'token', [newer]).get('one'))?.value).to.equal('text');
  });

  it('answer STORE_UNAVAILABLE, not nothing, where their key is missing: a lost key must not log everybody out', async () => {
    await collection<string>(store, 'token', [key]).create('one', 'text');
    const error = await refused(collection<string>(store, 'token', [sealingKey()]).get('one'));
    expect(error).to.be.instanceOf(AppError).with.property('code', 'STORE_UNAVAILABLE');
  });

  it('do not open in another place, nor with a bit changed', async () => {
    const tokens = collection<string>(store, 'token', [key]);
    await tokens.create('one', 'text');
    const { value } = (await store.get({ kind: 'token', name: recordName('token', 'one') }))!;
    await store.create({ kind: 'token', name: recordName('token', 'two') }, { value });
    await store.create({ kind: 'other', name: recordName('other', 'one') }, { value });
    for (let at = 0; at < value.length; at++) {
      const changed = Buffer.from(value);
      changed[at] ^= 1;
      await store.create({ kind: 'token', name: recordName('token', `changed ${at}`) }, { value: changed });
      expect(await refused(tokens.get(`changed ${at}`)), `byte ${at}`).to.be.instanceOf(AppError);
    }
    expect(await refused(tokens.get('two'))).to.be.instanceOf(AppError);
    expect(await refused(collection<string>(store, 'other', [key]).get('one'))).to.be.instanceOf(AppError);
  });

  it('want a key of 32 bytes', () => {
    expect(() => collection(store, 'token', [])).to.throw(RangeError);
    expect(() => collection(store, 'token', [{ id: '00000000', secret: Buffer.alloc(31) }])).to.throw(RangeError);
  });
});
