/** Registry and bridge over real children on real pipes: the process driver, the fixture child and the conformance server. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ProcessBackend } from '../../src/backends/process/driver';
import type { BackendLink } from '../../src/backends/contract';
import type { MessageSink } from '../../src/bridge/contract';
import { parseExact } from '../../src/bridge/json';
import { systemClock } from '../../src/clock';
import { alone } from '../../src/sessions/holders';
import { SessionIds } from '../../src/sessions/ids';
import type { SessionHandle } from '../../src/sessions/ports';
import { Registry } from '../../src/sessions/registry';
import { spawnWith } from '../../src/sessions/spawn';
import { openSqliteSessionStore } from '../../src/stores/sqlite/sessions';
import { aRequest, RecordingObserver } from '../support/channel';
import { FakeSink } from '../support/fake-link';
import { anAuth, refusal, SessionLog } from '../support/fake-sessions';
import { heldBytes } from '../support/memory';
import { childCommand } from '../support/peers';
import { serverSpec } from '../support/server-spec';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

interface Open {
  readonly id: string;
  readonly name: string;
  readonly pid: number;
  /** Calls a tool and gives its stream once it was answered. */
  tool(name: string, args?: object, meta?: object, sink?: FakeSink): Promise<FakeSink>;
  use(): Promise<SessionHandle>;
}

