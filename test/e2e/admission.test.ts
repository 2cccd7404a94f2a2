import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { parse } from 'yaml';
import type { PodSpec } from '../../src/config/server';
import { podManifest, type PodManifestOptions } from '../../src/backends/pod/manifest';
import { warmName } from '../../src/backends/pod/names';
import { claimPatch, warmManifest } from '../../src/backends/pod/warm';
import { Account, type ApiAnswer } from '../support/account';
import { bearer, configFile, of, only } from '../support/chart';
import { apply, busybox, createNamespace, deleteNamespaces, get, kubectl } from '../support/cluster';
import { prepareHelm, render } from '../support/helm';
import { serverSpec } from '../support/server-spec';
import { until } from '../support/until';

/** What of the chart the API server itself holds an install to. */
const ENFORCED = /^(ServiceAccount|Role|RoleBinding|ResourceQuota|LimitRange|ValidatingAdmissionPolicy(Binding)?)$/;
const IMAGES = ['fmo/', 'registry.example.com/child'];

interface Install {
  readonly id: string;
  readonly gateway: Account;
  readonly operator: Account;
  readonly policies: readonly string[];
}

/**
 * The rules for pods, tried with the gateway's own token. The sessions' namespace has no Pod Security level, as one that is not the chart's may have none:
 * so it is these rules that answer.
 */
