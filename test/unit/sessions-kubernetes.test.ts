/** The session store of the cluster against objects in memory, by the contract; `test/e2e/sessions-store.test.ts` has the real ones. */
import { expect } from 'chai';
import { systemClock } from '../../src/clock';
import { openKubernetesSessionStore } from '../../src/stores/kubernetes/sessions';
import type { SessionStore } from '../../src/sessions/ports';
import { aRecord, sessionStoreContract } from '../contract/session-store';
import { FakeCluster } from '../support/fake-cluster';
import { anAuth, SessionBench } from '../support/fake-sessions';
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

  it('keeps 120 who open sessions at three gateways at once within the cap, and lets in as many as there may be', async () => {
    const benches: SessionBench[] = [];
    for (const self of ['a', 'b', 'c']) {
      const store = open(self);
      await store.view?.synced(AbortSignal.timeout(5_000));
      benches.push(
        new SessionBench({
          store,
          maxTotal: 20,
          holders: { self, isSure: true, doubts: 0, isAlive: async () => true },
        }),
      );
    }
    const opening = Array.from({ length: 120 }, (_, n) => benches[n % 3]?.session(anAuth(String(n))));
    const outcomes = await Promise.allSettled(opening);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).to.have.length(20);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') expect(outcome.reason).to.include({ code: 'SESSION_CAP_INSTALL' });
    expect(benches.reduce((sum, { running }) => sum + running, 0)).to.equal(20);
    const at = '/apis/forgejo-mcp-operator.dev/v1alpha1/namespaces/sessions/mcpsessions';
    const states = (): string[] => cluster.all(at).map(({ status }) => status.state as string);
    await until('those that were refused have ended', async () => !states().includes('Starting'));
    expect(states().filter((state) => state === 'Active')).to.have.length(20);
    for (const { registry, clock, store } of benches) {
      const stopped = registry.stop(0);
      await until('it has stopped', async () => {
        clock.advance(10_000);
        return registry.size === 0;
      });
      await stopped;
      await store.close();
    }
  }).timeout(60_000);
});
