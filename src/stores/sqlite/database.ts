/** One SQLite file with all tables of the gateway, through Node's own driver. Every store has a connection of its own. */
import { chmodSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { AppError } from '../../errors';
import { storeUnavailable } from '../unavailable';

/** Milliseconds to wait for another process's lock. The calls are synchronous, so this holds everything up: it must be short. */
const BUSY_TIMEOUT_MS = 500;

/** Each step raises the file's version by one; an older file is brought up step by step, a newer one is refused. */
const STEPS: readonly string[] = [
  `CREATE TABLE sessions (
     name        TEXT PRIMARY KEY,
     server      TEXT NOT NULL,
     user_issuer TEXT NOT NULL,
     user_id     TEXT NOT NULL,
     grant_id    TEXT NOT NULL,
     client      TEXT NOT NULL,
     created_at  INTEGER NOT NULL,
     ended_at    INTEGER,
     end_reason  TEXT,
     CHECK ((ended_at IS NULL) = (end_reason IS NULL))
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX sessions_live ON sessions (name) WHERE ended_at IS NULL;
   CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;`,
  `CREATE TABLE records (
     kind       TEXT NOT NULL,
     name       TEXT NOT NULL,
     version    TEXT NOT NULL,
     value      BLOB NOT NULL,
     expires_at INTEGER,
     PRIMARY KEY (kind, name)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX records_expiring ON records (expires_at) WHERE expires_at IS NOT NULL;
   CREATE TABLE record_tags (
     kind  TEXT NOT NULL,
     tag   TEXT NOT NULL,
     value TEXT NOT NULL,
     name  TEXT NOT NULL,
     PRIMARY KEY (kind, tag, value, name),
     FOREIGN KEY (kind, name) REFERENCES records (kind, name) ON DELETE CASCADE
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX record_tags_of ON record_tags (kind, name);`,
  // A session of before this step cannot be brought back: nothing is known of what its child was told.
  `ALTER TABLE sessions ADD COLUMN mode TEXT NOT NULL DEFAULT 'oauth';
   ALTER TABLE sessions ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
   ALTER TABLE sessions ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
   ALTER TABLE sessions ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
   ALTER TABLE sessions ADD COLUMN child TEXT;
   ALTER TABLE sessions ADD COLUMN remembered TEXT;
   ALTER TABLE sessions ADD COLUMN expires_at INTEGER;
   UPDATE sessions SET state = 'ended' WHERE ended_at IS NOT NULL;
   CREATE INDEX sessions_asleep ON sessions (expires_at) WHERE state = 'hibernated';`,
];

/**
 * Opens the file, makes it and its tables where they are not there.
 *
 * @param path a file, or `:memory:`. The file is for this user only.
 * @throws AppError `STORE_UNAVAILABLE` when it cannot be opened, or was written by a newer version.
 */
export function openDatabase(path: string): DatabaseSync {
  return attempt(() => {
    const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    try {
      if (path !== ':memory:') chmodSync(path, 0o600); // before WAL makes its own files with the same mode
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;');
      migrate(database);
      return database;
    } catch (thrown) {
      database.close();
      throw thrown;
    }
  });
}

/** Runs one step; whatever SQLite says becomes `STORE_UNAVAILABLE`. */
export function attempt<T>(step: () => T): T {
  try {
    return step();
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown;
    throw storeUnavailable(thrown instanceof Error ? thrown.message : 'sqlite failed', undefined, thrown);
  }
}

/** Runs several statements as one: all of them or none, and nobody in between. */
export function transaction<T>(database: DatabaseSync, work: () => T): T {
  return attempt(() => {
    database.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      database.exec('COMMIT');
      return result;
    } catch (thrown) {
      database.exec('ROLLBACK');
      throw thrown;
    }
  });
}

function versionOf(database: DatabaseSync): number {
  return (database.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
}

function migrate(database: DatabaseSync): void {
  if (versionOf(database) === STEPS.length) return;
  // Several gateways may start on one file: whoever has the lock looks again.
  transaction(database, () => {
    const version = versionOf(database);
    if (version > STEPS.length) {
      throw new AppError(
        'STORE_UNAVAILABLE',
        'The store was written by a newer version. Start that version, or use another file.',
        { detail: `schema version ${String(version)}, this program knows ${String(STEPS.length)}` },
      );
    }
    for (const step of STEPS.slice(version)) database.exec(step);
    database.exec(`PRAGMA user_version = ${String(STEPS.length)}`);
  });
}
