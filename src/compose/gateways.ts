/** The gateways of an install, as requests that are for no recorded session see them. */
import { AppError } from '../errors';
import type { Gateways } from '../http/mcp/gateways';
import type { Peers, Replicas } from '../peers/contract';
import { ranked } from '../peers/rendezvous';
import { unanswered } from './unanswered';

/** Names that are looked up at once because nobody here knows them: they come from clients, and each is a question to the API server. */
const LOOKS_MAX = 8;

export function gatewaysBy(
  peers: Pick<Peers, 'forward'>,
  replicas: Pick<Replicas, 'self' | 'living' | 'addressOf' | 'isAlive'>,
): Gateways {
  const looks = new Map<string, Promise<boolean>>();
  const isAlive = async (name: string): Promise<boolean> => {
    const running = looks.get(name);
    if (running !== undefined) return running;
    if (looks.size >= LOOKS_MAX) {
      throw new AppError('OVERLOADED', 'The gateway is busy with other requests. Try again in a few seconds.', {
        retryAfter: 2,
        detail: 'too many names of gateways are looked up',
      });
    }
    const look = replicas.isAlive(name).finally(() => looks.delete(name));
    looks.set(name, look);
    return look;
  };
  return {
    self: replicas.self,
    order: (key) => ranked(key, replicas.living()),
    isAlive,
    async send(req, res, exchange, { name, channel, body, firstByteMs, gone }) {
      const isThere = replicas.living().includes(name) || (await isAlive(name));
      const address = isThere ? await replicas.addressOf(name) : undefined;
      if (address === undefined) return 'not-taken';
      const outcome = await peers.forward(
        req,
        res,
        {
          ...{ channel, target: { name, address } },
          ...{ clientAddress: exchange.address, requestId: exchange.id },
          ...(body === undefined ? {} : { body }),
          ...(firstByteMs === undefined ? {} : { firstByteMs }),
        },
        gone,
      );
      if (outcome === 'forwarded') return 'done';
      if (outcome === 'unanswered') throw unanswered();
      return 'not-taken';
    },
  };
}

/** Whether this gateway is the one that serves what has a key. */
export function ownsBy(replicas: Pick<Replicas, 'self' | 'living'>): (key: string) => boolean {
  return (key) => ranked(key, replicas.living())[0] === replicas.self;
}
