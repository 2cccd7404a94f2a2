/** Records in the gateway's SQLite file: one machine, several processes. SQLite's own locks make each call one step for all of them. */
import { randomBytes } from 'node:crypto';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Clock } from '../../clock';
import type { RecordData, RecordKey, RecordStore, StoredRecord } from '../contract';
import { attempt, openDatabase, transaction } from './database';

interface Row {
  readonly name: string;
  readonly version: string;
  readonly value: Uint8Array;
  readonly expires_at: number | null;
  readonly tags: string;
}

const TAGS = `(SELECT json_group_object(tag, value) FROM record_tags t WHERE t.kind = r.kind AND t.name = r.name) AS tags`;
const LIVE = '(r.expires_at IS NULL OR r.expires_at > ?)';

type Statements = Readonly<
  Record<
    | 'get'
    | 'find'
    | 'findTagged'
    | 'insert'
    | 'tag'
    | 'expire'
    | 'remove'
    | 'removeVersion'
    | 'live'
    | 'sweep'
    | 'check',
    StatementSync
  >
>;

/**
 * Opens the store.
 * @param path a file, or `:memory:`. @throws AppError `STORE_UNAVAILABLE`.
 */
export function openSqliteRecordStore(path: string, clock: Pick<Clock, 'wall'>): RecordStore {
  return new SqliteRecordStore(openDatabase(path), clock);
}

class SqliteRecordStore implements RecordStore {
  readonly #database: DatabaseSync;
  readonly #clock: Pick<Clock, 'wall'>;
  readonly #statements: Statements;

  constructor(database: DatabaseSync, clock: Pick<Clock, 'wall'>) {
    this.#database = database;
    this.#clock = clock;
    this.#statements = {
      get: database.prepare(`SELECT *, ${TAGS} FROM records r WHERE kind = ? AND name = ? AND ${LIVE}`),
      find: database.prepare(`SELECT *, ${TAGS} FROM records r WHERE kind = ? AND ${LIVE}`),
      findTagged: database.prepare(
        `SELECT *, ${TAGS} FROM records r WHERE kind = ? AND ${LIVE}
         AND name IN (SELECT name FROM record_tags f WHERE f.kind = r.kind AND f.tag = ? AND f.value = ?)`,
      ),
      insert: database.prepare('INSERT INTO records (kind, name, version, value, expires_at) VALUES (?, ?, ?, ?, ?)'),
      tag: database.prepare('INSERT INTO record_tags (kind, name, tag, value) VALUES (?, ?, ?, ?)'),
      expire: database.prepare('DELETE FROM records WHERE kind = ? AND name = ? AND expires_at <= ?'),
      remove: database.prepare(`DELETE FROM records AS r WHERE kind = ? AND name = ? AND ${LIVE}`),
      removeVersion: database.prepare(
        `DELETE FROM records AS r WHERE kind = ? AND name = ? AND ${LIVE} AND version = ?`,
      ),
      live: database.prepare(`SELECT count(*) AS count FROM records r WHERE kind = ? AND name = ? AND ${LIVE}`),
      sweep: database.prepare(
        `DELETE FROM records WHERE (kind, name) IN
         (SELECT kind, name FROM records WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`,
      ),
      check: database.prepare('SELECT count(*) FROM records WHERE kind IS NULL'),
    };
  }

  async get({ kind, name }: RecordKey): Promise<StoredRecord | undefined> {
    const row = attempt(() => this.#statements.get.get(kind, name, this.#clock.wall())) as unknown as Row | undefined;
    return row === undefined ? undefined : recordOf(kind, row);
  }

  async create(key: RecordKey, data: RecordData): Promise<string | undefined> {
    return transaction(this.#database, () => {
      const now = this.#clock.wall();
      this.#statements.expire.run(key.kind, key.name, now);
      const { count } = this.#statements.live.get(key.kind, key.name, now) as { count: number };
      return count > 0 ? undefined : this.#insert(key, data);
    });
  }

  async replace(key: RecordKey, data: RecordData, version: string): Promise<string | undefined> {
    return transaction(this.#database, () => {
      const gone = this.#statements.removeVersion.run(key.kind, key.name, this.#clock.wall(), version);
      return gone.changes === 0 ? undefined : this.#insert(key, data);
    });
  }

  async delete({ kind, name }: RecordKey, version?: string): Promise<boolean> {
    const now = this.#clock.wall();
    const { remove, removeVersion } = this.#statements;
    const done = attempt(() =>
      version === undefined ? remove.run(kind, name, now) : removeVersion.run(kind, name, now, version),
    );
    return done.changes > 0;
  }

  async find(kind: string, tag?: { readonly name: string; readonly value: string }): Promise<readonly StoredRecord[]> {
    const now = this.#clock.wall();
    const { find, findTagged } = this.#statements;
    const rows = attempt(() =>
      tag === undefined ? find.all(kind, now) : findTagged.all(kind, now, tag.name, tag.value),
    ) as unknown as Row[];
    return rows.map((row) => recordOf(kind, row));
  }

  async sweep(limit: number): Promise<number> {
    return Number(attempt(() => this.#statements.sweep.run(this.#clock.wall(), limit)).changes);
  }

  async check(): Promise<void> {
    attempt(() => this.#statements.check.get());
  }

  async close(): Promise<void> {
    if (this.#database.isOpen) this.#database.close();
  }

  #insert({ kind, name }: RecordKey, { value, expiresAt, tags = {} }: RecordData): string {
    // Never used twice, so that a record which was deleted and made anew does not pass for the old one.
    const version = randomBytes(8).toString('hex');
    this.#statements.insert.run(kind, name, version, value, expiresAt ?? null);
    for (const [tag, digest] of Object.entries(tags)) this.#statements.tag.run(kind, name, tag, digest);
    return version;
  }
}

function recordOf(kind: string, row: Row): StoredRecord {
  const tags = JSON.parse(row.tags) as Record<string, string>;
  return {
    key: { kind, name: row.name },
    value: Buffer.from(row.value),
    version: row.version,
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at }),
    ...(Object.keys(tags).length === 0 ? {} : { tags }),
  };
}
