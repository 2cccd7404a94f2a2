/** Pools as the operator keeps them: real loops, caches and election, against objects in memory, with caches that lag behind and answers that are lost. */
import { expect } from 'chai';
import fc from 'fast-check';
import { warmName } from '../../src/backends/pod/names';
import { claimPatch, warmManifest } from '../../src/backends/pod/warm';
import type { ServerSpec } from '../../src/config/server';
import { serverSpec } from '../support/server-spec';
import { json, status } from '../support/fake-api';
import type { Stored } from '../support/fake-cluster';
import {
  anMCPServer,
  anMCPSession,
  aSessionPod,
  AT,
  INSTALL,
  operatorBench,
  type OperatorBench,
  sessionName,
  SESSIONS_NAMESPACE,
} from '../support/operator-bench';

const MINUTE = 60_000;
const WARM = 'app.kubernetes.io/component';

const resolved = (name: string, { pool, pod, paused }: Readonly<Record<string, unknown>>): ServerSpec =>
  serverSpec({
    name,
    startTimeout: 60,
    pool: { min: 0, max: 0, maxAge: 3_600, ...(pool as object) },
    pod: pod as object,
    paused: paused === true,
  });

describe('the operator’s pools', function () {
  this.timeout(60_000);
  let bench: OperatorBench;
  /** What becomes of a pod that is made; it comes up unless a test says otherwise. */
  let node: (pod: Stored) => object | undefined;
  /** Answers a creation in another way. */
  let refuse: ((pod: Stored) => 'refused' | 'unanswered' | 'late' | undefined) | undefined;
  /** Pods whose creation was answered with an error, and that are made all the same, later. */
  let pending: Stored[];
  /** The most pods of each server that waited at any time. */
  let most: Map<string, number>;
  let made: string[];

  beforeEach(async () => {
    refuse = undefined;
    most = new Map();
    pending = [];
    made = [];
    node = () => ({ phase: 'Running', podIP: '10.0.0.9', containerStatuses: [{ state: { running: {} } }] });
    bench = await operatorBench({
      pools: {
        maxPods: 12,
        resolve: (name, spec) => (spec.isRefused === true ? undefined : resolved(name, spec)),
      },
    });
    bench.cluster.before = (call, response) => {
      if (call.method !== 'POST' || call.path !== AT.pods) return;
      const pod = JSON.parse(call.body) as Stored;
      const how = refuse?.(pod);
      if (how === 'refused') {
        status(response, 403, 'Forbidden', 'exceeded quota: q');
        return true;
      }
      if (how === 'late') {
        pending.push(pod);
        status(response, 504, 'Timeout', 'it may be done yet');
        return true;
      }
      pod.metadata.creationTimestamp = new Date(bench.clock.wall()).toISOString();
      const stored = store(pod);
      if (how === 'unanswered') status(response, 500, 'InternalError', 'etcd took too long');
      else json(response, 201, JSON.stringify(stored));
      const next = node(stored);
      if (next !== undefined) bench.cluster.put(AT.pods, { ...stored, status: next });
      return true;
    };
  });
  afterEach(() => bench.close());

  const store = (pod: Stored): Stored => {
    const stored = bench.cluster.put(AT.pods, pod);
    made.push(pod.metadata.name as string);
    count();
    return stored;
  };
  const warm = (server = 's'): Stored[] =>
    bench.cluster
      .all(AT.pods)
      .filter(
        ({ metadata: { labels } }) => labels[WARM] === 'warm' && labels['forgejo-mcp-operator/server'] === server,
      );
  const count = (): void => {
    for (const server of ['s', 'other']) most.set(server, Math.max(most.get(server) ?? 0, warm(server).length));
  };
  const pool = (settings: object, name = 's', pod: object = {}, more: object = {}): void => {
    const generation = Number(bench.cluster.get(`${AT.servers}/${name}`)?.metadata.generation ?? 0) + 1;
    const server = anMCPServer(name, { pool: settings, pod, ...more });
    const before: unknown = bench.cluster.get(`${AT.servers}/${name}`)?.status;
    bench.cluster.put(AT.servers, { ...server, metadata: { ...server.metadata, generation }, status: before });
  };
  const start = async (): Promise<void> => {
    bench.operator.start();
    await bench.pass(6_000);
  };
  /** What a gateway does: whether it has the pod. */
  const claim = async (pod: Stored, session = sessionName(1), run = 'gateway-0123456789abcdef'): Promise<boolean> => {
    const { name, uid } = pod.metadata as { name: string; uid: string };
    const answer = await fetch(`${bench.cluster.api.url}${AT.pods}/${name}`, {
      method: 'PATCH',
      body: JSON.stringify(claimPatch(uid, { session, user: 'u', run })),
    });
    return answer.ok;
  };
  /** A pod that a gateway made for a session. */
  const sessionPod = (n: number): void => {
    bench.cluster.put(AT.pods, aSessionPod(n, 'gateway-0123456789abcdef'));
  };
  const removed = (): number => bench.did.filter((action) => action === 'warm-pod-removed').length;
  const poolStatus = (name = 's'): unknown => bench.cluster.get(`${AT.servers}/${name}`)?.status?.pool;

  it('are filled to the minimum, the first pod alone, and say so', async () => {
    let alone = true;
    node = (pod) => {
      if (made.length === 1) {
        alone = warm().length === 1;
        return undefined;
      }
      return { phase: 'Running', podIP: '10.0.0.9', containerStatuses: [{ state: { running: {} } }], of: pod.kind };
    };
    pool({ min: 4, max: 6 });
    await start();
    expect(made, 'a template that was never seen to come up').to.have.length(1);
    const [first] = warm();
    bench.cluster.put(AT.pods, {
      ...first,
      status: { phase: 'Running', podIP: '10.0.0.9', containerStatuses: [{ state: { running: {} } }] },
    });
    await bench.pass(4_000);
    expect(alone).to.equal(true);
    expect(warm()).to.have.length(4);
    expect(bench.pools.get('s')).to.deep.equal({ ready: 4, starting: 0, desired: 4 });
    expect(poolStatus()).to.deep.equal({ ready: 4, desired: 4 });
    await bench.pass(5 * MINUTE);
    expect(made).to.have.length(4);
  });

  it('are filled again as pods are taken, with more while more are, and with as many as before once fewer are', async () => {
    pool({ min: 3, max: 8 });
    await start();
    for (let i = 0; i < 9; i++) {
      const [next] = warm();
      expect(await claim(next, sessionName(i))).to.equal(true);
      await bench.pass(2_000);
    }
    expect(warm().length).to.be.above(3);
    expect(warm().length).to.be.at.most(8);
    expect(new Set(made).size, 'no name twice').to.equal(made.length);
    await bench.pass(2 * MINUTE);
    expect(warm()).to.have.length(3);
    expect(most.get('s')).to.be.at.most(8);
  });

  it('of no pods at least are begun by sessions that had to have one made', async () => {
    pool({ min: 0, max: 5 });
    await start();
    expect(made).to.deep.equal([]);
    for (let i = 0; i < 5; i++) sessionPod(i);
    await bench.pass(4_000);
    expect(warm().length).to.be.within(1, 5);
    await bench.pass(2 * MINUTE);
    expect(warm()).to.deep.equal([]);
  });

  it('are not begun by sessions that were there before the operator was', async () => {
    pool({ min: 0, max: 5 });
    for (let i = 0; i < 5; i++) sessionPod(i);
    await start();
    expect(made).to.deep.equal([]);
  });

  it('are not filled beyond what was asked for without an answer, and what such a call made is theirs', async () => {
    pool({ min: 1, max: 4 });
    await start();
    bench.cluster.deaf = true;
    refuse = () => 'unanswered';
    pool({ min: 4, max: 4 });
    bench.cluster.hear();
    await bench.pass(3 * MINUTE);
    refuse = undefined;
    await bench.pass(6 * MINUTE);
    expect(warm()).to.have.length(4);
    expect(most.get('s')).to.equal(4);
  });

  it('are counted live before they are filled: what another leader has made is there, though no watch has told of it', async () => {
    refuse = () => 'refused';
    pool({ min: 4, max: 4 });
    await start();
    bench.cluster.deaf = true;
    for (let i = 0; i < 4; i++) {
      const common = { name: warmName(), namespace: SESSIONS_NAMESPACE, install: INSTALL, run: 'operator-2' };
      const pod = warmManifest({
        ...common,
        server: resolved('s', { pool: { min: 4, max: 4 } }),
        userNamespace: false,
      });
      const creationTimestamp = new Date(bench.clock.wall()).toISOString();
      const metadata = { ...pod.metadata, creationTimestamp };
      bench.cluster.put(AT.pods, { ...pod, metadata, status: { phase: 'Running', podIP: '10.0.0.9' } });
    }
    refuse = undefined;
    await bench.pass(MINUTE);
    expect([warm().length, made.length]).to.deep.equal([4, 0]);
  });

  it('wait for a pod that may be made yet, for as long as it may, and ask for another when it cannot be any more', async () => {
    refuse = () => 'late';
    pool({ min: 1, max: 1 });
    await start();
    await bench.pass(MINUTE);
    expect(pending, 'asked for once').to.have.length(1);
    refuse = undefined;
    store(pending.splice(0)[0]);
    await bench.pass(2.5 * MINUTE);
    expect([warm().length, made.length]).to.deep.equal([1, 1]);
    refuse = () => 'late';
    bench.cluster.remove(`${AT.pods}/${made[0]}`);
    await bench.pass(MINUTE);
    expect(pending).to.have.length(1);
    refuse = undefined;
    await bench.pass(3 * MINUTE);
    expect(warm()).to.have.length(1);
  });

  it('never have one too many, with caches that lag behind, answers that are lost, and pods that are taken all the time', async () => {
    const step = fc.oneof(
      fc.constant('deaf' as const),
      fc.constant('hear' as const),
      fc.constant('lose' as const),
      fc.constant('late' as const),
      fc.constant('answer' as const),
      fc.constant('refuse' as const),
      fc.constant('claim' as const),
      fc.constant('claim' as const),
      fc.constant('wait' as const),
      fc.constant('delete' as const),
    );
    pool({ min: 2, max: 5 });
    await start();
    let session = 0;
    const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      for (const what of steps) {
        if (what === 'deaf') bench.cluster.deaf = true;
        else if (what === 'hear') bench.cluster.hear();
        else if (what === 'lose') refuse = () => (made.length % 2 === 0 ? 'unanswered' : undefined);
        else if (what === 'late') refuse = () => (pending.length < 3 ? 'late' : undefined);
        else if (what === 'refuse') refuse = () => 'refused';
        else if (what === 'answer') refuse = undefined;
        else if (what === 'claim') {
          const [pod] = warm();
          if (pod !== undefined)
            await Promise.all([claim(pod, sessionName(++session)), claim(pod, sessionName(++session))]);
        } else if (what === 'delete') {
          const [pod] = warm();
          if (pod !== undefined) bench.cluster.remove(`${AT.pods}/${pod.metadata.name as string}`);
        } else {
          await bench.pass(4_000);
          for (const pod of pending.splice(0)) store(pod);
        }
        expect(warm().length).to.be.at.most(5);
      }
      bench.cluster.hear();
      refuse = undefined;
      for (const pod of pending.splice(0)) store(pod);
      await bench.pass(12_000);
      expect(warm().length).to.be.at.most(5);
    });
    await fc.assert(property, { numRuns: 12 });
    expect(most.get('s'), 'at any time').to.be.at.most(5);
    await bench.pass(7 * MINUTE);
    expect(warm()).to.have.length(2);
    expect(new Set(made).size).to.equal(made.length);
  });

  it('give each pod to one of many that want it at once', async () => {
    pool({ min: 4, max: 4 });
    await start();
    const pods = warm();
    const wins = await Promise.all(
      pods.flatMap((pod, i) => Array.from({ length: 10 }, (_, j) => claim(pod, sessionName(10 * i + j)))),
    );
    expect(wins.filter(Boolean)).to.have.length(4);
  });

  it('are made anew when the pod of their server changes, and not for what comes with the claim', async () => {
    pool({ min: 3, max: 3 });
    await start();
    const before = warm().map(({ metadata }) => metadata.name as string);
    pool({ min: 3, max: 3 }, 's', { image: 'next' });
    await bench.pass(6_000);
    expect(warm()).to.have.length(3);
    expect(warm().filter(({ metadata }) => before.includes(metadata.name as string))).to.deep.equal([]);
    expect(warm().every(({ spec }) => spec.containers[0].image === 'next')).to.equal(true);
    expect(removed()).to.equal(3);
    const server = bench.cluster.get(`${AT.servers}/s`);
    bench.cluster.put(AT.servers, { ...server, spec: { ...server?.spec, env: { A: 'b' } } });
    await bench.pass(6_000);
    expect(removed()).to.equal(3);
  });

  it('whose pods do not come up are tried with one pod at a time, later and later, and say what is wrong', async () => {
    node = () => ({
      phase: 'Pending',
      containerStatuses: [{ state: { waiting: { reason: 'ErrImagePull', message: 'no such image' } } }],
    });
    pool({ min: 5, max: 5 });
    await start();
    await bench.pass(5 * MINUTE);
    expect(most.get('s')).to.equal(1);
    // 10, 20, 40, 80, 160 and then 300 s apart.
    expect(made.length).to.be.within(4, 6);
    expect(bench.log.lines.join('\n')).to.match(/operator\.pool-pod-failed.*ErrImagePull: no such image/);
    expect(poolStatus()).to.deep.equal({ ready: 0, desired: 5 });
    node = () => ({ phase: 'Running', podIP: '10.0.0.9', containerStatuses: [{ state: { running: {} } }] });
    await bench.pass(6 * MINUTE);
    expect(warm()).to.have.length(5);
  });

  it('whose pods never get anywhere are tried again after the time of a start', async () => {
    node = () => undefined;
    pool({ min: 2, max: 2 });
    await start();
    const [first] = made;
    await bench.pass(2 * MINUTE);
    expect(made.length).to.be.within(2, 3);
    expect(warm().map(({ metadata }) => metadata.name)).to.not.include(first);
  });

  it('that a quota refuses are tried again with one pod, later and later', async () => {
    let asked = 0;
    refuse = () => {
      asked++;
      return 'refused';
    };
    pool({ min: 5, max: 5 });
    await start();
    await bench.pass(5 * MINUTE);
    expect(asked).to.be.within(4, 6);
    expect(bench.log.lines.join('\n')).to.include('exceeded quota');
    refuse = undefined;
    await bench.pass(6 * MINUTE);
    expect(warm()).to.have.length(5);
  });

  it('have new pods for old, one after the other', async () => {
    pool({ min: 3, max: 3, maxAge: 600 });
    await start();
    const before = warm().map(({ metadata }) => metadata.name as string);
    await bench.pass(11 * MINUTE);
    expect(warm().filter(({ metadata }) => before.includes(metadata.name as string))).to.deep.equal([]);
    expect(warm()).to.have.length(3);
    expect(removed()).to.equal(3);
  });

  it('have a bound in common', async () => {
    pool({ min: 8, max: 8 });
    pool({ min: 8, max: 8 }, 'other');
    await start();
    await bench.pass(MINUTE);
    expect(warm().length + warm('other').length).to.equal(12);
    pool({ min: 1, max: 1 });
    await bench.pass(MINUTE);
    expect([warm().length, warm('other').length]).to.deep.equal([1, 8]);
  });

  it('are emptied when they are to have no pods, when their server is paused, refused or deleted; and nothing is left', async () => {
    for (const more of [{ paused: true }, { isRefused: true }]) {
      pool({ min: 2, max: 2 }, 's', {}, more);
      await (made.length === 0 ? start() : bench.pass(6_000));
      expect(warm()).to.deep.equal([]);
      pool({ min: 2, max: 2 });
      await bench.pass(6_000);
      expect(warm()).to.have.length(2);
    }
    pool({ min: 2, max: 2 }, 'other');
    await bench.pass(6_000);
    pool({ min: 0, max: 0 });
    await bench.pass(6_000);
    expect([warm().length, warm('other').length]).to.deep.equal([0, 2]);
    expect(poolStatus()).to.equal(undefined);
    expect([...bench.pools.keys()]).to.deep.equal(['other']);
    bench.cluster.remove(`${AT.servers}/other`);
    await bench.pass(6_000);
    expect(bench.cluster.all(AT.pods)).to.deep.equal([]);
    expect([...bench.pools.keys()]).to.deep.equal([]);
  });

  it('are told as they are, whatever a former leader wrote of them', async () => {
    const old = { pool: { ready: 9, desired: 9 } };
    bench.cluster.put(AT.servers, { ...anMCPServer('s', {}), status: old });
    bench.cluster.put(AT.servers, { ...anMCPServer('other', { pool: { min: 1, max: 1 } }), status: old });
    const told: unknown[] = [];
    const { before } = bench.cluster;
    bench.cluster.before = (call, response) => {
      if (call.method === 'PATCH' && call.path.endsWith('/other/status')) told.push(JSON.parse(call.body).status.pool);
      return before(call, response);
    };
    await start();
    expect([poolStatus(), poolStatus('other')]).to.deep.equal([undefined, { ready: 1, desired: 1 }]);
    expect(told, 'never that it has none').to.not.include(null);
  });

  it('leave a pod alone that a session takes in the very moment in which it was to go', async () => {
    pool({ min: 1, max: 1 });
    await start();
    const [pod] = warm();
    const { before } = bench.cluster;
    bench.cluster.before = (call, response) => {
      if (call.method !== 'DELETE') return before(call, response);
      bench.cluster.before = before;
      const labels = { ...pod.metadata.labels, [WARM]: 'session', 'forgejo-mcp-operator/session': sessionName(1) };
      bench.cluster.put(AT.pods, { ...pod, metadata: { ...pod.metadata, labels } });
      return before(call, response);
    };
    pool({ min: 0, max: 0 });
    await bench.pass(6_000);
    expect(bench.pods()).to.deep.equal([pod.metadata.name]);
    expect(removed()).to.equal(0);
  });

  it('do not make an orphan of a pod that waited for long before a session took it', async () => {
    pool({ min: 1, max: 1 });
    await start();
    await bench.pass(5 * MINUTE);
    const [pod] = warm();
    const gateway = bench.gateway();
    bench.cluster.put(AT.sessions, anMCPSession(1, { state: 'Starting', holder: gateway.name }));
    expect(await claim(pod, sessionName(1), gateway.name)).to.equal(true);
    await bench.pass(MINUTE);
    expect(bench.pods()).to.include(pod.metadata.name);
    const { name, uid } = pod.metadata as { name: string; uid: string };
    const place = { namespace: SESSIONS_NAMESPACE, name, uid };
    bench.cluster.put(AT.sessions, anMCPSession(1, { state: 'Active', holder: gateway.name, pod: place }));
    await bench.pass(5 * MINUTE);
    expect(bench.pods()).to.include(pod.metadata.name);
  });

  it('and a session whose pod had waited is looked at when that pod is gone', async () => {
    pool({ min: 1, max: 1 });
    await start();
    const [pod] = warm();
    const gateway = bench.gateway();
    expect(await claim(pod, sessionName(1), gateway.name)).to.equal(true);
    const { name, uid } = pod.metadata as { name: string; uid: string };
    const place = { namespace: SESSIONS_NAMESPACE, name, uid };
    const record = { protocolVersion: '2025-11-25', initialize: '{}', pod: place };
    bench.cluster.put(AT.sessions, anMCPSession(1, { ...record, state: 'Active', holder: gateway.name }));
    await bench.pass(4_000);
    gateway.leave();
    bench.cluster.remove(`${AT.pods}/${name}`);
    await bench.pass(4_000);
    expect(bench.session(1)?.status.state).to.equal('Hibernated');
  });
});
