/** Requests for sessions that another gateway has: they go on to it, one hop. */
import { AppError } from '../../errors';
import { forwardedOf } from '../../peers/forwarded';
import { HeldElsewhere } from '../../sessions/elsewhere';
import type { Exchange } from '../exchange';
import type { Incoming, Outgoing } from '../handler';
import type { ClientBody } from './message';

/** Sends requests on. */
export interface Elsewhere {
  /**
   * Sends a request to the gateway that has its session. `done`: it was answered; `again`: who has the session may have changed, and nothing was sent.
   * Rejects with `BACKEND_ENDED` where the request may have been worked on and nobody knows its answer.
   */
  send(
    req: Incoming,
    res: Outgoing,
    exchange: Exchange,
    to: HeldElsewhere,
    body?: Uint8Array,
  ): Promise<'done' | 'again'>;
  /**
   * Waits before the record is read again: until a gateway that is dead is known to be, or one that stops has given the session up. Resolves with false when
   * that has taken too long since `began`, or the client is gone.
   * @param began monotonic milliseconds; see {@link Elsewhere.now}.
   */
  wait(res: Outgoing, began: number): Promise<boolean>;
  /** Monotonic milliseconds. */
  now(): number;
}

/**
 * Serves a request here, or where its session is. `serve` must have touched nothing when it rejects with {@link HeldElsewhere}.
 * @param body of the request, where it was read.
 */
export async function wherever(
  elsewhere: Elsewhere | undefined,
  { req, res, exchange, body }: { req: Incoming; res: Outgoing; exchange: Exchange; body?: ClientBody },
  serve: () => Promise<void>,
): Promise<void> {
  const began = elsewhere?.now() ?? 0;
  for (;;) {
    try {
      await serve();
      return;
    } catch (thrown) {
      if (forwardedOf(req) !== undefined && (thrown instanceof HeldElsewhere || isDraining(thrown, res)))
        throw misdirected(thrown);
      if (!(thrown instanceof HeldElsewhere)) throw thrown;
      if (elsewhere === undefined) throw thrown;
      const text = body === undefined ? undefined : Buffer.from(textOf(body));
      if ((await elsewhere.send(req, res, exchange, thrown, text)) === 'done') return;
      if (!(await elsewhere.wait(res, began))) throw thrown;
    }
  }
}

/** Whether a gateway that stops has refused a request before anything of it happened. */
export function isDraining(thrown: unknown, res: Outgoing): boolean {
  return thrown instanceof AppError && thrown.code === 'DRAINING' && !res.headersSent;
}

/** There is one hop only: whoever sent it here reads the record again. */
function misdirected(cause: unknown): AppError {
  return new AppError('MISDIRECTED', 'The session has moved. Try again.', { cause });
}

function textOf(body: ClientBody): string {
  return JSON.stringify(body.kind === 'batch' ? body.messages.map(({ message }) => message) : body.message);
}
