/** Sessions that take pods which wait: drivers, real launchers, attach streams over WebSocket, and an API server in memory. */
import { expect } from 'chai';
import { PodBackend, type PodBackendOptions } from '../../src/backends/pod/driver';
import { LinkKeys } from '../../src/backends/pod/link-keys';
import { warmName } from '../../src/backends/pod/names';
import type { TakeOutcome } from '../../src/backends/pod/taker';
import { warmManifest } from '../../src/backends/pod/warm';
import type { BackendAddress, BackendLink } from '../../src/backends/contract';
import { never, sessionName, specOf } from '../contract/backend';
import { eventually, launcherBinary } from '../support/launcher';
import { json, status } from '../support/fake-api';
import type { Stored } from '../support/fake-cluster';
import { PodContainers } from '../support/pod-containers';
import { serverSpec, type SpecChanges } from '../support/server-spec';
import { keptLog, type KeptLog } from '../support/silent-log';

const KEYS = [{ id: 'k1', secret: Buffer.alloc(32, 1) }];
const OWNER = { apiVersion: 'forgejo-mcp-operator.dev/v1alpha1', kind: 'MCPSession', name: 's', uid: 'of-the-session' };
const server = (changes: SpecChanges = {}) =>
  serverSpec({ command: ['/bin/cat'], stopGrace: 1, pool: { min: 1, max: 20, maxAge: 3_600 }, ...changes });

