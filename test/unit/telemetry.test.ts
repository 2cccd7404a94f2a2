/** Metrics, logs and the operations listener. */
import { expect } from 'chai';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ProxyEvent } from '../../src/forgejo/contract';
import { opsHandler, ReadinessProbe, type ReadinessCheck } from '../../src/http/ops';
import { listen, type Listener } from '../../src/http/listener';
import { AppError } from '../../src/errors';
import { createMetrics, type Metrics } from '../../src/telemetry/metrics';
import {
  authObserver,
  channelObserver,
  httpObserver,
  proxyObserver,
  sessionObserver,
} from '../../src/telemetry/observers';
import { createLog } from '../../src/telemetry/pino';
import { scrub } from '../../src/telemetry/scrub';
import { ask } from '../support/gateway-app';
import { FakeClock, settle } from '../support/fake-link';
import { keptLog } from '../support/silent-log';
import { aRecord } from '../contract/session-store';

const FORGEJO_TOKEN = '0123456789abcdef0123456789abcdef01234567';
const SESSION_ID = 'ab'.repeat(24);
const NAME = 'cd'.repeat(20);

interface Described {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly labelNames: readonly string[];
}

function described({ registry }: Metrics): Described[] {
  return registry.getMetricsAsArray().map((metric) => {
    const { name, help, labelNames } = metric as unknown as Described;
    return { name, help, labelNames, type: metric.constructor.name.toLowerCase() };
  });
}

function metricsMarkdown(all: readonly Described[]): string {
  const rows = all.map(
    ({ name, type, labelNames, help }) =>
      `| \`${name}\` | ${type} | ${labelNames.map((label) => `\`${label}\``).join(', ')} | ${help} |`,
  );
  return `# Metrics

<!-- Made from src/telemetry/metrics.ts by test/unit/telemetry.test.ts (UPDATE_DOCS=1), which fails when it differs. -->

\`/metrics\` on the operations listener (\`ops.listen\`) has these, in base units (seconds, bytes), besides prom-client's own \`process_*\` and \`nodejs_*\`.
Labels have few values, all known beforehand: error codes are those of \`src/errors.ts\`, servers those of the configuration; no label is a user, a session or a path.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
${rows.join('\n')}
`;
}

