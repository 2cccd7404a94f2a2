import { expect } from 'chai';
import { parse } from 'yaml';
import { podManifest } from '../../src/backends/pod/manifest';
import { loadConfig } from '../../src/config/load';
import { bearer, configFile, minimal, of, only, withMore, within } from '../support/chart';
import { prepareHelm, render, type Manifest } from '../support/helm';

const SESSIONS = 'mcp-forgejo-mcp-sessions';
const LOGINS = 'mcp-forgejo-mcp-logins';
const GATEWAY = {
  'app.kubernetes.io/name': 'forgejo-mcp-operator',
  'app.kubernetes.io/instance': 'forgejo-mcp',
  'app.kubernetes.io/component': 'gateway',
};

before(prepareHelm);

/** The pod that the gateway makes when it is configured by this rendering. */
async function podOf(manifests: readonly Manifest[], component: 'session' | 'warm' | 'canary'): Promise<any> {
  const written = parse(configFile(manifests)) as {
    backend: { namespace: string; installId: string };
  };
  const { servers } = await loadConfig({
    file: undefined,
    env: {
      FMO_AUTH_MODE: 'bearer',
      FMO_SERVER_FORGEJO_URL: 'https://forge.example.com',
      FMO_SERVER_POD_LAUNCHER: 'inject',
      FMO_SERVER_POD_LAUNCHER_IMAGE: 'l',
    },
  });
  return podManifest({
    name: 'x',
    namespace: written.backend.namespace,
    install: written.backend.installId,
    run: 'run',
    component,
    server: servers[0],
    session: 'a'.repeat(40),
    user: 'u',
    userNamespace: true,
  });
}

function selects(selector: any, labels: Readonly<Record<string, string>>): boolean {
  const { matchLabels = {}, matchExpressions = [], ...rest } = selector;
  expect(rest).to.deep.equal({});
  return (
    Object.entries(matchLabels as object).every(([key, value]) => labels[key] === value) &&
    (matchExpressions as { key: string; operator: string; values: string[] }[]).every(({ key, operator, values }) => {
      expect(operator).to.equal('In');
      return values.includes(labels[key] ?? '');
    })
  );
}

