/** The credential proxy's way to the other gateways. */
import type { ProxyElsewhere } from '../forgejo/proxy/elsewhere';
import type { Peers, Replicas } from '../peers/contract';
import { unanswered } from './unanswered';

/** Sends requests of children on to the gateways that have their sessions; see {@link ProxyElsewhere}. */
export function forgeElsewhere(
  peers: Pick<Peers, 'forward' | 'self'>,
  replicas: Pick<Replicas, 'addressOf'>,
): ProxyElsewhere {
  return {
    async send(request, response, { name: session, holder, generation }, options, signal) {
      const address = holder === peers.self ? undefined : await replicas.addressOf(holder);
      if (address === undefined) return 'moved';
      const outcome = await peers.forward(
        request,
        response,
        {
          ...{ channel: 'forge', target: { name: holder, address }, session, epoch: generation },
          ...{ clientAddress: request.socket.remoteAddress ?? '', body: 'stream', ...options },
        },
        signal,
      );
      if (outcome === 'forwarded') return 'done';
      if (outcome === 'unanswered') throw unanswered('look at Forgejo before you try again.');
      return 'moved';
    },
  };
}
