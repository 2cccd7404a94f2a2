/** Whose request it is: a capability of ours, of a session that lives, held by the child that has it now, from that child's own address. */
import type { IncomingMessage } from 'node:http';
import { AppError } from '../../errors';
import type { Capabilities, FindProxySession, ProxySession } from '../contract';
import type { SourceProof } from './source';

/** One message for every reason: a stranger learns nothing about sessions. The detail goes to the log. */
function invalid(detail: string): never {
  throw new AppError(
    'CAPABILITY_INVALID',
    "This token is not valid at the credential proxy: it works only from its own session's child and while that session lives.",
    { detail },
  );
}

/** The token of `Authorization: token T` or `Bearer T` (RFC 6750, 2.1); Forgejo's clients send the first. */
function readToken(request: IncomingMessage): string {
  const match = /^(?:token|bearer) +([\x21-\x7e]+)$/i.exec(request.headers.authorization ?? '');
  return match?.[1] ?? invalid('no token');
}

/**
 * Rejects with `CAPABILITY_INVALID` and the failed step as detail (`no token`, `signature`, `session`, `instance` or `address`), and with
 * `STORE_UNAVAILABLE` where nobody can tell what the session may do now.
 */
export async function authenticate(
  request: IncomingMessage,
  capabilities: Capabilities,
  find: FindProxySession,
  source: SourceProof,
): Promise<ProxySession> {
  const named = capabilities.verify(readToken(request)) ?? invalid('signature');
  const session = (await find(named.session)) ?? invalid('session');
  if (session.instance !== named.instance) invalid('instance');
  if (!source.admit(session.ip, request.socket.remoteAddress)) invalid('address');
  return session;
}
