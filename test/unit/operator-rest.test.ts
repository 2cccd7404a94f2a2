import { expect } from 'chai';
import { conditions } from '../../src/operator/server-loop';
import { DEFAULT_TIMES } from '../../src/operator/facts';
import { replicaName } from '../../src/peers/names';
import {
  ANSWERED,
  anMCPServer,
  anMCPSession,
  aReplicaLease,
  aSessionPod,
  AT,
  NAMESPACE,
  operatorBench,
  type OperatorBench,
  podName,
  sessionName,
  SESSIONS_NAMESPACE,
} from '../support/operator-bench';

const MINUTE = 60_000;

describe('the operator’s pods', () => {
  let bench: OperatorBench;
  beforeEach(async () => {
    bench = await operatorBench();
    bench.cluster.put(AT.servers, anMCPServer('s'));
  });
  afterEach(() => bench.close());
  const start = async (): Promise<void> => {
    bench.operator.start();
    await bench.pass(4_000);
  };

  it('go where a dead gateway left them and no session has them', async () => {
    const gateway = bench.gateway();
    bench.cluster.put(AT.pods, aSessionPod(1, gateway.name));
    await start();
    gateway.kill();
    await bench.pass(14_000);
    expect(bench.pods()).to.have.length(1);
    await bench.pass(30_000);
    expect(bench.pods()).to.deep.equal([]);
  });

  it('stay while a gateway that lives makes them, and go when no start can take so long', async () => {
    const gateway = bench.gateway();
    bench.cluster.put(AT.sessions, anMCPSession(1, { state: 'Starting', holder: gateway.name }));
    bench.cluster.put(AT.pods, aSessionPod(1, gateway.name));
    await start();
    await bench.pass(2.5 * MINUTE);
    expect(bench.pods()).to.have.length(1);
    await bench.pass(MINUTE);
    expect(bench.pods()).to.deep.equal([]);
  }).timeout(60_000);

  it('stay where their session takes them, however late the watch tells of it', async () => {
    const gateway = bench.gateway();
    const pod = bench.cluster.put(AT.pods, aSessionPod(1, gateway.name));
    bench.cluster.put(AT.sessions, anMCPSession(1, { state: 'Hibernated' }));
    await start();
    bench.cluster.deaf = true;
    const place = { namespace: SESSIONS_NAMESPACE, name: podName(1), uid: pod.metadata.uid as string };
    bench.cluster.put(AT.sessions, anMCPSession(1, { ...ANSWERED, epoch: 2, holder: gateway.name, pod: place }));
    await bench.pass(5 * MINUTE);
    expect(bench.pods()).to.have.length(1);
  }).timeout(60_000);

  it('go with their session where somebody deleted it, also where its gateway does not', async () => {
    const gateway = bench.gateway();
    const pod = bench.cluster.put(AT.pods, aSessionPod(1, gateway.name));
    const place = { namespace: SESSIONS_NAMESPACE, name: podName(1), uid: pod.metadata.uid as string };
    bench.cluster.put(AT.sessions, anMCPSession(1, { ...ANSWERED, holder: gateway.name, pod: place }));
    await start();
    await bench.pass(MINUTE);
    bench.cluster.remove(`${AT.sessions}/${sessionName(1)}`);
    await bench.pass(50_000);
    expect(bench.pods()).to.have.length(1);
    await bench.pass(20_000);
    expect(bench.pods()).to.deep.equal([]);
  }).timeout(60_000);

  it('of another component, of a session that has another, and later ones of the same name, are told apart', async () => {
    const gateway = bench.gateway();
    const dead = replicaName();
    const mine = bench.cluster.put(AT.pods, aSessionPod(1, dead, 1));
    bench.cluster.put(AT.pods, aSessionPod(1, dead, 2));
    bench.cluster.put(AT.pods, aSessionPod(2, dead, 0, { 'app.kubernetes.io/component': 'pool' }));
    const place = { namespace: SESSIONS_NAMESPACE, name: podName(1, 1), uid: mine.metadata.uid as string };
    bench.cluster.put(AT.sessions, anMCPSession(1, { ...ANSWERED, holder: gateway.name, pod: place }));
    await start();
    await bench.pass(4 * MINUTE);
    expect(bench.pods().sort()).to.deep.equal([podName(1, 1), podName(2)].sort());
  }).timeout(60_000);
});

