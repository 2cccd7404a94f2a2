import { expect } from 'chai';
import { once } from 'node:events';
import { systemClock } from '../../src/clock';
import { AppError } from '../../src/errors';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { LeaderElection } from '../../src/kube/election';
import { KubeError } from '../../src/kube/error';
import { Lease } from '../../src/kube/lease';
import { leaseTurn } from '../../src/stores/kubernetes/lease';
import { describeLease } from '../contract/lease';
import { cluster, createNamespace, deleteNamespaces, get, kubectl, restart } from '../support/cluster';
import { FakeClock } from '../support/fake-link';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

describe('a Lease', function () {
  this.timeout(60_000);
  let namespace: string;
  let kube: KubeClient;

  before(async () => {
    namespace = await createNamespace('lease');
    kube = new KubeClient(new Credentials(cluster().kubeconfig));
  });

  after(async () => {
    await kube.close();
    await deleteNamespaces(namespace);
  });

  describeLease(() => ({
    kube,
    namespace,
    read: (name) => get('lease', name, namespace),
    remove: async (name) => void (await kubectl(['-n', namespace, 'delete', 'lease', name])),
  }));

  it('makes a turn, which answers STORE_UNAVAILABLE where the namespace is not there', async () => {
    const options = { kube, name: 'turn', holder: 'x', duration: 15, clock: new FakeClock() };
    const error = await leaseTurn({ ...options, namespace: 'no-such-namespace' })
      .take()
      .catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(AppError).with.property('code', 'STORE_UNAVAILABLE');
  });

  /** Candidates with a client each, who take turns at leading; two at once are counted. */
  describe('as the Lease of a leader', () => {
    const count = { leaders: 0, most: 0 };
    let candidates: { name: string; kube: KubeClient; election: LeaderElection; cut: boolean; terms: number }[];
    const leader = () =>
      until('one leads', async () => candidates.find(({ election, cut }) => election.leading && !cut), 20_000);

    before(() => {
      candidates = Array.from({ length: 5 }, (_, i) => {
        const own = new KubeClient(new Credentials(cluster().kubeconfig));
        const name = `candidate-${i}`;
        const lease = new Lease({
          kube: own,
          namespace,
          name: 'leader',
          holder: name,
          duration: 3,
          clock: systemClock,
        });
        const candidate = { name, kube: own, cut: false, terms: 0, election: undefined as unknown as LeaderElection };
        candidate.election = new LeaderElection({
          lease: {
            take: (limits) =>
              candidate.cut ? Promise.reject(new KubeError(0, 'Unreachable', 'cut off')) : lease.take(limits),
            release: (limits) => lease.release(limits),
            get holder() {
              return lease.holder;
            },
          },
          clock: systemClock,
          log: keptLog(),
          retryMs: 300,
          renewDeadlineMs: 2_000,
          lead: async ({ signal }) => {
            count.leaders++;
            count.most = Math.max(count.most, count.leaders);
            candidate.terms++;
            await once(signal, 'abort');
            count.leaders--;
          },
        });
        return candidate;
      });
      for (const { election } of candidates) election.start();
    });

    after(async () => {
      await Promise.all(candidates.map(({ election }) => election.stop()));
      await Promise.all(candidates.map((candidate) => candidate.kube.close()));
    });

    it('is one’s, of five that start at once', async () => {
      await leader();
      expect(count).to.deep.equal({ leaders: 1, most: 1 });
    });

    it('goes to another when its leader is cut off, which has stepped down before', async () => {
      for (let round = 0; round < 3; round++) {
        const former = await leader();
        former.cut = true;
        const next = await leader();
        expect(next.name).to.not.equal(former.name);
        former.cut = false;
      }
      expect(count).to.deep.equal({ leaders: 1, most: 1 });
      expect((await get('lease', 'leader', namespace)).spec.leaseTransitions).to.equal(3);
    });

    it('goes to another at once when its leader stops in order', async () => {
      const former = await leader();
      await former.election.stop();
      const { spec } = await get('lease', 'leader', namespace);
      expect(spec.holderIdentity, 'it was given back, or is another’s by now').to.not.equal(former.name);
      expect((await leader()).name).to.not.equal(former.name);
      expect(count).to.deep.equal({ leaders: 1, most: 1 });
    });

    it('outlasts an API server that restarts', async () => {
      await leader();
      await restart('kube-apiserver', 'KILL');
      await leader();
      expect(count).to.deep.equal({ leaders: 1, most: 1 });
    }).timeout(150_000);
  });
});
