/** Whether an MCPServer can be served beside the servers of the configuration, and what it then is. Pure: gateways and operator say the same of it. */
import { checkServer } from '../config/coherence';
import type { ForgejoSpec, ServerSpec } from '../config/server';
import { resolveServers } from '../config/servers';
import { dotted, type Problem } from '../config/problems';

/** What an MCPServer is judged against. */
export interface Ground {
  /** The servers of the configuration. */
  readonly servers: readonly ServerSpec[];
  readonly mode: 'oauth' | 'bearer';
  /** Whether the operator makes namespaces for users. */
  readonly perUser: boolean;
  /** The entries of `insecureAllowRoutes` that open nothing. */
  readonly unknownRoutes: (routes: readonly string[]) => readonly string[];
}

/** Why it is not served; a condition's reason. */
export type Refusal = 'Invalid' | 'NameTaken' | 'ForgeUnknown';

export type Verdict =
  | { readonly server: ServerSpec }
  /** `message` says what to do; it has nothing in it but what the resource itself says. */
  | { readonly refusal: Refusal; readonly message: string };

const NO_ENVIRONMENT = { values: {}, problems: [], sources: new Map<string, string>() };

/** Judges a `spec` as the API server gives it, defaults filled in. Never throws. */
export function judgeServer(name: string, spec: Readonly<Record<string, unknown>>, ground: Ground): Verdict {
  if (ground.servers.some((server) => server.name === name)) {
    return {
      refusal: 'NameTaken',
      message: `The gateway's configuration has a server named "${name}", and that one is served. Give this one another name, or remove it from the configuration.`,
    };
  }
  const problems: Problem[] = [];
  const [read] = resolveServers(
    undefined,
    undefined,
    [{ where: 'spec.', name, spec: withoutFiles(spec) }],
    NO_ENVIRONMENT,
    problems,
  );
  if (read === undefined || problems.length > 0) return invalid(problems);
  const forge = ground.servers.find(({ forgejo }) => forgejo.url === read.forgejo.url)?.forgejo;
  if (ground.mode === 'oauth' && forge?.applications === undefined) {
    return {
      refusal: 'ForgeUnknown',
      message: `spec.forgejo.url: users cannot log in at ${read.forgejo.url}, because no server of the gateway's configuration is of it. Use the URL of one that is, or add one with its OAuth applications.`,
    };
  }
  const server = { ...read, forgejo: forgejoOf(read.forgejo, saysApiUrl(spec), forge) };
  problems.push(
    ...checkServer(server, true, ground.perUser).map(({ path, what }) => ({ where: dotted(['spec', ...path]), what })),
  );
  if (ground.mode === 'oauth' && server.forgejo.apiUrl !== forge?.apiUrl) {
    problems.push({
      where: 'spec.forgejo.apiUrl',
      what: `must be the one that the configuration has for this Forgejo: users' tokens are sent there. Remove it`,
    });
  }
  for (const route of ground.unknownRoutes(server.policy.insecureAllowRoutes)) {
    problems.push({
      where: 'spec.policy.insecureAllowRoutes',
      what: `"${route}" opens nothing: write METHOD and template of a route that is never available, as docs/credential-proxy.md lists them`,
    });
  }
  return problems.length > 0 ? invalid(problems) : { server };
}

/** Applications are the configuration's for the same forge, and so is the URL of its API unless the resource says one. */
function forgejoOf(own: ForgejoSpec, saysUrl: boolean, forge: ForgejoSpec | undefined): ForgejoSpec {
  if (forge === undefined) return own;
  const { apiUrl, applications } = forge;
  return {
    ...own,
    ...(saysUrl ? {} : { apiUrl }),
    ...(applications === undefined ? {} : { applications }),
  };
}

/** The resource's schema has no applications; those of an object that an older one let through would name files of the gateway's. */
function withoutFiles(spec: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { forgejo } = spec;
  if (typeof forgejo !== 'object' || forgejo === null) return { ...spec };
  const { applications: _files, ...kept } = forgejo as Record<string, unknown>;
  return { ...spec, forgejo: kept };
}

function saysApiUrl({ forgejo }: Readonly<Record<string, unknown>>): boolean {
  return typeof forgejo === 'object' && forgejo !== null && 'apiUrl' in forgejo;
}

/** Problems of what is missing are told at `server.`, the section that a file would have it in. */
function invalid(problems: readonly Problem[]): Verdict {
  const lines = problems.map(({ where, what }) => `${where.replace(/^server\./, 'spec.')}: ${what}`);
  return { refusal: 'Invalid', message: `${[...new Set(lines)].join('. ')}.` };
}