describe("the gateway's rights", () => {
  let manifests: Manifest[];
  before(() => {
    manifests = of('gateway', render(minimal));
  });

  it('are exactly these, in the namespaces of the release, of sessions and of logins only', () => {
    const roles = manifests.filter(({ kind }) => /Role$/.test(kind));
    expect(roles.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}`)).to.have.members([
      `Role ${SESSIONS}`,
      `Role ${LOGINS}`,
      'Role mcp',
    ]);
    expect(only(within(manifests, 'mcp'), 'Role').rules).to.deep.equal([
      { apiGroups: ['forgejo-mcp-operator.dev'], resources: ['mcpservers'], verbs: ['list', 'watch'] },
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        verbs: ['create', 'delete', 'get', 'list', 'update', 'watch'],
      },
    ]);
    expect(only(within(manifests, SESSIONS), 'Role').rules).to.deep.equal([
      {
        apiGroups: ['forgejo-mcp-operator.dev'],
        resources: ['mcpsessions'],
        verbs: ['create', 'get', 'list', 'update', 'watch'],
      },
      { apiGroups: [''], resources: ['pods'], verbs: ['create', 'delete', 'list', 'patch', 'watch'] },
      { apiGroups: [''], resources: ['pods/attach'], verbs: ['create', 'get'] },
      { apiGroups: [''], resources: ['configmaps'], resourceNames: ['forgejo-mcp-sessions'], verbs: ['get'] },
    ]);
    expect(only(within(manifests, LOGINS), 'Role').rules).to.deep.equal([
      { apiGroups: [''], resources: ['secrets'], verbs: ['create', 'delete', 'get', 'list', 'update'] },
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create', 'get', 'update'] },
    ]);
  });

  it('are bound to the gateway’s service account and to nobody else', () => {
    const bindings = manifests.filter(({ kind }) => /RoleBinding$/.test(kind));
    expect(bindings.map(({ metadata }) => metadata.namespace)).to.have.members([SESSIONS, LOGINS, 'mcp']);
    for (const { roleRef, subjects } of bindings) {
      expect(roleRef).to.deep.equal({
        apiGroup: 'rbac.authorization.k8s.io',
        kind: 'Role',
        name: 'forgejo-mcp-gateway',
      });
      expect(subjects).to.deep.equal([{ kind: 'ServiceAccount', name: 'forgejo-mcp-gateway', namespace: 'mcp' }]);
    }
  });

  it('are none on Secrets where nobody logs in', () => {
    const roles = of('gateway', render(bearer)).filter(({ kind }) => kind === 'Role');
    expect(roles.map(({ metadata }) => metadata.namespace)).to.have.members(['mcp', SESSIONS]);
    expect(JSON.stringify(roles)).not.to.include('secrets');
  });
});

describe("the logins' namespace", () => {
  it('lets no pod run, whatever labels are added', () => {
    const labels = { team: 'a', 'pod-security.kubernetes.io/enforce': 'privileged' };
    const manifests = within(render(withMore({ records: { namespace: { labels, annotations: { a: 'b' } } } })), LOGINS);
    const { metadata } = only(manifests, 'Namespace');
    expect(metadata.labels).to.include({ team: 'a', 'pod-security.kubernetes.io/enforce': 'restricted' });
    expect(metadata.annotations).to.deep.equal({ a: 'b' });
    expect(only(manifests, 'ResourceQuota').spec.hard).to.include({ pods: '0' });
  });

  it('can be one that is there already', () => {
    const manifests = render(withMore({ records: { namespace: { create: false, name: 'logins' } } }));
    expect(within(manifests, 'logins').map(({ kind }) => kind)).to.have.members(['Role', 'RoleBinding']);
    expect(parse(configFile(manifests)).store.namespace).to.equal('logins');
  });
});

describe("the sessions' namespace", () => {
  it('enforces the restricted Pod Security Standard, whatever labels are added', () => {
    const labels = { team: 'a', 'pod-security.kubernetes.io/enforce': 'privileged' };
    const namespace = only(
      render(
        withMore({ sessions: { namespace: { labels, annotations: { a: 'b' } }, podSecurity: { version: 'v1.37' } } }),
      ),
      'Namespace',
      SESSIONS,
    );
    for (const mode of ['enforce', 'audit', 'warn']) {
      expect(namespace.metadata.labels).to.include({
        team: 'a',
        [`pod-security.kubernetes.io/${mode}`]: 'restricted',
        [`pod-security.kubernetes.io/${mode}-version`]: 'v1.37',
      });
    }
    expect(namespace.metadata.annotations).to.deep.equal({ a: 'b' });
  });

  it('can be one that is there already', () => {
    const manifests = render(withMore({ sessions: { namespace: { create: false, name: 'agents' } } }));
    const kinds = within(manifests, 'agents').map(({ kind }) => kind);
    expect(kinds).to.include.members(['Role', 'RoleBinding', 'ResourceQuota', 'LimitRange']);
    expect(kinds).not.to.include('Namespace');
    expect(within(manifests, SESSIONS)).to.deep.equal([]);
    expect(parse(configFile(manifests)).backend.namespace).to.equal('agents');
  });

  it('has room for more pods than the gateway has sessions and pools have pods, so that their own caps are met first', () => {
    const pods = (config: object = {}): unknown =>
      only(render(withMore({ config })), 'ResourceQuota', 'forgejo-mcp-sessions').spec.hard.pods;
    expect(pods()).to.equal('280'); // sessions.maxTotal is 200 by default, operator.maxWarmPods 50
    expect(pods({ sessions: { maxTotal: 50 } })).to.equal('115');
    expect(pods({ sessions: { maxTotal: 50 }, operator: { maxWarmPods: 0 } })).to.equal('65');
    expect(pods({ sessions: { maxTotal: 0, maxPerUser: 0 } })).to.equal(undefined);
    const own = render(withMore({ sessions: { quota: { hard: { pods: '7' } } } }));
    expect(only(own, 'ResourceQuota', 'forgejo-mcp-sessions').spec.hard.pods).to.equal('7');
  });

  it('is assumed to cap as many sessions and pods that wait as the settings do by default', async () => {
    const { sessions, operator } = await loadConfig({
      file: undefined,
      env: { FMO_AUTH_MODE: 'bearer', FMO_SERVER_FORGEJO_URL: 'https://forge.example.com' },
    });
    expect(sessions.maxTotal).to.equal(200);
    expect(operator.maxWarmPods).to.equal(50);
  });

  it('limits what a pod may use, and what all may use together', () => {
    const manifests = render(minimal);
    expect(only(manifests, 'LimitRange').spec.limits).to.deep.equal([
      {
        type: 'Container',
        default: { cpu: '1', memory: '256Mi', 'ephemeral-storage': '1Gi' },
        defaultRequest: { cpu: '20m', memory: '32Mi', 'ephemeral-storage': '8Mi' },
        max: { cpu: '2', memory: '1Gi', 'ephemeral-storage': '2Gi' },
      },
    ]);
    expect(only(manifests, 'ResourceQuota', 'forgejo-mcp-sessions').spec.hard).to.deep.equal({
      pods: '280',
      'requests.cpu': '8',
      'requests.memory': '12Gi',
      'requests.ephemeral-storage': '4Gi',
      'limits.memory': '64Gi',
      services: '0',
      persistentvolumeclaims: '0',
    });
    const without = render(withMore({ sessions: { quota: { enabled: false }, limitRange: { enabled: false } } }));
    const kinds = within(without, SESSIONS).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'LimitRange' || kind === 'ResourceQuota')).to.deep.equal([]);
  });
});

describe('network policies', () => {
  let manifests: Manifest[];
  before(() => {
    manifests = render(minimal);
  });

  it('let nothing into any pod of the sessions’ namespace, and nothing out', () => {
    expect(only(manifests, 'NetworkPolicy', 'forgejo-mcp-default-deny').spec).to.deep.equal({
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
    });
  });

  it('let session pods, and those that wait for a session, out to the credential proxy of their gateway, and nowhere else', async () => {
    const { spec } = only(manifests, 'NetworkPolicy', 'forgejo-mcp-to-proxy');
    expect(spec.policyTypes).to.deep.equal(['Egress']);
    expect(spec.egress).to.deep.equal([
      {
        to: [
          {
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'mcp' } },
            podSelector: { matchLabels: GATEWAY },
          },
        ],
        ports: [{ protocol: 'TCP', port: 8443 }],
      },
    ]);
    const session = await podOf(manifests, 'session');
    expect(session.metadata.namespace).to.equal(SESSIONS);
    expect(selects(spec.podSelector, session.metadata.labels)).to.equal(true);
    const warm = await podOf(manifests, 'warm');
    expect(selects(spec.podSelector, warm.metadata.labels), 'in force before it is taken').to.equal(true);
    const canary = await podOf(manifests, 'canary');
    expect(selects(spec.podSelector, canary.metadata.labels)).to.equal(false);
    const other = await podOf(render(minimal, { namespace: 'elsewhere' }), 'session');
    expect(selects(spec.podSelector, other.metadata.labels)).to.equal(false);
  });

  it('let only this install’s session pods reach the credential proxy, and everybody the MCP port', async () => {
    const { spec } = only(manifests, 'NetworkPolicy', 'forgejo-mcp-gateway');
    expect(spec.podSelector).to.deep.equal({ matchLabels: GATEWAY });
    expect(only(manifests, 'Deployment').spec.template.metadata.labels).to.include(GATEWAY);
    expect(spec.policyTypes).to.deep.equal(['Ingress']);
    const [http, proxy, peers, ops] = spec.ingress;
    expect(spec.ingress).to.have.length(4);
    expect(peers).to.deep.equal({
      ports: [{ protocol: 'TCP', port: 8444 }],
      from: [{ podSelector: { matchLabels: GATEWAY } }],
    });
    expect(http).to.deep.equal({ ports: [{ protocol: 'TCP', port: 8080 }] });
    expect(proxy.ports).to.deep.equal([{ protocol: 'TCP', port: 8443 }]);
    expect(proxy.from).to.have.length(1);
    expect(proxy.from[0].namespaceSelector).to.deep.equal({ matchLabels: { 'kubernetes.io/metadata.name': SESSIONS } });
    for (const component of ['session', 'warm'] as const)
      expect(selects(proxy.from[0].podSelector, (await podOf(manifests, component)).metadata.labels)).to.equal(true);
    expect(selects(proxy.from[0].podSelector, (await podOf(manifests, 'canary')).metadata.labels)).to.equal(false);
    expect(ops.ports).to.deep.equal([{ protocol: 'TCP', port: 9090 }]);
    expect(ops.from).to.have.length(1);
    expect(selects(ops.from[0].podSelector, only(manifests, 'Pod').metadata.labels ?? {})).to.equal(true);
  });

  it('narrow the MCP port and widen the operations port as told, and keep helm test working', () => {
    const peer = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress' } } };
    const narrowed = render(
      withMore({ networkPolicy: { gateway: { httpFrom: [peer], opsFrom: [peer], egress: [{ to: [peer] }] } } }),
    );
    const { spec } = only(narrowed, 'NetworkPolicy', 'forgejo-mcp-gateway');
    const test = only(narrowed, 'Pod').metadata.labels ?? {};
    for (const at of [0, 3]) {
      expect(spec.ingress[at].from).to.deep.include(peer);
      expect(spec.ingress[at].from.some((one: any) => one.podSelector && selects(one.podSelector, test))).to.equal(
        true,
      );
    }
    expect(spec.policyTypes).to.deep.equal(['Ingress', 'Egress']);
    expect(spec.egress).to.deep.equal([
      { to: [peer] },
      { to: [{ podSelector: { matchLabels: GATEWAY } }], ports: [{ protocol: 'TCP', port: 8444 }] },
    ]);
  });

  it('are left out as told', () => {
    const without = render(withMore({ networkPolicy: { enabled: false } }));
    expect(without.filter(({ kind }) => kind === 'NetworkPolicy')).to.deep.equal([]);
  });
});

describe("the gateway's Services", () => {
  it('select the gateway’s pod by ports that it has', () => {
    const manifests = of('gateway', render(minimal));
    const { template } = only(manifests, 'Deployment').spec;
    const ports = (template.spec.containers[0].ports as { name: string }[]).map(({ name }) => name);
    for (const service of manifests.filter(({ kind }) => kind === 'Service')) {
      expect(template.metadata.labels, service.metadata.name).to.include(service.spec.selector);
      for (const { targetPort } of service.spec.ports) expect(ports, service.metadata.name).to.include(targetPort);
    }
  });

  it('keep the operations and proxy ports inside the cluster', () => {
    const manifests = render(
      withMore({ service: { type: 'LoadBalancer' }, proxy: { service: { clusterIP: '10.96.0.9' } } }),
    );
    expect(only(manifests, 'Service', 'forgejo-mcp-ops').spec.type).to.equal('ClusterIP');
    expect(only(manifests, 'Service', 'forgejo-mcp-proxy').spec).to.include({
      type: 'ClusterIP',
      clusterIP: '10.96.0.9',
    });
    expect(only(manifests, 'Service', 'forgejo-mcp').spec.ports.map(({ name }: any) => name)).to.deep.equal(['http']);
  });
});
