/** Whose request it is: a capability of ours, of a session that lives, held by the child that has it now, from that child's own address. */
import type { IncomingMessage } from 'node:http';
import { AppError } from '../../errors';
import { forwardedOf } from '../../peers/forwarded';
import type { Capabilities, FindProxySession, ProxySession, ProxySessionElsewhere } from '../contract';
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
 * Resolves with the session. Of one that another gateway has, only the capability's signature has been looked at: the rest is for that one to do.
 * @param fresh what is remembered of the session was found wrong.
 * Rejects with `CAPABILITY_INVALID` and the failed step as detail (`no token`, `signature`, `session`, `instance` or `address`), and with
 * `STORE_UNAVAILABLE` or `FORGE_TOKEN_UNAVAILABLE` where nobody can tell what the session may do now.
 */
export async function authenticate(
  request: IncomingMessage,
  capabilities: Capabilities,
  find: FindProxySession,
  source: SourceProof,
  fresh: boolean,
): Promise<ProxySession | ProxySessionElsewhere> {
  const named = capabilities.verify(readToken(request)) ?? invalid('signature');
  const forwarded = forwardedOf(request);
  if (forwarded !== undefined && (!('session' in forwarded) || forwarded.session !== named.session)) invalid('session');
  const session = (await find(named.session, fresh)) ?? invalid('session');
  if ('holder' in session) return session;
  if (session.instance !== named.instance) invalid('instance');
  // The gateway that the child reached has seen where it came from, and this one the gateway.
  if (!source.admit(session.ip, forwarded?.clientAddress ?? request.socket.remoteAddress)) invalid('address');
  return session;
}
