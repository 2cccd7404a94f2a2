/**
 * The operator's part of the configuration. It reads the gateway's file and looks at a few sections only: it serves nobody, so it has no URL and no keys. The
 * servers of the file are read because an MCPServer is judged beside them.
 */
import { AppError } from '../errors';
import { jsonSchema } from './describe';
import { fromEnvironment } from './environment';
import { merge, problemsOf, readYaml, type LoadOptions } from './load';
import { refuse, unknownSetting, type Problem } from './problems';
import { schema, type Settings } from './schema';
import type { ServerSpec } from './server';
import { resolveServers } from './servers';

const SECTIONS = {
  auth: true,
  backend: true,
  sessions: true,
  ops: true,
  log: true,
  stop: true,
  operator: true,
} as const;

/** Seconds by which an operator that cannot renew must have stopped before another may begin: what is under way is over by then. */
const GAP = 2;

/** What the operator needs to know. Times are seconds. */
export interface OperatorConfig extends Pick<Settings, keyof typeof SECTIONS> {
  /** None where the file has none. */
  readonly servers: readonly ServerSpec[];
  readonly operator: Settings['operator'] & { readonly namespace: string };
}

/**
 * Loads and checks those sections; what stands in the others is the gateway's business.
 * @throws AppError `CONFIG_INVALID` whose message lists every problem.
 */
export async function loadOperatorConfig({ file, env }: Pick<LoadOptions, 'file' | 'env'>): Promise<OperatorConfig> {
  const problems: Problem[] = [];
  const environment = fromEnvironment(env);
  problems.push(...environment.problems);
  const written = merge(file === undefined ? {} : await readYaml(file, problems), environment.values);
  const known = Object.keys(jsonSchema().properties ?? {});
  for (const key of Object.keys(written))
    if (!known.includes(key)) problems.push({ where: key, what: unknownSetting(key, known) });
  const own = Object.fromEntries(Object.entries(written).filter(([key]) => key in SECTIONS));
  const parsed = schema.pick(SECTIONS).safeParse(own, { reportInput: true });
  if (!parsed.success) problems.push(...problemsOf(parsed.error, [], environment, jsonSchema()));
  else problems.push(...checkOperator(parsed.data.operator));
  const { server, servers } = written;
  const none = server === undefined && servers === undefined;
  const resolved = none ? [] : resolveServers(server, servers, [], environment, problems);
  refuse(problems);
  const { namespace } = parsed.data?.operator ?? {};
  if (parsed.data === undefined || namespace === undefined) {
    throw new AppError('CONFIG_INVALID', 'The configuration cannot be read.');
  }
  return { ...parsed.data, servers: resolved, operator: { ...parsed.data.operator, namespace } };
}

function checkOperator({
  namespace,
  perUser,
  leaseDuration,
  renewDeadline,
  retryPeriod,
}: Settings['operator']): Problem[] {
  const problems: Problem[] = [];
  if (namespace === undefined) {
    problems.push({ where: 'operator.namespace', what: 'is needed: the namespace of the release' });
  }
  if (perUser.enabled && perUser.owner === undefined) {
    problems.push({
      where: 'operator.perUser.owner',
      what: 'is needed with operator.perUser.enabled: the ClusterRole that these namespaces go with',
    });
  }
  if (renewDeadline + GAP > leaseDuration) {
    problems.push({
      where: 'operator.renewDeadline',
      what: `must be at least ${String(GAP)} s shorter than operator.leaseDuration`,
    });
  }
  if (retryPeriod * 2 > renewDeadline) {
    problems.push({ where: 'operator.retryPeriod', what: 'must be at most half of operator.renewDeadline' });
  }
  return problems;
}
