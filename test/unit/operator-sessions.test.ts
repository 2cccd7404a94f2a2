import { expect } from 'chai';
import { replicaName } from '../../src/peers/names';
import { status as answer } from '../support/fake-api';
import {
  ANSWERED,
  anMCPServer,
  anMCPSession,
  aReplicaLease,
  aSessionPod,
  AT,
  operatorBench,
  type OperatorBench,
  podName,
  sessionName,
  SESSIONS_NAMESPACE,
} from '../support/operator-bench';
import { until } from '../support/until';

const MINUTE = 60_000;

describe('the operator’s sessions', () => {
  let bench: OperatorBench;
  beforeEach(async () => {
    bench = await operatorBench();
    bench.cluster.put(AT.servers, anMCPServer('s'));
  });
  afterEach(() => bench.close());

  /** A session with its pod, of a gateway. */
  const put = (n: number, holder: string, more: Record<string, unknown> = {}): void => {
    const pod = bench.cluster.put(AT.pods, aSessionPod(n, holder));
    const place = { namespace: SESSIONS_NAMESPACE, name: podName(n), uid: pod.metadata.uid as string };
    bench.cluster.put(AT.sessions, anMCPSession(n, { ...ANSWERED, holder, pod: place, ...more }));
  };
  const start = async (): Promise<void> => {
    bench.operator.start();
    await bench.pass(4_000);
    expect(bench.operator.leading).to.equal(true);
  };
  const moment = (after: number): string => new Date(bench.clock.wall() + after).toISOString();
  const state = (n: number): unknown => bench.session(n)?.status.state;

  it('are left alone while their holder lives, whatever else is so', async () => {
    const { name } = bench.gateway();
    put(1, name, { expiresAt: moment(-MINUTE) });
    put(2, name, { state: 'Starting' });
    bench.cluster.put(
      AT.sessions,
      anMCPSession(3, { holder: name, pod: { namespace: SESSIONS_NAMESPACE, name: podName(3), uid: 'gone' } }),
    );
    await start();
    await bench.pass(10 * MINUTE);
    expect([1, 2, 3].map(state)).to.deep.equal(['Active', 'Starting', 'Active']);
    expect(bench.pods()).to.have.length(2);
    expect(bench.did.filter((action) => action !== 'status-written')).to.deep.equal([]);
  }).timeout(60_000);

  it('end as expired when they slept past their time, and their records go when they were kept long enough', async () => {
    bench.cluster.put(AT.sessions, anMCPSession(1, { ...ANSWERED, state: 'Hibernated', expiresAt: moment(MINUTE) }));
    await start();
    await bench.pass(30_000);
    expect(state(1)).to.equal('Hibernated');
    await bench.pass(40_000);
    expect(bench.session(1)?.status).to.include({ state: 'Ended', reason: 'expired', epoch: 2 });
    expect(bench.session(1)?.status).to.not.have.any.keys('initialize', 'expiresAt', 'pod');
    const { endedAt } = bench.session(1)?.status as { endedAt: string };
    expect(Date.parse(endedAt)).to.be.within(bench.clock.wall() - MINUTE, bench.clock.wall());
    bench.clock.advance(59 * MINUTE);
    await bench.pass(4_000);
    expect(state(1)).to.equal('Ended');
    await bench.pass(MINUTE);
    expect(bench.session(1)).to.equal(undefined);
    expect(bench.did).to.include.members(['session-expired', 'record-removed']);
  }).timeout(60_000);

  it('of a dead holder sleep once their idle time is over, and their pods go', async () => {
    const gateway = bench.gateway();
    put(1, gateway.name, { admitted: true });
    await start();
    gateway.kill();
    await bench.pass(4 * MINUTE);
    expect(state(1)).to.equal('Active');
    await bench.pass(90_000);
    expect(bench.session(1)?.status).to.include({ state: 'Hibernated', epoch: 2, initialize: '{}' });
    expect(bench.session(1)?.status).to.not.have.any.keys('holder', 'pod', 'admitted');
    expect(Date.parse(bench.session(1)?.status.expiresAt as string)).to.be.above(bench.clock.wall() + 23 * 60 * MINUTE);
    expect(bench.pods()).to.deep.equal([]);
  }).timeout(60_000);

  it('of a dead holder end as lost where their server is stateful, and as start-failed where they had just begun', async () => {
    bench.cluster.put(AT.servers, anMCPServer('s', { stateful: true }));
    const gateway = bench.gateway();
    put(1, gateway.name);
    put(2, gateway.name, { state: 'Starting', initialize: undefined, protocolVersion: undefined });
    await start();
    gateway.kill();
    await bench.pass(40_000);
    expect(bench.session(2)?.status).to.include({ state: 'Ended', reason: 'start-failed' });
    expect(bench.pods()).to.deep.equal([podName(1)]);
    await bench.pass(5 * MINUTE);
    expect(bench.session(1)?.status).to.include({ state: 'Ended', reason: 'lost' });
    expect(bench.pods()).to.deep.equal([]);
  }).timeout(60_000);

  it('of a dead holder sleep at once where their pod is gone, and where a gateway left in order without a taker', async () => {
    const gateway = bench.gateway();
    put(1, gateway.name);
    await start();
    gateway.leave();
    await bench.pass(10_000);
    expect(state(1), 'somebody may take it').to.equal('Active');
    bench.cluster.remove(`${AT.pods}/${podName(1)}`);
    await bench.pass(4_000);
    expect(state(1)).to.equal('Hibernated');
  });

  it('are a taker’s that comes before', async () => {
    const [gateway, other] = [bench.gateway(), bench.gateway()];
    put(1, gateway.name);
    await start();
    gateway.kill();
    await bench.pass(4 * MINUTE);
    put(1, other.name, { epoch: 2 });
    await bench.pass(10 * MINUTE);
    expect(bench.session(1)?.status).to.include({ state: 'Active', epoch: 2, holder: other.name });
    expect(bench.pods()).to.deep.equal([podName(1)]);
  }).timeout(60_000);

  it('that were given up wait for the whole idle time each time, and sleep then; their pods go with that', async () => {
    const gateway = bench.gateway();
    put(1, gateway.name);
    await start();
    put(1, gateway.name, { holder: undefined });
    await bench.pass(4 * MINUTE);
    put(1, gateway.name, { epoch: 2 }); // taken, and given up again
    await bench.pass(2 * MINUTE);
    put(1, gateway.name, { epoch: 2, holder: undefined });
    await bench.pass(4 * MINUTE);
    expect([state(1), bench.pods()]).to.deep.equal(['Active', [podName(1)]]);
    await bench.pass(2 * MINUTE);
    expect([state(1), bench.pods()]).to.deep.equal(['Hibernated', []]);
  }).timeout(60_000);

  it('are a taker’s that comes at the very moment: nothing is done to its pod', async () => {
    const [gateway, other] = [bench.gateway(), bench.gateway()];
    put(1, gateway.name);
    await start();
    gateway.kill();
    let taken = false;
    bench.cluster.before = ({ method, path }) => {
      if (method !== 'PUT' || !path.endsWith(sessionName(1)) || taken) return;
      taken = true;
      const before = bench.session(1);
      bench.cluster.put(AT.sessions, { ...before, status: { ...before?.status, holder: other.name, epoch: 2 } });
    };
    await bench.pass(6 * MINUTE);
    expect(taken).to.equal(true);
    await bench.pass(2 * MINUTE);
    expect(bench.session(1)?.status).to.include({ state: 'Active', epoch: 2, holder: other.name });
    expect(bench.pods()).to.deep.equal([podName(1)]);
  }).timeout(60_000);

  it('are not a dead holder’s where the cache only says so: the Lease is read live', async () => {
    const gateway = bench.gateway();
    put(1, gateway.name, { state: 'Starting', initialize: undefined });
    await start();
    bench.cluster.deaf = true; // no watch brings anything, and the Lease is renewed all the time
    await bench.pass(2 * MINUTE);
    expect(state(1)).to.equal('Starting');
    expect(bench.pods()).to.deep.equal([podName(1)]);
    bench.cluster.hear();
    await bench.pass(MINUTE);
    expect(state(1)).to.equal('Starting');
  }).timeout(60_000);

  it('are not touched where the API cannot say how it stands', async () => {
    const gateway = bench.gateway();
    put(1, gateway.name, { state: 'Starting', initialize: undefined });
    await start();
    gateway.kill();
    bench.cluster.before = ({ method, path }, response) => {
      if (method !== 'GET' || !path.includes('/leases/gateway-')) return false;
      answer(response, 403, 'Forbidden', 'not now');
      return true;
    };
    await bench.pass(MINUTE);
    expect(state(1)).to.equal('Starting');
    expect(bench.log.lines.some((line) => line.includes('operator.reconcile-failed'))).to.equal(true);
  });

  it('are not thought dead after an outage in which nobody could renew', async () => {
    const gateway = bench.gateway();
    put(1, gateway.name, { state: 'Starting', initialize: undefined });
    await start();
    gateway.kill(); // it cannot renew
    let out = true;
    bench.cluster.before = (_call, response) => {
      if (out) response.destroy();
      return out;
    };
    await bench.pass(2 * MINUTE);
    // Calls that fail are tried again in the time of this machine.
    await until('it stepped down', async () => !bench.operator.leading);
    out = false;
    await until('it leads again', async () => {
      await bench.pass(2_000);
      return bench.operator.leading;
    });
    bench.cluster.put(AT.leases, aReplicaLease(gateway.name)); // it renews a moment later
    await bench.pass(8_000);
    expect(state(1)).to.equal('Starting');
  }).timeout(60_000);

  it('are not thought dead after one that was too short to end the leader’s term either', async () => {
    const gateway = bench.gateway();
    put(1, gateway.name, { state: 'Starting', initialize: undefined });
    await start();
    await bench.pass(MINUTE);
    let [isOut, asked] = [false, 0];
    bench.cluster.before = ({ method, path }, response) => {
      if (method === 'GET' && path.endsWith(`/leases/${gateway.name}`)) asked += 1;
      if (!isOut || !path.endsWith('/leases/leader')) return false;
      answer(response, 403, 'Forbidden', 'an outage');
      return true;
    };
    gateway.kill(); // it cannot renew, and runs out 15 s after its last renewal
    await bench.pass(10_000);
    isOut = true;
    await bench.pass(6_000);
    isOut = false;
    await bench.pass(8_000);
    expect([bench.operator.leading, state(1), asked]).to.deep.equal([true, 'Starting', 0]);
    await bench.pass(MINUTE);
    expect(state(1), 'it is dead in the end').to.equal('Ended');
  }).timeout(60_000);

  it('of a holder that nobody knows, and of another install, are told apart', async () => {
    put(1, replicaName());
    const foreign = anMCPSession(2, { state: 'Hibernated', expiresAt: moment(-MINUTE) });
    foreign.metadata.labels['app.kubernetes.io/instance'] = 'another';
    bench.cluster.put(AT.sessions, foreign);
    await start();
    await bench.pass(6 * MINUTE);
    expect([1, 2].map(state)).to.deep.equal(['Hibernated', 'Hibernated']);
    expect(bench.session(2)?.status.epoch).to.equal(1);
  }).timeout(60_000);
});
