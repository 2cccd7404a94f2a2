/** What the authorization server can show of an error of this folder. */
import { errors } from 'oidc-provider';
import { AppError } from '../../errors';
import { type OAuthName, oauthName } from './refusals';

/**
 * Turns a refusal of this folder into an error that oidc-provider answers with: OAuth's own name for it, the public message as
 * `error_description`, the status of the one table. Anything else comes back as it is.
 */
export function asProviderError(thrown: unknown): unknown {
  if (!(thrown instanceof AppError)) return thrown;
  const name = oauthName(thrown);
  return name === undefined ? thrown : new ClientRefused(name, thrown);
}

class ClientRefused extends errors.OIDCProviderError {
  constructor(name: OAuthName, refusal: AppError) {
    super(refusal.status, name, { cause: refusal });
    this.error_description = refusal.message;
    // oidc-provider hides every 5xx behind `server_error`, which clients take for the end of their login.
    this.expose = true;
    // Who the client is is not known, so nothing may be sent to a redirect URI that it named (RFC 6749, 4.1.2.1).
    this.allow_redirect = false;
  }
}
