/** The session store of the cluster against objects in memory, by the contract; `test/e2e/sessions-store.test.ts` has the real ones. */
import { expect } from 'chai';
import { systemClock } from '../../src/clock';
import { openKubernetesSessionStore } from '../../src/stores/kubernetes/sessions';
import type { SessionStore } from '../../src/sessions/ports';
import { aRecord, sessionStoreContract } from '../contract/session-store';
import { FakeCluster } from '../support/fake-cluster';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

describe('kubernetes session store, over objects in memory', () => {
  let cluster: FakeCluster;
  const open = (holder = 'self'): SessionStore => {
    const kube = cluster.api.kube();
    const common = { namespace: 'sessions', install: 'install-1', clock: systemClock, log: keptLog() };
    return openKubernetesSessionStore({ ...common, kube, holder });
  };

  beforeEach(async () => {
    cluster = await FakeCluster.start();
  });
  afterEach(() => cluster.close());

  sessionStoreContract({
    hasUpkeep: false,
    hasView: true,
    open: async () => open(),
    reopen: async () => open(),
  });

  it('tells of its own records that others ended, took or removed, and of none that it wrote itself', async () => {
    const [store, other] = [open('a'), open('b')];
    const told: string[] = [];
    store.view?.onChange((name) => told.push(name));
    await store.view?.synced(AbortSignal.timeout(5_000));
    const [ended, taken, removed, own] = [aRecord(), aRecord(), aRecord(), aRecord()];
    for (const record of [ended, taken, removed, own]) await store.insert(record);
    await store.update(own.name, { grant: 'grant-2' });
    await other.view?.end(ended.name, 'user', 5);
    await other.claim(taken.name, 1);
    const at = '/apis/forgejo-mcp-operator.dev/v1alpha1/namespaces/sessions/mcpsessions';
    cluster.remove(`${at}/${removed.name}`);
    await until('all is told', async () => told.length >= 3);
    expect(told).to.have.members([ended.name, taken.name, removed.name]);
    for (const one of [store, other]) await one.close();
  });

  it('watches and lists live records only: those that ended are kept for months', async () => {
    const store = open();
    await store.view?.synced(AbortSignal.timeout(5_000));
    await store.view?.read();
    const lists = cluster.api.calls.filter(({ method }) => method === 'GET');
    expect(lists.length).to.be.above(1);
    for (const { query } of lists) {
      expect(query.get('labelSelector')).to.equal(
        'app.kubernetes.io/instance=install-1,forgejo-mcp-operator/live=true',
      );
    }
    // A consistent read names no version (Kubernetes API concepts, 'Semantics for get and list').
    expect(lists.at(-1)?.query.has('resourceVersion')).to.equal(false);
    await store.close();
  });
});
