import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { get, outage } from './cluster';
import { Gateways } from './gateways';
import type { Installed } from './installed';
import { McpClient } from './mcp';
import { until } from './until';

const REPLICAS = 2;
/** Milliseconds between two tries of a client that was refused. */
const AGAIN_MS = 1_000;
/** Milliseconds from when the API server is back to when pods reach it: where it was the only one, its Service had no endpoint, and kube-proxy looks again after up to a minute. */
const BACK_MS = 150_000;

/** An outage of the API server: what it is called, what it is done with, and for how many seconds. */
export type Outage = readonly [what: string, how: 'TERM' | 'STOP', seconds: number];

/** Two gateways, and an API server that nobody can ask for a while. */
export const outages = (...all: readonly Outage[]): Mocha.Suite =>
  describe('while the API server is away', () => {
    const gateways = Gateways.use(REPLICAS);
    let app: Installed;
    before(() => (app = gateways.app));

    /** What of each session must be the same afterwards: who has it, since when, and in which pod. */
    const standing = (sessions: readonly McpClient[]): Promise<unknown[]> =>
      Promise.all(
        sessions.map(async ({ sessionId }) => {
          const name = createHash('sha256').update(String(sessionId)).digest('hex').slice(0, 40);
          const { state, holder, epoch, pod } = (await get('mcpsession', name, app.sessionsNamespace)).status;
          return { state, holder, epoch, pod };
        }),
      );

    /** Since when each gateway is ready, and how often it was started. */
    const readiness = async (): Promise<unknown[]> =>
      Promise.all(
        (await app.gatewayPods()).map(async (name) => {
          const { conditions, containerStatuses } = (await get('pod', name, app.namespace)).status;
          const ready = (conditions as any[]).find(({ type }) => type === 'Ready');
          return [name, ready.status, ready.lastTransitionTime, containerStatuses[0].restartCount];
        }),
      );

    /** One request over a connection of its own. */
    const apart = async <T>(client: McpClient, work: (once: McpClient) => Promise<T>): Promise<T> => {
      const once = new McpClient(client.url, client.token);
      once.sessionId = client.sessionId;
      try {
        return await work(once);
      } finally {
        await once.close();
      }
    };

    for (const [what, how, seconds] of all) {
      it(`no session ends: it ${what}; calls in flight are answered, others wait or are refused (503), and all is as before`, async function () {
        this.timeout(630_000);
        const sessions = await Promise.all(
          ['alice', 'bob', 'alice', 'bob', 'alice', 'bob'].map((user) => gateways.open(user)),
        );
        await until('all are ready', async () => (await readiness()).every((one: any) => one[1] === 'True'), 60_000);
        const before = { sessions: await standing(sessions), gateways: await readiness() };
        const counts: Record<string, number> = {};
        const wrong: string[] = [];
        const count = (what: string): void => void (counts[what] = (counts[what] ?? 0) + 1);

        // Two calls on each session that are under way when it begins: one is over before its end, and one after it. Each is told apart by its time.
        const flying = sessions.flatMap((client, i) =>
          [seconds * 500, seconds * 1000 + 20_000].map((ms) =>
            apart(client, async (once) => {
              const { status, answer } = await once.call('slow', { ms: ms + i, steps: 10 }, { timeout: 400_000 });
              return [
                status,
                answer?.error?.message ?? answer?.result?.content?.[0]?.text,
                `slept for ${String(ms + i)} ms`,
              ];
            }),
          ),
        );
        // And calls all the time, each over a new connection.
        let isOver = false;
        const calling = sessions.map(async (client, i) => {
          for (let n = 0; !isOver; n += 1) {
            const text = `${String(i)}.${String(n)}`;
            const response = await apart(client, (once) => once.call('echo', { text }, { timeout: 300_000 })).catch(
              () => undefined,
            );
            count(String(response?.status ?? 'cut'));
            if (response?.status === 503 && !/^\d+$/.test(String(response.headers['retry-after'])))
              wrong.push('no Retry-After');
            if (response?.status === 200 && response.answer?.result?.content?.[0]?.text !== text)
              wrong.push(response.text);
            if (response?.status !== 200) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
          }
        });
        const away = outage(seconds, how);
        // Once it is known to be away: what was begun before may wait for it to come back.
        const opened = until('it is away', async () => counts['503'] !== undefined, 120_000).then(async () => {
          const params = {
            protocolVersion: '2025-06-18',
            capabilities: {},
            clientInfo: { name: 'late', version: '1' },
          };
          const late = await app.client('alice', 'fixture');
          const { status, headers } = await late.request('initialize', params).finally(() => late.close());
          return [status, Number(headers['retry-after']) > 0];
        });
        opened.catch(() => undefined); // it is awaited below
        try {
          await away;
          await Promise.all(
            sessions.map((client, i) =>
              until(
                'it is answered',
                () => apart(client, async (once) => (await once.call('echo', { text: String(i) })).status === 200),
                BACK_MS,
              ),
            ),
          );
        } finally {
          isOver = true;
          await Promise.all(calling);
        }
        const answers = await Promise.all(flying);
        console.log(
          `      ${JSON.stringify(counts)}; in flight: ${String(answers.filter(([status]) => status === 200).length)} answered`,
        );
        expect(answers.map(([status, text]) => [status, text])).to.deep.equal(
          answers.map(([, , expected]) => [200, expected]),
        );
        expect(await opened).to.deep.equal([503, true]);
        expect(wrong).to.deep.equal([]);
        const { '200': answered, '503': refused, ...others } = counts;
        expect([others, answered > sessions.length, refused > 0]).to.deep.equal([{}, true, true]);
        expect({ sessions: await standing(sessions), gateways: await readiness() }).to.deep.equal(before);
        await until('one pod each', async () => (await app.sessionPods()).length === gateways.clients.length, 120_000);
      });
    }
  });
