/** Helm without a cluster: what the chart renders for given values, as objects. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

const root = join(__dirname, '../..');
export const CHART = join(root, 'charts/forgejo-mcp-operator');
/** The cluster's version, where there is no cluster to ask. */
export const KUBERNETES = '1.37.0';

/** A rendered Kubernetes object. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: any;
}

export interface Release {
  readonly name?: string;
  readonly namespace?: string;
  /** More arguments for `helm template`. */
  readonly args?: readonly string[];
}

/** What Helm printed and how it ended. */
export interface HelmResult {
  readonly ok: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

let binary: string | undefined;

/**
 * For the `before` of every file of chart tests: finds Helm, which is built with the test cluster's programs where the cache has none (many
 * minutes on a fresh machine).
 */
export function prepareHelm(this: { timeout(milliseconds: number): unknown }): void {
  this.timeout(2_400_000);
  helmBinary();
}

/** Helm of `HELM`, else the test cluster's own. */
function helmBinary(): string {
  if (binary !== undefined) return binary;
  const { HELM, FMO_CLUSTER_BIN } = process.env;
  const near = FMO_CLUSTER_BIN === undefined ? undefined : join(FMO_CLUSTER_BIN, 'helm');
  if (HELM !== undefined) binary = HELM;
  else if (near !== undefined && existsSync(near)) binary = near;
  else {
    const script = `source ${JSON.stringify(join(root, 'test/cluster/lib.sh'))} && binaries`;
    const folder = execFileSync('bash', ['-c', script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
    binary = join(folder.trim(), 'helm');
  }
  return binary;
}

/** Runs Helm with settings of its own, no cluster, and values on standard input. */
export function helm(args: readonly string[], values: unknown = {}): HelmResult {
  const home = mkdtempSync(join(tmpdir(), 'fmo-helm-'));
  try {
    const env = {
      PATH: process.env.PATH,
      HOME: home,
      HELM_CACHE_HOME: home,
      HELM_CONFIG_HOME: home,
      HELM_DATA_HOME: home,
    };
    const { status, stdout, stderr, error } = spawnSync(helmBinary(), [...args, '--values', '-'], {
      env,
      input: JSON.stringify(values),
      encoding: 'utf8',
      timeout: 30_000,
      maxBuffer: 16 << 20,
    });
    if (error !== undefined) throw error;
    return { ok: status === 0, stdout, stderr };
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

function template(values: unknown, { name = 'forgejo-mcp', namespace = 'mcp', args = [] }: Release): HelmResult {
  return helm(['template', name, CHART, '--namespace', namespace, '--kube-version', KUBERNETES, ...args], values);
}

/** The objects that the chart renders. Throws with Helm's words where it refuses. */
export function render(values: unknown, release: Release = {}): Manifest[] {
  const { ok, stdout, stderr } = template(values, release);
  if (!ok) throw new Error(stderr);
  return parseAllDocuments(stdout).flatMap((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0];
    const value = document.toJS() as Manifest | null;
    return value === null ? [] : [value];
  });
}

/** Why the chart refuses the values. Throws where it takes them. */
export function refusal(values: unknown, release: Release = {}): string {
  const { ok, stderr } = template(values, release);
  if (ok) throw new Error('the chart took these values');
  return stderr;
}
