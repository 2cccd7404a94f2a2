import { expect } from 'chai';
import { Lease } from '../../src/kube/lease';
import { describeLease } from '../contract/lease';
import { status } from '../support/fake-api';
import { FakeCluster } from '../support/fake-cluster';
import { FakeClock } from '../support/fake-link';

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/n/leases';

describe('a lease', () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = await FakeCluster.start();
    cluster.before = ({ path }, response) => {
      if (!path.includes('/no-such/')) return false;
      status(response, 403, 'Forbidden', 'not here');
      return true;
    };
  });
  afterEach(() => cluster.close());

  describeLease(() => ({
    kube: cluster.api.kube(),
    namespace: 'n',
    read: async (name) => cluster.get(`${LEASES}/${name}`),
    remove: async (name) => cluster.remove(`${LEASES}/${name}`),
  }));

  const lease = () =>
    new Lease({
      kube: cluster.api.kube(),
      namespace: 'n',
      name: 'l',
      holder: 'me',
      duration: 15,
      clock: new FakeClock(),
    });

  it('is renewed with one call, and read again only where that was refused', async () => {
    const one = lease();
    await one.take();
    cluster.api.calls.splice(0);
    await one.take();
    await one.take();
    expect(cluster.api.calls.map(({ method }) => method)).to.deep.equal(['PUT', 'PUT']);
    cluster.put(LEASES, { ...cluster.get(`${LEASES}/l`), metadata: { name: 'l', labels: { by: 'somebody' } } });
    expect(await one.take()).to.equal(true);
    expect(cluster.api.calls.map(({ method }) => method).slice(2)).to.deep.equal(['PUT', 'GET', 'PUT']);
  });

  it('is looked at again after a write that nobody answered', async () => {
    const one = lease();
    await one.take();
    let cut = true;
    cluster.before = (call, response) => {
      if (call.method !== 'PUT' || !cut) return false;
      cut = false;
      cluster.put(LEASES, JSON.parse(call.body)); // it was done, and the answer is lost
      response.destroy();
      return true;
    };
    expect(await one.take().catch(() => 'unknown')).to.equal('unknown');
    expect(await one.take()).to.equal(true);
  });
});
