import { expect } from 'chai';
import { request } from 'undici';
import {
  apply,
  busybox,
  cluster,
  createNamespace,
  deleteNamespaces,
  get,
  kubectl,
  podExec,
  podOutput,
  podReady,
  restart,
} from '../support/cluster';
import { until } from '../support/until';

describe('the test cluster', function () {
  this.timeout(90_000);
  let namespace: string;

  before(async () => {
    namespace = await createNamespace('cluster', { 'pod-security.kubernetes.io/enforce': 'restricted' });
  });
  after(() => deleteNamespaces(namespace));

  it('has one Ready node of Kubernetes 1.37 with containerd 2.4', async () => {
    const { items } = JSON.parse(await kubectl(['get', 'nodes', '-o', 'json']));
    expect(items).to.have.length(1);
    expect(items[0].status.conditions.find((c: any) => c.type === 'Ready').status).to.equal('True');
    expect(items[0].status.nodeInfo.kubeletVersion).to.match(/^v1\.37\./);
    expect(items[0].status.nodeInfo.containerRuntimeVersion).to.match(/^containerd:\/\/2\.4\./);
  });

  it('runs a pod of the restricted level, and refuses one that is not', async () => {
    const spec = { containers: [{ name: 'main', image: 'busybox:test', imagePullPolicy: 'Never', command: ['id'] }] };
    const refused = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'refused', namespace }, spec };
    await apply(refused).then(
      () => expect.fail('it was let in'),
      (error: Error) => expect(error.message).to.contain('violates PodSecurity "restricted:latest"'),
    );
    await apply(
      busybox(namespace, 'restricted', { script: 'id -u; touch /x 2>/dev/null || echo not-writable', container: {} }),
    );
    expect(await podOutput(namespace, 'restricted')).to.equal('65532\nnot-writable\n');
  });

  it("gives a pod with hostUsers: false ids that are not the host's", async () => {
    await apply(
      busybox(namespace, 'users', { script: 'cat /proc/self/uid_map; id -u', spec: { hostUsers: false } }),
      busybox(namespace, 'host-users', { script: 'cat /proc/self/uid_map' }),
    );
    const [map, id] = (await podOutput(namespace, 'users')).split('\n');
    const [inside, outside, length] = map.trim().split(/\s+/).map(Number);
    expect(inside).to.equal(0);
    expect(outside).to.be.at.least(65536);
    expect(length).to.equal(65536);
    expect(id).to.equal('65532');
    expect((await podOutput(namespace, 'host-users')).trim().split(/\s+/)[1]).to.equal('0');
  });

  it('resolves the names of the cluster, and says at once that others do not exist', async () => {
    await apply(busybox(namespace, 'resolver'));
    await podReady(namespace, 'resolver');
    const found = await podExec(namespace, 'resolver', ['nslookup', 'kubernetes.default.svc.cluster.local']);
    expect(found).to.contain('Address: 10.96.0.1');
    const missing = await podExec(namespace, 'resolver', ['sh', '-c', 'nslookup forge.example.com || true']);
    expect(missing).to.contain('NXDOMAIN');
  });

  it('reaches pods by Service from inside, and by NodePort from this machine', async () => {
    const script = 'mkdir /tmp/www && echo hello >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www';
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace },
      spec: { type: 'NodePort', selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] },
    };
    await apply(
      busybox(namespace, 'web', { script, ports: [{ name: 'http', containerPort: 8080 }] }),
      service,
      busybox(namespace, 'client'),
    );
    await podReady(namespace, 'web');
    await podReady(namespace, 'client');
    const ask = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 web.${namespace} 80`;
    const inside = await until('the Service answers', async () => podExec(namespace, 'client', ['sh', '-c', ask]));
    expect(inside).to.contain('hello');
    const port = (await get('service', 'web', namespace)).spec.ports[0].nodePort as number;
    const outside = await until('the NodePort answers', async () => request(`http://${cluster().nodeIp}:${port}/`));
    expect(outside.statusCode).to.equal(200);
    expect(await outside.body.text()).to.equal('hello\n');
  });

  it('enforces ResourceQuota, LimitRange and ValidatingAdmissionPolicy', async () => {
    const limited = await createNamespace('limited');
    const policy = `pods-${limited}`;
    try {
      await apply(
        {
          apiVersion: 'v1',
          kind: 'LimitRange',
          metadata: { name: 'l', namespace: limited },
          spec: { limits: [{ type: 'Container', default: { memory: '32Mi' } }] },
        },
        {
          apiVersion: 'v1',
          kind: 'ResourceQuota',
          metadata: { name: 'q', namespace: limited },
          spec: { hard: { pods: '1' } },
        },
        {
          apiVersion: 'admissionregistration.k8s.io/v1',
          kind: 'ValidatingAdmissionPolicy',
          metadata: { name: policy },
          spec: {
            matchConstraints: {
              resourceRules: [
                { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] },
              ],
            },
            validations: [{ expression: "!object.metadata.name.startsWith('forbidden')", message: 'not that name' }],
          },
        },
        {
          apiVersion: 'admissionregistration.k8s.io/v1',
          kind: 'ValidatingAdmissionPolicyBinding',
          metadata: { name: policy },
          spec: {
            policyName: policy,
            validationActions: ['Deny'],
            matchResources: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': limited } } },
          },
        },
      );
      await until(
        'the quota is counted',
        async () => (await get('resourcequota', 'q', limited)).status?.hard?.pods === '1',
      );
      await apply(busybox(limited, 'first'));
      expect((await get('pod', 'first', limited)).spec.containers[0].resources.limits.memory).to.equal('32Mi');
      await apply(busybox(limited, 'second')).then(
        () => expect.fail('it was let in'),
        (error: Error) => expect(error.message).to.contain('exceeded quota'),
      );
      // A new name each time: what was let in before the API server knew the policy is not created again, and only creating is refused.
      let tries = 0;
      await until('the admission policy refuses', async () =>
        apply({
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: `forbidden-${tries++}`, namespace: limited },
        }).then(
          () => false,
          (error: Error) => error.message.includes('not that name'),
        ),
      );
    } finally {
      await kubectl([
        'delete',
        'validatingadmissionpolicy,validatingadmissionpolicybinding',
        policy,
        '--ignore-not-found',
      ]);
      await deleteNamespaces(limited);
    }
  });

  it('keeps pods running while the API server, the kubelet and containerd are restarted', async () => {
    await apply(busybox(namespace, 'survivor'));
    const before = await podReady(namespace, 'survivor');
    for (const component of ['kube-apiserver', 'kubelet', 'containerd'] as const) await restart(component, 'KILL');
    const after = await podReady(namespace, 'survivor');
    expect(after.status.containerStatuses[0].containerID).to.equal(before.status.containerStatuses[0].containerID);
    expect(await until('exec works again', async () => podExec(namespace, 'survivor', ['echo', 'alive']))).to.equal(
      'alive\n',
    );
  });
});
