import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { WebSocket } from 'ws';
import { podName, podSuffix } from '../../src/backends/pod/names';
import { LABELS } from '../../src/kube/labels';
import { replicaName } from '../../src/peers/names';
import type { MCPServer } from '../../src/resources/server';
import { Account } from '../support/account';
import { type AuditedRequest, auditedRequests } from '../support/audit';
import { apply, busybox, cluster, createNamespace, deleteNamespaces, get, kubectl } from '../support/cluster';
import { installed, type Installed } from '../support/installed';
import { until } from '../support/until';

/** Where a right counts: the install's three namespaces, one of somebody else, the cluster's own, or the cluster itself. */
type Place = 'release' | 'sessions' | 'logins' | 'foreign' | 'kube-system' | 'cluster';

interface Right {
  readonly in: Place;
  /** `<resource>` of the core API or `<resource>.<group>`, with its subresource: `pods/attach`. */
  readonly resource: string;
  readonly verbs: readonly string[];
  /** Only for the objects of these names, which follow the release's. */
  readonly names?: readonly string[];
  /** Verbs that the API server checks inside of another request, which its log does not show; a test of their own shows that they are needed. */
  readonly inside?: readonly string[];
}

interface Holder {
  /** What comes after the release's name in the account's. */
  readonly name: string;
  /** All that it may, each used in a run. */
  readonly rights: readonly Right[];
  /** Makes it use what a login and a session do not. */
  readonly exercise: (app: Installed) => Promise<void>;
}

/** What only a program that stops uses: it gives up its turn, and its own Lease. */
const STOPPING = / update$| leases\.coordination\.k8s\.io delete$/;

/** A server with a pool. */
const POOLED = 'privileges-pooled';

/** What tells one right that was used from another. */
const KEY = ['group', 'namespace', 'resource', 'verb'] as const satisfies readonly (keyof AuditedRequest)[];

/** One row for each account that the chart makes. */
const HOLDERS: readonly Holder[] = [
  {
    name: 'gateway',
    rights: [
      { in: 'sessions', resource: 'pods', verbs: ['create', 'delete', 'list', 'patch', 'watch'] },
      { in: 'sessions', resource: 'pods/attach', verbs: ['get'], inside: ['create'] },
      { in: 'sessions', resource: 'configmaps', verbs: ['get'], names: ['sessions'] },
      {
        in: 'sessions',
        resource: 'mcpsessions.forgejo-mcp-operator.dev',
        verbs: ['create', 'get', 'list', 'update', 'watch'],
      },
      { in: 'release', resource: 'mcpservers.forgejo-mcp-operator.dev', verbs: ['list', 'watch'] },
      {
        in: 'release',
        resource: 'leases.coordination.k8s.io',
        verbs: ['create', 'delete', 'get', 'list', 'update', 'watch'],
      },
      { in: 'logins', resource: 'secrets', verbs: ['create', 'delete', 'get', 'list', 'update'] },
      { in: 'logins', resource: 'leases.coordination.k8s.io', verbs: ['create', 'get', 'update'] },
    ],
    exercise: async (app) => {
      await takesOneThatWaits(app);
      const client = await app.client('alice', 'fixture');
      await client.initialize();
      await client.call('echo', { text: 'x' });
      await client.end();
      await client.close();
    },
  },
  {
    name: 'operator',
    rights: [
      { in: 'release', resource: 'mcpservers.forgejo-mcp-operator.dev', verbs: ['list', 'watch'] },
      { in: 'release', resource: 'mcpservers/status.forgejo-mcp-operator.dev', verbs: ['patch'] },
      { in: 'release', resource: 'leases.coordination.k8s.io', verbs: ['delete', 'get', 'list', 'watch'] },
      { in: 'release', resource: 'leases.coordination.k8s.io', verbs: ['update'], names: ['operator'] },
      { in: 'release', resource: 'secrets', verbs: ['get', 'update'], names: ['peers'] },
      {
        in: 'sessions',
        resource: 'mcpsessions.forgejo-mcp-operator.dev',
        verbs: ['delete', 'get', 'list', 'update', 'watch'],
      },
      { in: 'sessions', resource: 'pods', verbs: ['create', 'delete', 'get', 'list', 'watch'] },
      { in: 'sessions', resource: 'configmaps', verbs: ['get'], names: ['sessions'] },
    ],
    exercise: exerciseOperator,
  },
];

