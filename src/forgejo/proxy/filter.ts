/**
 * Cuts answers that span owners to what a restricting policy allows. Fail closed: what names no repository is taken out, and an answer that cannot
 * be read is not passed on.
 */
import { AppError } from '../../errors';
import type { Policy } from '../policy';
import type { Filter } from '../routes/route';

/** Longest answer that is filtered; a page of fifty repositories has about 200 KB. */
export const MAX_FILTERED_BYTES = 16 * 1024 * 1024;

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function allowsRepository(policy: Policy, repository: unknown): boolean {
  if (!isObject(repository) || typeof repository['full_name'] !== 'string') return false;
  const [owner, name, more] = repository['full_name'].split('/');
  return owner !== undefined && name !== undefined && more === undefined && policy.repository(owner, name);
}

function invalid(): never {
  throw new AppError(
    'UPSTREAM_INVALID',
    'Forgejo gave an answer that the policy cannot be applied to; it is withheld.',
  );
}

function keep(answer: unknown, allowed: (item: Json) => boolean): Json[] {
  if (answer === null) return []; // Go writes an empty list so
  if (!Array.isArray(answer)) return invalid();
  return (answer as unknown[]).filter(isObject).filter(allowed);
}

/**
 * The answer without what the policy does not cover.
 * Throws `POLICY_REFUSED` where the whole answer is of one repository outside the policy, `UPSTREAM_INVALID` where it has not the expected shape.
 */
export function filterAnswer(filter: Filter, policy: Policy, answer: unknown): unknown {
  const repository = (value: unknown): boolean => allowsRepository(policy, value);
  const single = (value: unknown): unknown => {
    if (!repository(value))
      throw new AppError('POLICY_REFUSED', "This session's policy does not cover the repository that this concerns.", {
        detail: 'repository',
      });
    return answer;
  };
  switch (filter) {
    case 'repositories':
      return keep(answer, repository);
    case 'search':
      return isObject(answer) ? { ...answer, data: keep(answer['data'], repository) } : invalid();
    case 'issues':
    case 'notifications':
      return keep(answer, (item) => repository(item['repository']));
    case 'activities':
      return keep(answer, (item) => repository(item['repo']));
    case 'organizations':
      return keep(answer, (item) => {
        const name = item['username'] ?? item['name'];
        return typeof name === 'string' && policy.owner(name);
      });
    case 'repository':
      return single(answer);
    case 'notification':
      return single(isObject(answer) ? answer['repository'] : undefined);
    case 'timeline':
      return keep(answer, () => true).map((item) => withoutForeignIssue(item, repository));
    case 'pulls':
      return keep(answer, () => true).map((item) => withoutForeignBranch(item, repository));
    case 'pull':
      return isObject(answer) ? withoutForeignBranch(answer, repository) : invalid();
  }
}

/** A comment of a timeline without what it quotes of an issue in a repository outside the policy. */
function withoutForeignIssue(item: Json, allowed: (repository: unknown) => boolean): Json {
  const quoted = ['ref_issue', 'dependent_issue'].filter(
    (key) => isObject(item[key]) && !allowed(item[key]['repository']),
  );
  if (quoted.length === 0) return item;
  const gone = new Set([...quoted, 'ref_comment', 'body', 'ref_commit_sha']);
  return Object.fromEntries(Object.entries(item).filter(([key]) => !gone.has(key)));
}

/** A pull request without the description of a repository outside the policy, as the forge shows one whose fork is gone: `repo` is null. */
function withoutForeignBranch(item: Json, allowed: (repository: unknown) => boolean): Json {
  const changed = { ...item };
  for (const key of ['head', 'base']) {
    const branch = item[key];
    if (isObject(branch) && isObject(branch['repo']) && !allowed(branch['repo']))
      changed[key] = { ...branch, repo: null };
  }
  return changed;
}
