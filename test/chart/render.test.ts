import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { loadKeys } from '../../src/config/key-files';
import { loadConfig, type Config } from '../../src/config/load';
import { bearer, of, configFile, minimal, names, only, withMore, within } from '../support/chart';
import { CHART, helm, prepareHelm, render, type Manifest } from '../support/helm';

/** The gateway's own reading of what the chart gives it. */
async function gatewayConfig(manifests: readonly Manifest[]): Promise<Config> {
  const folder = await mkdtemp(join(tmpdir(), 'fmo-chart-'));
  try {
    const file = join(folder, 'config.yaml');
    await writeFile(file, configFile(manifests));
    const env = Object.fromEntries(
      (gateway(manifests).env as { name: string; value?: string }[])
        .filter(({ name }) => name.startsWith('FMO_'))
        .map(({ name, value = '' }) => [name, value.replace('$(POD_IP)', '10.0.0.7')]),
    );
    return await loadConfig({ file, env });
  } finally {
    await rm(folder, { recursive: true });
  }
}

function gateway(manifests: readonly Manifest[]): any {
  return only(manifests, 'Deployment').spec.template.spec.containers[0];
}

before(prepareHelm);

describe('the chart with the least values', () => {
  let manifests: Manifest[];
  before(() => {
    manifests = render(minimal);
  });

  it('renders these objects and no others', () => {
    expect(names(manifests)).to.deep.equal(
      [
        'ConfigMap mcp-forgejo-mcp-sessions/forgejo-mcp-sessions',
        'ConfigMap mcp/forgejo-mcp-gateway',
        'CustomResourceDefinition /mcpservers.forgejo-mcp-operator.dev',
        'CustomResourceDefinition /mcpsessions.forgejo-mcp-operator.dev',
        'Deployment mcp/forgejo-mcp-gateway',
        'Deployment mcp/forgejo-mcp-operator',
        'NetworkPolicy mcp/forgejo-mcp-operator',
        'PodDisruptionBudget mcp/forgejo-mcp-operator',
        'Role mcp-forgejo-mcp-sessions/forgejo-mcp-operator',
        'Role mcp/forgejo-mcp-operator',
        'RoleBinding mcp-forgejo-mcp-sessions/forgejo-mcp-operator',
        'RoleBinding mcp/forgejo-mcp-operator',
        'Secret mcp/forgejo-mcp-peers',
        'Service mcp/forgejo-mcp-operator',
        'ServiceAccount mcp/forgejo-mcp-operator',
        'Lease mcp/forgejo-mcp-operator',
        'LimitRange mcp-forgejo-mcp-sessions/forgejo-mcp-sessions',
        'Namespace /mcp-forgejo-mcp-logins',
        'Namespace /mcp-forgejo-mcp-sessions',
        'NetworkPolicy mcp-forgejo-mcp-sessions/forgejo-mcp-default-deny',
        'NetworkPolicy mcp-forgejo-mcp-sessions/forgejo-mcp-to-proxy',
        'NetworkPolicy mcp/forgejo-mcp-gateway',
        'Pod mcp/forgejo-mcp-test',
        'ResourceQuota mcp-forgejo-mcp-logins/forgejo-mcp-records',
        'ResourceQuota mcp-forgejo-mcp-sessions/forgejo-mcp-sessions',
        'Role mcp-forgejo-mcp-logins/forgejo-mcp-gateway',
        'Role mcp-forgejo-mcp-sessions/forgejo-mcp-gateway',
        'Role mcp/forgejo-mcp-gateway',
        'RoleBinding mcp-forgejo-mcp-logins/forgejo-mcp-gateway',
        'RoleBinding mcp-forgejo-mcp-sessions/forgejo-mcp-gateway',
        'RoleBinding mcp/forgejo-mcp-gateway',
        'Secret mcp/forgejo-mcp-keys',
        'Service mcp/forgejo-mcp',
        'Service mcp/forgejo-mcp-ops',
        'Service mcp/forgejo-mcp-proxy',
        'ServiceAccount mcp/forgejo-mcp-gateway',
        'ValidatingAdmissionPolicy /forgejo-mcp-f12dd57f-pods-kept',
        'ValidatingAdmissionPolicy /forgejo-mcp-f12dd57f-pods-made',
        'ValidatingAdmissionPolicyBinding /forgejo-mcp-f12dd57f-pods-kept',
        'ValidatingAdmissionPolicyBinding /forgejo-mcp-f12dd57f-pods-made',
      ].sort(),
    );
  });

  it('gives the gateway a configuration that it takes, with the listeners where the Services look for them', async () => {
    const config = await gatewayConfig(manifests);
    expect(config.http.publicUrl).to.equal('https://mcp.example.com');
    expect(config.http.listen).to.deep.equal({ address: '0.0.0.0', port: 8080 });
    expect(config.proxy.listen).to.deep.equal({ address: '0.0.0.0', port: 8443 });
    expect(config.proxy.url).to.equal('https://forgejo-mcp-proxy.mcp.svc:8443');
    expect(config.ops.listen).to.deep.equal({ address: '0.0.0.0', port: 9090 });
    expect(config.backend).to.include({ kind: 'pod', namespace: 'mcp-forgejo-mcp-sessions' });
    expect(config.servers.map(({ name }) => name)).to.deep.equal(['default']);
    expect(config.servers[0]?.forgejo.url).to.equal('https://forge.example.com');
    const ports = Object.fromEntries(
      (gateway(manifests).ports as { name: string; containerPort: number }[]).map((port) => [
        port.name,
        port.containerPort,
      ]),
    );
    expect(ports).to.deep.equal({ http: 8080, proxy: 8443, peers: 8444, ops: 9090 });
  });

  it('mounts the files that the configuration names', async () => {
    const config = await gatewayConfig(manifests);
    const mounts = (gateway(manifests).volumeMounts as { mountPath: string; name: string }[]).map(
      ({ mountPath, name }) => `${name} ${mountPath}`,
    );
    expect(mounts).to.deep.equal([
      'config /etc/forgejo-mcp-operator/config.yaml',
      'keys /etc/forgejo-mcp-operator/keys',
      'peers /etc/forgejo-mcp-operator/peers',
      'oauth /etc/forgejo-mcp-operator/oauth',
      'data /var/lib/forgejo-mcp-operator',
      'tmp /tmp',
    ]);
    expect(config.dataDir).to.equal('/var/lib/forgejo-mcp-operator');
    const entries = Object.keys(only(manifests, 'Secret').data as object);
    expect(config.sessions.keyFile).to.equal('/etc/forgejo-mcp-operator/keys/session-ids.key');
    expect(config.auth.keyFile).to.equal('/etc/forgejo-mcp-operator/keys/auth.key');
    expect(config.proxy.keyFile).to.equal('/etc/forgejo-mcp-operator/keys/capability.key');
    expect(config.auth.oauth.keyFile).to.equal('/etc/forgejo-mcp-operator/keys/oauth.key');
    expect(entries).to.deep.equal(['session-ids.key', 'auth.key', 'capability.key', 'oauth.key']);
    const applications = config.servers[0]?.forgejo.applications;
    expect(applications?.read).to.include({
      clientId: 'reading',
      clientSecretFile: '/etc/forgejo-mcp-operator/oauth/read-client-secret',
    });
    expect(applications?.write).to.include({
      clientId: 'writing',
      clientSecretFile: '/etc/forgejo-mcp-operator/oauth/write-client-secret',
    });
    expect(gateway(manifests).args).to.deep.equal(['--config', '/etc/forgejo-mcp-operator/config.yaml']);
  });

  it('starts no gateway before the operator has made its certificates, and needs none where there is no operator', async () => {
    const alone = render(withMore({ operator: { replicas: 0 } }));
    for (const [all, expected] of [
      [render(minimal), ['/etc/forgejo-mcp-operator/peers', [false]]],
      [alone, [undefined, []]],
    ] as const) {
      const { volumes } = only(of('gateway', all), 'Deployment').spec.template.spec;
      const peers = (volumes as { name: string; secret?: { optional?: boolean } }[]).filter(
        ({ name }) => name === 'peers',
      );
      const config = await gatewayConfig(of('gateway', all));
      const optional = peers.map(({ secret }) => secret?.optional ?? false);
      expect([config.replicas.certificates, optional]).to.deep.equal(expected);
      const mounts = gateway(of('gateway', all)).volumeMounts as { name: string }[];
      expect(mounts.filter(({ name }) => name === 'peers')).to.have.length(peers.length);
    }
  });

  it('makes keys that the gateway takes, each its own, and keeps them at uninstall', async () => {
    const secret = only(manifests, 'Secret');
    expect(secret.metadata.annotations).to.deep.equal({ 'helm.sh/resource-policy': 'keep' });
    const folder = await mkdtemp(join(tmpdir(), 'fmo-keys-'));
    try {
      const keys = [];
      for (const [name, value] of Object.entries(secret.data as Record<string, string>)) {
        await writeFile(join(folder, name), Buffer.from(value, 'base64'));
        const loaded = await loadKeys(join(folder, name));
        expect(loaded).to.have.length(1);
        expect(loaded[0]).to.have.length(32);
        keys.push(loaded[0].toString('hex'));
      }
      expect(new Set(keys).size).to.equal(4);
    } finally {
      await rm(folder, { recursive: true });
    }
    const others = JSON.stringify(manifests.filter(({ kind }) => kind !== 'Secret'));
    for (const value of Object.values(secret.data as Record<string, string>)) expect(others).not.to.include(value);
  });

  it('runs as many gateways as wanted, one more before one less, as the restricted profile demands', () => {
    const { spec } = only(manifests, 'Deployment');
    expect(spec.replicas).to.equal(1);
    expect(only(of('gateway', render(withMore({ gateway: { replicas: 3 } }))), 'Deployment').spec.replicas).to.equal(3);
    expect(spec.strategy).to.deep.equal({
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
    });
    const pod = spec.template.spec;
    expect(pod.securityContext).to.deep.equal({
      runAsNonRoot: true,
      runAsUser: 65532,
      runAsGroup: 65532,
      fsGroup: 65532,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(gateway(manifests).securityContext).to.deep.equal({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(gateway(manifests).resources).to.deep.equal({
      requests: { cpu: '100m', memory: '256Mi' },
      limits: { memory: '1Gi' },
    });
    expect(pod.volumes).to.deep.equal([
      { name: 'config', configMap: { name: 'forgejo-mcp-gateway' } },
      { name: 'keys', secret: { secretName: 'forgejo-mcp-keys', defaultMode: 0o440 } },
      {
        name: 'peers',
        secret: {
          secretName: 'forgejo-mcp-peers',
          defaultMode: 0o440,
          items: ['ca.crt', 'tls.crt', 'tls.key'].map((key) => ({ key, path: key })),
        },
      },
      { name: 'oauth', secret: { secretName: 'forge-applications', defaultMode: 0o440 } },
      { name: 'data', emptyDir: { sizeLimit: '256Mi' } },
      { name: 'tmp', emptyDir: { sizeLimit: '64Mi' } },
    ]);
  });

  it('asks for a service account token for the gateway alone', () => {
    expect(only(manifests, 'ServiceAccount').automountServiceAccountToken).to.equal(false);
    expect(only(manifests, 'Deployment').spec.template.spec.automountServiceAccountToken).to.equal(true);
    expect(only(manifests, 'Deployment').spec.template.spec.serviceAccountName).to.equal('forgejo-mcp-gateway');
    expect(only(manifests, 'Pod').spec.automountServiceAccountToken).to.equal(false);
  });

  it('checks health on the operations listener', () => {
    const { startupProbe, livenessProbe, readinessProbe } = gateway(manifests);
    expect(startupProbe.httpGet).to.deep.equal({ path: '/healthz', port: 'ops' });
    expect(livenessProbe.httpGet).to.deep.equal({ path: '/healthz', port: 'ops' });
    expect(readinessProbe.httpGet).to.deep.equal({ path: '/readyz', port: 'ops' });
  });

  it('puts the recommended labels on every object, and its namespace into all but those of the cluster', () => {
    const ofCluster = /^(Namespace|CustomResourceDefinition|ValidatingAdmissionPolicy(Binding)?)$/;
    for (const { kind, metadata } of manifests) {
      expect(metadata.labels, metadata.name).to.include({
        'app.kubernetes.io/name': 'forgejo-mcp-operator',
        'app.kubernetes.io/instance': 'forgejo-mcp',
        'app.kubernetes.io/managed-by': 'Helm',
        'app.kubernetes.io/part-of': 'forgejo-mcp-operator',
        'app.kubernetes.io/version': '0.1.0',
        'helm.sh/chart': 'forgejo-mcp-operator-0.1.0',
      });
      if (!ofCluster.test(kind)) expect(metadata.namespace, metadata.name).to.be.a('string');
    }
  });

  it('starts the gateway anew when its configuration changes, and only then', () => {
    const sum = (from: Manifest[]): unknown =>
      only(from, 'Deployment').spec.template.metadata.annotations['checksum/config'];
    expect(sum(render(minimal))).to.equal(sum(manifests));
    expect(sum(render(withMore({ config: { log: { level: 'debug' } } })))).not.to.equal(sum(manifests));
  });
});

describe('the values', () => {
  it('become the gateway configuration word for word, empty ones too', async () => {
    const manifests = render(
      withMore({
        config: {
          sessions: { maxTotal: 0, maxPerUser: 0, sweepInterval: '10s' },
          http: { insecureAllowAnyOrigin: false, maxBodyBytes: '1Mi', allowedHosts: ['other.example.com'] },
          backend: { maxStarting: 3, caEnv: [] },
          stop: { drainTimeout: '0' },
        },
        server: { idleTimeout: '30s', env: { LANG: '' } },
        servers: { one: { maxSessions: 0, policy: { access: 'read' } }, two: { env: { A: 'b' }, idleTimeout: '1m' } },
        defaultServer: 'two',
      }),
    );
    const config = await gatewayConfig(manifests);
    expect(config.sessions).to.include({ maxTotal: 0, maxPerUser: 0, sweepInterval: 10 });
    expect(config.http).to.deep.include({
      insecureAllowAnyOrigin: false,
      maxBodyBytes: 1 << 20,
      allowedHosts: ['other.example.com'],
    });
    expect(config.backend).to.deep.include({ maxStarting: 3, caEnv: [], kind: 'pod' });
    expect(config.stop.drainTimeout).to.equal(0);
    expect(config.defaultServer).to.equal('two');
    const [one, two] = config.servers;
    expect(one).to.deep.include({ name: 'one', idleTimeout: 30, env: { LANG: '' } });
    expect(one?.policy.access).to.equal('read');
    expect(two).to.deep.include({ name: 'two', idleTimeout: 60, env: { LANG: '', A: 'b' } });
    expect(two?.policy.access).to.equal('write');
    expect(two?.pod.image).to.equal('registry.example.com/child:1');
  });

  it('name the image: a digest wins over a tag, and the global registry over its own', () => {
    const image = (more: object): unknown => gateway(render(withMore({ image: more }))).image;
    const digest = `sha256:${'a'.repeat(64)}`;
    expect(image({})).to.equal('registry.example.com/gateway:1.2.3');
    expect(image({ tag: '' })).to.equal('registry.example.com/gateway:0.1.0');
    expect(image({ digest })).to.equal(`registry.example.com/gateway@${digest}`);
    expect(image({ repository: 'team/gateway', registry: 'one.example.com' })).to.equal(
      'one.example.com/team/gateway:1.2.3',
    );
    const both = render(
      withMore({
        image: { repository: 'team/gateway', registry: 'one.example.com' },
        global: { imageRegistry: 'mirror.example.com', imagePullSecrets: ['global', 'own'] },
        imagePullSecrets: ['own'],
      }),
    );
    for (const pod of [only(both, 'Deployment').spec.template.spec, only(both, 'Pod').spec]) {
      expect(pod.containers[0].image).to.equal('mirror.example.com/team/gateway:1.2.3');
      expect(pod.imagePullSecrets).to.deep.equal([{ name: 'global' }, { name: 'own' }]);
    }
  });

  it('place the gateway, and give it a private CA, variables and volumes', () => {
    const manifests = render(
      withMore({
        gateway: {
          nodeSelector: { disk: 'ssd' },
          tolerations: [{ key: 'dedicated', operator: 'Exists' }],
          affinity: { nodeAffinity: {} },
          topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'ScheduleAnyway' }],
          priorityClassName: 'high',
          runtimeClassName: 'kata',
          terminationGracePeriodSeconds: 90,
          podLabels: { team: 'a', 'app.kubernetes.io/name': 'not-this' },
          podAnnotations: { note: 'x' },
          caBundle: { configMap: 'corporate-ca' },
          extraEnv: [{ name: 'HTTPS_PROXY', value: 'http://proxy:3128' }],
          extraVolumes: [{ name: 'more', emptyDir: {} }],
          extraVolumeMounts: [{ name: 'more', mountPath: '/more' }],
        },
      }),
    );
    const { spec } = only(manifests, 'Deployment');
    const selector = spec.selector.matchLabels;
    expect(spec.template.metadata.labels).to.include({ ...selector, team: 'a' });
    expect(spec.template.metadata.annotations).to.include({ note: 'x' });
    expect(spec.template.spec).to.deep.include({
      nodeSelector: { disk: 'ssd' },
      tolerations: [{ key: 'dedicated', operator: 'Exists' }],
      affinity: { nodeAffinity: {} },
      priorityClassName: 'high',
      runtimeClassName: 'kata',
      terminationGracePeriodSeconds: 90,
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'zone',
          whenUnsatisfiable: 'ScheduleAnyway',
          labelSelector: { matchLabels: selector },
        },
      ],
    });
    expect(gateway(manifests).env).to.deep.equal([
      { name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
      { name: 'FMO_REPLICAS_ADDRESS', value: '$(POD_IP):8444' },
      { name: 'NODE_EXTRA_CA_CERTS', value: '/etc/forgejo-mcp-operator/ca/ca.crt' },
      { name: 'HTTPS_PROXY', value: 'http://proxy:3128' },
    ]);
    expect(gateway(manifests).volumeMounts.slice(-2)).to.deep.equal([
      { name: 'ca', mountPath: '/etc/forgejo-mcp-operator/ca', readOnly: true },
      { name: 'more', mountPath: '/more' },
    ]);
    expect(spec.template.spec.volumes.slice(-2)).to.deep.equal([
      { name: 'ca', configMap: { name: 'corporate-ca' } },
      { name: 'more', emptyDir: {} },
    ]);
  });

  it('listen on IPv6 where the cluster has nothing else', async () => {
    const config = await gatewayConfig(render(withMore({ gateway: { ipFamily: 'IPv6' } })));
    expect(config.http.listen).to.deep.equal({ address: '::', port: 8080 });
    expect(config.ops.listen).to.deep.equal({ address: '::', port: 9090 });
  });

  it('take the keys of a Secret that is there', () => {
    const manifests = render(withMore({ keys: { existingSecret: 'vaulted' } }));
    expect(names(manifests.filter(({ kind }) => kind === 'Secret'))).to.deep.equal(['Secret mcp/forgejo-mcp-peers']);
    expect(only(manifests, 'Deployment').spec.template.spec.volumes[1].secret.secretName).to.equal('vaulted');
  });

  it('bind the role to a service account that is there', () => {
    const manifests = render(withMore({ serviceAccount: { create: false, name: 'mine' } }));
    const accounts = manifests.filter(({ kind }) => kind === 'ServiceAccount');
    expect(names(accounts)).to.deep.equal(['ServiceAccount mcp/forgejo-mcp-operator']);
    const bindings = of('gateway', manifests).filter(({ kind }) => kind === 'RoleBinding');
    expect(bindings.map(({ subjects }) => subjects[0].name as string)).to.deep.equal(['mine', 'mine', 'mine']);
    expect(only(manifests, 'Deployment').spec.template.spec.serviceAccountName).to.equal('mine');
  });

  it('add objects of one’s own, as YAML or as text, rendered as templates', () => {
    const manifests = render(
      withMore({
        extraObjects: [
          { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: '{{ .Release.Name }}-one' } },
          'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ include "fmo.fullname" . }}-two\n',
        ],
      }),
    );
    only(manifests, 'ConfigMap', 'forgejo-mcp-one');
    only(manifests, 'ConfigMap', 'forgejo-mcp-two');
  });

  it('keep every name within 63 characters, and those of two releases apart', () => {
    const long = 'a-release-whose-name-is-as-long-as-helm-allows-it-12';
    const of = (namespace: string): Manifest[] => render(minimal, { name: long, namespace });
    const manifests = of(`n${'s'.repeat(62)}`);
    for (const { metadata } of manifests) {
      for (const value of [metadata.name, metadata.namespace ?? '', ...Object.values(metadata.labels ?? {})]) {
        expect(value.length, value).to.be.at.most(63);
      }
    }
    const config = (from: Manifest[]): any => parse(configFile(from));
    const other = of(`n${'s'.repeat(61)}t`);
    expect(config(manifests).backend.installId).not.to.equal(config(other).backend.installId);
    expect(config(manifests).backend.namespace).not.to.equal(config(other).backend.namespace);
    expect(config(manifests).store.namespace).not.to.equal(config(other).store.namespace);
    expect(config(manifests).store.namespace).not.to.equal(config(manifests).backend.namespace);
  });

  it('do not double a release name that says what the chart is', () => {
    const name = (release: string): string => only(render(minimal, { name: release }), 'Deployment').metadata.name;
    expect(name('forgejo-mcp')).to.equal('forgejo-mcp-gateway');
    expect(name('forgejo-mcp-operator')).to.equal('forgejo-mcp-operator-gateway');
    expect(name('tools')).to.equal('tools-forgejo-mcp-operator-gateway');
    const namespaces = render(minimal, { namespace: 'forgejo-mcp' }).filter(({ kind }) => kind === 'Namespace');
    expect(names(namespaces)).to.deep.equal(['Namespace /forgejo-mcp-logins', 'Namespace /forgejo-mcp-sessions']);
  });
});

