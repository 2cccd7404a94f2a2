/** Servers: what each says for itself over what all have in common. */
import { jsonSchema } from './describe';
import type { EnvironmentSettings } from './environment';
import { isMap, merge, problemsOf } from './load';
import { dotted, type Problem } from './problems';
import type { ServerSpec } from './server';
import { serverName, serverSchema, type ServerSettings } from './server-schema';

/** A server as it was written somewhere. */
export interface NamedServer {
  /** For messages: `servers[0].` or a file. */
  readonly where: string;
  readonly name: unknown;
  readonly spec: Record<string, unknown>;
}

/**
 * Makes the list of servers. Without any, the common settings alone are the one server `default`.
 * Problems in what they have in common are told once, at `server`.
 */
export function resolveServers(
  common: unknown,
  listed: unknown,
  files: readonly NamedServer[],
  environment: EnvironmentSettings,
  problems: Problem[],
): ServerSpec[] {
  if (common !== undefined && !isMap(common)) problems.push({ where: 'server', what: 'must be a map' });
  if (listed !== undefined && !Array.isArray(listed)) problems.push({ where: 'servers', what: 'must be a list' });
  const shared = isMap(common) ? common : {};
  const named: NamedServer[] = [];
  for (const [i, item] of (Array.isArray(listed) ? (listed as unknown[]) : []).entries()) {
    if (!isMap(item)) problems.push({ where: `servers[${String(i)}]`, what: 'must be a map' });
    else {
      const { name, ...spec } = item;
      named.push({ where: `servers[${String(i)}].`, name, spec });
    }
  }
  named.push(...files);
  if (named.length === 0) named.push({ where: 'server.', name: 'default', spec: {} });

  const seen = new Set<string>();
  const servers: ServerSpec[] = [];
  for (const one of named) {
    const name = serverName.safeParse(one.name);
    if (!name.success)
      problems.push({
        where: `${one.where}name`,
        what: 'must be a name of at most 63 lower-case letters, digits and hyphens',
      });
    else if (seen.has(name.data))
      problems.push({ where: `${one.where}name`, what: `there are two servers named "${name.data}"; rename one` });
    else seen.add(name.data);
    const parsed = serverSchema.safeParse(merge(shared, one.spec), { reportInput: true });
    if (parsed.success) servers.push(specOf(name.data ?? '', parsed.data));
    else problems.push(...serverProblems(parsed.error, one, environment));
  }
  return servers;
}

/** Where a value was written decides where its problem is told. What is missing is missing in the common section. */
function serverProblems(
  error: Parameters<typeof problemsOf>[0],
  one: NamedServer,
  environment: EnvironmentSettings,
): Problem[] {
  const root = jsonSchema().properties?.server ?? {};
  return error.issues.flatMap((issue) => {
    const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
    const own = has(one.spec, path);
    const single = { issues: [issue] } as unknown as Parameters<typeof problemsOf>[0];
    return problemsOf(single, own ? [] : ['server'], environment, root).map(({ where, what }) => ({
      where: own ? `${one.where}${where}` : where,
      what,
    }));
  });
}

function has(value: unknown, path: readonly PropertyKey[]): boolean {
  let node = value;
  for (const part of path) {
    if (typeof node !== 'object' || node === null || !Object.hasOwn(node, part)) return false;
    node = (node as Record<PropertyKey, unknown>)[part];
  }
  return true;
}

function specOf(name: string, { forgejo, pod, pool, ...rest }: ServerSettings): ServerSpec {
  const { applications, ...forgejoRest } = forgejo;
  const { image = '', runtimeClassName, priorityClassName, launcherImage, ...podRest } = pod;
  return {
    ...rest,
    name,
    forgejo: {
      ...forgejoRest,
      apiUrl: forgejo.apiUrl ?? forgejo.url,
      ...(applications === undefined ? {} : { applications }),
    },
    pod: {
      ...podRest,
      image,
      ...(runtimeClassName === undefined ? {} : { runtimeClassName }),
      ...(priorityClassName === undefined ? {} : { priorityClassName }),
      ...(launcherImage === undefined ? {} : { launcherImage }),
    },
    pool: { ...pool, max: pool.max ?? pool.min },
  };
}

/** The setting's place, for a server. */
export function serverPath(name: string, ...path: string[]): string {
  return `server "${name}": ${dotted(path)}`;
}
