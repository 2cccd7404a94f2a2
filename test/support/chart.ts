/** Values and look-ups that the chart's tests share. */
import type { Manifest } from './helm';

/** The least that the chart takes. */
export const minimal = {
  image: { repository: 'registry.example.com/gateway', tag: '1.2.3' },
  publicUrl: 'https://mcp.example.com',
  oauth: { existingSecret: 'forge-applications' },
  server: {
    forgejo: {
      url: 'https://forge.example.com',
      applications: { read: { clientId: 'reading' }, write: { clientId: 'writing' } },
    },
    pod: { image: 'registry.example.com/child:1' },
  },
};

/** The least for clients that send a Forgejo access token. */
export const bearer = {
  ...minimal,
  oauth: {},
  server: { ...minimal.server, forgejo: { url: 'https://forge.example.com' } },
  config: { auth: { mode: 'bearer' } },
};

/** {@link minimal} with more; objects are merged. */
export function withMore(more: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return merge(minimal, more);
}

function merge(
  under: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = isMap(below) && isMap(value) ? merge(below, value) : value;
  }
  return merged;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The one object of a kind; the operator's have a namesake of the gateway's mostly, and are asked for by name. */
export function only(manifests: readonly Manifest[], kind: string, name?: string): Manifest {
  const isIt = ({ metadata }: Manifest): boolean =>
    name === undefined ? metadata.labels?.['app.kubernetes.io/component'] !== 'operator' : metadata.name === name;
  const found = manifests.filter((one) => one.kind === kind && isIt(one));
  if (found.length !== 1) throw new Error(`${String(found.length)} objects of kind ${kind}, name ${name ?? '(any)'}`);
  return found[0];
}

/** The configuration file that the gateway is given. */
export function configFile(manifests: readonly Manifest[]): string {
  const found = manifests.find(({ kind, data }) => kind === 'ConfigMap' && data?.['config.yaml'] !== undefined);
  if (found === undefined) throw new Error('no ConfigMap has a configuration file');
  return found.data['config.yaml'] as string;
}

/** The objects of one component. */
export function of(component: 'gateway' | 'operator', manifests: readonly Manifest[]): Manifest[] {
  return manifests.filter(({ metadata }) => metadata.labels?.['app.kubernetes.io/component'] === component);
}

/** The objects in a namespace, and the namespace itself. */
export function within(manifests: readonly Manifest[], namespace: string): Manifest[] {
  return manifests.filter(
    ({ kind, metadata }) => (kind === 'Namespace' ? metadata.name : metadata.namespace) === namespace,
  );
}

/** Every object as `kind namespace/name`. */
export function names(manifests: readonly Manifest[]): string[] {
  return manifests.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`).sort();
}
