/** Whose a request is, and where it is served: here, or at the gateway that has its session together with the token. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { AppError } from '../../errors';
import { forwardedOf } from '../../peers/forwarded';
import type { ProxySession, ProxySessionElsewhere } from '../contract';
import { authenticate } from './authenticate';
import type { Exchange } from './exchange';
import { checkRequest } from './hygiene';
import type { Shared } from './steps';

/** Sends requests on. */
export interface ProxyElsewhere {
  /**
   * Sends a child's request, of which nothing was read, to the gateway that has its session. `done`: it was answered, or is over; `moved`: that gateway has not
   * the session or cannot be reached, and nothing was done or taken from the body.
   *
   * Rejects with `BACKEND_ENDED` where it may have been done and nobody knows its answer, with `OVERLOADED`, `STORE_UNAVAILABLE`, and with the signal's reason.
   */
  send(
    request: IncomingMessage,
    response: ServerResponse,
    to: ProxySessionElsewhere,
    options: {
      /** Milliseconds from the last piece of the body to the first byte of the answer. */
      readonly firstByteMs: number;
      /** To be called before the body is taken. */
      readonly invite: () => void;
    },
    signal: AbortSignal,
  ): Promise<'done' | 'moved'>;
}

/** A session changes hands once and then stays: a record is read this often before its child is told to come again. */
const READS = 2;

/**
 * Resolves with the session where its request is to be served here, and with `sent-on` once another gateway has answered it.
 * @param enter called with the session's name, once.
 * Rejects as {@link authenticate} and {@link ProxyElsewhere.send}; with `FORGE_TOKEN_UNAVAILABLE` where the gateway that has the session cannot be found; with
 * `MISDIRECTED` where the request came from another gateway, for there is one hop only; and as {@link checkRequest}.
 */
export async function serveOrSendOn(
  { options, capabilities, source }: Shared,
  exchange: Exchange,
  enter: (name: string) => void,
): Promise<ProxySession | 'sent-on'> {
  const { request, response, abort } = exchange;
  for (let read = 1; read <= READS; read += 1) {
    const session = await authenticate(request, capabilities, options.find, source, read > 1);
    abort.signal.throwIfAborted(); // gone meanwhile
    const isKnown = exchange.session !== undefined;
    exchange.session = session;
    if (!isKnown) enter(session.name);
    if (!('holder' in session)) return session;
    if (forwardedOf(request) !== undefined)
      throw new AppError('MISDIRECTED', 'The session has moved. Try again.', { detail: `held by ${session.holder}` });
    if (options.elsewhere === undefined) break;
    // What two readers could read differently goes no further.
    checkRequest(request);
    const invite = (): void => {
      if (exchange.expectsContinue) response.writeContinue();
      exchange.expectsContinue = false;
    };
    // The other one gives the forge its time; this is for one that is silent itself.
    const firstByteMs = options.timeouts.firstByte + options.timeouts.idle;
    const became = await options.elsewhere.send(request, response, session, { firstByteMs, invite }, abort.signal);
    if (became === 'done') return 'sent-on';
  }
  throw new AppError(
    'FORGE_TOKEN_UNAVAILABLE',
    "The gateway that has this session's token cannot be reached at the moment. Nothing was done. Try again in a second.",
    { retryAfter: 1 },
  );
}
