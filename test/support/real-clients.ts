/** What real clients send when they register, and what becomes of it. */
export const REAL_CLIENTS: Readonly<
  Record<string, { sent: object; redirects: string[]; type: 'native' | 'web'; name: string }>
> = {
  'Claude Code': {
    sent: {
      client_name: 'Claude Code (forgejo)',
      redirect_uris: ['http://localhost:54212/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      scope: 'forgejo:read forgejo:write offline_access',
    },
    redirects: ['http://localhost:54212/callback'],
    type: 'native',
    name: 'Claude Code (forgejo)',
  },
  'VS Code': {
    sent: {
      client_name: 'Visual Studio Code',
      client_uri: 'https://code.visualstudio.com',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      redirect_uris: [
        'https://insiders.vscode.dev/redirect',
        'https://vscode.dev/redirect',
        'http://127.0.0.1/',
        'http://127.0.0.1:33418/',
      ],
      token_endpoint_auth_method: 'none',
      application_type: 'native',
    },
    redirects: [
      'https://insiders.vscode.dev/redirect',
      'https://vscode.dev/redirect',
      'http://127.0.0.1/',
      'http://127.0.0.1:33418/',
    ],
    type: 'native',
    name: 'Visual Studio Code',
  },
  Cursor: {
    sent: {
      client_name: 'Cursor',
      redirect_uris: ['cursor://anysphere.cursor-mcp/oauth/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_post',
      logo_uri: 'https://cursor.com/logo.png',
    },
    redirects: ['cursor://anysphere.cursor-mcp/oauth/callback'],
    type: 'native',
    name: 'Cursor',
  },
  'the TypeScript SDK': {
    sent: {
      client_name: 'Simple OAuth MCP Client',
      redirect_uris: ['http://localhost:8090/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_post',
      application_type: 'web',
    },
    redirects: ['http://localhost:8090/callback'],
    type: 'native',
    name: 'Simple OAuth MCP Client',
  },
  'the Python SDK': {
    sent: {
      client_name: 'Simple Auth Client',
      redirect_uris: ['http://localhost:3030/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: null,
      scope: null,
      contacts: null,
      jwks_uri: null,
    },
    redirects: ['http://localhost:3030/callback'],
    type: 'native',
    name: 'Simple Auth Client',
  },
  'MCP inspector': {
    sent: {
      redirect_uris: ['http://localhost:6274/oauth/callback', 'http://localhost:6274/oauth/callback/debug'],
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      client_name: 'MCP Inspector',
      client_uri: 'https://github.com/modelcontextprotocol/inspector',
      scope: '',
    },
    redirects: ['http://localhost:6274/oauth/callback', 'http://localhost:6274/oauth/callback/debug'],
    type: 'native',
    name: 'MCP Inspector',
  },
  'a client on the web that says as little as it can': {
    sent: { client_name: 'Claude', redirect_uris: ['https://claude.ai/api/mcp/auth_callback'] },
    redirects: ['https://claude.ai/api/mcp/auth_callback'],
    type: 'web',
    name: 'Claude',
  },
};
