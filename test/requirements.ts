/**
 * Every MUST and SHOULD of the MCP specification, all revisions that are served, as data. Tests cite them; test/unit/requirements.test.ts
 * holds one against the other. The texts are ours: the specification says it in its own words at the section that an entry names.
 */
import { pages as basic20241105 } from './requirements/2024-11-05-basic';
import { pages as transports20241105 } from './requirements/2024-11-05-transports';
import { pages as client20241105 } from './requirements/2024-11-05-client';
import { pages as server20241105 } from './requirements/2024-11-05-server';
import { pages as schema20241105 } from './requirements/2024-11-05-schema';
import { pages as authorization20250326 } from './requirements/2025-03-26-authorization';
import { pages as basic20250326 } from './requirements/2025-03-26-basic';
import { pages as transports20250326 } from './requirements/2025-03-26-transports';
import { pages as client20250326 } from './requirements/2025-03-26-client';
import { pages as server20250326 } from './requirements/2025-03-26-server';
import { pages as schema20250326 } from './requirements/2025-03-26-schema';
import { pages as authorization20250618 } from './requirements/2025-06-18-authorization';
import { pages as basic20250618 } from './requirements/2025-06-18-basic';
import { pages as transports20250618 } from './requirements/2025-06-18-transports';
import { pages as client20250618 } from './requirements/2025-06-18-client';
import { pages as server20250618 } from './requirements/2025-06-18-server';
import { pages as schema20250618 } from './requirements/2025-06-18-schema';
import { pages as authorization20251125 } from './requirements/2025-11-25-authorization';
import { pages as basic20251125 } from './requirements/2025-11-25-basic';
import { pages as transports20251125 } from './requirements/2025-11-25-transports';
import { pages as tasks20251125 } from './requirements/2025-11-25-tasks';
import { pages as client20251125 } from './requirements/2025-11-25-client';
import { pages as server20251125 } from './requirements/2025-11-25-server';
import { pages as schema20251125 } from './requirements/2025-11-25-schema';
import { pages as authorization20260728 } from './requirements/2026-07-28-authorization';
import { pages as basic20260728 } from './requirements/2026-07-28-basic';
import { pages as transports20260728 } from './requirements/2026-07-28-transports';
import { pages as client20260728 } from './requirements/2026-07-28-client';
import { pages as server20260728 } from './requirements/2026-07-28-server';
import { pages as schema20260728 } from './requirements/2026-07-28-schema';
import type { Entry, Id, Page, Repeated, Stated } from './requirements/model';

export type { Concern, Entry, Id, Page, Repeated, Stated } from './requirements/model';

/** The pages of each revision, oldest revision first. */
export const REVISIONS: Readonly<Record<string, readonly Page[]>> = {
  '2024-11-05': [...basic20241105, ...transports20241105, ...client20241105, ...server20241105, ...schema20241105],
  '2025-03-26': [
    ...authorization20250326,
    ...basic20250326,
    ...transports20250326,
    ...client20250326,
    ...server20250326,
    ...schema20250326,
  ],
  '2025-06-18': [
    ...authorization20250618,
    ...basic20250618,
    ...transports20250618,
    ...client20250618,
    ...server20250618,
    ...schema20250618,
  ],
  '2025-11-25': [
    ...authorization20251125,
    ...basic20251125,
    ...transports20251125,
    ...tasks20251125,
    ...client20251125,
    ...server20251125,
    ...schema20251125,
  ],
  '2026-07-28': [
    ...authorization20260728,
    ...basic20260728,
    ...transports20260728,
    ...client20260728,
    ...server20260728,
    ...schema20260728,
  ],
};

/** Every entry by its id. */
export const REQUIREMENTS: ReadonlyMap<Id, Entry> = new Map(
  Object.values(REVISIONS).flatMap((pages) =>
    pages.flatMap((page) => Object.entries(page.requirements) as [Id, Entry][]),
  ),
);

export function isRepeated(entry: Entry): entry is Repeated {
  return 'same' in entry;
}

/** The entry with words of its own that `id` stands for: itself, or the one that it repeats. Throws where there is none. */
export function statedBy(id: Id): { readonly id: Id; readonly entry: Stated } {
  const entry = REQUIREMENTS.get(id);
  if (entry === undefined) throw new Error(`There is no requirement ${id}.`);
  if (!isRepeated(entry)) return { id, entry };
  const first = REQUIREMENTS.get(entry.same);
  if (first === undefined || isRepeated(first)) throw new Error(`${id} repeats ${entry.same}, which states nothing.`);
  return { id: entry.same, entry: first };
}

/**
 * Says inside a test, or above the tests of a `describe`, which requirements it proves, where the title would get too long. It is read
 * statically, so the ids stand there as plain strings.
 */
export function cites(...ids: readonly Id[]): void {
  for (const id of ids) statedBy(id);
}
