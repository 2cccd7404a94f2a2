/**
 * Listings under a restricting policy. The forge pages what the user may see; the child is to page what the policy covers, or the few repositories
 * that it covers would be lost among hundreds that it does not. So the forge's pages are walked and what is left of them is paged anew.
 */
import { Readable } from 'node:stream';
import type { Forge } from '../forge';
import type { Policy } from '../policy';
import type { Filter } from '../routes/route';
import type { Target } from '../routes/target';
import { isOk, readJson } from './answer';
import { filterAnswer } from './filter';
import type { Answer } from './upstream';

/** The forge's largest page, unless its administrator changed it. */
const UPSTREAM_LIMIT = 50;
/** Pages of the forge that one listing walks at most: two thousand repositories. */
const MAX_PAGES = 40;
const DEFAULT_LIMIT = 30;

const LISTINGS: ReadonlySet<Filter> = new Set<Filter>([
  'repositories',
  'search',
  'issues',
  'notifications',
  'organizations',
  'activities',
]);

export const isListing = (filter: Filter): boolean => LISTINGS.has(filter);

interface Paging {
  readonly page: number;
  readonly limit: number;
  /** The query without both, byte for byte. */
  readonly rest: string;
}

function readPaging(query: string | undefined): Paging {
  const pairs = (query ?? '').split('&').filter((pair) => pair !== '');
  const key = (pair: string): string => decodeURIComponent(pair.split('=')[0] ?? '');
  const number = (name: string): number => {
    const value = pairs.find((pair) => key(pair) === name)?.split('=')[1] ?? '';
    return /^\d{1,9}$/.test(value) ? Number(value) : 0;
  };
  return {
    page: number('page') || 1,
    limit: Math.min(number('limit') || DEFAULT_LIMIT, UPSTREAM_LIMIT),
    rest: pairs.filter((pair) => !['page', 'limit'].includes(key(pair))).join('&'),
  };
}

const join = (rest: string, page: number, limit: number): string =>
  `${rest === '' ? '' : `${rest}&`}page=${page}&limit=${limit}`;

const listOf = (filter: Filter, answer: unknown): unknown =>
  filter === 'search' ? ((answer as { data?: unknown } | null)?.data ?? []) : (answer ?? []);

/**
 * The child's page of what the policy covers. `X-Total-Count` is there when the forge's pages were walked to their end, `Link` when there is more.
 * An answer of the forge that is not a success is given back as it is. Throws what `ask` throws, and `UPSTREAM_INVALID`.
 */
export async function readListing(
  filter: Filter,
  policy: Policy,
  forge: Forge,
  target: Target,
  ask: (target: Target) => Promise<Answer>,
): Promise<Answer> {
  const { page, limit, rest } = readPaging(target.query);
  const wanted = page * limit;
  const kept: unknown[] = [];
  let shell: unknown;
  let seen = 0;
  let ended = false;
  // One more than the child wants says whether there is a next page.
  for (let at = 1; at <= MAX_PAGES && !ended && kept.length <= wanted; at++) {
    const answer = await ask({ ...target, query: join(rest, at, UPSTREAM_LIMIT) });
    if (!isOk(answer)) return answer;
    const whole = await readJson(answer);
    shell ??= whole;
    const filtered = filterAnswer(filter, policy, whole);
    kept.push(...(listOf(filter, filtered) as unknown[]));
    const count = (listOf(filter, whole) as unknown[]).length;
    seen += count;
    const total = Number(answer.headers['x-total-count'] ?? Number.NaN);
    const more = typeof answer.headers.link === 'string' && answer.headers.link.includes('rel="next"');
    ended = count === 0 || (Number.isNaN(total) ? !more && count < UPSTREAM_LIMIT : seen >= total);
  }
  const items = kept.slice(wanted - limit, wanted);
  const body = filter === 'search' ? { ...(shell as object), data: items } : items;
  const next = `<${forge.web.origin}${forge.web.path}${target.path}?${join(rest, page + 1, limit)}>; rel="next"`;
  return {
    status: 200,
    headers: {
      'content-type': 'application/json;charset=utf-8',
      ...(ended ? { 'x-total-count': String(kept.length) } : {}),
      ...(kept.length > wanted ? { link: next } : {}),
    },
    body: Readable.from([Buffer.from(JSON.stringify(body))], { objectMode: false }),
  };
}
