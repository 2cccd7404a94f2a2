/** The way of clients' requests to sessions that other gateways have. */
import type { Clock, Timer } from '../clock';
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
  const pauses = new Pauses(clock);
  replicas.onGone(() => pauses.endAll());
  return {
    now: () => clock.now(),
    async wait(res, began, session) {
      const waited = clock.now() - began;
      if (waited >= patienceMs || res.destroyed) return false;
      const pause = Math.min(AGAIN_MS + waited / 4, AGAIN_MAX_MS) * (0.75 + Math.random() / 2);
      await pauses.wait(pause, session ?? Symbol('one request'));
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

interface Pause {
  due: number;
  timer: Timer;
  readonly waiting: Set<() => void>;
}

/** All that wait for the same go on together, as soon as the first of them would: so that they share one read of what they wait for. */
class Pauses {
  readonly #clock: Pick<Clock, 'now' | 'after'>;
  readonly #pauses = new Map<string | symbol, Pause>();

  constructor(clock: Pick<Clock, 'now' | 'after'>) {
    this.#clock = clock;
  }

  /** @param ms at most. */
  wait(ms: number, key: string | symbol): Promise<void> {
    return new Promise((resolve) => {
      const due = this.#clock.now() + ms;
      const known = this.#pauses.get(key);
      known?.waiting.add(resolve);
      if (known !== undefined && known.due <= due) return;
      known?.timer.cancel();
      const timer = this.#clock.after(ms, () => this.#end(key));
      if (known === undefined) this.#pauses.set(key, { due, timer, waiting: new Set([resolve]) });
      else Object.assign(known, { due, timer });
    });
  }

  endAll(): void {
    for (const key of [...this.#pauses.keys()]) this.#end(key);
  }

  #end(key: string | symbol): void {
    const pause = this.#pauses.get(key);
    if (pause === undefined) return;
    this.#pauses.delete(key);
    pause.timer.cancel();
    for (const resolve of pause.waiting) resolve();
  }
}
