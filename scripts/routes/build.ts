/** Makes the route table of the rules and holds them against the description: each route has exactly one class, and no rule is stale. */
import type { Route } from '../../src/forgejo/routes/route';
import { readRule } from './rule';
import { ACCOUNT_RULES } from './rules-account';
import { ISSUE_RULES, WEB_RULES } from './rules-issue';
import { REPOSITORY_RULES } from './rules-repository';

/** The API's base path; the description has it as a template. */
const API = '/api/v1';

/** The table, sorted by path and method. Throws an Error that lists every route without a class, every stale and every doubled rule. */
export function buildTable(described: readonly string[]): Route[] {
  const routes = [...ACCOUNT_RULES, ...REPOSITORY_RULES, ...ISSUE_RULES].flatMap((line) => readRule(line, API));
  const known = new Set(described.map((route) => route.replace(' ', ` ${API}`)));
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const route of routes) {
    const key = `${route.method} ${route.path}`;
    if (seen.has(key)) problems.push(`classified twice: ${key}`);
    seen.add(key);
    if (!known.has(key) && route.source === undefined) problems.push(`not in the description: ${key}`);
    if (known.has(key) && route.source !== undefined) problems.push(`in the description after all: ${key}`);
  }
  for (const key of known) if (!seen.has(key)) problems.push(`has no class: ${key}`);
  if (problems.length > 0) throw new Error(problems.join('\n'));
  const order = (route: Route): string => `${route.path} ${route.method}`;
  return [...routes, ...WEB_RULES.flatMap((line) => readRule(line, ''))].sort((a, b) =>
    order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : 0,
  );
}

/** The table's text: one route a line, so that a change of one reads as one line. */
export function tableText(table: readonly Route[]): string {
  return `[\n${table.map((route) => `  ${JSON.stringify(route)}`).join(',\n')}\n]\n`;
}
