/** POST: what a client says (MCP 2025-11-25, 'Sending Messages to the Server'). Reads it; what it means depends on its era. */
import type { Handler, Incoming, Outgoing } from '../handler';
import { isModern } from '../modern/era';
import { modern } from '../modern/serve';
import { wherever } from './elsewhere';
import { checkContentType, checkPostAccept } from './headers';
import { legacy } from './legacy';
import { parseBody, type ClientBody } from './message';
import { admittedOf, type McpOptions } from './routes';
import { isSsePost, ssePost } from './sse';

/** Serves POST. Order of refusals: headers (406, 415), body (413, 400), then what {@link legacy} or {@link modern} says. */
export function post(options: McpOptions): Handler {
  const sse = ssePost(options);
  return async (req, res, next) => {
    if (isSsePost(req)) {
      await sse(req, res, next);
      return;
    }
    const exchange = admittedOf(res);
    checkPostAccept(req);
    checkContentType(req);
    const { body, release } = await readBody(options, req, res);
    try {
      if (isModern(req, body)) await modern(options, exchange, req, res, body);
      else await wherever(options, { req, res, exchange, body }, () => legacy(options, exchange, req, res, body));
    } finally {
      release();
    }
  };
}

/** Reads and parses the body. The text is let go here: a long call holds the message only. */
async function readBody(
  options: McpOptions,
  req: Incoming,
  res: Outgoing,
): Promise<{ body: ClientBody; release: () => void }> {
  const { text, bytes, release } = await options.bodies.read(req, res);
  try {
    return { body: parseBody(text, bytes), release };
  } catch (thrown) {
    release();
    throw thrown;
  }
}
