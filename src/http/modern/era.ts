/** Which era a POST is of. Both are served at the same path, request by request (MCP 2026-07-28, 'Backward Compatibility'). */
import type { IncomingMessage } from 'node:http';
import { metaOf, PROTOCOL_VERSION } from '../../bridge/modern/meta';
import { isServed, sessionIdOf } from '../mcp/headers';
import type { ClientBody } from '../mcp/message';

/**
 * Whether a body is of the stateless era: one whose `_meta` names a version is, whatever else it says. Without that, a header with a version that no
 * session ever had speaks for it, unless the request names a session or opens one.
 */
export function isModern(req: IncomingMessage, body: ClientBody): boolean {
  if (
    (body.kind === 'request' || body.kind === 'notification') &&
    metaOf(body.message)[PROTOCOL_VERSION] !== undefined
  ) {
    return true;
  }
  const version = req.headers['mcp-protocol-version'];
  if (typeof version !== 'string' || isServed(version) || sessionIdOf(req) !== undefined) return false;
  return body.kind !== 'request' || body.message.method !== 'initialize';
}
