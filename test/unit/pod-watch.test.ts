import type { ServerResponse } from 'node:http';
import { expect } from 'chai';
import { jsonLines } from '../../src/kube/json-lines';
import { KubeError } from '../../src/kube/error';
import { PodWatch, type Seen } from '../../src/backends/pod/watch';
import { refusal } from '../contract/backend';
import { type ApiCall, FakeApi, json, status } from '../support/fake-api';
import { FakeClock } from '../support/fake-link';
import { keptLog, type KeptLog } from '../support/silent-log';
import { until } from '../support/until';

const pod = (name: string, version: number, phase = 'Pending'): object => ({
  metadata: { name, uid: `uid-${name}`, resourceVersion: String(version) },
  status: { phase },
});

describe('pod watch', () => {
  let api: FakeApi;
  let clock: FakeClock;
  let log: KeptLog;
  let watch: PodWatch;
  let open: ServerResponse[];
  let pods: object[];
  let version: number;
  const signal = AbortSignal.timeout(1_000_000);

  beforeEach(async () => {
    api = await FakeApi.start();
    clock = new FakeClock();
    log = keptLog();
    open = [];
    pods = [];
    version = 10;
    api.handle = (call, response) => (call.query.has('watch') ? follow(call, response) : answerList(response));
    watch = new PodWatch({ kube: api.kube(), clock, log, namespace: 'n', selector: 'a=b' });
  });
  afterEach(async () => {
    await watch.stop();
    await api.close();
    expect(clock.timers, 'timers that are left').to.equal(0);
  });

  const answerList = (response: ServerResponse): void =>
    json(
      response,
      200,
      JSON.stringify({ kind: 'PodList', metadata: { resourceVersion: String(version) }, items: pods }),
    );
  const follow = (_call: ApiCall, response: ServerResponse): void => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    open.push(response);
  };
  const lists = (): ApiCall[] => api.calls.filter((call) => !call.query.has('watch'));
  const watches = (): ApiCall[] => api.calls.filter((call) => call.query.has('watch'));
  const started = async (count = 1): Promise<ServerResponse> => {
    watch.start();
    await until('the watch is open', async () => open.length === count);
    return open[count - 1];
  };
  const event = (response: ServerResponse, type: string, object: object): void =>
    void response.write(`${JSON.stringify({ type, object })}\n`);
  const phase = (name: string, wanted: string): Promise<string> =>
    watch.until(name, (seen) => (seen !== 'gone' && seen.phase === wanted ? seen.phase : undefined), signal);
  const gone = (name: string): Promise<true> =>
    watch.until(name, (seen) => (seen === 'gone' ? true : undefined), signal);

  it('lists once and watches from there, with bookmarks and a bounded time', async () => {
    await started();
    const { query } = watches()[0];
    expect(lists()).to.have.length(1);
    expect(Object.fromEntries(query)).to.include({
      watch: 'true',
      allowWatchBookmarks: 'true',
      labelSelector: 'a=b',
      resourceVersion: '10',
    });
    expect(Number(query.get('timeoutSeconds'))).to.be.within(240, 300);
  });

  it('reads every page of a long list', async () => {
    api.handle = (call, response) => {
      if (call.query.has('watch')) return follow(call, response);
      const next = call.query.get('continue');
      return json(
        response,
        200,
        JSON.stringify({
          metadata: { resourceVersion: '10', ...(next === null ? { continue: 'more' } : {}) },
          items: [pod(next === null ? 'a' : 'b', 5)],
        }),
      );
    };
    await started();
    expect([...watch.all()].map((state) => state.name)).to.deep.equal(['a', 'b']);
  });

  it('tells those who wait for a pod, whenever they asked', async () => {
    const early = phase('p', 'Running');
    const response = await started();
    event(response, 'ADDED', pod('p', 11));
    event(response, 'MODIFIED', pod('p', 12, 'Running'));
    expect(await early).to.equal('Running');
    expect(await phase('p', 'Running')).to.equal('Running');
    const late = gone('p');
    event(response, 'DELETED', pod('p', 13));
    expect(await late).to.equal(true);
    expect(watch.get('p')).to.equal(undefined);
  });

  it('reads events that are cut anywhere', async () => {
    const response = await started();
    const line = Buffer.from(`${JSON.stringify({ type: 'ADDED', object: pod('pöd', 11, 'Running') })}\n`);
    const waiting = phase('pöd', 'Running');
    for (const byte of line) response.write(Buffer.from([byte]));
    expect(await waiting).to.equal('Running');
  });

  it('lists again after 410, and finds what changed and what went in between', async () => {
    pods = [pod('stays', 5), pod('goes', 6)];
    const response = await started();
    const waiting = [phase('stays', 'Running'), gone('goes')];
    pods = [pod('stays', 18, 'Running')];
    version = 20;
    event(response, 'ERROR', { kind: 'Status', code: 410, reason: 'Expired' });
    await until('it waits', async () => clock.timers > 0 && log.lines.length > 0);
    clock.advance(1000);
    await Promise.all(waiting);
    await started(2);
    expect(watches()[1]?.query.get('resourceVersion')).to.equal('20');
  });

  it('goes on from the last bookmark when a watch ends, without a list', async () => {
    const response = await started();
    event(response, 'BOOKMARK', { metadata: { resourceVersion: '99' } });
    response.end();
    await started(2);
    expect(watches()[1]?.query.get('resourceVersion')).to.equal('99');
    expect(lists()).to.have.length(1);
  });

  it('gives a silent connection up after about a minute, and goes on', async () => {
    await started();
    clock.advance(66_000);
    await until('it waits', async () => {
      clock.advance(100);
      return open.length === 2;
    });
    expect(lists()).to.have.length(1);
    expect(log.lines.join()).to.not.include('watch-failed');
  });

  it('does not spin where every watch ends at once', async () => {
    api.handle = (call, response) =>
      call.query.has('watch') ? void response.writeHead(200).end() : answerList(response);
    watch.start();
    await until('the first is over', async () => watches().length === 1 && clock.timers > 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(watches()).to.have.length(1);
  });

  it('comes back after faults, for ever, with growing pauses', async () => {
    api.handle = (_call, response) => status(response, 500, 'InternalError', 'no');
    watch.start();
    for (let round = 1; round <= 12; round++) {
      await until('it failed', async () => log.lines.length === round && clock.timers > 0);
      clock.advance(15_000);
    }
    const pauses = log.lines.map((line) => (JSON.parse(line) as { retryMs: number }).retryMs);
    expect(pauses.slice(0, 4)).to.deep.equal([100, 200, 400, 800]);
    expect(pauses.at(-1)).to.equal(15_000);
    api.handle = (call, response) => (call.query.has('watch') ? follow(call, response) : answerList(response));
    await until('it is back', async () => {
      clock.advance(15_000);
      return open.length > 0;
    });
  });

  it('lists again from time to time, to mend what a lost event left behind', async () => {
    pods = [pod('ghost', 5)];
    const response = await started();
    pods = [];
    version = 30;
    const waiting = gone('ghost');
    clock.advance(64_000 - 1);
    for (let minute = 0; minute < 16; minute++) {
      event(response, 'BOOKMARK', { metadata: { resourceVersion: String(20 + minute) } });
      await new Promise((resolve) => setTimeout(resolve, 5));
      clock.advance(60_000);
    }
    response.end();
    await waiting;
    expect(lists()).to.have.length(2);
  });

  describe('a pod that was just created', () => {
    it('is not taken for gone by an older list, and is by a newer one', async () => {
      const response = await started();
      watch.seed(pod('new', 25));
      const seen: Seen[] = [];
      watch.listen('new', (state) => seen.push(state));
      version = 24;
      event(response, 'ERROR', { code: 410 });
      await until('it waits', async () => log.lines.length === 1 && clock.timers > 0);
      clock.advance(1000);
      const again = await started(2);
      expect(seen).to.be.empty;
      version = 26;
      event(again, 'ERROR', { code: 410 });
      await until('it waits', async () => log.lines.length === 2 && clock.timers > 0);
      clock.advance(1000);
      await started(3);
      expect(seen).to.deep.equal(['gone']);
    });

    it('is not set back by an event that is older than its answer', async () => {
      const response = await started();
      watch.seed(pod('new', 25, 'Running'));
      event(response, 'ADDED', pod('new', 24));
      event(response, 'ADDED', pod('other', 26, 'Running'));
      await phase('other', 'Running');
      expect(watch.get('new')?.phase).to.equal('Running');
    });

    it('is shown to whoever looks at all pods', async () => {
      const seen: string[] = [];
      watch.onPod = (state) => seen.push(state.name);
      const response = await started();
      event(response, 'ADDED', pod('p', 11, 'Running'));
      await phase('p', 'Running');
      expect(seen).to.deep.equal(['p']);
    });
  });

  describe('waiting', () => {
    it('ends with the signal’s reason', async () => {
      const reason = new Error('enough');
      const controller = new AbortController();
      const waiting = watch.until('p', () => undefined, controller.signal).catch((error: unknown) => error);
      controller.abort(reason);
      expect(await waiting).to.equal(reason);
      expect(await watch.until('p', () => 1, controller.signal).catch((error: unknown) => error)).to.equal(reason);
    });

    it('ends with what the decision throws', async () => {
      const fault = new Error('never');
      watch.seed(pod('p', 1));
      const decide = (): never => {
        throw fault;
      };
      expect(await watch.until('p', decide, signal).catch((error: unknown) => error)).to.equal(fault);
    });

    it('ends with BACKEND_UNAVAILABLE when the watch stops', async () => {
      await started();
      const waiting = refusal(phase('p', 'Running'));
      const synced = watch.synced(signal);
      await watch.stop();
      expect((await waiting).code).to.equal('BACKEND_UNAVAILABLE');
      await synced;
    });

    it('for the first list ends with the fault that stands in the way', async () => {
      api.handle = (_call, response) => status(response, 403, 'Forbidden', 'may not list');
      watch.start();
      await until('it failed', async () => log.lines.length === 1);
      const error = await refusal(watch.synced(AbortSignal.timeout(20)));
      expect(error.code).to.equal('BACKEND_UNAVAILABLE');
      expect(error.detail).to.include('may not list');
      expect((await refusal(watch.synced(AbortSignal.abort()))).code).to.equal('BACKEND_UNAVAILABLE');
    });
  });

  describe('lines of JSON', () => {
    const read = async (...chunks: readonly (string | Buffer)[]): Promise<unknown[]> => {
      const found: unknown[] = [];
      const body = (async function* () {
        for (const chunk of chunks) yield Buffer.from(chunk);
      })();
      for await (const value of jsonLines(body)) found.push(value);
      return found;
    };

    it('skips empty lines and a last one that was cut', async () => {
      expect(await read('1\n\n{"a"', ':2}\n[3]', '\n{"cu')).to.deep.equal([1, { a: 2 }, [3]]);
    });

    it('refuses a line that is no JSON or too long', async () => {
      for (const chunks of [['nonsense\n'], Array.from({ length: 6 }, () => Buffer.alloc(1024 * 1024, 'x'))]) {
        const thrown: unknown = await read(...chunks).catch((error: unknown) => error);
        expect(thrown).to.be.instanceOf(KubeError);
      }
    });
  });
});
