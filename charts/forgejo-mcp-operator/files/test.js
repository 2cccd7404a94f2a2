// Runs in the pod of `helm test`. A new Service may refuse for a moment, so each check is tried until the deadline.
const http = require('node:http');

const deadline = Date.now() + 60_000;
const { READY_URL, MCP_URL, PUBLIC_URL, AUTH_MODE } = process.env;

/** One request, with a Host of its own choice: the gateway answers for its public host only. */
function ask(url, options, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { timeout: 10_000, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on('timeout', () => request.destroy(new Error('no answer within 10 s')));
    request.on('error', reject);
    request.end(body);
  });
}

async function check(name, attempt) {
  for (;;) {
    let fault;
    try {
      fault = await attempt();
    } catch (error) {
      fault = error.message;
    }
    if (fault === undefined) return console.log(`ok      ${name}`);
    if (Date.now() > deadline) {
      console.error(`FAILED  ${name}: ${fault}`);
      process.exit(1);
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}

async function main() {
  await check('the gateway is ready', async () => {
    const { status, text } = await ask(READY_URL, {});
    return status === 200 ? undefined : `status ${status}: ${text.trim()}`;
  });
  const { host } = new URL(PUBLIC_URL);
  let metadata;
  await check('/mcp asks a client without a token to authenticate', async () => {
    const headers = { host, accept: 'application/json, text/event-stream', 'content-type': 'application/json' };
    const { status, headers: answer } = await ask(MCP_URL, { method: 'POST', headers }, '{}');
    if (status !== 401) return `status ${status} instead of 401`;
    const challenge = answer['www-authenticate'];
    if (challenge === undefined) return 'status 401 without WWW-Authenticate';
    if (AUTH_MODE !== 'oauth') return undefined;
    metadata = /resource_metadata="([^"]+)"/.exec(challenge)?.[1];
    return metadata?.startsWith(`${PUBLIC_URL}/`) ? undefined : `no resource_metadata of ${PUBLIC_URL} in ${challenge}`;
  });
  if (metadata === undefined) return;
  await check('the challenge leads to where users log in', async () => {
    const { status, text } = await ask(new URL(new URL(metadata).pathname, MCP_URL), { headers: { host } });
    if (status !== 200) return `status ${status} for ${metadata}`;
    const { authorization_servers: servers } = JSON.parse(text);
    return servers?.length === 1 ? undefined : `no authorization server in ${text.trim()}`;
  });
}

void main();