describe('the operator’s Leases', () => {
  it('of dead gateways go after a while, those of others stay', async () => {
    const bench = await operatorBench();
    const gateway = bench.gateway();
    bench.gateway();
    const foreign = aReplicaLease(replicaName());
    foreign.metadata.labels['app.kubernetes.io/instance'] = 'another';
    bench.cluster.put(AT.leases, foreign);
    bench.cluster.put(AT.leases, { ...aReplicaLease('records-sweeper'), metadata: { name: 'records-sweeper' } });
    bench.operator.start();
    await bench.pass(4_000);
    gateway.kill();
    await bench.pass(MINUTE);
    expect(bench.cluster.all(AT.leases)).to.have.length(5);
    await bench.pass(30_000);
    const names = bench.cluster.all(AT.leases).map(({ metadata }) => metadata.name as string);
    expect(names).to.have.length(4).and.not.include(gateway.name);
    await bench.close();
  }).timeout(60_000);
});

describe('the operator’s servers', () => {
  it('show what is so: accepted or why not, ready or why not, and their sessions', async () => {
    const bench = await operatorBench({
      validate: (name) => (name === 'bad' ? { reason: 'Invalid', message: 'spec.image is wrong' } : undefined),
    });
    for (const name of ['s', 'bad']) bench.cluster.put(AT.servers, anMCPServer(name));
    bench.cluster.put(AT.servers, anMCPServer('asleep', { paused: true }));
    bench.operator.start();
    await bench.pass(6_000);
    const shown = (name: string) => bench.cluster.get(`${AT.servers}/${name}`)?.status;
    const said = (name: string) =>
      Object.fromEntries(
        (shown(name)?.conditions as any[]).map(({ type, status, reason }) => [type, `${status} ${reason}`]),
      );
    const kept = { Drained: 'False NotDraining' };
    expect(said('s')).to.deep.equal({ Accepted: 'True Valid', Ready: 'False NoGateway', ...kept });
    expect(said('bad')).to.deep.equal({ Accepted: 'False Invalid', Ready: 'False NotAccepted', ...kept });
    expect(said('asleep')).to.deep.equal({ Accepted: 'True Valid', Ready: 'False Paused', ...kept });
    expect(shown('bad').conditions[0]).to.include({ message: 'spec.image is wrong', observedGeneration: 1 });

    const { name } = bench.gateway();
    for (let n = 0; n < 7; n++) {
      const state = n < 4 ? 'Active' : n < 6 ? 'Hibernated' : 'Starting';
      bench.cluster.put(AT.sessions, anMCPSession(n, { state, ...(state === 'Hibernated' ? {} : { holder: name }) }));
    }
    await bench.pass(6_000);
    expect(said('s')).to.deep.equal({ Accepted: 'True Valid', Ready: 'True Serving', ...kept });
    expect(shown('s').sessions).to.deep.equal({ active: 4, hibernated: 2, starting: 1 });
    await bench.close();
  });

  it('are written only where something changed, and a burst of sessions is one write', async () => {
    const bench = await operatorBench();
    bench.cluster.put(AT.servers, anMCPServer('s'));
    const { name } = bench.gateway();
    bench.operator.start();
    await bench.pass(10_000);
    const writes = () => bench.did.filter((action) => action === 'status-written').length;
    const before = writes();
    await bench.pass(MINUTE);
    expect(writes()).to.equal(before);
    for (let n = 0; n < 50; n++) bench.cluster.put(AT.sessions, anMCPSession(n, { holder: name }));
    await bench.pass(6_000);
    expect(writes() - before).to.be.at.most(2);
    expect(bench.cluster.get(`${AT.servers}/s`)?.status.sessions.active).to.equal(50);
    await bench.close();
  }).timeout(60_000);

  it('keep the time of a condition until its status changes, and the conditions of others', () => {
    const now = new Date('2026-01-02T03:04:05.678Z');
    const other = { type: 'Other', status: 'True', reason: 'X', message: '', lastTransitionTime: 'then' } as const;
    const first = conditions(
      { generation: 1, status: { conditions: [other] }, times: DEFAULT_TIMES },
      { fault: undefined, gateways: 1, left: 0 },
      now,
    );
    expect(first.map(({ type, lastTransitionTime }) => [type, lastTransitionTime])).to.deep.equal([
      ['Other', 'then'],
      ['Accepted', '2026-01-02T03:04:05Z'],
      ['Ready', '2026-01-02T03:04:05Z'],
      ['Drained', '2026-01-02T03:04:05Z'],
    ]);
    const later = new Date('2027-01-01T00:00:00Z');
    const second = conditions(
      { generation: 2, status: { conditions: first }, times: DEFAULT_TIMES },
      { fault: undefined, gateways: 0, left: 0 },
      later,
    );
    expect(second.map(({ lastTransitionTime }) => lastTransitionTime)).to.deep.equal([
      'then',
      '2026-01-02T03:04:05Z',
      '2027-01-01T00:00:00Z',
      '2026-01-02T03:04:05Z',
    ]);
  });

  it('that are drained say how many sessions are left, until there are none, and no longer once that is taken back', async () => {
    const bench = await operatorBench();
    const { name } = bench.gateway();
    bench.cluster.put(AT.servers, anMCPServer('s'));
    for (const n of [1, 2, 3]) bench.cluster.put(AT.sessions, anMCPSession(n, { holder: name }));
    bench.cluster.put(AT.sessions, anMCPSession(4, { state: 'Hibernated' }));
    bench.cluster.put(AT.sessions, anMCPSession(5, { state: 'Hibernated' }, 'another'));
    bench.operator.start();
    await bench.pass(6_000);
    const said = () =>
      (bench.cluster.get(`${AT.servers}/s`)?.status.conditions as any[]).find(({ type }) => type === 'Drained');
    expect(said()).to.include({ status: 'False', reason: 'NotDraining' });
    bench.cluster.put(AT.servers, {
      ...anMCPServer('s', { drain: true }),
      status: bench.cluster.get(`${AT.servers}/s`)?.status,
    });
    await bench.pass(6_000);
    expect(bench.session(4)?.status, 'one that nobody holds').to.include({ state: 'Ended', reason: 'drained' });
    expect(bench.session(4)?.metadata.labels, 'it is not among the live').to.not.have.property(
      'forgejo-mcp-operator/live',
    );
    expect(bench.session(5)?.status.state, 'one of another server').to.equal('Hibernated');
    expect(bench.session(1)?.status.state, 'its gateway’s to end').to.equal('Active');
    expect(said()).to.include({ status: 'False', reason: 'Draining' });
    expect(said().message).to.match(/left: 3\./);
    for (const n of [1, 2, 3]) bench.cluster.put(AT.sessions, anMCPSession(n, { state: 'Ended', reason: 'drained' }));
    await bench.pass(6_000);
    expect(said()).to.include({ status: 'True', reason: 'Drained' });
    bench.cluster.put(AT.servers, { ...anMCPServer('s'), status: bench.cluster.get(`${AT.servers}/s`)?.status });
    await bench.pass(6_000);
    expect(said()).to.include({ status: 'False', reason: 'NotDraining' });
    await bench.close();
  }).timeout(60_000);
});

