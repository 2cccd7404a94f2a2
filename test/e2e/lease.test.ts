import { expect } from 'chai';
import { AppError } from '../../src/errors';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { leaseTurn } from '../../src/stores/kubernetes/lease';
import { cluster, createNamespace, deleteNamespaces, get } from '../support/cluster';
import { FakeClock } from '../support/fake-link';

describe('a turn that is a Lease', function () {
  this.timeout(60_000);
  let namespace: string;
  let kube: KubeClient;
  let count = 0;

  before(async () => {
    namespace = await createNamespace('lease');
    kube = new KubeClient(new Credentials(cluster().kubeconfig));
  });

  after(async () => {
    await kube.close();
    await deleteNamespaces(namespace);
  });

  /** Gateways that want the same turn, each with a clock of its own. */
  const gateways = (many: number) => {
    const name = `turn-${++count}`;
    return Array.from({ length: many }, (_, i) => {
      const clock = new FakeClock();
      return { clock, turn: leaseTurn({ kube, namespace, name, holder: `gateway-${i}`, duration: 15, clock }) };
    });
  };

  it('is one gateway’s, of many that ask at once', async () => {
    const all = gateways(12);
    const taken = await Promise.all(all.map(({ turn }) => turn.take()));
    expect(taken.filter(Boolean)).to.have.length(1);
    expect(await Promise.all(all.map(({ turn }) => turn.take()))).to.deep.equal(taken);
  });

  it('is kept as long as it is renewed, whatever another’s clock says', async () => {
    const [one, two] = gateways(2);
    expect(await one.turn.take()).to.equal(true);
    for (let i = 0; i < 5; i++) {
      one.clock.advance(5_000);
      two.clock.advance(14_000);
      expect(await two.turn.take()).to.equal(false);
      expect(await one.turn.take()).to.equal(true);
    }
    two.clock.advance(3_600_000);
    expect(await two.turn.take(), 'it changed since it was seen last').to.equal(false);
  });

  it('goes to another, once, when it was not renewed for its duration', async () => {
    const [one, ...others] = gateways(8);
    expect(await one.turn.take()).to.equal(true);
    const ask = () => Promise.all(others.map(({ turn }) => turn.take()));
    expect((await ask()).some(Boolean), 'seen for the first time').to.equal(false);
    for (const { clock } of others) clock.advance(15_000);
    expect((await ask()).filter(Boolean)).to.have.length(1);
    expect(await one.turn.take(), 'the former holder').to.equal(false);
  });

  it('is given back at once by release, and counts how often it changed hands', async () => {
    const [one, two] = gateways(2);
    await one.turn.take();
    await two.turn.release(); // not its own: nothing happens
    expect(await two.turn.take()).to.equal(false);
    await one.turn.release();
    expect(await two.turn.take()).to.equal(true);
    expect((await get('lease', `turn-${count}`, namespace)).spec).to.include({
      holderIdentity: 'gateway-1',
      leaseDurationSeconds: 15,
      leaseTransitions: 1,
    });
  });

  it('answers STORE_UNAVAILABLE where the namespace is not there', async () => {
    const options = { kube, name: 'turn', holder: 'x', duration: 15, clock: new FakeClock() };
    const error = await leaseTurn({ ...options, namespace: 'no-such-namespace' })
      .take()
      .catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(AppError).with.property('code', 'STORE_UNAVAILABLE');
  });
});