/** A session of a server that has a pool, whose pods the operator makes. */
async function takesOneThatWaits(app: Installed): Promise<void> {
  await apply({
    apiVersion: 'forgejo-mcp-operator.dev/v1alpha1',
    kind: 'MCPServer',
    metadata: { name: POOLED, namespace: app.namespace },
    spec: {
      command: ['/child'],
      forgejo: { url: app.forge.publicUrl },
      pod: { image: 'fmo/child-fixture:test', imagePullPolicy: 'Never', requests: { cpu: '10m', memory: '16Mi' } },
      pool: { min: 1 },
    },
  });
  await until(
    'one waits',
    async () => (await get<MCPServer>('mcpserver', POOLED, app.namespace)).status?.pool?.ready === 1,
    60_000,
  );
  const client = await app.client('alice', POOLED);
  await client.initialize();
  await client.end();
  await client.close();
}

/** What it looks after: a server, a gateway that is dead, its pod, a session that slept too long and one that ended long ago. */
async function exerciseOperator(app: Installed): Promise<void> {
  const written = parse((await get('configmap', `${app.release}-gateway`, app.namespace)).data['config.yaml']) as {
    backend: { installId: string };
  };
  const install = written.backend.installId;
  const dead = replicaName();
  const version = 'forgejo-mcp-operator.dev/v1alpha1';
  const labels = { 'app.kubernetes.io/instance': install };
  const session = (status: object): object => ({
    apiVersion: version,
    kind: 'MCPSession',
    metadata: { name: randomBytes(20).toString('hex'), namespace: app.sessionsNamespace, labels },
    spec: { server: 's', user: { issuer: 'https://forge.example.com', id: '1' }, client: 'c', mode: 'oauth' },
    status: { epoch: 1, createdAt: '2020-01-01T00:00:00Z', ...status },
  });
  const { spec } = busybox(app.sessionsNamespace, 'x') as { spec: object };
  await apply(
    {
      apiVersion: version,
      kind: 'MCPServer',
      metadata: { name: 'privileges', namespace: app.namespace },
      spec: { forgejo: { url: 'https://forge.example.com' }, pod: { image: 'none' }, pool: { min: 1 } },
    },
    {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: dead, namespace: app.namespace, labels },
      spec: { leaseDurationSeconds: 1 },
    },
    session({ state: 'Hibernated', expiresAt: '2020-01-01T00:00:00Z' }),
    session({ state: 'Ended', endedAt: '2020-01-01T00:00:00Z' }),
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: podName('ef'.repeat(20), podSuffix()),
        namespace: app.sessionsNamespace,
        labels: {
          ...labels,
          'app.kubernetes.io/managed-by': 'forgejo-mcp-operator',
          [LABELS.component]: 'session',
          [LABELS.session]: 'ef'.repeat(20),
          [LABELS.run]: dead,
        },
      },
      spec,
    },
  );
}

