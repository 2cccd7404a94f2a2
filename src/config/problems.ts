/** What is wrong with a configuration, all of it at once, each with its place and what to do. */
import type { z } from 'zod';
import { AppError } from '../errors';

/** One fault. `where` is a setting's dotted path, or a file. */
export interface Problem {
  readonly where: string;
  readonly what: string;
}

/** Throws `CONFIG_INVALID` with every problem in its message. */
export function refuse(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const lines = [...new Set(problems.map(({ where, what }) => `  ${where}: ${what}`))];
  const count = lines.length === 1 ? 'one problem' : `${String(lines.length)} problems`;
  throw new AppError('CONFIG_INVALID', `The configuration has ${count}:\n${lines.join('\n')}`);
}

/** `servers[0].policy.access`. */
export function dotted(path: readonly PropertyKey[]): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${String(part)}]` : i === 0 ? String(part) : `.${String(part)}`))
    .join('');
}

/**
 * Says what a schema's issue means. It must have been parsed with `reportInput`, so that what is missing is told from what is wrong.
 * @param known the settings that exist beside an unknown one, for a suggestion.
 */
export function explain(
  issue: z.core.$ZodIssue,
  known: readonly string[],
): { path: readonly PropertyKey[]; what: string }[] {
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({ path: [...issue.path, key], what: unknownSetting(key, known) }));
    case 'invalid_type': {
      const what = issue.message.startsWith('must be ') ? issue.message.slice(8) : article(issue.expected);
      return [{ path: issue.path, what: `${issue.input === undefined ? 'is needed:' : 'must be'} ${what}` }];
    }
    case 'invalid_key':
    case 'invalid_element':
    case 'invalid_union':
    case 'invalid_value':
    case 'invalid_format':
    case 'too_small':
    case 'too_big':
    case 'not_multiple_of':
    case 'custom':
      return [{ path: issue.path, what: issue.message }];
  }
}

/** `there is no such setting; did you mean "idleTimeout"?` */
export function unknownSetting(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  return near === undefined
    ? 'there is no such setting; remove it'
    : `there is no such setting; did you mean "${near}"?`;
}

/** The known name that is most like another, if any is like it at all. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const steps = distance(name.toLowerCase(), candidate.toLowerCase());
    if (steps < least) {
      least = steps;
      best = candidate;
    }
  }
  return best;
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, swap));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function article(type: string): string {
  if (type === 'object' || type === 'record') return 'a map';
  if (type === 'array') return 'a list';
  return `a ${type}`;
}
