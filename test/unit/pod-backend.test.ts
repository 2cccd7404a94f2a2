/** The pod driver against an API server that misbehaves on demand; with a real one in test/e2e. */
import type { ServerResponse } from 'node:http';
import { expect } from 'chai';
import { PodBackend } from '../../src/backends/pod/driver';
import { never, refusal, specOf } from '../contract/backend';
import { type ApiCall, FakeApi, json, status, statusBody } from '../support/fake-api';
import { FakeClock } from '../support/fake-link';
import { serverSpec, type SpecChanges } from '../support/server-spec';
import { keptLog, type KeptLog } from '../support/silent-log';
import { until } from '../support/until';

type Pod = Record<string, any>;

describe('pod driver and a cluster that misbehaves', () => {
  let api: FakeApi;
  let clock: FakeClock;
  let log: KeptLog;
  let backend: PodBackend;
  let stream: ServerResponse | undefined;
  let pods: Map<string, Pod>;
  /** Every pod that was ever asked for, as it was asked for. */
  let asked: Pod[];
  let version: number;
  let history: { readonly version: number; readonly line: string }[];
  /** UID of the ConfigMap that owns pods, where there is one. */
  let owner: string | undefined;
  /** What the cluster makes of a pod. */
  let run: (pod: Pod) => void;

  /** As the API does: a watch is told everything since its version. */
  const event = (type: string, object: Pod): void => {
    object.metadata.resourceVersion = String(++version);
    const line = `${JSON.stringify({ type, object })}\n`;
    history.push({ version, line });
    stream?.write(line);
  };
  const change = (pod: Pod, podStatus: object): void => {
    pod.status = { ...pod.status, ...podStatus };
    event('MODIFIED', pod);
  };
  const running = (pod: Pod): void =>
    change(pod, { phase: 'Running', podIP: '10.0.0.9', containerStatuses: [{ state: { running: {} } }] });
  const isCanary = (pod: Pod): boolean => pod.metadata.labels['app.kubernetes.io/component'] === 'canary';

  beforeEach(async () => {
    api = await FakeApi.start();
    clock = new FakeClock();
    log = keptLog();
    pods = new Map();
    asked = [];
    version = 1;
    history = [];
    stream = undefined;
    owner = undefined;
    run = running;
    api.handle = serve;
    api.refuse(403, statusBody(403, 'Forbidden', 'pods/attach is forbidden'));
    backend = new PodBackend({ kube: api.kube(), namespace: 'n', install: 'i', run: 'r', log, clock });
    await backend.check(never());
    await until('the watch is open', async () => stream !== undefined);
  });
  afterEach(async () => {
    // A removal that has to be tried again waits on the clock, which nobody else moves any more.
    let stopped = false;
    void backend.stop().then(() => (stopped = true));
    await until('the driver has stopped', async () => {
      if (!stopped) clock.advance(100);
      return stopped;
    });
    await api.close();
    expect([...pods.keys()], 'pods that are left').to.be.empty;
    expect(clock.timers, 'timers that are left').to.equal(0);
  });

  function serve(call: ApiCall, response: ServerResponse): void {
    const name = call.path.split('/').at(-1) ?? '';
    if (call.method === 'POST') {
      const pod = JSON.parse(call.body) as Pod;
      asked.push(structuredClone(pod));
      create(pod, response);
    } else if (call.method === 'DELETE') {
      const pod = pods.get(name);
      if (pod === undefined) return status(response, 404, 'NotFound', 'not there');
      pods.delete(name);
      json(response, 200, '{"kind":"Status"}');
      event('DELETED', pod);
    } else if (call.path === '/api/v1/namespaces/n/configmaps/o') {
      if (owner === undefined) return status(response, 404, 'NotFound', 'configmaps "o" not found');
      json(response, 200, JSON.stringify({ metadata: { name: 'o', uid: owner } }));
    } else if (call.query.has('watch')) {
      stream = response;
      response.writeHead(200).flushHeaders();
      const since = Number(call.query.get('resourceVersion'));
      for (const past of history) if (past.version > since) response.write(past.line);
    } else {
      json(
        response,
        200,
        JSON.stringify({ metadata: { resourceVersion: String(version) }, items: [...pods.values()] }),
      );
    }
  }
  let create = made;
  function made(pod: Pod, response: ServerResponse): void {
    pod.metadata.uid = `uid-${pod.metadata.name}`;
    pod.metadata.resourceVersion = String(++version);
    pod.status = { phase: 'Pending' };
    pods.set(pod.metadata.name as string, pod);
    json(response, 201, JSON.stringify(pod));
    event('ADDED', pod);
    run(pod);
  }
  beforeEach(() => (create = made));

  const open = (changes: SpecChanges = {}): ReturnType<typeof refusal> =>
    refusal(backend.open(specOf(serverSpec(changes)), never()));
  const auto: SpecChanges = { pod: { userNamespaces: 'auto' } };
  const sessions = (): Pod[] => asked.filter((pod) => !isCanary(pod));

  it('tells which right is missing when it may not attach, and removes the pod', async () => {
    const error = await open();
    expect(error.code).to.equal('BACKEND_REFUSED');
    expect(error.message).to.include('pods/attach');
    await until('the pod is gone', async () => pods.size === 0);
  });

  it('refuses a session that demands a user namespace of an API server that drops the field', async () => {
    create = (pod, response) => {
      delete pod.spec.hostUsers;
      made(pod, response);
    };
    const error = await open({ pod: { userNamespaces: 'on' } });
    expect(error.code).to.equal('BACKEND_REFUSED');
    expect(error.message).to.include('userNamespaces');
  });

  describe('an owner of pods', () => {
    beforeEach(async () => {
      await backend.stop();
      backend = new PodBackend({ kube: api.kube(), namespace: 'n', install: 'i', run: 'r', owner: 'o', log, clock });
    });

    it('owns sessions and canaries, and is read for each: another of the same name owns what comes after it', async () => {
      owner = 'first';
      await open(auto);
      owner = 'second';
      await open(auto);
      const reference = { apiVersion: 'v1', kind: 'ConfigMap', name: 'o' };
      expect(asked.map((pod) => pod.metadata.ownerReferences)).to.deep.equal([
        [{ ...reference, uid: 'first' }],
        [{ ...reference, uid: 'first' }],
        [{ ...reference, uid: 'second' }],
      ]);
    });

    it('that is not there means that the install is going: BACKEND_REFUSED, no pod is made, and nothing is proved', async () => {
      const error = await open(auto);
      expect(error.code).to.equal('BACKEND_REFUSED');
      expect(error.detail).to.include('configmaps "o" not found');
      expect(asked).to.deep.equal([]);
      owner = 'there';
      await open(auto);
      expect(sessions().map((pod) => pod.spec.hostUsers)).to.deep.equal([false]);
    });
  });

  describe('user namespaces on auto', () => {
    it('are proved once, and used', async () => {
      await Promise.all([open(auto), open(auto)]);
      expect(asked.filter(isCanary)).to.have.length(1);
      expect(sessions().map((pod) => pod.spec.hostUsers)).to.deep.equal([false, false]);
      expect(log.lines.join('\n')).to.include('user-namespaces.on');
    });

    it('are off where the API server drops the field', async () => {
      create = (pod, response) => {
        delete pod.spec.hostUsers;
        made(pod, response);
      };
      await open(auto);
      await open(auto);
      expect(asked.filter(isCanary)).to.have.length(1);
      expect(sessions().map((pod) => pod.spec.hostUsers)).to.deep.equal([undefined, undefined]);
      expect(log.lines.join('\n')).to.match(/user-namespaces\.off.*does not know/);
    });

    it('are off where the runtime cannot make the sandbox', async () => {
      run = (pod) => {
        if (!isCanary(pod)) return running(pod);
        pod.spec.nodeName = 'n1';
        change(pod, { containerStatuses: [{ state: { waiting: { reason: 'ContainerCreating' } } }] });
      };
      const opened = open(auto);
      await until('the canary waits', async () => asked.length === 1);
      await new Promise((resolve) => setTimeout(resolve, 50));
      clock.advance(20_000);
      await opened;
      expect(sessions().map((pod) => pod.spec.hostUsers)).to.deep.equal([undefined]);
      expect(log.lines.join('\n')).to.match(/user-namespaces\.off.*ContainerCreating/);
    });

    it('are on where the sandbox is there and only the image takes long', async () => {
      run = (pod) => {
        if (!isCanary(pod)) return running(pod);
        pod.spec.nodeName = 'n1';
        change(pod, { conditions: [{ type: 'PodReadyToStartContainers', status: 'True' }] });
      };
      const opened = open(auto);
      await until('the canary waits', async () => asked.length === 1);
      await new Promise((resolve) => setTimeout(resolve, 50));
      clock.advance(20_000);
      await opened;
      expect(sessions().map((pod) => pod.spec.hostUsers)).to.deep.equal([false]);
    });

    it('are off where an admission policy forbids them', async () => {
      create = (pod, response) =>
        isCanary(pod) ? status(response, 403, 'Forbidden', 'hostUsers is not allowed here') : made(pod, response);
      await open(auto);
      expect(sessions().map((pod) => pod.spec.hostUsers)).to.deep.equal([undefined]);
    });

    it('are neither on nor off where nothing was proved: the session is told why, and the next one tries again', async () => {
      create = (_pod, response) => status(response, 403, 'Forbidden', 'exceeded quota: q');
      expect((await open(auto)).message).to.match(/quota/);
      create = made;
      run = (pod) =>
        isCanary(pod)
          ? change(pod, { containerStatuses: [{ state: { waiting: { reason: 'ErrImagePull', message: 'm' } } }] })
          : running(pod);
      expect((await open(auto)).code).to.equal('BACKEND_IMAGE');
      await backend.prepare([serverSpec(auto)]);
      expect(log.lines.join('\n')).to.include('user-namespaces.not-proved');
      run = running;
      await open(auto);
      expect(sessions().map((pod) => pod.spec.hostUsers)).to.deep.equal([false]);
    });
  });

  it('gives up a start whose turn never comes, without a pod', async () => {
    await backend.stop();
    stream = undefined;
    backend = new PodBackend({ kube: api.kube(), namespace: 'n', install: 'i', run: 'r', log, clock, maxStarting: 1 });
    run = () => undefined;
    const first = open({ startTimeout: 100 });
    await until('the first has its turn', async () => asked.length === 1);
    const second = open({ startTimeout: 10 });
    clock.advance(10_000);
    expect((await second).code).to.equal('BACKEND_START_DEADLINE');
    expect(asked).to.have.length(1);
    clock.advance(100_000);
    expect((await first).code).to.equal('BACKEND_START_DEADLINE');
  });

  it('tells a pod that is deleted while it starts', async () => {
    run = (pod) => {
      pods.delete(pod.metadata.name as string);
      event('DELETED', pod);
    };
    expect((await open()).code).to.equal('BACKEND_UNAVAILABLE');
  });
});
