/** Stepping up: a call that needs more than its token may do is refused before it is passed on (RFC 6750, 3.1; MCP 'Scope Challenge Handling'). */
import type { JsonRpcRequest } from '../../bridge/contract';
import { AppError } from '../../errors';
import type { SessionHandle } from '../../sessions/ports';
import type { Admitted } from './routes';

/**
 * Refuses the call of a tool that writes with a token that may only read, on a server that lets sessions write: with the challenge that goes with it,
 * clients ask for more by themselves. On a server that lets nobody write there is nothing to ask for, and where the child does not
 * tell which tools write, the call passes: the credential proxy refuses what it writes, and says why.
 * @throws AppError `AUTH_SCOPE`.
 */
export async function checkScope(
  { auth, server }: Pick<Admitted, 'auth' | 'server'>,
  handle: Pick<SessionHandle, 'tool'>,
  request: JsonRpcRequest,
): Promise<void> {
  if (auth.scopes.has('forgejo:write') || request.method !== 'tools/call' || server.policy.access !== 'write') return;
  const name = request.params?.name;
  if (typeof name !== 'string') return;
  const tool = await handle.tool(name);
  if (tool?.readOnly !== false) return;
  throw new AppError(
    'AUTH_SCOPE',
    'This tool writes, and this login may only read. Allow writing when your client asks, or on the page with your connections.',
  );
}
