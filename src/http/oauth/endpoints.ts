/** The authorization server's own endpoints: limits, then on to it. They take no cookies but for the login page, so web pages of any origin may call them. */
import type { IncomingMessage } from 'node:http';
import type { AppError } from '../../errors';
import { toAppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import { exchangeOf } from '../exchange';
import { sendJson } from '../failure';
import { type Handler, type Outgoing, pathOf } from '../handler';
import { page } from '../pages/send';

/** The authorization server as this layer sees it. */
export interface OAuthEndpoints {
  /** Whether a path is one of its own. */
  serves(path: string): boolean;
  handle(req: IncomingMessage, res: Outgoing): Promise<void>;
  /**
   * Counts a request of an address, before anything is done for it.
   * @throws AppError `CLIENT_RATE` with the seconds to wait.
   */
  admit(path: string, address: string): void;
}

/** Passes the authorization server's paths on to it; everything else goes on. */
export function oauthEndpoints(endpoints: OAuthEndpoints, log: Logger): Handler {
  return async (req, res, next) => {
    const path = pathOf(req);
    if (!endpoints.serves(path)) {
      next();
      return;
    }
    try {
      if (req.method !== 'OPTIONS') endpoints.admit(path, exchangeOf(res).address);
    } catch (thrown) {
      await refuse(toAppError(thrown), path, req, res, log);
      return;
    }
    await endpoints.handle(req, res);
  };
}

/** A person sees a page, a client OAuth's own words (RFC 6749, 5.2; RFC 6585, 4). */
async function refuse(error: AppError, path: string, req: IncomingMessage, res: Outgoing, log: Logger): Promise<void> {
  if (path.startsWith('/authorize')) {
    const shown = page(log, () => Promise.reject(error));
    await shown(req, res, () => undefined);
    return;
  }
  exchangeOf(res).code = error.code;
  res.setHeader('Access-Control-Allow-Origin', '*');
  res.setHeader('Access-Control-Expose-Headers', 'Retry-After');
  if (error.retryAfter !== undefined) res.setHeader('Retry-After', String(Math.max(1, Math.ceil(error.retryAfter))));
  const body = { error: 'temporarily_unavailable', error_description: error.message };
  sendJson(res, error.status, JSON.stringify(body));
}
