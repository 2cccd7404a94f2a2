/** Session records in memory, in the contract of `test/contract/session-store.ts`. */
import { AppError } from '../../src/errors';
import type {
  EndReason,
  Recovered,
  SessionChange,
  SeenSession,
  SessionRecord,
  SessionStore,
  SessionUpkeep,
  SessionView,
} from '../../src/sessions/ports';

/** What several processes that share records have in common: who follows them, and in which order they were written. */
export class Common {
  readonly followers = new Set<(name: string) => void>();
  readonly orders = new Map<string, bigint>();
  readonly opened = new Map<string, SessionRecord>();
  order = 0n;
}

const commons = new WeakMap<Map<string, SessionRecord>, Common>();

/** What belongs to these records. */
export function commonOf(records: Map<string, SessionRecord>): Common {
  const common = commons.get(records) ?? new Common();
  commons.set(records, common);
  return common;
}

/** What one process sees of them, at once. */
class MemoryView implements SessionView {
  readonly end: SessionView['end'];
  readonly #self: string;
  readonly #records: Map<string, SessionRecord>;
  readonly #common: Common;
  readonly #up: () => void;

  constructor(self: string, records: Map<string, SessionRecord>, end: SessionView['end'], up: () => void) {
    this.#up = up;
    this.end = end;
    this.#self = self;
    this.#records = records;
    this.#common = commonOf(records);
  }

  async synced(): Promise<void> {
    // All is seen at once.
  }

  onChange(listener: (name: string) => void): void {
    this.#common.followers.add((name) => {
      const record = this.#records.get(name);
      if (record === undefined || record.state === 'ended' || record.holder !== this.#self) listener(name);
    });
  }

  ofUser({ issuer, id }: { issuer: string; id: string }): readonly SeenSession[] {
    return this.seen().filter(({ userIssuer, userId }) => userIssuer === issuer && userId === id);
  }

  seen(): readonly SeenSession[] {
    const live = [...this.#records.values()].filter(({ state }) => state !== 'ended');
    return live.map((record) => ({ ...record, order: this.#common.orders.get(record.name) ?? 0n }));
  }

  opened(): Iterable<SessionRecord> {
    return this.#common.opened.values();
  }

  onSeen(listener: () => void): void {
    this.#common.followers.add(listener);
  }

  async read(): Promise<readonly SeenSession[]> {
    this.#up();
    return this.seen();
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
      const up = (): void => this.#up();
      const end: SessionView['end'] = async (name, reason, at) => {
        up();
        this.#end((record) => record.name === name, reason, at);
      };
      this.view = new MemoryView(self, records, end, up);
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
    const { child: before, holder: held, admitted: had = false, ...rest } = record;
    const state = change.state ?? record.state;
    const admitted = change.admitted ?? (had && change.state !== 'starting' && state !== 'hibernated');
    const now = child === undefined ? before : child;
    this.#set({
      ...{ ...rest, ...without(change) },
      ...(admitted ? { admitted } : {}),
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
      const { child: _gone, admitted: _admitted, ...rest } = record;
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
    const common = commonOf(this.records);
    common.order += 1n;
    common.orders.set(record.name, common.order);
    this.records.set(record.name, record);
    const isOpen = record.state === 'active' || (record.state === 'starting' && record.admitted === true);
    if (isOpen && !common.opened.has(record.name)) common.opened.set(record.name, record);
    this.#tell(record.name);
  }

  #tell(name: string): void {
    for (const follower of commonOf(this.records).followers) follower(name);
  }

  get #held(): Partial<SessionRecord> {
    return this.#self === undefined ? {} : { holder: this.#self };
  }

  #isOurs({ holder }: SessionRecord): boolean {
    return this.#self === undefined || holder === this.#self;
  }

  #end(which: (record: SessionRecord) => boolean, endReason: EndReason, endedAt: number): number {
    const those = [...this.records.values()].filter((record) => record.state !== 'ended' && which(record));
    for (const { admitted: _admitted, ...record } of those)
      this.#set({ ...record, state: 'ended', endedAt, endReason });
    return those.length;
  }

  #up(): void {
    if (this.down) throw new AppError('STORE_UNAVAILABLE', 'The store is down.', { retryAfter: 3 });
  }
}

function without({ admitted: _admitted, ...change }: Omit<SessionChange, 'child' | 'holder'>) {
  return change;
}
