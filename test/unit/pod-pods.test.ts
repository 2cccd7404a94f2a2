import type { ServerResponse } from 'node:http';
import { expect } from 'chai';
import { Pods } from '../../src/backends/pod/pods';
import { PodWatch } from '../../src/backends/pod/watch';
import { never, refusal } from '../contract/backend';
import { type ApiCall, FakeApi, json, status } from '../support/fake-api';
import { FakeClock } from '../support/fake-link';
import { keptLog, type KeptLog } from '../support/silent-log';
import { until } from '../support/until';

describe('pods of a run', () => {
  let api: FakeApi;
  let clock: FakeClock;
  let log: KeptLog;
  let watch: PodWatch;
  let pods: Pods;
  let stream: ServerResponse | undefined;
  let create: (call: ApiCall, response: ServerResponse) => void;
  let remove: (call: ApiCall, response: ServerResponse) => void;

  const pod = (name: string, run = 'mine', version = '5'): object => ({
    metadata: { name, uid: `uid-${name}`, resourceVersion: version, labels: { 'forgejo-mcp-operator/run': run } },
    status: { phase: 'Pending' },
  });
  const manifest = { metadata: { name: 'p' }, spec: { containers: [] } };
  const event = (type: string, object: object): void => void stream?.write(`${JSON.stringify({ type, object })}\n`);
  const deletes = (): ApiCall[] => api.calls.filter((call) => call.method === 'DELETE');

  beforeEach(async () => {
    api = await FakeApi.start();
    clock = new FakeClock();
    log = keptLog();
    stream = undefined;
    create = (_call, response) => json(response, 201, JSON.stringify(pod('p')));
    remove = (call, response) => {
      json(response, 200, '{"kind":"Status"}');
      event('DELETED', pod(call.path.split('/').at(-1)!));
    };
    api.handle = (call, response) => {
      if (call.method === 'POST') return create(call, response);
      if (call.method === 'DELETE') return remove(call, response);
      if (!call.query.has('watch')) return json(response, 200, '{"metadata":{"resourceVersion":"1"},"items":[]}');
      stream = response;
      response.writeHead(200).flushHeaders();
    };
    const kube = api.kube();
    watch = new PodWatch({ kube, clock, log, namespace: 'n', selector: 'a=b' });
    pods = new Pods({ kube, watch, clock, log, namespace: 'n', install: 'i', run: 'mine' });
    watch.start();
    await until('the watch is open', async () => stream !== undefined);
  });
  afterEach(async () => {
    await pods.settle(1000);
    await watch.stop();
    await api.close();
    expect(clock.timers, 'timers that are left').to.equal(0);
  });

  it('are created once and removed with their UID, and removing them twice is one call', async () => {
    const state = await pods.create(manifest, never());
    expect(state.uid).to.equal('uid-p');
    await Promise.all([pods.remove('p', state.uid), pods.remove('p', state.uid)]);
    expect(deletes()).to.have.length(1);
    expect(JSON.parse(deletes()[0].body)).to.deep.equal({ gracePeriodSeconds: 1, preconditions: { uid: 'uid-p' } });
    expect(watch.get('p')).to.equal(undefined);
  });

  it('a create that was cut off may have made a pod, which is removed', async () => {
    create = (_call, response) => {
      event('ADDED', pod('p'));
      response.socket?.destroy();
    };
    expect((await refusal(pods.create(manifest, never()))).code).to.equal('BACKEND_UNAVAILABLE');
    await until('it is removed', async () => deletes().length === 1 && watch.get('p') === undefined);
  });

  it('a create that was given up is removed as well, and rejects with the reason', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    create = () => controller.abort(reason);
    remove = (_call, response) => status(response, 404, 'NotFound', 'not there');
    expect(await pods.create(manifest, controller.signal).catch((error: unknown) => error)).to.equal(reason);
    await until('it was looked for', async () => deletes().length === 1);
  });

  it('a create that was refused made nothing, and nothing is removed', async () => {
    create = (_call, response) => status(response, 403, 'Forbidden', 'exceeded quota: q');
    const error = await refusal(pods.create(manifest, never()));
    expect([error.code, error.detail]).to.deep.equal(['BACKEND_REFUSED', '403 Forbidden: exceeded quota: q']);
    await pods.settle(1000);
    expect(deletes()).to.be.empty;
  });

  it('a removal that fails is tried again', async () => {
    const { uid } = await pods.create(manifest, never());
    const works = remove;
    let failures = 2;
    remove = (call, response) =>
      failures-- > 0 ? status(response, 500, 'InternalError', 'no') : works(call, response);
    const removing = pods.remove('p', uid);
    for (const count of [1, 2]) {
      await until('it failed', async () => deletes().length === count);
      await until('it waits', async () => {
        clock.advance(500);
        return deletes().length > count;
      });
    }
    await removing;
    expect(deletes()).to.have.length(3);
  });

  it('a pod that somebody else removed, or that is another one by now, is gone', async () => {
    const { uid } = await pods.create(manifest, never());
    remove = (_call, response) => {
      status(response, 409, 'Conflict', 'the UID differs');
      event('DELETED', pod('p'));
    };
    await pods.remove('p', uid);
    expect(deletes()).to.have.length(1);
  });

  it('a pod that no node confirms to be gone is given up after a minute, and logged', async () => {
    const { uid } = await pods.create(manifest, never());
    remove = (_call, response) => json(response, 200, '{}');
    const removing = pods.remove('p', uid);
    await until('it was asked for', async () => deletes().length === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    clock.advance(60_000);
    await removing;
    expect(log.lines.join('\n')).to.include('"event":"pod.not-removed","pod":"p"');
  });

  it('a pod of this run that nobody owns is removed when it is seen', async () => {
    event('ADDED', pod('stray'));
    event('ADDED', pod('other', 'another-run'));
    await until('it is removed', async () => deletes().length === 1);
    expect(deletes()[0]?.path).to.match(/stray$/);
    expect(log.lines.join('\n')).to.include('pod.stray');
  });

  it('a pod of its own that it does not remove is left alone, whatever is seen of it, until it is gone', async () => {
    remove = (call, response) => {
      json(response, 200, '{"kind":"Status"}');
      event('DELETED', pod(call.path.split('/').at(-1)!, 'mine', '10'));
    };
    await pods.create(manifest, never());
    event('MODIFIED', pod('p', 'mine', '6'));
    event('ADDED', pod('stray', 'mine', '7'));
    await until('the stray is removed', async () => deletes().length === 1);
    expect(deletes()[0]?.path).to.match(/stray$/);
    event('DELETED', pod('p', 'mine', '8'));
    event('ADDED', pod('p', 'mine', '9'));
    await until('another one of its name is a stray', async () => deletes().length === 2);
    expect(deletes()[1]?.path).to.match(/p$/);
  });

  it('orphans are the pods of other runs that are not being deleted already', async () => {
    const items = [
      pod('old', 'former'),
      pod('older', 'first'),
      pod('p', 'mine'),
      {
        ...pod('going', 'former'),
        metadata: { ...(pod('going', 'former') as any).metadata, deletionTimestamp: 'now' },
      },
    ];
    await pods.create(manifest, never());
    api.handle = (call, response) => {
      if (call.method === 'DELETE') return remove(call, response);
      return json(response, 200, JSON.stringify({ metadata: { resourceVersion: '9' }, items }));
    };
    expect(await pods.removeOthers()).to.equal(2);
    expect(
      deletes()
        .map((call) => call.path.split('/').at(-1))
        .sort(),
    ).to.deep.equal(['old', 'older']);
  });

  it('orphans that cannot be listed are an error', async () => {
    api.handle = (_call, response) => status(response, 500, 'InternalError', 'no');
    expect((await refusal(pods.removeOthers())).code).to.equal('BACKEND_UNAVAILABLE');
  });
});
