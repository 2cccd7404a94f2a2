/** A child that keeps what it reads, byte for byte, and says what a test has it say: a script for `node`, so that its pipes are real ones. */

/**
 * Answers `initialize` with the revision that it was asked for, and other requests by their method: `read` with all of stdin so far in
 * base64, `say` by writing `params.messages` to stdout before it answers, any other with its params.
 */
const SCRIPT = String.raw`
const chunks = [];
let rest = Buffer.alloc(0);
const send = (message) => process.stdout.write(JSON.stringify(message) + '\n');
process.stdin.on('data', (chunk) => {
  chunks.push(chunk);
  rest = Buffer.concat([rest, chunk]);
  for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
    const line = rest.subarray(0, end).toString();
    rest = rest.subarray(end + 1);
    let message;
    try { message = JSON.parse(line); } catch { continue; }
    if (message.id === undefined || message.method === undefined) continue;
    const answer = (result) => send({ jsonrpc: '2.0', id: message.id, result });
    if (message.method === 'initialize') {
      const { protocolVersion } = message.params;
      const serverInfo = { name: 'recording', version: '1' };
      answer({ protocolVersion, capabilities: { tools: {}, resources: {}, tasks: {} }, serverInfo });
    } else if (message.method === 'read') answer({ stdin: Buffer.concat(chunks).toString('base64') });
    else if (message.method === 'say') {
      for (const one of message.params.messages) send(one);
      answer({});
    } else answer({ params: message.params });
  }
});
process.stdin.on('end', () => process.exit(0));
`;

/** The command of a server whose children are recording ones. */
export const RECORDING_CHILD: readonly string[] = [process.execPath, '-e', SCRIPT];
