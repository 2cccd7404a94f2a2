/** GET: a stream for what belongs to no call (MCP 2025-11-25, 'Listening for Messages from the Server'). */
import type { Handler } from '../handler';
import { checkGetAccept, checkProtocolVersion, sessionIdOf } from './headers';
import { admittedOf, type McpOptions } from './routes';
import { EventStream } from './stream';

/**
 * Serves GET. Several streams of one session may be open; the newest one gets the messages. The stream ends with its session.
 * Headers go out only when the session was found, so that a refusal is a status.
 */
export function get(options: McpOptions): Handler {
  return async (req, res) => {
    const exchange = admittedOf(res);
    checkGetAccept(req);
    checkProtocolVersion(req);
    const stream = new EventStream(res, options.streams);
    const listening = await options.sessions.listen(exchange.auth, exchange.server, sessionIdOf(req), stream);
    if (res.destroyed) {
      listening.stop();
      return;
    }
    res.once('close', () => listening.stop());
    stream.begin(true);
    await listening.ended;
    stream.end();
  };
}
