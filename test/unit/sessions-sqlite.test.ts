import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'chai';
import { AppError } from '../../src/errors';
import { openSqliteSessionStore } from '../../src/stores/sqlite/sessions';
import { aRecord, sessionStoreContract } from '../contract/session-store';

describe('sqlite session store', () => {
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fmo-store-'));
    path = join(folder, 'sessions.sqlite');
  });

  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  describe('in a file', () => {
    sessionStoreContract({
      hasUpkeep: true,
      hasView: false,
      open: async () => openSqliteSessionStore(path),
      reopen: async () => openSqliteSessionStore(path),
    });
  });

  describe('in memory', () => {
    sessionStoreContract({ hasUpkeep: true, hasView: false, open: async () => openSqliteSessionStore(':memory:') });
  });

  it('makes a file that only this user can read, its write-ahead log too', async () => {
    const store = openSqliteSessionStore(path);
    await store.insert(aRecord());
    for (const file of [path, `${path}-wal`, `${path}-shm`]) {
      expect((statSync(file).mode & 0o777).toString(8), file).to.equal('600');
    }
    await store.close();
  });

  it('answers STORE_UNAVAILABLE for a file that a newer version wrote, and leaves it alone', () => {
    const database = new DatabaseSync(path);
    database.exec('PRAGMA user_version = 99');
    database.close();
    expect(() => openSqliteSessionStore(path))
      .to.throw(AppError, /newer version/)
      .with.property('code', 'STORE_UNAVAILABLE');
  });

  it('answers STORE_UNAVAILABLE for a folder that is not there, without naming it to the client', () => {
    const nowhere = join(folder, 'no', 'such', 'folder.sqlite');
    expect(() => openSqliteSessionStore(nowhere))
      .to.throw(AppError)
      .that.satisfies((error: AppError) => error.code === 'STORE_UNAVAILABLE' && !error.message.includes(folder));
  });

  it('answers STORE_UNAVAILABLE while another process holds the file, and goes on afterwards', async () => {
    const store = openSqliteSessionStore(path);
    const other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    const thrown: unknown = await store.insert(aRecord()).catch((reason: unknown) => reason);
    expect(thrown).to.have.property('code', 'STORE_UNAVAILABLE');
    other.exec('ROLLBACK');
    other.close();
    await store.insert(aRecord());
    await store.close();
  });
});
