/**
 * Reads one line of the rules: `METHODS PATH CLASS [OPTIONS]`.
 *
 * `~` in a path stands for `/repos/{owner}/{repo}`. Options:
 *   open                 shows and changes nothing of a repository or an owner: allowed under every policy
 *   wide                 spans owners: allowed only where the policy restricts nothing, or filtered by `only`
 *   owner=P, repo=P      the names of the path parameters that hold owner and repository (`{owner}` or `{org}`, and `{repo}`, unless named)
 *   owner-wide=P         as owner=P, and all of that owner's repositories must be allowed
 *   only=KIND            under a restricting policy the answer is filtered to what the policy allows
 *   body=KIND, param=P   under a restricting policy the body, or that path parameter, is checked for names of other repositories
 *   tail                 the last parameter takes the rest of the path, slashes too, as the forge's router has it
 *   slashes              parameters other than owner and repository may hold an encoded slash
 *   raw                  answers with a file's bytes, never rewritten
 *   upload               multipart/form-data with the one part `attachment`; `binary`: application/octet-stream too; `text`: text/plain
 *   proof                under a restricting policy only links that the proxy itself gave out
 *   source=NAME          not in the description; where it comes from
 */
import type { BodyCheck, Filter, Route, RouteClass } from '../../src/forgejo/routes/route';

const METHODS = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']);
const CLASSES: readonly string[] = ['read', 'write', 'never'] satisfies readonly RouteClass[];
const FILTERS: readonly string[] = [
  'repositories',
  'repository',
  'search',
  'issues',
  'notifications',
  'notification',
  'organizations',
  'activities',
  'timeline',
  'pulls',
  'pull',
] satisfies readonly Filter[];
const CHECKS: readonly string[] = ['pull', 'text', 'issue', 'settings'] satisfies readonly BodyCheck[];
const FLAGS: readonly string[] = ['open', 'wide', 'tail', 'slashes', 'upload', 'binary', 'text', 'raw', 'proof'];

/** The names of a template's parameters, in order. */
export function parameters(template: string): string[] {
  return [...template.matchAll(/\{([^}]+)\}/g)].map((match) => match[1] ?? '');
}

/** One route for each method of the line. Throws an Error that quotes the line when it cannot be read. */
export function readRule(line: string, prefix: string): Route[] {
  const fail = (why: string): never => {
    throw new Error(`rule "${line}": ${why}`);
  };
  const [methods = '', path = '', routeClass = '', ...options] = line.split(/ +/);
  const template = prefix + path.replace(/^~/, '/repos/{owner}/{repo}');
  const names = parameters(template);
  if (!CLASSES.includes(routeClass)) fail('unknown class');

  const flags = new Set<string>();
  const named = new Map<string, string>();
  for (const option of options) {
    const [key = '', value] = option.split('=');
    if (value === undefined && FLAGS.includes(key)) flags.add(key);
    else if (value !== undefined) named.set(key, value);
    else fail(`unknown option ${option}`);
  }
  const take = (key: string, allowed: readonly string[]): string | undefined => {
    const value = named.get(key);
    named.delete(key);
    if (value !== undefined && !allowed.includes(value)) fail(`${key}=${value} is not known`);
    return value;
  };
  const wholeOwner = take('owner-wide', names);
  const owner = wholeOwner ?? take('owner', names) ?? ['owner', 'org'].find((name) => names.includes(name));
  const repo = take('repo', names) ?? (wholeOwner === undefined && names.includes('repo') ? 'repo' : undefined);
  const only = take('only', FILTERS);
  const body = take('body', CHECKS);
  const param = take('param', names);
  const source = named.get('source');
  named.delete('source');
  if (named.size > 0) fail(`unknown option ${[...named.keys()].join(', ')}`);
  if (routeClass !== 'never' && owner === undefined && !flags.has('open') && !flags.has('wide'))
    fail('names no owner: say open or wide');
  if (flags.has('open') && (flags.has('wide') || owner !== undefined)) fail('open and an owner exclude each other');
  if (repo !== undefined && owner === undefined) fail('a repository without its owner');
  if (flags.has('tail') && !template.endsWith('}')) fail('tail needs a last parameter');

  return methods.split(',').map((method) => {
    if (!METHODS.has(method)) fail(`unknown method ${method}`);
    return {
      method,
      path: template,
      class: routeClass as RouteClass,
      ...(owner === undefined ? {} : { owner }),
      ...(repo === undefined ? {} : { repo }),
      ...(wholeOwner === undefined ? {} : { wholeOwner: true }),
      ...(flags.has('open') ? { open: true } : {}),
      ...(flags.has('wide') ? { wide: true } : {}),
      ...(only === undefined ? {} : { only: only as Filter }),
      ...(body === undefined ? {} : { body: body as BodyCheck }),
      ...(param === undefined ? {} : { param }),
      ...(flags.has('tail') ? { tail: true } : {}),
      ...(flags.has('slashes') || flags.has('tail') ? { slashes: true } : {}),
      ...(flags.has('upload') ? { upload: true } : {}),
      ...(flags.has('binary') ? { binary: true } : {}),
      ...(flags.has('text') ? { text: true } : {}),
      ...(flags.has('raw') ? { raw: true } : {}),
      ...(flags.has('proof') ? { proof: true } : {}),
      ...(source === undefined ? {} : { source }),
    };
  });
}
