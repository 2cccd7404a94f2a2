import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { request } from 'undici';
import { installed, type Installed } from '../support/installed';
import { eventData } from '../support/event-stream';
import { McpClient } from '../support/mcp';
import { until } from '../support/until';

const MIB = 1024 * 1024;

describe('the gateway under load', () => {
  let app: Installed;

  before(async function () {
    this.timeout(600_000);
    app = await installed();
  });

  it('passes 100 MiB of tool output in 1 MiB messages intact, with its memory flat', async function () {
    this.timeout(240_000);
    const client = new McpClient(app.url('fixture'), app.tokens.alice);
    await client.initialize();
    await client.call('big', { messages: 10, bytes: MIB }, { timeout: 60_000 });
    let peak = 0;
    const sampling = setInterval(() => {
      app.metric('process_resident_memory_bytes').then(
        (rss) => (peak = Math.max(peak, rss)),
        () => undefined,
      );
    }, 500);
    const before = await app.metric('process_resident_memory_bytes');
    const sum = createHash('sha256');
    let count = 0;
    const digest = await streamCall(client, 'big', { messages: 100, bytes: MIB }, (message) => {
      if (message.method !== 'notifications/message') return;
      count++;
      sum.update(String(message.params.data));
    });
    clearInterval(sampling);
    expect(count).to.equal(100);
    expect(digest).to.contain(sum.digest('hex'));
    expect(peak - before, 'growth of the resident memory').to.be.lessThan(64 * MIB);
    await client.end();
    await client.close();
  });

  it('lets a reader that stops reading hurt only its own session', async function () {
    this.timeout(120_000);
    const stalled = new McpClient(app.url('fixture'), app.tokens.alice);
    const lively = new McpClient(app.url('fixture'), app.tokens.bob);
    await Promise.all([stalled.initialize(), lively.initialize()]);
    const before = await app.metric('process_resident_memory_bytes');
    const response = await request(stalled.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        authorization: `Bearer ${stalled.token}`,
        'mcp-session-id': stalled.sessionId!,
      },
      body: JSON.stringify({
        jsonrpc: '2.0',
        id: 'stall',
        method: 'tools/call',
        params: { name: 'big', arguments: { messages: 200, bytes: MIB } },
      }),
    });
    response.body.pause();
    for (let i = 0; i < 200; i++) expect(await lively.text('echo', { text: `${i}` })).to.equal(`${i}`);
    expect((await app.metric('process_resident_memory_bytes')) - before).to.be.lessThan(64 * MIB);
    response.body.destroy();
    await Promise.all([stalled.end(), lively.end()]);
    await Promise.all([stalled.close(), lively.close()]);
  });

  it('leaks nothing over 200 sessions: pods, sockets, descriptors and timers are as before', async function () {
    this.timeout(600_000);
    const cycle = async (i: number) => {
      const client = new McpClient(app.url('fixture'), i % 2 ? app.tokens.alice : app.tokens.bob);
      await client.initialize(120_000);
      expect(await client.text('echo', { text: `session ${i}` })).to.equal(`session ${i}`);
      expect(await client.end()).to.equal(204);
      await client.close();
    };
    const many = async (n: number) => {
      let next = 0;
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          while (next < n) await cycle(next++);
        }),
      );
    };
    await many(16);
    const before = await quiet(app);
    await many(200);
    const after = await quiet(app);
    expect(after.pods).to.equal(before.pods);
    expect(after.sessions).to.equal(before.sessions);
    expect(after.descriptors, 'open descriptors').to.be.at.most(before.descriptors + 4);
    expect(after.sockets, 'sockets').to.be.at.most(before.sockets + 4);
    expect(after.timers, 'timers').to.be.at.most(before.timers + 4);
  });
});

/** The gateway's counts once its keep-alive connections have closed: the lowest of several looks. */
async function quiet(
  app: Installed,
): Promise<Record<'pods' | 'sessions' | 'descriptors' | 'sockets' | 'timers', number>> {
  await until(
    'no session is left over',
    async () => (await app.metric('forgejo_mcp_sessions', { state: 'ending' })) === 0,
  );
  const look = async () => ({
    pods: (await app.sessionPods()).length,
    sessions: await app.metric('forgejo_mcp_sessions'),
    descriptors: await app.metric('process_open_fds'),
    sockets: await app.metric('nodejs_active_resources', { type: 'TCPSocketWrap' }),
    timers: await app.metric('nodejs_active_resources', { type: 'Timeout' }),
  });
  let least = await look();
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 500)); // keep-alive time-outs have no event to wait for
    const now = await look();
    least = Object.fromEntries(
      Object.entries(now).map(([k, v]) => [k, Math.min(v, least[k as keyof typeof now])]),
    ) as typeof now;
  }
  return least;
}

/** A call whose stream is taken message by message, so that the test itself holds one at a time. Resolves with the answer's text. */
async function streamCall(
  client: McpClient,
  name: string,
  args: unknown,
  onMessage: (message: any) => void,
): Promise<string> {
  const { body, statusCode } = await request(client.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      authorization: `Bearer ${client.token}`,
      'mcp-session-id': client.sessionId!,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } }),
    signal: AbortSignal.timeout(200_000),
  });
  expect(statusCode).to.equal(200);
  let answer = '';
  for await (const data of eventData(body)) {
    const message = JSON.parse(data);
    if ('result' in message || 'error' in message) answer = data;
    else onMessage(message);
  }
  return answer;
}
