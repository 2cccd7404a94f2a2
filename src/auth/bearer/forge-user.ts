/** Asks a forge whose token this is: `GET /api/v1/user`. */
import { request, type Dispatcher } from 'undici';
import { AppError } from '../../errors';
import type { WhoAmI } from './authenticator';

/** What the forge says of a token's owner. */
export interface ForgeUser {
  /** The numeric id, as a string. */
  readonly id: string;
  readonly login: string;
  readonly isAdmin: boolean;
}

export interface WhoAmIOptions {
  readonly dispatcher: Dispatcher;
  /** Milliseconds for the whole question. */
  readonly timeoutMs: number;
}

/** Bytes of an answer that are read; a user is a few hundred. */
const MAX_ANSWER = 65_536;

/**
 * Makes the question. What the forge's statuses mean (seen on Forgejo 11 and Gitea 1.26): 401 the token is wrong, expired or revoked; 403
 * either the token has no `read:user` scope or the account may not log in; anything else is no verdict on the token, so it is
 * `AUTH_UNAVAILABLE` and the client keeps its token. Not retried: the client will.
 */
export function createWhoAmI(options: WhoAmIOptions): WhoAmI {
  return async (apiUrl, token) => {
    const { status, body, retryAfter } = await ask(options, apiUrl, token);
    if (status === 200) return userOf(body);
    if (status === 401) {
      throw new AppError(
        'AUTH_INVALID',
        'Forgejo does not accept the access token. Make a new one in Forgejo (Settings, Applications) and send it as bearer.',
      );
    }
    if (status === 403 && /scope/i.test(messageOf(body))) {
      throw new AppError(
        'AUTH_SCOPE',
        'The access token may not say whose it is. Make one with the scope read:user beside those for the work, in Forgejo (Settings, Applications).',
      );
    }
    if (status === 403) {
      throw new AppError(
        'AUTH_REFUSED',
        'Forgejo does not let this account in. Log in to Forgejo in a browser to see why, or ask its administrator.',
      );
    }
    throw unavailable(`status ${String(status)}`, undefined, retryAfter);
  };
}

async function ask(
  options: WhoAmIOptions,
  apiUrl: string,
  token: string,
): Promise<{ status: number; body: unknown; retryAfter: number | undefined }> {
  try {
    const answer = await request(`${apiUrl}/api/v1/user`, {
      method: 'GET',
      headers: { authorization: `token ${token}`, accept: 'application/json', 'user-agent': 'forgejo-mcp-operator' },
      dispatcher: options.dispatcher,
      signal: AbortSignal.timeout(options.timeoutMs),
    });
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > MAX_ANSWER) {
        answer.body.destroy();
        throw new Error('answer too large');
      }
      chunks.push(chunk);
    }
    const seconds = Number(answer.headers['retry-after']);
    return {
      status: answer.statusCode,
      body: parsed(Buffer.concat(chunks).toString('utf8')),
      retryAfter: seconds >= 1 && seconds <= 120 ? seconds : undefined,
    };
  } catch (thrown) {
    // The error of an HTTP client may hold the request and with it the token: only its code or name goes on.
    const { code, name } = thrown as { code?: unknown; name?: unknown };
    throw unavailable(typeof code === 'string' ? code : String(name));
  }
}

function userOf(body: unknown): ForgeUser {
  const user = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const { id, login } = user;
  if (typeof id !== 'number' || !Number.isSafeInteger(id) || typeof login !== 'string')
    throw unavailable('the answer is no user');
  // The forge's own actors (ghost, actions) have ids below 1 and are nobody's account.
  if (id < 1 || user.prohibit_login === true || user.active === false) {
    throw new AppError(
      'AUTH_REFUSED',
      'This account may not use MCP servers. Use an access token of an active user account.',
    );
  }
  return { id: String(id), login, isAdmin: user.is_admin === true };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function messageOf(body: unknown): string {
  const message = typeof body === 'object' && body !== null ? (body as { message?: unknown }).message : undefined;
  return typeof message === 'string' ? message : '';
}

function unavailable(detail: string, cause?: unknown, retryAfter = 5): AppError {
  return new AppError(
    'AUTH_UNAVAILABLE',
    'Forgejo cannot be asked about the access token at the moment. Try again in a few seconds.',
    {
      detail: `GET /api/v1/user: ${detail}`,
      cause,
      retryAfter,
    },
  );
}
