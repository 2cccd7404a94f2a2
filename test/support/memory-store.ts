/** Session records in memory, in the contract of `test/contract/session-store.ts`. */
import { AppError } from '../../src/errors';
import type {
  EndReason,
  Recovered,
  SessionChange,
  SessionRecord,
  SessionStore,
  SessionUpkeep,
  SessionView,
} from '../../src/sessions/ports';

/** Who follows the records that several processes share. */
const followers = new WeakMap<Map<string, SessionRecord>, Set<(name: string) => void>>();

/** What one process sees of them, at once. */
class MemoryView implements SessionView {
  readonly end: SessionView['end'];
  readonly #self: string;
  readonly #records: Map<string, SessionRecord>;

  constructor(self: string, records: Map<string, SessionRecord>, end: SessionView['end']) {
    this.end = end;
    this.#self = self;
    this.#records = records;
    if (!followers.has(records)) followers.set(records, new Set());
  }

  async synced(): Promise<void> {
    // All is seen at once.
  }

  onChange(listener: (name: string) => void): void {
    followers.get(this.#records)?.add((name) => {
      const record = this.#records.get(name);
      if (record === undefined || record.state === 'ended' || record.holder !== this.#self) listener(name);
    });
  }

  ofUser({ issuer, id }: { issuer: string; id: string }): readonly SessionRecord[] {
    return [...this.#records.values()].filter(
      ({ userIssuer, userId, state }) => userIssuer === issuer && userId === id && state !== 'ended',
    );
  }
}

export class MemoryStore implements SessionStore, SessionUpkeep {
  readonly upkeep = this;
  readonly records: Map<string, SessionRecord>;
  readonly view?: SessionView;
  /** Set: every call fails. */
  down = false;
  readonly #self: string | undefined;

  /** @param self names the process whose store this is, where several share the records. */
  constructor(self?: string, records = new Map<string, SessionRecord>()) {
    this.#self = self;
    this.records = records;
    if (self !== undefined) {
      this.view = new MemoryView(self, records, async (name, reason, at) => {
        this.#up();
        this.#end((record) => record.name === name, reason, at);
      });
    }
  }

  /** As an administrator does it. */
  remove(name: string): void {
    this.records.delete(name);
    this.#tell(name);
  }

  async insert(record: SessionRecord): Promise<SessionRecord> {
    this.#up();
    if (this.records.has(record.name)) throw new AppError('STORE_UNAVAILABLE', 'It is there already.');
    const own = { ...record, ...this.#held };
    this.#set(own);
    return own;
  }

  async end(name: string, reason: EndReason, at: number): Promise<void> {
    this.#up();
    this.#end((record) => record.name === name && this.#isOurs(record), reason, at);
  }

  async update(name: string, { child, holder, ...change }: SessionChange): Promise<boolean> {
    this.#up();
    const record = this.records.get(name);
    if (record === undefined || record.state === 'ended' || !this.#isOurs(record)) return false;
    const { child: before, holder: held, ...rest } = record;
    const now = child === undefined ? before : child;
    this.#set({
      ...{ ...rest, ...change },
      ...(holder === null || held === undefined ? {} : { holder: held }),
      ...(now === undefined || now === null ? {} : { child: now }),
    });
    return true;
  }

  async claim(name: string, generation: number): Promise<SessionRecord | undefined> {
    this.#up();
    const record = this.records.get(name);
    if (record === undefined || record.state === 'ended' || record.generation !== generation) return undefined;
    const claimed = { ...record, ...this.#held, generation: generation + 1 };
    this.#set(claimed);
    return claimed;
  }

  async get(name: string): Promise<SessionRecord | undefined> {
    this.#up();
    return this.records.get(name);
  }

  async recover(at: number, expiresAt: number): Promise<Recovered> {
    this.#up();
    let hibernated = 0;
    for (const record of this.records.values()) {
      if ((record.state !== 'active' && record.state !== 'starting') || record.remembered === undefined) continue;
      const { child: _gone, ...rest } = record;
      this.#set({ ...rest, state: 'hibernated', expiresAt });
      hibernated += 1;
    }
    const abandoned = this.#end(({ state }) => state === 'active' || state === 'starting', 'abandoned', at);
    return { hibernated, abandoned };
  }

  async expire(at: number): Promise<number> {
    this.#up();
    const isOver = ({ state, expiresAt = Infinity }: SessionRecord): boolean =>
      state === 'hibernated' && expiresAt <= at;
    return this.#end(isOver, 'expired', at);
  }

  async purge(before: number): Promise<number> {
    this.#up();
    const old = [...this.records.values()].filter(({ endedAt = Infinity }) => endedAt < before);
    for (const { name } of old) this.records.delete(name);
    return old.length;
  }

  async check(): Promise<void> {
    this.#up();
  }

  async close(): Promise<void> {
    this.down = true;
  }

  #set(record: SessionRecord): void {
    this.records.set(record.name, record);
    this.#tell(record.name);
  }

  #tell(name: string): void {
    for (const follower of followers.get(this.records) ?? []) follower(name);
  }

  get #held(): Partial<SessionRecord> {
    return this.#self === undefined ? {} : { holder: this.#self };
  }

  #isOurs({ holder }: SessionRecord): boolean {
    return this.#self === undefined || holder === this.#self;
  }

  #end(which: (record: SessionRecord) => boolean, endReason: EndReason, endedAt: number): number {
    const those = [...this.records.values()].filter((record) => record.state !== 'ended' && which(record));
    for (const record of those) this.#set({ ...record, state: 'ended', endedAt, endReason });
    return those.length;
  }

  #up(): void {
    if (this.down) throw new AppError('STORE_UNAVAILABLE', 'The store is down.', { retryAfter: 3 });
  }
}
