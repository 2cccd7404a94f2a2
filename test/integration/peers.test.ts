import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { expect } from 'chai';

import { type Forge, startForge } from '../support/forge';
import { freePort } from '../support/ports';
import { childCommand, type JsonLinesProcess, peerFolder, ScriptedClient, StdioServer } from '../support/peers';
import { until } from '../support/until';

describe('the peers of the tests', function () {
  this.timeout(1_800_000); // the first run on a machine builds them

  const running: JsonLinesProcess[] = [];
  const kept = <T extends JsonLinesProcess>(started: T): T => {
    running.push(started);
    return started;
  };
  afterEach(async () => {
    for (const started of running.splice(0)) {
      started.signal('SIGKILL');
      await started.exit();
    }
  });

  describe('fixture-child', () => {
    const start = async (faults = ''): Promise<StdioServer> =>
      kept(new StdioServer(await childCommand('fixture-child'), [], faults ? { FIXTURE_START: faults } : {}));

    it('agrees on the revision that it is asked for, and on the newest it knows otherwise', async () => {
      for (const [asked, agreed] of [
        ['2024-11-05', '2024-11-05'],
        ['2025-06-18', '2025-06-18'],
        ['2026-07-28', '2025-11-25'],
      ] as const) {
        expect((await (await start()).initialize(asked)).protocolVersion).to.equal(agreed);
      }
    });

    it('gives every string back byte for byte', async () => {
      const server = await start();
      await server.initialize();
      for (const text of ['a\u00a0b\u2028c\u2029', '👩‍👩‍👧 <b>&"\\', '\ud800', '\u0000\u001f']) {
        expect(await server.text('echo', { text })).to.equal(text);
      }
    });

    it('reports progress only to a caller with a progress token', async () => {
      const server = await start();
      await server.initialize();
      const _meta = { progressToken: 'p-1' };
      await server.request('tools/call', { name: 'slow', arguments: { ms: 10, steps: 2 }, _meta });
      const steps = [await server.next(isProgress), await server.next(isProgress)];
      expect(steps.map((step) => step.params)).to.deep.equal([
        { progressToken: 'p-1', progress: 1, total: 2 },
        { progressToken: 'p-1', progress: 2, total: 2 },
      ]);
      await server.call('slow', { ms: 10, steps: 2 });
      expect(await server.text('state')).to.contain('"answered":3');
    });

    it('answers nothing to a call that is cancelled', async () => {
      const server = await start();
      await server.initialize();
      server.send({
        jsonrpc: '2.0',
        id: 'never',
        method: 'tools/call',
        params: { name: 'slow', arguments: { ms: 20_000 } },
      });
      server.send({ jsonrpc: '2.0', id: 'hung', method: 'tools/call', params: { name: 'hang' } });
      for (const requestId of ['never', 'hung']) {
        server.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } });
      }
      await until(
        'both are cancelled',
        async () => (JSON.parse(await server.text('state')) as { cancelled: string }).cancelled === '"never" "hung"',
        5000,
      );
      expect(await server.end()).to.equal(0);
      expect(await server.next().catch(() => 'nothing')).to.equal('nothing');
    });

    it('asks the client and tells its answer', async () => {
      const server = await start();
      await server.initialize('2025-11-25', { roots: {} });
      server.send({
        jsonrpc: '2.0',
        id: 'a',
        method: 'tools/call',
        params: { name: 'ask', arguments: { method: 'roots/list' } },
      });
      const question = await server.next((message) => message.method === 'roots/list');
      server.send({ jsonrpc: '2.0', id: question.id, result: { roots: [{ uri: 'file:///r' }] } });
      expect((await server.next((message) => message.id === 'a')).result.content[0].text).to.contain('file:///r');
    });

    it('asks several questions at once, or each after the answer to the one before', async () => {
      const server = await start();
      await server.initialize('2025-11-25', { roots: {} });
      const isQuestion = (message: { method?: string }): boolean => message.method === 'roots/list';
      for (const inTurn of [false, true]) {
        const questions = [{ method: 'roots/list' }, { method: 'roots/list' }];
        server.send({
          ...{ jsonrpc: '2.0', id: String(inTurn), method: 'tools/call' },
          params: { name: 'quiz', arguments: { questions, inTurn } },
        });
        const asked = [await server.next(isQuestion)];
        if (!inTurn) asked.push(await server.next(isQuestion));
        for (const { id } of asked) server.send({ jsonrpc: '2.0', id, result: { roots: [] } });
        if (inTurn) server.send({ jsonrpc: '2.0', id: (await server.next(isQuestion)).id, result: { roots: [] } });
        const told = await server.next((message) => message.id === String(inTurn));
        expect(JSON.parse(told.result.content[0].text)).to.deep.equal([{ roots: [] }, { roots: [] }]);
      }
    });

    it('fails with the error that it is told, and logs as far as the level lets it', async () => {
      const server = await start();
      await server.initialize();
      const error = { code: -32042, message: 'Visit a page.', data: { elicitations: [] } };
      const failed = await server.request('tools/call', { name: 'fail', arguments: error });
      expect(failed.error).to.deep.equal(error);
      await server.request('logging/setLevel', { level: 'alert' });
      expect(await server.text('log', { text: 'x' })).to.equal('logged 2');
      expect(await server.text('touch', { uri: 'fixture://note' })).to.equal('false');
    });

    it('prints noise between messages, and answers all the same', async () => {
      const server = await start('noise');
      await server.initialize();
      await server.call('noise', { text: 'a library prints here\n' });
      expect(server.notJson).to.include.members(['fixture-child is starting', '{broken', 'a library prints here']);
    });

    it('floods with messages whose sum it tells', async () => {
      const server = await start();
      await server.initialize();
      const told = JSON.parse(await server.text('big', { messages: 5, bytes: 1 << 20 }));
      expect(told).to.include({ messages: 5, bytes: 5 << 20 });
      const hash = await import('node:crypto').then(({ createHash }) => createHash('sha256'));
      for (let i = 0; i < 5; i++) hash.update((await server.next((m) => m.params?.logger === 'big')).params.data);
      expect(hash.digest('hex')).to.equal(told.sha256);
    });

    it('remembers the log level and the subscriptions of its client', async () => {
      const server = await start();
      await server.initialize();
      await server.request('logging/setLevel', { level: 'warning' });
      await server.request('resources/subscribe', { uri: 'fixture://note' });
      expect(JSON.parse(await server.text('state'))).to.deep.include({
        logLevel: 'warning',
        subscriptions: ['fixture://note'],
      });
    });

    it('exits with 0 at the end of stdin, when what is in flight has been answered', async () => {
      const server = await start();
      await server.initialize();
      server.send({
        jsonrpc: '2.0',
        id: 'last',
        method: 'tools/call',
        params: { name: 'slow', arguments: { ms: 100 } },
      });
      const answered = server.next((message) => message.id === 'last');
      expect(await server.end()).to.equal(0);
      expect((await answered).result.content[0].text).to.equal('slept for 100 ms');
    });

    it('dies in the way that it is told to', async () => {
      const ends: [string, object, number | string][] = [
        ['exit', { code: 3 }, 3],
        ['crash', {}, 2],
        ['crash', { signal: 9 }, 'SIGKILL'],
      ];
      for (const [name, args, end] of ends) {
        const server = await start();
        await server.initialize();
        server.send({ jsonrpc: '2.0', id: 'x', method: 'tools/call', params: { name, arguments: args } });
        expect(await server.exit(), name).to.equal(end);
      }
      expect(await (await start('crash')).exit()).to.equal(1);
      expect(await (await start('exit:42')).exit()).to.equal(42);
    });

    it('stays alive where it is told to ignore the end of stdin and SIGTERM', async () => {
      const server = await start('ignore-eof,ignore-term');
      await server.initialize();
      server.signal('SIGTERM');
      expect(await server.text('echo', { text: 'still here' })).to.equal('still here');
      server.signal('SIGKILL');
      expect(await server.exit()).to.equal('SIGKILL');
    });

    it('leaves an orphan behind', async () => {
      const server = await start();
      await server.initialize();
      const pid = Number(await server.text('orphan', { ms: 60_000 }));
      const parent = /^PPid:\t(\d+)$/m.exec(await server.text('readfile', { path: `/proc/${pid}/status` }))?.[1];
      expect(Number(parent)).not.to.equal(server.pid);
      process.kill(pid, 'SIGKILL');
    });
  });

  describe('everything-server', () => {
    it('speaks over stdio', async () => {
      const server = kept(new StdioServer(await childCommand('everything-server')));
      expect((await server.initialize()).serverInfo.name).to.be.a('string');
      expect((await server.request('tools/list')).result.tools).to.not.have.length(0);
      await server.end();
    });
  });

  describe('forgejo-mcp-rs', () => {
    let forge: Forge;
    before(async () => {
      forge = await startForge();
    });
    after(() => forge.stop());

    const as = async (name: string): Promise<StdioServer> => {
      const environment = { FORGEJO_URL: forge.url, FORGEJO_TOKEN_READ_ONLY: forge.user(name).tokens.read };
      const server = kept(new StdioServer(await childCommand('forgejo-mcp-rs'), [], environment));
      await server.initialize();
      return server;
    };
    const file = { owner: 'alice', repo: 'private-notes', path: 'secret.md' };

    it('reads a private file as its user', async () => {
      const server = await as('alice');
      expect(JSON.stringify(await server.call('get_file_contents', file))).to.contain(
        forge.user('alice').secret.trim(),
      );
      expect(await server.end()).to.equal(0);
    });

    it('cannot read the private file of somebody else', async () => {
      const server = await as('bob');
      const answer = await server.request('tools/call', { name: 'get_file_contents', arguments: file });
      expect(JSON.stringify(answer))
        .to.match(/404|not found/i)
        .and.not.contain('only alice may read this');
      await server.end();
    });
  });

  for (const kind of ['python', 'go'] as const) {
    describe(`${kind}-client`, () => {
      let stop: () => void;
      let url: string;

      before(async () => {
        const port = await freePort();
        url = `http://127.0.0.1:${port}/mcp`;
        const server = spawn(
          await childCommand('everything-server'),
          ['-http', `127.0.0.1:${port}`, '-stateless=false'],
          {
            env: {},
            stdio: 'ignore',
          },
        );
        await once(server, 'spawn');
        stop = () => server.kill('SIGKILL');
        await until(
          'it listens',
          () =>
            fetch(url).then(
              () => true,
              () => false,
            ),
          10_000,
        );
      });
      after(() => stop());

      it('opens a session, lists, calls, and closes', async () => {
        const client = kept(await ScriptedClient.start(kind, url, 'a-token'));
        const opened = await client.must('initialize');
        expect(opened.protocolVersion).to.equal('2025-11-25');
        expect(opened.sessionId).to.be.a('string');
        expect(await client.must('tools')).to.include('test_simple_text');
        expect((await client.must('call', { name: 'test_simple_text' })).content[0].type).to.equal('text');
        expect((await client.do('call', { name: 'no_such_tool' })).error).to.include({ code: -32602 });
        expect(await client.do('close')).to.include({ ok: true });
        expect(await client.exit()).to.equal(0);
      });

      it('collects progress and answers what the server asks', async () => {
        const client = kept(await ScriptedClient.start(kind, url));
        await client.must('initialize');
        const progressed = await client.must('call', { name: 'test_tool_with_progress', progress: true });
        expect(progressed.progress.length).to.be.greaterThan(0);
        const sampled = await client.must('call', { name: 'test_sampling', arguments: { prompt: 'hello' } });
        expect(sampled.asked).to.deep.equal(['sampling/createMessage']);
        expect(JSON.stringify(sampled.content)).to.contain(`sampled by ${kind}-client`);
        expect(await client.end()).to.equal(0);
      });

      it('tells the status of a refusal and goes on', async () => {
        const refusing = createServer((_request, response) => response.writeHead(503, { 'retry-after': '1' }).end());
        refusing.listen(0, '127.0.0.1');
        await once(refusing, 'listening');
        const { port } = refusing.address() as AddressInfo;
        const client = kept(await ScriptedClient.start(kind, `http://127.0.0.1:${port}/mcp`));
        for (const attempt of [1, 2]) {
          const refused = await client.do('initialize');
          expect(refused.ok, `attempt ${attempt}`).to.equal(false);
          expect(refused.error).to.include({ status: 503 });
        }
        expect(await client.end()).to.equal(0);
        refusing.close();
        refusing.closeAllConnections();
      });
    });
  }

  it('bd is the version that made .beads', async () => {
    const { stdout } = await promisify(execFile)(join(await peerFolder('beads'), 'bd'), ['version'], {
      env: { ...process.env, BD_DISABLE_METRICS: '1', BD_NON_INTERACTIVE: '1' },
    });
    expect(stdout).to.contain('1.3.0');
  });
});

const isProgress = (message: { method?: string }): boolean => message.method === 'notifications/progress';
