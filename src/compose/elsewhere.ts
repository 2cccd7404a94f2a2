/** The way of clients' requests to sessions that other gateways have. */
import type { Clock } from '../clock';
import type { Elsewhere } from '../http/mcp/elsewhere';
import type { Peers, Replicas } from '../peers/contract';
import { unanswered } from './unanswered';

/** Milliseconds until a record is read again whose holder did not take a request: longer each time, and at most, since each is a question to the API server. */
const AGAIN_MS = 20;
const AGAIN_MAX_MS = 1_000;
/** Milliseconds for which a request waits for who is to have its session: longer than it takes to find that a gateway is dead, or for a child to be ended. */
const PATIENCE_MS = 15_000;

/** The way to sessions that other gateways have; where there is none, requests wait for them to be given up. */
export function elsewhereBy(
  peers: Pick<Peers, 'forward'> | undefined,
  replicas: Pick<Replicas, 'addressOf' | 'onGone'>,
  clock: Pick<Clock, 'now' | 'after'>,
  patienceMs = PATIENCE_MS,
): Elsewhere {
  const waiting = new Set<() => void>();
  replicas.onGone(() => {
    for (const wake of waiting) wake();
  });
  return {
    now: () => clock.now(),
    async wait(res, began) {
      const waited = clock.now() - began;
      if (waited >= patienceMs || res.destroyed) return false;
      const pause = Math.min(AGAIN_MS + waited / 4, AGAIN_MAX_MS) * (0.75 + Math.random() / 2);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          timer.cancel();
          waiting.delete(wake);
          resolve();
        };
        const timer = clock.after(pause, wake);
        waiting.add(wake);
      });
      return true;
    },
    async send(req, res, exchange, { session, holder, generation }, body) {
      const address = peers === undefined ? undefined : await replicas.addressOf(holder);
      if (peers === undefined || address === undefined) return 'again';
      const gone = new AbortController();
      const leave = (): void => gone.abort();
      res.once('close', leave);
      const outcome = await peers.forward(
        req,
        res,
        {
          ...{ channel: 'mcp', target: { name: holder, address }, session, epoch: generation },
          ...{ clientAddress: exchange.address, requestId: exchange.id },
          ...(body === undefined ? {} : { body }),
        },
        gone.signal,
      );
      res.off('close', leave);
      if (outcome === 'forwarded') return 'done';
      if (outcome === 'unanswered') throw unanswered();
      return 'again';
    },
  };
}
