/** Session records in one SQLite file, through Node's own driver. */
import { chmodSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { AppError } from '../../errors';
import type { EndReason, SessionRecord, SessionStore } from '../../sessions/ports';

/** Raised with every change of the tables; an older file is brought up step by step, a newer one is refused. */
const SCHEMA_VERSION = 1;

/** Milliseconds to wait for another process's lock. The calls are synchronous, so this holds everything up: it must be short. */
const BUSY_TIMEOUT_MS = 500;

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
];

interface Row {
  readonly name: string;
  readonly server: string;
  readonly user_issuer: string;
  readonly user_id: string;
  readonly grant_id: string;
  readonly client: string;
  readonly created_at: number;
  readonly ended_at: number | null;
  readonly end_reason: string | null;
}

type Statements = Readonly<
  Record<'insert' | 'end' | 'rebind' | 'get' | 'abandonAll' | 'purge' | 'check', StatementSync>
>;

/**
 * Opens (and makes) the store.
 *
 * @param path a file, or `:memory:`. The file is for this user only.
 * @throws AppError `STORE_UNAVAILABLE` when it cannot be opened, or was written by a newer version.
 */
export function openSqliteSessionStore(path: string): SessionStore {
  return attempt(() => {
    const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    try {
      if (path !== ':memory:') chmodSync(path, 0o600); // before WAL makes its own files with the same mode
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;');
      migrate(database);
      return new SqliteSessionStore(database);
    } catch (thrown) {
      database.close();
      throw thrown;
    }
  });
}

class SqliteSessionStore implements SessionStore {
  readonly #database: DatabaseSync;
  readonly #statements: Statements;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#statements = {
      insert: database.prepare(
        `INSERT INTO sessions (name, server, user_issuer, user_id, grant_id, client, created_at, ended_at, end_reason)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ),
      end: database.prepare('UPDATE sessions SET ended_at = ?, end_reason = ? WHERE name = ? AND ended_at IS NULL'),
      rebind: database.prepare('UPDATE sessions SET grant_id = ? WHERE name = ? AND ended_at IS NULL'),
      get: database.prepare('SELECT * FROM sessions WHERE name = ?'),
      abandonAll: database.prepare("UPDATE sessions SET ended_at = ?, end_reason = 'abandoned' WHERE ended_at IS NULL"),
      purge: database.prepare('DELETE FROM sessions WHERE ended_at < ?'),
      check: database.prepare('SELECT count(*) FROM sessions WHERE name IS NULL'),
    };
  }

  async insert(record: SessionRecord): Promise<void> {
    const { name, server, userIssuer, userId, grant, client, createdAt, endedAt, endReason } = record;
    attempt(() =>
      this.#statements.insert.run(
        ...[name, server, userIssuer, userId, grant, client, createdAt],
        ...[endedAt ?? null, endReason ?? null],
      ),
    );
  }

  async end(name: string, reason: EndReason, at: number): Promise<void> {
    attempt(() => this.#statements.end.run(at, reason, name));
  }

  async rebind(name: string, grant: string): Promise<void> {
    attempt(() => this.#statements.rebind.run(grant, name));
  }

  async get(name: string): Promise<SessionRecord | undefined> {
    const row = attempt(() => this.#statements.get.get(name)) as unknown as Row | undefined;
    return row === undefined ? undefined : recordOf(row);
  }

  async abandonAll(at: number): Promise<number> {
    return Number(attempt(() => this.#statements.abandonAll.run(at)).changes);
  }

  async purge(before: number): Promise<number> {
    return Number(attempt(() => this.#statements.purge.run(before)).changes);
  }

  async check(): Promise<void> {
    attempt(() => this.#statements.check.get());
  }

  async close(): Promise<void> {
    if (this.#database.isOpen) this.#database.close();
  }
}

function migrate(database: DatabaseSync): void {
  const row = database.prepare('PRAGMA user_version').get() as { user_version: number };
  const version = row.user_version;
  if (version > SCHEMA_VERSION) {
    throw new AppError(
      'STORE_UNAVAILABLE',
      'The session store was written by a newer version. Start that version, or use another file.',
      {
        detail: `schema version ${String(version)}, this program knows ${String(SCHEMA_VERSION)}`,
      },
    );
  }
  for (const [index, step] of STEPS.entries()) {
    if (index >= version) database.exec(`BEGIN IMMEDIATE; ${step} PRAGMA user_version = ${String(index + 1)}; COMMIT;`);
  }
}

function recordOf(row: Row): SessionRecord {
  return {
    name: row.name,
    server: row.server,
    userIssuer: row.user_issuer,
    userId: row.user_id,
    grant: row.grant_id,
    client: row.client,
    createdAt: row.created_at,
    ...(row.ended_at === null ? {} : { endedAt: row.ended_at }),
    ...(row.end_reason === null ? {} : { endReason: row.end_reason as EndReason }),
  };
}

/** Runs one step; whatever SQLite says becomes `STORE_UNAVAILABLE`. */
function attempt<T>(step: () => T): T {
  try {
    return step();
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown;
    throw new AppError(
      'STORE_UNAVAILABLE',
      'The gateway cannot look sessions up at the moment. Try again in a few seconds.',
      {
        detail: thrown instanceof Error ? thrown.message : 'sqlite failed',
        cause: thrown,
        retryAfter: 5,
      },
    );
  }
}
