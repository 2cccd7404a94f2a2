import { expect } from 'chai';
import { podManifest, type PodManifestOptions } from '../../src/backends/pod/manifest';
import { serverSpec } from '../support/server-spec';

const SESSION = '0123456789abcdef0123456789abcdef01234567';

const options = (changes: Partial<PodManifestOptions> = {}): PodManifestOptions => ({
  name: `mcp-${SESSION}-00c0ffee`,
  namespace: 'sessions',
  install: 'main',
  run: 'run1',
  component: 'session',
  server: serverSpec({ env: { PLAIN: 'value' } }),
  session: SESSION,
  user: 'u1',
  userNamespace: false,
  ...changes,
});

const security = {
  allowPrivilegeEscalation: false,
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  capabilities: { drop: ['ALL'] },
};
const resources = { requests: { cpu: '10m', memory: '32Mi' }, limits: { memory: '128Mi' } };

describe('pod manifest', () => {
  it('is this, for a server with nothing special', () => {
    expect(podManifest(options())).to.deep.equal({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: `mcp-${SESSION}-00c0ffee`,
        namespace: 'sessions',
        labels: {
          'app.kubernetes.io/name': 'forgejo-mcp',
          'app.kubernetes.io/instance': 'main',
          'app.kubernetes.io/component': 'session',
          'app.kubernetes.io/part-of': 'forgejo-mcp-operator',
          'app.kubernetes.io/managed-by': 'forgejo-mcp-operator',
          'forgejo-mcp-operator/run': 'run1',
          'forgejo-mcp-operator/server': 'fixture',
          'forgejo-mcp-operator/session': SESSION,
          'forgejo-mcp-operator/user': 'u1',
          'vector.dev/exclude': 'true',
        },
        annotations: {
          'fluentbit.io/exclude': 'true',
          'ad.datadoghq.com/logs_exclude': 'true',
          'co.elastic.logs/enabled': 'false',
        },
      },
      spec: {
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 5,
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        dnsPolicy: 'None',
        dnsConfig: { nameservers: ['127.0.0.1'] },
        securityContext: {
          runAsNonRoot: true,
          runAsUser: 65532,
          runAsGroup: 65532,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        containers: [
          {
            name: 'child',
            image: 'fmo/child-fixture:test',
            imagePullPolicy: 'Never',
            command: ['/launcher'],
            stdin: true,
            stdinOnce: false,
            tty: false,
            resources,
            securityContext: security,
          },
        ],
      },
    });
  });

  it('takes everything that a server may ask for', () => {
    const manifest = podManifest(
      options({
        userNamespace: true,
        owner: { apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: 'u-1' },
        server: serverSpec({
          maxLifetime: 3600,
          startTimeout: 60,
          pod: {
            runtimeClassName: 'gvisor',
            priorityClassName: 'low',
            nodeSelector: { pool: 'mcp' },
            tolerations: [{ key: 'mcp', operator: 'Exists' }],
            imagePullSecrets: ['registry'],
            labels: { team: 'a' },
            annotations: { note: 'b' },
          },
        }),
      }),
    );
    expect(manifest.spec).to.deep.include({
      hostUsers: false,
      runtimeClassName: 'gvisor',
      priorityClassName: 'low',
      nodeSelector: { pool: 'mcp' },
      tolerations: [{ key: 'mcp', operator: 'Exists' }],
      imagePullSecrets: [{ name: 'registry' }],
      activeDeadlineSeconds: 3960,
    });
    expect(manifest.metadata?.labels).to.include({ team: 'a' });
    expect(manifest.metadata?.annotations).to.include({ note: 'b' });
    expect(manifest.metadata?.ownerReferences).to.deep.equal([
      { apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: 'u-1' },
    ]);
  });

  it('copies the launcher in by an init container, and mounts it read-only', () => {
    const { spec } = podManifest(
      options({ server: serverSpec({ pod: { launcher: 'inject', launcherImage: 'fmo/launcher:test' } }) }),
    );
    expect(spec?.initContainers).to.deep.equal([
      {
        name: 'launcher',
        image: 'fmo/launcher:test',
        imagePullPolicy: 'Never',
        command: ['/launcher', 'install', '/run/forgejo-mcp-operator/launcher/launcher'],
        resources,
        securityContext: security,
        volumeMounts: [{ name: 'launcher', mountPath: '/run/forgejo-mcp-operator/launcher' }],
      },
    ]);
    expect(spec?.containers[0]?.command).to.deep.equal(['/run/forgejo-mcp-operator/launcher/launcher']);
    expect(spec?.containers[0]?.volumeMounts).to.deep.equal([
      { name: 'launcher', mountPath: '/run/forgejo-mcp-operator/launcher', readOnly: true },
    ]);
    expect(spec?.volumes).to.deep.equal([{ name: 'launcher', emptyDir: { sizeLimit: '16Mi' } }]);
  });

  it('has no volume where the image brings the launcher: any volume costs a session 300 ms', () => {
    const { spec } = podManifest(options());
    expect(spec).to.not.have.any.keys('volumes', 'initContainers');
    expect(spec?.containers[0]).to.not.have.property('volumeMounts');
  });

  it('is a canary without session and user', () => {
    const { session: _session, user: _user, ...rest } = options({ component: 'canary', userNamespace: true });
    const labels = podManifest(rest).metadata?.labels;
    expect(labels).to.include({ 'app.kubernetes.io/component': 'canary' });
    expect(labels).to.not.have.any.keys('forgejo-mcp-operator/session', 'forgejo-mcp-operator/user');
  });

  it('lets no server pose as another install, run or session, nor bring log agents back', () => {
    const plain = podManifest(options()).metadata;
    const posing = podManifest(
      options({
        server: serverSpec({
          pod: {
            labels: {
              'app.kubernetes.io/instance': 'other',
              'forgejo-mcp-operator/run': 'other',
              'forgejo-mcp-operator/session': 'other',
              'vector.dev/exclude': 'false',
            },
            annotations: { 'fluentbit.io/exclude': 'false' },
          },
        }),
      }),
    ).metadata;
    expect(posing).to.deep.equal(plain);
  });

  it('holds no environment at all: what the child needs comes over the claim', () => {
    expect(JSON.stringify(podManifest(options()))).to.not.include('PLAIN');
  });

  it('is the same for the same options, and changes none of them', () => {
    const given = options();
    const before = JSON.stringify(given);
    expect(podManifest(given)).to.deep.equal(podManifest(given));
    expect(JSON.stringify(given)).to.equal(before);
  });
});
