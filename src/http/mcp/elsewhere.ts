/** Requests for sessions that another gateway has: they go on to it, one hop. */
import { AppError } from '../../errors';
import { forwardedOf } from '../../peers/forwarded';
import { HeldElsewhere, StillHere } from '../../sessions/elsewhere';
import type { Exchange } from '../exchange';
import type { Incoming, Outgoing } from '../handler';
import { startsWithin } from './gateways';
import { sessionIdOf } from './headers';
import type { ClientBody } from './message';
import { type Admitted, goneSignal, type McpOptions } from './routes';

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
   * @param session all that wait for the same one go on together; alone without it.
   */
  wait(res: Outgoing, began: number, session?: string): Promise<boolean>;
  /** Monotonic milliseconds. */
  now(): number;
}

interface Request {
  readonly req: Incoming;
  readonly res: Outgoing;
  readonly exchange: Admitted;
  /** Where it was read. */
  readonly body?: ClientBody;
}

/** Gateways that are asked to take what this one does not take any more, each time. */
const OTHERS = 2;

/**
 * Serves a request here, or where its session is; and where this gateway stops, at another one. `serve` must have touched nothing when it rejects with
 * {@link HeldElsewhere} or `DRAINING`.
 */
export async function wherever(options: McpOptions, request: Request, serve: () => Promise<void>): Promise<void> {
  const { elsewhere } = options;
  const { req, res, exchange } = request;
  const began = elsewhere?.now() ?? 0;
  for (;;) {
    try {
      await serve();
      return;
    } catch (thrown) {
      const isHeld = thrown instanceof HeldElsewhere;
      if (!isHeld && !isDraining(thrown, res)) throw thrown;
      if (forwardedOf(req) !== undefined) throw misdirected(thrown);
      if (elsewhere === undefined) throw thrown;
      const sent = isHeld
        ? elsewhere.send(req, res, exchange, thrown, textOf(request.body))
        : handOver(options, request, thrown);
      if ((await sent) === 'done') return;
      if (!(await elsewhere.wait(res, began, isHeld ? thrown.session : undefined))) throw thrown;
    }
  }
}

/** Sends what a gateway that stops refused to one that does not. Rejects with the refusal where there is no other. */
async function handOver(
  { gateways, jsonMs }: McpOptions,
  { req, res, exchange, body }: Request,
  refusal: unknown,
): Promise<'done' | 'again'> {
  // All requests for one session to the same one, so that it is taken over once.
  const order = gateways?.order(sessionIdOf(req) ?? exchange.id) ?? [];
  const others = order.filter((name) => name !== gateways?.self).slice(0, OTHERS);
  if (gateways === undefined || others.length === 0) throw refusal;
  if (refusal instanceof StillHere) return 'again';
  const text = textOf(body);
  for (const name of others) {
    const outcome = await gateways.send(req, res, exchange, {
      ...{ name, channel: 'handover', gone: goneSignal(res), firstByteMs: startsWithin(exchange.server, jsonMs) },
      ...(text === undefined ? {} : { body: text }),
    });
    if (outcome === 'done') return 'done';
  }
  return 'again';
}

/** Whether a gateway that stops has refused a request before anything of it happened. */
export function isDraining(thrown: unknown, res: Outgoing): boolean {
  return thrown instanceof AppError && thrown.code === 'DRAINING' && !res.headersSent;
}

/** There is one hop only: whoever sent it here reads the record again. */
function misdirected(cause: unknown): AppError {
  return new AppError('MISDIRECTED', 'The session has moved. Try again.', { cause });
}

function textOf(body: ClientBody | undefined): Buffer | undefined {
  if (body === undefined) return undefined;
  return Buffer.from(
    JSON.stringify(body.kind === 'batch' ? body.messages.map(({ message }) => message) : body.message),
  );
}
