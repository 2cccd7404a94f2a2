/**
 * The chart's `values.schema.json`: what is the gateway's own (servers, configuration) is made from its configuration schema, the rest of the
 * file is written by hand and stays.
 *
 *   node -r ts-node/register/transpile-only scripts/chart/schema.ts
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jsonSchema, type JsonSchema } from '../../src/config/describe';

export const VALUES_SCHEMA = join(__dirname, '../../charts/forgejo-mcp-operator/values.schema.json');

/** Settings that the chart derives from the cluster (templates/_config.tpl): values must not name them. */
export const CHART_OWNED: readonly string[] = [
  'dataDir',
  'serversDir',
  'defaultServer',
  'server',
  'servers',
  'http.listen',
  'http.publicUrl',
  'auth.keyFile',
  'auth.oauth.keyFile',
  'sessions.keyFile',
  'sessions.driver',
  'backend.kind',
  'backend.runDir',
  'backend.namespace',
  'backend.installId',
  'backend.owner',
  'backend.serversNamespace',
  'backend.kubeconfig',
  'proxy.listen',
  'proxy.url',
  'proxy.keyFile',
  'proxy.tls',
  'store',
  'ops.listen',
  'replicas',
  'operator.namespace',
  'operator.lease',
  'operator.certificateSecret',
  'operator.perUser.enabled',
  'operator.perUser.owner',
  'operator.perUser.objects',
];

interface ValuesSchema {
  readonly definitions: Readonly<Record<string, unknown>>;
  readonly [keyword: string]: unknown;
}

/** The file as it should be, from the file as it is. */
export function valuesSchema(present: string): string {
  const { definitions, ...rest } = JSON.parse(present) as ValuesSchema;
  const root = jsonSchema();
  const {
    $schema: _dialect,
    title: _title,
    ...config
  } = CHART_OWNED.reduce((node, path) => without(node, path.split('.')), root);
  const { description: _description, ...server } = root.properties?.server ?? {};
  const whole = { ...rest, definitions: { ...definitions, server, config } };
  return `${JSON.stringify(whole, undefined, 2)}\n`;
}

/** @throws Error where there is no such setting, so that the list above cannot go stale. */
function without(node: JsonSchema, [name = '', ...rest]: readonly string[]): JsonSchema {
  const child = node.properties?.[name];
  if (child === undefined) throw new Error(`the configuration has no setting "${name}"`);
  const { [name]: _left, ...others } = node.properties ?? {};
  const properties = rest.length === 0 ? others : { ...others, [name]: without(child, rest) };
  const required = node.required?.filter((one) => one in properties);
  const { required: _required, ...kept } = node;
  return { ...kept, properties, ...(required === undefined || required.length === 0 ? {} : { required }) };
}

if (require.main === module) writeFileSync(VALUES_SCHEMA, valuesSchema(readFileSync(VALUES_SCHEMA, 'utf8')));
