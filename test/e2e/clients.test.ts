import { expect } from 'chai';
import { cancels, isCut, losesItsChild, opens, SDK_CLIENTS, startsAgain, talks } from '../support/conversation';
import { CuttingProxy } from '../support/cutting-proxy';
import { calling, inspect } from '../support/inspector';
import { installed, type Installed } from '../support/installed';
import { until } from '../support/until';

type User = 'alice' | 'bob';
const USERS: readonly User[] = ['alice', 'bob'];
const other = (user: User): User => (user === 'alice' ? 'bob' : 'alice');
const read = (user: User) => ({ owner: user, repo: 'private-notes', path: 'secret.md' });

/** Whether a tool's result shows a file's text, plain or in base64 as the forge's API gives it. */
function shows(result: unknown, text: string): boolean {
  const all = JSON.stringify(result);
  const coded = Buffer.from(text).toString('base64');
  return all.includes(text) || all.includes(coded.slice(0, coded.length - 4));
}

describe('an official MCP client through the gateway in the cluster', () => {
  let app: Installed;
  let podsBefore: number;

  before(async function () {
    this.timeout(600_000);
    app = await installed();
    podsBefore = (await app.sessionPods()).length;
  });

  const podsAreGone = () =>
    until('the pods are gone', async () => (await app.sessionPods()).length === podsBefore, 90_000);

  for (const real of SDK_CLIENTS.filter(({ mode }) => mode === 'legacy')) {
    it(`${real.name}: two users list tools and read their own private file, never the other's, in a pod each`, async function () {
      this.timeout(180_000);
      const clients = await Promise.all(
        USERS.map(async (user) => {
          const client = await real.start(app.url(), await app.token(user));
          await opens(real, client);
          return client;
        }),
      );
      expect((await app.sessionPods()).length - podsBefore, 'pods').to.equal(2);
      await Promise.all(
        USERS.map(async (user, i) => {
          const client = clients[i];
          expect(await client.must('tools')).to.include('get_file_contents');
          const own = app.forge.seed.users[user].secret.trim();
          const theirs = app.forge.seed.users[other(user)].secret.trim();
          const readFile = (of: User) => client.do('call', { name: 'get_file_contents', arguments: read(of) });
          const mine = await readFile(user);
          expect(shows(mine, own), `${user} reads the own file: ${JSON.stringify(mine).slice(0, 300)}`).to.equal(true);
          expect(shows(await readFile(other(user)), theirs), `${user} reads the other's file`).to.equal(false);
        }),
      );
      await Promise.all(clients.map((client) => client.stop()));
      await podsAreGone();
    });
  }

  // Without sessions nobody ends a child but the sweep: those clients come last, at a server whose children are soon idle.
  for (const real of SDK_CLIENTS.toSorted((a, b) => a.habits.revision.localeCompare(b.habits.revision))) {
    const hasSessions = real.habits.ended !== 'has no sessions';
    it(`${real.name}: a whole conversation with a child in a pod`, async function () {
      this.timeout(180_000);
      const server = hasSessions ? 'fixture' : 'brief';
      const proxy = await CuttingProxy.start(app.url(server));
      const client = await real.start(proxy.url, await app.token('alice', server));
      try {
        await opens(real, client);
        await talks(real, client);
        await cancels(real, client);
        await isCut(real, client, proxy);
        await losesItsChild(client);
        await startsAgain(real, client, proxy);
      } finally {
        await client.stop();
        await proxy.stop();
      }
      if (hasSessions) await podsAreGone();
    });
  }

  it("the inspector's command line: each run is a session of its own, which the sweep ends", async function () {
    this.timeout(180_000);
    const token = await app.token('alice', 'brief');
    for (const era of ['legacy', 'modern']) {
      const run = (...more: string[]) => inspect(app.url('brief'), token, '--protocol-era', era, ...more);
      expect(JSON.stringify((await run('--method', 'tools/list')).printed), era).to.contain('"echo"');
      expect((await run(...calling('echo', { text: 'from a pod' }))).printed.result.content[0].text).to.equal(
        'from a pod',
      );
    }
    await podsAreGone();
  });
});
