/** A store in memory that several processes share, which takes its time: each call, and what is seen of the others, comes later, in its order. */
import type { OpenedSession, SeenSession, SessionChange, SessionRecord, SessionView } from '../../src/sessions/ports';
import { commonOf, MemoryStore } from './memory-store';

type Wait = () => Promise<void>;

export class LateStore extends MemoryStore {
  override readonly view: LateView;
  /** Names in the order in which they were recorded. */
  readonly inserted: string[];
  /** Reads of all records. */
  reads = 0;
  readonly #wait: Wait;

  /** @param wait for each call, and between two records that are seen. */
  constructor(self: string, records: Map<string, SessionRecord>, wait: Wait, inserted: string[] = []) {
    super(self, records);
    this.#wait = wait;
    this.inserted = inserted;
    const inner = new MemoryStore(self, records).view as SessionView;
    this.view = new LateView(inner, records, wait, () => (this.reads += 1));
  }

  /** Nothing is seen from now on. */
  blind(): void {
    this.view.isBlind = true;
  }

  override async insert(record: SessionRecord): Promise<SessionRecord> {
    await this.#wait();
    const made = await super.insert(record);
    this.inserted.push(record.name);
    await this.#wait();
    return made;
  }

  override async update(name: string, change: SessionChange): Promise<boolean> {
    await this.#wait();
    const isDone = await super.update(name, change);
    await this.#wait();
    return isDone;
  }
}

class LateView implements SessionView {
  readonly synced: SessionView['synced'];
  readonly onChange: SessionView['onChange'];
  readonly ofUser: SessionView['ofUser'];
  readonly end: SessionView['end'];
  readonly #inner: SessionView;
  readonly #wait: Wait;
  readonly #count: () => void;
  readonly #seen = new Map<string, SeenSession>();
  readonly #opened = new Map<string, OpenedSession>();
  readonly #queue: { readonly name: string; readonly record: SeenSession | undefined; readonly isOpen: boolean }[] = [];
  readonly #listeners: (() => void)[] = [];
  isBlind = false;
  #running = false;

  constructor(inner: SessionView, records: Map<string, SessionRecord>, wait: Wait, count: () => void) {
    this.#inner = inner;
    this.#wait = wait;
    this.#count = count;
    this.synced = (signal) => inner.synced(signal);
    this.onChange = (listener) => inner.onChange(listener);
    this.ofUser = (user) => inner.ofUser(user);
    this.end = (name, reason, at) => inner.end(name, reason, at);
    const common = commonOf(records);
    common.followers.add((name) => {
      if (this.isBlind) return;
      const record = records.get(name);
      const order = common.orders.get(name) ?? 0n;
      const live = record === undefined || record.state === 'ended' ? undefined : { ...record, order };
      this.#queue.push({ name, record: live, isOpen: common.opened.has(name) });
      void this.#run();
    });
  }

  seen(): Iterable<SeenSession> {
    return this.#seen.values();
  }

  opened(): Iterable<OpenedSession> {
    return this.#opened.values();
  }

  onSeen(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async read(): Promise<Iterable<SeenSession>> {
    this.#count();
    await this.#wait();
    const records = await this.#inner.read();
    await this.#wait();
    return records;
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      await this.#wait();
      const { name, record, isOpen } = next;
      if (record === undefined) this.#seen.delete(name);
      else this.#seen.set(name, record);
      if (isOpen && record !== undefined && !this.#opened.has(name)) this.#opened.set(name, record);
      for (const listener of this.#listeners) listener();
    }
    this.#running = false;
  }
}