describe('the admission policy of an install', () => {
  const classes = `admission-${randomBytes(3).toString('hex')}`;
  const namespaces: string[] = [];
  const installs: Install[] = [];
  let sessions: string;
  let own: Install;
  let other: Install;

  const space = async (prefix: string): Promise<string> => {
    const name = await createNamespace(prefix);
    namespaces.push(name);
    return name;
  };

  const install = async (release: string): Promise<Install> => {
    const namespace = await space('admission');
    const manifests = render(
      {
        ...bearer,
        sessions: { namespace: { create: false, name: sessions }, admissionPolicy: { images: IMAGES } },
      },
      { name: release, namespace },
    );
    const enforced = manifests.filter(({ kind }) => ENFORCED.test(kind));
    await apply(...enforced);
    const account = only(enforced, 'ServiceAccount').metadata.name;
    const operator = of('operator', enforced).find(({ kind }) => kind === 'ServiceAccount')?.metadata.name ?? '';
    // Rights that the chart does not give, as if by mistake: the policy holds without the help of RBAC.
    const more = { name: `${release}-by-mistake`, namespace: sessions };
    await apply(
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'Role',
        metadata: more,
        rules: [
          {
            apiGroups: [''],
            resources: ['pods', 'pods/ephemeralcontainers', 'pods/resize'],
            verbs: ['patch', 'update', 'deletecollection'],
          },
        ],
      },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata: more,
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: more.name },
        subjects: [{ kind: 'ServiceAccount', name: account, namespace }],
      },
    );
    const config = parse(configFile(manifests)) as {
      backend: { installId: string };
    };
    const made = {
      id: config.backend.installId,
      gateway: await Account.of(namespace, account),
      operator: await Account.of(namespace, operator),
      policies: enforced.filter(({ kind }) => /^Validating/.test(kind)).map(({ metadata }) => metadata.name),
    };
    installs.push(made);
    return made;
  };

  const manifest = (changes: Partial<PodManifestOptions> = {}, pod: Partial<PodSpec> = {}): any =>
    podManifest({
      name: `mcp-${randomBytes(20).toString('hex')}-${randomBytes(4).toString('hex')}`,
      namespace: sessions,
      install: own.id,
      run: 'run',
      component: 'session',
      server: serverSpec({ pod }),
      session: randomBytes(20).toString('hex'),
      user: 'u1',
      userNamespace: false,
      ...changes,
    });
  const injected = (): any => manifest({}, { launcher: 'inject', launcherImage: 'fmo/launcher:test' });

  const says = ({ status, body }: ApiAnswer): string => `${String(status)} ${(body as { message?: string }).message}`;
  const taken = async (answer: Promise<ApiAnswer>, what?: string): Promise<any> => {
    const got = await answer;
    expect(got.status, `${what ?? 'the pod'}: ${says(got)}`).to.be.oneOf([200, 201]);
    return got.body;
  };
  const path = (name: string, rest = ''): string => `/api/v1/namespaces/${sessions}/pods/${name}${rest}`;

  before(async function () {
    this.timeout(2_400_000);
    prepareHelm.call(this);
    sessions = await space('admission-sessions');
    await apply(
      {
        apiVersion: 'node.k8s.io/v1',
        kind: 'RuntimeClass',
        metadata: { name: classes },
        handler: 'runc',
        overhead: { podFixed: { memory: '8Mi' } },
        scheduling: { nodeSelector: { pool: 'sandboxed' }, tolerations: [{ key: 'sandboxed', operator: 'Exists' }] },
      },
      { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name: classes }, value: 7 },
    );
    await kubectl(['-n', sessions, 'create', 'serviceaccount', 'somebody']);
    own = await install('forgejo-mcp');
    other = await install('other');
    for (const one of installs) {
      const alien = manifest({ install: 'nobody' });
      await until('the policy is in force', async () => (await one.gateway.create(alien)).status !== 201, 30_000);
    }
  });

  after(async function () {
    this.timeout(120_000);
    await Promise.all(installs.flatMap(({ gateway, operator }) => [gateway.close(), operator.close()]));
    const kinds = 'validatingadmissionpolicies,validatingadmissionpolicybindings,runtimeclasses,priorityclasses';
    await kubectl(['delete', kinds, '--ignore-not-found', classes, ...installs.flatMap(({ policies }) => policies)]);
    await deleteNamespaces(...namespaces);
  });

  it('has expressions that the API server finds no fault in', async () => {
    for (const name of new Set(installs.flatMap(({ policies }) => policies))) {
      const seen = async (): Promise<any> => {
        const { metadata, status } = JSON.parse(
          await kubectl(['get', 'validatingadmissionpolicy', name, '-o', 'json']),
        );
        return status?.observedGeneration === metadata.generation ? status : undefined;
      };
      const { typeChecking } = await until(`${name} was checked`, seen, 30_000);
      expect(typeChecking?.expressionWarnings ?? [], name).to.deep.equal([]);
    }
  });

  describe('takes every pod that the gateway makes', () => {
    const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'x', uid: '00000000-0000-0000-0000-000000000000' };
    const toleration = { key: 'agents', operator: 'Exists', effect: 'NoSchedule' };
    const pods: Readonly<Record<string, () => any>> = {
      'an image that has the launcher': () => manifest(),
      'an image that the launcher is copied into': injected,
      'the launcher of the image itself, copied': () => manifest({}, { launcher: 'inject' }),
      'a user namespace': () => manifest({ userNamespace: true }),
      'a user namespace and a copied launcher': () => manifest({ userNamespace: true }, { launcher: 'inject' }),
      'a canary': () => manifest({ component: 'canary', userNamespace: true }),
      'an owner': () => manifest({ owner }),
      'a runtime class, with its overhead and nodes': () => manifest({}, { runtimeClassName: classes }),
      'a priority class': () => manifest({}, { priorityClassName: classes }),
      'nodes and tolerations': () => manifest({}, { nodeSelector: { pool: 'agents' }, tolerations: [toleration] }),
      'pull secrets': () => manifest({}, { imagePullSecrets: ['registry'], imagePullPolicy: 'Always' }),
      'no resources of its own': () => manifest({}, { requests: {}, limits: {} }),
      'a lifetime': () => manifest({ server: serverSpec({ maxLifetime: 3600 }) }),
      'labels and annotations of its server': () =>
        manifest({}, { labels: { 'app.kubernetes.io/instance': 'another', team: 'a' }, annotations: { note: 'x' } }),
      'an allowed image by digest': () =>
        manifest({}, { image: `registry.example.com/child@sha256:${'0'.repeat(64)}` }),
      'everything at once': () =>
        manifest(
          { userNamespace: true, owner, server: serverSpec({ maxLifetime: 60 }) },
          {
            launcher: 'inject',
            runtimeClassName: classes,
            priorityClassName: classes,
            nodeSelector: { pool: 'sandboxed' },
            tolerations: [toleration],
            imagePullSecrets: ['registry'],
          },
        ),
    };
    for (const [what, pod] of Object.entries(pods)) {
      it(what, async () => {
        await taken(own.gateway.create(pod()));
      });
    }
  });

  describe('of the operator', () => {
    const waiting = (changes: Partial<PodSpec> = {}): any =>
      warmManifest({
        ...{ name: warmName(), namespace: sessions, install: own.id, run: 'operator-1', userNamespace: false },
        server: serverSpec({ maxLifetime: 60, pod: changes }),
      });

    it('takes pods that wait for a session, and those that prove what the cluster can', async () => {
      await taken(own.operator.create(waiting()));
      await taken(own.operator.create(waiting({ launcher: 'inject', launcherImage: 'fmo/launcher:test' })));
      await taken(own.operator.create(manifest({ component: 'canary', userNamespace: true })));
    });

    it('refuses a session’s pod, one that has a session before it waits, and one of another shape', async () => {
      const refused = async (pod: any): Promise<string> => says(await own.operator.create(pod));
      expect(await refused(manifest())).to.match(/^4\d\d .*warm or canary for the operator/);
      const early = waiting();
      early.metadata.labels['forgejo-mcp-operator/session'] = 'a'.repeat(40);
      expect(await refused(early)).to.match(/^4\d\d .*has none yet/);
      const foreign = waiting();
      foreign.spec.hostNetwork = true;
      expect(await refused(foreign)).to.match(/^4\d\d .*spec\.hostNetwork/);
    });
  });

  describe('refuses', () => {
    const child = (change: object) => (pod: any) => Object.assign(pod.spec.containers[0], change);
    const spec = (change: object) => (pod: any) => Object.assign(pod.spec, change);
    const security = (change: object) => (pod: any) => Object.assign(pod.spec.containers[0].securityContext, change);
    const podSecurity = (change: object) => (pod: any) => Object.assign(pod.spec.securityContext, change);
    const meta = (change: object) => (pod: any) => Object.assign(pod.metadata, change);
    const label = (change: object) => (pod: any) => Object.assign(pod.metadata.labels, change);
    const volume = (source: object) => (pod: any) => {
      pod.spec.volumes = [{ name: 'launcher', ...source }];
      pod.spec.containers[0].volumeMounts = [{ name: 'launcher', mountPath: '/x', readOnly: true }];
    };
    const another = { name: 'other', image: 'fmo/child-fixture:test', command: ['/launcher'] };

    const COMPONENT = 'the label app.kubernetes.io/component is session or canary';
    const OURS = 'a pod of this install has the labels';
    const CONTAINERS = 'a session pod has the container child and at most the init container launcher';
    const RUNS = 'a session pod runs the launcher and nothing else (command)';
    const FIELDS = "a container's securityContext has";
    const VOLUME = 'a session pod has no volume but the emptyDir of at most 16Mi into which the launcher is copied';
    const MOUNT = "the launcher's volume is mounted at /run/forgejo-mcp-operator/launcher, read-only for the child";
    const USER = 'a session pod has runAsNonRoot, runAsUser 65532 and runAsGroup 65532';
    const SECCOMP = 'a session pod has the seccomp profile RuntimeDefault';
    const DNS = 'a session pod has no DNS: dnsPolicy None and the nameserver 127.0.0.1';
    const CAPABILITIES = 'a container of a session pod drops all capabilities and adds none';
    const IMAGE = 'not among the allowed images (sessions.admissionPolicy.images): ';
    const noField = (path: string): string => `a session pod has no ${path}`;
    const noContainerField = (path: string): string => `a field that no container of a session pod has: ${path}`;

    const bad: readonly [what: string, change: (pod: any) => unknown, message: string][] = [
      ['a pod of another install', label({ 'app.kubernetes.io/instance': 'other' }), OURS],
      ['a pod that is managed by another', label({ 'app.kubernetes.io/managed-by': 'Helm' }), OURS],
      ['a pod without labels', meta({ labels: {} }), OURS],
      [
        'a pod that waits, which is the operator’s to make',
        label({ 'app.kubernetes.io/component': 'warm' }),
        COMPONENT,
      ],
      ['a pod that poses as the gateway', label({ 'app.kubernetes.io/component': 'gateway' }), COMPONENT],
      [
        'a pod that is held by a finalizer',
        meta({ finalizers: ['example.com/keep'] }),
        'a session pod has no finalizers',
      ],
      [
        'a pod whose AppArmor profile is an annotation',
        meta({ annotations: { 'container.apparmor.security.beta.kubernetes.io/child': 'unconfined' } }),
        'a session pod has no annotation that sets an AppArmor or seccomp profile',
      ],
      ['the network of the node', spec({ hostNetwork: true }), noField('spec.hostNetwork')],
      ['the processes of the node', spec({ hostPID: true }), noField('spec.hostPID')],
      ['the shared memory of the node', spec({ hostIPC: true }), noField('spec.hostIPC')],
      [
        'processes shared between containers',
        spec({ shareProcessNamespace: true }),
        noField('spec.shareProcessNamespace'),
      ],
      ['a node of its choice', spec({ nodeName: 'some-node' }), noField('spec.nodeName')],
      ['an affinity', spec({ affinity: { podAntiAffinity: {} } }), noField('spec.affinity')],
      [
        'names of hosts',
        spec({ hostAliases: [{ ip: '10.0.0.1', hostnames: ['forge'] }] }),
        noField('spec.hostAliases'),
      ],
      ['a host name', spec({ hostname: 'gateway' }), noField('spec.hostname')],
      [
        'a device',
        spec({ resourceClaims: [{ name: 'gpu', resourceClaimName: 'gpu' }] }),
        noField('spec.resourceClaims'),
      ],
      [
        'a gate that holds it unscheduled',
        spec({ schedulingGates: [{ name: 'example.com/x' }] }),
        noField('spec.schedulingGates'),
      ],
      [
        'a kernel setting',
        podSecurity({ sysctls: [{ name: 'kernel.shm_rmid_forced', value: '0' }] }),
        noField('spec.securityContext.sysctls'),
      ],
      ['a group of volumes', podSecurity({ fsGroup: 1 }), noField('spec.securityContext.fsGroup')],
      ['more groups', podSecurity({ supplementalGroups: [0] }), noField('spec.securityContext.supplementalGroups')],
      ['a pod that is started again', spec({ restartPolicy: 'Always' }), 'a session pod has restartPolicy: Never'],
      [
        'a pod that takes an hour to end',
        spec({ terminationGracePeriodSeconds: 3600 }),
        'a session pod ends within 30 seconds (terminationGracePeriodSeconds)',
      ],
      [
        'a service account’s token',
        spec({ automountServiceAccountToken: true }),
        'a session pod has automountServiceAccountToken: false',
      ],
      [
        'a token by default',
        spec({ automountServiceAccountToken: undefined }),
        'a session pod has automountServiceAccountToken: false',
      ],
      [
        'another service account',
        spec({ serviceAccountName: 'somebody' }),
        'a session pod runs under the default service account',
      ],
      [
        'Services in the environment',
        spec({ enableServiceLinks: true }),
        'a session pod has enableServiceLinks: false',
      ],
      ['the cluster’s DNS', spec({ dnsPolicy: 'ClusterFirst', dnsConfig: undefined }), DNS],
      ['another name server', spec({ dnsConfig: { nameservers: ['203.0.113.9'] } }), DNS],
      ['a second name server', spec({ dnsConfig: { nameservers: ['127.0.0.1', '203.0.113.9'] } }), DNS],
      ['search domains', spec({ dnsConfig: { nameservers: ['127.0.0.1'], searches: ['svc.cluster.local'] } }), DNS],
      ['another scheduler', spec({ schedulerName: 'mine' }), 'a session pod is placed by the default scheduler'],
      [
        'the priority of the node’s own pods',
        spec({ priorityClassName: 'system-node-critical' }),
        "a session pod has no priority of the system's",
      ],
      ['root', podSecurity({ runAsNonRoot: undefined, runAsUser: 0 }), USER],
      ['a user that is not proved to be none', podSecurity({ runAsNonRoot: undefined }), USER],
      ['another user', podSecurity({ runAsUser: 1000 }), USER],
      ['the group of root', podSecurity({ runAsGroup: 0 }), USER],
      ['no seccomp profile', podSecurity({ seccompProfile: undefined }), SECCOMP],
      ['an unconfined seccomp profile', podSecurity({ seccompProfile: { type: 'Unconfined' } }), SECCOMP],
      [
        'a seccomp profile of the node’s',
        podSecurity({ seccompProfile: { type: 'Localhost', localhostProfile: 'x.json' } }),
        SECCOMP,
      ],
      ['a second container', (pod) => pod.spec.containers.push(another), CONTAINERS],
      ['a container of another name', child({ name: 'main' }), CONTAINERS],
      ['an init container of another name', spec({ initContainers: [another] }), CONTAINERS],
      ['a second init container', spec({ initContainers: [{ ...another, name: 'launcher' }, another] }), CONTAINERS],
      [
        'an init container that stays',
        spec({ initContainers: [{ ...another, name: 'launcher', restartPolicy: 'Always' }] }),
        noContainerField('launcher has restartPolicy'),
      ],
      ['a variable', child({ env: [{ name: 'X', value: 'x' }] }), noContainerField('child has env')],
      [
        'a variable from a Secret',
        child({ env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'registry', key: 'x' } } }] }),
        noContainerField('child has env'),
      ],
      [
        'all of a Secret as variables',
        child({ envFrom: [{ secretRef: { name: 'registry' } }] }),
        noContainerField('child has envFrom'),
      ],
      [
        'a port of the node',
        child({ ports: [{ containerPort: 80, hostPort: 80 }] }),
        noContainerField('child has ports'),
      ],
      [
        'a probe, which the kubelet makes from the node',
        child({ livenessProbe: { httpGet: { host: '169.254.169.254', port: 80 } } }),
        noContainerField('child has livenessProbe'),
      ],
      [
        'a hook',
        child({ lifecycle: { preStop: { exec: { command: ['/x'] } } } }),
        noContainerField('child has lifecycle'),
      ],
      ['arguments for the launcher', child({ args: ['install', '/x'] }), noContainerField('child has args')],
      ['another working directory', child({ workingDir: '/tmp' }), noContainerField('child has workingDir')],
      ['a terminal', child({ tty: true }), noContainerField('child has tty')],
      [
        'a disk as a device',
        (pod) => {
          pod.spec.volumes = [{ name: 'disk', persistentVolumeClaim: { claimName: 'disk' } }];
          pod.spec.containers[0].volumeDevices = [{ name: 'disk', devicePath: '/dev/x' }];
        },
        noContainerField('child has volumeDevices'),
      ],
      ['another program', child({ command: ['/bin/sh'] }), RUNS],
      ['the image’s own program', child({ command: undefined }), RUNS],
      ['the launcher with arguments', child({ command: ['/launcher', 'install', '/x'] }), RUNS],
      ['no standard input', child({ stdin: false }), 'the launcher is spoken to over its standard input (stdin)'],
      [
        'a privileged container',
        security({ privileged: true, allowPrivilegeEscalation: true }),
        'no container of a session pod is privileged or can become so',
      ],
      [
        'one that can gain privileges',
        security({ allowPrivilegeEscalation: true }),
        'no container of a session pod is privileged or can become so',
      ],
      ['an added capability', security({ capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } }), CAPABILITIES],
      ['capabilities that are not dropped', security({ capabilities: undefined }), CAPABILITIES],
      ['a root that can be written', security({ readOnlyRootFilesystem: false }), 'has readOnlyRootFilesystem'],
      ['root in the container', security({ runAsUser: 0, runAsNonRoot: false }), FIELDS],
      [
        'perhaps root in the container',
        security({ runAsNonRoot: false }),
        'a container of a session pod has runAsNonRoot',
      ],
      ['another seccomp profile in the container', security({ seccompProfile: { type: 'Unconfined' } }), FIELDS],
      ['an AppArmor profile', security({ appArmorProfile: { type: 'Unconfined' } }), FIELDS],
      ['SELinux options', security({ seLinuxOptions: { type: 'spc_t' } }), FIELDS],
      ['no securityContext', child({ securityContext: undefined }), FIELDS],
      ['a folder of the node', volume({ hostPath: { path: '/' } }), VOLUME],
      ['a Secret as a volume', volume({ secret: { secretName: 'registry' } }), VOLUME],
      ['a ConfigMap as a volume', volume({ configMap: { name: 'x' } }), VOLUME],
      [
        'a token as a projected volume',
        volume({ projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } }),
        VOLUME,
      ],
      ['the pod’s own data as a volume', volume({ downwardAPI: { items: [] } }), VOLUME],
      ['a disk', volume({ persistentVolumeClaim: { claimName: 'x' } }), VOLUME],
      ['a volume of a driver', volume({ csi: { driver: 'secrets-store.csi.k8s.io' } }), VOLUME],
      ['a network file system', volume({ nfs: { server: '10.0.0.1', path: '/' } }), VOLUME],
      ['an image as a volume', volume({ image: { reference: 'fmo/child-fixture:test' } }), VOLUME],
      ['scratch space', volume({ emptyDir: {} }), VOLUME],
      ['an image from elsewhere', child({ image: 'evil.example.com/fmo/child' }), `${IMAGE}evil.example.com/fmo/child`],
      [
        'an image whose name goes on',
        child({ image: 'registry.example.com/child-of-mine:1' }),
        `${IMAGE}registry.example.com/child-of-mine:1`,
      ],
    ];
    for (const [what, change, message] of bad) {
      it(what, async () => {
        const pod = manifest();
        change(pod);
        expect(says(await own.gateway.create(pod)))
          .to.match(/^4\d\d /)
          .and.include(message);
      });
    }

    const badInjected: readonly [what: string, change: (pod: any) => unknown, message: string][] = [
      ['an init container that runs something else', (pod) => (pod.spec.initContainers[0].command = ['/x']), RUNS],
      [
        'a privileged init container',
        (pod) =>
          Object.assign(pod.spec.initContainers[0].securityContext, {
            privileged: true,
            allowPrivilegeEscalation: true,
          }),
        'no container of a session pod is privileged or can become so',
      ],
      [
        'an init container with a Secret',
        (pod) => (pod.spec.initContainers[0].envFrom = [{ secretRef: { name: 'x' } }]),
        noContainerField('launcher has envFrom'),
      ],
      [
        'an init container’s image from elsewhere',
        (pod) => (pod.spec.initContainers[0].image = 'evil.example.com/x'),
        `${IMAGE}fmo/child-fixture:test, evil.example.com/x`,
      ],
      [
        'the launcher of the image beside the copied one',
        (pod) => (pod.spec.containers[0].command = ['/launcher']),
        RUNS,
      ],
      ['a second volume', (pod) => pod.spec.volumes.push({ name: 'more', hostPath: { path: '/' } }), VOLUME],
      ['memory as a volume', (pod) => (pod.spec.volumes[0].emptyDir.medium = 'Memory'), VOLUME],
      ['a large volume', (pod) => (pod.spec.volumes[0].emptyDir.sizeLimit = '17Mi'), VOLUME],
      ['a launcher that the child can change', (pod) => delete pod.spec.containers[0].volumeMounts[0].readOnly, MOUNT],
      ['a mount elsewhere', (pod) => (pod.spec.containers[0].volumeMounts[0].mountPath = '/etc'), MOUNT],
      ['a part of the volume', (pod) => (pod.spec.containers[0].volumeMounts[0].subPath = 'x'), MOUNT],
    ];
    for (const [what, change, message] of badInjected) {
      it(`${what}, where the launcher is copied`, async () => {
        const pod = injected();
        change(pod);
        expect(says(await own.gateway.create(pod)))
          .to.match(/^4\d\d /)
          .and.include(message);
      });
    }

    it('names every field at once', async () => {
      const pod = manifest();
      Object.assign(pod.spec, { hostNetwork: true, hostPID: true });
      Object.assign(pod.spec.containers[0], { args: ['x'], tty: true });
      expect(says(await own.gateway.create(pod)))
        .to.include('spec.hostNetwork')
        .and.include('spec.hostPID');
      const { hostNetwork: _network, hostPID: _pid, ...rest } = pod.spec;
      expect(says(await own.gateway.create({ ...pod, spec: rest }))).to.match(/child has (args, tty|tty, args)$/);
    });

    it('a pod in another namespace, had it the right', async () => {
      const elsewhere = await space('admission-elsewhere');
      const subject = (
        await own.gateway.ask('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'SelfSubjectReview',
        })
      ).body.status.userInfo.username as string;
      const pods = ['-n', elsewhere, 'create', 'role', 'pods', '--verb=create', '--resource=pods'];
      await kubectl(pods);
      await kubectl(['-n', elsewhere, 'create', 'rolebinding', 'pods', '--role=pods', `--user=${subject}`]);
      const attempt = (): Promise<ApiAnswer> => own.gateway.create(manifest({ namespace: elsewhere }));
      const answer = await until('RBAC has it', async () => {
        const got = await attempt();
        return says(got).includes('RBAC') || says(got).includes('cannot create') ? undefined : got;
      });
      expect(says(answer)).to.include(`pods of this install are made in the namespace ${sessions} only`);
    });
  });

  describe('of a pod that is there', () => {
    let name: string;

    const patch = (...operations: object[]): Promise<ApiAnswer> => own.gateway.ask('PATCH', path(name), operations);
    const refused = async (answer: Promise<ApiAnswer>, message: string): Promise<void> => {
      expect(says(await answer))
        .to.match(/^4\d\d /)
        .and.include(message);
    };

    let uid: string;
    const component = '/metadata/labels/app.kubernetes.io~1component';
    const stays = 'the label app.kubernetes.io/component stays what it is';
    const once = 'labels and owners of a pod change only when a session takes one that waits';
    const annotations = 'annotations and finalizers of a pod stay what they are';

    before(async () => {
      name = warmName();
      const pod = warmManifest({
        ...{ name, namespace: sessions, install: own.id, run: 'operator-1', userNamespace: false },
        server: serverSpec({ pod: { nodeSelector: { 'no-such': 'node' } } }),
      });
      uid = (await taken(own.operator.create(pod, false))).metadata.uid;
    });

    it('refuses to change one that waits but by taking it', async () => {
      await refused(patch({ op: 'replace', path: component, value: 'canary' }), stays);
      await refused(patch({ op: 'add', path: '/metadata/labels/x', value: 'y' }), once);
      await refused(patch({ op: 'add', path: '/metadata/annotations/x', value: 'y' }), annotations);
      const take = claimPatch(uid, { session: 'b'.repeat(40), user: 'u', run: 'r', linkKey: 'k' });
      await refused(patch(...take, { op: 'add', path: '/metadata/annotations/x', value: 'y' }), annotations);
      await refused(
        patch(...take, { op: 'add', path: '/metadata/finalizers', value: ['example.com/keep'] }),
        annotations,
      );
      await refused(
        patch(...take, { op: 'replace', path: '/spec/containers/0/image', value: 'fmo/other:test' }),
        'the specification of a session pod never changes',
      );
    });

    it('lets one session take it, with the patch of a gateway', async () => {
      // One that is there: what belongs to nothing is removed by the garbage collector.
      await apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'owner', namespace: sessions } });
      const { metadata } = await get('configmap', 'owner', sessions);
      const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: metadata.uid as string };
      const take = (session: string): Promise<ApiAnswer> =>
        patch(...claimPatch(uid, { session, user: 'u', run: 'gateway-1', owner, linkKey: 'k1' }));
      const answers = await Promise.all(['b', 'c', 'd'].map((digit) => take(digit.repeat(40))));
      expect(answers.map(({ status }) => status).sort()).to.deep.equal([200, 422, 422]);
      const claimed = answers.find(({ status }) => status === 200)?.body;
      expect(claimed.metadata.labels['app.kubernetes.io/component']).to.equal('session');
      expect(claimed.metadata.ownerReferences).to.deep.equal([owner]);
      for (const lost of answers.filter(({ status }) => status === 422))
        expect(says(lost), 'a lost race is told from what a policy denies').to.not.match(/denied|forbidden/i);
    });

    it('refuses that it changes once more', async () => {
      const session = '/metadata/labels/forgejo-mcp-operator~1session';
      await refused(patch({ op: 'replace', path: session, value: 'e'.repeat(40) }), once);
      await refused(patch({ op: 'remove', path: '/metadata/ownerReferences' }), once);
      await refused(patch({ op: 'replace', path: component, value: 'warm' }), stays);
      await refused(
        patch({ op: 'add', path: '/metadata/annotations/forgejo-mcp-operator~1link-key', value: 'k2' }),
        annotations,
      );
    });

    it('refuses another specification', async () => {
      const message = 'the specification of a session pod never changes';
      await refused(patch({ op: 'replace', path: '/spec/containers/0/image', value: 'fmo/other:test' }), message);
      await refused(patch({ op: 'add', path: '/spec/activeDeadlineSeconds', value: 60 }), message);
      await refused(
        patch({ op: 'add', path: '/spec/tolerations/-', value: { key: 'x', operator: 'Exists' } }),
        message,
      );
    });

    it('refuses an ephemeral container and a resize', async () => {
      const message = 'the specification of a session pod never changes';
      const ephemeralContainers = [{ name: 'debugger', image: 'busybox:test', stdin: true }];
      const debug = own.gateway.ask('PATCH', path(name, '/ephemeralcontainers'), [
        { op: 'add', path: '/spec/ephemeralContainers', value: ephemeralContainers },
      ]);
      await refused(debug, message);
      const resize = own.gateway.ask('PATCH', path(name, '/resize'), [
        { op: 'replace', path: '/spec/containers/0/resources/limits/memory', value: '512Mi' },
      ]);
      await refused(resize, message);
    });

    it('refuses to give it away, to disguise it, to annotate it or to hold it', async () => {
      const instance = '/metadata/labels/app.kubernetes.io~1instance';
      await refused(patch({ op: 'replace', path: instance, value: other.id }), 'would not be any more');
      await refused(patch({ op: 'remove', path: instance }), 'would not be any more');
      await refused(patch({ op: 'replace', path: component, value: 'gateway' }), stays);
      await refused(patch({ op: 'remove', path: component }), stays);
      await refused(patch({ op: 'add', path: '/metadata/annotations/x', value: 'y' }), annotations);
      await refused(patch({ op: 'add', path: '/metadata/finalizers', value: ['example.com/keep'] }), annotations);
    });

    it('lets no other install change or delete it', async () => {
      const message = 'this pod is not of this install';
      await refused(other.gateway.ask('DELETE', path(name, '?dryRun=All')), message);
      const steal = [{ op: 'replace', path: '/metadata/labels/app.kubernetes.io~1instance', value: other.id }];
      await refused(other.gateway.ask('PATCH', path(name), steal), message);
      const all = `/api/v1/namespaces/${sessions}/pods`;
      await refused(other.gateway.ask('DELETE', all), message);
    });

    it('lets its own install delete it', async () => {
      await taken(own.gateway.ask('DELETE', path(name), { gracePeriodSeconds: 0 }));
    });
  });

  describe('is no concern of', () => {
    it('another install, whose pods are taken and judged by its own rules', async () => {
      const theirs = manifest({ install: other.id });
      await taken(other.gateway.create(theirs));
      const answer = await own.gateway.create(theirs);
      expect(says(answer)).to.include(`app.kubernetes.io/instance=${own.id}`).and.not.include(other.id);
      expect(new Set(installs.flatMap(({ policies }) => policies)).size, 'names of cluster-wide objects').to.equal(4);
    });

    it('anybody else’s pods in the sessions’ namespace', async () => {
      const admin = busybox(sessions, 'somebody', { script: 'exec sleep 1' });
      await kubectl(['create', '--dry-run=server', '-f', '-'], { input: JSON.stringify(admin) });
      await kubectl(['-n', sessions, 'create', 'role', 'somebody', '--verb=create,delete', '--resource=pods']);
      const binding = ['create', 'rolebinding', 'somebody', '--role=somebody', `--serviceaccount=${sessions}:somebody`];
      await kubectl(['-n', sessions, ...binding]);
      const somebody = await Account.of(sessions, 'somebody');
      try {
        const privileged = busybox(sessions, 'theirs', { container: { securityContext: { privileged: true } } });
        await until('RBAC has it', async () => (await somebody.create(privileged)).status === 201);
        await taken(somebody.create(privileged, false));
        const deleted = await own.gateway.ask('DELETE', path('theirs'));
        expect(says(deleted)).to.include('this pod is not of this install');
        await taken(somebody.ask('DELETE', path('theirs'), { gracePeriodSeconds: 0 }));
      } finally {
        await somebody.close();
      }
    });
  });
});
