/** Errors as a person sees them: what happened, what to do, and what to quote when asking for help. */
import type { ErrorCode } from '../../errors';
import { type Html, markup } from './html';
import { type Page, renderPage } from './layout';
import { shown } from './text';

/** An error for {@link errorPage}. */
export interface PageError {
  readonly status: number;
  /** One of ours, or an OAuth code (RFC 6749, 4.1.2.1 and 5.2). */
  readonly code: string;
  /** The public message. */
  readonly message: string;
  /** By which the log knows this request. */
  readonly requestId: string;
  /** Seconds. */
  readonly retryAfter?: number;
}

interface Advice {
  readonly title: string;
  readonly todo: string;
}

const EXPIRED: Advice = {
  title: 'This login cannot go on',
  todo: 'Go back to the program that sent you here and start the login again there. Finish it without a long break, in the same browser.',
};
const CLIENT: Advice = {
  title: 'This program cannot log in',
  todo: 'Update the program that sent you here, or remove this server from it and add it again. If it still fails, show this page to whoever makes the program.',
};
const BUSY: Advice = {
  title: 'Not right now',
  todo: 'Wait a moment, then start again from the program that sent you here. Nothing that you had is lost.',
};
const DENIED: Advice = {
  title: 'Access was not given',
  todo: 'If you did not mean this, start the login again from your program. If it happens again, ask the administrator of this gateway whether your account may use it.',
};
const FORGE: Advice = {
  title: 'Forgejo did not let this login finish',
  todo: 'Start the login again from your program. If it happens again, tell the administrator of this gateway: Forgejo and the gateway do not agree.',
};
const LOGIN: Advice = {
  title: 'You need to log in again',
  todo: 'Start the login again from the program that you use, or open this page again.',
};
const FORM: Advice = {
  title: 'This form was not accepted',
  todo: 'Go back, load the page again and fill in the form once more.',
};
const MISSING: Advice = {
  title: 'There is nothing here',
  todo: 'Check the address. Programs connect to the address that ends in /mcp.',
};
const OURS: Advice = {
  title: 'Something went wrong',
  todo: 'Try again in a few minutes. If it happens again, give the request id below to the administrator of this gateway.',
};

const BY_CODE: Readonly<Partial<Record<ErrorCode, Advice>>> = {
  AUTH_MISSING: LOGIN,
  AUTH_INVALID: LOGIN,
  AUTH_REFUSED: DENIED,
  AUTH_SCOPE: DENIED,
  AUTH_RATE: BUSY,
  AUTH_UNAVAILABLE: BUSY,
  ORIGIN_REFUSED: FORM,
  CONTENT_TYPE: FORM,
  BODY_TOO_LARGE: FORM,
  INVALID_REQUEST: EXPIRED,
  CLIENT_INVALID: CLIENT,
  CLIENT_METADATA_INVALID: CLIENT,
  CLIENT_REDIRECT_INVALID: CLIENT,
  CLIENT_UNAVAILABLE: BUSY,
  CLIENT_RATE: BUSY,
  STORE_UNAVAILABLE: BUSY,
  DRAINING: BUSY,
  OVERLOADED: BUSY,
  FORGE_LOGIN_DENIED: DENIED,
  FORGE_LOGIN_INVALID: EXPIRED,
  FORGE_LOGIN_CONFIG: FORGE,
  FORGE_TOKEN_UNAVAILABLE: BUSY,
  UPSTREAM_UNREACHABLE: BUSY,
  UPSTREAM_TIMEOUT: BUSY,
  UPSTREAM_INVALID: FORGE,
  NOT_FOUND: MISSING,
  SERVER_UNKNOWN: MISSING,
};

/** OAuth's names (RFC 6749, 4.1.2.1; RFC 7591, 3.2.2; RFC 8707, 2). */
const BY_OAUTH_NAME: Readonly<Record<string, Advice>> = {
  access_denied: DENIED,
  invalid_client: CLIENT,
  invalid_client_metadata: CLIENT,
  invalid_redirect_uri: CLIENT,
  invalid_request: CLIENT,
  invalid_scope: CLIENT,
  invalid_target: CLIENT,
  unauthorized_client: CLIENT,
  unsupported_response_type: CLIENT,
  temporarily_unavailable: BUSY,
};

function adviceFor(code: string, status: number): Advice {
  const tables: Readonly<Record<string, Advice>> = { ...BY_CODE, ...BY_OAUTH_NAME };
  const known = Object.hasOwn(tables, code) ? tables[code] : undefined;
  if (known !== undefined) return known;
  if (status === 429 || status === 503) return BUSY;
  if (status === 404) return MISSING;
  return OURS;
}

/** The page of an error. Holds no more than the error's public message. */
export function errorPage(error: PageError): Page {
  const { title, todo } = adviceFor(error.code, error.status);
  const { retryAfter } = error;
  return renderPage({
    status: error.status,
    title,
    content: markup`<h2>What happened</h2>
<p>${shown(error.message, 500, 'The gateway could not do what was asked.')}</p>
<h2>What to do</h2>
<p>${todo}</p>
${retryAfter === undefined ? undefined : wait(retryAfter)}
<hr>
<dl class="facts soft"><dt>Error</dt><dd><code>${shown(error.code, 60)}</code></dd><dt>Request id</dt><dd><code>${shown(error.requestId, 100, 'none')}</code></dd></dl>`,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });
}

function wait(retryAfter: number): Html {
  const seconds = Math.max(1, Math.ceil(retryAfter));
  return markup`<p>Try again in ${seconds === 1 ? 'a second' : seconds < 120 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`}.</p>`;
}
