/** Malformed HTTP on raw sockets: whatever arrives, what goes back is HTTP, and nothing stays. */
import fc from 'fast-check';
import { type GatewayApp, open, politeChild, startApp } from '../support/gateway-app';
import { heldBytes } from '../support/memory';
import { checkAnswer } from './answers';
import { fuzz, TIMEOUT_MS } from './budget';
import { conversation, SESSION, type Conversation } from './bytes';
import { canary, checkWords } from './canaries';
import { becomesQuiet, countSockets } from './leaks';
import { readAnswers, talk, type RawAnswer } from './socket';

const GROWTH = 24 * 1024 * 1024;

describe('bytes on a raw socket', () => {
  let app: GatewayApp;

  before(async () => {
    app = await startApp({
      maxBodyBytes: 256 * 1024,
      bodyTimeoutMs: 300,
      jsonMs: 30,
      keepaliveMs: 300,
      child(link, { auth }) {
        politeChild(link);
        const polite = link.onMessage;
        const word = canary(auth.user.login);
        link.onMessage = (message) => {
          polite(message);
          link.say({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: word } });
        };
      },
    });
  });
  after(() => app.close());

  const clean = async (): Promise<void> => {
    for (const { name } of app.store.records.values()) await app.registry.endNamed(name, 'user');
    await becomesQuiet(() => {
      const { registry, streams, bodies } = app;
      return { sessions: registry.size, streams: streams.size, bytes: bodies.inFlight, sockets: countSockets() };
    });
    const defect = app.log.lines.find((line) => line.includes('"INTERNAL"'));
    for (const list of [app.children, app.seen, app.log.lines]) list.length = 0;
    app.store.records.clear();
    if (defect !== undefined) throw new Error(defect);
  };

  const converse = async (what: Conversation, session: string): Promise<void> => {
    const fill = (bytes: Buffer): Buffer =>
      Buffer.from(bytes.toString('latin1').replaceAll(SESSION, session), 'latin1');
    const { bytes, closed } = await talk(app.port, what, fill);
    const answers = readAnswers(bytes);
    try {
      for (const answer of answers) check(answer);
      checkWords(bytes.toString('latin1').replaceAll(/\bmk\.\S+/g, ''), 'alice', undefined, new Set());
      const final = answers.filter(({ status }) => status >= 200);
      if (final.length > what.atMost) throw new Error(`${final.length} answers to ${what.atMost} requests at most`);
      if (what.ending === 'wait' && !closed && final.length === 0)
        throw new Error('no answer, and the connection is open');
    } catch (thrown) {
      throw new Error(`${(thrown as Error).message}\ncame back: ${bytes.toString('latin1').slice(0, 2000)}`, {
        cause: thrown,
      });
    }
  };

  it('are answered as HTTP or cut, one answer for each request at most, and leave nothing', async function () {
    this.timeout(TIMEOUT_MS);
    let before: number | undefined;
    await fuzz('bytes', {
      share: 0.15,
      input: fc.array(conversation, { minLength: 1, maxLength: 6 }),
      async run(conversations) {
        try {
          const session = await open(app, 'alice');
          await open(app, 'bob');
          const all = await Promise.allSettled(conversations.map((one) => converse(one, session)));
          for (const one of all) if (one.status === 'rejected') throw one.reason as Error;
          if ((await open(app, 'alice')) === session) throw new Error('an id was minted twice');
        } finally {
          await clean();
        }
      },
      async settled() {
        const bytes = heldBytes();
        before ??= bytes;
        if (bytes > before + GROWTH) throw new Error(`${bytes - before} bytes more are held`);
      },
    });
  });
});

function check({ status, head, body, whole }: RawAnswer): void {
  if (status < 200) return;
  const headers = Object.fromEntries(
    head
      .split('\r\n')
      .slice(1, -1)
      .map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const text = Buffer.from(body, 'latin1').toString('utf8');
  if (NODES_OWN.has(status) && headers['x-request-id'] === undefined && text === '') return;
  checkAnswer({ status, headers, text, end: whole ? 'whole' : 'cut' }, { body: undefined, resumes: true, any: true });
}

/** What Node answers itself, without a body. */
const NODES_OWN = new Set([400, 408, 413, 414, 417, 431, 505]);
