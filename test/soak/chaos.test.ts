/**
 * Everything at once, as long as FMO_CHAOS_SECONDS says: three gateways, 60 sessions of 20 users that call all the time, and every 20 s a gateway that is killed without
 * grace; a rolling upgrade, the operator's leader killed, the API server and the kubelet restarted, and a tenth of the sessions' pods deleted. Every call's outcome is
 * counted, and what it did at the forge: a comment with a text of its own, so that a call that ran twice is seen wherever it ran.
 */
import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { callForge } from '../../scripts/seed-forge';
import { get } from '../support/cluster';
import { Gateways } from '../support/gateways';
import type { Installed } from '../support/installed';
import { textOf } from '../support/mcp';
import { Broke, Refused, ResumingClient } from '../support/resuming-client';
import { until } from '../support/until';

const SECONDS = Number(process.env['FMO_CHAOS_SECONDS'] ?? '300');
const USERS = Array.from({ length: 20 }, (_, i) => `user${String(i + 1).padStart(2, '0')}`);
const SESSIONS_PER_USER = 3;
const REPLICAS = 3;
const KILL_EVERY_MS = 20_000;
const ISSUE = '/repos/shared/handbook/issues/1/comments';
/** What the gateway may say of a call that it did not run, or of which nobody knows what became. */
const EXPLICIT = [
  'BACKEND_ENDED',
  'BACKEND_UNAVAILABLE',
  'BACKEND_START_DEADLINE',
  'WAKE_FAILED',
  'DRAINING',
  'STORE_UNAVAILABLE',
  'AUTH_UNAVAILABLE',
  'LINK_CLOSED',
  'CALL_DEADLINE',
  'EVENT_UNKNOWN',
];

interface Outcome {
  readonly key: string;
  /** `answered`, `cut`, or the code of the error. */
  readonly what: string;
  readonly writes: boolean;
}

