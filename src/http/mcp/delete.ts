/** DELETE: the client is done with its session (MCP 2025-11-25, 'Session Management'). */
import type { Handler } from '../handler';
import { wherever } from './elsewhere';
import { checkProtocolVersion, sessionIdOf } from './headers';
import { admittedOf, type McpOptions } from './routes';

/** Serves DELETE: 204 when the session and its child are gone. */
export function del(options: McpOptions): Handler {
  return async (req, res) => {
    const exchange = admittedOf(res);
    checkProtocolVersion(req);
    await wherever(options, { req, res, exchange }, async () => {
      await options.sessions.end(exchange.auth, exchange.server, sessionIdOf(req));
      res.writeHead(204).end();
    });
  };
}