describe('the operator’s Secret of certificates', () => {
  it('is filled where it is there, mended where somebody emptied it, and never made', async () => {
    const bench = await operatorBench({ certificateSecret: 'peers' });
    const at = `${AT.secrets}/peers`;
    bench.operator.start();
    await bench.pass(4_000);
    expect(bench.cluster.all(AT.secrets)).to.deep.equal([]);
    bench.cluster.put(AT.secrets, { metadata: { name: 'peers', namespace: NAMESPACE }, data: { mine: 'eA==' } });
    await bench.pass(MINUTE + 4_000);
    expect(Object.keys(bench.cluster.get(at)?.data as object)).to.deep.equal(['mine', 'ca.crt', 'tls.crt', 'tls.key']);
    bench.cluster.put(AT.secrets, { metadata: { name: 'peers', namespace: NAMESPACE } });
    await bench.pass(MINUTE + 4_000);
    expect(Object.keys(bench.cluster.get(at)?.data as object)).to.deep.equal(['ca.crt', 'tls.crt', 'tls.key']);
    expect(bench.log.lines.join('')).to.not.include('PRIVATE KEY');
    await bench.close();
  }).timeout(60_000);
});

describe('an operator that does not lead', () => {
  it('does nothing, and is ready', async () => {
    const bench = await operatorBench();
    bench.cluster.put(AT.leases, {
      metadata: { name: 'leader' },
      spec: { holderIdentity: 'another', leaseDurationSeconds: 3_600 },
    });
    bench.cluster.put(AT.sessions, anMCPSession(1, { state: 'Hibernated', expiresAt: '2001-01-01T00:00:00Z' }));
    bench.operator.start();
    await bench.pass(MINUTE);
    expect([bench.operator.leading, bench.did]).to.deep.equal([false, []]);
    await bench.operator.check();
    await bench.close();
  });
});