describe('logging in', () => {
  it('keeps logins in the cluster, in a namespace of their own', async () => {
    const { auth, store, backend } = await gatewayConfig(render(minimal));
    expect(auth.mode).to.equal('oauth');
    expect(store).to.include({ driver: 'kubernetes', namespace: 'mcp-forgejo-mcp-logins' });
    expect(store.namespace).not.to.equal(backend.namespace);
  });

  it('gives each application the mounted file of its secret, but one that names another', async () => {
    const manifests = render(
      withMore({
        oauth: { readEntry: 'r', writeEntry: 'w' },
        servers: {
          one: {},
          two: {
            forgejo: {
              url: 'https://other.example.com',
              applications: {
                read: { clientId: 'other', clientSecretFile: '/etc/forgejo-mcp-operator/oauth/other' },
                write: { clientId: 'another' },
              },
            },
          },
        },
        defaultServer: 'one',
      }),
    );
    const files = (await gatewayConfig(manifests)).servers.map(({ forgejo: { applications } }) =>
      [applications?.read, applications?.write].map((one) => one?.clientSecretFile.split('/').at(-1)),
    );
    expect(files).to.deep.equal([
      ['r', 'w'],
      ['other', 'w'],
    ]);
  });

  it('takes applications that only some servers name, and a file that all have in common', async () => {
    const { url, applications } = minimal.server.forgejo;
    const { pod } = minimal.server;
    const own = await gatewayConfig(
      render({ ...minimal, server: { pod }, servers: { default: { forgejo: { url, applications } } } }),
    );
    expect(own.servers[0]?.forgejo.applications?.read.clientSecretFile).to.match(/\/read-client-secret$/);
    const common = {
      read: { clientSecretFile: '/etc/forgejo-mcp-operator/oauth/x' },
      write: { clientSecretFile: '/etc/forgejo-mcp-operator/oauth/y' },
    };
    const shared = await gatewayConfig(
      render({
        ...minimal,
        server: { pod, forgejo: { url, applications: common } },
        servers: { default: { forgejo: { applications } } },
      }),
    );
    expect(shared.servers[0]?.forgejo.applications?.read).to.include({
      clientId: 'reading',
      clientSecretFile: '/etc/forgejo-mcp-operator/oauth/x',
    });
  });

  it('is not there with bearer tokens: no namespace, no right on Secrets, no secrets of applications', async () => {
    const manifests = render(bearer);
    const config = await gatewayConfig(manifests);
    expect(config.auth.mode).to.equal('bearer');
    expect(config.store.driver).to.equal('sqlite');
    expect(within(manifests, 'mcp-forgejo-mcp-logins')).to.deep.equal([]);
    const pod = only(manifests, 'Deployment').spec.template.spec;
    expect((pod.volumes as { name: string }[]).map(({ name }) => name)).to.deep.equal([
      'config',
      'keys',
      'peers',
      'data',
      'tmp',
    ]);
    expect(JSON.stringify(gateway(manifests).volumeMounts)).not.to.include('oauth');
    expect(only(manifests, 'Pod').spec.containers[0].env).to.deep.include({ name: 'AUTH_MODE', value: 'bearer' });
  });

  it('says what to do at Forgejo after an install', () => {
    const { stdout } = helm(['install', 'forgejo-mcp', CHART, '--dry-run=client'], minimal);
    expect(stdout).to.include('https://mcp.example.com/oauth/callback').and.include('generic forge-applications');
  });
});