describe(`chaos for ${SECONDS} s`, () => {
  const gateways = Gateways.use(REPLICAS);
  let app: Installed;
  const outcomes: Outcome[] = [];
  const wrong: string[] = [];

  before(async function () {
    this.timeout(120_000);
    app = gateways.app;
    await app.forge.addUsers(USERS);
  });

  const kubectl = (...args: string[]): Promise<string> => app.kubectl('-n', app.namespace, ...args);
  const pick = <T>(all: readonly T[]): T => all[Math.floor(Math.random() * all.length)];

  const killGateway = async (): Promise<void> => {
    const pod = pick(await app.gatewayPods());
    await app.signalGateway('KILL', pod).catch(() => undefined); // it may be gone already
    await kubectl('delete', 'pod', pod, '--force', '--grace-period=0', '--ignore-not-found', '--wait=false');
  };

  const killLeader = async (): Promise<void> => {
    const { spec } = await get('lease', `${app.release}-operator`, app.namespace);
    const pods = await kubectl('get', 'pods', '-l', 'app.kubernetes.io/component=operator', '-o', 'name');
    const names = pods.split('\n').filter((name) => name !== '');
    const pod = names.find((name) => String(spec.holderIdentity).includes(name.replace('pod/', ''))) ?? pick(names);
    await kubectl('delete', pod, '--force', '--grace-period=0', '--wait=false');
  };

  const deletePods = async (): Promise<void> => {
    const pods = (await app.sessionPods()).map(({ name }) => name).sort(() => Math.random() - 0.5);
    const some = pods.slice(0, Math.ceil(pods.length / 10));
    await app.kubectl('-n', app.sessionsNamespace, 'delete', 'pod', '--wait=false', '--ignore-not-found', ...some);
  };

  /** What happens beside the kills, and when: a part of the whole time. */
  const faults: readonly (readonly [number, string, () => Promise<unknown>])[] = [
    [0.15, 'rolling upgrade', () => kubectl('rollout', 'restart', `deployment/${app.release}-gateway`)],
    [0.4, 'leader killed', killLeader],
    [0.5, 'API server restarted', () => app.restart('kube-apiserver')],
    [0.65, 'kubelet restarted', () => app.restart('kubelet')],
    [0.8, 'a tenth of the pods deleted', deletePods],
  ];

  const codeOf = (body: string): string => {
    try {
      const { error } = JSON.parse(body) as { error?: { data?: { code?: string }; message?: string } };
      return error?.data?.code ?? error?.message ?? body.slice(0, 200);
    } catch {
      return body.slice(0, 200);
    }
  };

  /** One call. Every fourth one writes at the forge. */
  const call = async (client: ResumingClient, forge: Record<string, string>, n: number, i: number): Promise<void> => {
    const key = `call ${i}.${n}`;
    const writes = n % 4 === 3;
    const settle = (what: string): unknown => outcomes.push({ key, what, writes });
    try {
      const answer = await client.call('tools/call', {
        name: writes ? 'http' : n % 4 === 1 ? 'slow' : 'echo',
        arguments: writes
          ? {
              url: `${forge['FORGEJO_URL']}/api/v1${ISSUE}`,
              method: 'POST',
              headers: { Authorization: `token ${forge['FORGEJO_ACCESS_TOKEN']}`, 'Content-Type': 'application/json' },
              body: JSON.stringify({ body: key }),
            }
          : n % 4 === 1
            ? { ms: 3000 + i, steps: 3 }
            : { text: key },
      });
      if (answer.error !== undefined) {
        settle(codeOf(JSON.stringify(answer)));
        return;
      }
      const text = textOf(answer);
      const wanted = writes ? key : n % 4 === 1 ? `slept for ${3000 + i} ms` : key;
      // What the forge's API said is told by the tool, not by the gateway.
      if (writes && !text.includes('"status":201'))
        settle(`forge: ${text.replaceAll(/[0-9a-f.:]{9,}/g, '').slice(0, 60)}`);
      else {
        if (!text.includes(wanted)) wrong.push(`${key}: ${text.slice(0, 200)}`);
        settle('answered');
      }
    } catch (thrown) {
      if (thrown instanceof Broke) settle('cut');
      else if (thrown instanceof Refused) settle(codeOf(thrown.body));
      else settle(`lost: ${(thrown as Error).message}`);
    }
  };

  it('answers every call once and correctly, or says what became of it; pods and sessions match afterwards', async function () {
    this.timeout((SECONDS + 900) * 1000);
    const clients: ResumingClient[] = [];
    const environments: Record<string, string>[] = [];
    for (let round = 0; round < SESSIONS_PER_USER; round += 1) {
      const opened = await Promise.all(
        USERS.map(async (user) => {
          const client = new ResumingClient(app.url('fixture'), await app.token(user, 'fixture'));
          await client.initialize();
          return client;
        }),
      );
      clients.push(...opened);
    }
    const readEnvironment = async (client: ResumingClient): Promise<Record<string, string>> =>
      JSON.parse(await client.text('env', {})) as Record<string, string>;
    environments.push(...(await Promise.all(clients.map(readEnvironment))));

    const ends = performance.now() + SECONDS * 1000;
    const isOver = (): boolean => performance.now() > ends;
    const calling = clients.map(async (client, i) => {
      for (let n = 0; !isOver(); n += 1) {
        await call(client, environments[i], n, i);
        const { what, writes } = outcomes[outcomes.length - 1];
        // A new child has a capability of its own.
        if (what !== 'answered' || writes) environments[i] = await readEnvironment(client).catch(() => environments[i]);
        await pause(500);
      }
    });
    const killing = (async () => {
      while (!isOver()) {
        await killGateway().catch((thrown: unknown) => console.log(`      no kill: ${String(thrown)}`));
        await pause(KILL_EVERY_MS);
      }
    })();
    const breaking = (async () => {
      for (const [part, what, act] of faults) {
        await pause(Math.max(0, ends - SECONDS * 1000 * (1 - part) - performance.now()));
        console.log(`      ${what}`);
        await act().catch((thrown: unknown) => console.log(`      ${what}: ${String(thrown)}`));
      }
    })();
    await Promise.all([...calling, killing, breaking]);

    const counts: Record<string, number> = {};
    for (const { what } of outcomes) counts[what] = (counts[what] ?? 0) + 1;
    console.log(`      ${outcomes.length} calls: ${JSON.stringify(counts)}`);
    expect(wrong, 'answers of others').to.deep.equal([]);
    expect(
      clients.flatMap(({ doubled }) => doubled),
      'answered twice',
    ).to.deep.equal([]);
    const others = Object.keys(counts).filter(
      (what) => !what.startsWith('forge') && !['answered', 'cut', ...EXPLICIT].includes(what),
    );
    expect(others, 'neither answered nor refused').to.deep.equal([]);

    const written = await comments();
    const twice = [...written].filter(([, times]) => times > 1);
    expect(twice, 'run twice').to.deep.equal([]);
    const missing = outcomes.filter(({ key, what, writes }) => writes && what === 'answered' && !written.has(key));
    expect(missing, 'answered and not run').to.deep.equal([]);

    // Every session goes on under its id, each with one pod.
    await until(
      'all gateways serve',
      async () => {
        const { status } = await get('deployment', `${app.release}-gateway`, app.namespace);
        return status.readyReplicas === REPLICAS && status.replicas === REPLICAS;
      },
      120_000,
    );
    const alive = await Promise.all(
      clients.map((client, i) =>
        until(`session ${i} answers`, async () => (await client.text('echo', { text: 'x' })) === 'x', 120_000),
      ),
    );
    expect(alive).to.have.length(clients.length);
    const names = clients.map(({ sessionId }) =>
      createHash('sha256')
        .update(sessionId ?? '')
        .digest('hex')
        .slice(0, 40),
    );
    await until(
      'pods and sessions match one for one',
      async () => {
        const pods = (await app.sessionPods()).map(({ session }) => session);
        return JSON.stringify(pods.sort()) === JSON.stringify([...names].sort());
      },
      180_000,
    );
    await Promise.all(clients.map((client) => client.close()));
  });

  /** The texts of all comments, and how often each is there. */
  const comments = async (): Promise<Map<string, number>> => {
    const found = new Map<string, number>();
    const { tokens } = app.forge.seed.users[USERS[0]];
    for (let page = 1; ; page += 1) {
      const path = `/repos/shared/handbook/issues/comments?limit=50&page=${page}`;
      const { body } = await callForge(app.forge.publicUrl, path, { as: tokens.full });
      for (const { body: text } of body as { body: string }[]) found.set(text, (found.get(text) ?? 0) + 1);
      if ((body as unknown[]).length < 50) return found;
    }
  };
});
