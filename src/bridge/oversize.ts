/** What a line that is too long to be read still tells by its two ends: JSON-RPC puts the id before or after the bulk. */

/** The top-level members that could be read. */
export interface Envelope {
  /** JSON text of the id. */
  readonly id: string | undefined;
  readonly hasMethod: boolean;
}

const STRING = '"(?:[^"\\\\]|\\\\.)*"';
const SCALAR = `${STRING}|-?\\d[\\d.eE+-]*|true|false|null`;
const OPEN = /\s*\{/y;
const MEMBER = new RegExp(`\\s*(${STRING})\\s*:\\s*(?:(${SCALAR})\\s*,)?`, 'y');
const LAST_ID = new RegExp(`"id"\\s*:\\s*(${STRING}|-?\\d+)\\s*(?:,\\s*"jsonrpc"\\s*:\\s*"2\\.0"\\s*)?\\}\\s*$`);

/** Reads the id of a message of which only the first and the last bytes were kept. */
export function readEnds(head: Buffer, tail: Buffer): Envelope {
  const front = readFront(head.toString('utf8'));
  return { id: front.id ?? LAST_ID.exec(tail.toString('utf8'))?.[1], hasMethod: front.hasMethod };
}

/** Reads top-level members up to the first that is an object, an array, or cut. */
function readFront(text: string): Envelope {
  let id: string | undefined;
  let hasMethod = false;
  OPEN.lastIndex = 0;
  if (!OPEN.test(text)) return { id, hasMethod };
  MEMBER.lastIndex = OPEN.lastIndex;
  for (let member = MEMBER.exec(text); member !== null; member = MEMBER.exec(text)) {
    const [, name, value] = member;
    if (name === '"method"') hasMethod = true;
    if (value === undefined) break;
    if (name === '"id"') id = value;
  }
  return { id, hasMethod };
}
