/** Why a client is refused, in one place: the stable codes here, and the names that OAuth gives them. */
import { AppError, type AppErrorOptions, type ErrorCode } from '../../errors';

/**
 * The `error` value of OAuth for each code of a client (RFC 6749, 5.2; RFC 7591, 3.2.2). `temporarily_unavailable` (RFC 6749, 4.1.2.1) makes a
 * client keep its tokens and try again, where `invalid_client` would make it start a new login.
 */
export const OAUTH_NAMES = {
  CLIENT_INVALID: 'invalid_client',
  CLIENT_METADATA_INVALID: 'invalid_client_metadata',
  CLIENT_REDIRECT_INVALID: 'invalid_redirect_uri',
  CLIENT_UNAVAILABLE: 'temporarily_unavailable',
  CLIENT_RATE: 'temporarily_unavailable',
  STORE_UNAVAILABLE: 'temporarily_unavailable',
} as const satisfies Partial<Record<ErrorCode, string>>;

export type OAuthName = (typeof OAUTH_NAMES)[keyof typeof OAUTH_NAMES];

/** OAuth's name for an error of this folder; undefined for every other error, which is no client's business. */
export function oauthName(error: AppError): OAuthName | undefined {
  const names: Partial<Record<ErrorCode, OAuthName>> = OAUTH_NAMES;
  return names[error.code];
}

export function invalidClient(message: string, options?: AppErrorOptions): AppError {
  return new AppError('CLIENT_INVALID', message, options);
}

export function invalidMetadata(message: string, options?: AppErrorOptions): AppError {
  return new AppError('CLIENT_METADATA_INVALID', message, options);
}

export function invalidRedirect(message: string, options?: AppErrorOptions): AppError {
  return new AppError('CLIENT_REDIRECT_INVALID', message, options);
}
