import { expect } from 'chai';
import { installed, type Installed } from '../support/installed';
import { McpClient } from '../support/mcp';

/** Everything that the run wrote, searched for everything secret that it used. */
describe('what the gateway writes', () => {
  let app: Installed;
  const secrets = new Map<string, string>();

  before(async function () {
    this.timeout(600_000);
    app = await installed();
    const client = await app.client('alice', 'fixture');
    await client.initialize();
    const environment = await client.json<Record<string, string>>('env');
    await client.text('stderr', {
      text: `Authorization: token ${client.token} and ${environment.FORGEJO_ACCESS_TOKEN}\n`,
      times: 1,
    });
    await client.json('http', {
      url: `${environment.FORGEJO_URL}/api/v1/user?token=${client.token}`,
      headers: { Authorization: `token ${environment.FORGEJO_ACCESS_TOKEN}` },
    });
    await app.token('bob');
    app.secrets().forEach((value, i) => secrets.set(`token, code, state or cookie ${i + 1} of the logins`, value));
    secrets.set('the password of alice', app.account('alice').password);
    secrets.set('the session id', client.sessionId!);
    secrets.set("the pod's capability", environment.FORGEJO_ACCESS_TOKEN);
    const keys = JSON.parse(await app.kubectl('get', 'secrets', '-n', app.namespace, '-o', 'json')) as {
      items: { metadata: { name: string }; data?: Record<string, string> }[];
    };
    for (const { metadata, data } of keys.items.filter((item) => !item.metadata.name.startsWith('sh.helm'))) {
      for (const [entry, value] of Object.entries(data ?? {})) {
        secrets.set(`key ${metadata.name}/${entry}`, Buffer.from(value, 'base64').toString('utf8').trim());
      }
    }
    const wrong = new McpClient(app.url('fixture'), 'f00dfeedf00dfeedf00dfeedf00dfeedf00dfeed');
    secrets.set('a refused token', wrong.token!);
    await wrong.request('initialize', {});
    await client.end();
    await Promise.all([client.close(), wrong.close()]);
  });

  const holdsNone = (what: string, text: string): void => {
    expect(text.length, `${what} is not empty`).to.be.greaterThan(50);
    for (const [name, value] of secrets) {
      if (value.length < 16) continue;
      for (const form of [value, Buffer.from(value).toString('base64').replace(/=+$/, ''), encodeURIComponent(value)]) {
        expect(text.includes(form), `${what} holds ${name}`).to.equal(false);
      }
    }
  };

  it('has no token, session id, capability or key in its log', async () =>
    holdsNone('the log', await app.gatewayLog()));

  it('has none in its metrics', async () => holdsNone('the metrics', (await app.ops('/metrics')).text));

  it('has none in its readiness report', async () => {
    const { text } = await app.ops('/readyz');
    holdsNone('the report', text.padEnd(60));
  });

  it('has none in Kubernetes: pods, events, ConfigMaps, Services, Leases and the like, of all three namespaces', async () => {
    const kinds =
      'pods,events,configmaps,services,serviceaccounts,leases,deployments,replicasets,networkpolicies,mcpsessions,mcpservers';
    for (const namespace of [app.namespace, app.sessionsNamespace, app.recordsNamespace]) {
      const objects = await app.kubectl('get', kinds, '-n', namespace, '-o', 'json');
      holdsNone(`namespace ${namespace}`, objects);
    }
  });

  it('has none that can be read in the records of logins, neither in their values nor beside them', async () => {
    const text = await app.kubectl('get', 'secrets', '-n', app.recordsNamespace, '-o', 'json');
    holdsNone('the records', text);
    const { items } = JSON.parse(text) as { items: { metadata: { name: string }; data?: Record<string, string> }[] };
    expect(items.length).to.be.greaterThan(3);
    for (const { metadata, data } of items) {
      const bytes = Object.values(data ?? {}).map((value) => Buffer.from(value, 'base64').toString('latin1'));
      holdsNone(`the record ${metadata.name}`, bytes.join('\n').padEnd(60));
    }
  });

  it('has none in Secrets beside the sessions', async () => {
    const secretsThere = await app.kubectl('get', 'secrets', '-n', app.sessionsNamespace, '-o', 'json');
    holdsNone('the Secrets beside the sessions', secretsThere);
  });
});
