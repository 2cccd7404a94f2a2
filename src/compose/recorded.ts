/** What the credential proxy may know of sessions that another gateway has: children find any of them behind their Service. */
import type { ServerCatalog } from '../catalog/contract';
import type { Clock } from '../clock';
import { bearerOf } from '../sessions/bound';
import type { SessionRecord, SessionStore } from '../sessions/ports';
import type { FindRecorded } from '../spawn';

/** Milliseconds for which a record is believed: what is taken back counts after that at the latest, as for grants. */
const FRESH_MS = 2_000;
/** Records that are kept for that time. */
const KEPT_MAX = 10_000;

export function recordedSessions(
  store: Pick<SessionStore, 'get'>,
  catalog: Pick<ServerCatalog, 'find'>,
  clock: Pick<Clock, 'now'>,
): FindRecorded {
  const kept = new Map<string, { readonly at: number; readonly record: Promise<SessionRecord | undefined> }>();
  const read = (name: string): Promise<SessionRecord | undefined> => {
    const now = clock.now();
    const known = kept.get(name);
    if (known !== undefined && now - known.at < FRESH_MS) return known.record;
    const record = store.get(name);
    kept.delete(name);
    kept.set(name, { at: now, record });
    record.catch(() => kept.delete(name));
    const [oldest] = kept.keys();
    if (kept.size > KEPT_MAX && oldest !== undefined) kept.delete(oldest);
    return record;
  };
  return async (name, fresh = false) => {
    if (fresh) kept.delete(name);
    let record = await read(name);
    if (record?.child === undefined) {
      kept.delete(name); // a child that has just been started must not be refused for what was so before
      record = await read(name);
    }
    const server = record === undefined ? undefined : catalog.find(record.server);
    if (record?.child === undefined || record.state === 'ended' || server === undefined) return undefined;
    const { child, holder, generation } = record;
    return { auth: bearerOf(record, ''), server, child, holder, generation };
  };
}
