import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { minimal, withMore } from '../support/chart';
import {
  apply,
  busybox,
  createNamespace,
  deleteNamespaces,
  get,
  helmCommand,
  kubectl,
  loadImage,
  run,
} from '../support/cluster';
import { CHART, prepareHelm, render } from '../support/helm';
import { until } from '../support/until';

/** The chart against a real API server: an install's whole life, and what is left of it. */
describe('the chart on a cluster', () => {
  const release = 'forgejo-mcp';
  let home: string;
  let namespace: string;
  let sessions: string;
  let logins: string;
  let values: Record<string, unknown>;
  let firstKeys: unknown;

  const helm = (into: string, ...args: string[]): Promise<string> => helmCommand([...args, '--namespace', into]);
  const install = (more: Record<string, unknown> = {}): Promise<string> => {
    const file = join(home, 'values.json');
    return writeFile(file, JSON.stringify(withMore({ ...values, ...more }))).then(() =>
      helm(namespace, 'upgrade', '--install', release, CHART, '--values', file, '--wait', '--timeout', '180s'),
    );
  };
  const keys = async (): Promise<unknown> => (await get('secret', `${release}-keys`, namespace)).data;
  const canI = async (namespaceOf: string): Promise<string[]> => {
    const account = `system:serviceaccount:${namespace}:${release}-gateway`;
    const table = await kubectl(['auth', 'can-i', '--list', '--no-headers', '--as', account, '-n', namespaceOf]);
    return table
      .split('\n')
      .map((line) => line.trim().replace(/\s+/g, ' '))
      .filter((line) => /^(pods|secrets|configmaps|leases|mcpsessions|\*)/.test(line));
  };
  /** Part of the names of what an install has beside its namespaces. */
  const installId = async (of: string): Promise<string> => {
    const { data } = await get('configmap', `${release}-gateway`, of);
    return (parse(data['config.yaml'] as string) as { backend: { installId: string } }).backend.installId;
  };
  /** Objects of the cluster that a release of this name may have made, in whichever namespace it is. */
  const clusterWide = async (): Promise<string[]> => {
    const policies = 'validatingadmissionpolicies,validatingadmissionpolicybindings';
    const kinds = `clusterroles,clusterrolebindings,priorityclasses,${policies}`;
    const found = await kubectl(['get', kinds, '-o', 'name', '-l', `app.kubernetes.io/instance=${release}`]);
    return found.split('\n').filter((name) => name !== '');
  };
  /** As an administrator does before the install. Nobody logs in here, so they are secrets of no application. */
  const keepApplicationSecrets = (into: string): Promise<unknown> =>
    apply({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: minimal.oauth.existingSecret, namespace: into },
      stringData: { 'read-client-secret': 'x', 'write-client-secret': 'y' },
    });

  before(async function () {
    this.timeout(2_400_000);
    prepareHelm.call(this);
    home = await mkdtemp(join(tmpdir(), 'fmo-helm-'));
    const build = join(__dirname, '../images/build.sh');
    await loadImage(...(await run(build, ['gateway'], { deadline: 600_000 })).trim().split('\n'));
    namespace = await createNamespace('chart');
    await keepApplicationSecrets(namespace);
    sessions = `${namespace}-${release}-sessions`;
    logins = `${namespace}-${release}-logins`;
    values = { image: { repository: 'fmo/gateway', tag: 'test', pullPolicy: 'Never' } };
  });

  after(async function () {
    this.timeout(240_000);
    if (namespace !== undefined) {
      await helm(namespace, 'uninstall', release, '--ignore-not-found', '--wait', '--timeout', '120s');
      await deleteNamespaces(namespace);
    }
    await rm(home, { recursive: true, force: true });
  });

  it('every object of a full values file is taken by the API server', async function () {
    this.timeout(60_000);
    const full = parse(await readFile(join(CHART, 'ci/full-values.yaml'), 'utf8')) as Record<string, unknown>;
    const foreign = new Set(['HTTPRoute', 'ServiceMonitor', 'PodMonitor']); // their CRDs are not the chart's
    const scratch = await createNamespace('chart-dry');
    try {
      const items = render(full, { namespace: scratch })
        .filter(({ kind }) => !foreign.has(kind) && kind !== 'Namespace')
        .map((object) => {
          const metadata = { ...object.metadata, namespace: scratch };
          if (object.kind !== 'Service') return { ...object, metadata };
          // The fixed cluster IP and node port may be taken.
          const { clusterIP: _taken, ports, ...spec } = object.spec as { clusterIP?: string; ports: object[] };
          return {
            ...object,
            metadata,
            spec: { ...spec, ports: ports.map((port) => ({ ...port, nodePort: undefined })) },
          };
        });
      const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
      // Definitions of custom resources are the cluster's: another release may have made them.
      const strict = ['--server-side', '--force-conflicts', '--dry-run=server', '--validate=strict'];
      await kubectl(['apply', ...strict, '-f', '-'], { input });
    } finally {
      await deleteNamespaces(scratch);
    }
  });

  it('installs, and its own test passes', async function () {
    this.timeout(240_000);
    const notes = await install();
    expect(notes).to.include(`helm -n ${namespace} test ${release}`).and.include('https://mcp.example.com/mcp');
    const told = await helm(namespace, 'test', release, '--logs', '--timeout', '120s');
    expect(told).to.include('ok      the gateway is ready');
    expect(told).to.include('ok      /mcp asks a client without a token to authenticate');
    expect(told).to.include('ok      the challenge leads to where users log in');
    firstKeys = await keys();
  });

  it('gives the gateway pods in the sessions’ namespace, Secrets in the logins’, and nothing anywhere else', async () => {
    expect((await canI(sessions)).sort()).to.deep.equal([
      `configmaps [] [${release}-sessions] [get]`,
      'mcpsessions.forgejo-mcp-operator.dev [] [] [create get list update watch]',
      'pods [] [] [create delete list patch watch]',
      'pods/attach [] [] [create get]',
    ]);
    expect((await canI(logins)).sort()).to.deep.equal([
      'leases.coordination.k8s.io [] [] [create get update]',
      'secrets [] [] [create delete get list update]',
    ]);
    expect(await canI(namespace)).to.deep.equal([
      'leases.coordination.k8s.io [] [] [create delete get list update watch]',
    ]);
    expect(await canI('kube-system')).to.deep.equal([]);
  });

  it('lets no pod into the sessions’ namespace that could harm its node, nor anything but pods', async () => {
    const refused = async (object: object): Promise<string> => {
      try {
        await apply(object);
      } catch (error) {
        return (error as Error).message;
      }
      throw new Error('the API server took it');
    };
    const privileged = busybox(sessions, 'privileged', { container: { securityContext: { privileged: true } } });
    expect(await refused(privileged)).to.include('violates PodSecurity "restricted:latest"');
    const greedy = busybox(sessions, 'greedy', { container: { resources: { limits: { memory: '2Gi' } } } });
    expect(await refused(greedy)).to.include('maximum memory usage per Container is 1Gi');
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 's', namespace: sessions },
      spec: { ports: [{ port: 1 }] },
    };
    expect(await refused(service)).to.include('exceeded quota');
    expect(await refused(busybox(logins, 'curious'))).to.include('exceeded quota');
  });

  it('says that it is not ready, and why, when a right is missing; an upgrade gives it back', async function () {
    this.timeout(240_000);
    const ready = async (): Promise<boolean> =>
      ((await get('deployment', `${release}-gateway`, namespace)).status.readyReplicas ?? 0) === 1;
    await kubectl(['-n', sessions, 'delete', 'rolebinding', `${release}-gateway`]);
    await until('the gateway is not ready', async () => !(await ready()), 60_000);
    const ask = "fetch('http://127.0.0.1:9090/readyz').then(async (r) => console.log(r.status, await r.text()))";
    const deployment = `deployment/${release}-gateway`;
    const said = await kubectl(['-n', namespace, 'exec', deployment, '--', '/usr/local/bin/node', '--eval', ask]);
    expect(said).to.match(/^503 .*"backend":\{"code":"BACKEND_/);
    expect(said).to.include('"store":{"code":"STORE_UNAVAILABLE"').and.include('"proxy":"ok"');
    await install();
    expect(await ready()).to.equal(true);
  });

  it('upgrades: a changed configuration is a new gateway, the keys stay', async function () {
    this.timeout(240_000);
    const podOf = async (): Promise<string> => {
      const selector = `app.kubernetes.io/instance=${release},app.kubernetes.io/component=gateway`;
      return kubectl(['-n', namespace, 'get', 'pods', '-l', selector, '-o', 'jsonpath={.items[*].metadata.name}']);
    };
    const before = await podOf();
    await install();
    expect(await podOf(), 'the same values').to.equal(before);
    await install({ config: { log: { level: 'debug' } } });
    const after = await until(
      'the gateway before it is gone',
      async () => {
        const now = await podOf();
        return /^\S+$/.test(now) && now;
      },
      60_000,
    );
    expect(after).to.not.equal(before);
    expect(await keys()).to.deep.equal(firstKeys);
    await helm(namespace, 'test', release, '--timeout', '120s');
  });

  it('uninstalls, and leaves its keys and nothing else, which the next install uses again', async function () {
    this.timeout(300_000);
    const id = await installId(namespace);
    expect((await clusterWide()).filter((name) => name.includes(id))).to.have.length(4);
    await helm(namespace, 'uninstall', release, '--wait', '--timeout', '120s');
    for (const one of [sessions, logins]) {
      await until(`the namespace ${one} is gone`, async () => (await exists('namespace', one)) === false, 60_000);
    }
    const kinds = (await kubectl(['api-resources', '--namespaced', '--verbs=list', '-o', 'name']))
      .split('\n')
      .filter((kind) => kind !== '' && !/^events\b|^endpoints$|metrics/.test(kind));
    await until(
      'only what a fresh namespace has is left',
      async () => {
        const left = (
          await kubectl(['-n', namespace, 'get', kinds.join(','), '-o', 'name', '--ignore-not-found'])
        ).trim();
        const names = left
          .split('\n')
          .filter((name) => !/^(configmap\/kube-root-ca\.crt|serviceaccount\/default)$/.test(name));
        const kept = [`secret/${minimal.oauth.existingSecret}`, `secret/${release}-keys`];
        return names.sort().join() === kept.sort().join();
      },
      60_000,
    );
    expect((await clusterWide()).filter((name) => name.includes(id))).to.deep.equal([]);
    await install();
    expect(await keys()).to.deep.equal(firstKeys);
  });

  async function exists(kind: string, name: string): Promise<boolean> {
    return (await kubectl(['get', kind, name, '--ignore-not-found', '-o', 'name'])).trim() !== '';
  }

  it('two releases live side by side', async function () {
    this.timeout(240_000);
    const other = `other-${randomBytes(3).toString('hex')}`;
    await apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: other } });
    await keepApplicationSecrets(other);
    try {
      const file = join(home, 'other.json');
      await writeFile(file, JSON.stringify(withMore(values)));
      await helm(other, 'install', release, CHART, '--values', file, '--wait', '--timeout', '180s');
      const installIds = await Promise.all([namespace, other].map(installId));
      expect(new Set(installIds).size).to.equal(2);
      await helm(other, 'uninstall', release, '--wait', '--timeout', '120s');
      expect(await exists('namespace', sessions)).to.equal(true);
    } finally {
      await deleteNamespaces(other);
    }
  });
});
