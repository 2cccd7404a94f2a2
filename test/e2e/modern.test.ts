/** Clients of MCP 2026-07-28 on the real cluster: which pods their requests start, use and leave, with a child of either era in them. */
import { expect } from 'chai';
import { installed, type Installed } from '../support/installed';
import { askedBy, EVERYTHING, textIn } from '../support/modern-gateway';
import { StatelessClient } from '../support/stateless-client';
import { until } from '../support/until';

const CHANGED = 'notifications/tools/list_changed';
const FORM = { message: 'Who?', requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } };
const ACCEPTED = { action: 'accept', content: { name: 'Ada' } };

describe('requests of MCP 2026-07-28 and pods', () => {
  let app: Installed;

  before(async function () {
    this.timeout(600_000);
    app = await installed();
  });

  /** Names of a server's pods, terminating ones too. */
  const podsOf = async (server: string): Promise<string[]> => {
    const list = await app.kubectl(
      ...['get', 'pods', '-n', app.sessionsNamespace, '-o', 'name'],
      ...['-l', `forgejo-mcp-operator/server=${server}`],
    );
    return list.split('\n').filter(Boolean);
  };
  const none = (server: string): Promise<unknown> =>
    until(`no pod of ${server} is left`, async () => (await podsOf(server)).length === 0, 90_000);

  for (const [server, era, change, question] of [
    [
      'brief',
      'the old era',
      { name: 'notify', arguments: { method: CHANGED } },
      { name: 'ask', arguments: { method: 'elicitation/create', params: FORM } },
    ],
    [
      'conformance',
      '2026-07-28',
      { name: 'test_trigger_tool_change', arguments: {} },
      { name: 'test_input_required_result_elicitation', arguments: {} },
    ],
  ] as const) {
    it(`a hundred first requests start one pod, further ones use it, idle time removes it, and the next brings another (a child of ${era})`, async function () {
      this.timeout(300_000);
      await none(server);
      const client = new StatelessClient(app.url(server), await app.token('alice', server), EVERYTHING);
      const other = new StatelessClient(app.url(server), await app.token('bob', server), EVERYTHING);
      try {
        const discovered = await Promise.all(Array.from({ length: 100 }, () => client.call('server/discover')));
        for (const { status, headers, answer } of discovered) {
          expect([status, answer.result?.resultType], JSON.stringify(answer)).to.deep.equal([200, 'complete']);
          expect(headers['mcp-session-id']).to.equal(undefined);
        }
        const [pod, ...more] = await podsOf(server);
        expect(more).to.deep.equal([]);
        await other.call('server/discover');
        expect(await podsOf(server))
          .to.have.length(2)
          .and.include(pod);

        const asked = askedBy(await client.call('tools/call', question));
        const inputResponses = Object.fromEntries(asked.keys.map((key) => [key, ACCEPTED]));
        const retry = {
          ...question,
          inputResponses,
          ...(asked.state === undefined ? {} : { requestState: asked.state }),
        };
        expect(
          (await other.call('tools/call', { ...retry, requestState: asked.state ?? 'none' })).answer.error.code,
        ).to.equal(-32602);
        expect(textIn(await client.call('tools/call', retry))).to.contain('Ada');

        const listen = client.message('subscriptions/listen', { notifications: { toolsListChanged: true } });
        const stream = await client.open(listen);
        expect((await stream.next()).method).to.equal('notifications/subscriptions/acknowledged');
        await client.call('tools/call', change);
        expect((await stream.next()).method).to.equal(CHANGED);

        await none(server);
        expect((await client.call('tools/list')).status).to.equal(200);
        const [next, ...others] = await podsOf(server);
        expect(others).to.deep.equal([]);
        expect(next).to.be.a('string').and.not.equal(pod);
        expect((await stream.next()).method).to.equal(CHANGED);
        await client.call('tools/call', change);
        expect((await stream.next()).method).to.equal(CHANGED);
        stream.close();
      } finally {
        await client.close();
        await other.close();
      }
      await none(server);
    });
  }

  it('a pod that is deleted in a call is told in the answer, and the next request has another', async function () {
    this.timeout(180_000);
    const server = 'brief';
    await none(server);
    const client = new StatelessClient(app.url(server), await app.token('alice', server), EVERYTHING);
    try {
      const call = client.message(
        'tools/call',
        { name: 'slow', arguments: { ms: 60_000, steps: 600 } },
        { progressToken: 1 },
      );
      const stream = await client.open(call);
      expect((await stream.next()).method).to.equal('notifications/progress');
      const [pod = ''] = await podsOf(server);
      await app.kubectl('delete', '-n', app.sessionsNamespace, pod, '--wait=false', '--grace-period=0', '--force');
      let last = await stream.next();
      while (last?.method !== undefined) last = await stream.next();
      expect(last).to.include({ id: call.id });
      expect(last.error.message).to.be.a('string').that.is.not.empty;
      const { called } = JSON.parse(textIn(await client.tool('state')));
      expect(called).to.deep.equal({ state: 1 });
    } finally {
      await client.close();
    }
    await none(server);
  });
});
