/** Runs inside of the network namespace of `cimd-logins.ts`: the document's host, a name server, a real forge, the gateway, and one client at a time. */
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import { join } from 'node:path';
import { CLIENT_NAME, type CimdLogin, DOCUMENT_ADDRESS, DOCUMENT_HOST, type Sdk } from './cimd-logins';
import { type Forge, startForge } from './forge';
import { nameServer } from './name-server';
import { type Browse, OAuthApplication } from './oauth-application';
import { type OAuthGateway, startOAuthGateway } from './oauth-gateway';
import { CLIENT_REDIRECT } from './oauth-login';
import { childCommand, ScriptedClient } from './peers';

const TOOL = { name: 'get_file_contents', arguments: { owner: 'alice', repo: 'private-notes', path: 'secret.md' } };

/** Paths that were asked for at the document's host, in their order. */
const fetched: string[] = [];

/** Serves a document at every path, whose client ID is its own URL. */
function documentHost(folder: string): Server {
  const pem = (name: string): string => readFileSync(join(folder, name), 'utf8');
  return createServer({ key: pem('key'), cert: pem('cert') }, (req, res) => {
    fetched.push(req.url ?? '');
    res.writeHead(200, { 'content-type': 'application/json' });
    res.end(
      JSON.stringify({
        client_id: `https://${DOCUMENT_HOST}${req.url}`,
        client_name: CLIENT_NAME,
        redirect_uris: [CLIENT_REDIRECT],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
      }),
    );
  });
}

/** Logs in by the SDK's own means, calls the tool, and looks at the connections while the session runs. */
type Way = (browse: Browse, url: string, document: string, connections: () => Promise<string>) => Promise<Seen>;

interface Seen {
  readonly file: unknown;
  readonly connectionsPage: string;
}

const WAYS: Readonly<Record<Sdk, Way>> = {
  async 'the TypeScript SDK'(browse, url, document, connections) {
    const client = new Client({ name: 'v1', version: '1' });
    await new OAuthApplication(browse, { clientMetadataUrl: document }).connect(client, url);
    const seen = { file: await client.callTool(TOOL), connectionsPage: await connections() };
    await client.close();
    return seen;
  },
  async 'the second version of the TypeScript SDK'(browse, url, document, connections) {
    const client = new ClientV2({ name: 'v2', version: '2' });
    await new OAuthApplication(browse, { clientMetadataUrl: document }).connectV2(client, url);
    const seen = { file: await client.callTool(TOOL), connectionsPage: await connections() };
    await client.close();
    return seen;
  },
  async 'the Python SDK'(browse, url, document, connections) {
    const settings = { name: 'python', redirectUri: CLIENT_REDIRECT, documentUrl: document };
    const client = await ScriptedClient.start('python', url, undefined, undefined, settings);
    try {
      await client.logIn(browse);
      return { file: await client.must('call', TOOL), connectionsPage: await connections() };
    } finally {
      await client.end();
    }
  },
};

async function login(sdk: Sdk, forge: Forge, gateway: OAuthGateway): Promise<CimdLogin> {
  fetched.length = 0;
  const browser = gateway.browser('alice');
  const asked = { clientId: '', consentPage: '' };
  const browse: Browse = async (url) => {
    asked.clientId = url.searchParams.get('client_id') ?? '';
    asked.consentPage = (await browser.open(url)).html;
    return browser.authorize(url);
  };
  const document = `https://${DOCUMENT_HOST}/${encodeURIComponent(sdk)}.json`;
  const connections = async (): Promise<string> => (await browser.open(new URL('/connections', gateway.url))).html;
  const { file, connectionsPage } = await WAYS[sdk](browse, gateway.url, document, connections);
  return {
    ...asked,
    document,
    fetched: [...fetched],
    connectionsPage,
    file: JSON.stringify(file),
    secret: forge.user('alice').secret.trim(),
  };
}

async function main(): Promise<void> {
  const host = documentHost(process.env['DOCUMENT_TLS'] ?? '').listen(443, DOCUMENT_ADDRESS);
  await once(host, 'listening');
  await nameServer((name) => (name === DOCUMENT_HOST ? [DOCUMENT_ADDRESS] : undefined));
  const forge = await startForge({ users: ['alice'] });
  const server = {
    name: 'forgejo',
    command: [await childCommand('forgejo-mcp-rs')],
    forgejo: { tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] },
  };
  const gateway = await startOAuthGateway({ forge, settings: { servers: [server] } });
  process.on('message', ({ sdk }: { sdk: Sdk }) => {
    void login(sdk, forge, gateway)
      .catch((error: unknown) => ({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) }))
      .then((result) => process.send?.(result));
  });
  process.once('disconnect', () => {
    void gateway
      .stop()
      .then(() => forge.stop())
      .finally(() => process.exit());
  });
  process.send?.('ready');
}

void main();
