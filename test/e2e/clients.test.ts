import { expect } from 'chai';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { installed, type Installed } from '../support/installed';
import { ScriptedClient } from '../support/peers';
import { until } from '../support/until';

type User = 'alice' | 'bob';
const other = (user: User): User => (user === 'alice' ? 'bob' : 'alice');
const read = (user: User) => ({ owner: user, repo: 'private-notes', path: 'secret.md' });

/** Whether a tool's result shows a file's text, plain or in base64 as the forge's API gives it. */
function shows(result: unknown, text: string): boolean {
  const all = JSON.stringify(result);
  const coded = Buffer.from(text).toString('base64');
  return all.includes(text) || all.includes(coded.slice(0, coded.length - 4));
}

/** What a session of any official client is: tools, the own private file, never the other user's, one pod. */
interface Conversation {
  tools(): Promise<string[]>;
  /** The result, or the error, of reading a file. */
  readFile(of: User): Promise<unknown>;
  close(): Promise<void>;
}

describe('an official MCP client through the gateway in the cluster', () => {
  let app: Installed;

  before(async function () {
    this.timeout(600_000);
    app = await installed();
  });

  const openTypescript = async (user: User): Promise<Conversation> => {
    const transport = new StreamableHTTPClientTransport(new URL(app.url()), {
      requestInit: { headers: { Authorization: `Bearer ${await app.token(user)}` } },
    });
    const client = new Client({ name: 'typescript', version: '1.0.0' });
    await client.connect(transport);
    return {
      tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
      readFile: (of) => client.callTool({ name: 'get_file_contents', arguments: read(of) }).catch(String),
      async close() {
        await transport.terminateSession();
        await client.close();
      },
    };
  };

  const openScripted = (kind: 'python' | 'go') => async (user: User) => {
    const client = await ScriptedClient.start(kind, app.url(), await app.token(user));
    await client.must('initialize');
    return {
      tools: async () => (await client.must('tools')) as string[],
      readFile: (of: User) => client.do('call', { name: 'get_file_contents', arguments: read(of) }),
      async close() {
        await client.must('close');
        await client.exit();
      },
    };
  };

  const kinds: readonly (readonly [string, (user: User) => Promise<Conversation>])[] = [
    ['TypeScript', openTypescript],
    ['Python', openScripted('python')],
    ['Go', openScripted('go')],
  ];
  for (const [name, open] of kinds) {
    it(`${name}: two users list tools and read their own private file, never the other's, in a pod each`, async function () {
      this.timeout(120_000);
      const before = (await app.sessionPods()).length;
      const users: readonly User[] = ['alice', 'bob'];
      const conversations = await Promise.all(users.map((user) => open(user)));
      expect((await app.sessionPods()).length - before, 'pods').to.equal(2);
      await Promise.all(
        users.map(async (user, i) => {
          const conversation = conversations[i];
          expect(await conversation.tools()).to.include('get_file_contents');
          const own = app.forge.seed.users[user].secret.trim();
          const theirs = app.forge.seed.users[other(user)].secret.trim();
          const mine = await conversation.readFile(user);
          expect(shows(mine, own), `${user} reads the own file: ${JSON.stringify(mine).slice(0, 300)}`).to.equal(true);
          expect(shows(await conversation.readFile(other(user)), theirs), `${user} reads the other's file`).to.equal(
            false,
          );
        }),
      );
      await Promise.all(conversations.map((conversation) => conversation.close()));
      await until('the pods are gone', async () => (await app.sessionPods()).length === before);
    });
  }
});