/** What nobody of an install may, said one by one because each would be a way out. The last test asks for everything else. */
const NEVER: readonly Right[] = [
  { in: 'release', resource: 'secrets', verbs: ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'] },
  { in: 'sessions', resource: 'secrets', verbs: ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'] },
  { in: 'foreign', resource: 'secrets', verbs: ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'] },
  { in: 'kube-system', resource: 'secrets', verbs: ['get', 'list', 'watch'] },
  { in: 'cluster', resource: 'secrets', verbs: ['get', 'list', 'watch'] },
  { in: 'sessions', resource: 'pods/exec', verbs: ['get', 'create'] },
  { in: 'sessions', resource: 'pods/portforward', verbs: ['get', 'create'] },
  { in: 'sessions', resource: 'pods/proxy', verbs: ['get', 'create'] },
  { in: 'sessions', resource: 'pods/log', verbs: ['get'] },
  { in: 'sessions', resource: 'pods/ephemeralcontainers', verbs: ['get', 'update', 'patch'] },
  { in: 'sessions', resource: 'pods/resize', verbs: ['update', 'patch'] },
  { in: 'sessions', resource: 'pods/binding', verbs: ['create'] },
  { in: 'sessions', resource: 'pods/status', verbs: ['update', 'patch'] },
  { in: 'foreign', resource: 'pods', verbs: ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'] },
  { in: 'foreign', resource: 'pods/attach', verbs: ['get', 'create'] },
  { in: 'foreign', resource: 'pods/exec', verbs: ['get', 'create'] },
  { in: 'kube-system', resource: 'pods', verbs: ['get', 'list', 'create', 'delete'] },
  { in: 'release', resource: 'pods', verbs: ['create', 'update', 'patch', 'delete'] },
  { in: 'logins', resource: 'pods', verbs: ['create'] },
  { in: 'cluster', resource: 'pods', verbs: ['list', 'watch'] },
  { in: 'cluster', resource: 'nodes', verbs: ['get', 'list', 'watch', 'update', 'patch', 'delete'] },
  { in: 'cluster', resource: 'nodes/proxy', verbs: ['get', 'create'] },
  { in: 'cluster', resource: 'persistentvolumes', verbs: ['get', 'list', 'create'] },
  {
    in: 'sessions',
    resource: 'roles.rbac.authorization.k8s.io',
    verbs: ['create', 'update', 'patch', 'escalate', 'bind'],
  },
  {
    in: 'sessions',
    resource: 'rolebindings.rbac.authorization.k8s.io',
    verbs: ['create', 'update', 'patch', 'delete'],
  },
  { in: 'release', resource: 'rolebindings.rbac.authorization.k8s.io', verbs: ['create', 'update', 'patch'] },
  {
    in: 'cluster',
    resource: 'clusterroles.rbac.authorization.k8s.io',
    verbs: ['create', 'update', 'escalate', 'bind'],
  },
  { in: 'cluster', resource: 'clusterrolebindings.rbac.authorization.k8s.io', verbs: ['create', 'update', 'patch'] },
  { in: 'foreign', resource: 'leases.coordination.k8s.io', verbs: ['get', 'create', 'update', 'patch', 'delete'] },
  { in: 'kube-system', resource: 'leases.coordination.k8s.io', verbs: ['get', 'create', 'update', 'delete'] },
  { in: 'release', resource: 'serviceaccounts/token', verbs: ['create'] },
  { in: 'sessions', resource: 'serviceaccounts/token', verbs: ['create'] },
  { in: 'kube-system', resource: 'serviceaccounts/token', verbs: ['create'] },
  { in: 'release', resource: 'serviceaccounts', verbs: ['impersonate', 'create', 'update'] },
  { in: 'cluster', resource: 'users', verbs: ['impersonate'] },
  { in: 'cluster', resource: 'groups', verbs: ['impersonate'] },
  { in: 'sessions', resource: 'events', verbs: ['list', 'create'] },
  { in: 'release', resource: 'configmaps', verbs: ['get', 'list', 'update'] },
  { in: 'release', resource: 'deployments.apps', verbs: ['get', 'update', 'patch', 'delete'] },
  { in: 'sessions', resource: 'networkpolicies.networking.k8s.io', verbs: ['update', 'patch', 'delete'] },
  { in: 'sessions', resource: 'resourcequotas', verbs: ['update', 'patch', 'delete'] },
  {
    in: 'cluster',
    resource: 'validatingadmissionpolicies.admissionregistration.k8s.io',
    verbs: ['update', 'patch', 'delete'],
  },
  { in: 'cluster', resource: 'certificatesigningrequests.certificates.k8s.io', verbs: ['create'] },
];

/** What only the operator may, of all that an install's accounts are asked for here. */
const NEVER_OF_THE_GATEWAY: readonly Right[] = [
  { in: 'cluster', resource: 'namespaces', verbs: ['get', 'list', 'create', 'update', 'patch', 'delete'] },
];

/** What every service account of a cluster may: ask about itself, and read the cluster's certificate authorities. */
const EVERYBODY: readonly Right[] = [
  { in: 'cluster', resource: 'clustertrustbundles.certificates.k8s.io', verbs: ['get', 'list', 'watch'] },
  { in: 'cluster', resource: 'selfsubjectaccessreviews.authorization.k8s.io', verbs: ['create'] },
  { in: 'cluster', resource: 'selfsubjectrulesreviews.authorization.k8s.io', verbs: ['create'] },
  { in: 'cluster', resource: 'selfsubjectreviews.authentication.k8s.io', verbs: ['create'] },
];

/** Rights as lines: `sessions pods/attach get`. */
const lines = (rights: readonly Right[], inside = true): string[] =>
  rights
    .flatMap(({ in: place, resource, verbs, inside: hidden = [] }) =>
      [...verbs, ...(inside ? hidden : [])].map((verb) => `${place} ${resource} ${verb}`),
    )
    .sort();

describe('least privilege', function () {
  this.timeout(300_000);
  let app: Installed;
  let places: Readonly<Record<Place, string>>;
  const made: string[] = [];

  before(async function () {
    this.timeout(1_200_000);
    app = await installed();
    const foreign = await createNamespace('privileges');
    made.push(foreign);
    places = {
      release: app.namespace,
      sessions: app.sessionsNamespace,
      logins: app.recordsNamespace,
      foreign,
      'kube-system': 'kube-system',
      cluster: '',
    };
  });

  after(async () => {
    if (app !== undefined)
      await kubectl(['-n', app.namespace, 'delete', 'mcpserver', 'privileges', POOLED, '--ignore-not-found']);
    await deleteNamespaces(...made);
  });

  /** Whether the API server would let the account. */
  const allowed = async (
    account: Account,
    place: Place,
    resource: string,
    verb: string,
    named?: string,
  ): Promise<boolean> => {
    const [whole, ...group] = resource.split('.');
    const [name, subresource] = whole.split('/');
    const [subname, ...subgroup] = (subresource ?? '').split('.');
    const resourceAttributes = {
      ...(places[place] === '' ? {} : { namespace: places[place] }),
      group: [...group, ...subgroup].join('.'),
      resource: name,
      ...(subname === '' ? {} : { subresource: subname }),
      ...(named === undefined ? {} : { name: named }),
      verb,
    };
    const { status, body } = await account.ask('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes },
    });
    expect(status).to.equal(201);
    return (body as { status: { allowed: boolean } }).status.allowed;
  };

  /** The lines that the account may. */
  const among = async (account: Account, asked: readonly Right[]): Promise<string[]> => {
    const cases = asked.flatMap(({ in: place, resource, verbs }) => verbs.map((verb) => ({ place, resource, verb })));
    const found: string[] = [];
    const next = cases[Symbol.iterator]();
    const worker = async (): Promise<void> => {
      for (const { place, resource, verb } of next) {
        if (await allowed(account, place, resource, verb)) found.push(`${place} ${resource} ${verb}`);
      }
    };
    await Promise.all(Array.from({ length: 16 }, worker));
    return found.sort();
  };

  /** Every resource that the API server knows, with its subresources, each wherever it may be. */
  const everything = async (): Promise<Right[]> => {
    const groups = JSON.parse(await kubectl(['get', '--raw', '/apis'])) as {
      groups: { preferredVersion: { groupVersion: string } }[];
    };
    const versions = ['v1', ...groups.groups.map(({ preferredVersion }) => preferredVersion.groupVersion)];
    const lists = await Promise.all(
      versions.map(async (version) => {
        const path = version === 'v1' ? '/api/v1' : `/apis/${version}`;
        const { resources } = JSON.parse(await kubectl(['get', '--raw', path])) as {
          resources: { name: string; namespaced: boolean; verbs: string[] }[];
        };
        const group = version === 'v1' ? '' : `.${version.split('/')[0]}`;
        return resources.map(({ name, ...rest }) => ({ resource: `${name}${group}`, ...rest }));
      }),
    );
    return lists
      .flat()
      .flatMap(({ resource, namespaced, verbs }) =>
        (Object.keys(places) as Place[])
          .filter((place) => namespaced || place === 'cluster')
          .map((place) => ({ in: place, resource, verbs })),
      );
  };

  for (const holder of HOLDERS) {
    describe(`of the ${holder.name}`, () => {
      let name: string;
      let account: Account;

      before(async () => {
        name = `${app.release}-${holder.name}`;
        account = await Account.of(app.namespace, name);
      });

      after(() => account.close());

      /** What the program did with its rights, by the API server's log. */
      const used = async (): Promise<string[]> => {
        const requests = await auditedRequests(app.namespace, name);
        const placeOf = Object.fromEntries(Object.entries(places).map(([place, of]) => [of, place]));
        const own = requests.filter(({ resource }) => !resource.startsWith('selfsubject'));
        // An API server that has just started refuses for a moment what it grants: it has not read its Roles yet.
        const isGranted = (asked: AuditedRequest): boolean =>
          own.some((one) => one.allowed && KEY.every((member) => one[member] === asked[member]));
        const refused = own.filter((one) => !one.allowed && !isGranted(one));
        expect(refused, 'asked for without a right').to.deep.equal([]);
        const found = own.map(
          ({ namespace, resource, group, verb }) =>
            `${placeOf[namespace] ?? namespace} ${resource}${group === '' ? '' : `.${group}`} ${verb}`,
        );
        return [...new Set(found)].sort();
      };

      it('every right is used, and no other is asked for', async () => {
        await holder.exercise(app);
        const wanted = lines(holder.rights, false);
        const missing = async (): Promise<string[]> => {
          const found = await used();
          return wanted.filter((line) => !found.includes(line));
        };
        // Expired logins are looked for once a minute; a gateway that stops gives up its turn.
        let left = await missing();
        await until(
          'all but what stopping needs is used',
          async () => {
            left = await missing();
            return left.every((line) => STOPPING.test(line));
          },
          120_000,
        ).catch((error: unknown) => {
          throw new Error(`never used: ${left.join(', ')}`, { cause: error });
        });
        if (left.length > 0) {
          await kubectl(['-n', app.namespace, 'rollout', 'restart', `deployment/${name}`]);
          await kubectl(['-n', app.namespace, 'rollout', 'status', `deployment/${name}`, '--timeout=120s'], {
            deadline: 130_000,
          });
          await app.reachable();
        }
        expect(await used()).to.deep.equal(wanted);
      });

      it('these are all that the API server knows of', async () => {
        const whole = holder.rights.filter(({ names }) => names === undefined);
        expect(await among(account, await everything())).to.have.members(lines([...whole, ...EVERYBODY]));
      });

      it('what is for objects by name is for no others', async () => {
        for (const { in: place, resource, verbs, names = [] } of holder.rights) {
          for (const verb of names.length === 0 ? [] : verbs) {
            for (const one of names) {
              expect(await allowed(account, place, resource, verb, `${app.release}-${one}`), one).to.equal(true);
            }
            expect(await allowed(account, place, resource, verb, 'kube-root-ca.crt')).to.equal(false);
          }
        }
      });

      const never = [...NEVER, ...(holder.name === 'gateway' ? NEVER_OF_THE_GATEWAY : [])];
      for (const right of never) {
        it(`no ${right.resource} in ${right.in}: ${right.verbs.join(', ')}`, async () => {
          expect(await among(account, [right])).to.deep.equal([]);
        });
      }
    });
  }

  it('create on pods/attach is needed, though the upgrade is a GET: without it the API server answers 403', async () => {
    const config = parse(await readFile(cluster().kubeconfig, 'utf8')) as {
      clusters: { cluster: { server: string; 'certificate-authority-data': string } }[];
    };
    const { server, 'certificate-authority-data': ca } = config.clusters[0].cluster;
    const { foreign } = places;
    /** The status that an attach to a pod that is not there is answered with. */
    const attach = async (verbs: string): Promise<number> => {
      const who = `attach-${verbs.replace(',', '-')}`;
      await kubectl(['-n', foreign, 'create', 'serviceaccount', who]);
      await kubectl(['-n', foreign, 'create', 'role', who, `--verb=${verbs}`, '--resource=pods/attach']);
      await kubectl([
        '-n',
        foreign,
        'create',
        'rolebinding',
        who,
        `--role=${who}`,
        `--serviceaccount=${foreign}:${who}`,
      ]);
      const token = (await kubectl(['-n', foreign, 'create', 'token', who])).trim();
      const url = `${server.replace(/^http/, 'ws')}/api/v1/namespaces/${foreign}/pods/nobody/attach?stdin=true`;
      const socket = new WebSocket(url, ['v5.channel.k8s.io'], {
        ca: Buffer.from(ca, 'base64'),
        headers: { authorization: `Bearer ${token}` },
        handshakeTimeout: 10_000,
      });
      return new Promise((resolve, reject) => {
        socket.on('unexpected-response', (_request, response) => {
          resolve(response.statusCode ?? 0);
          response.destroy();
        });
        socket.on('error', reject);
      });
    };
    expect(await attach('get')).to.equal(403);
    expect(await attach('get,create')).to.equal(404);
  });
});
