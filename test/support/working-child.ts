/** A server of MCP over stdio in a few lines: its one tool works for `ms` milliseconds and says how often it was asked for `n`. Node runs it as it is. */
interface Message {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: any;
}

const asked = new Map<number, number>();

function say(message: object): void {
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
}

function serve({ id, method, params }: Message): void {
  if (id === undefined) return;
  if (method === 'initialize') {
    const { protocolVersion } = params;
    say({ id, result: { protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'w', version: '1' } } });
  } else if (method === 'tools/call') {
    const { n, ms } = params.arguments;
    asked.set(n, (asked.get(n) ?? 0) + 1);
    setTimeout(() => say({ id, result: { content: [{ type: 'text', text: `${n}:${asked.get(n)}` }] } }), ms);
  } else {
    say({ id, result: {} });
  }
}

let rest = '';
process.stdin.on('data', (chunk: Buffer) => {
  const lines = (rest + chunk.toString()).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) if (line.trim() !== '') serve(JSON.parse(line) as Message);
});
process.stdin.on('end', () => process.exit(0));