describe('sessions over real stdio', () => {
  let folder: string;
  let backend: ProcessBackend;
  let registry: Registry;
  let observer: RecordingObserver;
  let log: SessionLog;
  const links = new Map<string, BackendLink>();
  const secrets: string[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fmo-sessions-'));
    backend = new ProcessBackend({ runDirectory: folder, log: keptLog() });
    observer = new RecordingObserver();
    log = new SessionLog();
    registry = new Registry({
      spawn: spawnWith({
        backend,
        clock: systemClock,
        secrets: async (request, address) => {
          secrets.push(address.instance);
          return { FORGEJO_ACCESS_TOKEN: `fmocap_${request.session}` };
        },
        observer: () => observer,
        started: (request, link) => links.set(request.session, link),
      }),
      store: openSqliteSessionStore(join(folder, 'sessions.sqlite')),
      clock: systemClock,
      ids: new SessionIds([Buffer.alloc(32, 3)]),
      observer: log,
      binding: 'adopt',
      holders: alone('self'),
      discard: async () => undefined,
      drains: () => false,
      drainTimeout: 20,
      sweepInterval: 30,
      maxStreams: 4,
      keepRecords: 86_400,
      maxPerUser: 0,
      maxTotal: 0,
      maxHibernatedPerUser: 0,
      maxHibernated: 0,
      opensPerMinutePerUser: 0,
      opensPerMinute: 0,
    });
  });

  afterEach(async () => {
    await registry.stop(1_000);
    await backend.stop();
    rmSync(folder, { recursive: true, force: true });
    expect(registry.size).to.equal(0);
    expect(observer.faults).to.deep.equal([]);
  });

  async function open(child: Parameters<typeof childCommand>[0] = 'fixture-child', more: object = {}): Promise<Open> {
    const server = serverSpec({ command: [await childCommand(child)], stopGrace: 2, ...more });
    const auth = anAuth();
    const handle = await registry.open(auth, server, new AbortController().signal);
    const { id, name } = handle;
    const params = {
      protocolVersion: '2025-11-25',
      capabilities: { sampling: {}, elicitation: {}, roots: {} },
      clientInfo: { name: 'test', version: '1' },
    };
    await handle.call(aRequest(0, 'initialize', params), new FakeSink());
    await handle.notify({ jsonrpc: '2.0', method: 'notifications/initialized' });
    expect(handle.protocolVersion).to.equal('2025-11-25');
    handle.release();
    const use = () => registry.use(auth, server, id);
    const tool: Open['tool'] = async (tool, args = {}, meta, sink = new FakeSink()) => {
      const used = await use();
      try {
        const params = { name: tool, arguments: args, ...(meta === undefined ? {} : { _meta: meta }) };
        await used.call(aRequest(1, 'tools/call', params), sink);
        return sink;
      } finally {
        used.release();
      }
    };
    const pid = child === 'fixture-child' ? (JSON.parse(textOf(await tool('state'))) as { pid: number }).pid : 0;
    return { id, name, pid, use, tool };
  }

  const textOf = (sink: FakeSink): string => sink.last.result.content[0].text as string;
  const sinkOf = (send: MessageSink['send']): FakeSink => Object.assign(new FakeSink(), { send });

  it('opens the conformance server, lists its tools and calls one', async () => {
    const session = await open('everything-server');
    const handle = await session.use();
    const sink = new FakeSink();
    await handle.call(aRequest('list', 'tools/list'), sink);
    handle.release();
    expect(sink.last.id).to.equal('list');
    expect(sink.last.result.tools).to.be.an('array').that.is.not.empty;
    expect(textOf(await session.tool('test_simple_text'))).to.be.a('string').that.is.not.empty;
    const progress = await session.tool('test_tool_with_progress', {}, { progressToken: 'p' });
    expect(progress.messages.slice(0, -1).map(({ params }) => params.progressToken as string)).to.include('p');
  });

  it('knows which tools of forgejo-mcp read and which write, nothing of a child that marks none, and the arguments that stand in headers', async () => {
    const forgejo = await open('forgejo-mcp-rs', { env: { FORGEJO_URL: 'http://127.0.0.1:1', FORGEJO_TOKEN: 'none' } });
    const handle = await forgejo.use();
    const facts = await Promise.all(['get_issue', 'create_issue', 'no_such_tool'].map((name) => handle.tool(name)));
    handle.release();
    expect(facts).to.deep.equal([{ readOnly: true, mirrored: [] }, { readOnly: false, mirrored: [] }, undefined]);
    const plain = await (await open('everything-server')).use();
    expect(await plain.tool('test_simple_text')).to.deep.equal({ readOnly: undefined, mirrored: [] });
    const mirrored = [{ header: 'Region', path: ['region'] }];
    expect(await plain.tool('test_x_mcp_header')).to.deep.equal({ readOnly: undefined, mirrored });
    plain.release();
    expect(observer.drops).to.deep.equal([]);
  });

  it('gives every character back, and every digit of an id', async () => {
    const session = await open();
    const text = 'a\u00a0b\u2028c\u2029 🧑‍🚀 é \ud83d \\u00e9 "\\" \u0000\u001f \r\n end';
    expect(textOf(await session.tool('echo', { text }))).to.equal(text);
    const handle = await session.use();
    const sink = new FakeSink();
    const [id] = parseExact('[12345678901234567890]') as [number];
    await handle.call(aRequest(id, 'ping'), sink);
    handle.release();
    expect(sink.texts[0]).to.include('"id":12345678901234567890');
  });

  it('keeps 200 calls with the same id and token apart [2024-11-05/progress/2, 2026-07-28/progress/2]', async () => {
    const session = await open('fixture-child', { maxCallsInFlight: 200 });
    const sinks = await Promise.all(
      [...Array(200).keys()].map((i) => session.tool('slow', { ms: (i * 7) % 40, steps: 2 }, { progressToken: 1 })),
    );
    sinks.forEach((sink, i) => {
      expect(textOf(sink)).to.equal(`slept for ${String((i * 7) % 40)} ms`);
      expect(sink.messages.slice(0, -1).map(({ params }) => params.progressToken as number)).to.deep.equal([1, 1]);
    });
    expect(observer.drops).to.deep.equal([]);
  });

  it('takes the child’s own request to its call and the answer back', async () => {
    const session = await open();
    const sink = new FakeSink();
    const call = session.tool('ask', { method: 'roots/list' }, undefined, sink);
    const ask = await until('the request', async () => sink.messages[0]);
    const handle = await session.use();
    await handle.answer({ jsonrpc: '2.0', id: ask.id as string, result: { roots: [{ uri: 'file:///x' }] } });
    handle.release();
    expect(textOf(await call)).to.include('file:///x');
    expect(textOf(await session.tool('ask', { method: 'ping' }))).to.equal('{}');
  });

  it('cancels at the child [2024-11-05/cancellation/1]', async () => {
    const session = await open();
    const sink = new FakeSink();
    const call = session.tool('hang', {}, undefined, sink);
    const handle = await session.use();
    await handle.notify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
    handle.release();
    await call;
    expect(sink.messages).to.deep.equal([]);
    const state = await until('the cancellation', async () => {
      const seen = JSON.parse(textOf(await session.tool('state'))) as { cancelled: string };
      return seen.cancelled !== '' && seen;
    });
    expect(state.cancelled).to.match(/i0\.\d+\.n1/);
  });

  it('loses no answer to noise on stdout', async () => {
    const session = await open();
    expect(textOf(await session.tool('noise'))).to.match(/bytes of noise/);
    expect(observer.noises).to.be.greaterThan(2);
  });

  it('redacts the child’s stderr and takes the colours out', async () => {
    const session = await open();
    await session.tool('stderr', { text: `\x1b[31mtoken\x1b[0m fmocap_${session.name} x\n`, times: 1 });
    const line = await until('the line', async () => observer.lines.find((each) => each.startsWith('token')));
    expect(line).to.equal('token [redacted] x');
  });

  it('passes an argument and an answer of 16 MiB on', async () => {
    const session = await open('fixture-child', { maxLineBytes: 64 * 1_048_576 });
    const text = 'é🧑‍🚀"\\'.repeat(1_000_000);
    expect(textOf(await session.tool('echo', { text })) === text).to.equal(true);
  });

  it('fails the call whose answer is too long, and the session goes on', async () => {
    const session = await open('fixture-child', { maxLineBytes: 100_000 });
    const sink = await session.tool('big', { bytes: 2_000_000 });
    expect(sink.last.error.data).to.deep.equal({ code: 'LINE_TOO_LONG' });
    expect(textOf(await session.tool('echo', { text: 'alive' }))).to.equal('alive');
  });

  it('passes 100 MiB in 1 MiB messages on while a slow reader takes them, with what is held flat', async function () {
    this.timeout(120_000);
    const session = await open();
    let bytes = 0;
    let most = 0;
    let waiting = 0;
    const sink = sinkOf((message, json) => {
      if ('method' in message && message.method === 'notifications/message')
        bytes += (message.params?.data as string).length;
      waiting += json.length;
      most = Math.max(most, waiting);
      return new Promise((resolve) =>
        setImmediate(() => {
          waiting -= json.length;
          resolve();
        }),
      );
    });
    await session.tool('big', { messages: 10, bytes: 1_048_576 }, undefined, sink);
    const held = heldBytes();
    bytes = 0;
    await session.tool('big', { messages: 100, bytes: 1_048_576 }, undefined, sink);
    expect(bytes).to.equal(104_857_600);
    expect(most).to.be.below(4 * 1_048_576);
    expect(heldBytes() - held).to.be.below(8 * 1_048_576);
  });

  it('lets a reader that stops reading hurt its own session only', async () => {
    const [stuck, other] = [await open(), await open()];
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    let taken = 0;
    const sink = sinkOf((_message, json) => {
      taken += json.length;
      return gate;
    });
    const call = stuck.tool('big', { messages: 64, bytes: 1_048_576 }, undefined, sink);
    await until('the reader is stuck', async () => taken > 0);
    for (let i = 0; i < 200; i += 1) expect(textOf(await other.tool('echo', { text: String(i) }))).to.equal(String(i));
    expect(taken).to.be.below(4 * 1_048_576);
    release();
    await call;
    expect(taken).to.be.greaterThan(64 * 1_048_576);
  });

  it('answers the call in flight when the child is killed, reaps the session, and leaves others alone', async () => {
    const [killed, other] = [await open(), await open()];
    const sink = new FakeSink();
    const call = killed.tool('hang', {}, undefined, sink);
    process.kill(killed.pid, 'SIGKILL');
    await call;
    expect(sink.last.error.data).to.deep.equal({ code: 'BACKEND_ENDED', reason: 'killed' });
    await until('the entry is reaped', async () => log.ends.length === 1);
    expect(log.ends).to.deep.equal(['killed']);
    expect(await refusal(killed.use())).to.include({ code: 'SESSION_ENDED', status: 404 });
    expect(textOf(await other.tool('echo', { text: 'alive' }))).to.equal('alive');
  });

  it('ends a child in order on DELETE, with the answer that was on its way', async () => {
    const session = await open();
    const sink = new FakeSink();
    const call = session.tool('slow', { ms: 200, steps: 1 }, undefined, sink);
    const handle = await session.use();
    await handle.notify({ jsonrpc: '2.0', method: 'notifications/roots/list_changed' });
    handle.release();
    await registry.end(anAuth(), serverSpec(), session.id);
    await call;
    expect(sink.messages).to.have.length(1);
    expect((await links.get(session.name)?.exited)?.reason).to.equal('closed');
    expect(() => process.kill(session.pid, 0)).to.throw(/ESRCH/);
  });

  it('leaves nothing of 40 sessions that were opened and closed side by side', async () => {
    await Promise.all(
      (await Promise.all([...Array(5)].map(() => open()))).map(({ id }) => registry.end(anAuth(), serverSpec(), id)),
    );
    const before = process.getActiveResourcesInfo().length;
    for (let round = 0; round < 8; round += 1) {
      const sessions = await Promise.all([...Array(5)].map(() => open()));
      await Promise.all(sessions.map((session) => session.tool('echo', { text: 'x' })));
      await Promise.all(sessions.map(({ id }) => registry.end(anAuth(), serverSpec(), id)));
    }
    await until('sockets and timers are gone', async () => process.getActiveResourcesInfo().length <= before);
    expect(registry.size).to.equal(0);
    expect(secrets.every((instance) => instance !== '')).to.equal(true);
  });
});
