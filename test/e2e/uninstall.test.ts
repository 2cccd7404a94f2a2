import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { PodBackend } from '../../src/backends/pod/driver';
import { warmName } from '../../src/backends/pod/names';
import { warmManifest } from '../../src/backends/pod/warm';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { never, specOf } from '../contract/backend';
import { Account } from '../support/account';
import { bearer } from '../support/chart';
import { createNamespace, deleteNamespaces, get, helmCommand, kubectl, loadImage, run } from '../support/cluster';
import { CHART, prepareHelm } from '../support/helm';
import { LinkClient } from '../support/link-client';
import { serverSpec } from '../support/server-spec';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

/**
 * A sessions' namespace that is not the chart's, and a gateway that can remove nothing any more: the pod driver with the token that the chart's
 * account has, held by this test, which outlives the release as no gateway does.
 */
describe('a release that is uninstalled while sessions run in a namespace that stays', () => {
  const release = 'forgejo-mcp';
  let folder: string;
  let namespace: string;
  let sessions: string;

  before(async function () {
    this.timeout(2_400_000);
    prepareHelm.call(this);
    const build = join(__dirname, '../images/build.sh');
    await loadImage(...(await run(build, ['child-fixture'], { deadline: 600_000 })).trim().split('\n'));
    folder = await mkdtemp(join(tmpdir(), 'fmo-uninstall-'));
    namespace = await createNamespace('uninstall');
    sessions = await createNamespace('uninstall-sessions', { 'pod-security.kubernetes.io/enforce': 'restricted' });
  });

  after(async function () {
    this.timeout(240_000);
    await helmCommand(['uninstall', release, '--namespace', namespace, '--ignore-not-found', '--wait']);
    await deleteNamespaces(namespace, sessions);
    await rm(folder, { recursive: true });
  });

  it('leaves no pod and nothing else in it, whoever else is there', async function () {
    this.timeout(240_000);
    const values = join(folder, 'values.json');
    const kubeconfig = join(folder, 'kubeconfig');
    await writeFile(
      values,
      JSON.stringify({
        ...bearer,
        image: { repository: 'fmo/no-such-image', tag: 'test', pullPolicy: 'Never' }, // the driver is in this test
        sessions: { namespace: { create: false, name: sessions }, admissionPolicy: { images: ['fmo/'] } },
      }),
    );
    await helmCommand(['install', release, CHART, '--namespace', namespace, '--values', values]);
    const { data } = await get('configmap', `${release}-gateway`, namespace);
    const { backend: settings } = parse(data['config.yaml'] as string) as {
      backend: { namespace: string; installId: string; owner: string };
    };
    expect(settings.namespace).to.equal(sessions);
    const account = await Account.of(namespace, `${release}-gateway`);
    await writeFile(kubeconfig, account.kubeconfig());
    await account.close();
    const kube = new KubeClient(new Credentials(kubeconfig));
    const { installId: install, owner } = settings;
    const backend = new PodBackend({ kube, namespace: sessions, install, owner, run: 'run', log: keptLog() });
    const pods = async (): Promise<string[]> => {
      const found = await kubectl(['-n', sessions, 'get', 'pods', '-o', 'name']);
      return found.split('\n').filter((name) => name !== '');
    };
    try {
      const specs = [
        serverSpec(),
        serverSpec({ pod: { launcher: 'inject' } }),
        serverSpec({ pod: { userNamespaces: 'auto' } }),
      ];
      const links = await Promise.all(specs.map((server) => backend.open(specOf(server), never())));
      for (const link of links) expect(await new LinkClient(link).text('echo', { text: 'here' })).to.equal('here');
      await until('the canary is gone', async () => (await pods()).length === links.length, 60_000);
      // One that waits, as the operator makes it: nobody is left to remove it either.
      const operator = await Account.of(namespace, `${release}-operator`);
      const { uid } = (await get('configmap', owner, sessions)).metadata as { uid: string };
      const waiting = warmManifest({
        ...{ name: warmName(), namespace: sessions, install, run: 'operator-0123456789abcdef' },
        ...{
          server: serverSpec(),
          userNamespace: false,
          owner: { apiVersion: 'v1', kind: 'ConfigMap', name: owner, uid },
        },
      });
      expect((await operator.create(waiting, false)).status).to.equal(201);
      await operator.close();
      expect(await pods()).to.have.length(links.length + 1);

      await helmCommand(['uninstall', release, '--namespace', namespace, '--wait', '--timeout', '120s']);
      await until('no pod is left', async () => (await pods()).length === 0, 60_000);
    } finally {
      await backend.stop();
      await kube.close();
    }
    const kinds =
      'pods,configmaps,secrets,roles,rolebindings,networkpolicies,resourcequotas,limitranges,serviceaccounts';
    const left = await kubectl(['-n', sessions, 'get', kinds, '-o', 'name']);
    expect(left.trim().split('\n').sort()).to.deep.equal(['configmap/kube-root-ca.crt', 'serviceaccount/default']);
  });
});
