/** What a Lease promises, against whatever keeps it: the fake of the unit tests, and a real API server. */
import { expect } from 'chai';
import type { KubeClient } from '../../src/kube/client';
import { KubeError } from '../../src/kube/error';
import { Lease } from '../../src/kube/lease';
import { FakeClock } from '../support/fake-link';

export interface LeasePlace {
  readonly kube: KubeClient;
  readonly namespace: string;
  /** The object as it is stored. */
  read(name: string): Promise<any>;
  /** Deletes it, as an administrator may. */
  remove(name: string): Promise<void>;
}

export function describeLease(place: () => LeasePlace): void {
  let count = 0;

  /** Processes that want the same Lease, each with a clock of its own. */
  const candidates = (many: number, duration = 15) => {
    const { kube, namespace } = place();
    const name = `lease-${++count}`;
    return Array.from({ length: many }, (_, i) => {
      const clock = new FakeClock();
      return { name, clock, lease: new Lease({ kube, namespace, name, holder: `process-${i}`, duration, clock }) };
    });
  };

  it('is one’s, of many that ask at once', async () => {
    const all = candidates(12);
    const taken = await Promise.all(all.map(({ lease }) => lease.take()));
    expect(taken.filter(Boolean)).to.have.length(1);
    expect(await Promise.all(all.map(({ lease }) => lease.take()))).to.deep.equal(taken);
    const holder = `process-${taken.indexOf(true)}`;
    expect(all.map(({ lease }) => lease.holder)).to.deep.equal(all.map(() => holder));
  });

  it('is kept as long as it is renewed, whatever another’s clock says', async () => {
    const [one, two] = candidates(2);
    expect(await one.lease.take()).to.equal(true);
    for (let i = 0; i < 5; i++) {
      one.clock.advance(5_000);
      two.clock.advance(14_000);
      expect(await two.lease.take()).to.equal(false);
      expect(await one.lease.take()).to.equal(true);
    }
    two.clock.advance(3_600_000);
    expect(await two.lease.take(), 'it changed since it was seen last').to.equal(false);
  });

  it('goes to another, once, when it was not renewed for its duration; the former holder notices', async () => {
    const [one, ...others] = candidates(8);
    expect(await one.lease.take()).to.equal(true);
    const ask = () => Promise.all(others.map(({ lease }) => lease.take()));
    expect((await ask()).some(Boolean), 'seen for the first time').to.equal(false);
    for (const { clock } of others) clock.advance(15_000);
    const taken = await ask();
    expect(taken.filter(Boolean)).to.have.length(1);
    expect(await one.lease.take()).to.equal(false);
    expect(one.lease.holder).to.equal(`process-${taken.indexOf(true) + 1}`);
  });

  it('is given back at once, and counts how often it changed hands', async () => {
    const [one, two] = candidates(2);
    await one.lease.take();
    await two.lease.release(); // not its own: nothing happens
    expect(await two.lease.take()).to.equal(false);
    await one.lease.release();
    expect(await two.lease.take()).to.equal(true);
    const { spec } = await place().read(one.name);
    expect(spec).to.include({ holderIdentity: 'process-1', leaseDurationSeconds: 15, leaseTransitions: 1 });
    expect(spec.renewTime).to.match(/\.\d{6}Z$/);
  });

  it('is made again where somebody deleted it', async () => {
    const [one] = candidates(1);
    expect(await one.lease.take()).to.equal(true);
    await place().remove(one.name);
    expect(await one.lease.take()).to.equal(true);
    expect((await place().read(one.name)).spec.holderIdentity).to.equal('process-0');
  });

  it('says what it is given to say, and leaves what others say', async () => {
    const { kube, namespace } = place();
    const clock = new FakeClock();
    const common = { kube, namespace, name: `lease-${++count}`, duration: 15, clock };
    await new Lease({ ...common, holder: 'a', labels: { a: 'x' }, annotations: { address: '10.0.0.1:1' } }).take();
    const other = new Lease({ ...common, holder: 'a', labels: { b: 'y' }, annotations: { address: '10.0.0.2:1' } });
    expect(await other.take()).to.equal(true);
    expect((await place().read(common.name)).metadata).to.deep.include({
      labels: { a: 'x', b: 'y' },
      annotations: { address: '10.0.0.2:1' },
    });
  });

  it('rejects where it cannot be told how it stands', async () => {
    const { kube } = place();
    const lease = new Lease({
      kube,
      namespace: 'no-such',
      name: 'x',
      holder: 'x',
      duration: 15,
      clock: new FakeClock(),
    });
    const error = await lease.take().catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(KubeError);
  });
}
