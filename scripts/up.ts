/** `make up`: the product on a real Kubernetes, and two users at work with it. `make down` undoes it. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { decodeJwt } from 'jose';
import { Installed } from '../test/support/installed';
import { OAuthApplication } from '../test/support/oauth-application';
import { until } from '../test/support/until';

const began = Date.now();
const say = (text: string): void =>
  void process.stdout.write(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)}s  ${text}\n`);

async function main(): Promise<void> {
  say('booting a real one-node Kubernetes (its programs are built the first time)');
  execFileSync(join(__dirname, '../test/cluster/up.sh'), { stdio: ['ignore', 'ignore', 'inherit'] });
  const app = await Installed.create(say);
  say(`the gateway is ready: ${app.url()}`);

  say(
    "two users' clients (the official SDK) are given that URL and nothing else; a script sits at each user's browser",
  );
  const users = await Promise.all(
    (['alice', 'bob'] as const).map(async (user) => {
      const browser = app.browser(user);
      const application = new OAuthApplication((url) => browser.authorize(url, { access: 'read' }), {
        name: `${user}'s client`,
      });
      const client = new Client({ name: `${user}'s client`, version: '1.0.0' });
      const transport = await application.connect(client, app.url());
      const { scope } = decodeJwt<{ scope: string }>(application.tokens()?.access_token ?? '');
      say(`${user}: 401, discovery, registration; consents to ${scope}, logs in at the forge, and is connected`);
      return { user, client, transport };
    }),
  );
  const pods = await app.sessionPods();
  say(`two users have opened a session each; session pods: ${pods.length}`);
  for (const pod of pods) say(`  ${pod.name}  ${pod.ip}`);

  for (const { user, client } of users) {
    const { tools } = await client.listTools();
    const file = await client.callTool({
      name: 'get_file_contents',
      arguments: { owner: user, repo: 'private-notes', path: 'secret.md' },
    });
    const secret = app.forge.seed.users[user].secret.trim();
    if (!JSON.stringify(file.content).includes(secret)) throw new Error(`${user} cannot read the own private file`);
    say(`${user}: ${tools.length} tools; reads ${user}/private-notes/secret.md: "${secret}"`);
  }
  for (const { client, transport } of users) {
    await transport.terminateSession();
    await client.close();
  }
  await until('the pods are gone', async () => (await app.sessionPods()).length === 0);
  say('both sessions are ended; session pods: 0');
  const { name, password } = app.account('alice');
  say(`it stays up: add ${app.url()} to your MCP client and log in as ${name}, password ${password}`);
  say('`make down` undoes it');
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
});