describe('metrics', () => {
  let metrics: Metrics;
  beforeEach(() => {
    metrics = createMetrics();
  });

  const value = async (name: string, labels: Record<string, string | number> = {}): Promise<number | undefined> => {
    const metric = metrics.registry.getSingleMetric(`forgejo_mcp_${name}`);
    const { values } = (await metric?.get()) ?? { values: [] };
    return values.find((one) => Object.entries(labels).every(([label, wanted]) => one.labels[label] === wanted))?.value;
  };

  it('are documented in docs/metrics.md as declared', async () => {
    const file = join(__dirname, '../../docs/metrics.md');
    const wanted = metricsMarkdown(described(metrics));
    if (process.env.UPDATE_DOCS === '1') await writeFile(file, wanted);
    expect(await readFile(file, 'utf8'), 'run with UPDATE_DOCS=1').to.equal(wanted);
  });

  it('have one prefix, base units, and a help text', () => {
    for (const { name, help, type } of described(metrics)) {
      expect(name).to.match(/^forgejo_mcp_[a-z_]+$/);
      expect(help).to.match(/^.{10,}\.$/);
      if (type === 'counter') expect(name).to.match(/_total$/);
      if (type === 'histogram') expect(name).to.match(/_(seconds|bytes)$/);
      expect(name).to.not.match(/_(ms|milliseconds|kb|mb|minutes)(_|$)/);
    }
  });

  it('count requests of clients, with methods that a client invents as one', async () => {
    const observer = httpObserver(metrics);
    observer.request('POST', 200, 0.1);
    observer.request('INVENTED', 405, 0.1);
    expect(await value('http_requests_total', { method: 'POST', status: 200 })).to.equal(1);
    expect(await value('http_requests_total', { method: 'OTHER', status: 405 })).to.equal(1);
  });

  it('count checks of credentials', async () => {
    const observer = authObserver(metrics);
    observer.checked('ok', true);
    observer.forge(0.2);
    expect(await value('auth_checks_total', { outcome: 'ok', cached: 'true' })).to.equal(1);
  });

  it('follow sessions, and the log has a line for each beginning and end', async () => {
    const log = keptLog();
    const observer = sessionObserver(metrics, log);
    const record = aRecord({ name: NAME, server: 's' });
    observer.opened(record, 0.5);
    observer.counts({ starting: 1, active: 2, hibernated: 4, ending: 3 });
    observer.refused('SESSION_CAP_USER');
    observer.hibernated(record, 'idle');
    observer.woken(record, 0.5);
    observer.handedOver(record, 'adopted');
    observer.ended(record, 'idle');
    expect(await value('session_handovers_total', { server: 's', how: 'adopted' })).to.equal(1);
    expect(await value('session_opens_total', { server: 's' })).to.equal(1);
    expect(await value('sessions', { state: 'active' })).to.equal(2);
    expect(await value('session_refusals_total', { code: 'SESSION_CAP_USER' })).to.equal(1);
    expect(await value('session_hibernations_total', { server: 's', why: 'idle' })).to.equal(1);
    expect(await value('sessions', { state: 'hibernated' })).to.equal(4);
    expect(await value('session_ends_total', { server: 's', reason: 'idle' })).to.equal(1);
    expect(log.lines.map((line) => (JSON.parse(line) as { event: string }).event)).to.deep.equal([
      'session.opened',
      'session.hibernated',
      'session.woken',
      'session.handed-over',
      'session.ended',
    ]);
  });

  it('follow calls and children, and a child that floods stderr does not flood the log', async () => {
    const log = keptLog();
    let now = 0;
    const observer = channelObserver(metrics, log, () => now);
    observer.call('tools/call', 'answered', 0.1);
    observer.noise(17);
    observer.dropped('no-stream');
    for (let i = 0; i < 1000; i += 1) observer.stderr(`line ${String(i)}`);
    expect(log.lines).to.have.length(120);
    now = 61_000;
    observer.stderr('later');
    expect(log.lines.at(-2)).to.contain('"lines":880');
    observer.fault(new Error('defect'));
    expect(await value('calls_total', { method: 'tools/call', outcome: 'answered' })).to.equal(1);
    expect(await value('child_noise_bytes_total')).to.equal(17);
    expect(await value('messages_dropped_total', { why: 'no-stream' })).to.equal(1);
    expect(await value('child_stderr_lines_total')).to.equal(1001);
  });

  it('follow the credential proxy', async () => {
    const observer = proxyObserver(metrics);
    const event: ProxyEvent = {
      session: NAME,
      server: 's',
      userId: '7',
      method: 'POST',
      route: '/repos/{owner}/{repo}/issues',
      class: 'write',
      outcome: 'refused',
      code: 'POLICY_REFUSED',
      reason: 'access',
      status: 403,
      seconds: 0.01,
      bytesIn: 10,
      bytesOut: 20,
    };
    observer.started();
    expect(await value('proxy_requests_in_flight')).to.equal(1);
    observer.finished(event);
    observer.started();
    observer.finished({ ...event, outcome: 'forwarded', code: undefined, reason: undefined, status: 200 });
    observer.started();
    observer.sentOn();
    expect(await value('proxy_requests_in_flight')).to.equal(0);
    expect(
      await value('proxy_requests_total', { method: 'POST', class: 'write', outcome: 'refused', status: 403 }),
    ).to.equal(1);
    expect(await value('proxy_refusals_total', { code: 'POLICY_REFUSED', reason: 'access' })).to.equal(1);
    expect(await value('proxy_bytes_total', { direction: 'out' })).to.equal(40);
  });
});

