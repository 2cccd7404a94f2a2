/** Owners and repositories as a person types them, and whether a policy covers them. Its meaning is the credential proxy's. */
import type { Choice } from '../../auth/context';
import type { ServerPolicy } from '../../config/server';
import { shown } from './text';

/** What bounds a choice: a server's policy. */
export type Bounds = Pick<ServerPolicy, 'owners' | 'repositories'>;

/** Characters of the whole list. */
export const MAX_TEXT = 16_384;

/** Entries of the list. */
export const MAX_NAMES = 100;

/** Messages for one list; whoever sends hundreds of bad lines is not helped by hundreds of messages. */
const MAX_ERRORS = 5;

/** Forgejo's user and organisation names. Old accounts may have signs where new ones may not, so only the alphabet is asked for. */
const OWNER = /^(?=.{1,40}$)(?=.*[A-Za-z0-9])[A-Za-z0-9._-]+$/;

/** Forgejo's repository names, but for those that it keeps for itself. */
const REPOSITORY = /^[A-Za-z0-9._-]{1,100}$/;
const RESERVED = /^(?:\.|\.\.|-|.*\.(?:git|wiki|rss|atom))$/i;

/** A list that was read: a choice, or what is wrong with it, a line each. */
export type ReadNames = { readonly choice: Choice } | { readonly errors: readonly string[] };

const lower = (names: readonly string[]): Set<string> => new Set(names.map((name) => name.toLowerCase()));

/** Everything may be touched. */
export function isUnrestricted({ owners, repositories }: Bounds): boolean {
  return owners.includes('*') && (repositories.includes('*') || repositories.includes('*/*'));
}

/** Whether a policy allows all of an owner's repositories, or the one that is named. Without case, as Forgejo compares. */
export function covers({ owners, repositories }: Bounds, owner: string, name?: string): boolean {
  const [allowed, listed] = [lower(owners), lower(repositories)];
  if (!allowed.has('*') && !allowed.has(owner.toLowerCase())) return false;
  if (['*', '*/*', `${owner}/*`].some((all) => listed.has(all.toLowerCase()))) return true;
  return name !== undefined && listed.has(`${owner}/${name}`.toLowerCase());
}

/** A choice or a policy as lines, each of which a person could type; empty where it has no bounds, or covers nothing. */
export function linesOf(bounds: Bounds): readonly string[] {
  if (isUnrestricted(bounds)) return [];
  const { owners, repositories } = bounds;
  if (repositories.includes('*') || repositories.includes('*/*')) return owners.map((owner) => `${owner}/*`);
  const allowed = lower(owners);
  return repositories.filter((repository) => {
    const [owner = ''] = repository.toLowerCase().split('/');
    return allowed.has('*') || allowed.has(owner);
  });
}

/** Whether a choice takes nothing away from a policy. */
export function isWhole(choice: Bounds, policy: Bounds): boolean {
  if (isUnrestricted(choice)) return true;
  if (isUnrestricted(policy)) return false;
  return linesOf(policy).every((line) => {
    const [owner = '', name] = line.split('/');
    return covers(choice, owner, name === '*' ? undefined : name);
  });
}

/**
 * Reads `owner` or `owner/*` (all of an owner's repositories) and `owner/name`, one a line; addresses of the forge's pages are taken for what they
 * name. An entry that the policy does not cover as a whole is an error, never cut down in silence. The choice names nothing but these entries: no
 * owner is joined with another one's repositories.
 */
export function readNames(text: string, policy: Bounds, forge: string): ReadNames {
  if (text.length > MAX_TEXT) return { errors: [`The list is longer than ${MAX_TEXT} characters.`] };
  const errors: string[] = [];
  const whole = new Map<string, string>();
  const single = new Map<string, { owner: string; entry: string }>();
  let count = 0;
  for (const line of text.split(/[\r\n,]+/)) {
    const entry = line.trim();
    if (entry === '') continue;
    count += 1;
    if (count > MAX_NAMES) return { errors: [`The list has more than ${MAX_NAMES} entries. Name whole owners.`] };
    const read = readEntry(entry, policy, forge);
    if ('error' in read) errors.push(read.error);
    else if (read.name === undefined) whole.set(read.owner.toLowerCase(), read.owner);
    else
      single.set(`${read.owner}/${read.name}`.toLowerCase(), {
        owner: read.owner,
        entry: `${read.owner}/${read.name}`,
      });
  }
  if (count === 0) return { errors: ['Name at least one owner or repository, or choose everything.'] };
  if (errors.length > MAX_ERRORS)
    errors.splice(MAX_ERRORS, Infinity, `And ${errors.length - MAX_ERRORS} more lines are wrong.`);
  if (errors.length > 0) return { errors };

  const owners = new Map(whole);
  const repositories = [...whole.values()].map((owner) => `${owner}/*`);
  for (const { owner, entry } of single.values()) {
    if (whole.has(owner.toLowerCase())) continue;
    owners.set(owner.toLowerCase(), owner);
    repositories.push(entry);
  }
  return { choice: { owners: [...owners.values()], repositories } };
}

type Entry = { readonly owner: string; readonly name?: string } | { readonly error: string };

function readEntry(entry: string, policy: Bounds, forge: string): Entry {
  const quoted = `“${shown(entry, 80, 'A line')}”`;
  const [owner = '', name, ...more] = withoutAddress(entry, forge).split('/');
  if (owner === '*') return { error: `${quoted} is everything: choose that above instead of listing it.` };
  if (more.length > 0 || name === '') return { error: `${quoted} is not one of owner, owner/* and owner/name.` };
  if (!OWNER.test(owner)) return { error: `${quoted} does not begin with the name of a user or an organisation.` };
  const repository = name === '*' ? undefined : name;
  if (repository !== undefined && (!REPOSITORY.test(repository) || RESERVED.test(repository)))
    return { error: `${quoted} does not end in the name of a repository.` };
  if (covers(policy, owner, repository)) return { owner, ...(repository === undefined ? {} : { name: repository }) };
  const some =
    repository === undefined &&
    linesOf(policy).some((line) => line.toLowerCase().startsWith(`${owner}/`.toLowerCase()));
  return {
    error: some
      ? `${quoted} is more than this server allows: it allows some of that owner’s repositories. Name those.`
      : `${quoted} is not among what this server allows.`,
  };
}

/** An address of the forge's own pages, as people copy it, without what comes before the owner. */
function withoutAddress(entry: string, forge: string): string {
  const prefix = `${forge.replace(/\/+$/, '')}/`;
  if (!entry.toLowerCase().startsWith(prefix.toLowerCase())) return entry;
  return entry
    .slice(prefix.length)
    .replace(/\/$/, '')
    .replace(/\.git$/i, '');
}
