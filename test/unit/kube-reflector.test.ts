/** What pods do not show of a reflector: test/unit/pod-watch.test.ts has the rest. */
import type { ServerResponse } from 'node:http';
import { expect } from 'chai';
import { KubeError } from '../../src/kube/error';
import { type Projection, Reflector, type Seen } from '../../src/kube/reflector';
import { FakeApi, json, status } from '../support/fake-api';
import { FakeClock } from '../support/fake-link';
import { keptLog, type KeptLog } from '../support/silent-log';
import { until } from '../support/until';

const PATH = '/apis/example.org/v1/namespaces/n/widgets';

const widget = (name: string, version: number, uid = 'u'): object => ({
  metadata: { name, uid, resourceVersion: String(version) },
});
const project = (value: unknown): Projection | undefined => {
  const { metadata } = value as { metadata: Projection };
  return metadata.name.startsWith('w') ? metadata : undefined;
};

describe('reflector', () => {
  let api: FakeApi;
  let log: KeptLog;
  let clock: FakeClock;
  let reflector: Reflector<Projection>;
  let open: ServerResponse[];
  let items: object[];

  beforeEach(async () => {
    api = await FakeApi.start();
    log = keptLog();
    clock = new FakeClock();
    open = [];
    items = [];
    api.handle = (call, response) => {
      if (!call.query.has('watch')) {
        return json(response, 200, JSON.stringify({ metadata: { resourceVersion: '10' }, items }));
      }
      response.writeHead(200).flushHeaders();
      return void open.push(response);
    };
    reflector = new Reflector({ kube: api.kube(), clock, log, path: PATH, what: 'widgets', project });
  });
  afterEach(async () => {
    await reflector.stop();
    await api.close();
    expect(clock.timers, 'timers that are left').to.equal(0);
  });

  const started = async (): Promise<ServerResponse> => {
    reflector.start();
    await until('the watch is open', async () => open.length > 0);
    return open[open.length - 1];
  };
  const event = (response: ServerResponse, type: string, object: object): void =>
    void response.write(`${JSON.stringify({ type, object })}\n`);
  const names = (): string[] => [...reflector.all()].map(({ name }) => name);
  const signal = AbortSignal.timeout(1_000_000);

  it('follows any collection, all of it unless a selector is given', async () => {
    items = [widget('w1', 5), widget('other', 6)];
    await started();
    expect(reflector.isSynced).to.equal(true);
    expect(names()).to.deep.equal(['w1']);
    expect(api.calls.map(({ path }) => path)).to.deep.equal([PATH, PATH]);
    expect(api.calls.some(({ query }) => query.has('labelSelector'))).to.equal(false);
  });

  it('tells its followers of every object by name until they leave', async () => {
    const seen: [string, Seen<Projection>][] = [];
    const leave = reflector.follow((name, what) => seen.push([name, what]));
    items = [widget('w1', 5)];
    const response = await started();
    event(response, 'ADDED', widget('w2', 11));
    event(response, 'DELETED', widget('w1', 12));
    await until('all is heard', async () => seen.length === 3);
    expect(seen.map(([name, what]) => [name, what === 'gone' ? what : what.resourceVersion])).to.deep.equal([
      ['w1', '5'],
      ['w2', '11'],
      ['w1', 'gone'],
    ]);
    leave();
    event(response, 'ADDED', widget('w3', 13));
    await reflector.until('w3', (what) => (what === 'gone' ? undefined : true), signal);
    expect(seen).to.have.length(3);
  });

  it('keeps an object whose name a former one had, whatever comes late of that', async () => {
    const response = await started();
    reflector.seed(widget('w1', 30, 'second'));
    event(response, 'MODIFIED', widget('w1', 20, 'first'));
    event(response, 'DELETED', widget('w1', 21, 'first'));
    event(response, 'ADDED', widget('w2', 31));
    await reflector.until('w2', (what) => (what === 'gone' ? undefined : true), signal);
    expect(reflector.get('w1')?.uid).to.equal('second');
    event(response, 'DELETED', widget('w1', 40, 'second'));
    await reflector.until('w1', (what) => (what === 'gone' ? true : undefined), signal);
  });

  it('lists at once what an API that was away for long has forgotten, and waits longer each time where it does so again', async () => {
    const first = await started();
    const usual = api.handle;
    let lists = 0;
    api.handle = (_call, response) => void response.destroy();
    first.destroy();
    const failures = (): number => log.lines.filter((line) => line.includes('widgets.watch-failed')).length;
    for (let n = 1; n <= 10; n += 1) {
      await until('it has failed again', async () => failures() >= n);
      if (n < 10) clock.advance(15_000);
    }
    api.handle = (call, response) => {
      if (!call.query.has('watch')) {
        lists += 1;
        return usual(call, response);
      }
      response.writeHead(200);
      const gone = { type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } };
      return void response.end(`${JSON.stringify(gone)}\n`);
    };
    clock.advance(15_000);
    await until('it is told', async () => failures() >= 11);
    clock.advance(100);
    await until('it is listed', async () => lists === 1);
    for (const [n, ms] of [
      [12, 200],
      [13, 400],
    ] as const) {
      await until('it is told again', async () => failures() >= n);
      clock.advance(ms / 2 - 1);
      expect(lists).to.equal(n - 11);
      clock.advance(ms / 2 + 1);
      await until('it is listed again', async () => lists === n - 10);
    }
  });

  it('refuses those who wait with the fault itself, and names what it follows in the log', async () => {
    api.handle = (_call, response) => status(response, 403, 'Forbidden', 'may not list');
    const waiting = reflector.synced(AbortSignal.any([signal])).catch((error: unknown) => error);
    await until('it failed', async () => log.lines.length > 0 && clock.timers > 0);
    expect(log.lines[0]).to.include('widgets.watch-failed').and.include('may not list');
    const late: unknown = await reflector.synced(AbortSignal.abort()).catch((error: unknown) => error);
    expect(late).to.be.instanceOf(KubeError).and.include({ status: 403 });
    await reflector.stop();
    expect(await waiting)
      .to.be.instanceOf(KubeError)
      .and.include({ reason: 'Stopped' });
  });
});
