/** Session records in the gateway's SQLite file. */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import type {
  EndReason,
  Recovered,
  RecordedState,
  SessionChange,
  SessionRecord,
  SessionStore,
  SessionUpkeep,
} from '../../sessions/ports';
import { attempt, openDatabase, transaction } from './database';

interface Row {
  readonly name: string;
  readonly server: string;
  readonly user_issuer: string;
  readonly user_id: string;
  readonly mode: string;
  readonly grant_id: string;
  readonly client: string;
  readonly scopes: string;
  readonly state: string;
  readonly generation: number;
  readonly child: string | null;
  readonly remembered: string | null;
  readonly created_at: number;
  readonly expires_at: number | null;
  readonly ended_at: number | null;
  readonly end_reason: string | null;
}

type Statements = Readonly<
  Record<
    'insert' | 'end' | 'update' | 'claim' | 'get' | 'sleepAll' | 'abandonAll' | 'expire' | 'purge' | 'check',
    StatementSync
  >
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

class SqliteSessionStore implements SessionStore, SessionUpkeep {
  readonly upkeep = this;
  readonly #database: DatabaseSync;
  readonly #statements: Statements;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#statements = {
      insert: database.prepare(
        `INSERT INTO sessions (name, server, user_issuer, user_id, mode, grant_id, client, scopes, state, generation,
                               child, remembered, created_at, expires_at, ended_at, end_reason)
         VALUES (:name, :server, :user_issuer, :user_id, :mode, :grant_id, :client, :scopes, :state, :generation,
                 :child, :remembered, :created_at, :expires_at, :ended_at, :end_reason)`,
      ),
      end: database.prepare(
        "UPDATE sessions SET state = 'ended', ended_at = ?, end_reason = ? WHERE name = ? AND ended_at IS NULL",
      ),
      update: database.prepare(
        `UPDATE sessions SET grant_id = :grant_id, scopes = :scopes, state = :state, generation = :generation,
                             child = :child, remembered = :remembered, expires_at = :expires_at
         WHERE name = :name AND ended_at IS NULL`,
      ),
      claim: database.prepare(
        `UPDATE sessions SET generation = generation + 1
         WHERE name = ? AND generation = ? AND ended_at IS NULL RETURNING *`,
      ),
      get: database.prepare('SELECT * FROM sessions WHERE name = ?'),
      sleepAll: database.prepare(
        `UPDATE sessions SET state = 'hibernated', child = NULL, expires_at = ?
         WHERE state IN ('starting', 'active') AND remembered IS NOT NULL`,
      ),
      abandonAll: database.prepare(
        `UPDATE sessions SET state = 'ended', ended_at = ?, end_reason = 'abandoned'
         WHERE state IN ('starting', 'active')`,
      ),
      expire: database.prepare(
        `UPDATE sessions SET state = 'ended', ended_at = ?, end_reason = 'expired'
         WHERE state = 'hibernated' AND expires_at <= ?`,
      ),
      purge: database.prepare('DELETE FROM sessions WHERE ended_at < ?'),
      check: database.prepare('SELECT count(*) FROM sessions WHERE name IS NULL'),
    };
    // A change is written as a whole row, of which some columns never change.
    this.#statements.update.setAllowUnknownNamedParameters(true);
  }

  async insert(record: SessionRecord): Promise<SessionRecord> {
    attempt(() => this.#statements.insert.run({ ...rowOf(record) }));
    return record;
  }

  async end(name: string, reason: EndReason, at: number): Promise<void> {
    attempt(() => this.#statements.end.run(at, reason, name));
  }

  async update(name: string, change: SessionChange): Promise<boolean> {
    return transaction(this.#database, () => {
      const row = this.#statements.get.get(name) as unknown as Row | undefined;
      if (row === undefined) return false;
      const { child, holder: _nobody, ...rest } = change; // the file is one process's
      const { child: before, ...record } = recordOf(row);
      const now = child === undefined ? before : (child ?? undefined);
      const changed = rowOf({ ...record, ...rest, ...(now === undefined ? {} : { child: now }) });
      return Number(this.#statements.update.run({ ...changed }).changes) > 0;
    });
  }

  async claim(name: string, generation: number): Promise<SessionRecord | undefined> {
    const row = attempt(() => this.#statements.claim.get(name, generation)) as unknown as Row | undefined;
    return row === undefined ? undefined : recordOf(row);
  }

  async get(name: string): Promise<SessionRecord | undefined> {
    const row = attempt(() => this.#statements.get.get(name)) as unknown as Row | undefined;
    return row === undefined ? undefined : recordOf(row);
  }

  async recover(at: number, expiresAt: number): Promise<Recovered> {
    return transaction(this.#database, () => {
      const hibernated = Number(this.#statements.sleepAll.run(expiresAt).changes);
      const abandoned = Number(this.#statements.abandonAll.run(at).changes);
      return { hibernated, abandoned };
    });
  }

  async expire(at: number): Promise<number> {
    return Number(attempt(() => this.#statements.expire.run(at, at)).changes);
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

function rowOf(record: SessionRecord): Row & Record<string, SQLInputValue> {
  const { child, remembered } = record;
  return {
    name: record.name,
    server: record.server,
    user_issuer: record.userIssuer,
    user_id: record.userId,
    mode: record.mode,
    grant_id: record.grant,
    client: record.client,
    scopes: record.scopes.join(' '),
    state: record.state,
    generation: record.generation,
    child: child === undefined ? null : JSON.stringify(child),
    remembered: remembered === undefined ? null : JSON.stringify(remembered),
    created_at: record.createdAt,
    expires_at: record.expiresAt ?? null,
    ended_at: record.endedAt ?? null,
    end_reason: record.endReason ?? null,
  };
}

function recordOf(row: Row): SessionRecord {
  return {
    name: row.name,
    server: row.server,
    userIssuer: row.user_issuer,
    userId: row.user_id,
    mode: row.mode as SessionRecord['mode'],
    grant: row.grant_id,
    client: row.client,
    scopes: row.scopes.split(' ').filter((scope) => scope !== '') as SessionRecord['scopes'],
    state: row.state as RecordedState,
    generation: row.generation,
    ...(row.child === null ? {} : { child: JSON.parse(row.child) as NonNullable<SessionRecord['child']> }),
    ...(row.remembered === null
      ? {}
      : { remembered: JSON.parse(row.remembered) as NonNullable<SessionRecord['remembered']> }),
    createdAt: row.created_at,
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at }),
    ...(row.ended_at === null ? {} : { endedAt: row.ended_at }),
    ...(row.end_reason === null ? {} : { endReason: row.end_reason as EndReason }),
  };
}
