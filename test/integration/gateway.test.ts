/** The whole gateway on one machine: official clients, real children, a real forge. */
import { Client as ModernClient, StreamableHTTPClientTransport as ModernTransport } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { expect } from 'chai';
import { join } from 'node:path';
import { cites } from '../requirements';
import { type BearerGateway, startBearerGateway } from '../support/bearer-gateway';
import { type Forge, startForge } from '../support/forge';
import { McpClient } from '../support/mcp';
import { childCommand, peerFolder, ScriptedClient } from '../support/peers';
import { until } from '../support/until';

interface Open {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  close(): Promise<void>;
}

describe('the gateway on one machine', function () {
  this.timeout(180_000);
  let forge: Forge;
  let gateway: BearerGateway<Forge>;
  const opened: { close(): Promise<unknown> }[] = [];

  before(async () => {
    const servers = {
      everything: { command: [await childCommand('everything-server')] },
      fixture: { command: [await childCommand('fixture-child')] },
      forgejo: {
        command: [join(await peerFolder('forgejo-mcp-rs'), 'forgejo-mcp-rs')],
        forgejo: { tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] },
      },
    };
    gateway = await startBearerGateway(startForge, servers, { sessions: { maxPerUser: 100 } });
    ({ forge } = gateway);
  });

  after(() => gateway?.stop());

  afterEach(async () => {
    for (const one of opened.splice(0)) await one.close();
  });

  const urlOf = (server: string): string => gateway.urlOf(server);
  const tokenOf = (user: string): string => gateway.tokenOf(user);

  /** The official TypeScript SDK, with everything that a client can be asked. */
  const connect = async (server: string, user = 'alice'): Promise<Open> => {
    const transport = new StreamableHTTPClientTransport(new URL(urlOf(server)), {
      requestInit: { headers: { Authorization: `Bearer ${tokenOf(user)}` } },
    });
    const client = new Client(
      { name: 'test', version: '1' },
      { capabilities: { sampling: {}, elicitation: {}, roots: {} } },
    );
    await client.connect(transport);
    const one = {
      client,
      transport,
      async close() {
        await transport.terminateSession().catch(() => undefined); // some tests end it otherwise
        await client.close();
      },
    };
    opened.push(one);
    return one;
  };

  /** A plain client, where the test looks at statuses. */
  const plain = (server: string, user = 'alice'): McpClient => {
    const client = new McpClient(urlOf(server), tokenOf(user));
    opened.push(client);
    return client;
  };

  const textOf = (result: unknown): string => (result as { content: { text: string }[] }).content[0]?.text ?? '';

  describe('the official TypeScript client (SDK 1)', () => {
    it('opens a session, lists and calls tools, reads resources and prompts, pings, and ends it', async () => {
      cites('2024-11-05/basic/2', '2024-11-05/lifecycle/3', '2024-11-05/ping/1');
      const { client, transport } = await connect('everything');
      expect(transport.sessionId).to.match(/^[0-9a-f]{48}$/);
      expect((await client.listTools()).tools.map(({ name }) => name)).to.include('test_simple_text');
      expect(textOf(await client.callTool({ name: 'test_simple_text' }))).to.not.equal('');
      expect((await client.listResources()).resources).to.not.have.length(0);
      expect((await client.listPrompts()).prompts).to.not.have.length(0);
      await client.ping();
      await transport.terminateSession();
      expect(transport.sessionId).to.equal(undefined);
    });

    it('gets progress, log messages, and questions in the middle of a call', async () => {
      const { client } = await connect('everything');
      client.setRequestHandler(CreateMessageRequestSchema, () => ({
        role: 'assistant',
        model: 'none',
        content: { type: 'text', text: 'sampled answer' },
      }));
      client.setRequestHandler(ElicitRequestSchema, () => ({
        action: 'accept',
        content: { username: 'u', email: 'e@example.org' },
      }));
      const logged: unknown[] = [];
      client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logged.push(params.data));
      await client.setLoggingLevel('debug');

      const progress: number[] = [];
      await client.callTool({ name: 'test_tool_with_progress' }, undefined, {
        onprogress: ({ progress: at }) => progress.push(at),
      });
      expect(progress).to.have.length.above(1);
      await client.callTool({ name: 'test_tool_with_logging' });
      await until('the log messages', async () => logged.length >= 3);
      expect(textOf(await client.callTool({ name: 'test_sampling', arguments: { prompt: 'x' } }))).to.contain(
        'sampled answer',
      );
      expect(textOf(await client.callTool({ name: 'test_elicitation', arguments: { message: 'x' } }))).to.contain(
        'accept',
      );
    });

    it('opens 20 sessions side by side, each with a child of its own', async () => {
      const all = await Promise.all(Array.from({ length: 20 }, () => connect('fixture')));
      const pids = await Promise.all(all.map(async ({ client }) => textOf(await client.callTool({ name: 'pid' }))));
      expect(new Set(pids).size).to.equal(20);
    });

    it('gets an explicit error within the deadline when its child is killed in a call, and other sessions go on', async () => {
      const [victim, other] = [await connect('fixture'), await connect('fixture', 'bob')];
      const failed = victim.client.callTool({ name: 'crash' }).then(
        () => undefined,
        (error: unknown) => error as { code: number; message: string },
      );
      const error = await failed;
      expect(error?.code).to.be.a('number');
      expect(error?.message).to.not.equal('');
      expect(textOf(await other.client.callTool({ name: 'echo', arguments: { text: 'still here' } }))).to.equal(
        'still here',
      );
      const again = await victim.client.ping().catch((thrown: unknown) => thrown as { code: number });
      expect(again).to.include({ code: 404 });
    });
  });

  it('serves the official TypeScript client 2', async () => {
    const transport = new ModernTransport(new URL(urlOf('everything')), {
      requestInit: { headers: { Authorization: `Bearer ${tokenOf('alice')}` } },
    });
    const client = new ModernClient({ name: 'test', version: '2' });
    await client.connect(transport);
    expect((await client.listTools()).tools.map(({ name }) => name)).to.include('test_simple_text');
    await transport.terminateSession();
    await client.close();
  });

  for (const kind of ['python', 'go'] as const) {
    it(`serves the official ${kind} client, with the probe that it makes by default`, async () => {
      for (const mode of ['auto', 'legacy']) {
        const client = await ScriptedClient.start(kind, urlOf('fixture'), tokenOf('alice'));
        try {
          await client.must('initialize', { mode });
          expect(await client.must('tools')).to.include('echo');
          const text = 'a\u00a0b\u2028 👩‍👩‍👧';
          expect(JSON.stringify(await client.must('call', { name: 'echo', arguments: { text } }))).to.contain('👩‍👩‍👧');
          await client.must('close');
        } finally {
          client.signal('SIGKILL');
          await client.exit();
        }
      }
    });
  }

  describe('a real Forgejo child before a real forge', () => {
    const file = (owner: string) => ({
      name: 'get_file_contents',
      arguments: { owner, repo: 'private-notes', path: 'secret.md' },
    });

    it("reads its own user's private file, and cannot read another's", async () => {
      for (const [user, other] of [
        ['alice', 'bob'],
        ['bob', 'alice'],
      ] as const) {
        const { client } = await connect('forgejo', user);
        expect(textOf(await client.callTool({ name: 'whoami' }))).to.contain(user);
        expect(JSON.stringify(await client.callTool(file(user)))).to.contain(forge.user(user).secret.trim());
        const theirs = await client.callTool(file(other)).then(JSON.stringify, String);
        expect(theirs).to.not.contain(forge.user(other).secret.trim());
      }
    });

    it("holds no token of the user's: its capability is all it has, and works nowhere else", async () => {
      cites('2025-06-18/authorization/55', '2025-11-25/elicitation/26');
      const client = plain('fixture');
      await client.initialize();
      const env = await client.json<Record<string, string>>('env');
      expect(Object.keys(env).sort()).to.deep.equal(['FORGEJO_ACCESS_TOKEN', 'FORGEJO_URL']);
      expect(JSON.stringify(env)).to.not.contain(tokenOf('alice'));
      const headers = { authorization: `token ${env.FORGEJO_ACCESS_TOKEN ?? ''}` };
      const through = async (base: string) => (await fetch(`${base}/api/v1/user`, { headers })).status;
      expect(await through(env.FORGEJO_URL ?? '')).to.equal(200);
      expect(await through(forge.url)).to.equal(401);
      await client.end();
      expect(await through(env.FORGEJO_URL ?? '')).to.equal(401);
    });
  });

  describe('who is asking', () => {
    const INITIALIZE = {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 't', version: '1' } },
    };
    const initialize = async (token: string) => {
      const client = new McpClient(urlOf('fixture'), token);
      opened.push(client);
      const answer = await client.post(INITIALIZE);
      client.sessionId = answer.headers['mcp-session-id'] as string | undefined;
      if (answer.status === 200) await client.end();
      return answer;
    };

    it('answers 401 for a token that the forge does not know, and 200 for one that it does', async () => {
      cites('2025-11-25/elicitation/24', '2025-11-25/elicitation/49');
      const wrong = await initialize('0'.repeat(40));
      expect(wrong.status).to.equal(401);
      expect(wrong.headers['www-authenticate']).to.contain('invalid_token');
      expect((await initialize(tokenOf('alice'))).status).to.equal(200);
    });

    it('answers 403 with the scope that is needed for a token that may not say whose it is', async () => {
      const answer = await initialize(await forge.token('alice', ['read:repository']));
      expect(answer.status).to.equal(403);
      expect(answer.headers['www-authenticate']).to.contain('scope="read:user"');
    });

    it("answers 403 for another token of the same user on this token's session", async () => {
      const client = plain('fixture');
      await client.initialize();
      const other = new McpClient(client.url, forge.user('alice').tokens.read);
      opened.push(other);
      other.sessionId = client.sessionId;
      expect((await other.call('echo', { text: 'x' })).status).to.equal(403);
      expect(await client.text('echo', { text: 'mine' })).to.equal('mine');
    });

    it('answers 503 with Retry-After while the forge is away, and goes on when it is back', async () => {
      const fresh = await forge.token('bob', ['read:user']);
      await forge.kill();
      try {
        const answer = await initialize(fresh);
        expect(answer.status).to.equal(503);
        expect(answer.headers['retry-after']).to.not.equal(undefined);
      } finally {
        await forge.restart();
      }
      expect((await initialize(fresh)).status).to.equal(200);
    });
  });

  describe('operations', () => {
    it('is ready, healthy, and counts what happens', async () => {
      expect((await fetch(`${gateway.opsUrl}/readyz`)).status).to.equal(200);
      expect((await fetch(`${gateway.opsUrl}/healthz`)).status).to.equal(200);
      const before = await gateway.metric('forgejo_mcp_session_opens_total{server="fixture"}');
      const client = plain('fixture');
      await client.initialize();
      await client.text('echo', { text: 'x' });
      await client.end();
      expect(await gateway.metric('forgejo_mcp_session_opens_total{server="fixture"}')).to.equal(before + 1);
      const metrics = await gateway.metrics();
      for (const shown of [
        'forgejo_mcp_sessions{state="active"}',
        'forgejo_mcp_session_ends_total{server="fixture",reason="deleted"}',
        'forgejo_mcp_calls_total{method="tools/call",outcome="answered"}',
        'forgejo_mcp_backend_start_duration_seconds_count{phase="',
        'forgejo_mcp_auth_checks_total{outcome="ok",cached="true"}',
        'forgejo_mcp_proxy_requests_total{method="GET"',
        'forgejo_mcp_link_bytes_total{direction="in"}',
        'process_cpu_seconds_total',
        'nodejs_eventloop_lag_seconds',
        'forgejo_mcp_proxy_held_body_bytes 0',
      ]) {
        expect(metrics).to.contain(shown);
      }
    });
  });

  it('writes no token, session id, capability or key anywhere: log, metrics, errors', async () => {
    cites('2025-11-25/transports/41');
    const client = plain('fixture');
    await client.initialize();
    const env = await client.json<Record<string, string>>('env');
    const capability = env.FORGEJO_ACCESS_TOKEN ?? '';
    const secrets = [tokenOf('alice'), tokenOf('bob'), client.sessionId ?? '', capability, ...(await gateway.keys())];
    // A child that says everything it should not, on stderr and as noise.
    for (const text of [
      `Authorization: token ${capability}`,
      `token=${tokenOf('alice')}`,
      `session ${client.sessionId ?? ''}`,
    ]) {
      await client.call('stderr', { text: `${text}\n` });
      await client.call('noise', { text: `${text}\n` });
    }
    const answers = [
      (await client.post('{"broken', { headers: {} })).text,
      (await new McpClient(client.url, `${tokenOf('alice')}x`).call('echo')).text,
    ];
    await client.end();
    answers.push((await client.call('echo')).text);
    await until('the log to tell the end', async () => gateway.lines.some((line) => line.includes('session.ended')));
    const everything = [...gateway.lines, await gateway.metrics(), ...answers].join('\n');
    for (const secret of secrets) {
      expect(secret).to.have.length.above(20);
      expect(everything.includes(secret), `a secret of ${String(secret.length)} characters is written`).to.equal(false);
    }
    expect(everything).to.contain('child.stderr');
  });
});
