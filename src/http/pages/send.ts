/** Handlers whose answers are pages, errors too. */
import { AppError, toAppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import { exchangeOf } from '../exchange';
import type { Handler, Incoming, Outgoing } from '../handler';
import { errorPage } from './error';
import type { Page } from './layout';

/** What a browser is answered: a page, or another address of ours (303; RFC 9110, 15.4.4). */
export type PageAnswer = Page | { readonly location: string };

/** One page. What it throws is shown as an error page. */
export type PageHandler = (req: Incoming, res: Outgoing) => Promise<PageAnswer>;

/** Serves a page; every fault is a page as well, logged as `answerFailures` does. */
export function page(log: Logger, handle: PageHandler): Handler {
  return async (req, res) => {
    let answer: PageAnswer;
    try {
      answer = await handle(req, res);
    } catch (thrown) {
      answer = failed(thrown, res, log);
    }
    if ('location' in answer) {
      res.writeHead(303, { Location: answer.location, 'Cache-Control': 'no-store', 'Content-Length': 0 }).end();
      return;
    }
    res.writeHead(answer.status, { ...answer.headers, 'Content-Length': Buffer.byteLength(answer.body) });
    res.end(req.method === 'HEAD' ? undefined : answer.body);
  };
}

/** Refuses a method that a page does not have (RFC 9110, 15.5.6). @param methods those that it has. */
export function onlyFor(methods: 'GET' | 'GET, POST'): Handler {
  return (_req, res) => {
    res.setHeader('Allow', methods);
    throw new AppError('METHOD_NOT_ALLOWED', `Method not allowed. This page has ${methods}.`);
  };
}

/** Whether whoever asks is a person with a browser: programs ask for JSON or event streams, or for anything. */
export function asksForPage({ headers: { accept = '' } }: Incoming): boolean {
  return /(?:^|,)\s*text\/html\s*(?:[;,]|$)/i.test(accept);
}

/** Passes on to the page whoever asks for one; everybody else goes on to the next route. */
export const forPeople: Handler = (req, _res, next) => next(asksForPage(req) ? undefined : 'route');

function failed(thrown: unknown, res: Outgoing, log: Logger): Page {
  const exchange = exchangeOf(res);
  const error = toAppError(thrown);
  const { code, status, message, detail, retryAfter } = error;
  exchange.code = code;
  const stack = !(thrown instanceof AppError) && thrown instanceof Error ? thrown.stack : undefined;
  const fields = { request: exchange.id, code, status, detail, stack };
  if (status >= 500) log.warn('http.failure', fields);
  else if (detail !== undefined) log.info('http.failure', fields);
  return errorPage({
    status,
    code,
    message,
    requestId: exchange.id,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });
}
