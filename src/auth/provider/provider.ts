/** oidc-provider with what has to be different in it: its address is pinned, and refresh tokens follow from their predecessors. */
import Provider from 'oidc-provider';
import { configuration } from './configuration';
import type { AdapterParts } from './adapter';
import { tidyAuthorizationRequest } from './authorize';
import { ROUTES } from './metadata';
import type { ProviderOptions } from './ports';
import type { RefreshIds } from './refresh-ids';

export interface ProviderParts extends AdapterParts {
  readonly ids: RefreshIds;
}

/** Headers of answers that any web page may read: they hold nothing that the page did not send (no cookies are looked at). */
const CORS = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Expose-Headers': 'Retry-After, WWW-Authenticate',
} as const;
const OPEN: readonly string[] = [ROUTES.token, ROUTES.registration, ROUTES.revocation, ROUTES.jwks];

/** Builds a provider with the signing keys of now. */
export function createProvider(options: ProviderOptions, parts: ProviderParts): Provider {
  const provider = new Provider(options.urls.base, configuration(options, parts));
  pinAddress(provider, options.urls.base);
  chainRefreshTokens(provider, parts.ids);
  const fault = ({ name, message }: Error): void => options.observer.fault(`${name}: ${message}`);
  provider.use(async (ctx, next) => {
    if (OPEN.includes(ctx.path)) {
      ctx.set(CORS);
      if (ctx.method === 'OPTIONS') return preflight(ctx);
    }
    if (ctx.path === ROUTES.authorization) ctx.query = tidyAuthorizationRequest(ctx.query, options.urls);
    await next();
    // Where the store is still out of reach the code stays used up; then the user logs in again.
    if (ctx.status === 503) await parts.codes.release(ctx).catch(fault);
    dropCookie(ctx.res, provider.cookieName('session'));
  });
  provider.on('server_error', (_ctx, error) => fault(error));
  // Koa prints what nobody listens for.
  (provider as NodeJS.EventEmitter).on('error', fault);
  return provider;
}

interface Preflight {
  status: number;
  set(headers: Record<string, string>): void;
}

function preflight(ctx: Preflight): void {
  ctx.set({
    'Access-Control-Allow-Methods': 'GET, POST',
    'Access-Control-Allow-Headers': 'Authorization, Content-Type, MCP-Protocol-Version',
    'Access-Control-Max-Age': '3600',
  });
  ctx.status = 204;
}

/** Endpoints, redirects and the cookies' `Secure` follow the issuer, whatever `Host` and `X-Forwarded-*` say. */
function pinAddress(provider: Provider, base: string): void {
  const { host, protocol } = new URL(base);
  const pinned = (value: unknown): PropertyDescriptor => ({ configurable: true, get: () => value });
  // Koa makes everything else of these two.
  Object.defineProperties(provider.request, {
    host: pinned(host),
    protocol: pinned(protocol.slice(0, -1)),
  });
}

/** A rotated token's id follows from its predecessor's, so that racing refreshes get the same one. */
function chainRefreshTokens(provider: Provider, ids: RefreshIds): void {
  const prototype = provider.RefreshToken.prototype as unknown as { generateTokenId(): string };
  prototype.generateTokenId = () => {
    const parent = Provider.ctx?.oidc.entities.RotatedRefreshToken;
    return parent === undefined ? ids.first() : ids.successor(parent.jti);
  };
}

/** There are no browser sessions, so their cookie, which oidc-provider always sets at the end of a login, need not reach the browser. */
function dropCookie(
  res: {
    getHeader(name: string): unknown;
    setHeader(name: string, value: string[]): void;
    removeHeader(name: string): void;
  },
  name: string,
): void {
  const cookies = res.getHeader('Set-Cookie');
  if (!Array.isArray(cookies)) return;
  const kept = (cookies as string[]).filter(
    (cookie) => !cookie.startsWith(`${name}=`) && !cookie.startsWith(`${name}.sig=`),
  );
  if (kept.length > 0) res.setHeader('Set-Cookie', kept);
  else res.removeHeader('Set-Cookie');
}