describe('the log', () => {
  it('writes one JSON object a line with time, level, event and fields', () => {
    const lines: string[] = [];
    const sink = createLog({ level: 'info', destination: 'stderr' }, { write: (line) => void lines.push(line) });
    const { log } = sink;
    log.debug('not.this', {});
    log.info('some.event', { a: 1, nothing: undefined, text: 'line\nbreak' });
    log.child({ request: 'r1' }).warn('other.event');
    log.error('third.event', { error: new Error('why') });
    sink.flush();
    const all = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(all).to.have.length(3);
    expect(all[0])
      .to.include({ level: 'info', event: 'some.event', a: 1, text: 'line\nbreak' })
      .and.not.have.property('nothing');
    expect(all[0]?.time).to.match(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect(all[1]).to.include({ level: 'warn', request: 'r1' });
    expect(all[2]?.error).to.include({ name: 'Error', message: 'why' });
    expect(lines.every((line) => line.endsWith('\n') && !line.slice(0, -1).includes('\n'))).to.equal(true);
  });

  it('takes secrets out by name and by look, wherever they stand', () => {
    const secret = Object.assign(new Error(`failed with Authorization: Bearer ${FORGEJO_TOKEN}`), {
      request: { headers: { authorization: FORGEJO_TOKEN } },
      code: 'ECONNRESET',
    });
    const text = JSON.stringify(
      scrub({
        token: 'short',
        nested: { deep: [{ Authorization: 'x', password: 'hunter2' }, `id ${SESSION_ID}`] },
        message: `token ${FORGEJO_TOKEN}`,
        session: `Bearer ${FORGEJO_TOKEN}`,
        error: secret,
        body: Buffer.from(FORGEJO_TOKEN),
        object: new Map([[FORGEJO_TOKEN, 1]]),
        [`name`]: `\u001b[31mred\u001b[0m`,
      }),
    );
    for (const leak of [FORGEJO_TOKEN, SESSION_ID, 'hunter2', 'short', '\u001b', '\\u001b'])
      expect(text).to.not.contain(leak);
    expect(text).to.contain('ECONNRESET');
  });

  it("keeps a session's name, which looks like a token, in its own field only", () => {
    expect(scrub({ session: NAME })).to.deep.equal({ session: NAME });
    expect(scrub({ other: NAME })).to.deep.equal({ other: '[redacted]' });
  });

  it('bounds what a line can hold', () => {
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    const fields = scrub({
      long: 'y'.repeat(1e6),
      many: Array.from({ length: 1000 }, (_, i) => i),
      cycle,
      big: 10n,
      run: () => 1,
      no: null,
    });
    expect(JSON.stringify(fields).length).to.be.below(10_000);
    expect(fields).to.include({ big: '10', run: '[function]', no: null });
  });
});

describe('the operations listener', () => {
  let listener: Listener;
  let probe: ReadinessProbe;
  let clock: FakeClock;
  const observed: Record<string, boolean> = {};
  const start = async (checks: ReadinessCheck[], timeoutMs = 5_000, outageMs = 0): Promise<void> => {
    clock = new FakeClock();
    probe = new ReadinessProbe({
      checks,
      timeoutMs,
      outageMs,
      cacheMs: 5_000,
      clock,
      log: keptLog(),
      notes: () => ({ source: 'preserved' }),
      observe: (check, ready) => {
        observed[check] = ready;
      },
    });
    listener = await listen(
      opsHandler(probe, { contentType: 'text/plain; version=0.0.4', text: async () => 'a 1\n' }),
      {
        listen: { address: '127.0.0.1', port: 0 },
        headersMs: 1000,
        requestMs: 1000,
        idleMs: 1000,
        maxConnections: 10,
      },
    );
  };
  afterEach(() => listener.close(0));
  const get = (path: string, method = 'GET') => ask(listener, { method, path });

  it('answers 200 for /healthz and /metrics, 404 for other paths, 405 for other methods', async () => {
    await start([]);
    expect((await get('/healthz')).status).to.equal(200);
    const metrics = await get('/metrics?x=1');
    expect([metrics.status, metrics.text, metrics.headers['content-type']]).to.deep.equal([
      200,
      'a 1\n',
      'text/plain; version=0.0.4',
    ]);
    expect((await get('/')).status).to.equal(404);
    expect((await get('/metrics', 'POST')).status).to.equal(405);
  });

  it('answers /readyz with 200 when every check passes', async () => {
    await start([{ name: 'one', check: async () => undefined }]);
    const answer = await get('/readyz');
    expect(answer.status).to.equal(200);
    expect(answer.json).to.deep.equal({ ready: true, checks: { one: 'ok' }, notes: { source: 'preserved' } });
    expect(observed.one).to.equal(true);
  });

  it('answers /readyz with 503 and says which check failed, without its detail', async () => {
    const down = new AppError('STORE_UNAVAILABLE', 'The store is down.', { detail: 'host db-7' });
    await start([
      { name: 'store', check: () => Promise.reject(down) },
      { name: 'bug', check: () => Promise.reject(new TypeError('x of undefined')) },
      { name: 'backend', check: async () => undefined },
    ]);
    const answer = await get('/readyz');
    expect(answer.status).to.equal(503);
    expect(answer.json.checks).to.deep.include({
      backend: 'ok',
      store: { code: 'STORE_UNAVAILABLE', message: 'The store is down.' },
    });
    expect(answer.text).to.not.contain('db-7').and.not.contain('undefined');
    expect(observed).to.include({ store: false, backend: true });
  });

  it('answers /readyz with 503 when a check does not answer in time, and aborts it', async () => {
    let aborted = false;
    await start(
      [
        {
          name: 'slow',
          check: (signal) => new Promise(() => signal.addEventListener('abort', () => (aborted = true))),
        },
      ],
      30,
    );
    expect((await get('/readyz')).json.checks.slow.message).to.contain('in time');
    expect(aborted).to.equal(true);
  });

  it('stays ready for a while in an outage of what all gateways share, once it was ready, and says so', async () => {
    const answers: (() => Promise<void>)[] = [];
    const away = new AppError('STORE_UNAVAILABLE', 'No answer.');
    const refused = new AppError('BACKEND_REFUSED', 'Forbidden.');
    await start(
      [
        {
          name: 'store',
          check: () => (answers.shift() ?? (() => Promise.resolve()))(),
          isOutage: (thrown) => thrown === away,
        },
      ],
      30,
      600_000,
    );
    const ask = async (answer: () => Promise<void>): Promise<any[]> => {
      answers.push(answer);
      const { status, json } = await get('/readyz');
      clock.advance(5_000);
      return [status, json.checks.store];
    };
    const failing = { code: 'STORE_UNAVAILABLE', message: 'No answer.' };
    const late = { code: 'INTERNAL', message: 'It did not answer in time.' };
    expect(await ask(() => Promise.reject(away)), 'it was never ready').to.deep.equal([503, failing]);
    expect(await ask(() => Promise.resolve())).to.deep.equal([200, 'ok']);
    expect(await ask(() => Promise.reject(away))).to.deep.equal([200, { ...failing, outage: true }]);
    expect(observed.store).to.equal(false);
    expect(await ask(() => new Promise(() => undefined))).to.deep.equal([200, { ...late, outage: true }]);
    expect((await ask(() => Promise.reject(refused)))[0], 'it is refused').to.equal(503);
    expect((await ask(() => Promise.reject(away)))[0]).to.equal(200);
    clock.advance(600_000);
    expect((await ask(() => Promise.reject(away)))[0], 'that is no outage any more').to.equal(503);
    expect(await ask(() => Promise.resolve())).to.deep.equal([200, 'ok']);
  });

  it('checks once for all who ask within a few seconds', async () => {
    let checks = 0;
    await start([{ name: 'one', check: async () => void (checks += 1) }]);
    await Promise.all([get('/readyz'), get('/readyz'), get('/readyz')]);
    expect(checks).to.equal(1);
    clock.advance(5_000);
    await get('/readyz');
    expect(checks).to.equal(2);
  });

  it('answers /readyz with 503 once it stops, and /healthz still with 200', async () => {
    await start([]);
    probe.stop();
    await settle();
    expect((await get('/readyz')).status).to.equal(503);
    expect((await get('/healthz')).status).to.equal(200);
  });

  it('says what to do when its port is taken', async () => {
    await start([]);
    const again = listen(() => undefined, {
      listen: { address: '127.0.0.1', port: listener.port },
      headersMs: 1000,
      requestMs: 1000,
      idleMs: 1000,
      maxConnections: 1,
    });
    const error = await again.catch((thrown: unknown) => thrown as AppError);
    expect(error).to.include({ code: 'CONFIG_INVALID' });
    expect((error as AppError).message).to.contain('another program uses it');
  });
});
