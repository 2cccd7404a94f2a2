/** Children that keep what they read, byte for byte, and say what a test has them say: scripts for `node`, so that their pipes are real ones. */

/**
 * Both eras have the tools `read` (all of stdin so far, in base64), `say` (writes `arguments.messages` to stdout before it answers), `hang`, `exit` and
 * `mirror`, whose parameters are mirrored in headers; whatever else they know is answered with its params.
 *
 * `legacy` answers `initialize` with the revision that it was asked for, and has the tools `read` and `say` as methods as well. `modern` speaks
 * 2026-07-28 only; its tool `change` tells every subscription that the tools have changed.
 */
const SCRIPT = String.raw`
const modern = process.argv[1] === 'modern';
const chunks = [];
const listening = [];
let rest = Buffer.alloc(0);
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\n');
const SERVER = { name: 'recording', version: '1' };
const ID = 'io.modelcontextprotocol/subscriptionId';
const header = (type, name) => ({ type, 'x-mcp-header': name });
const TOOLS = [
  { name: 'read', inputSchema: { type: 'object' } },
  { name: 'say', inputSchema: { type: 'object' } },
  { name: 'hang', inputSchema: { type: 'object' } },
  { name: 'exit', inputSchema: { type: 'object' } },
  { name: 'change', inputSchema: { type: 'object' } },
  {
    name: 'mirror',
    inputSchema: {
      type: 'object',
      properties: {
        region: header('string', 'Region'),
        count: header('integer', 'Count'),
        flag: header('boolean', 'Flag'),
        plain: { type: 'string' },
      },
    },
  },
];
const CAPABILITIES = { tools: { listChanged: true }, prompts: {}, resources: {}, logging: {}, completions: {} };
const KNOWN = /^(ping|tools\/|prompts\/|resources\/|completion\/|logging\/|tasks\/|x$)/;

function result(method, id, params) {
  const name = method === 'tools/call' ? params.name : method;
  const given = method === 'tools/call' ? params.arguments || {} : params;
  const made = method === 'tools/call' ? { content: [] } : {};
  if (name === 'read') return { ...made, stdin: Buffer.concat(chunks).toString('base64') };
  if (name === 'hang') return undefined;
  if (name === 'exit') process.exit(0);
  if (name === 'change') {
    for (const each of listening) send({ method: 'notifications/tools/list_changed', params: { _meta: { [ID]: each } } });
  }
  for (const one of given.messages || []) send(one);
  if (method === 'tools/list') return { tools: TOOLS, params };
  if (method === 'prompts/list') return { prompts: [], params };
  if (method === 'resources/list') return { resources: [], params };
  if (method === 'resources/templates/list') return { resourceTemplates: [], params };
  if (method === 'resources/read') return { contents: [], params };
  return { ...made, params };
}

function request({ id, method, params = {} }) {
  if (method === 'initialize' && !modern) {
    send({ id, result: { protocolVersion: params.protocolVersion, capabilities: CAPABILITIES, serverInfo: SERVER } });
  } else if (method === 'server/discover' && modern) {
    const _meta = { 'io.modelcontextprotocol/serverInfo': SERVER };
    send({ id, result: { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: CAPABILITIES, _meta } });
  } else if (method === 'subscriptions/listen' && modern) {
    listening.push(id);
    const { notifications } = params;
    send({ method: 'notifications/subscriptions/acknowledged', params: { notifications, _meta: { [ID]: id } } });
  } else if (KNOWN.test(method) || (!modern && (method === 'read' || method === 'say'))) {
    const made = result(method, id, params);
    if (made !== undefined) send({ id, result: modern ? { resultType: 'complete', ...made } : made });
  } else send({ id, error: { code: -32601, message: 'Method not found' } });
}

process.stdin.on('data', (chunk) => {
  chunks.push(chunk);
  rest = Buffer.concat([rest, chunk]);
  for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
    const line = rest.subarray(0, end).toString();
    rest = rest.subarray(end + 1);
    let message;
    try { message = JSON.parse(line); } catch { continue; }
    if (message.id !== undefined && message.method !== undefined) request(message);
  }
});
process.stdin.on('end', () => process.exit(0));
`;

/** The command of a server whose children are recording ones. */
export const recordingChild = (era: 'legacy' | 'modern'): readonly string[] => [process.execPath, '-e', SCRIPT, era];

/** What a recording child has read, message by message. */
export function messagesIn(stdin: string): any[] {
  const text = Buffer.from(stdin, 'base64').toString('utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}
