/** Reads what the token endpoint answered (RFC 6749, 5.1). */
import type { ForgeTokens, Position } from './contract';
import { invalid } from './back-channel';

/** Visible ASCII, as a header takes it. Both of Forgejo's tokens are JWTs of about 600 bytes. */
const TOKEN = /^[\x21-\x7e]{1,8192}$/;

/** Milliseconds, where the answer does not say. */
const DEFAULT_LIFETIME = 300_000;
const MAX_LIFETIME = 365 * 86_400_000;

/** The part of the answer that counts. */
export interface TokenAnswer {
  readonly access_token: string;
  readonly token_type: string;
  readonly expires_in?: number | undefined;
  readonly refresh_token?: string | undefined;
}

/**
 * The tokens of an answer.
 * @param asked wall-clock milliseconds from before the request.
 * @throws AppError `UPSTREAM_INVALID` for an answer without both tokens, or with another token type than `bearer`.
 */
export function tokensOf(answer: TokenAnswer, asked: number): ForgeTokens {
  const { access_token: accessToken, refresh_token: refreshToken, token_type: type } = answer;
  if (refreshToken === undefined || !TOKEN.test(accessToken) || !TOKEN.test(refreshToken) || type !== 'bearer')
    throw invalid('a token answer without two bearer tokens');
  const seconds = answer.expires_in;
  const lifetime = seconds === undefined || seconds <= 0 ? DEFAULT_LIFETIME : Math.min(seconds * 1000, MAX_LIFETIME);
  const position = positionOf(refreshToken);
  return {
    accessToken,
    accessExpiresAt: asked + lifetime,
    lifetime,
    refreshToken,
    ...(position === undefined ? {} : { position }),
  };
}

/** The claims `gnt`, `cnt`, `iat` and `exp` of a refresh token (RFC 7519); undefined where they are not to be had. */
function positionOf(token: string): Position | undefined {
  const parts = token.split('.');
  if (parts.length !== 3) return undefined;
  let claims: Readonly<Record<string, unknown>>;
  try {
    claims = JSON.parse(Buffer.from(parts[1], 'base64url').toString('utf8')) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
  const { gnt: grant, cnt: counter = 0, iat: issuedAt, exp: expiresAt } = claims ?? {};
  if (!isCount(grant) || !isCount(counter) || !isCount(issuedAt)) return undefined;
  return { grant, counter, issuedAt, ...(isCount(expiresAt) ? { expiresAt } : {}) };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
