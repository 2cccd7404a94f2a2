/** Whose token it is: `GET /api/v1/user`. */
import { AppError } from '../../errors';
import type { Account } from './contract';
import { type BackChannel, invalid } from './back-channel';

/**
 * Asks the forge. What its statuses mean (Forgejo 11, Gitea 1.26): 401 expired or revoked; 403 with a message of the API: a missing scope, or an
 * account that may not log in. A 403 without such a message is not the forge's (a firewall's, say) and no verdict on anybody.
 * @throws AppError as {@link ForgeUpstream.account} says.
 */
export async function fetchAccount(channel: BackChannel, accessToken: string): Promise<Account> {
  const answer = await channel.send(`${channel.apiUrl}/api/v1/user`, {
    method: 'GET',
    headers: { accept: 'application/json', authorization: `Bearer ${accessToken}` },
  });
  const body = parsed(await answer.text());
  const message = typeof body['message'] === 'string' ? body['message'] : undefined;
  if (answer.status === 401)
    throw new AppError('AUTH_INVALID', 'Forgejo does not accept the login any more. Log in again.');
  if (answer.status === 403 && message !== undefined) {
    throw /scope/i.test(message)
      ? new AppError(
          'AUTH_SCOPE',
          "The gateway's Forgejo application needs the scope read:user. Tell your administrator.",
        )
      : new AppError(
          'AUTH_REFUSED',
          'Forgejo does not let this account in. Log in to Forgejo in a browser to see why, or ask its administrator.',
        );
  }
  const { id, login, is_admin: isAdmin } = body;
  if (answer.status !== 200 || !Number.isSafeInteger(id) || typeof login !== 'string')
    throw invalid(`user: status ${answer.status}`);
  return { user: { issuer: channel.url, id: String(id), login }, isAdmin: isAdmin === true };
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