describe('sessions that take pods which wait', function () {
  this.timeout(60_000);
  let world: PodContainers;
  let log: KeptLog;
  let outcomes: TakeOutcome[];
  const backends: PodBackend[] = [];

  before(() => void launcherBinary());
  beforeEach(async () => {
    world = await PodContainers.start();
    log = keptLog();
    outcomes = [];
  });
  afterEach(async () => {
    await Promise.all(backends.splice(0).map((backend) => backend.stop()));
    await world.close();
  });

  const gateway = async (run: string, over: Partial<PodBackendOptions> = {}): Promise<PodBackend> => {
    const observer = {
      attachBroken: () => undefined,
      attachRestored: () => undefined,
      taken: (_server: string, outcome: TakeOutcome) => void outcomes.push(outcome),
    };
    const common = { kube: world.cluster.api.kube(), namespace: world.namespace, install: 'i', run, log, observer };
    const backend = new PodBackend({ ...common, linkKeys: new LinkKeys(KEYS), maxStarting: 100, ...over });
    backends.push(backend);
    await backend.check(never());
    return backend;
  };
  /** Pods as the operator makes them, up and known to every gateway. */
  const warm = async (count: number, of = server()): Promise<string[]> => {
    const kube = world.cluster.api.kube();
    const names = Array.from({ length: count }, warmName);
    await Promise.all(
      names.map((name) => {
        const common = { name, namespace: world.namespace, install: 'i', run: 'operator-1' };
        const body = warmManifest({ ...common, server: of, userNamespace: false });
        return kube.core((api, options) => api.createNamespacedPod({ namespace: world.namespace, body }, options));
      }),
    );
    await eventually(() => names.every((name) => pod(name)?.status?.phase === 'Running'));
    await shown();
    return names;
  };
  /** Every gateway knows what there is now: who looks for orphans lists all pods. */
  const shown = async (): Promise<void> => {
    for (const backend of backends) expect(await backend.removeOrphans()).to.equal(0);
  };
  const pod = (name: string): Stored | undefined => world.cluster.get(`${world.pods}/${name}`);
  const names = (): string[] => world.cluster.all(world.pods).map(({ metadata }) => metadata.name as string);
  interface Opened {
    readonly link: BackendLink;
    readonly child: BackendAddress;
    readonly session: string;
  }
  const opened = async (backend: PodBackend, of = server(), signal = never()): Promise<Opened> => {
    let child: BackendAddress | undefined;
    const session = sessionName();
    const secrets = async (address: BackendAddress): Promise<Record<string, string>> => {
      child = address;
      return { SECRET: 'in-no-pod-spec' };
    };
    const link = await backend.open(specOf(of, { session, secrets, epoch: 1, owner: OWNER }), signal);
    if (child === undefined) throw new Error('no address');
    return { link, child, session };
  };
  const echoes = async ({ link }: Pick<Opened, 'link'>, text: string): Promise<void> => {
    let got = '';
    link.onData((bytes) => (got += bytes.toString()));
    await link.write(Buffer.from(text));
    await eventually(() => got === text);
  };

  it('one that waits becomes the session’s own pod in one patch, and is all that a pod of its own would be', async () => {
    const backend = await gateway('gateway-a');
    const [name] = await warm(1);
    const before = structuredClone(pod(name));
    const own = await opened(backend);
    await echoes(own, 'hello\n');
    expect(own.child).to.deep.include({ name, instance: before?.metadata.uid, ip: '10.0.0.9' });
    expect(own.link.phases).to.have.all.keys('take', 'attach', 'claim');
    const after = pod(name);
    expect(after?.metadata.labels).to.include({
      'app.kubernetes.io/component': 'session',
      'forgejo-mcp-operator/session': own.session,
      'forgejo-mcp-operator/user': 'u1',
      'forgejo-mcp-operator/run': 'gateway-a',
    });
    expect(after?.metadata.annotations).to.include({ 'forgejo-mcp-operator/link-key': 'k1' });
    expect(after?.metadata.ownerReferences).to.deep.equal([OWNER]);
    expect(after?.spec).to.deep.equal(before?.spec);
    expect(JSON.stringify(after)).to.not.include('in-no-pod-spec');
    const calls = world.cluster.api.calls.filter(({ method }) => method !== 'GET').map(({ method }) => method);
    expect(calls).to.deep.equal(['POST', 'PATCH']);
    expect(outcomes).to.deep.equal(['hit']);
    await own.link.close();
    expect(names()).to.deep.equal([]);
  });

  it('a child in such a pod is taken over by another gateway like any other', async () => {
    const [a, b] = [await gateway('gateway-a'), await gateway('gateway-b')];
    await warm(1);
    const own = await opened(a);
    own.link.release?.();
    await own.link.exited;
    const { session, child } = own;
    const link = await b.adopt({ session, server: server(), child, epoch: 2 }, AbortSignal.timeout(15_000));
    await echoes({ link }, 'again\n');
    await link.close();
  });

  it('of 30 that start at once on three gateways none gets what another has, 20 get one that waited, and 10 one of their own', async () => {
    const gateways = [await gateway('gateway-a'), await gateway('gateway-b'), await gateway('gateway-c')];
    const waiting = new Set(await warm(20));
    const all = await Promise.all(Array.from({ length: 30 }, (_, i) => opened(gateways[i % 3])));
    expect(new Set(all.map(({ child }) => child.instance)).size).to.equal(30);
    await Promise.all(all.map((one, i) => echoes(one, `${String(i)}\n`)));
    const taken = all.filter(({ child }) => waiting.has(child.name ?? ''));
    const count = (what: TakeOutcome): number => outcomes.filter((one) => one === what).length;
    expect([count('hit'), count('miss')]).to.deep.equal([taken.length, 30 - taken.length]);
    // Those that lose eight times in a row make one of their own while some still wait: seldom, and never wrong.
    expect(taken.length).to.be.within(15, 20);
    for (const { child, session } of taken)
      expect(pod(child.name ?? '')?.metadata.labels['forgejo-mcp-operator/session']).to.equal(session);
    await Promise.all(all.map(({ link }) => link.close()));
    expect(names().filter((name) => !waiting.has(name))).to.deep.equal([]);
  });

  it('none is taken of a server without a pool, of other settings, or of another server', async () => {
    const backend = await gateway('gateway-a');
    const waiting = await warm(1);
    const others = [
      server({ pool: { min: 0, max: 0, maxAge: 3_600 } }),
      server({ pod: { limits: { memory: '64Mi' } } }),
      server({ name: 'another' }),
    ];
    for (const of of others) {
      const { link, child } = await opened(backend, of);
      expect(waiting).to.not.include(child.name);
      await link.close();
    }
    expect(outcomes).to.deep.equal(['miss', 'miss']);
    expect(names()).to.deep.equal(waiting);
  });

  it('one whose launcher does not answer is removed, and the session gets a pod of its own', async () => {
    const backend = await gateway('gateway-a');
    const [name] = await warm(1);
    const upgrade = world.cluster.api.upgrade;
    world.cluster.api.upgrade = (request, socket, head) =>
      request.url?.includes(name) ? void socket.destroy() : upgrade(request, socket, head);
    const running = pod(name);
    world.containers.get(name)?.process.kill('SIGKILL');
    await eventually(() => pod(name)?.status.phase === 'Failed');
    // The cluster has not noticed yet.
    world.cluster.put(world.pods, { ...running, metadata: { ...running?.metadata } });
    await shown();
    const own = await opened(backend);
    expect(own.child.name).to.not.equal(name);
    expect(own.link.phases).to.have.property('create');
    await echoes(own, 'hello\n');
    await eventually(() => !names().includes(name));
    expect(log.lines.join('\n')).to.include('pool.pod-not-used');
    await own.link.close();
  });

  it('one that was being deleted when it was taken is not used', async () => {
    const backend = await gateway('gateway-a');
    const [name] = await warm(1);
    const { before } = world.cluster;
    world.cluster.before = (call, response) => {
      const going = pod(name);
      if (call.method === 'PATCH' && going !== undefined) {
        world.cluster.before = before;
        going.metadata.deletionTimestamp = new Date().toISOString();
      }
      return before(call, response);
    };
    const own = await opened(backend);
    expect(own.child.name).to.not.equal(name);
    expect(outcomes).to.deep.equal(['lost', 'miss']);
    await own.link.close();
  });

  it('what is wrong with taking is no reason for a session not to start, and is logged', async () => {
    const backend = await gateway('gateway-a');
    const waiting = await warm(2);
    const { before } = world.cluster;
    world.cluster.before = (call, response) => {
      if (call.method !== 'PATCH') return before(call, response);
      status(response, 422, 'Invalid', 'ValidatingAdmissionPolicy x with binding x denied request: no');
      return true;
    };
    const own = await opened(backend);
    expect(waiting).to.not.include(own.child.name);
    expect(log.lines.filter((line) => line.includes('pool.not-taken'))).to.have.length(1);
    expect(outcomes).to.deep.equal(['miss']);
    await own.link.close();
    world.cluster.before = before;
    const next = await opened(backend);
    expect(waiting).to.include(next.child.name);
    await next.link.close();
  });

  it('one that the API gave away without being able to say so is nobody’s, and removed', async () => {
    const backend = await gateway('gateway-a');
    const [name] = await warm(1);
    const { before } = world.cluster;
    world.cluster.before = (call, response) => {
      if (call.method !== 'PATCH') return before(call, response);
      const one = pod(name);
      const labels = { ...one?.metadata.labels };
      for (const { op, path, value } of JSON.parse(call.body)) {
        const [, label] = /^\/metadata\/labels\/(.+)$/.exec(path as string) ?? [];
        if (op !== 'test' && label !== undefined) labels[label.replace('~1', '/')] = value;
      }
      world.cluster.put(world.pods, { ...one, metadata: { ...one?.metadata, labels } });
      json(response, 504, JSON.stringify({ kind: 'Status', code: 504, reason: 'Timeout', message: 'late' }));
      return true;
    };
    const own = await opened(backend);
    expect(own.child.name).to.not.equal(name);
    await eventually(() => !names().includes(name));
    await own.link.close();
  });

  it('one that was taken for a start that is given up goes with it', async () => {
    const backend = await gateway('gateway-a');
    const [name] = await warm(1);
    const gone = new AbortController();
    world.cluster.api.upgrade = (_request, socket) => {
      gone.abort(new Error('the client went away'));
      socket.destroy();
    };
    await opened(backend, server(), gone.signal).then(
      () => expect.fail('it was opened'),
      (thrown: unknown) => expect(thrown).to.equal(gone.signal.reason),
    );
    await eventually(() => !names().includes(name));
    expect(names()).to.deep.equal([]);
  });

  it('those that wait are no orphans of a gateway that starts', async () => {
    const waiting = await warm(2);
    const backend = await gateway('gateway-a');
    expect(await backend.removeOrphans()).to.equal(0);
    expect(names()).to.have.members(waiting);
  });
});
