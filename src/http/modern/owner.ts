/**
 * Which gateway serves a request of the stateless era, where several do: requests that share a child go to the gateway that has it. All gateways choose the
 * same one without asking; only while news of one that came or went travel may two have a child each, and the one that is not asked any more goes as idle.
 */
import { AppError } from '../../errors';
import { forwardedOf } from '../../peers/forwarded';
import type { Incoming, Outgoing } from '../handler';
import { isDraining } from '../mcp/elsewhere';
import { startsWithin } from '../mcp/gateways';
import type { Admitted, McpOptions } from '../mcp/routes';
import type { ModernRequest } from './serve';

/** Gateways that are tried before this one serves: one that was lost a moment ago may take seconds to be given up. */
const OTHERS = 2;

/**
 * Has a request served where it belongs. What waits for an answer is where its state says while that gateway lives; every other request goes to the owner
 * of its key. Where a gateway does not take it, because it is gone or stops, it goes to the next.
 * @param here serves it in this gateway; rejects with `DRAINING` before anything has happened.
 */
export async function atOwner(
  { gateways, stateless, jsonMs }: McpOptions,
  exchange: Admitted,
  req: Incoming,
  res: Outgoing,
  { request, client, gone }: ModernRequest,
  here: () => Promise<void>,
): Promise<void> {
  if (forwardedOf(req) !== undefined) {
    // There is one hop only, so whoever owns it now: it is served here, or not taken.
    await here().catch((thrown: unknown) => {
      throw isDraining(thrown, res) ? new AppError('MISDIRECTED', 'This gateway stops.', { cause: thrown }) : thrown;
    });
    return;
  }
  if (gateways === undefined) {
    await here();
    return;
  }
  const { key, at } = stateless.place(exchange.auth, exchange.server, client, request);
  const order = gateways.order(key);
  const first = at !== undefined && order.includes(at) ? [at] : [];
  const firstByteMs = startsWithin(exchange.server, jsonMs);
  let others = 0;
  let refusal: unknown;
  for (const name of new Set([...first, ...order])) {
    if (name === gateways.self) {
      try {
        await here();
        return;
      } catch (thrown) {
        if (!isDraining(thrown, res)) throw thrown;
        refusal = thrown;
      }
    } else if (others < OTHERS) {
      others += 1;
      const body = Buffer.from(JSON.stringify(request));
      const to = { name, channel: 'stateless', body, firstByteMs, gone } as const;
      if ((await gateways.send(req, res, exchange, to)) === 'done') return;
    }
  }
  throw refusal; // this gateway is among them
}
