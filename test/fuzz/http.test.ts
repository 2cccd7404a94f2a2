/** Stories of clients over real HTTP against the real application, registry and bridge, with children that may do anything. */
import { type GatewayApp, startApp } from '../support/gateway-app';
import { heldBytes } from '../support/memory';
import { serverSpec } from '../support/server-spec';
import { story, type User } from './acts';
import { fuzz, TIMEOUT_MS } from './budget';
import { canary } from './canaries';
import { haunt, type HauntedChild } from './haunted';
import { becomesQuiet, countSockets, TimerCount } from './leaks';
import { Teller } from './teller';

/** Bytes that may be held in the end beyond what was held in the beginning: the engine's own, which grow with use. */
const GROWTH = 24 * 1024 * 1024;

describe('/mcp, whatever clients and children do', () => {
  let app: GatewayApp;
  let choices: readonly number[] = [];
  let turn = 0;
  const children: HauntedChild[] = [];
  const faults: unknown[] = [];
  const timers = new TimerCount();

  before(async () => {
    timers.start();
    app = await startApp({
      servers: [serverSpec({ name: 'default', maxCallsInFlight: 8, startTimeout: 1, callTimeout: 5 })],
      maxBodyBytes: 256 * 1024,
      jsonMs: 30,
      keepaliveMs: 300,
      observer: { fault: (thrown) => void faults.push(thrown) },
      child(link, { auth }) {
        const { login } = auth.user;
        children.push(haunt(link, login, canary(login), () => choices[turn++ % choices.length] ?? 0));
      },
    });
  });

  after(async () => {
    await app.close();
    timers.stop();
  });

  /**
   * What one story may leave: nothing. Sessions that no client can end are ended as an administrator would: those whose opener never read their id,
   * and those of the stateless era, which may still be starting when the last client has left.
   */
  const clean = async (): Promise<void> => {
    await becomesQuiet(() => {
      const { registry, streams, bodies } = app;
      for (const { name, endedAt } of app.store.records.values()) {
        if (endedAt === undefined) void registry.endNamed(name, 'user');
      }
      const running = app.children.filter((link) => link.running).length;
      return {
        sessions: registry.size,
        streams: streams.size,
        bytes: bodies.inFlight,
        running,
        sockets: countSockets(),
      };
    });
    const wrong = children.flatMap(({ wrongs }) => wrongs)[0] ?? faults[0];
    const defect = app.log.lines.find((line) => line.includes('"INTERNAL"'));
    for (const list of [children, faults, app.children, app.seen, app.log.lines]) list.length = 0;
    app.store.records.clear();
    if (wrong !== undefined) throw wrong instanceof Error ? wrong : new Error(JSON.stringify(wrong));
    if (defect !== undefined) throw new Error(defect);
  };

  it('answers every request once or closes, shows nothing to others, and keeps nothing', async function () {
    this.timeout(TIMEOUT_MS);
    let before: { timers: number; bytes: number } | undefined;
    await fuzz('stories', {
      share: 0.3,
      input: story,
      async run(told) {
        choices = told.moods;
        turn = 0;
        const bearer = (user: User): string => user;
        try {
          await new Teller({ port: app.port, path: '/mcp', bearer }).tell(told);
        } finally {
          await clean();
        }
      },
      async settled() {
        const allowed = before?.timers;
        if (allowed !== undefined) {
          await becomesQuiet(() => ({ timers: Math.max(0, timers.size - allowed) }));
        }
        const bytes = heldBytes();
        before ??= { timers: timers.size, bytes };
        if (bytes > before.bytes + GROWTH) throw new Error(`${bytes - before.bytes} bytes more are held`);
      },
    });
  });
});
