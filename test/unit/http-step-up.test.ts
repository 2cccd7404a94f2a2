/** A token that may only read, and a tool that writes: refused with a challenge before the child hears of it. */
import { expect } from 'chai';
import type { Authenticator } from '../../src/auth/authenticator';
import type { Scope } from '../../src/auth/context';
import { SCOPES } from '../../src/auth/resource/metadata';
import { ResourceUrls } from '../../src/auth/resource/urls';
import { OAuthAuthenticator } from '../../src/auth/resource/authenticator';
import { cites } from '../requirements';
import { ask, contextOf, open, politeChild, startApp, type Answer, type GatewayApp } from '../support/gateway-app';
import { serverSpec } from '../support/server-spec';

const TOOLS = [
  { name: 'look', annotations: { readOnlyHint: true } },
  { name: 'change', annotations: { readOnlyHint: false } },
  { name: 'unmarked' },
];

const CHALLENGE =
  'Bearer error="insufficient_scope", ' +
  'resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/servers/writing/mcp", ' +
  'scope="forgejo:read forgejo:write"';

/** Bearers that name what they may do: `read` or `write`. The challenges are the product's. */
function scopeAuthenticator(): Authenticator {
  const never = () => Promise.reject(new Error('not asked'));
  const oauth = new OAuthAuthenticator({
    urls: new ResourceUrls('https://mcp.example', (name) => ['writing', 'reading'].includes(name), 'writing'),
    verifier: { verify: never },
    liveGrant: never,
  });
  return {
    async authenticate({ authorization }) {
      const scopes: readonly Scope[] = authorization === 'Bearer write' ? SCOPES : ['forgejo:read'];
      return { ...contextOf('alice'), mode: 'oauth', client: 'client', scopes: new Set(scopes) };
    },
    async confirm() {},
    challenge: (error, place) => oauth.challenge(error, place),
  };
}

describe('stepping up', () => {
  let app: GatewayApp;
  let tools: readonly object[] | undefined;

  beforeEach(async () => {
    tools = TOOLS;
    app = await startApp({
      servers: [
        serverSpec({ name: 'writing', policy: { ...serverSpec().policy, access: 'write' } }),
        serverSpec({ name: 'reading', policy: { ...serverSpec().policy, access: 'read' } }),
      ],
      authenticator: scopeAuthenticator(),
      child: (link) => {
        politeChild(link);
        const usual = link.onMessage;
        link.onMessage = (message) => {
          if (message.method !== 'tools/list' || tools === undefined) usual(message);
          else link.reply(message, { tools });
        };
      },
    });
  });

  afterEach(() => app.close());

  const call = async (session: string, name: unknown, bearer = 'read', server = 'writing'): Promise<Answer> =>
    ask(app, {
      path: `/servers/${server}/mcp`,
      headers: { authorization: `Bearer ${bearer}`, 'mcp-session-id': session },
      body: { jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name, arguments: {} } },
    });
  const begin = (bearer = 'read', server = 'writing') => open(app, bearer, `/servers/${server}/mcp`);
  const heard = (method: string) => app.children[0].sent.filter((message) => message.method === method);

  for (const tool of ['change', 'unmarked']) {
    it(`answers 403 with the challenge for both scopes to the call of "${tool}", which the child never hears of`, async () => {
      const session = await begin();
      const answer = await call(session, tool);
      expect(answer.status).to.equal(403);
      expect(answer.headers['www-authenticate']).to.equal(CHALLENGE);
      expect(answer.json).to.deep.include({ jsonrpc: '2.0', id: 7 });
      expect(answer.json.error.data.code).to.equal('AUTH_SCOPE');
      expect(answer.json.error.message).to.contain('may only read');
      expect(heard('tools/call')).to.have.length(0);
    });
  }

  it('passes the call of a tool that reads, and the session lives on after a refusal', async () => {
    cites('2024-11-05/tools/5');
    const session = await begin();
    expect((await call(session, 'change')).status).to.equal(403);
    expect((await call(session, 'look')).status).to.equal(200);
    expect(heard('tools/call').map(({ params }) => params.name)).to.deep.equal(['look']);
    expect(heard('tools/list')).to.have.length(1);
  });

  it('passes the same call with a token that may write: the client has stepped up', async () => {
    cites('2026-07-28/authorization/59');
    const session = await begin();
    expect((await call(session, 'change')).status).to.equal(403);
    expect((await call(session, 'change', 'write')).status).to.equal(200);
    expect(heard('tools/call')).to.have.length(1);
  });

  it('asks the child for nothing where the token may write', async () => {
    const session = await begin('write');
    expect((await call(session, 'change', 'write')).status).to.equal(200);
    expect(heard('tools/list')).to.have.length(0);
  });

  it('passes calls on a server that lets nobody write: there is nothing to ask for', async () => {
    const session = await begin('read', 'reading');
    expect((await call(session, 'change', 'read', 'reading')).status).to.equal(200);
    expect(heard('tools/list')).to.have.length(0);
  });

  it('passes calls of a child that marks no tool, or that cannot list them', async () => {
    for (const none of [[{ name: 'change' }], undefined]) {
      tools = none;
      expect((await call(await begin(), 'change')).status).to.equal(200);
    }
  });

  it('passes on what names no tool, which is the child’s to refuse', async () => {
    const session = await begin();
    for (const name of [undefined, 7, 'absent']) expect((await call(session, name)).status).to.equal(200);
  });

  it('refuses many calls at once after one look at the list', async () => {
    const session = await begin();
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, i) => call(session, i % 2 === 0 ? 'change' : 'look')),
    );
    expect(answers.filter(({ status }) => status === 403)).to.have.length(30);
    expect(answers.filter(({ status }) => status === 200)).to.have.length(30);
    expect(heard('tools/list')).to.have.length(1);
    expect(heard('tools/call')).to.have.length(30);
  });
});
