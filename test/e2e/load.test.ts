import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { type Dispatcher, request } from 'undici';
import { installed, type Installed } from '../support/installed';
import { eventData } from '../support/event-stream';
import type { McpClient } from '../support/mcp';
import { peakWhile } from '../support/peak';
import { until } from '../support/until';

const MIB = 1024 * 1024;

/**
 * What two peaks of equal work may differ by: V8 lets this much of buffers pile up before it collects them, and a process never gives all of it
 * back, so memory grows by that much once, whatever passes. Peaks are compared after as much has passed already, and the volume is three
 * times as large: whoever keeps it is seen.
 */
const SLACK = 64 * MIB;

describe('the gateway under load', () => {
  let app: Installed;

  before(async function () {
    this.timeout(600_000);
    app = await installed();
  });

  const resident = () => app.metric('process_resident_memory_bytes');

  it('passes 200 MiB of tool output in 1 MiB messages intact; as one call they take no more memory than as twenty', async function () {
    this.timeout(300_000);
    const client = await app.client('alice', 'fixture');
    await client.initialize();
    const many = await peakWhile(resident, async () => {
      for (let i = 0; i < 20; i++) await streamBig(client, 10);
    });
    const one = await peakWhile(resident, () => streamBig(client, 200));
    expect(one - many, 'growth of the resident memory').to.be.lessThan(SLACK);
    await client.end();
    await client.close();
  });

  it('lets a reader that stops reading hurt only its own session: what it does not read is not kept', async function () {
    this.timeout(300_000);
    const stalled = await app.client('alice', 'fixture');
    const lively = await app.client('bob', 'fixture');
    await Promise.all([stalled.initialize(), lively.initialize()]);
    // While this passes, a child that nobody holds back has time to say as much.
    const pass = async () => {
      for (let i = 0; i < 20; i++) {
        await streamBig(lively, 10);
        for (let k = 0; k < 10; k++) expect(await lively.text('echo', { text: `${i}.${k}` })).to.equal(`${i}.${k}`);
      }
    };
    const alone = await peakWhile(resident, pass);
    const response = await requestBig(stalled, 200);
    response.body.pause();
    const beside = await peakWhile(resident, pass);
    expect(beside - alone, 'growth of the resident memory').to.be.lessThan(SLACK);
    response.body.destroy();
    await Promise.all([stalled.end(), lively.end()]);
    await Promise.all([stalled.close(), lively.close()]);
  });

  it('leaks nothing over 80 sessions: pods, sockets, descriptors and timers are as before', async function () {
    this.timeout(600_000);
    const cycle = async (i: number) => {
      const client = await app.client(i % 2 ? 'alice' : 'bob', 'fixture');
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
    await many(80);
    const after = await quiet(app);
    // One of an earlier test may have come to sleep since.
    expect(after.pods).to.be.at.most(before.pods);
    expect(after.sessions).to.be.at.most(before.sessions);
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

/** Calls the tool that says so many messages of 1 MiB, and takes them one by one, so that the test itself holds one at a time. Fails unless all came whole. */
async function streamBig(client: McpClient, messages: number): Promise<void> {
  const { body, statusCode } = await requestBig(client, messages);
  expect(statusCode).to.equal(200);
  const sum = createHash('sha256');
  let count = 0;
  let answer = '';
  for await (const data of eventData(body)) {
    const message = JSON.parse(data);
    if ('result' in message || 'error' in message) answer = data;
    if (message.method !== 'notifications/message') continue;
    count++;
    sum.update(String(message.params.data));
  }
  expect(count).to.equal(messages);
  expect(answer).to.contain(sum.digest('hex'));
}

/** Sends that call and leaves its stream to be read. */
function requestBig(client: McpClient, messages: number): Promise<Dispatcher.ResponseData> {
  return request(client.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      authorization: `Bearer ${client.token}`,
      'mcp-session-id': client.sessionId!,
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 'big',
      method: 'tools/call',
      params: { name: 'big', arguments: { messages, bytes: MIB } },
    }),
    signal: AbortSignal.timeout(200_000),
  });
}
