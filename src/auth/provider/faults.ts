/** Faults of ours in OAuth's words: clients must keep their tokens and try again, and they do so on one word only. */
import Provider, { errors } from 'oidc-provider';
import { AppError } from '../../errors';
import { asProviderError } from '../clients/provider-error';

/** 503 `temporarily_unavailable` (RFC 6749, 4.1.2.1). On `server_error` SDKs throw their tokens away and open a browser. */
export class TemporarilyUnavailable extends errors.OIDCProviderError {
  constructor(cause: AppError) {
    super(503, 'temporarily_unavailable', { cause });
    this.error_description = cause.message;
    // oidc-provider hides every 5xx behind `server_error`, unless it is said to be fit to be seen.
    this.expose = true;
    this.allow_redirect = false;
  }
}

/**
 * What oidc-provider can answer for something thrown: an `AppError` that passes becomes {@link TemporarilyUnavailable}, one about the client
 * gets its OAuth name, anything else stays as it is. Sets `Retry-After` on the request that is being answered.
 */
export function asOAuthError(thrown: unknown): unknown {
  if (!(thrown instanceof AppError)) return thrown;
  const passes = thrown.status === 503;
  if (passes || thrown.status === 429) {
    (Provider.ctx as { set(name: string, value: string): void } | undefined)?.set(
      'Retry-After',
      String(Math.max(1, Math.ceil(thrown.retryAfter ?? 2))),
    );
  }
  return passes ? new TemporarilyUnavailable(thrown) : asProviderError(thrown);
}
