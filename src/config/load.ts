/** From file, folder and environment to one checked configuration. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import { AppError } from '../errors';
import { checkTogether } from './coherence';
import { jsonSchema, type JsonSchema } from './describe';
import { fromEnvironment, type EnvironmentSettings } from './environment';
import { dotted, explain, refuse, type Problem } from './problems';
import { schema, type Settings } from './schema';
import type { ServerSpec } from './server';
import { resolveServers, serverPath, type NamedServer } from './servers';

/** The configuration of one gateway. Times are seconds, sizes bytes. */
export interface Config extends Settings {
  readonly servers: readonly ServerSpec[];
  /** The server at `/mcp`. */
  readonly defaultServer: string;
}

export interface LoadOptions {
  /** A YAML file; none: the environment alone. */
  readonly file: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The entries of `insecureAllowRoutes` that open nothing: only the credential proxy knows its routes. */
  readonly unknownRoutes?: (routes: readonly string[]) => readonly string[];
}

/**
 * Loads and checks everything.
 * @throws AppError `CONFIG_INVALID` whose message lists every problem with its place and what to do.
 */
export async function loadConfig({ file, env, unknownRoutes = () => [] }: LoadOptions): Promise<Config> {
  const problems: Problem[] = [];
  const environment = fromEnvironment(env);
  problems.push(...environment.problems);
  const written = file === undefined ? {} : await readYaml(file, problems);
  const { server, servers, ...rest } = merge(written, environment.values);

  const parsed = schema.safeParse(rest, { reportInput: true });
  if (!parsed.success) problems.push(...problemsOf(parsed.error, [], environment, jsonSchema()));
  const dir = parsed.success
    ? parsed.data.serversDir
    : typeof rest.serversDir === 'string'
      ? rest.serversDir
      : undefined;
  const named: NamedServer[] = dir === undefined ? [] : await readFolder(dir, problems);
  const resolved = resolveServers(server, servers, named, environment, problems);
  const settings = parsed.data;
  if (settings !== undefined) problems.push(...checkTogether(settings, resolved));
  for (const { name, policy } of resolved)
    for (const route of unknownRoutes(policy.insecureAllowRoutes))
      problems.push({
        where: serverPath(name, 'policy', 'insecureAllowRoutes'),
        what: `"${route}" opens nothing: write METHOD and template of a route that is never available, as docs/credential-proxy.md lists them`,
      });
  refuse(problems);
  if (settings === undefined) throw new AppError('CONFIG_INVALID', 'The configuration cannot be read.');
  const fallback = resolved.find(({ name }) => name === 'default') ?? resolved[0];
  return { ...settings, servers: resolved, defaultServer: settings.defaultServer ?? fallback?.name ?? 'default' };
}

/** Objects are merged, anything else is replaced. */
export function merge(under: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...under };
  for (const [name, value] of Object.entries(over)) {
    const below = merged[name];
    merged[name] = isMap(below) && isMap(value) ? merge(below, value) : value;
  }
  return merged;
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A schema's issues as problems below `at`, naming the variable where the value came from the environment. */
export function problemsOf(
  error: z.ZodError,
  at: readonly PropertyKey[],
  environment: EnvironmentSettings,
  root: JsonSchema,
): Problem[] {
  return error.issues.flatMap((issue) =>
    explain(issue, namesAt(root, issue.path)).map(({ path, what }) => {
      const where = dotted([...at, ...path]);
      const variable = environment.sources.get(where);
      return { where: variable === undefined ? where : `${where} (${variable})`, what };
    }),
  );
}

function namesAt(root: JsonSchema, path: readonly PropertyKey[]): string[] {
  let node: JsonSchema | undefined = root;
  for (const part of path) node = typeof part === 'number' ? node?.items : node?.properties?.[String(part)];
  return Object.keys(node?.properties ?? {});
}

/** A file's settings; what is wrong with the file itself is a problem. */
export async function readYaml(file: string, problems: Problem[]): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    problems.push({
      where: file,
      what: code === 'ENOENT' ? 'there is no such file' : `cannot be read (${code ?? 'unknown'})`,
    });
    return {};
  }
  const document = parseDocument(text);
  for (const { message } of document.errors) problems.push({ where: file, what: message.split('\n')[0] ?? message });
  if (document.errors.length > 0) return {};
  const value = document.toJS({ maxAliasCount: 100 }) as unknown;
  if (value === null || value === undefined) return {};
  if (isMap(value)) return value;
  problems.push({ where: file, what: 'must be a map of settings' });
  return {};
}

async function readFolder(dir: string, problems: Problem[]): Promise<NamedServer[]> {
  let names: string[];
  try {
    names = (await readdir(dir)).filter((name) => /^[^.].*\.ya?ml$/.test(name)).sort();
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    problems.push({
      where: 'serversDir',
      what: `${dir}: ${code === 'ENOENT' ? 'there is no such folder' : `cannot be read (${code ?? 'unknown'})`}`,
    });
    return [];
  }
  const found: NamedServer[] = [];
  for (const name of names) {
    const file = join(dir, name);
    const value = await readYaml(file, problems);
    const metadata = isMap(value.metadata) ? value.metadata : {};
    if (value.kind !== undefined && value.kind !== 'MCPServer')
      problems.push({ where: `${file}: kind`, what: 'must be MCPServer' });
    if (!isMap(value.spec)) problems.push({ where: `${file}: spec`, what: 'is needed: the settings of the server' });
    found.push({ where: `${file}: `, name: metadata.name, spec: isMap(value.spec) ? value.spec : {} });
  }
  return found;
}