describe('ways in', () => {
  it('an Ingress for the host of publicUrl', () => {
    const ingress = only(
      render(
        withMore({
          publicUrl: 'https://mcp.example.com:8443/',
          ingress: {
            enabled: true,
            className: 'nginx',
            annotations: { a: 'b' },
            tls: [{ secretName: 'cert', hosts: ['x'] }],
          },
        }),
      ),
      'Ingress',
    );
    expect(ingress.metadata.annotations).to.deep.equal({ a: 'b' });
    expect(ingress.spec).to.deep.equal({
      ingressClassName: 'nginx',
      tls: [{ secretName: 'cert', hosts: ['x'] }],
      rules: [
        {
          host: 'mcp.example.com',
          http: {
            paths: [
              { path: '/', pathType: 'Prefix', backend: { service: { name: 'forgejo-mcp', port: { name: 'http' } } } },
            ],
          },
        },
      ],
    });
  });

  it('an HTTPRoute for the host of publicUrl', () => {
    const route = only(
      render(
        withMore({
          httpRoute: { enabled: true, parentRefs: [{ name: 'public' }], timeouts: { request: '0s' } },
          service: { port: 8000 },
        }),
      ),
      'HTTPRoute',
    );
    expect(route.spec).to.deep.equal({
      parentRefs: [{ name: 'public' }],
      hostnames: ['mcp.example.com'],
      rules: [
        {
          matches: [{ path: { type: 'PathPrefix', value: '/' } }],
          timeouts: { request: '0s' },
          backendRefs: [{ name: 'forgejo-mcp', port: 8000 }],
        },
      ],
    });
  });

  it('a NodePort or load balancer', () => {
    const service = (more: object): any => only(render(withMore({ service: more })), 'Service', 'forgejo-mcp').spec;
    expect(service({ type: 'NodePort', nodePort: 30080 }).ports[0]).to.include({ nodePort: 30080, targetPort: 'http' });
    expect(
      service({
        type: 'LoadBalancer',
        loadBalancerClass: 'x',
        loadBalancerSourceRanges: ['10.0.0.0/8'],
        externalTrafficPolicy: 'Local',
      }),
    ).to.deep.include({
      loadBalancerClass: 'x',
      loadBalancerSourceRanges: ['10.0.0.0/8'],
      externalTrafficPolicy: 'Local',
    });
  });
});

