/** Newline-delimited JSON from a stream, as Kubernetes watches send it. */
import { KubeError } from './error';

/** Bytes of the longest line: etcd's own limit for an object is 1.5 MiB. */
const LINE_MAX = 4 * 1024 * 1024;
const NEWLINE = 0x0a;

/** Yields each line's value. Throws KubeError for a line that is too long or no JSON; a cut last line is dropped. */
export async function* jsonLines(body: AsyncIterable<Buffer>): AsyncGenerator<unknown, void> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      parts.push(chunk.subarray(from, at));
      const line = parts.length === 1 ? parts[0] : Buffer.concat(parts);
      parts = [];
      size = 0;
      from = at + 1;
      if (line.length > 0) yield parse(line);
    }
    if (from < chunk.length) {
      parts.push(chunk.subarray(from));
      size += chunk.length - from;
      if (size > LINE_MAX) throw new KubeError(0, 'WatchError', 'a line of the watch is too long');
    }
  }
}

function parse(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'));
  } catch {
    throw new KubeError(0, 'WatchError', 'a line of the watch is not JSON');
  }
}
