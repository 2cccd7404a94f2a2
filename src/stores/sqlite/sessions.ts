/** Session records in the gateway's SQLite file. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { EndReason, SessionRecord, SessionStore } from '../../sessions/ports';
import { attempt, openDatabase } from './database';

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
  return new SqliteSessionStore(openDatabase(path));
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
