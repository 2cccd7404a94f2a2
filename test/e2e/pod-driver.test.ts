/** What only pods can do: faults of cluster and node, the launcher copied in, user namespaces, and streams that are cut. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { BackendLink } from '../../src/backends/contract';
import type { PodBackend } from '../../src/backends/pod/driver';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { never, refusal, specOf } from '../contract/backend';
import { apply, cluster, get, kubectl, onNode, restart } from '../support/cluster';
import { LinkClient } from '../support/link-client';
import { type PodRig, podRig } from '../support/pod-backend';
import { serverSpec, type SpecChanges } from '../support/server-spec';
import { until } from '../support/until';

describe('pod driver', function () {
  this.timeout(120_000);
  let rig: PodRig;
  let backend: PodBackend;

  before(async function () {
    this.timeout(900_000);
    rig = await podRig('child-fixture', 'child-bare-fixture', 'launcher');
  });
  after(() => rig.close());
  beforeEach(() => {
    backend = rig.backend();
  });
  afterEach(async () => {
    await backend.stop();
    await nothingLeft();
  });

  const nothingLeft = (): Promise<true> =>
    until('no pod is left', async () => ((await rig.pods()).length === 0 ? (true as const) : false), 60_000);
  const open = (changes: SpecChanges = {}): Promise<BackendLink> => backend.open(specOf(serverSpec(changes)), never());
  const onlyPod = async (): Promise<any> => {
    const [name] = await rig.pods();
    return get('pod', name.replace('pod/', ''), rig.namespace);
  };

  describe('a start that fails says why and leaves no pod', () => {
    it('an image that is not there: BACKEND_IMAGE', async () => {
      const error = await refusal(open({ pod: { image: 'fmo/no-such-image:test' } }));
      expect(error.code).to.equal('BACKEND_IMAGE');
      expect(error.message).to.match(/administrator/);
      await nothingLeft();
    });

    it('an image name that is none: BACKEND_IMAGE', async () => {
      expect((await refusal(open({ pod: { image: 'NOT A NAME' } }))).code).to.be.oneOf([
        'BACKEND_IMAGE',
        'BACKEND_REFUSED',
      ]);
      await nothingLeft();
    });

    it('no node with enough room: BACKEND_UNSCHEDULABLE at the deadline, with Retry-After', async () => {
      const error = await refusal(open({ startTimeout: 3, pod: { requests: { cpu: '5000' } } }));
      expect(error.code).to.equal('BACKEND_UNSCHEDULABLE');
      expect(error.detail).to.match(/Insufficient cpu/);
      expect(error.retryAfter).to.be.above(0);
      await nothingLeft();
    });

    it('an image without a launcher: BACKEND_CRASHED', async () => {
      const error = await refusal(open({ pod: { image: 'fmo/child-bare-fixture:test' } }));
      expect(error.code).to.equal('BACKEND_CRASHED');
      expect(error.message).to.match(/launcher/);
      await nothingLeft();
    });

    it('too little memory for anything at all: an error, not a hang', async () => {
      const error = await refusal(open({ startTimeout: 15, pod: { requests: {}, limits: { memory: '1Mi' } } }));
      expect(error.code).to.match(/^BACKEND_(CRASHED|START_DEADLINE|ENDED)$/);
      await nothingLeft();
    });

    it('a quota that is used up: BACKEND_REFUSED, told as a quota', async () => {
      await apply({
        apiVersion: 'v1',
        kind: 'ResourceQuota',
        metadata: { name: 'none', namespace: rig.namespace },
        spec: { hard: { pods: '0' } },
      });
      try {
        await until('the quota is known', async () => {
          const { status } = await get('resourcequota', 'none', rig.namespace);
          return status?.hard?.pods === '0';
        });
        const error = await refusal(open());
        expect(error.code).to.equal('BACKEND_REFUSED');
        expect(error.message).to.match(/quota/);
        expect(error.detail).to.match(/exceeded quota/);
      } finally {
        await kubectl(['-n', rig.namespace, 'delete', 'resourcequota', 'none']);
      }
    });

    it('an admission policy that refuses: BACKEND_REFUSED', async () => {
      const error = await refusal(open({ pod: { requests: { memory: '64Mi' }, limits: { memory: '32Mi' } } }));
      expect(error.code).to.equal('BACKEND_REFUSED');
      expect(error.message).to.not.include('32Mi');
    });

    it('an API server that is not there: BACKEND_UNAVAILABLE', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'fmo-kube-'));
      const path = join(folder, 'config');
      const config = readFileSync(cluster().kubeconfig, 'utf8');
      writeFileSync(path, config.replace(/https:\/\/[^\s"']+/, 'https://127.0.0.1:1'), { mode: 0o600 });
      const kube = new KubeClient(new Credentials(path));
      const lost = rig.backend({ kube });
      try {
        const error = await refusal(lost.open(specOf(serverSpec({ startTimeout: 5 })), never()));
        expect(error.code).to.equal('BACKEND_UNAVAILABLE');
        expect((await refusal(lost.check(AbortSignal.timeout(500)))).code).to.equal('BACKEND_UNAVAILABLE');
      } finally {
        await lost.stop();
        await kube.close();
        rmSync(folder, { recursive: true });
      }
    });

    it('a namespace that is not there: BACKEND_REFUSED', async () => {
      const lost = rig.backend({ namespace: 'no-such-namespace' });
      expect((await refusal(lost.open(specOf(serverSpec()), never()))).code).to.equal('BACKEND_REFUSED');
      await lost.stop();
    });
  });

  describe('the end of a child', () => {
    it('is told as oom when the kernel kills it for memory', async () => {
      const client = new LinkClient(await open({ pod: { limits: { memory: '64Mi' } } }));
      await client.send('oom', { mib: 512 });
      expect((await client.link.exited).reason).to.equal('oom');
      await nothingLeft();
    });

    it('is told as deleted when somebody deletes its pod', async () => {
      const client = new LinkClient(await open());
      const pod = await onlyPod();
      await kubectl(['-n', rig.namespace, 'delete', 'pod', pod.metadata.name, '--wait=false']);
      expect((await client.link.exited).reason).to.equal('deleted');
    });

    it('is told as deleted when its pod is removed by force', async () => {
      const client = new LinkClient(await open());
      const pod = await onlyPod();
      await kubectl([
        '-n',
        rig.namespace,
        'delete',
        'pod',
        pod.metadata.name,
        '--force',
        '--grace-period=0',
        '--wait=false',
      ]);
      expect((await client.link.exited).reason).to.equal('deleted');
    });

    it('is told as deleted when its pod is evicted', async () => {
      const client = new LinkClient(await open());
      const { name } = (await onlyPod()).metadata;
      const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: rig.namespace } };
      await kubectl(['create', '--raw', `/api/v1/namespaces/${rig.namespace}/pods/${name}/eviction`, '-f', '-'], {
        input: JSON.stringify(eviction),
      });
      expect((await client.link.exited).reason).to.equal('deleted');
    });
  });

  describe('the pod', () => {
    it('meets the restricted level, has its labels, and no secret in it', async () => {
      const link = await backend.open(
        specOf(serverSpec({ env: { PLAIN: 'not in the spec' } }), { secrets: async () => ({ SECRET: 'the-secret' }) }),
        never(),
      );
      const client = new LinkClient(link);
      await client.text('echo', { text: 'the-message' });
      const pod = await onlyPod();
      expect(pod.metadata.labels['app.kubernetes.io/component']).to.equal('session');
      const all = JSON.stringify(pod) + (await kubectl(['-n', rig.namespace, 'get', 'events', '-o', 'json']));
      for (const private_ of ['the-secret', 'not in the spec', 'the-message']) expect(all).to.not.include(private_);
      expect(rig.log.lines.join('\n')).to.not.match(/the-secret|the-message/);
      const logs = await kubectl(['-n', rig.namespace, 'logs', pod.metadata.name]);
      expect(logs).to.not.be.empty;
      expect(logs).to.not.match(/the-secret|the-message/);
    });

    it('tells its address for the capability', async () => {
      const seen: { ip?: string; instance: string }[] = [];
      await backend.open(
        specOf(serverSpec(), {
          secrets: async (address) => {
            seen.push(address);
            return {};
          },
        }),
        never(),
      );
      const pod = await onlyPod();
      const { name, uid, namespace } = pod.metadata;
      expect(seen).to.deep.equal([{ ip: pod.status.podIP, instance: uid, namespace, name }]);
    });

    it('runs a child from an image without a launcher, which an init container brings', async () => {
      const client = new LinkClient(
        await open({
          pod: { image: 'fmo/child-bare-fixture:test', launcher: 'inject', launcherImage: 'fmo/launcher:test' },
        }),
      );
      expect(await client.text('echo', { text: 'injected' })).to.equal('injected');
      await client.link.close();
    });

    it('gives the child a file with the proxy’s CA, and names it in the environment', async () => {
      const ca = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
      await backend.stop();
      backend = rig.backend({ ca, caEnv: ['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'] });
      const client = new LinkClient(await open());
      const env = JSON.parse(await client.text('env')) as Record<string, string>;
      expect(Object.keys(env).sort()).to.deep.equal(['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE']);
      expect(await client.text('readfile', { path: env.SSL_CERT_FILE })).to.equal(ca);
    });

    it('has a user namespace of its own where a canary proved that the cluster can', async () => {
      await backend.prepare([serverSpec({ pod: { userNamespaces: 'auto' } })]);
      const client = new LinkClient(await open({ pod: { userNamespaces: 'auto' } }));
      const map = await client.text('readfile', { path: '/proc/self/uid_map' });
      expect(map.trim().split(/\s+/)[1]).to.not.equal('0');
      expect(rig.log.lines.join('\n')).to.include('user-namespaces.on');
      await client.link.close();
      const off = new LinkClient(await open({ pod: { userNamespaces: 'off' } }));
      expect((await off.text('readfile', { path: '/proc/self/uid_map' })).trim().split(/\s+/)[1]).to.equal('0');
    });
  });

  describe('a stream that is cut', () => {
    it('by a restart of the API server is restored, and a call in flight is answered once', async () => {
      let broken = 0;
      let restored = 0;
      await backend.stop();
      backend = rig.backend({ observer: { attachBroken: () => broken++, attachRestored: () => restored++ } });
      const client = new LinkClient(await open());
      const id = await client.send('slow', { ms: 4000, steps: 1 });
      await restart('kube-apiserver', 'KILL');
      expect((await client.answer(id, 60_000)).result.content[0].text).to.equal('slept for 4000 ms');
      expect(await client.text('echo', { text: 'goes on' }, 60_000)).to.equal('goes on');
      expect([broken, restored]).to.deep.equal([1, 1]);
      // The watch is back as well: a new session opens, and a removal is noticed.
      const next = new LinkClient(await open());
      await next.link.close();
    });

    it('by a restart of the kubelet is restored', async () => {
      const client = new LinkClient(await open());
      const id = await client.send('slow', { ms: 4000, steps: 1 });
      await restart('kubelet');
      expect((await client.answer(id, 60_000)).result.content[0].text).to.equal('slept for 4000 ms');
    });

    it('by a restart of the container runtime is restored', async () => {
      const client = new LinkClient(await open());
      const id = await client.send('slow', { ms: 4000, steps: 1 });
      await restart('containerd');
      expect((await client.answer(id, 60_000)).result.content[0].text).to.equal('slept for 4000 ms');
    });
  });

  describe('what nobody owns', () => {
    it('is removed when the watch shows a pod of this run that nobody opened', async () => {
      const run = 'a-run-of-its-own';
      await backend.stop();
      backend = rig.backend({ run });
      await backend.check(never());
      const name = await rig.abandon(serverSpec(), run);
      await nothingLeft();
      expect(rig.log.lines.join('\n')).to.include(`"event":"pod.stray","pod":"${name}"`);
    });

    it('is left alone when it is another install’s', async () => {
      const name = await rig.abandon(serverSpec(), 'run', 'another-install');
      expect(await backend.removeOrphans()).to.equal(0);
      expect(await rig.pods()).to.deep.equal([`pod/${name}`]);
      await kubectl(['-n', rig.namespace, 'delete', 'pod', name, '--force', '--grace-period=0']);
    });
  });

  it('leaves no process of a session on the node', async () => {
    const mark = `mark-${rig.namespace}`;
    const client = new LinkClient(await open({ env: { MARK: mark } }));
    await client.text('orphan', { ms: 600_000, session: true });
    const running = async (): Promise<number> =>
      Number(await onNode(['sh', '-c', `grep -lsa 'MARK=${mark}' /proc/[0-9]*/environ | wc -l`]));
    expect(await running()).to.equal(2);
    await client.link.close();
    await until('no process is left', async () => (await running()) === 0);
  });
});