describe('operations', () => {
  it('monitors select the operations port of this release only', () => {
    const monitor = { enabled: true, labels: { release: 'prometheus' }, interval: '15s' };
    const manifests = render(
      withMore({ ops: { serviceMonitor: { ...monitor, namespace: 'monitoring' }, podMonitor: monitor } }),
    );
    const service = only(manifests, 'ServiceMonitor');
    expect(service.metadata).to.deep.include({ namespace: 'monitoring' });
    expect(service.metadata.labels).to.include({ release: 'prometheus' });
    expect(service.spec.namespaceSelector).to.deep.equal({ matchNames: ['mcp'] });
    expect(service.spec.endpoints).to.deep.equal([
      { port: 'ops', path: '/metrics', interval: '15s', scrapeTimeout: '10s' },
    ]);
    const selected = manifests.filter(
      ({ kind, metadata }) =>
        kind === 'Service' &&
        Object.entries(service.spec.selector.matchLabels as object).every(
          ([key, value]) => metadata.labels?.[key] === value,
        ),
    );
    expect(names(selected)).to.deep.equal(['Service mcp/forgejo-mcp-operator', 'Service mcp/forgejo-mcp-ops']);
    expect(only(manifests, 'PodMonitor').spec.podMetricsEndpoints[0].port).to.equal('ops');
  });

  it('a disruption budget, by either bound, zero too', () => {
    const budget = (more: object): any =>
      only(render(withMore({ podDisruptionBudget: { enabled: true, ...more } })), 'PodDisruptionBudget').spec;
    expect(budget({ minAvailable: 1 }))
      .to.include({ minAvailable: 1 })
      .and.not.have.property('maxUnavailable');
    expect(budget({ maxUnavailable: 0 }))
      .to.include({ maxUnavailable: 0 })
      .and.not.have.property('minAvailable');
    expect(budget({ maxUnavailable: '50%' })).to.include({ maxUnavailable: '50%' });
  });

  it('a helm test that runs in the gateway’s own image, as the restricted profile demands', () => {
    const pod = only(render(minimal), 'Pod');
    expect(pod.metadata.annotations).to.include({ 'helm.sh/hook': 'test' });
    const [container] = pod.spec.containers;
    expect(container.image).to.equal('registry.example.com/gateway:1.2.3');
    expect(container.securityContext.readOnlyRootFilesystem).to.equal(true);
    expect(container.env).to.deep.equal([
      { name: 'READY_URL', value: 'http://forgejo-mcp-ops.mcp.svc:9090/readyz' },
      { name: 'MCP_URL', value: 'http://forgejo-mcp.mcp.svc:80/mcp' },
      { name: 'AUTH_MODE', value: 'oauth' },
      { name: 'PUBLIC_URL', value: 'https://mcp.example.com' },
    ]);
    const { status, stderr } = spawnSync(process.execPath, ['--check', '-'], {
      input: container.command[2] as string,
      encoding: 'utf8',
    });
    expect(status, stderr).to.equal(0);
    expect(names(render(withMore({ tests: { enabled: false } })))).not.to.include('Pod mcp/forgejo-mcp-test');
  });
});
